"""Passes of small networks on a CPU, recorded once and run again as compiled code.

The rest of the package imports this door only. README.md says what compiled passes gain, when
they are chosen, what guards them and how to turn them off (``SWIM_COMPILED=0``). The modules in
the order of their use: :mod:`.recording`, :mod:`.fusing`, :mod:`.block` (its shape is
:mod:`.geometry`, its code :mod:`.block_code` and :mod:`.sums`, written with
:mod:`swim.runtime.vectors` and compiled by :mod:`swim.runtime.machine_code`), :mod:`.replay`. A new
kind of block is a chain in :mod:`.fusing` and code for that chain.
"""

from typing import TYPE_CHECKING

from swim.runtime.lazy import exports

if TYPE_CHECKING:
    from swim.engine.compiled.replay import Replay, record
    from swim.runtime.compilation import is_on

__all__ = ["Replay", "is_on", "record"]

__getattr__, __dir__ = exports(
    __name__,
    {
        "Replay": "swim.engine.compiled.replay",
        "is_on": "swim.runtime.compilation",
        "record": "swim.engine.compiled.replay",
    },
)
