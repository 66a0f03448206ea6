from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy.typing import NDArray
from torchmetrics.functional import classification

from skiptool.errors import ArgumentError
from skiptool.metrics.confusion import count
from skiptool.metrics.overlap import dice, iou, mean_iou, precision, recall
from strategies import labelled

Array = NDArray[Any]
Case = tuple[Array, Array, int]
Score = Callable[[Array], Array]
Pixels = set[int]

BY_SETS: dict[Score, Callable[[Pixels, Pixels], float]] = {
    iou: lambda true, found: len(true & found) / len(true | found),
    dice: lambda true, found: 2 * len(true & found) / (len(true) + len(found)),
    precision: lambda true, found: len(true & found) / len(found) if found else 0.0,
    recall: lambda true, found: len(true & found) / len(true) if true else 0.0,
}
ALL = pytest.mark.parametrize("score", BY_SETS, ids=lambda score: score.__name__)


def pixels_of(mask: Array, label: int, truth: Array) -> Pixels:
    return set(np.flatnonzero((mask == label) & (truth != 255)).tolist())


def test_by_hand() -> None:
    # Truth has 6 and 4 pixels, the prediction 7 and 3; the third class is nowhere.
    counts = np.array([[5, 1, 0], [2, 2, 0], [0, 0, 0]])
    np.testing.assert_array_equal(iou(counts), [5 / 8, 2 / 5, math.nan])
    np.testing.assert_array_equal(dice(counts), [10 / 13, 4 / 7, math.nan])
    np.testing.assert_array_equal(precision(counts), [5 / 7, 2 / 3, math.nan])
    np.testing.assert_array_equal(recall(counts), [5 / 6, 2 / 4, math.nan])
    assert float(mean_iou(counts)) == 2 / 5


@ALL
@given(case=labelled())
def test_equals_the_definition_by_sets(score: Score, case: Case) -> None:
    truth, prediction, classes = case
    scores = score(count(*case))
    assert scores.shape == (classes,)
    for label in range(classes):
        true, found = (pixels_of(mask, label, truth) for mask in (truth, prediction))
        expected = BY_SETS[score](true, found) if true | found else math.nan
        np.testing.assert_allclose(scores[label], expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("score", "oracle"),
    [
        (iou, classification.multiclass_jaccard_index),
        (dice, classification.multiclass_f1_score),
        (precision, classification.multiclass_precision),
        (recall, classification.multiclass_recall),
    ],
)
def test_agrees_with_torchmetrics(score: Score, oracle: Callable[..., torch.Tensor]) -> None:
    rng = np.random.default_rng(6)
    truth, prediction = (rng.integers(0, 4, (50, 50), dtype=np.uint8) for _ in range(2))
    truth[:5] = 255
    expected = oracle(
        torch.from_numpy(prediction).long(),
        torch.from_numpy(truth).long(),
        num_classes=4,
        average="none",
        ignore_index=255,
    )
    np.testing.assert_allclose(score(count(truth, prediction, 4)), expected.numpy(), rtol=1e-6)


@given(case=labelled())
def test_dice_is_a_function_of_iou(case: Case) -> None:
    counts = count(*case)
    np.testing.assert_allclose(dice(counts), 2 * iou(counts) / (1 + iou(counts)), rtol=1e-14)


@ALL
@given(case=labelled())
def test_perfect_prediction_scores_one(score: Score, case: Case) -> None:
    truth, _, classes = case
    counts = count(truth, np.where(truth == 255, 0, truth).astype(np.uint8), classes)
    scores = score(counts)
    present = np.isin(np.arange(classes), truth)
    assert (scores[present] == 1).all()
    assert np.isnan(scores[~present]).all()


@ALL
@given(case=labelled(samples=3))
def test_samples_are_scored_alone(score: Score, case: Case) -> None:
    counts = count(*case)
    each = np.stack([score(table) for table in counts])
    np.testing.assert_array_equal(score(counts), each)


@given(case=labelled(samples=2))
def test_mean_iou_is_the_mean_over_the_foreground(case: Case) -> None:
    counts = count(*case)
    if case[2] == 1:
        with pytest.raises(ArgumentError, match="expected a class beside it"):
            mean_iou(counts)
        return
    for table, mean in zip(counts, mean_iou(counts), strict=True):
        scores = [score for score in iou(table)[1:].tolist() if not math.isnan(score)]
        expected = sum(scores) / len(scores) if scores else math.nan
        np.testing.assert_allclose(mean, expected, rtol=1e-14)


def test_mean_iou_of_nothing_is_nan() -> None:
    counts = np.array([[9, 0], [0, 0]])
    assert mean_iou(counts).shape == ()
    assert math.isnan(mean_iou(counts))


@pytest.mark.parametrize("score", [*BY_SETS, mean_iou])
@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_refuses_other_shapes(score: Score, shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"expected \(\.\.\., J, J\), truth by prediction"):
        score(np.ones(shape, dtype=np.int64))
