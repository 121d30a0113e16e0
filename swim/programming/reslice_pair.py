"""As ``reslice``, with digits below zero too: a differential pair for each slice.

The digits -(2^K - 1) to 2^K - 1 reach both ways from whatever a slice has left; with digits from
zero a slice that came out too high can only be made up for as far as the ones below were set.
"""

from swim.programming.reslice import Reslice


class ReslicePair(Reslice):
    """Slices one after the other, with digits of either sign."""

    signed = True
