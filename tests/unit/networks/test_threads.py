"""One model used by several threads: they take turns, and the model stays as it was."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

import swim


def test_threads_that_share_a_model_get_the_results_of_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).train()
    x = torch.randn(200, 8)
    y = torch.arange(200) % 4
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    objects = {name: id(p) for name, p in model.named_parameters()}

    def run(number):
        if number % 3 == 2:
            scores = swim.sensitivity(model, [(x, y)], estimator="gradient")
            return torch.cat([score.flatten() for score in scores.values()])
        device = swim.Device(sigma=0.1 + 0.05 * number, M=4, K=4)
        return swim.evaluate(model, [(x, y)], device=device, chips=20, seed=number).loss

    alone = [run(number) for number in range(12)]
    state = torch.random.get_rng_state()
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(run, range(12)))
    for number, (one, other) in enumerate(zip(alone, together, strict=True)):
        assert torch.equal(one, other), number
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    assert {name: id(p) for name, p in model.named_parameters()} == objects
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
