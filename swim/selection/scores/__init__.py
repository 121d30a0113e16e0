"""Selection methods, one file each.

A method is a module with two names: ``NEEDS``, which says what it scores by, and
``score(inputs)``, which gives one number a weight, the higher the more it is worth verifying.
``NEEDS`` is ``"weights"``, ``"curvature"`` (by the experiment's estimator) or the name of the one
estimator that the method means. Its line is in :mod:`swim.settings.registry`.
"""
