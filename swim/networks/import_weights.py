"""A user's trained weights, taken as the checkpoint instead of training."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from swim.data.dataset import DataSet
from swim.data.labels import NotFiniteError, each_loss
from swim.networks import checkpoint, quantisation
from swim.networks.diverged import where
from swim.networks.isolation import device_of, left_alone
from swim.networks.state_files import states
from swim.networks.state_match import matched
from swim.networks.subject import subject_of
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
            read without running code). Prefixes of names are understood, such as those of
            data-parallel training, Lightning, averaged and compiled models, and so are the names
            of the paper's first release. Weights of other networks in the file are left out, and
            reported.
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
            lists the differences), or the network's outputs are not finite.
    """
    model = checkpoint.initial(settings, data, 0).eval()
    found = states(path)
    calibrated = any("input_quantiser." in name for state in found.values() for name in state)
    if settings.activation_bits and calibrated:  # the file has a place for their ranges
        quantisation.quantise_activations(model, settings.activation_bits)
    model.load_state_dict(matched(model, found, f"{path} does not fit {settings.label}", report))
    inputs = quantisation.calibration_inputs(data, calibration_images, device_of(model))
    quantisation.quantise(model, settings, None if calibrated else inputs)
    if settings.weight_bits:
        quantisation.deploy(model)
    try:
        report(_accuracy(model, data, calibration_images))
    except NotFiniteError as error:
        sample = data.inputs("train", slice(0, 500))
        with left_alone(model):
            subject = subject_of(model, sample[:2])
            place = where(lambda mode: subject.run(subject.under(mode), sample))
        raise NotFiniteError(f"{path}: on images of {data.name} {error}{place}") from None
    return model


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
