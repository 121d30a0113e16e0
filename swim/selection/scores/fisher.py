"""SWIM's score with the empirical Fisher, squared gradients of single samples, as curvature.

As diagonal Fisher pruning does it (Theis et al., 2018, arXiv:1801.05787).
"""

from swim.selection.scores.base import Needs, by_full_scale

NEEDS: Needs = "empirical_fisher"
score = by_full_scale
