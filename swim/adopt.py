"""A trained network of the user's own, taken as the checkpoint instead of training one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swim import network
from swim.data import DataSet
from swim.errors import DataError
from swim.models import quantisation
from swim.spec import ModelSettings

State = dict[str, Tensor]


def adopt(
    path: Path,
    settings: ModelSettings,
    data: DataSet,
    *,
    calibration_images: int,
    report: Callable[[str], None] = print,
) -> nn.Module:
    """Load a user's state into a network, and quantise it as the settings say.

    Args:
        path: safetensors, or a state dict by ``torch.save`` (which is read without running code);
            keys of data-parallel training and of the paper's first release are understood.
        settings: the network; with bits, a float state is quantised after training, activations
            over the limits of ``calibration_images`` training images. A state that holds ranges
            of our own activation quantisers keeps them.
        data: a prepared data set, which fixes channels and classes.
        calibration_images: training images that are looked at; the accuracy on them is reported.
        report: called with each line that tells what was found.

    Returns:
        The network in eval mode, with weights as they are to be programmed.

    Raises:
        DataError: the file is missing, of another kind, or does not fit the network; the message
            lists what differs.
    """
    model = network.initial(settings, data, 0).eval()
    state = _cleaned(_read(path))
    calibrated = any("input_quantiser." in name for name in state)
    if settings.activation_bits and calibrated:
        quantisation.quantise_activations(model, settings.activation_bits)
    _put(model, state, f"{path} does not fit {settings.label}", report)
    if settings.activation_bits and not calibrated:
        quantisation.quantise_activations(model, settings.activation_bits)
        images = data.batches("train", 500, calibration_images)
        quantisation.calibrate(model, (inputs for inputs, _ in images))
    if settings.weight_bits:
        quantisation.quantise_weights(model, settings.weight_bits)
        quantisation.deploy(model)
    report(_accuracy(model, data, calibration_images))
    return model


def _accuracy(model: nn.Module, data: DataSet, images: int) -> str:
    right = total = 0
    with torch.no_grad():
        for inputs, labels in data.batches("train", 500, images):
            right += int((model(inputs).argmax(1) == labels).sum())
            total += len(labels)
    line = f"accuracy on {total} training images: {right / total:.2%}"
    if right * data.classes < 2 * total:
        line += (
            ", hardly better than chance: was it trained on this data, with this order of classes "
            f"and this normalisation (mean {data.mean}, std {data.std})?"
        )
    return line


def _read(path: Path) -> State:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the readers say to half a file, or to another kind
        hint = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: neither safetensors nor a state dict of plain tensors ({hint}); write it "
            "with torch.save(model.state_dict(), path)"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise DataError(f"{path}: holds no state dict but {_kind(content)}")
    return dict(content)


def _kind(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dict of {', '.join(sorted({type(v).__name__ for v in content.values()}))}"
    return type(content).__name__


def _cleaned(state: State) -> State:
    """Keys as the network itself would have them.

    ``DataParallel`` puts ``module.`` before each. In the paper's first release a layer is wrapped
    in a module that keeps it as ``op``, beside helpers such as ``weightS``, ``noise`` and ``mask``.
    """
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    if any(".op." in name for name in state):
        return {n.replace(".op.", "."): v for n, v in state.items() if ".op." in n}
    return state


def _put(model: nn.Module, state: State, fault: str, report: Callable[[str], None]) -> None:
    """Load ``state``, by names, or by order where all shapes agree in order."""
    own = model.state_dict()
    counters = {name: v for name, v in own.items() if name.endswith("num_batches_tracked")}
    wanted = {name: value for name, value in own.items() if name not in counters}
    given = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    shapes = [[value.shape for value in part.values()] for part in (wanted, given)]
    if not set(wanted) & set(given) and shapes[0] == shapes[1]:
        pairs = list(zip(wanted, given, strict=True))
        report(f"no name of the file is one of the network's; taken in order: {_arrows(pairs)}")
        given = {own_name: given[name] for own_name, name in pairs}
    different = _differences(wanted, given)
    if different:
        raise DataError(f"{fault}:\n" + "\n".join(different))
    model.load_state_dict({**counters, **given})


def _arrows(pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} as {own}" for own, name in pairs if own.endswith("weight"))


def _differences(wanted: State, given: State) -> list[str]:
    """One line a tensor that is missing, too much or of another shape."""
    lines = [f"  missing: {name} {tuple(wanted[name].shape)}" for name in wanted.keys() - given]
    lines += [f"  not in the network: {name} {tuple(given[name].shape)}"
              for name in given.keys() - wanted]  # fmt: skip
    lines += [
        f"  {name}: the file has {tuple(given[name].shape)}, the network {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    shown = sorted(lines)[:20]
    return [*shown, f"  and {len(lines) - 20} more"] if len(lines) > 20 else shown
