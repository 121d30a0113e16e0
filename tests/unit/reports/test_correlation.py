"""Correlations against scipy; the table, its intervals' ends and the scatter plots."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from swim.errors import DataError
from swim.reports import correlation
from swim.reports.plots import scatter_figure
from swim.runtime.files import write_rows, write_table

CONSTANTS = {"experiment": "mine", "model": "lenet", "dataset": "mnist5k"}
LAYERS = {"conv.weight": (2, 1, 3, 3), "fc.weight": (4, 20)}


@pytest.fixture
def weights():
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=shape) for name, shape in LAYERS.items()}


@pytest.fixture
def files(weights, tmp_path):
    """What `swim perturb` might have written: two sigmas, some zeros, some decreases."""
    generator = np.random.default_rng(1)
    paths = []
    for sigma in ("0.3", "0.1"):
        rows = []
        for name, layer in weights.items():
            for i, value in enumerate(layer.flat):
                increase = 0 if i % 7 == 0 else float(value**2 * generator.lognormal())
                increase *= -1 if i % 11 == 3 else 1
                rows.append((name, i, value, 0.1, increase, increase, increase, 0.0))
        paths.append(tmp_path / "perturbation/release" / f"sigma-{sigma}.csv")
        write_rows(paths[-1], correlation.MEASURED, rows)
    return paths


@pytest.fixture
def scores(weights):
    return {
        "square": {name: layer**2 for name, layer in weights.items()},
        "signed": {name: np.where(layer > 1, 0, layer) for name, layer in weights.items()},
        "same": {name: np.ones_like(layer) for name, layer in weights.items()},
    }


@pytest.fixture
def table(files, weights, scores):
    return correlation.measured(files, weights, scores)


@pytest.fixture
def correlations(table, scores):
    return correlation.correlation_table(table, list(scores), CONSTANTS, seed=0)


def test_what_was_measured_on_programmed_chips_is_beside_and_apart(files, weights, scores):
    """Files in DEVICE/programmed/, also of a device that has that name."""
    rows = pd.read_csv(files[0])
    rows["increase"] *= 2
    others = [files[0].parent / "programmed" / files[0].name,
              files[0].parents[1] / "programmed" / files[0].name]  # fmt: skip
    for path in others:
        write_rows(path, correlation.MEASURED, rows.itertuples(index=False))
    table = correlation.measured([*files, *others], weights, scores)
    places = [tuple(place) for place in table[correlation.KEYS].drop_duplicates().to_numpy()]
    assert places == [("programmed", "ideal", "0.3"), ("release", "ideal", "0.1"),
                      ("release", "ideal", "0.3"), ("release", "programmed", "0.3")]  # fmt: skip
    correlations = correlation.correlation_table(table, list(scores), CONSTANTS, seed=0)
    assert len(correlations) == len(places) * len(scores) * 3
    text = correlation.markdown(correlations, table)
    assert text.count("### mine") == 3
    assert "device `release`, on top of programmed chips" in text
    figure = scatter_figure.correlation_figure(table, correlations, list(scores))
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert sum("at chips" in title for title in titles) == 3


def test_coefficients_are_scipys():
    generator = np.random.default_rng(2)
    scores = generator.normal(size=(50, 3)) * [1e-30, 1, 1e30]
    scores[:20, 1] = 0  # ties
    increase = 1e-9 * (generator.normal(size=50) + scores[:, 1])
    found = correlation.coefficients(scores, increase)
    for i, column in enumerate(scores.T):
        assert found["pearson"][i] == pytest.approx(stats.pearsonr(column, increase)[0])
        assert found["spearman"][i] == pytest.approx(stats.spearmanr(column, increase)[0])


def test_no_coefficient_where_one_side_is_the_same_for_all():
    scores = np.column_stack([np.full(9, 3.0), np.arange(9.0)])
    for increase in (np.arange(9.0), np.zeros(9)):
        found = correlation.coefficients(scores, increase)
        for name in correlation.COEFFICIENTS:
            assert np.isnan(found[name][0])
            assert np.isnan(found[name][1]) == (not increase.any())


def test_every_weight_has_the_score_of_its_own_place(table, weights, scores):
    assert list(table["sigma"].unique()) == ["0.1", "0.3"]
    assert len(table) == 2 * (18 + 80)
    for row in table.sample(20, random_state=0).itertuples():
        assert row.weight == weights[row.layer].flat[row.index]
        assert row.square == scores["square"][row.layer].flat[row.index]


def test_the_table_in_all_and_by_layer(table, correlations):
    assert list(correlations) == correlation.COLUMNS
    assert len(correlations) == 2 * 3 * 3
    assert set(correlations["layer"]) == {"all", *LAYERS}
    row = correlations.query("sigma == '0.3' and method == 'square' and layer == 'fc.weight'")
    part = table.query("sigma == '0.3' and layer == 'fc.weight'")
    expected = stats.spearmanr(part["square"], part["increase"])[0]
    assert row["spearman"].item() == pytest.approx(expected)
    assert row["weights"].item() == 80
    few = correlations[correlations["layer"] == "conv.weight"]
    assert few[["pearson_low", "spearman_high"]].isna().all(axis=None)  # 18 weights
    many = correlations[(correlations["layer"] == "all") & (correlations["method"] == "square")]
    for name in correlation.COEFFICIENTS:
        assert (many[f"{name}_low"] < many[name]).all()
        assert (many[name] < many[f"{name}_high"]).all()


@pytest.mark.long
def test_an_interval_depends_on_the_seed_and_on_no_order(table, scores, correlations):
    again = correlation.correlation_table(table, list(scores)[::-1], CONSTANTS, seed=0)
    both = [t.sort_values(["sigma", "method", "layer"], ignore_index=True)
            for t in (again, correlations)]  # fmt: skip
    pd.testing.assert_frame_equal(*both)
    other = correlation.correlation_table(table, list(scores), CONSTANTS, seed=1)
    assert not other["pearson_low"].equals(correlations["pearson_low"])
    assert other["pearson"].equals(correlations["pearson"])


def test_markdown_shows_the_rows_of_the_table(table, correlations):
    text = correlation.markdown(correlations, table)
    part = table[table["sigma"] == "0.1"]["increase"]
    assert f"positive for {(part > 0).sum()}, exactly zero for {(part == 0).sum()}" in text
    lines = [line for line in text.splitlines() if line.startswith("| 0.1 | square | spearman |")]
    (row,) = correlations.query("sigma == '0.1' and method == 'square' and layer == 'all'").index
    at = correlations.loc[row]
    assert lines[0].count("[") == 2
    assert f"{at['spearman']:.2f} [{at['spearman_low']:.2f}, " in lines[0]
    assert "| 0.1 | same | pearson | – | – | – |" in text
    assert correlation.two_digits(-0.001) == "0.00"


def test_files_that_do_not_belong(files, weights, scores, tmp_path):
    with pytest.raises(DataError, match="no files"):
        correlation.measured([], weights, scores)
    other = {name: layer + 1 for name, layer in weights.items()}
    with pytest.raises(DataError, match="another network"):
        correlation.measured(files, other, scores)
    with pytest.raises(DataError, match="another network"):
        correlation.measured(files, {"x": weights["fc.weight"]}, scores)
    with pytest.raises(DataError, match=r"expected .*/DEVICE/sigma-SIGMA\.csv"):
        correlation.measured([tmp_path / "mine.csv"], weights, scores)
    with pytest.raises(DataError, match="cannot be read"):
        correlation.measured([tmp_path / "sigma-1.csv"], weights, scores)
    write_table(files[0], files[0].read_text().rsplit(",", 2)[0])
    with pytest.raises(DataError, match="not a complete file"):
        correlation.measured(files, weights, scores)


def drawn(figure, gid):
    """Points of every collection of one method, layer and sign."""
    found = [c for axes in figure.axes for c in axes.collections if c.get_gid() == gid]
    return [np.asarray(c.get_offsets()) for c in found]


def test_what_is_drawn_is_what_the_table_says(table, correlations, scores):
    figure = scatter_figure.correlation_figure(table, correlations, list(scores))
    assert len(figure.axes) == 2 * 3
    part = table[(table["sigma"] == "0.1") & (table["layer"] == "fc.weight")]
    down, up = (drawn(figure, f"square fc.weight {way}")[0] for way in ("down", "up"))
    negative = part[part["increase"] < 0]
    np.testing.assert_allclose(down[:, 1], -negative["increase"])
    np.testing.assert_allclose(down[:, 0], negative["square"])
    assert len(up) + len(down) == len(part)
    smallest = part["increase"].abs()[part["increase"] != 0].min()
    assert (up[:, 1] < smallest).sum() == (part["increase"] == 0).sum()  # in the strip
    title = figure.axes[0].get_title()
    at = correlations.query("sigma == '0.1' and method == 'square' and layer == 'all'").iloc[0]
    assert f"Spearman {at['spearman']:.2f}" in title
    assert "release, σ = 0.1" in title


def test_scores_that_are_not_positive_are_drawn_beside_the_axis(table, correlations, scores):
    figure = scatter_figure.correlation_figure(table, correlations, ["signed"])
    axes = figure.axes[0]
    figure.canvas.draw()
    assert axes.get_xticklabels()[0].get_text() == "≤ 0"
    assert axes.get_yticklabels()[0].get_text() == "0"
    points = np.concatenate(
        [drawn(figure, f"signed {layer} {way}")[0] for layer in LAYERS for way in ("up", "down")]
    )
    part = table[table["sigma"] == "0.1"]
    smallest = part["signed"][part["signed"] > 0].min()
    assert (points[:, 0] < smallest).sum() == (part["signed"] <= 0).sum()
    assert np.isfinite(points).all()


def test_deep_networks_and_many_methods(weights):
    """More layers than colours, more methods than panels in a row, and no increase at all."""
    rows = [
        ("release", "ideal", "0.1", f"layer {i}", j, 1.0, 0.1, 0.0, 0.0, 0.0, 0.0)
        for i in range(12) for j in range(3)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=[*correlation.KEYS, *correlation.MEASURED])
    names = [f"method {i}" for i in range(6)]
    for name in names:
        table[name] = np.arange(36.0)
    correlations = correlation.correlation_table(table, names, CONSTANTS, seed=0)
    figure = scatter_figure.correlation_figure(table, correlations, names)
    figure.canvas.draw()
    assert sum(axes.axison for axes in figure.axes) == 6
    assert "Spearman –" in figure.axes[0].get_title()


@pytest.mark.long
def test_equal_figures_are_equal_bytes(table, correlations, tmp_path):
    for folder in ("a", "b"):
        made = scatter_figure.draw(tmp_path / folder / "f.png", table, correlations, ["square"])
    for path in made:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
