from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

from registration_cases import FAR, OFF, table
from skiptool.analysis.registration import ELSEWHERE
from skiptool.report.exhibit import Exhibit
from skiptool.report.registration import registration_exhibits
from skiptool.stores.tables import REPORT

ROWS: tuple[tuple[Any, ...], ...] = (
    ("s", "s1", "A", "B", "p1", 1.0, 0.25, True, None),
    ("s", "s1", "A", "C", "p1", 0.5, None, True, None),
    ("s", "s1", "A", "B", "p2", 3.0, 0.75, False, FAR),
    ("s", "s1", "A", "C", "p2", 1.5, None, False, None),
    ("s", "s2", "A", "B", "p3", None, None, False, OFF),
    ("s", "s2", "A", "C", "p3", 4.5, None, False, FAR),
    ("s", "s3", "A", "C", None, None, None, False, None),
)


def alone(*rows: tuple[Any, ...]) -> Exhibit:
    (shown,) = registration_exhibits(table(*rows), "d.zarr")
    return shown


def test_table_has_a_row_for_each_pair() -> None:
    """Worked by hand."""
    shown = alone(*ROWS)
    assert shown.title == "Residual misalignment, d.zarr"
    assert (shown.topic, shown.heading) == ("registration", "Registration of the scans")
    assert dict(shown.table.columns) == {
        "reference": ["A", "A"],
        "domain": ["B", "C"],
        "slides": [2, 3],
        "not aligned": [0, 1],
        "patches": [3, 3],
        "kept": [1, 1],
        "share kept": [1 / 3, 1 / 3],
        FAR: [1, 1],
        OFF: [1, 0],
        ELSEWHERE: [0, 1],
        "median, px": [2.0, 1.5],
        "90 %, px": [2.8, pytest.approx(3.9)],
        "median, µm": [0.5, None],
        "90 %, µm": [0.7, None],
    }


def test_each_number_of_the_table_is_among_the_numbers() -> None:
    shown = alone(*ROWS)
    rows, columns = shown.numbers, shown.table.columns
    assert {key for row in rows for key in row} <= set(REPORT)
    names = {
        "slides": "slides",
        "not aligned": "slides not aligned",
        "patches": "patches",
        "kept": "kept",
        "share kept": "share kept",
        **{why: f"left out: {why}" for why in (FAR, OFF, ELSEWHERE)},
        **{f"median, {unit}": f"residual median, {unit}" for unit in ("px", "µm")},
        **{f"90 %, {unit}": f"residual p90, {unit}" for unit in ("px", "µm")},
    }
    assert set(names) == set(columns) - {"reference", "domain"}
    for place, domain in enumerate(("B", "C")):
        mine = [row for row in rows if (row["reference_domain"], row["domain"]) == ("A", domain)]
        assert len(mine) == len(names)
        for name, quantity in names.items():
            (value,) = (row["value"] for row in mine if row["quantity"] == quantity)
            cell = columns[name][place]
            assert value == cell or (cell is None and value != value)
    points = [row["points"] for row in rows if row["quantity"] == "residual median, px"]
    assert points == [2, 3]


def test_sentence_states_residuals_and_patches() -> None:
    assert tuple(alone(*ROWS).sentences) == (
        "B against A: half of the patches are within 2 px (0.5 µm), 90 % within 2.8 px; 1 of 3 are "
        "kept (1 residual above 2 px, 1 outside of the scan).",
        "C against A: half of the patches are within 1.5 px, 90 % within 3.9 px; 1 of 3 are kept "
        "(1 lost on another scan, 1 residual above 2 px).",
    )
    assert tuple(alone(ROWS[6]).sentences) == ("C against A: no residual was measured.",)


def test_caption_states_limit_slides_and_patches() -> None:
    caption = alone(*ROWS).caption
    assert "(dashed: the 2 px that were allowed)" in caption
    assert caption.endswith("Up to 3 slides and 3 patches per pair.")
    once = alone(ROWS[0]).caption
    assert "dashed" not in once
    assert once.endswith("Up to 1 slide and 1 patches per pair.")


def test_figure_is_drawn_and_empty_tables_have_none() -> None:
    assert isinstance(alone(*ROWS).draw(), Figure)
    assert registration_exhibits(table()) == []
    (shown,) = registration_exhibits(table(ROWS[0]))
    assert shown.title == "Residual misalignment"


def test_names_from_data_are_cut_in_sentences() -> None:
    odd = ("s", "s", "<b>" * 99, "x" * 200, "p", 1.0, 0.2, False, "y" * 300)
    (sentence,) = alone(odd).sentences
    assert len(sentence) < 220
