"""Every path under ``results/``, spelt once, for rules and library alike.

Rules take the patterns as they are, with Snakemake's wildcards in braces; others fill them in:
``layout.MODEL.format(experiment="quick")``. :mod:`swim.runtime.provenance` reads a point's names
back from a path: what a path says is a number in tables, so that code is in steps' digests, which
this module is not. A path that changes here makes its files again in any case.
"""

RESULTS = "results"
# Folders of results/ that are no experiment's, and those of results/summary/ that are no
# comparison's.
SHARED_DATA, SUMMARIES = "data", "summary"
SHARED_FOLDERS = (SHARED_DATA, SUMMARIES)
SUMMARY_FOLDERS = ("logs", "benchmarks")
# Names that no experiment may have: those folders, and cycles_to_accuracy.csv in results/summary/
# beside the tables of experiments.
TAKEN = (*SHARED_FOLDERS, "cycles_to_accuracy")

# --- data, shared by experiments ----------------------------------------------------------------

# Relative to results/, as a command that is only given that folder needs it.
DATA_FILE = "data/{dataset}.safetensors"
DATA = f"{RESULTS}/{DATA_FILE}"
IMAGE_DIGESTS = "results/data/.{dataset}.images.json"

# --- one experiment -----------------------------------------------------------------------------

EXPERIMENT = "results/{experiment}"
MODEL_FILE = "model.safetensors"
MODEL = f"{EXPERIMENT}/{MODEL_FILE}"
HISTORY = f"{EXPERIMENT}/train.csv"
SETTINGS = f"{EXPERIMENT}/settings.json"
SENSITIVITY = EXPERIMENT + "/sensitivity/{estimator}.safetensors"
MASK = EXPERIMENT + "/masks/{device}/{method}/{fraction}.npz"
PERTURBATION = EXPERIMENT + "/perturbation/{device}/sigma-{sigma}.csv"
# Around the weights as they are, or on top of the errors of programmed chips.
PERTURBATIONS, ON_CHIPS = "perturbation", "programmed"
PERTURBATION_ON_CHIPS = EXPERIMENT + "/perturbation/{device}/programmed/sigma-{sigma}.csv"
WHERE = EXPERIMENT + "/where/{device}/sigma-{sigma}/{budget}.csv"

# Chips: the points of curves, relative to the chips folder; among them the network before
# programming, and the end points that methods share.
CHIPS_FOLDER = f"{EXPERIMENT}/chips"
SIGMA_PREFIX = "sigma-"
POINT = "{device}/sigma-{sigma}/{point}.csv"
METHOD_POINT, IN_SITU_POINT = "{method}/{fraction}", "in_situ/{budget}"
CLEAN, NONE_VERIFIED, ALL_VERIFIED = "clean", "none/0", "all/1"
ALL_POINTS = "*/sigma-*/*/*.csv"  # globs
ALL_CHIPS_FILES = "*/sigma-*/**/*.csv"


def _chips(point: str) -> str:
    return f"{CHIPS_FOLDER}/{POINT}".replace("{point}", point)


CHIPS = _chips(METHOD_POINT)
PROGRAMMED = _chips("{policy}/{budget}")
IN_SITU = _chips(IN_SITU_POINT)
CLEAN_CHIPS = _chips(CLEAN)
NONE_CHIPS = _chips(NONE_VERIFIED)
ALL_CHIPS = _chips(ALL_VERIFIED)

ACCURACY = f"{EXPERIMENT}/accuracy.csv"
PAIRED = f"{EXPERIMENT}/paired.csv"
TABLES_PAGE = f"{EXPERIMENT}/tables.html"
CORRELATION = f"{EXPERIMENT}/correlation.csv"
SCORES = f"{EXPERIMENT}/scores.csv"
SUMMARY = "results/summary/{experiment}.md"
SUMMARY_LATEX = "results/summary/{experiment}.tex"
CORRELATION_SUMMARY = "results/summary/{experiment}-correlation.md"
FIGURES = EXPERIMENT + "/figures"
FIGURE = FIGURES + "/{figure}.{suffix}"
FIGURE_AT_SIGMA = FIGURES + "/{figure}-sigma-{sigma}.{suffix}"
FIGURE_SUFFIXES = ("png", "svg", "pdf")
WHERE_FIGURE = FIGURES + "/where-{device}-{budget}-sigma-{sigma}.{suffix}"

# --- one experiment or comparison: `place` is its name, or summary/ and its name ----------------

OF_COMPARISON = "summary/{comparison}"
CYCLES = "results/{place}/cycles_to_accuracy.csv"
CYCLES_MARKDOWN = "results/{place}/cycles_to_accuracy.md"
CYCLES_LATEX = "results/{place}/cycles_to_accuracy.tex"
CLAIMS = "results/{place}/claims.json"
CLAIMS_MARKDOWN = "results/{place}/claims.md"
CLAIMS_LATEX = "results/{place}/claims.tex"
CLAIMS_PAGE = "results/{place}/claims.html"
EXPLORER = "results/{place}/explorer.html"
CYCLES_FIGURE = "results/{place}/figures/cycles-sigma-{sigma}.{suffix}"
# All comparisons in one table.
ALL_CYCLES = "results/summary/cycles_to_accuracy.csv"
ALL_CYCLES_MARKDOWN = "results/summary/cycles_to_accuracy.md"
ALL_CYCLES_LATEX = "results/summary/cycles_to_accuracy.tex"


def log(job: str, of: str = "{experiment}") -> str:
    """The pattern of a job's log, from its name with wildcards."""
    return f"{RESULTS}/{of}/logs/{job}.log"


def benchmark(job: str, of: str = "{experiment}") -> str:
    """The pattern of a job's time and memory."""
    return f"{RESULTS}/{of}/benchmarks/{job}.tsv"


def figure(name: str, suffix: str) -> str:
    """The pattern of a figure that an experiment has once."""
    return FIGURE.replace("{figure}", name).replace("{suffix}", suffix)


def figure_at_sigma(name: str, suffix: str) -> str:
    """The pattern of one kind of figure that each sigma has."""
    return FIGURE_AT_SIGMA.replace("{figure}", name).replace("{suffix}", suffix)


def of_place(pattern: str, place: str) -> str:
    """The pattern of a file that experiments and comparisons have, for one of both."""
    return pattern.replace("{place}", place)


def file_name(name: str, sigma: str) -> str:
    """The name of the file of one sigma's figure, without its suffix."""
    return f"{name}-sigma-{sigma}"
