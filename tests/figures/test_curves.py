from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from skiptool.errors import ArgumentError
from skiptool.figures.curves import Curve, layer_curves
from skiptool.figures.style import PictureFormat, architecture_colours, picture
from skiptool.names import LAYERS

Check = Callable[[Figure], list[str]]
SKIPS = {"baseline": (1, 2, 3, 4), "L1-pruned": (2, 3, 4), "L4-pruned": ()}


def curve(pruning: str, encoder: str = "resnet18", *, bands: bool = True) -> Curve:
    values = {layer: 0.5 - 0.03 * place for place, layer in enumerate(LAYERS)}
    around = {layer: (value - 0.1, value + 0.05) for layer, value in values.items()}
    return Curve(
        *(pruning, encoder, SKIPS.get(pruning, (1, 3)), values),
        bands=around if bands else {},
        nulls=dict.fromkeys(LAYERS, 0.04),
    )


def draw(*curves: Curve, mark: float | None = None) -> Figure:
    return layer_curves(curves, LAYERS, title="t", vertical="distance", mark=mark)


@pytest.mark.long
@pytest.mark.parametrize("encoders", [1, 2, 4, 7])
@pytest.mark.parametrize("prunings", [["baseline"], [f"skips-{n}" for n in range(20)]])
def test_every_label_has_its_own_place_on_the_sheet(
    labels: Check, encoders: int, prunings: list[str]
) -> None:
    figure = draw(*(curve(p, f"resnet{e}") for e in range(encoders) for p in prunings))
    texts = labels(figure)
    assert {*LAYERS, *prunings, *(f"resnet{e}" for e in range(encoders))} <= set(texts)
    assert len(figure.axes) == encoders
    assert figure.get_size_inches()[0] == pytest.approx(7.16)


def test_lines_run_through_their_values_in_the_colour_of_their_architecture() -> None:
    (axes,) = draw(curve("baseline"), curve("L1-pruned")).axes
    colours = architecture_colours(SKIPS)
    lines = {line.get_color(): line for line in axes.lines if line.get_marker() == "o"}
    assert set(lines) == {colours["baseline"], colours["L1-pruned"]}
    for line in lines.values():
        assert list(line.get_xdata()) == list(range(12))
        assert line.get_ydata() == pytest.approx([0.5 - 0.03 * place for place in range(12)])


def test_lines_of_one_colour_differ_in_their_dashes() -> None:
    names = [f"skips-{n}" for n in range(20)]
    (axes,) = draw(*map(curve, names)).axes
    pens = {
        (line.get_color(), str(line._dash_pattern))
        for line in axes.lines
        if len(line.get_xdata()) == 12
    }  # type: ignore[attr-defined]
    assert len(pens) == len(names)


def test_bands_are_drawn_of_few_lines_and_the_scale_holds_them() -> None:
    few = draw(*map(curve, ("baseline", "L1-pruned")))
    many = draw(*(curve(f"skips-{n}") for n in range(7)))
    assert [len(figure.axes[0].collections) for figure in (few, many)] == [2, 0]
    assert few.axes[0].get_ylim()[1] >= 0.55
    assert many.axes[0].get_ylim()[1] < 0.55
    band = few.axes[0].collections[-1]  # the baseline's, on top
    assert to_hex(band.get_facecolor()[0]) == architecture_colours(["baseline"])["baseline"]
    corners = band.get_paths()[0].vertices
    assert (np.min(corners[:, 1]), np.max(corners[:, 1])) == pytest.approx((0.07, 0.55))


def test_the_null_is_the_highest_of_a_panel() -> None:
    low = Curve("baseline", "r", (), {"enc1": 0.5}, nulls={"enc1": 0.1})
    high = Curve("L1-pruned", "r", (), {"enc1": 0.5}, nulls={"enc1": 0.2})
    (axes,) = layer_curves([low, high], ["enc1", "dec1"], title="t", vertical="v").axes
    (bar,) = axes.patches
    assert (bar.get_x(), bar.get_width(), bar.get_height()) == pytest.approx((-0.5, 1.0, 0.2))  # type: ignore[attr-defined]


def test_skips_of_any_line_are_joined_below_the_axis() -> None:
    def ends(figure: Figure) -> list[tuple[float, float]]:
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
        return [(line.get_xdata()[0], line.get_xdata()[-1]) for line in lines]

    assert ends(draw(curve("L4-pruned"))) == []
    assert ends(draw(curve("L4-pruned"), curve("L1-pruned"))) == [(2, 8), (3, 7), (4, 6)]


def test_legend_names_what_is_drawn_and_nothing_else(labels: Check) -> None:
    plain = Curve("baseline", "r", (), {"enc1": 0.5, "dec1": 0.1})
    texts = labels(layer_curves([plain], ["enc1", "dec1"], title="t", vertical="v"))
    extra = {"interval of the mean", "possible without a shift", "skip connection", "0.5"}
    assert extra.isdisjoint(set(texts) - {"0.5"})
    assert extra <= set(labels(draw(curve("baseline"), mark=0.5)))


@pytest.mark.parametrize("values", [{}, {"enc1": math.nan}, {"enc1": 0.0}, {"enc1": math.inf}])
def test_degenerate_lines(labels: Check, values: dict[str, float]) -> None:
    line = Curve("baseline", "", (), values, bands={"enc1": (math.nan, math.nan)})
    figure = layer_curves([line], ["enc1"], title="t", vertical="v")
    assert "enc1" in labels(figure)
    assert 0.0 < figure.axes[0].get_ylim()[1] < 1.0


def test_a_value_that_is_missing_is_a_gap_and_a_layer_that_is_missing_none() -> None:
    line = Curve("baseline", "r", (), {"dec1": 0.1, "enc1": 0.5, "enc3": math.nan})
    (axes,) = layer_curves([line], ["enc1", "enc2", "enc3", "dec1"], title="t", vertical="v").axes
    (drawn,) = axes.lines
    assert list(drawn.get_xdata()) == [0, 2, 3]
    np.testing.assert_array_equal(drawn.get_ydata(), [0.5, math.nan, 0.1])


def test_same_lines_same_bytes() -> None:
    first, second = (picture(draw(curve("baseline")), PictureFormat.SVG) for _ in range(2))
    assert first == second


def test_nothing_to_draw() -> None:
    with pytest.raises(ArgumentError, match="found none"):
        draw()
    with pytest.raises(ArgumentError, match="found none"):
        layer_curves([curve("baseline")], [], title="t", vertical="v")
