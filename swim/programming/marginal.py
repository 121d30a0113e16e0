"""One write cycle at a time, always for a weight whose expected benefit is among the largest.

Every device is read once, which gives each weight's error ``E = sum_j s_j e_j``. One more cycle of
device j leaves the error x. A worse x can be rewritten again, so the expected benefit of the cycle
is ``H E[(E^2 - x^2)^+]``, the price at which a further search and stopping are equal (Weitzman,
Econometrica 47:641, 1979). The policy lowers a price from the largest expected benefit. All weights
above the price get a cycle of their best device and are read again, until no weight is above it.
Each weight thus ends within a tolerance of its own, where the last cycle has the same expected
benefit for all weights.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from swim.devices.normals import between, density, normal
from swim.devices.write_verify import writer
from swim.programming.budgeted import Budgeted, account
from swim.programming.cells import Cells
from swim.programming.chip import Chip, Programmed

# The price falls to this fraction of the largest expected benefit: weights within a fifth of it get
# their cycles at once.
FALL = 0.8
_AT_ONCE = 1 << 18  # weights ranked at once, so that memory is bounded


class Layer:
    """A layer's devices during programming, and the expected benefit of each weight's next cycle.

    Errors and readings are fractions of full scale, on the side of the differential pair that holds
    the weight.

    Attributes:
        cells: the devices.
        errors: what each device holds beyond its target level: (slices, weights).
        spent: cycles of each device beyond its first: int32 (slices, weights).
        worth: expected saving of loss by the next cycle of each weight: float64 (weights,).
    """

    def __init__(
        self,
        cells: Cells,
        curvature: Tensor,
        errors: Tensor | None = None,
        readings: Tensor | None = None,
        offset: Tensor | None = None,
    ):
        """After the first writes.

        Args:
            cells: the devices, with their target levels.
            curvature: H * max|W_layer|^2: (weights,).
            errors: of each device: (slices, weights); None: those of its first write.
            readings: of each device, once: (slices, weights); None: those after its first write.
            offset: sum of the devices' nominal levels minus the weight: (weights,); None: zero.
        """
        self.cells, self._writer = cells, writer(cells.device)
        self._curvature = curvature.clamp(min=0)
        self.errors = (cells.errors if errors is None else errors).clone()
        self._trust = cells.trust_at(cells.levels).expand(cells.shape)
        self._believed = (cells.readings if readings is None else readings) * self._trust
        self._offset = torch.zeros_like(curvature) if offset is None else offset
        self._sides = cells.sides.expand(cells.shape)
        self._draws = cells.draws("marginal")
        self.spent = torch.zeros(cells.shape, dtype=torch.int32, device=curvature.device)
        self.worth = torch.zeros_like(curvature)
        self._best = torch.zeros(len(curvature), dtype=torch.int64, device=curvature.device)
        if cells.device.write_verify != "closed_form":  # which has no single cycles to spend
            for part in torch.arange(len(curvature), device=curvature.device).split(_AT_ONCE):
                self._rank(part)

    def cycle(self, at: Tensor) -> None:
        """Write and read the best device of each of these weights once: int64 (n,)."""
        cells, device = self.cells, self.cells.device
        best = self._best[at]
        place, side = (best, at), self._sides[best, at]
        level, sigma = cells.levels[place], cells.sigma[place]
        centre = self._centres(at, self._rest(at)[1]).gather(0, best[None])[0]
        mean, spread = self._writer.once(self.errors[place] * side, centre, sigma)
        error = device.clipped(mean + spread * normal(self._draws, at), level)
        reading = (
            error + device.read_noise * normal(self._draws, at) if device.read_noise else error
        )
        self.errors[place] = error * side
        self._believed[place] = reading * self._trust[place] * side
        self.spent[place] += 1
        self._rank(at)

    def _rest(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Each weight's error (n,), and without each device (slices, n): float64."""
        own = self.cells.significance * self._believed[:, at].double()
        total = self._offset[at] + own.sum(0)
        return total, total - own

    def _centres(self, at: Tensor, rest: Tensor) -> Tensor:
        """The error of each device that would cancel its weight's error, within its range."""
        level = self.cells.levels[:, at]
        wanted = -self._sides[:, at] * rest / self.cells.significance
        return torch.minimum(torch.maximum(wanted, -level), 1 - level).to(self.errors.dtype)

    def _rank(self, at: Tensor) -> None:
        """Find the best device of each of these weights, and the expected benefit of one cycle."""
        cells, device = self.cells, self.cells.device
        total, rest = self._rest(at)
        side, trust = self._sides[:, at], self._trust[:, at]
        mean, spread = self._writer.once(
            self._believed[:, at] * side, self._centres(at, rest), cells.sigma[:, at]
        )
        level = cells.levels[:, at].double()
        ends = (-level, 1 - level) if device.clip else None
        significance = cells.significance.double()
        saved, chance = expected_saving(
            total, side * rest, significance, mean.double(), spread.double() * trust.sqrt(), ends
        )
        # No cycle for a device without variance, for a weight whose error is inside the tolerance,
        # or where the cycle limit would probably come first.
        done = (trust == 0) | (total.abs() <= device.tolerance * significance)
        done |= (self.spent[:, at] >= device.cycle_limit) | (chance * device.cycle_limit < 1)
        worth, best = saved.masked_fill_(done, 0).max(0)
        self.worth[at], self._best[at] = self._curvature[at] * worth, best

    def programmed(self) -> Tensor:
        """The weight as its devices hold it."""
        return self.cells.moved(self._offset + (self.cells.significance * self.errors).sum(0))


def expected_saving(
    total: Tensor,
    rest: Tensor,
    significance: Tensor,
    mean: Tensor,
    spread: Tensor,
    ends: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """``E[(E^2 - x^2)^+]`` for x = rest + s e, with e normal and clipped to its range.

    With x normal, of mean m and deviation w, and a, b what ``-|E|`` and ``|E|`` are in these
    units: ``(E^2 - m^2 - w^2) (Phi(b) - Phi(a)) + 2 m w (phi(b) - phi(a)) + w^2 (b phi(b) - a
    phi(a))``.

    Args:
        total: E, the error of each weight: float64 (weights,).
        rest: that error without each device, on the device's side: (slices, weights).
        significance: s of each slice: (slices, 1).
        mean: of e: (slices, weights).
        spread: its standard deviation: (slices, weights).
        ends: the least and largest e; None: it has none.

    Returns:
        It, at least 0, and the probability that x^2 < E^2: float64 (slices, weights).
    """
    centre, width = rest + significance * mean, (significance * spread).clamp(min=1e-30)
    size, square = total.abs(), total**2
    low, high = (-size - centre) / width, (size - centre) / width
    on_ends, reached = torch.zeros_like(centre), torch.zeros_like(centre)
    if ends is not None:
        bottom, top = ((end - mean) / spread.clamp(min=1e-30) for end in ends)
        low = torch.minimum(torch.maximum(low, bottom), top)
        high = torch.minimum(torch.maximum(high, bottom), top)
        for end, beyond in zip(ends, (bottom, -top), strict=True):
            saved = (square - (rest + significance * end) ** 2).clamp(min=0)
            mass = torch.special.ndtr(beyond)
            on_ends += saved * mass
            reached += mass * (saved > 0)
    inside = between(low, high, 1.0)
    density_low, density_high = density(low), density(high)
    saved = (square - centre**2 - width**2) * inside
    saved += 2 * centre * width * (density_high - density_low)
    saved += width**2 * (_times(high, density_high) - _times(low, density_low))
    return saved.clamp(min=0) + on_ends, inside + reached


def _times(z: Tensor, density_of_z: Tensor) -> Tensor:
    """Their product, zero where z is infinite."""
    return torch.where(density_of_z > 0, z * density_of_z, 0.0)


class Marginal(Budgeted):
    """The policy that gives each cycle to the weight with the largest expected benefit."""

    def program(self, chip: Chip) -> Programmed:
        """Write and read every device once, then spend the budget.

        Raises:
            DataError: scores are of another network.
            SettingError: the device does not simulate single cycles.
        """
        made = self._spend(chip)
        return account(self._accounts(*made))

    def spent(self, chip: Chip) -> dict[str, Tensor]:
        """Cycles of each device beyond its first: name -> (slices, weights)."""
        return {layer.cells.name: layer.spent for layer in self._spend(chip)[1]}

    def start(self, cells: Cells, curvature: Tensor) -> Layer:
        """A layer once every device was written and read.

        Raises:
            SettingError: the device does not simulate single cycles.
        """
        cells.must_simulate("marginal")
        return Layer(cells, curvature)

    def _spend(self, chip: Chip) -> tuple[list[Cells], list[Layer]]:
        """Devices as they are without the policy, and layers with the budget spent."""
        own, layers = [], []
        for cells, curvature in self._start(chip):
            own.append(cells)
            layers.append(self.start(cells, curvature))
        left = self._budget_cycles(own)
        while left > 0:
            most = max(float(layer.worth.max()) for layer in layers)
            if not most > 0:
                break
            left = _buy(layers, FALL * most, left)
        return own, layers

    @staticmethod
    def _accounts(
        own: list[Cells], layers: list[Layer]
    ) -> Iterator[tuple[Cells, Tensor, float, float]]:
        for cells, layer in zip(own, layers, strict=True):
            cycles = float(layer.spent.sum())
            yield cells, layer.programmed(), cycles, math.prod(cells.shape) + cycles


def _buy(layers: list[Layer], price: float, left: float) -> float:
    """Give cycles to all weights for which the next one is worth more than a price.

    A weight gets one cycle after another until its next one is worth no more than the price.

    Args:
        layers: which are written to.
        price: expected saving of loss for one cycle.
        left: cycles that may be spent.

    Returns:
        The cycles that are left, 0 or less if the budget is spent.
    """
    dear = [(layer.worth > price).nonzero().squeeze(1) for layer in layers]
    while left > 0 and any(len(at) for at in dear):
        chosen = _affordable(layers, dear, left)
        for layer, at in zip(layers, chosen, strict=True):
            if len(at):
                layer.cycle(at)
        left -= sum(len(at) for at in chosen)
        # A weight that was not written is worth what it was.
        dear = [at[layer.worth[at] > price] for layer, at in zip(layers, dear, strict=True)]
    return left


def _affordable(layers: list[Layer], dear: list[Tensor], left: float) -> list[Tensor]:
    """The weights ``dear`` of each layer, or the best of them if the budget is less than all."""
    count = sum(len(at) for at in dear)
    if count <= left:
        return dear
    worth = torch.cat([layer.worth[at] for layer, at in zip(layers, dear, strict=True)])
    best = torch.zeros(count, dtype=torch.bool, device=worth.device)
    order = torch.sort(worth, descending=True, stable=True).indices
    best[order[: math.ceil(left)]] = True
    parts = best.split([len(at) for at in dear])
    return [at[part] for at, part in zip(dear, parts, strict=True)]
