"""One memory cell: its levels, its errors, and write-verify.

:class:`swim.Device` slices a weight over devices (:mod:`.bit_sliced`); how much each level varies
is a variation, such as those of :mod:`.four_level`, a measured table (:mod:`.measured`) or a user's
(:mod:`.custom`). To add one, write a function of levels that returns factors of sigma, with
its source, unit and range, and its line in :mod:`swim.settings.registry`.
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
