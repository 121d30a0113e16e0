"""What the paper's four experiments would cost at full size: an estimate, not a measurement.

``python -m benchmarks.extrapolation``, after the engine benchmark. CPU times are its image-chips
per second of one core, multiplied by the size; GPU times assume a fraction of a vendor's figure
and were not measured. Tiny ImageNet's images have four times the pixels, so four times the
operations.
"""

import argparse
import json
from typing import Any

from benchmarks import record
from swim.runtime import markdown

# Per sigma: five fractions of three methods, and two end points.
SIGMAS, POINTS, CHIPS, IMAGES = 3, 5 * 3 + 2, 3_000, 10_000
EXPERIMENTS = {
    "LeNet, MNIST": ("LeNet, 4 bits", 1),
    "ConvNet, CIFAR-10": ("ConvNet", 1),
    "ResNet-18, CIFAR-10": ("ResNet-18", 1),
    "ResNet-18, Tiny ImageNet": ("ResNet-18", 4),
}
CORES = 100 * 64  # a cluster of 100 nodes
GPU_RATE, GPU_SHARE = 67e12, 0.4  # H100 SXM, float32 (vendor), and the part assumed to be reached


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def main() -> None:
    """Write benchmarks/results/extrapolation.json and .md."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    engine = json.loads((record.RESULTS / "engine.json").read_text())
    image_chips = SIGMAS * POINTS * CHIPS * IMAGES
    content: dict[str, Any] = {"image_chips": image_chips}
    rows: list[list[str]] = []
    for name, (case, pixels) in EXPERIMENTS.items():
        row = engine[case]
        core = image_chips * pixels * row["chips"]["swim"]["median"] / row["images"]
        operations = row["operations_per_image"] * pixels
        gpu = image_chips * operations / (GPU_RATE * GPU_SHARE)
        # LeNet's operations are so few that others than these would decide.
        gpus = [None if case.startswith("LeNet") else gpu / count for count in (1, 8)]
        content[name] = {"core_seconds": core, "gpu_seconds": gpus}
        one, eight = ("not estimated" if seconds is None else _span(seconds) for seconds in gpus)
        millions = f"{operations / 1e6:,.1f} M"
        rows.append([name, millions, _span(core), one, eight, _span(core / CORES)])
    heads = ["experiment", "operations per image", "one core", "1 GPU", "8 GPUs",
             "100 nodes of 64 cores"]  # fmt: skip
    table = [
        *markdown.table(heads, rows, "lrrrrr"),
        "",
        f"**An estimate.** {image_chips / 1e9:.2f} billion image-chips an experiment: {SIGMAS} "
        f"sigmas, {POINTS} points, {CHIPS:,} chips, {IMAGES:,} images. Cores as measured here "
        "(engine.md), cluster without overhead. GPUs were not measured: "
        f"{GPU_SHARE:.0%} of {GPU_RATE / 1e12:.0f} Tflop/s (float32, H100, vendor's figure), which "
        "a network as small as LeNet does not reach. `images_per_chip` needs about a twentieth of "
        "the image-chips for the same interval of the mean (precision.md).",
    ]
    record.save("extrapolation", "python -m benchmarks.extrapolation", content, table)


if __name__ == "__main__":
    main()
