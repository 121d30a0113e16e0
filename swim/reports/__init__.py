"""Rows become tables, figures and claims; no torch.

A table is a module here, a figure one in :mod:`swim.reports.plots`. To add one, write its module,
its subcommand in :mod:`swim.cli` and its rule in ``rules/present.smk``.
"""
