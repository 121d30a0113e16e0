"""An experiment's curves as one file of HTML to explore, which needs nothing else and no network.

:mod:`.data` makes the numbers, :mod:`.look` the looks of methods from :mod:`swim.reports.plots`,
and :mod:`.page` puts both into ``page.html`` with ``page.css``, ``costs.js`` (where curves cross),
``page.js`` and plotly.js. These files lie beside this one, and digests of code cover them.

To add an axis: a column of :func:`.data.costs`, and its line in ``AXES``. The page has no names of
axes, methods or devices of its own.
"""
