"""Faster forward passes, same predictions.

:mod:`.evaluator` holds a network with its test images and predicts with the weights of programmed
chips. :mod:`.passes` runs the forward: of one chip, or of several at once where that gives the same
predictions (:mod:`.chip_batch`), with operations that take less time (:mod:`.kernels`) and with
compiled passes (:mod:`.compiled`, turned off by ``SWIM_COMPILED=0``). A new way to be faster must
predict as the plain network does, chip by chip, and is tried on two images before it is used; a
test compares the two ways.
"""
