"""Which tensors of a network are programmed, found by following values through a forward pass.

A trace (:mod:`.tracing`) watches every torch function that the forward pass calls
(:mod:`.interception`) and follows parameters and buffers through them (:mod:`.flow`). It notes each
use of a weight (:mod:`.tracer`), also in contractions written as products and sums
(:mod:`.products_by_hand`), and proves at its end that nothing else reaches an output
(:mod:`.proof`). docs/weights.md has the rules.

To add a torch function, add its name to the set in :mod:`.operations` that says what the function
does with a weight; an unknown function that combines weights and activations is refused.
"""
