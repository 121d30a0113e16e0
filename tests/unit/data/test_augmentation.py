"""Shifts and mirrors against a slow twin; as random as they say; in training alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from swim.data.augmentation import AUGMENTATIONS, PADDING, crop_flip, none
from swim.data.dataset import DataSet
from swim.networks import training
from swim.runtime import code_digest, files
from swim.settings import ModelSettings, TrainingSettings


def all_variants(image):
    """Every shift of an image, mirrored and not, by slicing."""
    _, height, width = image.shape
    padded = F.pad(image, [PADDING] * 4)
    crops = [
        padded[:, y : y + height, x : x + width]
        for y in range(2 * PADDING + 1)
        for x in range(2 * PADDING + 1)
    ]
    return torch.stack([*crops, *(crop.flip(2) for crop in crops)])


def test_each_image_is_one_of_its_variants_and_all_occur():
    """162 variants; each is missed by 4,000 draws with probability below 2e-11."""
    image = torch.randn(3, 8, 6)
    found = crop_flip(image.expand(4000, 3, 8, 6), torch.Generator().manual_seed(0))
    variants = all_variants(image).flatten(1)
    distance = torch.cdist(found.flatten(1), variants, compute_mode="donot_use_mm_for_euclid_dist")
    assert distance.min(1).values.max() < 1e-5
    counts = distance.argmin(1).bincount(minlength=len(variants))
    assert counts.min() > 0
    mirrored = counts[len(variants) // 2 :].sum() / 4000
    assert abs(mirrored - 0.5) < 6 * 0.5 / 4000**0.5  # six standard errors


def test_images_keep_their_place_and_a_seed_its_draws():
    images = torch.arange(50.0).view(50, 1, 1, 1).expand(50, 1, 16, 16)
    found = crop_flip(images, torch.Generator().manual_seed(3))
    assert found.flatten(1).max(1).values.tolist() == list(range(50))
    assert torch.equal(found, crop_flip(images, torch.Generator().manual_seed(3)))
    assert not torch.equal(found, crop_flip(images, torch.Generator().manual_seed(4)))
    assert none(images, torch.Generator()) is images


@pytest.mark.parametrize("step", ["sensitivity", "select", "evaluate", "summarise"])
def test_later_steps_cannot_augment(step):
    """Their code, all that it imports included, does not have it."""
    assert "swim.data.augmentation" in code_digest.sources("swim.cli.train", network="lenet")
    chosen = {"network": "lenet", "estimator": "recursion", "method": "swim"}
    assert "swim.data.augmentation" not in code_digest.sources(f"swim.cli.{step}", **chosen)


@pytest.mark.parametrize("augment", [True, False])
def test_training_batches_are_augmented_and_calibration_is_not(tmp_path, monkeypatch, augment):
    arrays = {}
    for split, count in (("train", 40), ("test", 10)):
        arrays[f"{split}_images"] = np.zeros((count, 1, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 10
    settings = {"dataset": "d", "classes": 10, "mean": [0.5], "std": [0.5]}
    files.save_arrays(tmp_path / "data", arrays, {**settings, "augmentation": "crop_flip"})
    seen = []

    def spy(images, generator):
        seen.append(len(images))
        return images

    monkeypatch.setitem(AUGMENTATIONS, "crop_flip", spy)
    chosen = TrainingSettings(epochs=2, quantised_epochs=1, batch_size=30, augment=augment)
    model = ModelSettings(weight_bits=4, activation_bits=4)
    training.train(model, chosen, DataSet(tmp_path / "data"), seed=0, place=torch.device("cpu"))
    assert seen == ([30, 10] * 2 if augment else [])
