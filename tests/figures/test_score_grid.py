from __future__ import annotations

import numpy as np

from skiptool.figures.grid import Column, Row
from skiptool.figures.score_grid import ScoreGrid, shift_column, shift_order
from skiptool.records import ORIGINAL, Shade, Shift

GRID = ScoreGrid(
    "shift",
    (Row("baseline", "resnet18"), Row("L1-pruned", "resnet18")),
    (Column("original"), Column("0.5", "brightness")),
    ({"pruning": "baseline"}, {"pruning": "L1-pruned"}),
    ({"shift": "original"}, {"shift": "brightness", "factor": 0.5}),
)
VALUES = np.array([[0.75, np.nan], [0.5, 0.25]])


def test_table_and_numbers_hold_the_same() -> None:
    table = GRID.table("t", VALUES)
    assert table.title == "t"
    assert table.columns == {
        "shift": ["original", "brightness 0.5"],
        "resnet18 baseline": [0.75, None],
        "resnet18 L1-pruned": [0.5, 0.25],
    }
    numbers = GRID.numbers("IoU", VALUES, VALUES / 10, np.array([[5, 0], [2, 1]]))
    assert numbers[2] == {
        **{"quantity": "IoU", "pruning": "L1-pruned", "shift": "original"},
        **{"value": 0.5, "sd_folds": 0.05, "folds": 2},
    }
    assert [number["value"] for number in numbers if number["folds"]] == [0.75, 0.5, 0.25]
    assert numbers[3]["factor"] == 0.5


def test_shifts_stand_by_kind_and_factor_after_the_original() -> None:
    texts = ["saturation=0", "contrast=0.5", "brightness=1.5", "brightness=0.5", "original"]
    shifts = sorted(map(Shift.parse, texts), key=shift_order)
    assert shifts[0] == ORIGINAL
    assert [shift_column(shift) for shift in shifts] == [
        *(Column("original"), Column("0.5", "brightness"), Column("1.5", "brightness")),
        *(Column("0.5", "contrast"), Column("0", "saturation")),
    ]


def test_scores_are_shaded_from_0_to_1_and_differences_to_either_side() -> None:
    table = GRID.table("t", VALUES)
    assert (table.shade, set(table.groups)) == (Shade(0.0, 1.0), {row.group for row in GRID.rows})
    assert all(name.startswith(table.groups) for name in [*table.columns][1:])
    most = float(np.nanmax(np.abs(VALUES)))
    differences = GRID.table("t", VALUES, differences=True)
    assert differences.shade == Shade(-most, most, diverging=True)
    assert differences.columns == table.columns
