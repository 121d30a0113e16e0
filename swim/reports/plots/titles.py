"""What figures say of an experiment: network, data and devices in words, as a paper has them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from swim.settings import DeviceSettings, PlotJob

NETWORKS = {
    "mlp3": "MLP of 3 layers", "mlp4": "MLP of 4 layers", "lenet": "LeNet", "convnet": "ConvNet",
    "resnet18": "ResNet-18", "vgg11": "VGG-11", "densenet121": "DenseNet-121",
}  # fmt: skip
DATASETS = {
    "mnist": "MNIST", "mnist5k": "MNIST (5,000 digits)", "cifar10": "CIFAR-10",
    "tinyimagenet": "Tiny ImageNet",
}  # fmt: skip
VARIATIONS = {"rram1": "RRAM1", "rram4": "RRAM4", "fefet2": "FeFET2", "fefet6": "FeFET6"}
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_LABEL = re.compile(r"(?P<name>.+?)(-(?=[wa]\d)(w(?P<weights>\d+))?(a(?P<activations>\d+))?)?")


def network_words(label: str) -> str:
    """A network with its bits in words, from its name in tables: ``lenet-w4a4``.

    As :attr:`swim.settings.ModelSettings.label` writes it.
    """
    found = _LABEL.fullmatch(label)
    if not found:
        return label
    weights, activations = found["weights"], found["activations"]
    name = NETWORKS.get(found["name"], found["name"])
    if weights == activations:
        return f"{name}, {weights}-bit" if weights else f"{name}, float"
    kinds = (("weights", weights), ("activations", activations))
    return ", ".join([name, *(f"{bits or 'float'}{'-bit' * bool(bits)} {kind}"
                              for kind, bits in kinds)])  # fmt: skip


def dataset_words(name: str) -> str:
    """A data set as papers write it; a user's own keeps its name."""
    return DATASETS.get(name, name)


def device_words(device: DeviceSettings) -> str:
    """A memory device in words: devices per weight, bits, and what departs from a plain one."""
    count = -(-device.M // device.K)
    number = _NUMBERS[count] if count < len(_NUMBERS) else str(count)
    words = [f"{number} {device.K}-bit device{'s' * (count > 1)} per weight"]
    if variation := device.variation:
        source = VARIATIONS.get(variation.name or "", variation.name)
        words.append(source or variation.table or variation.factory or "")
    if device.write_verify == "pulse":
        words.append("pulses")
    if device.read_noise:
        words.append(f"read noise {device.read_noise:g}")
    return ", ".join(words)


def chips_words(rows: pd.DataFrame) -> str:
    """The number of chips per point: one number, or the least and the largest."""
    numbers = sorted({int(count) for count in rows["chips"].dropna()})
    if not numbers:
        return ""
    return f"{numbers[0]}{f' to {numbers[-1]}' * (len(numbers) > 1)} chips"


def points_words(within: str) -> str:
    """An accuracy drop: ``within 0.5 points``."""
    return f"within {within} point{'s' * (within != '1')}"


@dataclass(frozen=True)
class Words:
    """What a figure says of its experiment.

    Attributes:
        network: with its bits, or empty where that is unknown.
        dataset: or empty.
        devices: in words, by name; those that are unknown keep their name.
    """

    network: str = ""
    dataset: str = ""
    devices: dict[str, str] = field(default_factory=dict)

    def device(self, name: str, beside: Iterable[str] = ()) -> str:
        """A device in words, with its name where another one in the figure has the same words."""
        words = self.devices.get(name, name)
        same = [other for other in beside if self.devices.get(other, other) == words]
        return f"{words} ({name})" if len(set(same) - {name}) else words

    def title(self, *parts: str) -> str:
        """Network, data set, and what else there is to say."""
        return ", ".join(part for part in (self.network, self.dataset, *parts) if part)


def words(job: PlotJob, table: pd.DataFrame | None = None) -> Words:
    """The words of an experiment, from its settings; without them, from its table's names."""
    network = network_words(job.model.label) if job.model else ""
    dataset = dataset_words(job.dataset) if job.dataset else ""
    if table is not None and len(table):
        first = table.iloc[0]
        network = network or network_words(str(first.get("model", "")))
        dataset = dataset or dataset_words(str(first.get("dataset", "")))
    devices = {name: device_words(device) for name, device in job.devices.items()}
    return Words(network, dataset, devices)
