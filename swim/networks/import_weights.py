"""A user's trained weights, taken as the checkpoint instead of training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swim.data.dataset import DataSet
from swim.data.labels import NotFiniteError, each_loss
from swim.errors import DataError
from swim.networks import checkpoint, quantisation
from swim.networks.diverged import where
from swim.networks.isolation import device_of, left_alone
from swim.networks.state_files import states
from swim.networks.state_match import matched
from swim.networks.subject import subject_of
from swim.runtime import files
from swim.settings import ModelSettings


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
        path: safetensors, or a state dict or a training's checkpoint by ``torch.save`` (which is
            read without running code). A checkpoint of ours with the same network and bits, as
            trained or exported, is taken as it is, bit for bit. In other files prefixes of names
            are understood, such as those of data-parallel training, Lightning, averaged and
            compiled models, and so are the names of the paper's first release. Weights of other
            networks in the file are left out, and reported.
        settings: the network. With bits, a float state is quantised after training: activation
            ranges are calibrated on ``calibration_images`` training images, unless the file holds
            ranges of our activation quantisers.
        data: a prepared data set, which fixes channels and classes.
        calibration_images: number of training images to calibrate on; their accuracy is reported.
        report: called with each line about what was loaded.

    Returns:
        The network in eval mode, with weights as they are to be programmed.

    Raises:
        DataError: the file is missing, of another kind, or does not fit the network (the message
            lists the differences), or the network's outputs are not finite. Or an exported
            checkpoint is of another network or other bits.
    """
    record = _record(path)
    model = checkpoint.initial(settings, data, 0).eval()
    if record is not None and _fits(path, record, settings, data, report):
        model = checkpoint.load(path, settings.factory)[0]
    else:
        model = _matched(path, settings, model, data, calibration_images, report)
    try:
        report(_accuracy(model, data, calibration_images))
    except NotFiniteError as error:
        sample = data.inputs("train", slice(0, 500))
        with left_alone(model):
            subject = subject_of(model, sample[:2])
            place = where(lambda mode: subject.run(subject.under(mode), sample))
        raise NotFiniteError(f"{path}: on images of {data.name} {error}{place}") from None
    return model


def _matched(
    path: Path,
    settings: ModelSettings,
    model: nn.Module,
    data: DataSet,
    calibration_images: int,
    report: Callable[[str], None],
) -> nn.Module:
    """The float network with the weights of a file of any kind, quantised as the settings say."""
    found = states(path)
    calibrated = any("input_quantiser." in name for state in found.values() for name in state)
    if settings.activation_bits and calibrated:  # the file has a place for their ranges
        quantisation.quantise_activations(model, settings.activation_bits)
    model.load_state_dict(matched(model, found, f"{path} does not fit {settings.label}", report))
    inputs = quantisation.calibration_inputs(data, calibration_images, device_of(model))
    quantisation.quantise(model, settings, None if calibrated else inputs)
    if settings.weight_bits:
        quantisation.deploy(model)
    return model


def _record(path: Path) -> dict[str, Any] | None:
    """The record of a file of ours, checked; None for any other file.

    Raises:
        DataError: the file is one of ours and damaged, or no checkpoint.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np") as file:
            ours = "swim" in (file.metadata() or {})
    except Exception:  # another kind of file, or a broken one: its reader will say which
        return None
    if not ours:
        return None
    record = files.read_settings(path)
    if "programmed" not in record:
        raise DataError(f"{path}: is a file of SWIM, but no checkpoint")
    return record


def _fits(
    path: Path,
    record: dict[str, Any],
    settings: ModelSettings,
    data: DataSet,
    report: Callable[[str], None],
) -> bool:
    """Whether a checkpoint of ours is of this network and these bits, and can be taken as it is.

    Raises:
        DataError: it is not, and its weights are integers; or its images or classes differ.
    """
    try:
        theirs = _identity(ModelSettings.model_validate(record["model"]))
    except ValueError as error:
        raise DataError(f"{path}: is of a version with other settings: {error}") from error
    wanted = _identity(settings)
    if theirs != wanted:
        if record.get("integers"):
            raise DataError(
                f"{path}: is an exported checkpoint, whose weights are integers of one network and "
                f"one number of bits. `model:` differs:\n{_differences(theirs, wanted)}\nSet "
                "`model:` to what the file is of, or start from another file: float weights can "
                "be quantised to any bits"
            )
        if theirs["weight_bits"] and settings.weight_bits:
            report(f"its weights of {theirs['weight_bits']} bits are quantised again")
        return False
    sizes = record["in_channels"], record["classes"]
    if sizes != (data.channels, data.classes):
        raise DataError(
            f"{path} does not fit {data.name}: its network is of {sizes[0]} channels and "
            f"{sizes[1]} classes, the data set has {data.channels} and {data.classes}"
        )
    report("a checkpoint of SWIM with this network and these bits: taken as it is")
    _tell_origin(record, data, report)
    return True


def _identity(settings: ModelSettings) -> dict[str, Any]:
    """What the weights of a network depend on; which of them stay digital is chosen later."""
    return {
        "network": settings.network,
        "arguments": settings.arguments,
        "weight_bits": settings.weight_bits,
        "activation_bits": settings.activation_bits,
    }


def _differences(theirs: dict[str, Any], wanted: dict[str, Any]) -> str:
    return "\n".join(
        f"  {key}: the file has {theirs[key]!r}, the settings {wanted[key]!r}"
        for key in theirs
        if theirs[key] != wanted[key]
    )


def _tell_origin(record: dict[str, Any], data: DataSet, report: Callable[[str], None]) -> None:
    """Report the stored accuracy, and what differs between its data set and this one."""
    if "clean" in record:
        clean = record["clean"]
        report(
            f"its accuracy on {clean['images']} test images, as stored in it: "
            f"{clean['accuracy']:.2%}"
        )
    if record["made_from"].get("data", data.digest) == data.digest:
        return
    report(
        f"warning: it was trained on another data set, {record.get('dataset')}, than this one, "
        f"{data.name}: classes must have the same order"
    )
    scale = {"mean": list(data.mean), "std": list(data.std)}
    if record.get("normalisation", scale) != scale:
        report(f"warning: its images were normalised with {record['normalisation']}, not {scale}")


def _accuracy(model: nn.Module, data: DataSet, images: int) -> str:
    right = total = 0
    with torch.no_grad():
        for inputs, labels in data.batches("train", 500, images):
            right += int(each_loss("cross_entropy", model(inputs), labels)[0].sum())
            total += len(labels)
    line = f"accuracy on {total} training images: {right / total:.2%}"
    if right * data.classes < 2 * total:
        line += (
            ", hardly better than chance: was it trained on this data, with this order of classes "
            f"and this normalisation (mean {data.mean}, std {data.std})?"
        )
    return line
