"""What a way to write-verify must offer: expected cycles, and rewritten devices."""

import abc
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from swim.devices.bit_sliced import Device
from swim.devices.chunks import Made, Rewritten, collected


class Writer(abc.ABC):
    """Rewrites devices of one kind until each is read within its tolerance.

    Errors, sigmas and centres are fractions of a device's full scale.

    Attributes:
        simulates: cycles are known only once each was simulated, with the errors that it leaves.
    """

    simulates = True

    def __init__(self, device: Device):
        self._device = device

    @abc.abstractmethod
    def once(self, error: Tensor, centre: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a device's error after one cycle, before clipping.

        Args:
            error: before the cycle, any shape.
            centre: error that the cycle aims at, the same shape.
            sigma: standard deviation of a write of each device, the same shape.
        """

    @abc.abstractmethod
    def verifying(self, sigma: Tensor, level: Tensor) -> Tensor:
        """Mean number of cycles that verifying a device takes, once it was read outside.

        Args:
            sigma: standard deviation of a write of each device, any shape.
            level: its target level, the same shape.
        """

    @abc.abstractmethod
    def expected(self, sigma: Tensor, level: Tensor, centre: Tensor) -> Tensor:
        """Mean number of cycles until a device is read within the tolerance of ``centre``.

        Infinite where it never is, or where the cycle limit would probably come first.

        Args:
            sigma: standard deviation of a write of each device, any shape.
            level: its target level, the same shape.
            centre: error around which its reading must lie, the same shape.
        """

    @abc.abstractmethod
    def stream(
        self,
        draws: np.random.Generator,
        sigma: Tensor,
        level: Tensor,
        centre: Tensor,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, Iterator[Made]]:
        """As :meth:`rewrite`, one stretch of devices after the other, to save memory.

        Args:
            draws: as in :meth:`rewrite`, and the three after it.
            sigma: of each device.
            level: of each device.
            centre: of each device.
            wanted: whose errors and readings are asked for: bool, flat; None: all devices'.

        Returns:
            The cycles of all devices, flat and of a narrow integer type, and an iterator over what
            the wanted devices of each stretch hold, in their order.
        """

    def rewrite(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> Rewritten:
        """Rewrite devices until each is read within the tolerance of its ``centre``.

        Args:
            draws: a random generator for these devices alone.
            sigma: standard deviation of a write of each device, any shape.
            level: its target level, the same shape.
            centre: error around which its reading must lie, the same shape.
        """
        return collected(centre, *self.stream(draws, sigma, level, centre))

    def cycles(
        self, draws: np.random.Generator, sigma: Tensor, level: Tensor, centre: Tensor
    ) -> Tensor:
        """The cycles that :meth:`rewrite` counts with the same generator, in ``centre``'s shape."""
        return self.rewrite(draws, sigma, level, centre).cycles
