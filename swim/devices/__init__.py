"""One memory cell: its levels, its errors, and write-verify.

:class:`swim.Device` slices a weight over devices (:mod:`.bit_sliced`). How the standard deviation
of a write depends on the level is the device's *variation*: a known one (:mod:`.four_level`), a
measured table (:mod:`.measured`) or a user's own code (:mod:`.custom`).

To add a device whose error depends on its level:

1. Write ``swim/devices/<name>.py`` with the variation: a function of levels, or a hashable object
   that is called with them. Levels are float tensors of fractions of full scale; the function
   returns factors of sigma of the same shape, and raises SettingError outside its valid range.
   A method ``check(bits)`` may refuse a number of bits per device (K), by a SettingError. The
   pipeline calls ``check`` before any work, so the module imports torch for type checkers only,
   as :mod:`.four_level` does. The docstring cites paper and figure, and gives unit and range.
2. Add its line, ``"<name>": "swim.devices.<name>:<variable>"``, to ``VARIATIONS`` in
   :mod:`swim.settings.registry`.
3. Run ``make schema``.
4. Describe it in docs/devices.md: its levels, for which K it is meant, and its source.

The name is then ``variation: {name: <name>}`` of an entry of ``devices:`` in ``config.yaml``. Tests
of all names in ``VARIATIONS`` (``tests/unit/devices/test_level_dependent_devices.py``) ask the
device which K it takes; a test of its own factors belongs beside them.

To add a way to write-verify, write a :class:`swim.devices.writer.Writer` in a file of its own, and
choose it in :func:`swim.devices.write_verify.writer`.
"""

from swim.runtime.lazy import exports

__getattr__, __dir__ = exports(
    __name__,
    {
        "Device": "swim.devices.bit_sliced",
        "at_equal_variance": "swim.devices.equal_variance",
        "of_settings": "swim.devices.from_settings",
        "relative_variance": "swim.devices.equal_variance",
    },
)
