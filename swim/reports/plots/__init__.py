"""Figures, one module each: a function returns the figure of a table, another one writes it.

Every figure begins with :func:`.canvas.new_figure` and is written as PNG and SVG by
:func:`.canvas.save`. Methods look and are ordered as :mod:`.method_styles` says.
"""
