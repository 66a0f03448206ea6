from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from predict_cases import make_run
from skiptool.records import ORIGINAL, Shift
from skiptool.steps.predict.run import Run
from skiptool.steps.predict.summary import absent_classes, iou_table

DARK = Shift.parse("brightness=0.5")


@pytest.fixture
def run(runs: Path, two_sizes: Path) -> Run:
    return make_run(runs, two_sizes, (ORIGINAL, DARK), ensemble=True)


def counts(both: int, missed: int) -> np.ndarray:
    """Return counts of an IoU of ``both / (both + missed)``."""
    return np.array([[5, 0], [missed, both]])


@pytest.mark.long
def test_folds_are_averaged_and_ensembles_are_not_among_them(run: Run) -> None:
    """Worked by hand: folds at 0.5 and 0.75, the ensemble at 0.9, the other network at 0.25."""
    found = [counts(1, 1), counts(3, 1), counts(1, 3), counts(9, 1)]
    nothing = np.array([[9, 0], [0, 0]])
    totals = {(number, "A", ORIGINAL, None): each for number, each in enumerate(found)}
    totals |= {(number, "A", DARK, None): nothing for number in range(4)}
    totals |= {(0, "B", shift, None): counts(1, 0) for shift in (ORIGINAL, DARK)}
    table = iou_table(run, totals)
    assert dict(table.columns) == {
        "domain": ["A", "A", "B", "B"],
        "shift": ["original", "brightness=0.5"] * 2,
        "resnet18-L0": [0.625, None, 1.0, 1.0],
        "resnet18-L1": [0.25, None, None, None],
        "resnet18-L0/ensemble": [0.9, None, None, None],
    }
    assert table.title == "IoU of cell, test samples, mean over folds"
    folds = iou_table(replace(run, split="fold"), totals)
    assert folds.title == "IoU of cell, samples of each model's validation fold, mean over folds"


def test_a_foreign_folder_is_not_averaged_with_another_architecture_of_its_name(run: Run) -> None:
    first = run.models[0]
    same = replace(first.stored, name="theirs")
    nested = replace(same, architecture=replace(same.architecture, arch="unetplusplus"))
    ours = replace(nested, name="unetplusplus-resnet18-L0/fold0")
    models = [replace(first, stored=stored) for stored in (same, nested, ours)]
    totals = {(n, "A", ORIGINAL, None): counts(n + 1, 1) for n in range(3)}
    table = iou_table(replace(run, models=models, ensembles=[]), totals)
    names = ["theirs", "unetplusplus theirs", "unetplusplus-resnet18-L0"]
    assert [table.columns[name][0] for name in names] == pytest.approx([0.5, 2 / 3, 0.75])


@pytest.mark.long
def test_several_classes_have_a_row_each_beside_their_mean(run: Run) -> None:
    """Classes at 0.5 and 0.25, one that is nowhere; the background is no row."""
    three = replace(run.store, classes=("background", "LV", "MYO", "RV"))
    found = np.zeros((4, 4), np.int64)
    found[0, 0], found[1, 1], found[1, 2], found[2, 2], found[2, 0] = 9, 2, 2, 1, 1
    table = iou_table(replace(run, store=three), {(0, "A", ORIGINAL, None): found})
    assert table.columns["class"][:4] == ["mean", "LV", "MYO", "RV"]
    assert table.columns["shift"][:8] == ["original"] * 4 + ["brightness=0.5"] * 4
    assert table.columns["resnet18-L0"][:5] == [0.375, 0.5, 0.25, None, None]


@pytest.mark.long
def test_classes_in_no_mask_are_told_in_one_line(run: Run) -> None:
    there, nowhere = counts(1, 1), np.array([[5, 3], [0, 0]])
    totals = {(number, "A", ORIGINAL, None): there for number in range(4)}
    assert absent_classes(run, totals) is None
    totals |= {(number, "B", ORIGINAL, None): nowhere for number in range(4)}
    line = absent_classes(run, totals)
    assert line is not None
    assert "cell in no mask of domain B" in line
    assert "domain A" not in line
    assert line.count("NaN") == 1
    # A class is there if one model's samples hold it, whatever those of other folds do.
    totals[1, "B", ORIGINAL, None] = there
    assert absent_classes(run, totals) is None
