"""What swim.evaluate returns: its texts, tables and figures, and differences of paired chips."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import swim
from swim.errors import SettingError
from swim.evaluation import stopping
from swim.evaluation.monte_carlo import COLUMNS
from swim.programming import VerifyMask
from swim.programming.chip import Programmed
from swim.programming.in_situ import InSitu

DEVICE = swim.Device(sigma=0.3)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)).eval()


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(60, 1, 4, 4, generator=generator), torch.arange(60) % 3)]


MODEL, BATCHES = network(), images()
SCORES = swim.sensitivity(MODEL, BATCHES)
MASK = swim.select(SCORES, 0.5)


def evaluate(mask=None, *, model=MODEL, batches=BATCHES, device=DEVICE, chips=64, **more):
    return swim.evaluate(model, batches, mask, device=device, chips=chips, **more)


@pytest.fixture(scope="module")
def plain():
    return evaluate()


@pytest.fixture(scope="module")
def verified():
    return evaluate(MASK)


def test_repr_is_one_line_with_mean_interval_chips_nwc_sigma_and_mask(verified):
    text = repr(verified)
    assert "\n" not in text
    assert text == (
        f"Result(accuracy {100 * verified.mean:.2f} ± {100 * verified.ci95:.2f} %, 64 chips, "
        "NWC 0.5, sigma 0.3, write-verify of 114 of 228 weights (50 %), by gauss_newton_probe)"
    )


def test_repr_of_a_regression_has_the_loss():
    batches = [(BATCHES[0][0], torch.randn(60, 3))]
    result = evaluate(batches=batches, loss="mse", chips=3)
    assert re.match(r"Result\(loss \d+\.\d+ ± \d+\.\d+, 3 chips, NWC 0, ", repr(result))
    assert re.match(r"Difference\(loss \+0\.0000 ± 0\.0000, paired", repr(result - result))
    assert "accuracy" not in result._repr_html_()


def test_html_has_mean_interval_percentile_and_costs(verified):
    page = verified._repr_html_()
    assert page.startswith("<table>")
    assert f"{100 * verified.p05:.2f} %" in page
    assert f"{100 * verified.std:.2f} points" in page
    assert "fifth percentile" not in evaluate(chips=3)._repr_html_()


def test_html_escapes_what_a_policy_says_of_itself():
    class Marked:
        words = "<script>"

        def program(self, chip):
            return Programmed(dict(chip.targets), 0.0)

    page = evaluate(policy=Marked(), chips=2)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_frame_has_the_columns_of_a_chips_file(verified):
    table = evaluate(MASK, chips=3, first_chip=5).to_frame()
    assert list(table) == list(COLUMNS)
    assert list(table["chip"]) == [5, 6, 7]
    assert np.array_equal(table["accuracy"], verified.accuracy[5:8])
    assert set(table["images"]) == {60}


def test_difference_is_paired_by_chip_with_its_interval(plain, verified):
    difference = verified - plain
    own = verified.accuracy.numpy() - plain.accuracy.numpy()
    assert difference.mean == own.mean()
    assert difference.std == own.std(ddof=1)
    assert difference.ci95 == stopping.half_width(own)
    assert difference.ci95 < (verified.ci95**2 + plain.ci95**2) ** 0.5  # pairing pays
    assert difference.nwc == pytest.approx(0.5)
    assert (plain - verified).mean == -difference.mean
    text = repr(difference)
    assert text.startswith(f"Difference(accuracy {100 * difference.mean:+.1f} ± ")
    assert "paired over 64 chips, NWC +0.5, write-verify of 114" in text
    assert text.endswith("minus no write-verify)")
    assert list(difference.to_frame()) == ["accuracy", "loss", "nwc", "reads"]


OTHER = {
    "seed": ({"seed": 1}, "seed is 0 and 1"),
    "sigma": ({"device": swim.Device(sigma=0.2)}, "device.sigma is 0.3 and 0.2"),
    "device": ({"device": swim.Device(sigma=0.3, M=8, K=1)}, "device.M is 4 and 8; device.K is"),
    "chips": ({"chips": 8}, "chips is 64 and 8"),
    "first chip": ({"first_chip": 64}, "first_chip is 0 and 64"),
    "images": ({"batches": [(BATCHES[0][0][:30], BATCHES[0][1][:30])]}, "images is 60 and 30"),
    "values": ({"batches": images(1)}, "the test images or their labels have other values"),
    "labels": ({"batches": [(BATCHES[0][0], BATCHES[0][1].flip(0))]}, "labels have other values"),
    "network": ({"model": network(1)}, "the programmed weights have other values"),
    "digital": ({"digital": ["3.weight"]}, "the programmed weights have other values"),
    "arithmetic": ({"arithmetic": "bfloat16"}, "arithmetic is float32 and bfloat16"),
    "loss": ({"batches": [(BATCHES[0][0], torch.randn(60, 3))], "loss": "mse"}, "loss is cross"),
}


@pytest.mark.parametrize("name", OTHER)
def test_difference_of_other_chips_is_refused_and_says_what_differs(plain, name):
    changed, said = OTHER[name]
    with pytest.raises(SettingError, match=re.escape(said)) as refused:
        plain - evaluate(**changed)
    assert "not of the same chips" in str(refused.value)


def test_split_of_the_batches_does_not_matter_to_a_difference(plain):
    x, y = BATCHES[0]
    split = evaluate(batches=[(x[:7], y[:7]), (x[7:], y[7:])])
    assert (plain - split).mean == pytest.approx(0, abs=0.01)


def test_difference_of_something_else_is_an_error(plain):
    with pytest.raises(TypeError):
        plain - 0.1
    bare = dataclasses.replace(plain, setup=None)
    with pytest.raises(SettingError, match=r"results of swim\.evaluate"):
        plain - bare
    assert repr(bare).startswith("Result(accuracy")
    assert len(bare.to_frame()) == 64


def test_figure_shows_every_chip_the_mean_and_the_fifth_percentile(verified, plain):
    figure = verified.plot()
    (axes,) = figure.axes
    lines = {line.get_gid(): line for line in axes.lines}
    values = np.sort(100 * verified.accuracy.numpy())
    assert np.array_equal(np.sort(lines["chips"].get_xdata())[-64:], values)
    assert lines["mean"].get_xdata()[0] == pytest.approx(100 * verified.mean)
    assert lines["p05"].get_xdata()[0] == pytest.approx(100 * verified.p05)
    assert figure._repr_png_().startswith(b"\x89PNG")  # what notebooks show
    assert (verified - plain).plot("column").get_size_inches()[0] == 3.5
    few = evaluate(chips=2).plot()
    assert "p05" not in {line.get_gid() for line in few.axes[0].lines}


def test_masks_scores_and_policies_say_what_they_are():
    assert repr(MASK) == "Mask(114 of 228 weights (50 %), by gauss_newton_probe)"
    weights = swim.programmed_weights(MODEL, BATCHES)
    by_magnitude = swim.select(method="magnitude", fraction="0.1", weights=weights)
    assert repr(by_magnitude) == "Mask(23 of 228 weights (10.1 %), by magnitude)"
    assert repr(VerifyMask(dict(MASK))) == ("VerifyMask(write-verify of 114 of 228 weights (50 %))")
    assert repr(VerifyMask({})) == "VerifyMask(no write-verify)"
    policy = swim.policy("marginal", 0.01, SCORES)
    assert repr(policy) == "Policy(marginal within 0.01 NWC, by scores of 228 weights)"
    assert repr(swim.policy("swim_device", 1, SCORES)).startswith("Policy(swim_device within 1")
    training = InSitu(MODEL, BATCHES, 2)
    assert repr(training).startswith("Policy(in-situ training within 2 NWC, 1 batches")
    text = repr(SCORES)
    assert re.fullmatch(
        r"Estimate\(sensitivities of 228 weights in 2 tensors, by gauss_newton_probe, "
        r"relative error .+\)", text,
    )  # fmt: skip


def test_mask_is_a_dict_as_before():
    assert isinstance(MASK, dict)
    assert dict(MASK).keys() == MASK.keys()
    frame = pd.Series({name: int(layer.sum()) for name, layer in MASK.items()})
    assert frame.sum() == 114
