from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.figures.differences import DifferenceMatrix, difference_to_baseline, score_matrices
from skiptool.figures.grid import Row
from skiptool.figures.scores import by_domain, by_shift
from skiptool.metrics import Score
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shift

Check = Callable[[Figure], list[str]]
DARK = Shift.parse("brightness=0.5")
PLAIN = Score(
    *("d.zarr", "d1", "a", "test", "unet", "resnet18", "baseline", 0, 0, "m0"),
    shift=ORIGINAL,
    classes=("cell",),
    miou=0.9,
)


def score(pruning: str, fold: int | None, shift: Shift, miou: float, **new: object) -> Score:
    facts = {"model_id": f"{pruning} {fold}", **new}
    return replace(PLAIN, pruning=pruning, fold=fold, shift=shift, miou=miou, **facts)


FOUND = [
    *(score("baseline", 0, ORIGINAL, 0.8), score("baseline", 1, ORIGINAL, 0.9)),
    *(score("L1-pruned", 0, ORIGINAL, 0.7), score("L1-pruned", 1, ORIGINAL, 0.9)),
    *(score("baseline", 0, DARK, 0.1), score("baseline", 1, DARK, 0.3)),
    *(score("L1-pruned", 0, DARK, 0.5), score("L1-pruned", 2, DARK, 0.9)),
    score("L2-pruned", 0, DARK, math.nan),
]


def difference(found: list[Score]) -> DifferenceMatrix:
    (matrix,) = by_shift(found)
    shown = difference_to_baseline(matrix)
    assert shown is not None
    return shown


def test_by_hand() -> None:
    """Within folds -0.1 and 0.0; under the shift 0.4 in the one fold that both have."""
    shown = difference(FOUND)
    assert shown.grid.rows == (Row("L1-pruned", "resnet18"), Row("L2-pruned", "resnet18"))
    nan = math.nan
    np.testing.assert_allclose(shown.values, [[-0.05, 0.4], [nan, nan]])
    np.testing.assert_allclose(shown.spread, [[0.1 / math.sqrt(2), nan], [nan, nan]])
    assert shown.counts.tolist() == [[2, 1], [0, 0]]
    assert (shown.topic, shown.heading) == ("difference", "IoU under shift, a")
    assert shown.title == "Difference to the baseline: IoU under shift, a"
    assert "mean over 2 trainings" in shown.caption
    assert "colours end at −0.40 and +0.40" in shown.caption


def test_a_difference_stands_right_behind_its_matrix() -> None:
    far = [score(each.pruning, 0, ORIGINAL, 0.5, domain="b") for each in FOUND[::2]]
    shown = score_matrices([*FOUND, *far])
    assert [one.topic for one in shown] == ["iou", "difference"] * 2
    assert [one.heading for one in shown] == [
        *["IoU under shift, a"] * 2,
        *["IoU by domain, d.zarr"] * 2,
    ]


@pytest.mark.parametrize(
    "found",
    [
        [each for each in FOUND if each.pruning != "baseline"],
        [each for each in FOUND if each.pruning == "baseline"],
        [FOUND[0], FOUND[4], score("L1-pruned", 1, DARK, 0.5)],  # no fold in common
        [FOUND[4], score("L1-pruned", 0, DARK, 0.5, encoder="resnet34")],
        [FOUND[4], FOUND[8]],
    ],
)
def test_none_where_there_is_nothing_to_compare(found: list[Score]) -> None:
    assert [one.topic for one in score_matrices(found)] == ["iou"]
    assert score_matrices([]) == []


def test_rows_without_a_baseline_are_left_out() -> None:
    other = score("L3-pruned", 0, DARK, 0.5, encoder="resnet34")
    assert difference([*FOUND, other]).grid.rows == difference(FOUND).grid.rows


def test_ensembles_are_compared_with_the_ensemble() -> None:
    """Worked by hand: 0.6 - 0.5; an ensemble without partner is no row."""
    together = [
        score("baseline", ENSEMBLE_FOLD, DARK, 0.5),
        score("L1-pruned", ENSEMBLE_FOLD, DARK, 0.6),
    ]
    shown = difference([*FOUND, *together])
    assert [row.label for row in shown.grid.rows] == [
        *("L1-pruned", "L1-pruned, ensemble"),
        "L2-pruned",
    ]
    np.testing.assert_allclose(shown.values[1], [math.nan, 0.1])
    assert [number["fold"] for number in shown.numbers()][:4] == [None, None, -1, -1]
    alone = difference([*FOUND, together[1]])
    assert alone.grid.rows == difference(FOUND).grid.rows


def test_several_models_of_a_fold_are_one_value() -> None:
    """The baseline's two models of fold 0 have 0.1 and 0.3: 0.5 - 0.2."""
    shown = difference([*FOUND[4:], score("baseline", 0, DARK, 0.3, model_id="other")])
    np.testing.assert_allclose(shown.values[0], [0.3])


def test_the_table_holds_the_same_numbers() -> None:
    shown = difference(FOUND)
    table = shown.table()
    assert table.shade is not None
    assert table.shade.diverging
    assert table.title == "Difference in cell IoU: IoU under shift, a"
    assert table.columns["resnet18 L2-pruned"] == [None, None]
    numbers = shown.numbers()
    assert table.columns["resnet18 L1-pruned"] == [numbers[0]["value"], numbers[1]["value"]]
    assert numbers[1] == {
        **{"quantity": "difference", "dataset": "d.zarr", "domain": "a", "split": "test"},
        **{"arch": "unet", "encoder": "resnet18", "pruning": "L1-pruned", "fold": None},
        **{"shift": "brightness", "factor": 0.5, "value": pytest.approx(0.4)},
        **{"sd_folds": pytest.approx(math.nan, nan_ok=True), "folds": 1},
    }


def test_in_words_the_ends_are_told() -> None:
    assert difference(FOUND).sentences() == (
        "resnet18, difference to the baseline: highest +0.40 for L1-pruned (brightness 0.5), "
        "lowest −0.05 for L1-pruned (original).",
    )


def test_networks_of_one_fold_and_repeat_are_compared() -> None:
    """Worked by hand: -0.2 and 0.1; the third training of the pruned network has no partner."""
    found = [
        *(score("baseline", 0, ORIGINAL, 0.8), score("baseline", 0, ORIGINAL, 0.5, repeat=1)),
        *(score("L1-pruned", 0, ORIGINAL, 0.6), score("L1-pruned", 0, ORIGINAL, 0.6, repeat=1)),
        score("L1-pruned", 1, ORIGINAL, 0.1, repeat=1),
    ]
    found = [replace(each, model_id=f"{each.model_id} {each.repeat}") for each in found]
    shown = difference_to_baseline(by_domain(found)[0])
    assert shown is not None
    np.testing.assert_allclose(shown.values, [[-0.05]])
    np.testing.assert_allclose(shown.spread, [[0.3 / math.sqrt(2)]])
    assert shown.counts.tolist() == [[2]]


@pytest.mark.parametrize("folds", [1, 2])
def test_drawn_with_signs(labels: Check, folds: int) -> None:
    shown = difference([each for each in FOUND if each.fold is not None and each.fold < folds])
    texts = labels(shown.draw())
    assert "+0.40" in texts
    assert "Δ cell IoU" in texts
    assert any(text.startswith("±") for text in texts) == (folds == 2)
    assert ("one training of each, hence no spread" in shown.caption) == (folds == 1)


def test_by_domain() -> None:
    found = [
        score(pruning, 0, ORIGINAL, miou, domain=domain)
        for pruning, domain, miou in (
            *(("baseline", "a", 0.5), ("baseline", "b", 0.25)),
            *(("L1-pruned", "a", 0.75), ("L1-pruned", "b", 0.5)),
        )
    ]
    (matrix,) = by_domain(found)
    shown = difference_to_baseline(matrix)
    assert shown is not None
    assert shown.values.tolist() == [[0.25, 0.25]]
    assert [number["domain"] for number in shown.numbers()] == ["a", "b"]
