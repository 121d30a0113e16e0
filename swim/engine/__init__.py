"""Forward passes of programmed chips in less time, with the predictions of the plain network.

:mod:`.evaluator` holds a network with its test images and predicts with the weights of programmed
chips. :mod:`.passes` runs the network for one chip, or for several chips at once
(:mod:`.chip_batch`), with faster operations (:mod:`.kernels`) and with compiled passes
(:mod:`.compiled`, turned off by ``SWIM_COMPILED=0``).

To add a faster way to run: it must give each chip the predictions of the plain network. Let
:mod:`.evaluator` try it on two images of each network first, and use it only where the outputs
equal those of the plain network up to rounding. Add a test that compares both on more images
(``tests/unit/engine/``).
"""
