"""Second derivatives of the loss per weight; nothing here knows of devices.

To add an estimator:

1. Write ``swim/curvature/<name>.py`` with a function of
   ``(model, batches, *, loss, progress, control)``. A function that draws random numbers takes
   ``seed`` and ``samples`` as well. The function returns name -> float64 tensor shaped like the
   weight, summed over samples and not scaled. :mod:`.gauss_newton` is an example;
   :func:`.shared.summed` loops over the batches, and keeps the sums so that a killed pass goes on.
   What else an estimator carries from batch to batch, such as a random generator, it hands to
   ``control`` (:mod:`.control`).
2. Add its line, ``"<name>": "swim.curvature.<name>:<function>"``, to ``ESTIMATORS`` in
   :mod:`swim.settings.registry`; if it draws, its name to ``DRAWING`` in
   :mod:`swim.settings.estimator_traits`.
3. Run ``make schema``.
4. Write its slow twin in ``tests/reference/test_estimators.py`` (``TWINS``), or a test of its mean
   in ``tests/statistics/test_estimators.py`` if it draws.
5. Describe it in docs/estimators.md.

The name is then ``estimator:`` of an experiment and ``--estimator`` of ``swim sensitivity``. An
edit of the file reruns the jobs of that estimator, and what is made from their files.
:mod:`.rules` says how to add an operation of the recursion.
"""

from swim.runtime.lazy import exports

__getattr__, __dir__ = exports(
    __name__,
    {
        "second_derivative": "swim.curvature.estimate",
        "sensitivity": "swim.curvature.estimate",
    },
)
