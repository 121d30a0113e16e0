"""Files, random numbers, progress and digests: what every room uses, and no science.

Nothing here knows what a weight, a device or an accuracy is. Files are written whole or not at all
(:mod:`.writing`), carry digests (:mod:`.digests`) and are checked on reading (:mod:`.files`). Every
random number comes from a key of seed, purpose and index (:mod:`.rng`); standard normals are
computed with the same bits on every processor (:mod:`.normals`; the formula is in
:mod:`.box_muller`, the same in machine code in :mod:`.normals_code`). Machine code is made through
:mod:`.machine_code`, written with :mod:`.vectors` and turned off by :mod:`.compilation`. A helper
belongs here if two rooms need it and if it contains no model of networks, devices or accuracy.
"""
