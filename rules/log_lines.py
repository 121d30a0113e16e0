"""What Snakemake's log says of jobs: of a long list of files the first, and how many there are."""

import logging
import re

from snakemake_interface_logger_plugins.common import LogEvent

_SHOWN = 2  # files that are listed in full; of more, the first
_LISTS = re.compile(
    r"((?:Missing|Incomplete) output files"
    r"|Updated input files|Input files updated by another job): ([^;)]*)"
)


def shorten(reason: str) -> str:
    """Why a job runs, with long lists of files cut; what else it says stays."""
    return _LISTS.sub(lambda found: f"{found[1]}: {_some(found[2].split(', '))}", reason)


def _some(names: list[str]) -> str:
    if len(names) <= _SHOWN:
        return ", ".join(sorted(names))
    return f"{min(names)} and {len(names) - 1} more"


class Shortened(logging.Filter):
    """Cuts long lists of files in what is logged of jobs, unless Snakemake runs with --verbose."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record of a job; every record is let through."""
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return True
        if isinstance(reason := getattr(record, "reason", None), str):
            record.reason = shorten(reason)
        if getattr(record, "event", None) == LogEvent.JOB_ERROR:
            for key in ("input", "output"):
                if isinstance(names := getattr(record, key, None), list) and names:
                    setattr(record, key, [_some(names)])
        return True
