"""Tests of ``heatmap``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from skiptool.errors import ArgumentError
from skiptool.figures.heatmap import (
    HEIGHT,
    SHARES,
    Column,
    Heat,
    HeatRow,
    Plan,
    Row,
    Scale,
    difference_matrix,
    difference_scale,
    heat_sheet,
    iou_matrix,
    plan_grid,
    plan_heat,
    plan_notes,
)
from skiptool.figures.style import TWO_COLUMNS, PictureFormat, drawing, picture, text_width
from skiptool.names import LAYERS

Check = Callable[[Figure], list[str]]
RNG = np.random.default_rng(0)
SWEEP = [Column("original")] + [
    Column(f"{factor:g}", f"{kind} factor")
    for kind in ("brightness", "contrast", "saturation")
    for factor in (0.5, 0.75, 1.25, 1.5, 1.75)
]


def rows(count: int, encoders: int = 1) -> list[Row]:
    return [Row(f"L{row}-pruned", f"resnet{e}") for e in range(encoders) for row in range(count)]


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
def test_every_label_has_its_own_place_on_the_sheet(
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


def test_values_stand_in_their_cells() -> None:
    values = np.array([[0.11, 0.22], [0.33, 0.44]])
    figure = iou_matrix(values, rows(2), [Column("a"), Column("b")])
    places = {text.get_text(): text.get_position() for text in figure.findobj(Text)}
    assert places["0.11"][0] == places["0.33"][0] == places["a"][0]
    assert places["0.22"][0] == places["0.44"][0] == places["b"][0]
    assert places["0.11"][1] == places["0.22"][1] == places["L0-pruned"][1]
    assert places["0.11"][1] < places["0.33"][1]  # inches from the upper edge


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
    figure = iou_matrix(values, rows(1), columns)
    grounds = figure.axes[0].collections[0].get_facecolor()
    written = [text for text in figure.findobj(Text) if "." in text.get_text()]
    numbers = [text for text in written if text.get_fontsize() == 6.5]
    assert len(numbers) == len(grounds) == 20
    for ground, number in zip(grounds, numbers, strict=True):
        dark, light = sorted([luminance(ground), luminance(number.get_color())])
        assert (light + 0.05) / (dark + 0.05) >= 4.0


def test_names_from_data_cannot_break_it(labels: Check) -> None:
    names = ["<script>alert(1)</script>", "x" * 200, "two\nlines", "a$b$c_{", "nul\x00"]
    values = np.full((5, 5), 0.5)
    figure = iou_matrix(values, [Row(name) for name in names], [Column(name) for name in names])
    assert max(map(len, labels(figure))) <= 32
    svg = picture(figure, PictureFormat.SVG)
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
def test_differences_have_signs_and_their_own_place(
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


def test_the_ends_of_the_scale_of_differences_stand_on_its_bar(labels: Check) -> None:
    texts = labels(difference_matrix(np.array([[0.08, -0.123]]), rows(1), SWEEP[:2]))
    assert {"+0.13", "0", "−0.13", "+0.08", "−0.12"} <= set(texts)
    holes = labels(difference_matrix(np.array([[np.nan]]), rows(1), SWEEP[:1]))
    assert "–" in holes


def test_gain_is_blue_and_loss_is_red() -> None:
    figure = difference_matrix(np.array([[0.1, -0.1, 0.0]]), rows(1), SWEEP[:3])
    gain, loss, nothing = figure.axes[0].collections[0].get_facecolor()[:, :3]
    assert gain[2] > gain[0]
    assert loss[0] > loss[2]
    assert np.ptp(nothing) < 0.02


def test_texts_stand_below_values_instead_of_a_spread(labels: Check) -> None:
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
def test_texts_below_shrink_and_go_where_cells_have_no_room(
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


def test_the_sweep_of_the_paper_fills_two_journal_columns() -> None:
    plan = plan_grid(ROWS, SWEEP_GRID, with_spread=True)
    assert plan.size[0] == pytest.approx(TWO_COLUMNS)
    assert [len(block.labels) for block in plan.blocks] == [1, 5, 5, 4]
    assert not any(block.upright for block in plan.blocks)


def test_cells_follow_one_another_and_blocks_stand_apart() -> None:
    spans = plan_grid(ROWS, SWEEP_GRID, with_spread=False).spans()
    gaps = [b[0] - sum(a) for a, b in pairwise(spans)]
    apart = [place for place, gap in enumerate(gaps) if gap > 1e-9]
    assert apart == [0, 5, 10]
    assert all(abs(gap) < 1e-9 for place, gap in enumerate(gaps) if place not in apart)


def test_a_group_leaves_room_for_its_head() -> None:
    plan = plan_grid(ROWS, SWEEP_GRID, with_spread=False)
    steps = [b - a for a, b in pairwise(plan.tops)]
    assert steps == pytest.approx([plan.height, plan.height + 0.25, plan.height])


def test_long_labels_stand_upright_short_ones_do_not() -> None:
    columns = [Column("0.5", "factor"), Column("1", "factor"), Column("Pannoramic 250", "scanner")]
    blocks = plan_grid(ROWS, columns, with_spread=False).blocks
    assert [block.upright for block in blocks] == [False, True]


def test_thirty_columns_grow_beyond_the_page_instead_of_shrinking() -> None:
    plan = plan_grid(ROWS, [Column(str(place)) for place in range(30)], with_spread=False)
    assert plan.blocks[0].width == pytest.approx(0.28)
    assert plan.size[0] > TWO_COLUMNS


def planned(columns: int, texts: Sequence[str]) -> tuple[Plan, float, Plan]:
    """Plan with texts, their size, and the plan that would be without."""
    blocks = [Column(str(place), f"block {place // 5}") for place in range(columns)]
    plan_of = partial(plan_grid, [Row("a row"), Row("another")], blocks)
    with drawing():
        return *plan_notes(plan_of, texts), plan_of(with_spread=False)


@pytest.mark.parametrize("columns", [1, 5, 12, 16, 20])
def test_texts_fit_into_their_cells(columns: int) -> None:
    texts = ["−.20, −.10", ".00, .01"]
    plan, size, without = planned(columns, texts)
    assert 4.0 - 1e-6 <= size <= 4.8
    assert text_width(texts, size) < min(width for _, width in plan.spans())
    assert plan.height > without.height


def test_they_are_as_large_as_there_is_room() -> None:
    assert planned(5, [".1, .2"])[1] == 4.8
    assert planned(16, ["−.20, −.10"])[1] < 4.8


def test_where_they_would_make_the_sheet_too_wide_they_are_left_out() -> None:
    plan, size, without = planned(31, ["−.20, −.10"])
    assert (plan, size) == (without, 0.0)
    assert planned(3, ["x" * 200])[1] == 0.0


def test_a_sheet_that_is_wide_anyway_keeps_texts_that_need_no_more() -> None:
    plan, size, without = planned(40, ["±0.02"])
    assert without.size[0] > 1.2 * TWO_COLUMNS
    assert (plan.size[0], size) == (without.size[0], 4.8)


def test_without_texts_rows_stay_low() -> None:
    plan, size, without = planned(5, [])
    assert (plan, size) == (without, 0.0)


@given(st.lists(st.floats(-1.0, 1.0), max_size=6))
def test_a_scale_of_differences_is_even_and_holds_them_all(values: list[float]) -> None:
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
def test_signs_are_written_where_they_count(value: float, text: str) -> None:
    scale = difference_scale(np.array([0.5]))
    assert scale.written(value) == text
    assert SHARES.written(0.031) == "0.03"


def test_ticks_are_short() -> None:
    scale = difference_scale(np.array([0.5]))
    assert [scale.tick(tick) for tick in scale.ticks] == ["−0.50", "0", "+0.50"]
    assert [SHARES.tick(tick) for tick in SHARES.ticks] == ["0", "0.5", "1"]


def luminance_of_colour_scale(rgb: np.ndarray) -> float:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("scale", [SHARES, difference_scale(np.array([0.3]))])
def test_numbers_can_be_read_on_every_colour_of_colour_scale(scale: Scale) -> None:
    for value in np.linspace(scale.low, scale.high, 41):
        ground = luminance_of_colour_scale(scale.shades(np.array([value]))[0, :3])
        hexed = scale.legible(value)
        ink = luminance_of_colour_scale(
            np.array([int(hexed[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        )
        dark, light = sorted([ground, ink])
        assert (light + 0.05) / (dark + 0.05) >= 4.0, value


def test_beyond_the_ends_the_colour_stays() -> None:
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


def cells(figure: Figure) -> list[PolyCollection]:
    """Return the cells of each block, without the steps of the colour bar."""
    found = [each for each in figure.axes[0].collections if len(each.get_paths()) > 1]
    return [each for each in found if isinstance(each, PolyCollection)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_label_has_its_own_place_on_the_sheet_of_heat(labels: Check, count: int) -> None:
    figure = sheet(blocks(count))
    texts = labels(figure)
    assert {*LAYERS, *(f"block {n}" for n in range(count)), "t", "distance"} <= set(texts)
    assert texts.count("enc1") == count
    assert texts.count("contrast") == (count + 1) // 2
    assert figure.get_size_inches()[0] == pytest.approx(TWO_COLUMNS)


@pytest.mark.long
def test_names_of_modules_stand_upright_one_block_below_the_other(labels: Check) -> None:
    names = tuple(f"encoder.layer{n}.0.conv1" for n in range(30))
    figure = sheet(blocks(2, layers=30), names)
    texts = labels(figure)
    assert set(names) <= set(texts)
    assert texts.count("contrast") == 2
    assert figure.get_size_inches()[0] > TWO_COLUMNS


def test_all_blocks_share_one_scale_from_0_to_the_greatest() -> None:
    low, high = (Heat("x", np.full((4, 12), value)) for value in (0.2, 0.4))
    alone, beside = (cells(sheet(heats)) for heats in ([low], [low, high]))
    assert not np.allclose(alone[0].get_facecolor()[0], beside[0].get_facecolor()[0])
    np.testing.assert_allclose(alone[0].get_facecolor()[0], beside[1].get_facecolor()[0])


@pytest.mark.long
def test_digits_follow_the_greatest_value(labels: Check) -> None:
    for value, text in ((0.25, "0.25"), (0.0312, "0.031"), (3.456, "3.46"), (1234, "1234")):
        assert labels(sheet([Heat("x", np.full((4, 12), value))])).count(text) >= 48
    assert "4e+07" in labels(sheet([Heat("x", np.full((4, 12), 4e7))]))
    assert labels(sheet([Heat("x", np.zeros((4, 12)))])).count("0.00") == 48


def test_text_stands_out_on_its_cell() -> None:
    values = np.tile(np.linspace(0, 1, 12), (4, 1))
    (axes,) = sheet([Heat("x", values)]).axes
    found = {(text.get_text(), text.get_color()) for text in axes.texts}
    assert ("0.00", "#1b1b1b") in found
    assert ("1.00", "#ffffff") in found


def test_what_is_missing_is_a_hatched_hole(labels: Check) -> None:
    values = np.full((4, 12), 0.3)
    values[1, 2:4] = np.nan
    figure = sheet([Heat("x", values)])
    full, empty = cells(figure)
    assert (len(full.get_paths()), len(empty.get_paths())) == (46, 2)
    assert empty.get_hatch()
    assert labels(figure).count("–") == 2
    labels(sheet([Heat("x", np.full((4, 12), np.nan))]))


@pytest.mark.long
def test_same_values_same_bytes() -> None:
    first, second = (picture(sheet(blocks(2)), PictureFormat.SVG) for _ in range(2))
    assert first == second


def test_shapes_that_do_not_fit_are_refused() -> None:
    for wrong in ([], blocks(1, rows=3), blocks(1, layers=11)):
        with pytest.raises(ArgumentError, match="matrices by layer"):
            sheet(wrong)
    with pytest.raises(ArgumentError, match="not empty"):
        heat_sheet([Heat("x", np.empty((0, 0)))], [], [], title="t", label="l")


LONG = [HeatRow("Panoramic 250 Flash III"), HeatRow("x" * 200)]


@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize("rows", [ROWS_HEAT, LONG, ROWS_HEAT * 8], ids=len)
@pytest.mark.parametrize("layers", [LAYERS, LAYERS[:1], [f"layer{n}" for n in range(60)]], ids=len)
def test_matrices_lie_on_the_sheet_and_apart(
    blocks: int, rows: list[HeatRow], layers: list[str]
) -> None:
    plan = plan_heat(blocks, rows, layers)
    ends = len(rows) - 1, len(layers) - 1
    boxes = [(plan.box(corner, 0, 0)[0], plan.box(corner, *ends)[2]) for corner in plan.corners]
    assert len(boxes) == blocks
    for (left, top), (right, bottom) in boxes:
        assert 0 < left < right < plan.size[0]
        assert 0 < top < bottom < plan.size[1]
    for (a, b), (c, d) in combinations(boxes, 2):
        assert b[0] < c[0] or d[0] < a[0] or b[1] < c[1] or d[1] < a[1]


def test_two_stand_side_by_side_where_there_is_room() -> None:
    assert [plan_heat(n, ROWS_HEAT, LAYERS).across for n in (1, 2, 3)] == [1, 2, 2]
    assert plan_heat(2, LONG, LAYERS).across == 1
    assert plan_heat(2, ROWS_HEAT, LAYERS * 2).across == 1
    for rows in (ROWS_HEAT, LONG):
        assert plan_heat(2, rows, LAYERS).size[0] == pytest.approx(TWO_COLUMNS)


def test_kinds_stand_apart() -> None:
    first, second, third, _ = plan_heat(1, ROWS_HEAT, LAYERS).offsets
    assert second - first == pytest.approx(HEIGHT)
    assert third - second > HEIGHT


def test_names_stand_upright_where_they_would_touch() -> None:
    assert not plan_heat(2, ROWS_HEAT, LAYERS).upright
    assert plan_heat(1, ROWS_HEAT, ["encoder.layer1.0.conv1"] * 12).upright
