from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from skiptool.errors import ArgumentError
from skiptool.figures.matrix import Column, Row, difference_matrix, iou_matrix
from skiptool.figures.style import PictureFormat, picture

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
