"""Rows of programmed chips become tables and figures; no torch.

To add a figure of ``accuracy.csv``:

1. Write a function of the table and a sigma in :mod:`swim.reports.plots`, which returns a figure.
   :mod:`.plots.canvas` begins and ends every figure, so that equal figures are equal bytes.
2. Add its name to ``FIGURES`` in :mod:`.plots.accuracy_figure`; ``swim plot --figure NAME`` then
   draws it.
3. Add its files to ``rules/present.smk``, with a caption in ``rules/report/``, and its name to the
   figures of an experiment.

To add a table, or a figure of another table: write its module here (or in :mod:`.plots`), its
subcommand in :mod:`swim.cli` (or its choice in ``swim plot``), and its rule in
``rules/present.smk``. :mod:`swim.runtime.markdown` writes Markdown tables.
"""
