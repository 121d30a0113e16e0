"""Selection methods by name.

A method is a module with two names: ``NEEDS``, which is ``"weights"`` or ``"curvature"``, and
``score(inputs)``, which gives one number a weight, the higher the more it is worth verifying.
To add one, write its file and add its line below.
"""

from swim.methods import magnitude, random, swim
from swim.methods.base import Inputs, Method

METHODS: dict[str, Method] = {
    "swim": swim,
    "magnitude": magnitude,
    "random": random,
}

__all__ = ["METHODS", "Inputs", "Method"]
