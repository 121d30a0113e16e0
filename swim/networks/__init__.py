"""Networks: their programmed weights, their training, their files.

:mod:`swim.networks.weights` finds which of a module's tensors are programmed; :mod:`.checkpoint`
stores and loads a network, :mod:`.training` makes one, :mod:`.import_weights` takes a user's.
To add a network, write its file in :mod:`swim.networks.zoo` and its line in
:mod:`swim.settings.registry`.
"""
