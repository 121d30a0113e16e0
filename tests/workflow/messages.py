"""Which jobs a run of Snakemake announces, read back from its rules' messages."""

import re
from functools import cache

from tests import ROOT

# The order in which paths have them.
ORDER = ("dataset", "experiment", "place", "comparison", "estimator", "device", "sigma", "method",
         "fraction", "policy", "budget")  # fmt: skip
_RULE = re.compile(r"(?:rule (\w+)|use rule \w+ as (\w+) with):\n")
_MESSAGE = re.compile(r'^    message:\n((?:        "[^\n]*"\n)+)', re.MULTILINE)
_WILDCARD = re.compile(r"\{wildcards\.(\w+)\}")
_JOB = re.compile(r"^Job \d+: (.*)$", re.MULTILINE)


@cache
def messages():
    """Rule -> its message, as the rules have it."""
    found = {}
    for path in [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]:
        for part in re.split(r"^(?=(?:use )?rule )", path.read_text(), flags=re.MULTILINE):
            if match := _RULE.match(part):
                lines = _MESSAGE.search(part)
                assert lines, f"{path}: the rule {match[0]} has no message"
                found[match[1] or match[2]] = "".join(re.findall(r'"(.*)"', lines[1]))
    return found


@cache
def _patterns():
    """Rule -> a pattern of its message, with a group for each wildcard."""
    found = {}
    for rule, text in messages().items():
        parts = _WILDCARD.split(text)
        fixed, names = (
            map(re.escape, parts[::2]),
            [f"(?P<{name}>[^\\s,:]+)" for name in parts[1::2]],
        )
        found[rule] = re.compile("".join(a + b for a, b in zip(fixed, [*names, ""], strict=True)))
    return found


def jobs(text):
    """(rule, its wildcards by name) of every job that Snakemake's output announces.

    A target of an experiment is a rule of its name, without wildcards.
    """
    found = []
    for said in _JOB.findall(text):
        fits = {
            rule: match.groupdict()
            for rule, pattern in _patterns().items()
            if (match := pattern.fullmatch(said))
        }
        if not fits and said.endswith(": everything is there"):
            fits = {said.partition(":")[0]: {}}
        assert len(fits) == 1, f"{said!r} is the message of {list(fits) or 'no rule'}"
        ((rule, wildcards),) = fits.items()
        found.append((rule, {name: wildcards[name] for name in ORDER if name in wildcards}))
    return found


def ran(text):
    """The rules of all jobs that Snakemake's output announces."""
    return {rule for rule, _ in jobs(text)}
