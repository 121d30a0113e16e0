"""The version is stated once, the changelog has its form, citations name the right authors."""

import re
import tomllib
from pathlib import Path

import yaml

import swim

ROOT = Path(__file__).parents[2]
_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)


def test_package_reads_its_version_from_the_library():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "swim.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", swim.__version__)


def test_version_is_stated_nowhere_else():
    stated = re.compile(rf'version["\']?\s*[:=]\s*["\']?{re.escape(swim.__version__)}')
    tops = [path for kind in ("*.toml", "*.cff", "*.md", "*.yaml") for path in ROOT.glob(kind)]
    deep = [path for top in ("swim", "docs", "rules", "envs") for path in (ROOT / top).rglob("*.*")]
    texts = [path for path in [*tops, *deep] if path.suffix in (".toml", ".cff", ".md", ".py")]
    assert len(texts) > 100
    assert [path.name for path in texts if stated.search(path.read_text())] == []
    assert (ROOT / "swim" / "__init__.py").read_text().count(swim.__version__) == 1


def test_changelog_begins_with_unreleased_and_dates_versions():
    first, *versions = _HEADING.findall((ROOT / "CHANGELOG.md").read_text())
    assert first == "[Unreleased]"
    for heading in versions:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading), heading


def test_citation_names_the_paper_s_authors_for_the_paper_alone():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (paper,) = citation["references"]
    authors = {author["family-names"] for author in paper["authors"]}
    assert citation["type"] == "software"
    assert authors == {"Yan", "Hu", "Shi"}
    assert not any(name in str(citation["authors"]) for name in authors)


def test_pre_commit_runs_the_tools_of_the_environment():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    listed = (ROOT / "envs" / "requirements-dev.txt").read_text()
    packages = {"lint-imports": "import-linter"}
    for hook in hooks[0]["hooks"]:
        tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert hook["language"] == "system"
        assert "/" not in tool
        assert f"\n{packages.get(tool, tool)}==" in listed
