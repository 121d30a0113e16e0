"""Every path under ``results/``, spelt once, for rules and library alike.

Rules take the patterns as they are, with Snakemake's wildcards in braces; others fill them in:
``layout.MODEL.format(experiment="quick")``. Patterns that end a file's path, relative to a folder
that a command is given, have no ``results/`` in front.
"""

from pathlib import PurePath

RESULTS = "results"
# Folders of results/ that are no experiment's, and those of results/summary/ that are no
# comparison's.
SHARED_FOLDERS = ("data", "summary")
SUMMARY_FOLDERS = ("logs", "benchmarks")
# Names that no experiment may have: those folders, and cycles_to_accuracy.csv in results/summary/
# beside the tables of experiments.
TAKEN = (*SHARED_FOLDERS, "cycles_to_accuracy")

# --- data, shared by experiments ----------------------------------------------------------------

DATA = "results/data/{dataset}.safetensors"
DATA_LOG = "results/data/logs/{dataset}.log"
DATA_BENCHMARK = "results/data/benchmarks/{dataset}.tsv"
IMAGE_DIGESTS = "results/data/.{dataset}.images.json"

# --- one experiment -----------------------------------------------------------------------------

EXPERIMENT = "results/{experiment}"
MODEL = "results/{experiment}/model.safetensors"
MODEL_FILE = "model.safetensors"
HISTORY = "results/{experiment}/train.csv"
SETTINGS = "results/{experiment}/settings.json"
SENSITIVITY = "results/{experiment}/sensitivity/{estimator}.safetensors"
MASK = "results/{experiment}/masks/{device}/{method}/{fraction}.npz"
CHIPS_FOLDER = "results/{experiment}/chips"
# Points of curves, relative to the chips folder; among them the network before programming, and
# the ends that methods share.
CLEAN = "clean"
NONE_VERIFIED, ALL_VERIFIED = "none/0", "all/1"
ALL_POINTS = "*/sigma-*/*/*.csv"  # globs
ALL_CHIPS_FILES = "*/sigma-*/**/*.csv"
POINT = "{device}/sigma-{sigma}/{point}.csv"
CHIPS = "results/{experiment}/chips/{device}/sigma-{sigma}/{method}/{fraction}.csv"
PROGRAMMED = "results/{experiment}/chips/{device}/sigma-{sigma}/{policy}/{budget}.csv"
IN_SITU = "results/{experiment}/chips/{device}/sigma-{sigma}/in_situ/{budget}.csv"
CLEAN_CHIPS = "results/{experiment}/chips/{device}/sigma-{sigma}/clean.csv"
NONE_CHIPS = "results/{experiment}/chips/{device}/sigma-{sigma}/none/0.csv"
ALL_CHIPS = "results/{experiment}/chips/{device}/sigma-{sigma}/all/1.csv"
WHERE = "results/{experiment}/where/{device}/sigma-{sigma}/{budget}.csv"
PERTURBATION = "results/{experiment}/perturbation/{device}/sigma-{sigma}.csv"

ACCURACY = "results/{experiment}/accuracy.csv"
PAIRED = "results/{experiment}/paired.csv"
CORRELATION = "results/{experiment}/correlation.csv"
SCORES = "results/{experiment}/scores.csv"
SUMMARY = "results/summary/{experiment}.md"
CORRELATION_SUMMARY = "results/summary/{experiment}-correlation.md"
FIGURE = "results/{experiment}/figures/{figure}.{suffix}"
FIGURE_AT_SIGMA = "results/{experiment}/figures/{figure}-sigma-{sigma}.{suffix}"

# --- one experiment or comparison: `place` is its name, or summary/ and its name ----------------

OF_COMPARISON = "summary/{comparison}"
CYCLES = "results/{place}/cycles_to_accuracy.csv"
CYCLES_MARKDOWN = "results/{place}/cycles_to_accuracy.md"
# All comparisons in one table.
ALL_CYCLES = "results/summary/cycles_to_accuracy.csv"
ALL_CYCLES_MARKDOWN = "results/summary/cycles_to_accuracy.md"
WHERE_FIGURE = "results/{experiment}/figures/where-{device}-{budget}-sigma-{sigma}.{suffix}"
CYCLES_FIGURE = "results/{place}/figures/cycles-sigma-{sigma}.{suffix}"


def figure_at_sigma(name: str, suffix: str) -> str:
    """The pattern of one kind of figure that each sigma has."""
    return FIGURE_AT_SIGMA.replace("{figure}", name).replace("{suffix}", suffix)


def log(job: str, of: str = "{experiment}") -> str:
    """The pattern of a job's log, from its name with wildcards."""
    return f"{RESULTS}/{of}/logs/{job}.log"


def benchmark(job: str, of: str = "{experiment}") -> str:
    """The pattern of a job's time and memory."""
    return f"{RESULTS}/{of}/benchmarks/{job}.tsv"


def figure(name: str, suffix: str) -> str:
    """The pattern of a figure that an experiment has once."""
    return FIGURE.replace("{figure}", name).replace("{suffix}", suffix)


def of_place(pattern: str, place: str) -> str:
    """The pattern of a file that experiments and comparisons have, for one of both."""
    return pattern.replace("{place}", place)


def file_name(name: str, sigma: str) -> str:
    """The name of the file of one sigma's figure, without its suffix."""
    return f"{name}-sigma-{sigma}"


def sigma_of(name: str) -> str | None:
    """The sigma that the name of a folder, or of a file without its suffix, says; None if none."""
    return name.removeprefix("sigma-") if name.startswith("sigma-") else None


def place_of(path: PurePath) -> dict[str, str] | None:
    """What the names of a file's folders say of it; None where they say nothing.

    Device and sigma of ``DEVICE/sigma-SIGMA.csv`` and ``DEVICE/sigma-SIGMA/clean.csv``, which is
    the method ``clean`` without a fraction; method and fraction too of
    ``DEVICE/sigma-SIGMA/METHOD/FRACTION.csv``.
    """
    if (sigma := sigma_of(path.stem)) is not None:
        return {"device": path.parent.name, "sigma": sigma}
    method, fraction, folder = path.parent.name, path.stem, path.parent.parent
    if path.stem == CLEAN:
        method, fraction, folder = CLEAN, "", path.parent
    if (sigma := sigma_of(folder.name)) is None:
        return None
    return {
        "device": folder.parent.name, "sigma": sigma, "method": method, "fraction": fraction,
    }  # fmt: skip
