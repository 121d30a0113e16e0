"""The devices of one layer of one chip: their errors after the first write and after rewrites."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from swim.devices.chunks import Rewritten, packed, stretches, total, unpack
from swim.devices.redraw import Redraw
from swim.devices.write_verify import residual, residual_at, writer
from swim.errors import SettingError
from swim.programming.chip import Chip
from swim.runtime import rng


@dataclass(frozen=True)
class Verified:
    """A layer's devices after write-verify: (slices, weights).

    Attributes:
        errors: what they hold beyond their target levels.
        cycles: rewrites of each, whole numbers of any type; in the closed form expected ones.
    """

    errors: Tensor
    cycles: Tensor


class Cells:
    """A layer's devices, (slices, weights), the most significant slice first.

    Weights are flattened in row-major order. Errors and readings are fractions of a device's full
    scale, and ``significance`` turns them into fractions of ``max|W_layer|``. They are errors of
    the magnitude, on the side of the differential pair that holds it.
    """

    def __init__(
        self, chip: Chip, name: str, levels: Tensor | None = None, sides: Tensor | None = None
    ):
        """The devices that hold a chip's weight.

        Args:
            chip: with its device model, seed and number.
            name: the layer's weight.
            levels: target level of each device, instead of its digit of the weight, as a fraction
                of full scale: (slices, weights).
            sides: -1 where a device is on the other side of its pair than the weight, else 1:
                (slices, weights).
        """
        self.chip, self.name, self.device = chip, name, chip.device
        self.target, self.scale = chip.targets[name], chip.scales[name]
        self.place = self.target.device
        self.significance = torch.tensor(self.device.significance, device=self.place)[:, None]
        self._writer = writer(self.device)
        # A zero is held by the positive side.
        self.sign = torch.where(self.target.flatten() < 0, -1.0, 1.0)
        # Filled when they are first asked for; a big layer keeps no more than it needs.
        self._levels = None if self._alike else levels
        self._normals: Tensor | None = None
        self._verified: Verified | None = None
        self._cycles: Tensor | None = None
        self._verifying: float | None = None
        self.sides = torch.ones(1, 1, device=self.place) if sides is None else sides

    @property
    def shape(self) -> tuple[int, int]:
        """Slices and weights."""
        return self.device.slices, self.target.numel()

    @property
    def magnitudes(self) -> Tensor:
        """``|W| / max|W_layer|``: float32 (weights,)."""
        sizes = self.target.detach().abs().float().flatten()
        return sizes.div_(self._largest if self._largest else 1.0)

    @cached_property
    def _largest(self) -> float:
        """The layer's largest magnitude in single precision, as :meth:`.Device.magnitudes`."""
        return float(self.target.detach().abs().float().max())

    def block(self, at: slice) -> "Cells":
        """Some of the weights' devices, to look at what is known of them, block by block.

        They cannot be verified by themselves: random numbers are drawn for the whole layer.
        """
        part = copy.copy(self)
        part.target, part.sign = self.target.reshape(-1)[at], self.sign[at]
        part._levels = None if self._levels is None else self._levels[:, at]
        part.sides = self.sides if self.sides.shape[1] == 1 else self.sides[:, at]
        part._normals = part._verified = part._cycles = part._verifying = None
        for name in ("sigma", "residual", "rewrites", "planned", "readings", "outside"):
            part.__dict__.pop(name, None)
        part.__dict__["_largest"] = self._largest
        part.__dict__["errors"] = self.errors[:, at]
        part.__dict__["read_noise"] = self.read_noise[:, at]
        return part

    @property
    def _alike(self) -> bool:
        """Whether nothing depends on a device's target level."""
        device = self.device
        return not (device.clip or device.variation or device.write_verify == "pulse")

    @property
    def levels(self) -> Tensor:
        """Target level of each device; zeros, without memory, where nothing depends on it."""
        if self._levels is None:
            if self._alike:
                self._levels = torch.zeros(1, 1, device=self.place).expand(self.shape)
            else:
                self._levels = self.device.levels(self.magnitudes)
        return self._levels

    def _rows(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Level and sigma of one slice after the other; levels are made here but not kept."""
        rows: Iterable[Tensor]
        if self._levels is None and not self._alike:
            rows = self.device.rows(self.magnitudes)
        else:
            rows = self.levels
        return ((row, self.sigma_at(row)) for row in rows)

    @cached_property
    def sigma(self) -> Tensor:
        """Standard deviation of a write."""
        return self.sigma_at(self.levels)

    def sigma_at(self, levels: Tensor) -> Tensor:
        """Standard deviation of a write to other target levels, of any shape."""
        device = self.device
        if device.variation is None:
            return torch.tensor(device.sigma, device=self.place).expand(levels.shape)
        return device.factors(levels) * device.sigma

    @cached_property
    def residual(self) -> Tensor:
        """Residual error: the expected root mean square after write-verify, for planning."""
        if self.device.variation is None:
            return torch.tensor(residual(self.device), device=self.place).expand(self.shape)
        return residual_at(self.device, self.sigma)

    def trust_at(self, levels: Tensor) -> Tensor:
        """Factor from a reading to the expected error: ``sigma^2 / (sigma^2 + noise^2)``."""
        variance = self.sigma_at(levels) ** 2
        return variance / (variance + self.device.read_noise**2).clamp(min=1e-30)

    @property
    def normals(self) -> Tensor:
        """Standard normals of the first writes."""
        if self._normals is None:
            self._normals = self._draw_normals()
        return self._normals

    def _draw_normals(self) -> Tensor:
        return self.chip.normals(self.name).flatten(1).mul_(self.sign)

    def _release_normals(self) -> Tensor:
        """The same, no longer kept: the caller may overwrite them."""
        normals, self._normals = self._normals, None
        return self._draw_normals() if normals is None else normals

    @cached_property
    def errors(self) -> Tensor:
        """Errors after the first writes."""
        if self.device.write_verify == "closed_form":  # whose verified errors use the same normals
            return self.normals * self.sigma
        errors = self._release_normals()
        for error, (level, sigma) in zip(errors, self._rows(), strict=True):
            error.mul_(sigma)
            if self.device.clip:
                error.copy_(self.device.clipped(error, level))
        return errors

    @cached_property
    def read_noise(self) -> Tensor:
        """Noise of the first read of each device."""
        if not self.device.read_noise:
            return torch.zeros(1, 1, device=self.place).expand(self.shape)
        noise = torch.from_numpy(rng.normals(self.draws("reads"), *self.shape))
        return noise.to(self.place) * self.device.read_noise

    @cached_property
    def readings(self) -> Tensor:
        """The first reading of each device, after its first write, minus its target level."""
        return self.errors + self.read_noise

    @cached_property
    def outside(self) -> Tensor:
        """Whether the first reading is outside the tolerance: bool."""
        found = torch.empty(self.shape, dtype=torch.bool, device=self.place)
        for at in stretches(self.shape[1]):
            for own, error, noise in zip(found, self.errors, self.read_noise, strict=True):
                size = error[at] + noise[at] if self.device.read_noise else error[at]
                torch.ge(size.abs(), self.device.tolerance, out=own[at])
        return found

    @property
    def verified(self) -> Verified:
        """Every device after write-verify; those that were inside at once have no cycles.

        The noise realisation is the same for every policy, so that the differences between
        policies are due to the policies alone. In the closed form a verified device keeps its
        standard normal, and its cycles are the expected ones.
        """
        if self._verified is None:
            self._verified = self._verify_all()
        return self._verified

    def _verify_all(self) -> Verified:
        if self.device.write_verify == "closed_form":
            return Verified(self.normals * self.device.verified_sigma, self.planned)
        own, made = self._writer.stream(self.draws("rewrites"), *self._to_verify())
        cycles = torch.zeros(self.shape, dtype=own.dtype, device=self.place)
        unpack(own, self.outside, cycles)
        del own
        errors = self.errors.clone()
        unpack(torch.cat([errors[0, :0], *(part for part, _ in made)]), self.outside, errors)
        return Verified(errors, cycles)

    def errors_where(self, chosen: Tensor) -> Tensor:
        """Errors once some devices were verified, as :attr:`verified`; :attr:`errors` stay.

        Args:
            chosen: bool, (1 or slices, weights).
        """
        chosen = chosen.expand(self.shape)
        if self._verified is not None:
            return torch.where(chosen, self._verified.errors, self.errors)
        errors = self.errors.clone()
        if self.device.write_verify == "closed_form":
            for own, normal, mask in zip(errors, self.normals, chosen, strict=True):
                own[mask] = normal[mask] * self.device.verified_sigma
        else:
            self._replace(errors, chosen)
        return errors

    def _replace(self, errors: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Write what verification leaves on the chosen devices over their ``errors``.

        Returns:
            Cycles of the devices outside their tolerance, and which of them are chosen: flat.
        """
        taken = torch.cat([packed(*row) for row in zip(chosen, self.outside, strict=True)])
        draws = self.draws("rewrites")
        cycles, made = self._writer.stream(draws, *self._to_verify(), taken)
        left = torch.cat([errors[0, :0], *(part for part, _ in made)])
        unpack(left, self.outside.logical_and(chosen), errors)
        return cycles, taken

    @property
    def cycles(self) -> Tensor:
        """Rewrites of each device under full write-verify; in the closed form expected ones."""
        if self.device.write_verify == "closed_form":
            return self.planned
        if self._verified is not None:
            return self._verified.cycles
        if self._cycles is None:
            made = self._writer.cycles(self.draws("rewrites"), *self._to_verify())
            self._cycles = torch.zeros(self.shape, dtype=made.dtype, device=self.place)
            unpack(made, self.outside, self._cycles)
        return self._cycles

    @property
    def offered(self) -> Tensor:
        """:attr:`cycles`, for a policy that then asks what verification leaves.

        Where a simulation of every cycle counts them, its errors are kept, so that there is one.
        """
        if self.device.write_verify != "closed_form" and self._writer.simulates:
            return self.verified.cycles
        return self.cycles

    @property
    def verifying(self) -> float:
        """The sum of :attr:`cycles`."""
        if self._verifying is None:
            self._verifying = total(self.cycles)
        return self._verifying

    def verify(self, chosen: Tensor) -> float:
        """Write-verify some devices and keep their new errors in place; as :attr:`verified`.

        Args:
            chosen: bool, (1 or slices, weights).

        Returns:
            The cycles that these devices take.

        Raises:
            SettingError: in the closed form, which simulates no cycles.
        """
        self.must_simulate("verify")
        cycles, taken = self._replace(self.errors, chosen.expand(self.shape))
        self._verifying = total(cycles)
        del self.outside  # the errors have changed
        return total(cycles.mul_(taken))

    def _to_verify(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sigma, level and centre of the devices outside their tolerance."""
        at = self.outside
        centre = torch.zeros(1, device=self.place).expand(int(at.count_nonzero()))
        if self._alike:  # one probability for all
            return self.sigma[0, :1], self.levels[0, :1], centre
        parts = [
            (packed(level, outside), packed(sigma, outside) if self.device.variation else sigma[:1])
            for outside, (level, sigma) in zip(at, self._rows(), strict=True)
        ]
        levels, sigmas = zip(*parts, strict=True)
        return torch.cat(sigmas) if self.device.variation else sigmas[0], torch.cat(levels), centre

    def rewrite(self, purpose: str, sigma: Tensor, level: Tensor, centre: Tensor) -> Rewritten:
        """Rewrite devices until each is read within the tolerance of its centre.

        Args:
            purpose: keys the random numbers, with the chip and the layer.
            sigma: standard deviation of a write of each device, any shape.
            level: target level of each device, the same shape.
            centre: error around which its reading must lie, the same shape.
        """
        return self._writer.rewrite(self.draws(purpose), sigma, level, centre)

    def draws(self, purpose: str) -> np.random.Generator:
        """The random generator for one purpose of this chip and layer."""
        return rng.generator(self.chip.seed, purpose, self.chip.index, self.name)

    def expected(self, centre: Tensor, sigma: Tensor, level: Tensor) -> Tensor:
        """Mean rewrites of a device outside until it is read within the tolerance of a centre."""
        if self._alike:  # one probability per centre, not per device
            sigma, level = sigma[:1, :1], level[:1, :1]
        return self._writer.expected(sigma, level, centre)

    @cached_property
    def rewrites(self) -> Tensor:
        """Mean rewrites to verify a device that was read outside its tolerance: float64."""
        return self._by_level(self._writer.verifying)

    @cached_property
    def planned(self) -> Tensor:
        """Mean rewrites to verify a device, before it was read: float64.

        :attr:`rewrites` times the probability that the first write is outside the tolerance.
        """
        once = Redraw(self.device)
        inside = self._by_level(
            lambda sigma, level: once.chance(
                sigma, level, torch.zeros_like(level, dtype=torch.float64)
            )
        )
        return (1 - inside) * self.rewrites

    def _by_level(self, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """A function of sigma and level for each device, computed once per level."""
        if self._alike:
            return of(self.sigma[:1, :1], self.levels[:1, :1]).expand(self.shape)
        top = 2**self.device.K - 1
        grid = torch.arange(top + 1, device=self.place) / top
        return of(self.sigma_at(grid), grid)[(self.levels * top).round().long()]

    @property
    def gain(self) -> Tensor:
        """Variance that verifying each device removes, in units of ``max|W_layer|`` squared."""
        return self.significance**2 * (self.sigma**2 - self.residual**2)

    def weight(self, errors: Tensor) -> Tensor:
        """The weight that devices with these errors hold, in the target's shape."""
        error = torch.empty(self.shape[1], dtype=errors.dtype, device=self.place)
        for at in stretches(self.shape[1], self.shape[0]):
            torch.sum(self.significance * errors[:, at], 0, out=error[at])
        return self.moved(error)

    def moved(self, error: Tensor) -> Tensor:
        """The target with errors of the magnitudes, (weights,), in units of ``max|W_layer|``."""
        signed = torch.empty(error.shape, dtype=self.target.dtype, device=self.place)
        for at in stretches(self.shape[1]):
            signed[at] = (error[at] * self.sign[at]).mul_(self.scale)
        return self.target + signed.view(self.target.shape)

    def must_simulate(self, policy: str) -> None:
        """Raise SettingError where cycles are not simulated."""
        if self.device.write_verify == "closed_form":
            raise SettingError(
                f"{policy} decides by what is read after each write, which the closed form does "
                "not simulate: set the device's write_verify to redraw or pulse"
            )
