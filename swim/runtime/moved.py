"""Modules that have moved: documented imports of version 0.1 go on, with a warning."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Old name -> new name. They go in version 0.3.
MOVED = {
    "swim.methods": "swim.selection.scores",
    "swim.methods.base": "swim.selection.scores.base",
    "swim.policies": "swim.programming",
}


class _Moved(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        """No module of its own; see below."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module in its new place under its old name, too."""
        old = module.__name__
        warnings.warn(f"{old} has moved: import {MOVED[old]} instead", FutureWarning, stacklevel=2)
        sys.modules[old] = import_module(MOVED[old])


def keep_old_names() -> None:
    """Make the old names importable."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())  # before the finder that would load a second copy
