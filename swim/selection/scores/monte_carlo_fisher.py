"""SWIM's score with the Fisher's diagonal, labels drawn from the network, as curvature.

BackPACK's DiagGGNMC (Dangel, Kunstner & Hennig, 2020, arXiv:1912.10985).
"""

from swim.selection.scores.base import Needs, by_full_scale

NEEDS: Needs = "monte_carlo_fisher"
score = by_full_scale
