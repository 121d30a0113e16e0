"""SWIM's score with the Hessian's diagonal by random probes: for any differentiable network.

Negative estimates come last (Bekas, Kokiopoulou & Saad, 2007, doi:10.1016/j.apnum.2007.01.003).
"""

from swim.selection.scores.base import Needs, by_full_scale

NEEDS: Needs = "hutchinson"
score = by_full_scale
