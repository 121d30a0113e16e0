"""The order of a tensor's dimensions in memory that convolutions take the least time in."""

import torch

# In full float32, as measured: docs/gpu.md says on which GPU.
_FASTEST = {"cpu": torch.channels_last, "cuda": torch.contiguous_format}


def fastest(place: torch.device) -> torch.memory_format:
    """The format for networks that run there; another one changes the last bits of a result."""
    return _FASTEST.get(place.type, torch.contiguous_format)
