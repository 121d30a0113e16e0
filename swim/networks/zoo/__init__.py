"""Networks as plain modules, one file a family.

A network is a function of ``(in_channels, classes)`` that returns an ``nn.Module``; its line is in
:mod:`swim.settings.registry`.
"""
