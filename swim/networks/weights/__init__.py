"""Which tensors of a network are programmed, found by where values come from.

A trace follows parameters and buffers through a forward pass (:mod:`.flow`, :mod:`.interception`),
notes each use of a weight (:mod:`.tracer`), and proves at its end that nothing reaches an output
unlisted (:mod:`.proof`). docs/weights.md has the rules. A new kind of operation is one entry in
:mod:`.operations`.
"""
