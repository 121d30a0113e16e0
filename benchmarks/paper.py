"""What the paper's four experiments cost, in core-hours by step, and the wall time on eight cores.

``python -m benchmarks.paper`` on an idle machine, some ten minutes. Parts are measured here (steps
of training, second derivatives, programming, passes of some images), with as many processes at once
as a run has jobs; their products with the counts of ``config.yaml`` are computed. All four stop at
the wider of +-0.15 points and the interval of 3,000 chips on all images, from 100 chips on, with
``images_per_chip: auto``. How many chips that takes depends on their spread, so core-hours are
given for an assumed one, and for the one that costs most.

Arithmetics are bfloat16 for training and chips of all networks but LeNet, by the best units of this
processor and, where these are AMX, by AVX-512 alone (a limit of oneDNN's), and float32 for all.
``--quick``: LeNet and ConvNet, in their settings' own arithmetic, printed and not stored.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import record
from swim.cli import stored_times
from swim.cli.estimate import configuration
from swim.cli.planned_jobs import STEPS
from swim.cli.run_estimate import RunEstimate, text_of
from swim.reports import run_cost, run_cost_text
from swim.reports.run_cost import Cost, Spread
from swim.runtime import machine, markdown
from swim.settings import Config

PAPER = ("lenet_mnist", "convnet_cifar10", "resnet18_cifar10", "resnet18_tinyimagenet")
SMALL = "lenet_mnist"  # faster in float32, eight chips at once
REFERENCE = 3000  # chips on all images, about the paper's number
PRECISE = {"chips": 100, "precision": 0.0015, "max_chips": 100_000, "images_per_chip": "auto"}
ASSUMED = 0.02  # standard deviation over chips
SPREADS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.042, 0.05, 0.07, 0.1, 0.15)
CORES, BOUND = 8, 12  # hours
AVX512 = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}


@dataclass(frozen=True)
class Way:
    """A number format of training and chips, and what computes it.

    Attributes:
        name: in tables.
        arithmetic: of the large networks; None: as the settings have it.
        environment: of the processes.
    """

    name: str
    arithmetic: str | None
    environment: Mapping[str, str] = field(default_factory=dict)


def ways() -> list[Way]:
    """Those that this processor has."""
    units = machine.bfloat16_units(record.CPU)
    found = [Way("config.yaml", None)]
    if units:
        found.append(Way(f"bfloat16, {units}", "bfloat16"))
    if units == "AMX":
        found.append(Way("bfloat16, AVX-512", "bfloat16", AVX512))
    return [*found, Way("float32", "float32")]


def settings(config: Config, way: Way) -> Config:
    """The four experiments with the benchmark's precision, in one arithmetic."""
    chosen = {}
    for name in PAPER:
        own = config.experiments[name]
        changes: dict[str, Any] = dict(PRECISE)
        arithmetic = "float32" if name == SMALL else way.arithmetic
        if way.arithmetic and arithmetic:
            changes["arithmetic"] = arithmetic
            changes["training"] = own.training.model_copy(update={"arithmetic": arithmetic})
        chosen[name] = own.model_copy(update=changes)
    return config.model_copy(update={"experiments": chosen})


class Measured:
    """Parts that were measured, each once."""

    def __init__(self, copies: int | None):
        self._copies = copies
        self.parts: dict[str, dict[str, Any]] = {}

    def times(self, run: RunEstimate) -> dict[str, dict[str, Any]]:
        """What each part of a run takes, by experiment and part."""
        found: dict[str, dict[str, Any]] = {}
        for name, parts in run.parts().items():
            subject = run.subject(name)
            keys = {text: subject.key(part) for text, part in parts.items()}
            missing = [text for text in parts if keys[text] not in self.parts]
            if missing:
                threads = run.config.experiments[name].arithmetic_threads
                copies = self._copies or max(1, machine.cores() // threads)
                new = [parts[text] for text in missing]
                results = stored_times.measure(subject, new, name, copies)
                for text, result in zip(missing, results, strict=True):
                    asked = {**subject.request, "environment": dict(run.environment)}
                    self.parts[keys[text]] = {
                        "experiment": name, "part": parts[text], "on": asked, "copies": copies,
                        "times": result,
                    }  # fmt: skip
            found[name] = {text: self.parts[key]["times"] for text, key in keys.items()}
        return found


def costs(run: RunEstimate, times: Mapping[str, Mapping[str, Any]], spread: float) -> list[Cost]:
    """What each job costs if chips have this standard deviation."""
    run.spread = Spread(spread)
    return run.costs(lambda name, part: times[name][text_of(part)])


def by_step(found: Sequence[Cost]) -> dict[str, float]:
    """Core-hours of each step, and of all."""
    hours = {
        step: run_cost.core_hours([cost for cost in found if cost.job.step == step])
        for step in STEPS
    }
    return {**hours, "all": run_cost.core_hours(found)}


def measure(config: Config, way: Way, names: Sequence[str], measured: Measured) -> dict[str, Any]:
    """Core-hours by experiment and step, and wall times, in one arithmetic."""
    run = RunEstimate(settings(config, way), list(names), reference=REFERENCE,
                      environment=way.environment, cores=CORES)  # fmt: skip
    times = measured.times(run)
    at = {spread: costs(run, times, spread) for spread in {ASSUMED, *SPREADS}}
    worst = max(at, key=lambda spread: run_cost.core_hours(at[spread]))
    result: dict[str, Any] = {"worst_spread": worst, "experiments": {}}
    for name in names:
        own = {s: [c for c in found if c.job.experiment == name] for s, found in at.items()}
        most = max(own, key=lambda spread: run_cost.core_hours(own[spread]))
        result["experiments"][name] = {
            "core_hours": by_step(own[ASSUMED]),
            "core_hours_at_worst_spread": by_step(own[most]),
            "worst_spread": most,
            "wall_hours": run_cost.wall_seconds(own[ASSUMED], CORES) / 3600,
            "wall_hours_at_worst_spread": run_cost.wall_seconds(own[most], CORES) / 3600,
            "memory": max(c.memory for c in own[ASSUMED] if c.memory == c.memory),
            "disk": sum(c.disk for c in own[ASSUMED]),
        }  # fmt: skip
    result["all"] = {
        "core_hours": by_step(at[ASSUMED]),
        "core_hours_at_worst_spread": by_step(at[worst]),
        "wall_hours": run_cost.wall_seconds(at[ASSUMED], CORES) / 3600,
        "wall_hours_at_worst_spread": run_cost.wall_seconds(at[worst], CORES) / 3600,
    }
    return result


def table(found: Mapping[str, Any]) -> list[str]:
    """Core-hours by arithmetic, experiment and step."""
    hours = run_cost_text.hours
    heads = ["arithmetic", "experiment", *STEPS, "core-hours", f"wall on {CORES} cores, h",
             "core-hours, worst spread", "wall, worst spread, h"]  # fmt: skip
    rows = []
    for way, result in found.items():
        for name, own in {**result["experiments"], "all at once": result["all"]}.items():
            worst = own["core_hours_at_worst_spread"]["all"]
            rows.append([
                way, name, *(hours(own["core_hours"][step]) for step in (*STEPS, "all")),
                hours(own["wall_hours"]), hours(worst), hours(own["wall_hours_at_worst_spread"]),
            ])  # fmt: skip
    return markdown.table(heads, rows, "ll" + "r" * (len(heads) - 2))


def notes(found: Mapping[str, Any], measured: Measured) -> list[str]:
    """What is measured, computed and assumed; and whether the bound holds."""
    parts = list(measured.parts.values())
    copies = sorted({part["copies"] for part in parts})
    lines = [
        f"**Measured** on this machine: seconds of each part (paper.json has all), with "
        f"{' or '.join(map(str, copies))} process{'es' if copies != [1] else ''} at once. "
        f"**Computed**: everything in the table, for {CORES} such cores. **Assumed**: a standard "
        f"deviation of {100 * ASSUMED:g} points between chips at every point, or the worst of "
        f"{', '.join(f'{100 * s:g}' for s in SPREADS)}; {100 * Spread().image:g} points for an "
        f"image within its stratum; {run_cost.LIGHT_SECONDS:g} s for a job that runs no network. "
        "Every point stops at the wider of ±0.15 points and the interval of 3,000 chips on all "
        "images.",
    ]
    for way, result in found.items():
        within = [result["all"][key] for key in ("wall_hours", "wall_hours_at_worst_spread")]
        said = " and ".join(
            f"{run_cost_text.hours(x)} h ({'within' if x <= BOUND else 'beyond'} {BOUND} h)"
            for x in within
        )
        lines.append(f"{way}: all at once in {said} at the assumed and at the worst spread.")
    return [*lines, *run_cost_text.busy(part["times"]["cores"] for part in parts)]


def main() -> None:
    """Measure, and write paper.json and paper.md among the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="config.yaml", help="settings of the experiments")
    parser.add_argument("--copies", type=int, help="processes at once; default: what fits here")
    parser.add_argument("--quick", action="store_true", help="two networks, one arithmetic")
    chosen = parser.parse_args()
    config, measured = configuration([chosen.config]), Measured(chosen.copies)
    names, tried = (PAPER[:2], ways()[:1]) if chosen.quick else (PAPER, ways())
    found = {way.name: measure(config, way, names, measured) for way in tried}
    lines = table(found)
    for note in notes(found, measured):
        lines += ["", note]
    if chosen.quick:
        print("\n".join(lines))
        return
    content = {"cores": CORES, "assumed_spread": ASSUMED, "assumed_image_spread": Spread().image,
               "arithmetics": found, "parts": list(measured.parts.values())}  # fmt: skip
    record.save("paper", "python -m benchmarks.paper", content, lines)


if __name__ == "__main__":
    main()
