"""Selection methods by their scores, one file each.

To add a method:

1. Write ``swim/selection/scores/<name>.py`` with two names. ``score(inputs)`` returns one array per
   weight tensor, shaped like it; the highest entries are verified first
   (:class:`swim.selection.scores.base.Inputs` says what is known). ``NEEDS`` is ``"weights"`` if
   the weights are enough, ``"curvature"`` for second derivatives by the experiment's estimator, or
   the name of the one estimator that the method is defined by.
2. Add its line, ``"<name>": "swim.selection.scores.<name>"``, to ``METHODS`` in
   :mod:`swim.settings.registry`.
3. Run ``make schema``. It also writes which methods take the experiment's estimator.
4. Add its estimator and formula to ``SCORES`` in ``tests/unit/selection/test_masks.py``, which
   fails without them.
5. Describe it in docs/selection.md.

The name is then a ``methods:`` entry of ``config.yaml`` and ``--method`` of ``swim select``. An
edit of the file reruns that method's masks and chips, the tables and figures that show them, and
``correlate`` where the study of scores includes the method.

A score of a user's own needs no file here: ``methods:`` takes its import, see docs/selection.md.
"""
