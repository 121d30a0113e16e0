"""Links, anchors and paths in the documentation and in texts of the library lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FOLDERS = ("docs", "swim", "rules", "tests", "benchmarks", "profiles", "envs", ".github")
_CODE = re.compile(r"^(```.*?^```|(?: {4}|\t).*?$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A path of this repository in a text: docs/devices.md, swim/data/labels.py.
_PATH = re.compile(
    rf"(?<![\w/.-])((?:{'|'.join(map(re.escape, _FOLDERS))})(?:/[\w.-]+)+"
    r"\.(?:md|py|smk|ya?ml|json|rst)|(?:README|CONTRIBUTING|CHANGELOG)\.md)\b"
)


def pages() -> list[Path]:
    """Markdown files of the repository; the changelog's paths are those of their time."""
    found = [*ROOT.glob("*.md"), *(path for top in _FOLDERS for path in (ROOT / top).rglob("*.md"))]
    return sorted(path for path in found if path.name != "CHANGELOG.md")


def texts() -> list[Path]:
    """Files whose docstrings, comments and messages name pages and modules."""
    kinds = ("*.py", "*.smk", "*.rst", "*.yaml", "*.json")
    rooms = [ROOT / top for top in ("swim", "rules", "profiles", "benchmarks")]
    found = [path for top in rooms for kind in kinds for path in top.rglob(kind)]
    return sorted([*found, ROOT / "config.yaml", ROOT / "Snakefile", ROOT / "Makefile"])


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", _CODE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\(([^)]*)\)", r"\1", heading).replace("`", "")
        anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = sum(1 for known in found if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", known))
        found.add(f"{anchor}-{count}" if count else anchor)
    return found


def faults(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    missing = []
    for link in _LINK.findall(_CODE.sub("", text)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists():
            missing.append(f"{page.relative_to(ROOT)}: {link}: no such file")
        elif anchor and anchor not in anchors(path.read_text() if target else text):
            missing.append(f"{page.relative_to(ROOT)}: {link}: no such heading")
    return missing


def test_relative_links_and_anchors_of_pages_resolve():
    assert len(pages()) > 15
    assert [fault for page in pages() for fault in faults(page, page.read_text())] == []


@pytest.mark.parametrize("path", [*pages(), *texts()], ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_named_in_texts_exist(path):
    named = {name.rstrip(".") for name in _PATH.findall(path.read_text())}
    assert {name for name in named if not (ROOT / name).exists()} <= EXAMPLES


# What a reader is told to write.
EXAMPLES = {"swim/selection/scores/gain.py"}


def test_broken_links_are_found():
    page = ROOT / "docs" / "glossary.md"
    text = "[a](nowhere.md) [b](selection.md#no-such) [c](#here) [d](devices.md)\n\n# Here\n"
    assert [fault.split(": ")[1] for fault in faults(page, text)] == [
        "nowhere.md",
        "selection.md#no-such",
    ]


def test_anchors_are_github_s():
    text = "# Fewer devices per weight\n## 4-bit `LeNet`, α ([x](y))\n# A\n# A\n\n    # code\n"
    assert anchors(text) == {"fewer-devices-per-weight", "4-bit-lenet-α-x", "a", "a-1"}
