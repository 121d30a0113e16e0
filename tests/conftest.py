"""For all tests: one arithmetic thread a worker, since workers share the cores."""

import torch

torch.set_num_threads(1)
