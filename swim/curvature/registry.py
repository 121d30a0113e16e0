"""Estimators by name, without importing torch until one is called."""

from swim.errors import SettingError

# name -> "module:function"; the function takes (model, batches, loss=..., progress=...).
ESTIMATORS = {"recursion": "swim.curvature.recursion:recursion"}


def check(name: str) -> None:
    """Raise :class:`SettingError` unless ``name`` is an estimator."""
    if name not in ESTIMATORS:
        raise SettingError(f"unknown estimator {name!r}; known: {', '.join(ESTIMATORS)}")
