"""What a block computes, in numbers: all that its code depends on."""

from dataclasses import dataclass

# Input channels of a group from which on Winograd convolution pays for its transforms.
_WINOGRAD_FROM = 4
# Products in a sum up to which PyTorch's convolution and pooling take longer (a 5 x 5 kernel on 6
# channels has 150 and is no faster here).
_DIRECT_UP_TO = 128


@dataclass(frozen=True)
class Geometry:
    """A convolution of stride 1, maxima of 2 x 2 windows, then ReLU and quantiser if wanted.

    Attributes:
        groups: groups of the convolution.
        inputs: input channels of a group.
        outputs: output channels of a group.
        size: height and width of the images.
        kernel: height and width of the kernel.
        padding: rows of zeros above and below, columns of zeros left and right.
        relu: whether a ReLU follows.
        quantised: whether a quantiser follows.
        channels_last: whether the result lies in memory as (N, H, W, C), or as (N, C, H, W).
        simd_width: how many float32 numbers a SIMD register holds; changes no result.
    """

    groups: int
    inputs: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    padding: tuple[int, int]
    relu: bool
    quantised: bool
    channels_last: bool
    simd_width: int

    @property
    def input_channels(self) -> int:
        """Input channels of all groups together."""
        return self.groups * self.inputs

    @property
    def output_channels(self) -> int:
        """Output channels of all groups together."""
        return self.groups * self.outputs

    @property
    def windows(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        high, wide = (
            (n + 2 * p - k + 1) // 2
            for n, p, k in zip(self.size, self.padding, self.kernel, strict=True)
        )
        return high, wide

    @property
    def winograd(self) -> bool:
        """Whether the sums are computed by Winograd convolution F(2x2, 3x3)."""
        return self.kernel == (3, 3) and self.inputs >= _WINOGRAD_FROM

    @property
    def lanes(self) -> int:
        """Numbers handled at once: the SIMD width, or less where the shortest loop is shorter."""
        transforms = [self.input_channels] if self.winograd else []
        loops = [self.outputs, self.size[1] * self.input_channels, *transforms]
        return min(self.simd_width, 1 << (min(loops).bit_length() - 1))

    @property
    def worthwhile(self) -> bool:
        """Whether this machine can run the block, and faster than PyTorch's operations."""
        products = self.inputs * self.kernel[0] * self.kernel[1]
        able = self.lanes >= 4 and min(self.windows) >= 1
        return able and (self.winograd or products <= _DIRECT_UP_TO)
