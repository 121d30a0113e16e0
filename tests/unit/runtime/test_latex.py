"""LaTeX tables: the words of the Markdown tables, escaped, in booktabs' rules."""

import shutil
import subprocess

import pytest

from swim.runtime import latex
from swim.runtime.markdown import table

PAGE = "\n".join([
    "### my_net & co: 50% device `four_bit`", "", "Accuracy in per cent, mean ± std.", "",
    *table(["sigma", "a|b", "NWC {1}"], [["0.3", "x_1 − y^2", "[1, ∞]"], ["[0]", "a\\b", "–"]],
           "llr"),
    "", "Within 0.5 points:", "",
    *table(["claim", "σ"], [["long words " * 5, "~$#<>… ×"]], "lr"),
])  # fmt: skip


def test_tables_have_booktabs_rules_captions_and_every_cell_escaped():
    lines = latex.from_markdown(PAGE).splitlines()
    first = lines.index(r"\begin{table}")
    assert lines[first : first + 11] == [
        r"\begin{table}", r"\centering",
        r"\caption{my\_net \& co: 50\% device \texttt{four\_bit}}",
        r"\begin{tabular}{llr}", r"\toprule", r"sigma & a\textbar{}b & NWC \{1\} \\", r"\midrule",
        r"0.3 & x\_1 $-$ y\textasciicircum{}2 & [1, $\infty$] \\",
        r"{[0]} & a\textbackslash{}b & -- \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    assert r"Accuracy in per cent, mean $\pm$ std." in lines
    second = lines[first + 12 :]
    assert r"\begin{tabular}{p{0.2\linewidth}r}" in second
    assert any(line.endswith(". Within 0.5 points}") for line in second)
    assert any(r"\textasciitilde{}\$\#\textless{}\textgreater{}\ldots{} $\times$" in line
               for line in second)  # fmt: skip


def test_no_special_letter_is_left_bare():
    text = "".join(chr(code) for code in range(32, 127))
    bare = latex.escaped(text)
    for command in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}",
                    r"\textless{}", r"\textgreater{}", r"\textbar{}", r"\textasciigrave{}",
                    r"\&", r"\%", r"\$", r"\#", r"\_", r"\{", r"\}"):  # fmt: skip
        assert bare.count(command) == 1, command
        bare = bare.replace(command, "")
    assert not set(bare) & set("\\&%$#_{}~^<>|`")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_pdflatex_compiles_the_tables(tmp_path):
    content = latex.from_markdown(PAGE)
    document = [r"\documentclass{article}", r"\usepackage[T1]{fontenc}", r"\usepackage{booktabs}",
                r"\begin{document}", content, r"\end{document}"]  # fmt: skip
    (tmp_path / "t.tex").write_text("\n".join(document))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000
