"""An explorer as one file of HTML: numbers, code and plotly.js are in it, and it loads nothing."""

import base64
import gzip
import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


def page(data: Mapping[str, Any]) -> str:
    """The file of :func:`.data.explorer_data`'s numbers.

    plotly.js is compressed, which makes the file less than half as large; the browser expands it.
    """
    from plotly.offline import get_plotlyjs, get_plotlyjs_version

    packed = gzip.compress(get_plotlyjs().encode(), mtime=0)  # no time: equal pages, equal bytes
    parts = {
        "TITLE": escape(f"{data['experiment']}: explorer"),
        "STYLE": _read("page.css"),
        "DATA": embedded(data),
        "VERSION": escape(get_plotlyjs_version()),
        "PLOTLY": base64.b64encode(packed).decode(),
        "SCRIPT": _read("costs.js") + _read("page.js"),
    }
    # In one go, so that a name in the data is never taken for one of these words.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that is safe inside an element of HTML, whatever names are in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
