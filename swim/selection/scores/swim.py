"""SWIM: second derivative of the loss times the squared full scale of the layer.

DAC 2022, arXiv:2202.08395; the experiment's ``estimator`` says where the derivative comes from.
"""

from swim.selection.scores.base import Needs, by_full_scale

NEEDS: Needs = "curvature"
score = by_full_scale
