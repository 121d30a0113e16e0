"""SWIM's score with the exact Gauss-Newton diagonal: what the recursion approximates."""

from swim.selection.scores.base import Needs, by_full_scale

NEEDS: Needs = "gauss_newton"
score = by_full_scale
