"""SWIM, with average pooling as the first release has it: positions add coherently."""

from swim.selection.scores.base import Needs, by_full_scale

NEEDS: Needs = "recursion_coherent"
score = by_full_scale
