import pytest

from swim.runtime import markdown


def test_table_aligns_numbers_right_and_escapes_bars():
    lines = markdown.table(["sigma", "|H|"], [["0.1", 2], ["0.2", "a | b"]], "lr")
    assert lines == ["| sigma | \\|H\\| |", "|---|---:|", "| 0.1 | 2 |", "| 0.2 | a \\| b |"]


def test_table_without_rows_is_its_head():
    assert markdown.table(["one"], [], "l") == ["| one |", "|---|"]


@pytest.mark.parametrize("rows", [[["a"]], [["a", "b"], ["a", "b", "c"]]])
def test_row_with_another_number_of_cells_is_an_error(rows):
    with pytest.raises(ValueError, match="columns"):
        markdown.table(["x", "y"], rows, "ll")
