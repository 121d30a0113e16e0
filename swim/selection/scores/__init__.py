"""Selection methods by their scores, one file each.

To add a method:

1. Write ``swim/selection/scores/<name>.py`` with two names. ``score(inputs)`` returns one array per
   weight tensor, shaped like it; the highest entries are verified first
   (:class:`swim.selection.scores.base.Inputs` says what is known). ``NEEDS`` is ``"weights"`` if
   the weights are enough, ``"curvature"`` for second derivatives by the experiment's estimator, or
   the name of the one estimator that the method is defined by.
2. Add its line, ``"<name>": "swim.selection.scores.<name>"``, to ``METHODS`` in
   :mod:`swim.settings.registry`.
3. Run ``make schema``.

The name is then a ``methods:`` entry of ``config.yaml`` and ``--method`` of ``swim select``. An
edit of the file reruns that method alone.
"""
