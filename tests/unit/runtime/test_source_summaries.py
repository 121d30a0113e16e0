"""A summary that was kept is that of the source as it is, or it is made again."""

import sys

import pytest

from swim.runtime import source_summaries
from swim.runtime.source_summaries import summarise, summary_of_ours

SOURCE = '"""Why."""\nfrom .a import b\nimport c.d\nclass E:\n    f = "é"\n'


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A source, in a folder where Python keeps what it compiles."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    path = tmp_path / "source.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def made(monkeypatch):
    """What was summarised, in place of taken from a kept file."""
    found = []

    def noted(content, tree, exports=False):
        found.append(content)
        return summarise(content, tree, exports)

    monkeypatch.setattr(source_summaries, "summarise", noted)
    return found


def kept_file(source):
    (path,) = (source.parent / "__pycache__").iterdir()
    return path


def equal(one, other):
    """Of two summaries; imports are lists where they were read from a file."""
    one, other = (
        {**each, "imports": [tuple(found) for found in each["imports"]]} for each in (one, other)
    )
    return one == other


def test_a_kept_summary_is_taken_as_long_as_the_source_is_the_same(source, made):
    first = summary_of_ours(source)
    assert first["imports"] == [(1, "a", ""), (1, "a", "b"), (0, "c.d", "")]
    assert len(made) == 1
    assert equal(summary_of_ours(source), first)
    assert len(made) == 1
    source.write_text(SOURCE.replace("c.d", "c.e"))
    changed = summary_of_ours(source)
    assert changed["imports"][-1] == (0, "c.e", "")
    assert changed["skeleton"] != first["skeleton"]
    source.write_text(SOURCE)
    assert equal(summary_of_ours(source), first)
    assert len(made) == 3


@pytest.mark.parametrize("damage", ["a flipped bit", "half a file", "nothing", "no text"])
def test_a_damaged_kept_file_is_made_again(source, made, damage):
    first = summary_of_ours(source)
    path = kept_file(source)
    content = path.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    path.write_bytes({"a flipped bit": flipped, "half a file": content[: len(content) // 2],
                      "nothing": b"", "no text": b"\xff\n"}[damage])  # fmt: skip
    assert equal(summary_of_ours(source), first)
    assert len(made) == 2
    assert path.read_bytes() == content


def test_another_python_or_other_code_that_summarises_makes_it_again(source, made, monkeypatch):
    summary_of_ours(source)
    monkeypatch.setattr(source_summaries, "_summarising", lambda: b"another")
    summary_of_ours(source)
    assert len(made) == 2


def test_nothing_is_kept_where_python_keeps_no_compiled_code(source, made, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    summary_of_ours(source)
    assert not (source.parent / "__pycache__").exists()


def test_a_folder_that_cannot_be_written_costs_time_alone(source, made):
    (source.parent / "__pycache__").write_text("a file")
    first = summary_of_ours(source)
    assert equal(summary_of_ours(source), first)
    assert len(made) == 2
