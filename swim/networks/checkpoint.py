"""A network by its settings: built, written as a checkpoint, and read again."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from swim.data.dataset import DataSet
from swim.errors import DataError, SettingError
from swim.networks import effective_weights, integer_weights, quantisation
from swim.networks.isolation import device_of, few, left_alone
from swim.networks.weights.inventory import Inventory
from swim.networks.weights.tracing import trace
from swim.runtime import files, rng
from swim.settings import ModelSettings, registry
from swim.settings.arguments import call_custom


def initial(settings: ModelSettings, data: DataSet, seed: int) -> nn.Module:
    """The untrained float network; its initial weights depend on the seed alone.

    Raises:
        DataError: the network does not take images of that size, or has too few outputs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(seed, "initial") % 2**63)
        model = _build(settings, data.channels, data.classes)
    image = data.inputs("train", slice(0, 1))
    try:
        with left_alone(model), torch.no_grad():
            outputs = model(image)
    except (RuntimeError, ValueError, TypeError) as error:
        shape = "x".join(str(size) for size in image.shape[1:])
        raise DataError(
            f"{settings.network} does not take the {shape} images of {data.name}: {error}"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or outputs.size(1) < data.classes:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise DataError(
            f"{settings.network} gives {found} for one image of {data.name}; it must give "
            f"(1, classes), with at least {data.classes} classes"
        )
    return model


def _build(settings: ModelSettings, in_channels: int, classes: int) -> nn.Module:
    """The float network.

    Raises:
        SettingError: a user-defined network cannot be made.
    """
    make = registry.find("network", settings.network)
    if settings.factory is None:
        model: nn.Module = make(in_channels, classes)
        return model
    made = call_custom(settings.factory, make, settings.arguments)
    if not isinstance(made, nn.Module):
        raise SettingError(f"{settings.factory} gave {type(made).__name__}, not an nn.Module")
    return made


def save(path: Any, model: nn.Module, data: DataSet, settings: dict[str, Any]) -> Inventory:
    """Write a checkpoint: the state and, inside it, the settings that made it.

    The record also says which data set the network was trained on (``made_from``), and lists the
    weights that devices hold, in the order of their use (``programmed``). Weights that the forward
    pass computes are stored beside the state (:mod:`.effective_weights`).

    Returns:
        What is programmed, and what stays digital.

    Raises:
        UnsupportedOperationError: as :func:`swim.networks.weights.tracing.trace`.
    """
    images = data.inputs("train", slice(0, 64)).to(device_of(model))
    with left_alone(model):
        found = trace(model, few(images), images, digital=digital(settings))
    record = {
        **settings,
        "in_channels": data.channels,
        "classes": data.classes,
        "made_from": {**settings.get("made_from", {}), "data": data.digest},
        "programmed": list(found.weights),
        "inventory": found.inventory.record(),
    }
    state: dict[str, Tensor] = model.state_dict()
    for name, weight in found.weights.items():
        if name not in state or not torch.equal(state[name], weight):
            state[effective_weights.MARK + name] = weight
    files.save_arrays(path, {name: value.cpu().numpy() for name, value in state.items()}, record)
    return found.inventory


def digital(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names and patterns of the weights that a checkpoint's settings keep digital."""
    return tuple(settings.get("model", {}).get("digital", ()))


def load(path: Any, trusted: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint, in eval mode, and the checkpoint's settings.

    Args:
        path: a file that :func:`save` wrote, or what ``swim export`` made of it: the same network,
            bit for bit (:mod:`.integer_weights`).
        trusted: the import of a user-defined network. A checkpoint that names another function
            cannot make us call it.

    Raises:
        DataError: the file is missing, damaged or holds another network.
        SettingError: its network is an import that is not the trusted one.
    """
    tensors, settings = files.load_tensors(path)
    if "model" not in settings:
        raise DataError(f"{path}: not a checkpoint of ours")
    try:
        model_settings = ModelSettings.model_validate(settings["model"])
    except ValueError as error:
        raise DataError(f"{path}: is of a version with other settings: {error}") from error
    if model_settings.factory not in (None, trusted):
        raise SettingError(
            f"{path}: its network is made by {model_settings.factory}; if you trust that, add "
            f"--network {model_settings.factory}"
        )
    model = _build(model_settings, settings["in_channels"], settings["classes"])
    if model_settings.activation_bits:
        quantisation.quantise_activations(model, model_settings.activation_bits)
    try:
        whole = integer_weights.unpack(tensors, settings)
        model.load_state_dict(effective_weights.state(whole))
    except RuntimeError as error:
        raise DataError(f"{path}: does not fit {model_settings.label}: {error}") from error
    return model.eval(), settings
