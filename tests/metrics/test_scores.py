from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.metrics.confusion import count
from skiptool.metrics.scores import KEYS, Score, mean_and_spread, scores
from skiptool.names import ShiftKind
from skiptool.records import ORIGINAL, Shift
from strategies import labelled

NAMES = ("background", "cell", "debris")
FACTS: dict[str, Any] = {
    **{"dataset": "d.zarr", "dataset_id": "d1", "domain": "a", "split": "test"},
    **{"arch": "unet", "encoder": "resnet18", "pruning": "L1-pruned", "fold": 0},
    **{"repeat": 0, "model_id": "m1"},
    **{"shift": "original", "factor": None, "clean_skips": None},
}


def totals(*tables: tuple[dict[str, Any], Sequence[Sequence[int]]]) -> dict[str, list[Any]]:
    """Lay out matrices as the totals of a prediction table, with other facts where given."""
    rows = [
        {**FACTS, **facts, "truth": NAMES[t], "predicted": NAMES[p], "pixels": pixels}
        for facts, matrix in tables
        for t, line in enumerate(matrix)
        for p, pixels in enumerate(line)
    ]
    return {name: [row[name] for row in rows] for name in (*KEYS, "pixels")}


def test_a_score_is_worked_by_hand() -> None:
    """Cell: 2 in both, 1 only true, 3 only predicted: 2 / 6. Debris 4 / (4 + 1 + 1)."""
    matrix = [[9, 2, 1], [1, 2, 0], [0, 1, 4]]
    (score,) = scores(totals(({}, matrix)))
    assert score == Score(
        *("d.zarr", "d1", "a", "test", "unet", "resnet18", "L1-pruned", 0, 0, "m1"),
        shift=ORIGINAL,
        classes=("cell", "debris"),
        miou=pytest.approx((2 / 6 + 4 / 6) / 2),
    )


@given(sample=labelled(samples=3))
def test_a_score_is_of_the_counts_summed_over_samples(
    sample: tuple[np.ndarray, np.ndarray, int],
) -> None:
    truth, prediction, classes = sample
    classes = max(classes, 2)
    truth = np.where((truth < 3) | (truth == 255), truth, 0).astype(np.uint8)
    prediction = np.minimum(prediction, 2)
    matrix = count(truth, prediction, 3).sum(axis=0)
    (score,) = scores(totals(({}, matrix.tolist())))
    known = truth != 255
    found = []
    for label in (1, 2):
        a, b = (truth == label) & known, (prediction == label) & known
        if (a | b).any():
            found.append(float((a & b).sum()) / float((a | b).sum()))
    expected = statistics.fmean(found) if found else math.nan
    assert score.miou == pytest.approx(expected, nan_ok=True)


def test_what_differs_in_any_fact_is_a_score_of_its_own() -> None:
    one, two = [[1, 0], [0, 1]], [[1, 0], [1, 1]]
    facts: list[dict[str, Any]] = [
        *({}, {"fold": 1}, {"fold": None}, {"model_id": "m2"}, {"domain": "b"}, {"split": "train"}),
        *({"dataset_id": "d2"}, {"pruning": "baseline"}, {"shift": "contrast", "factor": 0.5}),
        {"arch": "linknet"},
    ]
    found = scores(totals(*((fact, two if place % 2 else one) for place, fact in enumerate(facts))))
    assert [score.miou for score in found] == [1.0, 0.5] * 5
    assert [score.fold for score in found[:4]] == [0, 1, None, 0]
    assert (found[-1].arch, found[-1].family) == ("linknet", "linknet resnet18")
    assert found[-2].shift == Shift(ShiftKind.CONTRAST, 0.5)


def test_substituted_features_are_another_experiment() -> None:
    plain, other = ({}, [[1, 0], [0, 1]]), ({"clean_skips": "1"}, [[1, 0], [9, 1]])
    for tables in ((plain, other), (other, plain)):
        assert [score.miou for score in scores(totals(*tables))] == [1.0]
    assert scores(totals(other)) == []


def test_an_absent_class_is_left_out_and_an_empty_split_has_no_score() -> None:
    partly, empty = scores(
        totals(({}, [[5, 1, 0], [1, 3, 0], [0, 0, 0]]), ({"fold": 1}, [[7, 0], [0, 0]]))
    )
    assert partly.miou == pytest.approx(3 / 5)
    assert partly.classes == ("cell", "debris")
    assert math.isnan(empty.miou)


def test_pixels_of_a_class_that_is_only_predicted_count_too() -> None:
    """A table by another program may leave out the rows of a class that no truth has."""
    table = totals(({}, [[5, 2], [1, 4]]))
    table["predicted"] = ["background", "debris", "background", "cell"]
    (score,) = scores(table)
    assert score.classes == ("cell", "debris")
    assert score.miou == pytest.approx((4 / 5 + 0) / 2)


def test_nothing_is_no_score() -> None:
    assert scores({name: [] for name in (*KEYS, "pixels")}) == []


@given(values=st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8))
def test_mean_and_spread_are_those_of_the_standard_library(values: list[float]) -> None:
    kept = [value for value in values if not math.isnan(value)]
    mean, spread = mean_and_spread(values)
    assert mean == pytest.approx(statistics.fmean(kept) if kept else math.nan, nan_ok=True)
    expected = statistics.stdev(kept) if len(kept) > 1 else math.nan
    assert spread == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_mean_and_spread_of_three_folds() -> None:
    """0.2, 0.4, 0.9: mean 0.5, squares 0.09 + 0.01 + 0.16 = 0.26, halved 0.13."""
    mean, spread = mean_and_spread([0.2, math.nan, 0.4, 0.9])
    assert mean == pytest.approx(0.5)
    assert spread == pytest.approx(math.sqrt(0.13))
