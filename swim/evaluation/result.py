"""What :func:`swim.evaluate` returns: accuracy and costs of chips, and their differences."""

import dataclasses
import html
import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from swim.devices.bit_sliced import Device
from swim.errors import SettingError, short
from swim.evaluation import statistics
from swim.evaluation.monte_carlo import COLUMNS
from swim.networks.weights.inventory import Inventory

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Figures are of a later room, which imports this one, so this module is found by its name.
_FIGURE = "swim.reports.plots.chips_figure"


@dataclass(frozen=True)
class Setup:
    """Which chips a result is of: two results of equal setups are paired chip by chip.

    Attributes:
        device: the memory device, with its sigma.
        seed: of all random draws.
        first_chip: number of the first chip.
        loss: name of the loss.
        images: number of test images.
        images_digest: of the values of these images and their labels.
        weights_digest: of the values of the programmed weights.
        arithmetic: ``float32`` or ``bfloat16``, which rounds predictions.
    """

    device: Device
    seed: int
    first_chip: int
    loss: str
    images: int
    images_digest: str
    weights_digest: str
    arithmetic: str = "float32"

    def differences(self, other: "Setup") -> Iterator[str]:
        """What differs from another setup, in words."""
        if self.device != other.device:
            for field in dataclasses.fields(self.device):
                own, theirs = (getattr(setup.device, field.name) for setup in (self, other))
                if own != theirs:
                    yield f"device.{field.name} is {short(own)} and {short(theirs)}"
        for name in ("seed", "first_chip", "loss", "images", "arithmetic"):
            own, theirs = getattr(self, name), getattr(other, name)
            if own != theirs:
                yield f"{name} is {own} and {theirs}"
        same = self.images == other.images and self.arithmetic == other.arithmetic
        if same and self.images_digest != other.images_digest:
            yield "the test images or their labels have other values"
        if self.weights_digest != other.weights_digest:
            yield "the programmed weights have other values (another network, or other digital=)"


class _Shown:
    """Statistics over chips of the attribute ``accuracy``; without one (NaN), of ``loss``."""

    accuracy: Tensor
    loss: Tensor

    @property
    def _summary(self) -> statistics.Summary:
        return statistics.summarise(self.accuracy.numpy())

    @property
    def mean(self) -> float:
        """Mean accuracy over chips."""
        return self._summary.mean

    @property
    def std(self) -> float:
        """Standard deviation of the accuracy over chips; NaN for one chip."""
        return self._summary.std

    @property
    def ci95(self) -> float:
        """Half-width of the mean accuracy's 95 % interval (Student's t); NaN for one chip."""
        return self._summary.ci95

    @property
    def _has_accuracy(self) -> bool:
        return not bool(self.accuracy.isnan().any())

    def _rows(self) -> Iterator[tuple[str, str]]:
        """Names and values, the most important first."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        """The same as a table, which notebooks show."""
        return html_table(type(self).__name__, self._rows())


def html_table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Names and values as a table of HTML."""
    lines = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table><caption>{html.escape(title)}</caption>{lines}</table>"


@dataclass(frozen=True, repr=False)
class Result(_Shown):
    """Accuracy and costs, one entry per chip.

    ``one - other`` is the :class:`Difference` of two results of the same chips.

    Attributes:
        accuracy: fraction of the labels that count (most often: of the images) that are predicted
            correctly, in [0, 1]: float64 (chips,).
        loss: mean loss over these labels; over the images for mse: float64 (chips,).
        nwc_per_chip: normalised write cycles (NWC) of each chip: float64 (chips,).
        reads: reads per device, averaged over the devices of a chip: float64 (chips,).
        programmed: the programmed weights, name -> number of them; ``programmed.total`` is their
            number in all, ``programmed.digital`` what stays exact, name -> reason.
        setup: which chips these are.
        by: what programmed them, in words: the mask or the policy.
    """

    accuracy: Tensor
    loss: Tensor
    nwc_per_chip: Tensor
    reads: Tensor
    programmed: Inventory
    setup: Setup | None = None
    by: str = ""

    @property
    def p05(self) -> float:
        """Fifth percentile of the accuracy over chips; NaN below 60 chips, which are too few."""
        return self._summary.p05.value

    @property
    def nwc(self) -> float:
        """Mean normalised write cycles over chips."""
        return float(self.nwc_per_chip.mean())

    @property
    def cycles(self) -> Tensor:
        """The former name of :attr:`nwc_per_chip`; it goes in version 0.3."""
        warnings.warn(
            "Result.cycles is now Result.nwc_per_chip (their mean is Result.nwc)",
            FutureWarning,
            stacklevel=2,
        )
        return self.nwc_per_chip

    def __repr__(self) -> str:
        parts = [
            _mean("accuracy", self.accuracy, 100, " %") if self._has_accuracy
            else _mean("loss", self.loss),
            f"{len(self.loss):,} chips",
            f"NWC {self.nwc:.3g}",
        ]  # fmt: skip
        if self.setup:
            parts.append(f"sigma {self.setup.device.sigma:g}")
        return f"Result({', '.join([*parts, self.by] if self.by else parts)})"

    def _rows(self) -> Iterator[tuple[str, str]]:
        if self._has_accuracy:
            yield "accuracy, mean ± 95 % interval", _mean("", self.accuracy, 100, " %")
            yield "standard deviation over chips", f"{100 * self.std:.2f} points"
            p05 = self._summary.p05
            if not math.isnan(p05.value):
                ends = f"[{100 * p05.low:.2f}, {100 * p05.high:.2f}]"
                yield "fifth percentile over chips", f"{100 * p05.value:.2f} % {ends}"
        yield "loss, mean ± 95 % interval", _mean("", self.loss)
        yield "normalised write cycles (NWC)", f"{self.nwc:.4g}"
        yield "reads per device", f"{float(self.reads.mean()):.4g}"
        yield "chips", f"{len(self.loss):,}"
        yield "programmed weights", f"{self.programmed.total:,}"
        if self.by:
            yield "by", self.by
        if self.setup:
            yield "device", repr(self.setup.device)
            yield "test images", f"{self.setup.images:,}"
            yield "seed", str(self.setup.seed)

    def to_frame(self) -> "pd.DataFrame":
        """One row per chip, with the columns of the pipeline's chips files.

        Returns:
            ``chip`` (its number), ``accuracy`` in [0, 1], ``loss``, ``nwc``, ``reads`` (per
            device) and ``images`` (that the chip was measured on; empty without a setup).
        """
        import pandas as pd

        first = self.setup.first_chip if self.setup else 0
        columns = [range(first, first + len(self.loss)), self.accuracy.numpy(), self.loss.numpy(),
                   self.nwc_per_chip.numpy(), self.reads.numpy(),
                   self.setup.images if self.setup else pd.NA]  # fmt: skip
        return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))

    def plot(self, width: str = "page") -> "Figure":
        """How accuracy (without one: loss) is distributed over chips, with its mean and p05.

        Args:
            width: ``column`` (3.5 inches), ``page`` (7.1) or ``slide`` (12).

        Returns:
            A figure of matplotlib, apart from pyplot's: ``figure.savefig("chips.pdf")``.
        """
        draw = import_module(_FIGURE).chips_figure
        setup = f"σ = {self.setup.device.sigma:g}" if self.setup else ""
        title = ", ".join(part for part in (self.by, setup, f"{len(self.loss):,} chips") if part)
        if self._has_accuracy:
            figure: Figure = draw(100 * self.accuracy.numpy(), "accuracy (%)", title, width=width)
            return figure
        loss: Figure = draw(self.loss.numpy(), "loss", title, width=width)
        return loss

    def __sub__(self, other: object) -> "Difference":
        """The difference to a result of the same chips, paired chip by chip.

        Raises:
            SettingError: the two are not of the same chips: of other devices, seeds, numbers of
                chips, images or weights; all that differs is named.
        """
        if not isinstance(other, Result):
            return NotImplemented
        if self.setup is None or other.setup is None:
            raise SettingError(
                "a result does not say which chips it is of, so that it cannot be compared chip by "
                "chip; take results of swim.evaluate"
            )
        different = list(self.setup.differences(other.setup))
        if len(self.loss) != len(other.loss):
            different.append(f"chips is {len(self.loss)} and {len(other.loss)}")
        if different:
            raise SettingError(
                f"these results are not of the same chips: {'; '.join(different)}. Evaluate both "
                "with the same model, batches, device, seed and chips, and let mask or policy "
                "alone differ"
            )
        return Difference(
            self.accuracy - other.accuracy,
            self.loss - other.loss,
            self.nwc_per_chip - other.nwc_per_chip,
            self.reads - other.reads,
            (self.by, other.by),
        )


@dataclass(frozen=True, repr=False)
class Difference(_Shown):
    """One result minus another, chip by chip: noise that both share cancels.

    ``mean``, ``std`` and ``ci95`` are of the difference in accuracy over chips; the interval is
    that of paired samples (Student's t).

    Attributes:
        accuracy: difference in accuracy, in [-1, 1]: float64 (chips,).
        loss: difference in loss: float64 (chips,).
        nwc_per_chip: difference in normalised write cycles: float64 (chips,).
        reads: difference in reads per device: float64 (chips,).
        by: what programmed the chips of the two results.
    """

    accuracy: Tensor
    loss: Tensor
    nwc_per_chip: Tensor
    reads: Tensor
    by: tuple[str, str] = ("", "")

    @property
    def nwc(self) -> float:
        """Mean difference in normalised write cycles over chips."""
        return float(self.nwc_per_chip.mean())

    def __repr__(self) -> str:
        first = (
            _mean("accuracy", self.accuracy, 100, " points", "+") if self._has_accuracy
            else _mean("loss", self.loss, sign="+")
        )  # fmt: skip
        between = " minus ".join(self.by) if all(self.by) else ""
        parts = [first, f"paired over {len(self.loss):,} chips", f"NWC {self.nwc:+.3g}", between]
        return f"Difference({', '.join(part for part in parts if part)})"

    def _rows(self) -> Iterator[tuple[str, str]]:
        if self._has_accuracy:
            yield ("accuracy, mean ± 95 % interval",
                   _mean("", self.accuracy, 100, " points", "+"))  # fmt: skip
        yield "loss, mean ± 95 % interval", _mean("", self.loss, sign="+")
        yield "normalised write cycles (NWC)", f"{self.nwc:+.4g}"
        yield "reads per device", f"{float(self.reads.mean()):+.4g}"
        yield "chips, in pairs", f"{len(self.loss):,}"
        if all(self.by):
            yield "of", " minus ".join(self.by)

    def to_frame(self) -> "pd.DataFrame":
        """One row per chip: the differences in ``accuracy``, ``loss``, ``nwc`` and ``reads``."""
        import pandas as pd

        values = (self.accuracy, self.loss, self.nwc_per_chip, self.reads)
        columns = zip(("accuracy", "loss", "nwc", "reads"), values, strict=True)
        return pd.DataFrame({name: value.numpy() for name, value in columns})

    def plot(self, width: str = "page") -> "Figure":
        """How the difference in accuracy is distributed over chips; else as :meth:`Result.plot`."""
        draw = import_module(_FIGURE).chips_figure
        title = ", ".join([" minus ".join(filter(None, self.by)), f"{len(self.loss):,} chips"])
        if self._has_accuracy:
            figure: Figure = draw(
                100 * self.accuracy.numpy(), "difference in accuracy (points)", title, width=width
            )
            return figure
        loss: Figure = draw(self.loss.numpy(), "difference in loss", title, width=width)
        return loss


def _mean(name: str, values: Tensor, scale: float = 1, unit: str = "", sign: str = "") -> str:
    """Mean and half-width of its interval, to the interval's second digit."""
    found = statistics.summarise(scale * values.numpy())
    places = 4 if scale == 1 else 2
    if 0 < found.ci95 < math.inf:
        places = min(8, max(0 if found.ci95 >= 10 else 1, 1 - math.floor(math.log10(found.ci95))))
    half = "" if math.isnan(found.ci95) else f" ± {found.ci95:.{places}f}"
    return f"{name} {found.mean:{sign}.{places}f}{half}{unit}".strip()


def described(policy: Any) -> str:
    """What a mask or policy is, in words; of a user's own its ``words``, its repr or its class."""
    words = getattr(policy, "words", None)
    if isinstance(words, str):
        return words
    plain = "__repr__" not in {name for kind in type(policy).__mro__[:-1] for name in vars(kind)}
    return type(policy).__name__ if plain else short(policy)


def of_rows(rows: list[list[float]], **rest: Any) -> Result:
    """A result from its rows of accuracy, loss, NWC and reads; ``rest`` are its other fields."""
    accuracy, losses, nwc, reads = torch.tensor(rows, dtype=torch.float64).T
    return Result(accuracy, losses, nwc, reads, **rest)
