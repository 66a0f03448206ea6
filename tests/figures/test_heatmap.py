"""Tests of ``heatmap``."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from skiptool.errors import ArgumentError
from skiptool.figures.heatmap import (
    SHARES,
    Column,
    Heat,
    HeatRow,
    Row,
    Scale,
    difference_matrix,
    difference_scale,
    draw_matrix,
    heat_sheet,
    iou_matrix,
)
from skiptool.figures.style import TWO_COLUMNS, drawing_style, figure_bytes, ink_on, text_width
from skiptool.names import LAYERS, PictureFormat

Check = Callable[[Figure], list[str]]
RNG = np.random.default_rng(0)
SWEEP = [Column("original")] + [
    Column(f"{factor:g}", f"{kind} factor")
    for kind in ("brightness", "contrast", "saturation")
    for factor in (0.5, 0.75, 1.25, 1.5, 1.75)
]


def rows(count: int, encoders: int = 1) -> list[Row]:
    return [Row(f"L{row}-pruned", f"resnet{e}") for e in range(encoders) for row in range(count)]


def boxes(axes: Axes) -> np.ndarray:
    """Left, upper, right and lower edge of the cells in inches, those without a value last."""
    paths = [path for each in axes.collections for path in each.get_paths()]
    corners = np.concatenate([path.vertices[[0, 2]] for path in paths])
    return np.asarray(axes.transData.transform(corners).reshape(-1, 4) / axes.figure.dpi)


def colours(axes: Axes) -> np.ndarray:
    cells = axes.collections[0]
    cells.update_scalarmappable()
    return np.asarray(cells.get_facecolor())


def numbers(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts if "." in text.get_text()]


@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "encoders", "columns"),
    [
        (1, 1, [Column("original")]),
        (5, 1, SWEEP),
        (5, 3, SWEEP[:8]),
        (20, 1, [Column(f"{place / 4:g}", f"block {place // 8}") for place in range(30)]),
        (2, 1, [Column("Aperio ScanScope CS2", "in"), Column("Pannoramic 250 Flash III", "out")]),
    ],
)
@pytest.mark.parametrize("spread", [False, True])
def test_labels_do_not_overlap(
    labels: Check, count: int, encoders: int, columns: list[Column], spread: bool
) -> None:
    values = RNG.random((count * encoders, len(columns)))
    texts = labels(
        iou_matrix(values, rows(count, encoders), columns, spread=values / 10 if spread else None)
    )
    assert texts.count("L0-pruned") == encoders
    assert [text for text in texts if text.startswith("resnet")] == [
        f"resnet{encoder}" for encoder in range(encoders)
    ]
    written = sorted(f"{value:.2f}" for value in values.flat)
    assert sorted(set(texts) & set(written)) == sorted(set(written))
    assert sum(text.startswith("±") for text in texts) == (values.size if spread else 0)


def test_values_are_written_in_their_cells() -> None:
    values = np.array([[0.11, 0.22], [0.33, 0.44]])
    figure = iou_matrix(values, rows(2), [Column("a"), Column("b")])
    axes = figure.axes[0]
    places = {text.get_text(): text.get_position() for text in axes.texts}
    across = dict(zip("ab", axes.get_xticks(), strict=True))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert places["0.11"][0] == places["0.33"][0] == across["a"]
    assert places["0.22"][0] == places["0.44"][0] == across["b"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["L0-pruned", "L1-pruned"]
    assert places["0.11"][1] == places["0.22"][1] == axes.get_yticks()[0]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # rows from top to bottom


def test_a_missing_value_is_a_dash_and_a_missing_spread_is_left_out(labels: Check) -> None:
    values = np.array([[np.nan, 0.25, 1.0]])
    spread = np.array([[0.1, np.nan, 0.0]])
    texts = labels(iou_matrix(values, rows(1), SWEEP[:3], spread=spread, label="cell IoU"))
    assert texts.count("–") == 1
    assert [text for text in texts if text.startswith("±")] == ["±0.00"]
    assert "nan" not in " ".join(texts)
    assert "cell IoU" in texts


def test_all_values_missing(labels: Check) -> None:
    assert labels(iou_matrix(np.full((2, 2), np.nan), rows(2), SWEEP[:2])).count("–") == 4


def luminance(colour: object) -> float:
    rgb = np.array(to_rgb(colour))  # type: ignore[arg-type]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_numbers_can_be_read_on_every_colour() -> None:
    values = np.linspace(0.0, 1.0, 20).reshape(1, -1)
    columns = [Column(str(place)) for place in range(20)]
    axes = iou_matrix(values, rows(1), columns).axes[0]
    written = [text for text in axes.texts if "." in text.get_text()]
    assert len(written) == len(colours(axes)) == 20
    for ground, number in zip(colours(axes), written, strict=True):
        dark, light = sorted([luminance(ground), luminance(number.get_color())])
        assert (light + 0.05) / (dark + 0.05) >= 4.0


def test_names_from_data_cannot_break_it(labels: Check) -> None:
    names = ["<script>alert(1)</script>", "x" * 200, "two\nlines", "a$b$c_{", "nul\x00"]
    values = np.full((5, 5), 0.5)
    figure = iou_matrix(values, [Row(name) for name in names], [Column(name) for name in names])
    assert max(map(len, labels(figure))) <= 40
    svg = figure_bytes(figure, PictureFormat.SVG)
    assert b"<script" not in svg
    assert b"&lt;script&gt;" in svg


def test_shapes_must_agree() -> None:
    with pytest.raises(ArgumentError, match=r"values of a matrix: found shape \(2, 2\), expected"):
        iou_matrix(np.zeros((2, 2)), rows(1), SWEEP[:2])
    with pytest.raises(ArgumentError, match="spread of a matrix"):
        iou_matrix(np.zeros((1, 2)), rows(1), SWEEP[:2], spread=np.zeros((2, 1)))
    with pytest.raises(ArgumentError, match="at least one of each"):
        iou_matrix(np.zeros((0, 2)), [], SWEEP[:2])


@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "encoders", "columns"),
    [(1, 1, [Column("original")]), (4, 2, SWEEP), (19, 1, [*SWEEP, *SWEEP[1:]])],
)
def test_differences_have_signs_and_do_not_overlap(
    labels: Check, count: int, encoders: int, columns: list[Column]
) -> None:
    values = RNG.uniform(-0.3, 0.3, (count * encoders, len(columns)))
    values[0, 0] = -0.123
    figure = difference_matrix(
        values, rows(count, encoders), columns, spread=abs(values), label="Δ mitotic figure IoU"
    )
    texts = labels(figure)
    assert "−0.12" in texts
    assert "Δ mitotic figure IoU" in texts
    assert sum(text.startswith("±") for text in texts) == values.size
    assert not [text for text in texts if "-0." in text]


def test_colour_bar_of_differences_shows_its_ends(labels: Check) -> None:
    texts = labels(difference_matrix(np.array([[0.08, -0.123]]), rows(1), SWEEP[:2]))
    assert {"+0.13", "0", "−0.13", "+0.08", "−0.12"} <= set(texts)
    holes = labels(difference_matrix(np.array([[np.nan]]), rows(1), SWEEP[:1]))
    assert "–" in holes


def test_gain_is_blue_and_loss_is_red() -> None:
    figure = difference_matrix(np.array([[0.1, -0.1, 0.0]]), rows(1), SWEEP[:3])
    gain, loss, nothing = colours(figure.axes[0])[:, :3]
    assert gain[2] > gain[0]
    assert loss[0] > loss[2]
    assert np.ptp(nothing) < 0.02


def test_texts_replace_the_spread_below_values(labels: Check) -> None:
    values = np.array([[0.25, np.nan, 0.5]])
    below = [[".20, .30", "never", ""]]
    figure = difference_matrix(values, rows(1), SWEEP[:3], spread=values, below=below)
    texts = labels(figure)
    assert ".20, .30" in texts
    assert not {"never", "±0.25"} & set(texts)
    with pytest.raises(ArgumentError, match="texts below the values of a matrix"):
        difference_matrix(values, rows(1), SWEEP[:3], below=below * 2)


@pytest.mark.long
@pytest.mark.parametrize(("columns", "there"), [(6, True), (16, True), (31, False)])
def test_texts_below_shrink_or_disappear_in_narrow_cells(
    labels: Check, columns: int, there: bool
) -> None:
    values = np.full((2, columns), -0.125)
    below = [["−.20, −.10"] * columns] * 2
    figure = difference_matrix(values, rows(2), [*SWEEP, *SWEEP][:columns], below=below)
    texts = [text for text in figure.findobj(Text) if text.get_text() == "−.20, −.10"]
    assert labels(figure).count("−.20, −.10") == len(texts) == there * values.size
    assert all(4.0 <= text.get_fontsize() <= 4.8 for text in texts)
    plain = difference_matrix(values, rows(2), [*SWEEP, *SWEEP][:columns])
    taller = figure.get_figheight() > plain.get_figheight()
    assert taller <= there  # rows of no texts are as low as rows without


FACTORS = ("0.5", "0.75", "1.25", "1.5", "1.75")
SWEEP_GRID = [
    Column("original"),
    *(Column(factor, "brightness factor") for factor in FACTORS),
    *(Column(factor, "contrast factor") for factor in FACTORS),
    *(Column(factor, "saturation factor") for factor in ("0", "0.25", "0.5", "0.75")),
]
ROWS = [Row(name, encoder) for encoder in ("resnet18", "resnet34") for name in ("baseline", "L1")]


def grid(columns: list[Column], rows: list[Row] = ROWS) -> Axes:
    return iou_matrix(RNG.random((len(rows), len(columns))), rows, columns).axes[0]


def turned(axes: Axes) -> list[bool]:
    return [label.get_rotation() == 90 for label in axes.get_xticklabels()]


def test_the_sweep_of_the_paper_fills_two_journal_columns(labels: Check) -> None:
    figure = grid(SWEEP_GRID).figure
    assert figure.get_figwidth() == pytest.approx(TWO_COLUMNS, abs=0.05)
    assert not any(turned(figure.axes[0]))
    texts = labels(figure)
    assert [name for name in texts if "factor" in name] == [
        f"{kind} factor" for kind in ("brightness", "contrast", "saturation")
    ]


def test_cells_are_adjacent_and_blocks_and_groups_separated() -> None:
    cells = boxes(grid(SWEEP_GRID)).reshape(4, 15, 4)
    across = [b[0] - a[2] for a, b in pairwise(cells[0])]
    down = [a[3] - b[1] for a, b in pairwise(cells[:, 0])]
    assert [n for n, gap in enumerate(across) if gap > 0.05] == [0, 5, 10]
    assert [n for n, gap in enumerate(down) if gap > 0.2] == [1]  # room for the name of the group
    assert min(across) > 0.0 < min(down)


def test_long_labels_are_vertical_short_ones_are_not() -> None:
    columns = [Column("0.5", "factor"), Column("1", "factor"), Column("Pannoramic 250", "scanner")]
    assert turned(grid(columns)) == [False, False, True]


def test_thirty_columns_grow_beyond_the_page_instead_of_shrinking() -> None:
    axes = grid([Column(str(place)) for place in range(30)])
    width = axes.get_window_extent().width / axes.figure.dpi / 30
    assert width == pytest.approx(0.28, abs=0.001)
    assert axes.figure.get_figwidth() > TWO_COLUMNS


def noted(columns: int, texts: list[str]) -> tuple[Figure, list[Text]]:
    """Draw a matrix with texts below its values; return it and those that are there."""
    blocks = [Column(str(place), f"block {place // 5}") for place in range(columns)]
    below = [[texts[place % len(texts)] for place in range(columns)]] * 2
    found = difference_matrix(np.full((2, columns), 0.25), ROWS[:2], blocks, below=below)
    return found, [text for text in found.findobj(Text) if text.get_text() in texts]


@pytest.mark.parametrize("columns", [1, 5, 12, 16, 20])
def test_texts_fit_into_their_cells(columns: int) -> None:
    texts = ["−.20, −.10", ".00, .01"]
    figure, there = noted(columns, texts)
    assert len(there) == 2 * columns
    (size,) = {text.get_fontsize() for text in there}
    assert 4.0 - 1e-6 <= size <= 4.8
    cells = boxes(figure.axes[0])
    assert text_width(texts, size) < (cells[:, 2] - cells[:, 0]).min()


def test_texts_are_as_large_as_cells_allow() -> None:
    assert noted(5, [".1, .2"])[1][0].get_fontsize() == 4.8
    assert noted(16, ["−.20, −.10"])[1][0].get_fontsize() < 4.8


@pytest.mark.parametrize(("columns", "text"), [(31, "−.20, −.10"), (3, "x" * 200)])
def test_texts_that_would_make_the_figure_too_wide_are_left_out(columns: int, text: str) -> None:
    figure, there = noted(columns, [text])
    assert there == []
    without = noted(columns, [""])[0]
    assert tuple(figure.get_size_inches()) == tuple(without.get_size_inches())


def test_wide_figures_keep_texts_that_fit() -> None:
    figure, there = noted(40, ["±0.02"])
    assert figure.get_figwidth() > 1.2 * TWO_COLUMNS
    assert {text.get_fontsize() for text in there} == {4.8}


def test_matrix_is_drawn_into_given_axes(labels: Check) -> None:
    with drawing_style():
        figure = Figure(figsize=(7, 3), layout="constrained")
        first = figure.subplots(1, 2)[0]
        values = np.array([[0.25, np.nan], [0.5, 0.75]])
        draw_matrix(first, values, ROWS[:2], [Column("a"), Column("b")], notes=[["±0.01"] * 2] * 2)
    texts = labels(figure)
    assert {"0.25", "0.50", "0.75", "–", "a", "b", "baseline", "L1", "resnet18"} <= {*texts}
    assert texts.count("±0.01") == 3


@given(st.lists(st.floats(-1.0, 1.0), max_size=6))
def test_scale_of_differences_is_symmetric_and_includes_all(values: list[float]) -> None:
    scale = difference_scale(np.array([*values, np.nan]))
    low, middle, high = scale.ticks
    assert low == -high
    assert middle == 0.0
    greatest = max(map(abs, values), default=0.0)
    assert greatest - 1e-9 <= high <= max(greatest + 0.01, 0.01)


def test_ends_by_hand() -> None:
    assert difference_scale(np.array([0.2, -0.1])).ticks == (-0.2, 0.0, 0.2)
    assert difference_scale(np.array([0.201])).high == 0.21
    assert difference_scale(np.array([0.0])).high == 0.01
    assert difference_scale(np.array([math.nan])).high == 0.01


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.031, "+0.03"), (-0.12, "−0.12"), (0.004, "0.00"), (-0.004, "0.00"), (0.0, "0.00")],
)
def test_signs_are_written_for_differences(value: float, text: str) -> None:
    scale = difference_scale(np.array([0.5]))
    assert scale.written(value) == text
    assert SHARES.written(0.031) == "0.03"


def test_ticks_are_short() -> None:
    scale = difference_scale(np.array([0.5]))
    assert [scale.tick(tick) for tick in scale.ticks] == ["−0.50", "0", "+0.50"]
    assert [SHARES.tick(tick) for tick in SHARES.ticks] == ["0", "0.5", "1"]


@pytest.mark.parametrize("scale", [SHARES, difference_scale(np.array([0.3]))])
def test_numbers_can_be_read_on_every_colour_of_a_scale(scale: Scale) -> None:
    for ground in scale.shades(np.linspace(scale.low, scale.high, 41)):
        dark, light = sorted([luminance(ground), luminance(ink_on(ground))])
        assert (light + 0.05) / (dark + 0.05) >= 4.0


def test_values_beyond_the_ends_have_the_colour_of_the_end() -> None:
    shades = SHARES.shades(np.array([-1.0, 0.0, 1.0, 9.0]))
    np.testing.assert_array_equal(shades[0], shades[1])
    np.testing.assert_array_equal(shades[2], shades[3])


def test_loss_and_gain_differ_also_without_red_and_green() -> None:
    """Blue tells them apart, which who cannot tell red from green still sees."""
    scale = difference_scale(np.array([1.0]))
    loss, gain = scale.shades(np.array([-0.6, 0.6]))[:, :3]
    assert gain[2] - loss[2] > 0.3


ROWS_HEAT = [
    HeatRow(f"{factor}", kind) for kind in ("brightness", "contrast") for factor in (0.5, 1.5)
]


def blocks(count: int, rows: int = 4, layers: int = 12) -> list[Heat]:
    rng = np.random.default_rng(0)
    return [Heat(f"block {n}", rng.uniform(0, 0.7, (rows, layers))) for n in range(count)]


def sheet(heats: list[Heat], layers: tuple[str, ...] = LAYERS) -> Figure:
    return heat_sheet(heats, ROWS_HEAT, layers, title="t", label="distance")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_heat_sheet_labels_do_not_overlap(labels: Check, count: int) -> None:
    figure = sheet(blocks(count))
    texts = labels(figure)
    assert {*LAYERS, *(f"block {n}" for n in range(count)), "t", "distance"} <= set(texts)
    assert texts.count("enc1") == count
    assert texts.count("contrast") == (count + 1) // 2
    assert figure.get_figwidth() <= TWO_COLUMNS + 0.05


@pytest.mark.long
def test_module_names_are_vertical_with_blocks_below_one_another(labels: Check) -> None:
    names = tuple(f"encoder.layer{n}.0.conv1" for n in range(30))
    figure = sheet(blocks(2, layers=30), names)
    texts = labels(figure)
    assert set(names) <= set(texts)
    assert texts.count("contrast") == 2
    assert figure.get_size_inches()[0] > TWO_COLUMNS


def test_all_blocks_share_one_scale_from_0_to_the_greatest() -> None:
    low, high = (Heat("x", np.full((4, 12), value)) for value in (0.2, 0.4))
    alone, beside = (sheet(heats).axes for heats in ([low], [low, high]))
    assert not np.allclose(colours(alone[0])[0], colours(beside[0])[0])
    np.testing.assert_allclose(colours(alone[0])[0], colours(beside[1])[0])


@pytest.mark.long
def test_digits_follow_the_greatest_value(labels: Check) -> None:
    for value, text in ((0.25, "0.25"), (0.0312, "0.031"), (3.456, "3.46"), (1234, "1234")):
        assert labels(sheet([Heat("x", np.full((4, 12), value))])).count(text) >= 48
    assert "4e+07" in labels(sheet([Heat("x", np.full((4, 12), 4e7))]))
    assert labels(sheet([Heat("x", np.zeros((4, 12)))])).count("0.00") == 48


def test_text_stands_out_on_its_cell() -> None:
    values = np.tile(np.linspace(0, 1, 12), (4, 1))
    axes = sheet([Heat("x", values)]).axes[0]
    found = {(text.get_text(), text.get_color()) for text in axes.texts}
    assert ("0.00", "#1b1b1b") in found
    assert ("1.00", "#ffffff") in found


def test_missing_values_are_hatched(labels: Check) -> None:
    values = np.full((4, 12), 0.3)
    values[1, 2:4] = np.nan
    figure = sheet([Heat("x", values)])
    full, empty = figure.axes[0].collections
    assert (len(full.get_paths()), len(empty.get_paths())) == (46, 2)
    assert empty.get_hatch()
    assert labels(figure).count("–") == 2
    labels(sheet([Heat("x", np.full((4, 12), np.nan))]))


@pytest.mark.long
def test_heat_sheet_is_deterministic() -> None:
    first, second = (figure_bytes(sheet(blocks(2)), PictureFormat.SVG) for _ in range(2))
    assert first == second


def test_heat_sheet_refuses_wrong_shapes() -> None:
    for wrong in ([], blocks(1, rows=3), blocks(1, layers=11)):
        with pytest.raises(ArgumentError, match="matrices by layer"):
            sheet(wrong)
    with pytest.raises(ArgumentError, match="not empty"):
        heat_sheet([Heat("x", np.empty((0, 0)))], [], [], title="t", label="l")


LONG = [HeatRow("Panoramic 250 Flash III"), HeatRow("x" * 200)]


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("rows", [ROWS_HEAT, LONG, ROWS_HEAT * 8], ids=len)
@pytest.mark.parametrize("layers", [LAYERS, LAYERS[:1], [f"layer{n}" for n in range(40)]], ids=len)
def test_matrices_are_within_the_figure_and_separated(
    labels: Check, count: int, rows: list[HeatRow], layers: list[str]
) -> None:
    heats = blocks(count, len(rows), len(layers))
    figure = heat_sheet(heats, rows, layers, title="t", label="distance")
    labels(figure)
    ends = [axes.get_window_extent() for axes in figure.axes]
    assert len(ends) == count + 1  # and the colour bar
    assert not any(a.overlaps(b) for a, b in combinations(ends, 2))


def across(count: int, rows: list[HeatRow], layers: tuple[str, ...] = LAYERS) -> int:
    """Count the matrices side by side."""
    heats = blocks(count, len(rows), len(layers))
    figure = heat_sheet(heats, rows, layers, title="t", label="distance")
    return len({round(axes.get_position().x0, 3) for axes in figure.axes[:count]})


def test_two_matrices_are_side_by_side_if_they_fit() -> None:
    assert [across(n, ROWS_HEAT) for n in (1, 2, 3)] == [1, 2, 2]
    assert across(2, LONG) == 1
    assert across(2, ROWS_HEAT, LAYERS * 2) == 1


def test_kinds_are_separated() -> None:
    first, second, third, _ = boxes(sheet(blocks(1)).axes[0]).reshape(4, 12, 4)[:, 0]
    assert first[1] - second[1] == pytest.approx(0.155, abs=1e-3)
    assert second[1] - third[1] > 0.19


def test_names_are_vertical_if_they_would_touch() -> None:
    assert not any(turned(sheet(blocks(2)).axes[0]))
    assert all(turned(sheet(blocks(1), ("encoder.layer1.0.conv1",) * 12).axes[0]))
