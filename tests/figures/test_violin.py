"""Tests of ``violin``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import gaussian_kde

from skiptool.errors import ArgumentError
from skiptool.figures.panels import LayerChannels, Network
from skiptool.figures.style import architecture_colours, drawing_style, figure_bytes
from skiptool.figures.violin import density_outline, draw_violins, layer_violins
from skiptool.names import LAYERS, PictureFormat

Check = Callable[[Figure], list[str]]
CHANNELS = dict(zip(LAYERS, (3, 64, 64, 128, 256, 512, 256, 128, 64, 32, 16, 2), strict=True))
SKIPS = {"baseline": (1, 2, 3, 4), "L1-pruned": (2, 3, 4), "L4-pruned": ()}


def network(pruning: str, encoder: str = "resnet18", **more: tuple[float, float]) -> Network:
    rng = np.random.default_rng(len(pruning))
    layers = (LayerChannels(k, rng.beta(3, 9, d), **more) for k, d in CHANNELS.items())  # type: ignore[arg-type]
    return Network(pruning, encoder, SKIPS.get(pruning, (1, 3)), tuple(layers))


def violins(axes: Axes) -> PolyCollection:
    found = axes.collections[0]
    assert isinstance(found, PolyCollection)
    return found


@pytest.mark.parametrize("encoders", [1, 2, 3])
@pytest.mark.parametrize("prunings", [["baseline"], list(SKIPS)])
def test_labels_do_not_overlap(labels: Check, encoders: int, prunings: list[str]) -> None:
    nets = [network(p, f"resnet{e}") for e in range(encoders) for p in prunings]
    texts = labels(layer_violins(nets, title="brightness 0.75, B = 100"))
    assert "brightness 0.75, B = 100" in texts
    assert {*LAYERS, *prunings, *(f"resnet{e}" for e in range(encoders))} <= set(texts)
    assert texts.count("enc5") == encoders


def test_many_networks_are_in_two_columns(labels: Check) -> None:
    nets = [network(f"skips-{place}") for place in range(9)]
    figure = layer_violins(nets, title="t")
    assert len(figure.axes) == 9
    assert labels(figure).count("enc5") == 2


def test_panels_share_a_scale_that_includes_every_value() -> None:
    nets = [network("baseline"), network("L1-pruned")]
    nets[1].layers[5].values[0] = 0.93
    figure = layer_violins(nets, title="t")
    assert {axes.get_ylim() for axes in figure.axes} == {(0.0, 1.02)}
    assert {axes.get_xlim() for axes in figure.axes} == {(-0.7, 11.7)}


def test_violin_spans_its_values_at_its_layer() -> None:
    net = network("L1-pruned")
    axes = layer_violins([net], title="t").axes[0]
    shapes = [path.vertices for path in violins(axes).get_paths()]
    many = [layer for layer in net.layers if layer.values.size >= 8]
    assert len(shapes) == len(many) == 10
    for place, (shape, layer) in enumerate(zip(shapes, many, strict=True), start=1):
        corners = np.asarray(shape)
        assert corners[:, 1].min() == pytest.approx(layer.values.min())
        assert corners[:, 1].max() == pytest.approx(layer.values.max())
        assert corners[:, 0].min() == pytest.approx(place - 0.4)
        assert corners[:, 0].max() == pytest.approx(place + 0.4)


def test_few_channels_are_shown_individually() -> None:
    net = Network("baseline", "r", (), (LayerChannels("input", np.array([0.3, 0.1, 0.2])),))
    axes = layer_violins([net], title="t").axes[0]
    points, mean = axes.lines
    assert list(points.get_ydata()) == [0.1, 0.2, 0.3]
    assert mean.get_ydata() == pytest.approx([0.2])


def test_only_remaining_skips_are_joined() -> None:
    nets = [network(pruning) for pruning in SKIPS]
    figure = layer_violins(nets, title="t")
    colours = architecture_colours(SKIPS)
    for axes, net in zip(figure.axes, nets, strict=True):
        below = [line for line in axes.findobj(Line2D) if len(line.get_xdata()) == 4]
        ends = [(line.get_xdata()[0], line.get_xdata()[-1]) for line in below]
        assert ends == [(level, 10 - level) for level in net.skips]
        assert {line.get_color() for line in below} <= {colours[net.pruning]}


def test_means_of_the_baseline_are_in_the_other_panels_of_its_encoder() -> None:
    nets = [network("baseline"), network("L1-pruned"), network("L1-pruned", "resnet34")]
    figure = layer_violins(nets, title="t")
    colour = architecture_colours(["baseline"])["baseline"]
    marks = [
        sum(
            len(each.get_segments())
            for each in axes.collections
            if isinstance(each, LineCollection) and to_hex(each.get_colors()[0]) == colour
        )
        for axes in figure.axes
    ]
    assert marks == [0, 12, 0]


def test_interval_and_null_are_drawn_only_if_given(labels: Check) -> None:
    bare = labels(layer_violins([network("baseline")], title="t"))
    full = network("baseline", interval=(0.2, 0.3), null=(0.0, 0.05))
    named = labels(layer_violins([full], title="t"))
    assert set(named) - set(bare) == {"interval of the mean", "possible without a shift"}


@pytest.mark.parametrize("values", [[0.0] * 64, [1.0] * 64, [0.5], [np.nan, np.nan], [], [0, 1]])
def test_degenerate_layers(labels: Check, values: list[float]) -> None:
    layer = LayerChannels("enc1", np.array(values, dtype=np.float64))
    figure = layer_violins([Network("L1-pruned", "", (1,), (layer,))], title="t")
    assert "skip connection" not in labels(figure)  # dec1 is not there to be joined


def test_no_shift_at_all_has_an_axis() -> None:
    layers = tuple(LayerChannels(name, np.zeros(64)) for name in LAYERS)
    figure = layer_violins([Network("baseline", "r", (1,), layers)], title="t")
    assert figure.axes[0].get_ylim()[1] > 0.0


def test_module_names_are_vertical(labels: Check) -> None:
    names = [f"encoder.layer{place}.0.conv1" for place in range(1, 9)]
    layers = tuple(LayerChannels(name, np.array([0.1, 0.2])) for name in names)
    assert set(names) <= set(labels(layer_violins([Network("x", "r", (), layers)], title="t")))


def test_violins_are_drawn_into_given_axes(labels: Check) -> None:
    with drawing_style():
        figure = Figure(layout="constrained")
        draw_violins(figure.add_subplot(), network("L1-pruned"))
    assert set(LAYERS) <= set(labels(figure))


def test_prunings_go_down_and_encoders_across_whatever_the_order_given() -> None:
    nets = [network(p, f"resnet{e}") for e in (34, 18) for p in ("L4-pruned", "baseline")]
    axes = layer_violins(nets, title="t").axes
    boxes = {
        (net.pruning, net.encoder): a.get_position() for net, a in zip(nets, axes, strict=True)
    }
    first, below = boxes["baseline", "resnet34"], boxes["L4-pruned", "resnet34"]
    assert first.y0 > below.y1
    assert first.x0 == below.x0 < boxes["baseline", "resnet18"].x0


def test_networks_of_many_encoders_wrap_with_full_names(
    labels: Check,
) -> None:
    nets = [network(p, e) for e in "abcd" for p in ("baseline", "L1-pruned")]
    figure = layer_violins(nets, title="t")
    assert {"d baseline", "d L1-pruned"} <= set(labels(figure))
    assert len({round(axes.get_position().x0, 3) for axes in figure.axes}) == 3
    assert len({round(axes.get_position().y0, 3) for axes in figure.axes}) == 3


@pytest.mark.long
def test_many_networks_fit_a_page() -> None:
    """Journals have 9.5 inches or so; twenty panels need a little more."""
    figure = layer_violins([network(f"skips-{place}") for place in range(20)], title="t")
    assert figure.get_figheight() < 11.0


def test_figure_is_deterministic() -> None:
    first, second = (
        figure_bytes(layer_violins([network("baseline")], title="t"), PictureFormat.SVG)
        for _ in range(2)
    )
    assert first == second


def test_folds_must_be_pooled_first() -> None:
    with pytest.raises(ArgumentError, match="pool the trainings first"):
        layer_violins([network("baseline"), network("baseline")], title="t")


@given(arrays(np.float64, st.integers(2, 40), elements=st.floats(0.0, 1.0)))
def test_outline_stays_within_the_values(values: np.ndarray) -> None:
    shape = density_outline(values)
    if shape is None:
        assert np.ptp(values) < 1e-8
        return
    places, density = shape
    assert places[0] == values.min()
    assert places[-1] == pytest.approx(values.max())
    assert np.isfinite(density).all()
    assert density.min() >= 0.0
    assert density.max() == 1.0


def test_outline_far_from_bounds_matches_scipy() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.04, 300)
    places, density = density_outline(values) or pytest.fail("flat")
    # scipy's factor multiplies the standard deviation; Silverman's rule may use the quartiles
    spread = min(values.std(ddof=1), np.subtract(*np.quantile(values, (0.75, 0.25))) / 1.349)
    kernel = gaussian_kde(values, bw_method=0.9 * spread * 300**-0.2 / values.std(ddof=1))
    expected = kernel(places)
    assert density == pytest.approx(expected / expected.max(), abs=1e-9)


def test_mass_at_a_bound_is_reflected_not_lost() -> None:
    values = np.linspace(0.0, 1.0, 2001)  # uniform: without reflection the ends fall to one half
    _, density = density_outline(values) or pytest.fail("flat")
    assert density.min() > 0.97


@pytest.mark.parametrize("values", [[], [0.3], [0.0] * 64, [1.0, 1.0]])
def test_equal_or_missing_values_have_no_outline(values: list[float]) -> None:
    assert density_outline(np.array(values, dtype=np.float64)) is None


def test_two_equal_clusters_are_equally_wide() -> None:
    places, density = density_outline(np.repeat([0.2, 0.8], 20)) or pytest.fail("flat")
    assert density[0] == pytest.approx(density[-1])
    assert density[np.abs(places - 0.5).argmin()] < density[0]


def test_beyond_one_nothing_is_reflected_where_values_go_beyond() -> None:
    """Distances without a bound have no wall at 1."""
    heap = np.random.default_rng(1).normal(0.9, 0.05, 400)
    shape, moved = (density_outline(np.append(heap, 1.2) + shift) for shift in (0.0, 5.0))
    assert shape is not None
    assert moved is not None
    np.testing.assert_allclose(shape[1], moved[1], atol=1e-6)
