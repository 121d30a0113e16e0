"""Outside bytes become checked arrays.

Images of data sets, labels and batches of a caller, and tables of measured devices are read here
once, checked, and refused with the file, the position in it and the remedy.

To add a data set:

1. Write ``swim/data/sources/<name>.py``; :mod:`swim.data.sources` says what it holds, and
   :mod:`.sources.cifar10` is an example. :mod:`.download` downloads and checks files.
2. Add its line, ``"<name>": "swim.data.sources.<name>"``, to ``DATASETS`` in
   :mod:`swim.settings.registry`.
3. Run ``make schema``.

The name is then a ``dataset:`` of ``config.yaml``.
"""
