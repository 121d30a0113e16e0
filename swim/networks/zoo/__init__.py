"""Networks as plain modules, one file per family.

To add a network:

1. Write ``swim/networks/zoo/<name>.py`` with a function (or a class) of
   ``(in_channels, classes)`` that returns an ``nn.Module``, from images (N, C, H, W) to
   outputs (N, classes). Use torchvision's definition where it has one, and cite the paper.
2. Add its line, ``"<name>": "swim.networks.zoo.<name>:<function>"``, to ``NETWORKS`` in
   :mod:`swim.settings.registry`.
3. Run ``make schema``.

The name is then ``model: {name: <name>}`` of an experiment in ``config.yaml``. A user's own network
needs none of this: ``model: {import: "package.module:function"}``.
"""
