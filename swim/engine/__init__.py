"""Faster passes, same predictions.

:mod:`.evaluator` runs a network for many programmed chips: several at once where that is exact
(:mod:`.chip_batch`), by kernels that take less time (:mod:`.kernels`), and by compiled blocks
(:mod:`.compiled`, which can be turned off). Whatever is added must predict as the plain network
does, chip by chip; a test compares the two.
"""
