"""SWIM's score with the Gauss-Newton diagonal by one random vector a batch.

Curvature propagation's signs (Martens, Sutskever & Swersky, arXiv:1206.6464), or the drawn labels
of Sophia (Liu et al., arXiv:2305.14342), as the experiment's ``probe`` says.
"""

from swim.selection.scores.base import Needs, by_full_scale

NEEDS: Needs = "gauss_newton_probe"
score = by_full_scale
