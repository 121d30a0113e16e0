"""A random subset of images: which ones, whatever order and batches they are in."""

import itertools

import numpy as np
import pytest
import torch

from swim.curvature.estimate import second_derivative
from swim.data.batches import Several
from swim.data.random_images import of_batches, positions
from swim.errors import SettingError
from swim.runtime import rng


def numbered(sizes, several=False, labelled=True):
    """Batches whose samples hold their own position."""
    start = 0
    for size in sizes:
        x = torch.arange(start, start + size).float()[:, None]
        yield (Several((x, x + 0.5)) if several else x), x[:, 0].long() if labelled else None
        start += size


def taken(batches):
    return [int(n) for inputs, _ in batches for n in getattr(inputs, "tensors", [inputs])[0][:, 0]]


def test_the_subset_is_that_of_the_smallest_random_numbers():
    """The twin by definition: sort all numbers, take the first so many, in the file's order."""
    numbers = rng.generator(3, "sensitivity images").random(50)
    expected = sorted(sorted(range(50), key=lambda n: numbers[n])[:20])
    assert positions(50, 20, seed=3).tolist() == expected


def test_a_larger_subset_contains_the_smaller_and_all_images_are_in_order():
    found = [set(positions(100, n, seed=1).tolist()) for n in (1, 10, 60, 99)]
    assert all(one < other for one, other in itertools.pairwise(found))
    assert positions(100, 100, seed=1).tolist() == list(range(100))
    assert positions(100, 10, seed=1).tolist() != positions(100, 10, seed=2).tolist()


def test_every_image_is_equally_likely():
    """400 seeds, 30 of 100: each position's count is binomial, with a standard deviation of 9.2."""
    counts = np.zeros(100)
    for seed in range(400):
        counts[positions(100, 30, seed).numpy()] += 1
    assert np.abs(counts - 120).max() < 5 * np.sqrt(400 * 0.3 * 0.7)
    # 99 degrees of freedom: six standard deviations of the statistic.
    statistic = ((counts - 120) ** 2 / (400 * 0.3 * 0.7)).sum()
    assert abs(statistic - 100) < 6 * np.sqrt(2 * 99)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("sizes", [[100], [7] * 14 + [2], [1] * 100, [50, 3, 47]], ids=str)
@pytest.mark.parametrize("images", [1, 9, 40, 100])
def test_batches_give_the_same_images_however_they_are_split(several, labelled, sizes, images):
    found = list(of_batches(numbered(sizes, several, labelled), images, seed=5))
    assert taken(found) == positions(100, images, seed=5).tolist()
    for inputs, labels in found:
        assert labels is None or labels.tolist() == taken([(inputs, labels)])
        if several:
            assert torch.equal(inputs.tensors[1], inputs.tensors[0] + 0.5)
    # In batches of the first one's size, but the last.
    assert {len(inputs) for inputs, _ in found[:-1]} <= {sizes[0]}
    assert len(found[-1][0]) <= sizes[0]


def test_a_loader_that_writes_every_batch_into_the_same_memory():
    def reused():
        x, y = torch.empty(7, 1), torch.empty(7, dtype=torch.int64)
        for inputs, labels in numbered([7] * 10):
            yield x.copy_(inputs), y.copy_(labels)

    found = list(of_batches(reused(), 30, seed=5))
    assert taken(found) == positions(70, 30, seed=5).tolist()
    assert [labels.tolist() for _, labels in found] == [taken([batch]) for batch in found]


def test_batches_of_different_shapes_are_not_joined():
    batches = [(torch.full((4, n), float(n)), torch.zeros(4, n).long()) for n in (2, 3, 3, 2)]
    found = list(of_batches(batches, 16, seed=0))
    assert [tuple(inputs.shape) for inputs, _ in found] == [(4, 2), (4, 3), (4, 3), (4, 2)]
    assert all(inputs.shape == labels.shape for inputs, labels in found)


def test_more_images_than_there_are_is_an_error():
    with pytest.raises(SettingError, match="11 images are asked for, but there are only 10"):
        positions(10, 11, seed=0)
    with pytest.raises(SettingError, match="images=11: the batches hold only 10"):
        list(of_batches(numbered([5, 5]), 11, seed=0))


@pytest.mark.parametrize("images", [0, -3, 2.5, True, "ten"])
def test_a_number_of_images_must_be_a_positive_whole_number(images):
    with pytest.raises(SettingError, match="images must be"):
        second_derivative(torch.nn.Linear(2, 2), [(torch.ones(4, 2), None)], images=images)
