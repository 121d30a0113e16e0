"""Figures, one module each: a function of a tidy table that writes PNG and SVG."""
