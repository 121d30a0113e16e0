"""As ``reslice``, with digits of both signs: a differential pair for each slice.

Digits from -(2^K - 1) to 2^K - 1 compensate an error of either sign. With digits from zero, a slice
that is too high is compensated only as far as the lower digits can be reduced.
"""

from swim.programming.reslice import Reslice


class ReslicePair(Reslice):
    """Slices are written one after the other, with digits of both signs."""

    signed = True
