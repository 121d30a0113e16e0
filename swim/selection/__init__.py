"""Scores in, masks out; numpy alone.

A score is one number a weight, the higher the more it is worth verifying
(:mod:`swim.selection.scores`); a mask marks the weights of the highest (:mod:`.masks`). A new score
is one file in :mod:`swim.selection.scores` and one line in :mod:`swim.settings.registry`.
"""

from swim.runtime.lazy import exports

__getattr__, __dir__ = exports(__name__, {"select": "swim.selection.masks"})
