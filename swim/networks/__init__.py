"""Networks: their programmed weights, their training, their files.

:mod:`swim.networks.weights` finds which of a module's tensors are programmed; :mod:`.checkpoint`
stores and loads a network, :mod:`.training` trains one, :mod:`.import_weights` takes a user's
trained weights, and :mod:`.integer_weights` turns quantised weights into integers, for files to
hand on. :mod:`swim.networks.zoo` holds the networks that settings know by name, and says how to
add one.
"""
