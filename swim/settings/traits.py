"""What policies and estimators are like, beside what they do.

Tables and curves depend on it, so it is part of these steps' digests, which the names in
:mod:`swim.settings.registry` are not.
"""

# Policies that change a chip at no write cycle: their curves begin at a point of their own.
FREE = frozenset({"reslice", "reslice_pair"})
# Those that read every device before any cycle: where nothing is rewritten, it is read once.
READING = frozenset({"read_first", "compensate", "marginal", "reslice", "reslice_pair"})
# Those that verify device after device, until all are: their curves end where everything is.
VERIFYING = frozenset({"uswim", "swim_device", "magnitude_device", "top_slice", "read_first"})
# Those that go on otherwise, and on-device training.
OTHERWISE = frozenset({"compensate", "marginal", "reslice", "reslice_pair", "in_situ"})
# Estimators that draw: they have a seed, and a number of draws.
DRAWING = frozenset({"monte_carlo_fisher", "hutchinson"})


def ends_verified(method: str) -> bool:
    """Whether spending more and more by a method ends with everything verified."""
    return method not in OTHERWISE
