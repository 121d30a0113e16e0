"""Rows of programmed chips become tables and figures; no torch.

To add a figure of ``accuracy.csv``:

1. Write a function of ``(table, sigma)`` in a module of :mod:`swim.reports.plots`, which returns a
   figure. :mod:`.plots.canvas` begins and ends every figure, so that equal figures are equal bytes;
   :mod:`.plots.style` has names, looks and order of methods, :mod:`.plots.titles` the words.
2. Add its name to ``FIGURES`` in :mod:`.plots.accuracy_figure`; ``swim plot --figure NAME`` then
   draws it, and ``swim plot`` without ``--figure`` does where ``fitting`` there says so.
3. Add ``--figure NAME`` to the parameter ``figures`` of the rule ``plot`` in ``rules/present.smk``,
   and its three files to the outputs, the PNG with a caption in ``rules/report/``.
4. Add its name to ``drawn`` in ``Targets.experiment`` (:mod:`swim.cli.targets`).
5. Add its files to ``test_from_nothing_to_figures`` in ``tests/workflow/test_pipeline.py``, which
   lists all figures of an experiment.

To add a table, or a figure of another table: write its module here (or in :mod:`.plots`), its
subcommand in :mod:`swim.cli` (or its choice in ``swim plot``), and its rule in
``rules/present.smk``. :mod:`swim.runtime.markdown` writes Markdown tables. docs/house.md lists the
rest under "a rule".
"""
