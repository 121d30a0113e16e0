"""One look: a method is drawn alike in every figure, can be read in grey, and is never cropped."""

import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from swim.reports import accuracy_tables, correlation, cycles_to_accuracy
from swim.reports.plots import (
    accuracy_figure,
    canvas,
    cycles_figure,
    scatter_figure,
    spending_figure,
    style,
    titles,
)
from swim.settings import (
    DeviceSettings,
    ModelSettings,
    PlotJob,
    VariationSettings,
    layout,
    registry,
)

METHODS = [*registry.METHODS, *registry.POLICIES, registry.IN_SITU]
# Methods that are drawn together most often: the paper's, and policies.
TOGETHER = ["swim", "magnitude", "random", "in_situ", "uswim", "swim_device", "read_first",
            "compensate", "marginal", "reslice", "reslice_pair"]  # fmt: skip
# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
# deficiency", IEEE TVCG 15(6), 2009: severity 1.0, of linear RGB.
SEEN = {
    "normal": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881]]),
}  # fmt: skip


def lab(colour, seen):
    """CIE Lab of a colour as a reader sees it (sRGB, white point D65)."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = to_xyz @ np.clip(seen @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_method_of_the_registry_has_a_name_and_a_look_that_no_other_has():
    styles = {name: style.method_style(name) for name in METHODS}
    assert set(style._KNOWN) == set(METHODS)
    assert len({own.name for own in styles.values()}) == len(METHODS)
    # In grey: any two differ in marker or in dashes.
    assert len({(own.marker, own.dashes) for own in styles.values()}) == len(METHODS)


def test_user_defined_methods_look_alike_in_every_figure_and_unlike_the_registry():
    known = {style.method_style(name).dashes for name in METHODS}
    names = [f"mine{i}" for i in range(200)]
    for name in names:
        assert style.method_style(name) == style.method_style(name)
        assert style.method_style(name).dashes not in known
        assert style.method_style(name).name == name
    assert len({style.method_style(name).line["color"] for name in names}) > 8
    # The digest is of the name, and not of this process.
    own = style.method_style("mine")
    assert (own.colour, own.marker, own.dashes) == ("#D55E00", "8", (0, (2, 2)))


@pytest.mark.parametrize("seen", SEEN)
def test_colours_of_methods_drawn_together_can_be_told_apart(seen):
    """A difference in Lab of 2 is just visible; 10 is seen at a glance."""
    for one, two in itertools.combinations(TOGETHER, 2):
        colours = (lab(style.method_style(name).colour, SEEN[seen]) for name in (one, two))
        assert np.linalg.norm(np.subtract(*colours)) > 10, (one, two)


def test_every_colour_stands_out_from_white_in_grey():
    for name in METHODS:
        assert lab(style.method_style(name).colour, SEEN["normal"])[0] < 75, name


def accuracy(methods, devices=("d",)):
    """A table like accuracy.csv."""
    rows = []
    for device, name in itertools.product(devices, ["none", "all", "clean", *methods]):
        for part in {"none": ["0"], "all": ["1"], "clean": [""]}.get(name, ["0.1", "0.5"]):
            nwc = float(part) if part else np.nan
            rows.append(("mine", "lenet-w4a4", "mnist", device, "0.3", name, part, nwc, 1 + nwc,
                         100, 0.9, 0.01, 0.002, 0.8))  # fmt: skip
    return pd.DataFrame(rows, columns=accuracy_tables.COLUMNS[:14])


def cycles(methods, devices=("d",)):
    """A table like cycles_to_accuracy.csv."""
    row = {"experiment": "mine", "sigma": "0.3", "nwc": 0.2, "nwc_low": 0.1, "nwc_high": 0.3,
           "reads": 1.0, "ratio_to_swim": 0.5, "ratio_low": 0.4, "ratio_high": 0.6, "seeds": 1,
           "chips": 100, "reached": 1, "first": 0.01, "last": 1.0}  # fmt: skip
    rows = [
        {**row, "device": device, "within": within, "method": method}
        for device in devices for within in ("0.1", "0.5", "1") for method in methods
    ]  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=cycles_to_accuracy.COLUMNS)


def where(methods):
    rows = [(m, f"layer{i}", s, 9, 0.1, 0.2) for m in methods for i in (1, 2) for s in (0, 1)]
    return pd.DataFrame(rows, columns=accuracy_tables.WHERE)


def correlate(methods, width="page"):
    table = pd.DataFrame({name: np.zeros(90) for name in correlation.MEASURED})
    layers = [f"layer {i % 9}" for i in range(90)]
    place = {"device": "d", "around": "ideal", "sigma": "0.3"}
    table = table.assign(**place, layer=layers, increase=np.arange(90) / 90.0)
    table = table.assign(**{name: np.arange(90.0) for name in methods})
    found = pd.DataFrame({"method": methods}).assign(
        **place, layer=correlation.ALL, spearman=0.5, pearson=0.5
    )
    return scatter_figure.correlation_figure(table, found, methods, width=width)


def looks(figure):
    """Colour, marker and dashes of each method that a figure draws as a line or a marker."""
    found = {}
    for axes in figure.axes:
        for line in axes.lines:
            name = str(line.get_gid()).removesuffix(" ratio")
            if name in METHODS or name == "mine":
                found.setdefault(name, set()).add((to_hex(line.get_mec()), line.get_marker()))
    return found


@pytest.mark.parametrize("others", [["magnitude", "mine"], METHODS[13:20]])
def test_a_method_looks_alike_in_every_figure_whichever_are_drawn(others):
    methods = ["swim", *(name for name in others if name != "swim")]
    figures = [
        accuracy_figure.accuracy_figure(accuracy(methods), "0.3"),
        accuracy_figure.accuracy_figure(accuracy(methods), "0.3", log=True),
        accuracy_figure.reads_figure(accuracy(methods), "0.3"),
        cycles_figure.cycles_figure(cycles(methods), "0.3"),
    ]
    for figure in figures:
        found = looks(figure)
        assert "swim" in found
        for name, drawn in found.items():
            own = style.method_style(name)
            assert drawn == {(own.colour.lower(), own.marker)}
    words = {style.display_name(name) for name in methods}
    for figure in figures[:3]:
        assert words <= {text.get_text() for text in figure.legends[0].get_texts()}
    for figure in (spending_figure.where_figure(where(methods), "here"), correlate(methods)):
        assert words <= {axes.get_title().split("\n")[0] for axes in figure.axes}


def overlapping(figure):
    """Texts and legends that are not wholly inside a figure."""
    figure.canvas.draw()
    whole = figure.bbox
    parts = [*figure.legends, *figure.texts]
    for axes in figure.axes:
        if axes.axison:
            parts += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
            for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
                ticks = [t for t in axis.get_major_ticks()
                         if min(low, high) <= t.get_loc() <= max(low, high)]  # fmt: skip
                parts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    for part in parts:
        if part.get_visible() and getattr(part, "get_text", lambda: "-")():
            box = part.get_window_extent()
            inside = (box.x0 >= whole.x0 - 1, box.x1 <= whole.x1 + 1,
                      box.y0 >= whole.y0 - 1, box.y1 <= whole.y1 + 1)  # fmt: skip
            if not all(inside) and part not in figure.axes:
                yield part, box


DRAWN = {
    "accuracy": lambda methods, width: accuracy_figure.accuracy_figure(
        accuracy(methods), "0.3", log=True, width=width
    ),
    "cycles": lambda methods, width: cycles_figure.cycles_figure(
        cycles(methods), "0.3", width=width
    ),
    "where": lambda methods, width: spending_figure.where_figure(
        where(methods), "a title, " * 20, width=width
    ),
    "correlation": lambda methods, width: correlate(methods[:7], width),
}


@pytest.mark.parametrize(
    "width", [pytest.param(w, marks=[pytest.mark.slow] * (w == "slide")) for w in style.FORMATS]
)
@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cropped(name, width):
    figure = DRAWN[name](METHODS, width)
    assert figure.get_size_inches()[0] == style.FORMATS[width].width
    assert [(str(part), box) for part, box in overlapping(figure)] == []


def test_more_than_three_devices_wrap_into_rows():
    for count, shape in ((1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (7, (3, 3))):
        devices = [f"device {i}" for i in range(count)]
        figure = accuracy_figure.accuracy_figure(accuracy(["swim"], devices), "0.3")
        grid = figure.axes[0].get_gridspec()
        assert (grid.nrows, grid.ncols) == shape
        assert sum(axes.axison for axes in figure.axes) == count


def test_sizes_are_those_of_a_paper():
    column, page = (style.FORMATS[name] for name in ("column", "page"))
    assert (column.width, page.width) == (3.5, 7.1)
    assert column.font == page.font == 7
    with matplotlib.rc_context():
        before = dict(matplotlib.rcParams)
        figure = accuracy_figure.accuracy_figure(accuracy(["swim"]), "0.3", width="column")
        assert dict(matplotlib.rcParams) == before
    assert figure.axes[0].xaxis.label.get_size() == 7


def test_titles_are_made_from_settings():
    job = PlotJob(
        model=ModelSettings(name="lenet", weight_bits=4, activation_bits=4),
        dataset="mnist",
        devices={"d": DeviceSettings(M=4, K=4)},
    )
    figure = accuracy_figure.accuracy_figure(accuracy(["swim"]), "0.3", said=titles.words(job))
    expected = "LeNet, 4-bit, MNIST, one 4-bit device per weight, σ = 0.3, 100 chips"
    assert figure.get_suptitle().replace("\n", " ") == expected
    drawn = cycles_figure.cycles_figure(cycles(["swim"]), "0.3", said=titles.words(job))
    assert drawn.get_suptitle().replace("\n", " ") == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"name": "resnet18"}, "ResNet-18, float"),
        ({"name": "convnet", "weight_bits": 6}, "ConvNet, 6-bit weights, float activations"),
        ({"name": "mlp3", "weight_bits": 6, "activation_bits": 8},
         "MLP of 3 layers, 6-bit weights, 8-bit activations"),
        ({"factory": "my.nets:own_net"}, "own_net, float"),
    ],
)  # fmt: skip
def test_networks_in_words(model, expected):
    assert titles.network_words(ModelSettings(**model).label) == expected


def test_devices_in_words():
    def said(**device):
        return titles.device_words(DeviceSettings(**device))

    assert said(M=8, K=1) == "eight 1-bit devices per weight"
    noisy = said(M=4, K=2, write_verify="redraw", read_noise=0.03)
    assert noisy == "two 2-bit devices per weight, read noise 0.03"
    varied = said(M=4, K=2, variation=VariationSettings(name="fefet2"))
    assert varied == "two 2-bit devices per weight, FeFET2"
    alike = {"a": DeviceSettings(M=8, K=1), "b": DeviceSettings(M=8, K=1, tolerance=0.1)}
    words = titles.words(PlotJob(devices=alike))
    assert words.device("a", alike) == "eight 1-bit devices per weight (a)"
    assert words.device("a", ["a"]) == "eight 1-bit devices per weight"
    assert titles.words(PlotJob()).device("a") == "a"


def test_long_titles_are_broken_at_commas_within_their_width():
    text = ", ".join(["four 2-bit devices per weight"] * 5)
    lines = canvas.wrapped(text, 3.0, 7)
    assert lines.replace("\n", " ") == text
    for line in lines.split("\n"):
        assert canvas.text_width(line, 7) <= 3.0
    assert canvas.text_width(canvas.wrapped("word " * 60, 2.0, 7), 7) <= 2.3


def test_text_is_text_and_fonts_are_embedded(tmp_path):
    figure = accuracy_figure.accuracy_figure(accuracy(["swim"]), "0.3", width="column")
    made = list(canvas.save(figure, tmp_path, "f", "column"))
    assert [path.suffix[1:] for path in made] == list(layout.FIGURE_SUFFIXES)
    svg = (tmp_path / "f.svg").read_text()
    assert ">normalised write cycles (NWC)</text>" in svg
    pdf = (tmp_path / "f.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"/CreationDate" not in pdf
    figure = accuracy_figure.accuracy_figure(accuracy(["swim"]), "0.3", width="column")
    again = list(canvas.save(figure, tmp_path / "again", "f", "column"))
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in again]


def test_a_method_that_was_not_measured_on_a_device_is_said_so():
    table = pd.concat([cycles(["swim", "random"], ["a"]), cycles(["swim"], ["b"])])
    figure = cycles_figure.cycles_figure(table, "0.3")
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert [n for n, drawn in enumerate(texts) if "not measured" in drawn] == [6, 8, 10]


def test_last_bits_of_the_layout_do_not_reach_the_files(tmp_path, monkeypatch):
    """The solver's last bits vary from process to process; SVG names hash positions."""
    drawn = Figure.draw_without_rendering
    contents = []
    for shift in (0.0, 1e-12):

        def draw(figure, shift=shift):
            drawn(figure)
            for axes in figure.axes:
                x, y, width, height = axes.get_position(original=True).bounds
                axes.set_position([x + shift, y - shift, width + shift, height - shift])

        table = accuracy(["swim", "magnitude"], ("d", "e"))
        figure = accuracy_figure.accuracy_figure(table, "0.3")
        monkeypatch.setattr(Figure, "draw_without_rendering", draw)
        made = canvas.save(figure, tmp_path, f"f{shift}")
        contents.append([path.read_bytes() for path in made])
        monkeypatch.undo()
    assert contents[0] == contents[1]
