"""The memory format in which convolutions are fastest."""

import torch

# In full float32, as measured: docs/gpu.md says on which GPU.
_FASTEST = {"cpu": torch.channels_last, "cuda": torch.contiguous_format}


def fastest(place: torch.device) -> torch.memory_format:
    """The format for networks on a torch device; others change the last bits of results."""
    return _FASTEST.get(place.type, torch.contiguous_format)
