"""PyTorch's attention, opened for modes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from swim.networks.weights.attention import attention_in_steps
from swim.networks.weights.interception import Watch


class Names(Watch):
    def __init__(self):
        super().__init__()
        self.names = []

    def _call(self, func, args, kwargs):
        self.names.append(getattr(func, "__name__", ""))
        return func(*args, **kwargs)


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_in_steps_gives_the_same_bytes(need_weights):
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2), torch.randn(5, 3, 8)
    layer.train()  # not the fused path of eval mode, which calls no function of Python's
    expected = layer(x, x, x, need_weights=need_weights)
    with Names() as mode:
        found = layer(x, x, x, need_weights=need_weights)
    assert torch.equal(found[0], expected[0])
    assert found[1] is expected[1] is None or torch.equal(found[1], expected[1])
    assert mode.names.count("linear") == 2  # the packed projection and the last one
    assert "multi_head_attention_forward" not in mode.names


def test_torch_still_asks_for_overrides_by_the_name_that_the_copy_answers():
    function = F.multi_head_attention_forward
    assert "has_torch_function" in function.__code__.co_names
    assert function.__closure__ is None
    assert attention_in_steps.__code__ is function.__code__
    assert F.has_torch_function is not attention_in_steps.__globals__["has_torch_function"]
