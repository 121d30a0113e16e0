"""Second derivatives of the loss per weight; nothing here knows of devices.

An estimator is one file and one line in :mod:`swim.settings.registry`. It is a function of model
and batches and, by keyword, of loss and progress, of seed and samples too if it draws. It returns
name -> float64 tensor shaped like the weight: raw, summed over samples; :mod:`.estimate` calls it.
"""

from swim.runtime.lazy import exports

__getattr__, __dir__ = exports(
    __name__,
    {
        "second_derivative": "swim.curvature.estimate",
        "sensitivity": "swim.curvature.estimate",
    },
)
