"""Files, random numbers, progress and digests: what every room uses, and no science.

Nothing here knows what a weight, a device or an accuracy is. Files are written whole or not at all
(:mod:`.writing`), carry digests (:mod:`.digests`) and are checked on reading (:mod:`.files`); every
random number comes from a key of seed, purpose and index (:mod:`.rng`). A helper that two rooms
need, and that has no formula in it, belongs here.
"""
