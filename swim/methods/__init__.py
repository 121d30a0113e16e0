"""Selection methods, one file each.

A method is a module with two names: ``NEEDS``, which is ``"weights"`` or ``"curvature"``, and
``score(inputs)``, which gives one number a weight, the higher the more it is worth verifying.
Its line is in :mod:`swim.registry`.
"""
