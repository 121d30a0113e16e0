"""For all tests: one arithmetic thread a worker, since workers share the cores."""

import pytest
import torch

torch.set_num_threads(1)

# Coverage is measured in these; in statistics over many draws it would only cost time.
COVERED = ("tests/unit/", "tests/reference/")


def pytest_collection_modifyitems(items):
    for item in items:
        if not item.nodeid.startswith(COVERED):
            item.add_marker(pytest.mark.no_cover)
