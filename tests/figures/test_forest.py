from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.errors import ArgumentError
from skiptool.figures.forest import Mark, forest
from skiptool.figures.grid import Column
from skiptool.figures.style import TWO_COLUMNS, PictureFormat, picture

Check = Callable[[Figure], list[str]]
KEY = {"label": "cell IoU minus that of the baseline", "interval": "95 % interval over subjects"}
SURE = {"sure": "p < 0.05 (Holm)", "unsure": "p ≥ 0.05"}
SWEEP = [Column("original")] + [
    Column(f"{factor:g}", kind)
    for kind in ("brightness", "contrast", "saturation")
    for factor in (0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)[:10]
]


def marks(rows: int, networks: int, families: int, ensemble: bool = False) -> list[Mark]:
    rng = np.random.default_rng(0)
    names = [*(f"L{k}-pruned" for k in range(1, 5)), *(f"skips-{k}" for k in range(20))]
    return [
        Mark(row, f"resnet{family}", name, together, value, value - 0.02, value + 0.02, 0.03, sure)
        for family in range(families)
        for row in range(rows)
        for name in names[:networks]
        for together in ((False, True) if ensemble else (False,))
        for value, sure in [(float(rng.uniform(-0.3, 0.3)), bool(rng.integers(2)))]
    ]


def drawn(found: list[Mark], rows: list[Column]) -> Figure:
    return forest(found, rows, **KEY, **SURE)


@pytest.mark.parametrize(
    ("rows", "networks", "families"),
    [(1, 1, 1), (1, 4, 2), (16, 4, 2), (31, 19, 1), (8, 8, 3), (4, 2, 5)],
)
def test_every_label_has_its_own_place_on_the_sheet(
    labels: Check, rows: int, networks: int, families: int
) -> None:
    figure = drawn(marks(rows, networks, families), SWEEP[:rows])
    texts = labels(figure)
    assert len(figure.axes) == families
    assert {*KEY.values(), *SURE.values(), "L1-pruned", "original", "0"} <= set(texts)
    assert "± SD between trainings" in texts
    assert ("brightness" in texts) == (rows > 1)
    assert (figure.get_size_inches()[0] <= TWO_COLUMNS + 1e-6) == (families <= 3)
    assert not [text for text in texts if "-0." in text]


def test_panels_share_an_axis_that_holds_all_and_zero() -> None:
    found = [replace(mark, value=0.5, low=0.4, high=0.7) for mark in marks(2, 2, 2)]
    found[0] = replace(found[0], value=0.5, spread=0.45)
    limits = {axes.get_xlim() for axes in drawn(found, SWEEP[:2]).axes}
    ((low, high),) = limits
    assert low < 0.0
    assert high > 0.95


def test_intervals_of_two_trainings_do_not_squeeze_the_axis() -> None:
    """Differences of IoU are never beyond 1, t-intervals with one degree of freedom may be."""
    (mark,) = marks(1, 1, 1)
    (axes,) = drawn([replace(mark, low=-7.0, high=9.0)], SWEEP[:1]).axes
    low, high = axes.get_xlim()
    assert -1.1 < low < -1.0
    assert 1.0 < high < 1.1


def test_a_row_without_any_value_is_drawn_empty(labels: Check) -> None:
    nan = math.nan
    found = [replace(mark, value=nan, low=nan, high=nan, spread=nan) for mark in marks(1, 1, 1)]
    texts = labels(drawn(found, SWEEP[:1]))
    assert "original" in texts
    assert KEY["interval"] not in texts
    assert "nan" not in " ".join(texts)


def test_the_key_explains_what_is_there_alone(labels: Check) -> None:
    nan = math.nan
    found = [replace(mark, spread=nan) for mark in marks(1, 2, 1, ensemble=True)]
    texts = labels(drawn(found, SWEEP[:1]))
    assert {"L1-pruned", "L1-pruned, ensemble", *SURE.values()} <= set(texts)
    assert "± SD between trainings" not in texts


def test_names_from_data_cannot_break_it(labels: Check) -> None:
    names = ["<script>alert(1)</script>", "x" * 200, "two\nlines", "a$b$c_{", "nul\x00"]
    found = [
        Mark(row, family, pruning, False, 0.1, 0.0, 0.2, 0.1, True)
        for row in range(5)
        for family in names[:2]
        for pruning in names
    ]
    figure = drawn(found, [Column(name) for name in names])
    labels(figure)
    svg = picture(figure, PictureFormat.SVG)
    assert b"<script" not in svg
    assert b"&lt;script&gt;" in svg


def test_the_same_bytes_again() -> None:
    first, second = (picture(drawn(marks(3, 4, 2), SWEEP[:3]), PictureFormat.SVG) for _ in range(2))
    assert first == second


def test_refuses_nothing_and_unknown_rows() -> None:
    with pytest.raises(ArgumentError, match="0 marks in 1 rows; expected at least one"):
        drawn([], SWEEP[:1])
    with pytest.raises(ArgumentError, match="2 marks in 1 rows"):
        drawn(marks(2, 1, 1), SWEEP[:1])


def test_an_interval_that_is_cut_is_told() -> None:
    wide = marks(2, 1, 1)
    wide[0] = replace(wide[0], low=-1.4)
    texts = [
        [text.get_text() for text in drawn(each, SWEEP[:2]).texts]
        for each in (marks(2, 1, 1), wide)
    ]
    cut = f"{KEY['interval']}, cut at a difference of 1"
    assert [cut in each for each in texts] == [False, True]
