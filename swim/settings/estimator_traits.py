"""What sets some estimators apart, beside their code.

Steps depend on it, so it is part of their digests, which the names in
:mod:`swim.settings.registry` are not.
"""

# Estimators that draw random numbers: they have a seed and a number of samples.
DRAWING = frozenset({"gauss_newton_probe", "monte_carlo_fisher", "hutchinson"})
# Those of them that choose between random vectors, and report a relative error.
PROBING = frozenset({"gauss_newton_probe"})
