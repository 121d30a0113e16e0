"""Scores in, masks out; numpy alone.

A score is one number per weight, higher for weights that gain more from write-verify
(:mod:`swim.selection.scores`, which says how to add one). A mask marks the weights with the highest
scores (:mod:`.masks`). :func:`swim.select` is :mod:`.api`; :mod:`.scoring` calls methods, a user's
own included.
"""

from swim.runtime.lazy import exports

__getattr__, __dir__ = exports(__name__, {"select": "swim.selection.api"})
