from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from skiptool.errors import ArgumentError
from skiptool.figures.heat import Heat, HeatRow, heat_sheet
from skiptool.figures.style import TWO_COLUMNS, PictureFormat, picture
from skiptool.names import LAYERS

Check = Callable[[Figure], list[str]]
ROWS = [HeatRow(f"{factor}", kind) for kind in ("brightness", "contrast") for factor in (0.5, 1.5)]


def blocks(count: int, rows: int = 4, layers: int = 12) -> list[Heat]:
    rng = np.random.default_rng(0)
    return [Heat(f"block {n}", rng.uniform(0, 0.7, (rows, layers))) for n in range(count)]


def sheet(heats: list[Heat], layers: tuple[str, ...] = LAYERS) -> Figure:
    return heat_sheet(heats, ROWS, layers, title="t", label="distance")


def cells(figure: Figure) -> list[PolyCollection]:
    """Return the cells of each block, without the steps of the colour bar."""
    found = [each for each in figure.axes[0].collections if len(each.get_paths()) > 1]
    return [each for each in found if isinstance(each, PolyCollection)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_label_has_its_own_place_on_the_sheet(labels: Check, count: int) -> None:
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
