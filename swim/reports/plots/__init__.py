"""Figures, one module each: a function returns the figure of a table, another one writes it.

A function that draws is decorated by :func:`.canvas.in_format`, begins with
:func:`.canvas.new_figure`, and its figure is written as PNG, SVG and PDF by :func:`.canvas.save`.
Methods look, are named and are ordered as :mod:`.style` says; titles have the words of
:mod:`.titles`.
"""
