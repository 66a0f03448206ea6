from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.functional import classification

from skiptool.errors import ArgumentError
from skiptool.metrics import (
    GROUP_COLUMNS,
    Score,
    confusion_counts,
    dice,
    iou,
    mean_and_spread,
    mean_iou,
    precision,
    recall,
    scores,
)
from skiptool.names import ShiftKind
from skiptool.records import ORIGINAL, Shift
from strategies import labelled

Array = NDArray[Any]
Case = tuple[Array, Array, int]


def pixel_by_pixel(truth: Array, prediction: Array, classes: int) -> Array:
    counts = np.zeros((classes, classes), dtype=np.int64)
    for true, predicted in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if true != 255:
            counts[true, predicted] += 1
    return counts


def test_by_hand() -> None:
    truth = np.array([[0, 0, 1], [2, 255, 1]], dtype=np.uint8)
    prediction = np.array([[0, 1, 1], [0, 2, 1]], dtype=np.uint8)
    counts = confusion_counts(truth, prediction, 3)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


@given(case=labelled())
def test_counts_pixel_by_pixel(case: Case) -> None:
    np.testing.assert_array_equal(confusion_counts(*case), pixel_by_pixel(*case))


@given(case=labelled(samples=3))
def test_samples_are_counted_separately(case: Case) -> None:
    truth, prediction, classes = case
    counts = confusion_counts(truth, prediction, classes)
    assert counts.shape == (3, classes, classes)
    for sample in range(3):
        expected = pixel_by_pixel(truth[sample], prediction[sample], classes)
        np.testing.assert_array_equal(counts[sample], expected)


@given(case=labelled())
def test_every_pixel_that_is_not_ignored_is_counted_once(case: Case) -> None:
    truth, _, _ = case
    assert confusion_counts(*case).sum() == (truth != 255).sum()


def test_no_samples_give_empty_counts() -> None:
    empty = np.zeros((0, 4, 4), dtype=np.uint8)
    assert confusion_counts(empty, empty, 2).shape == (0, 2, 2)


@pytest.mark.parametrize("classes", [254, 255])
def test_the_largest_number_of_classes(classes: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, (40, 40), dtype=np.uint8)
    truth[:3] = 255
    prediction = rng.integers(0, classes, (40, 40), dtype=np.uint8)
    prediction[0] = truth[-1] = classes - 1
    expected = pixel_by_pixel(truth, prediction, classes)
    np.testing.assert_array_equal(confusion_counts(truth, prediction, classes), expected)


def test_masks_may_have_any_memory_layout() -> None:
    rng = np.random.default_rng(1)
    truth, prediction = (rng.integers(0, 3, (6, 5, 4), dtype=np.uint8) for _ in range(2))
    turned = truth.transpose(2, 1, 0), prediction.transpose(2, 1, 0)
    expected = confusion_counts(turned[0].copy(), turned[1].copy(), 3)
    np.testing.assert_array_equal(confusion_counts(*turned, 3), expected)


def test_labels_beyond_the_classes_are_named() -> None:
    good = np.zeros((2, 3), dtype=np.uint8)
    bad = np.array([[0, 7, 255], [3, 1, 7]], dtype=np.uint8)
    with pytest.raises(ArgumentError, match=r"truth contains label 3, 7, expected 0 to 1 or 255"):
        confusion_counts(bad, good, 2)
    with pytest.raises(
        ArgumentError, match=r"prediction contains label 3, 7, 255, expected 0 to 1;"
    ):
        confusion_counts(good, bad, 2)
    with pytest.raises(ArgumentError, match=r"truth contains label 254, expected 0 to 253"):
        confusion_counts(np.full((1, 1), 254, dtype=np.uint8), good[:1, :1], 254)


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [
        (np.zeros((2, 3), dtype=np.uint8), np.zeros((3, 2), dtype=np.uint8)),
        (np.zeros((2, 3), dtype=np.uint8), np.zeros((2, 3), dtype=np.int64)),
        (np.zeros((2, 3), dtype=np.bool_), np.zeros((2, 3), dtype=np.uint8)),
        (np.zeros(3, dtype=np.uint8), np.zeros(3, dtype=np.uint8)),
        (np.zeros((2, 0), dtype=np.uint8), np.zeros((2, 0), dtype=np.uint8)),
    ],
)
def test_invalid_arrays_are_refused(truth: Array, prediction: Array) -> None:
    with pytest.raises(ArgumentError, match=r"expected both uint8 and of the same shape"):
        confusion_counts(truth, prediction, 2)


@pytest.mark.parametrize("classes", [0, 256])
def test_invalid_numbers_of_classes_are_refused(classes: int) -> None:
    mask = np.zeros((1, 1), dtype=np.uint8)
    with pytest.raises(ArgumentError, match=f"{classes} classes, expected 1 to 255"):
        confusion_counts(mask, mask, classes)


ScoreOverlap = Callable[[Array], Array]
Pixels = set[int]

BY_SETS: dict[ScoreOverlap, Callable[[Pixels, Pixels], float]] = {
    iou: lambda true, found: len(true & found) / len(true | found),
    dice: lambda true, found: 2 * len(true & found) / (len(true) + len(found)),
    precision: lambda true, found: len(true & found) / len(found) if found else 0.0,
    recall: lambda true, found: len(true & found) / len(true) if true else 0.0,
}
ALL = pytest.mark.parametrize("score", BY_SETS, ids=lambda score: score.__name__)


def pixels_of(mask: Array, label: int, truth: Array) -> Pixels:
    return set(np.flatnonzero((mask == label) & (truth != 255)).tolist())


def test_scores_by_hand() -> None:
    # Truth has 6 and 4 pixels, the prediction 7 and 3; the third class is absent.
    counts = np.array([[5, 1, 0], [2, 2, 0], [0, 0, 0]])
    np.testing.assert_array_equal(iou(counts), [5 / 8, 2 / 5, math.nan])
    np.testing.assert_array_equal(dice(counts), [10 / 13, 4 / 7, math.nan])
    np.testing.assert_array_equal(precision(counts), [5 / 7, 2 / 3, math.nan])
    np.testing.assert_array_equal(recall(counts), [5 / 6, 2 / 4, math.nan])
    assert float(mean_iou(counts)) == 2 / 5


@ALL
@given(case=labelled())
def test_scores_equal_their_definition_by_sets(score: ScoreOverlap, case: Case) -> None:
    truth, prediction, classes = case
    scores = score(confusion_counts(*case))
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
def test_scores_agree_with_torchmetrics(
    score: ScoreOverlap, oracle: Callable[..., torch.Tensor]
) -> None:
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
    np.testing.assert_allclose(
        score(confusion_counts(truth, prediction, 4)), expected.numpy(), rtol=1e-6
    )


@given(case=labelled())
def test_dice_is_a_function_of_iou(case: Case) -> None:
    counts = confusion_counts(*case)
    np.testing.assert_allclose(dice(counts), 2 * iou(counts) / (1 + iou(counts)), rtol=1e-14)


@ALL
@given(case=labelled())
def test_perfect_prediction_scores_one(score: ScoreOverlap, case: Case) -> None:
    truth, _, classes = case
    counts = confusion_counts(truth, np.where(truth == 255, 0, truth).astype(np.uint8), classes)
    scores = score(counts)
    present = np.isin(np.arange(classes), truth)
    assert (scores[present] == 1).all()
    assert np.isnan(scores[~present]).all()


@ALL
@given(case=labelled(samples=3))
def test_samples_are_scored_separately(score: ScoreOverlap, case: Case) -> None:
    counts = confusion_counts(*case)
    each = np.stack([score(table) for table in counts])
    np.testing.assert_array_equal(score(counts), each)


@given(case=labelled(samples=2))
def test_mean_iou_is_the_mean_over_the_foreground(case: Case) -> None:
    counts = confusion_counts(*case)
    if case[2] == 1:
        with pytest.raises(ArgumentError, match="expected another class"):
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
def test_invalid_shapes_are_refused(score: ScoreOverlap, shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"expected \(\.\.\., J, J\), truth by prediction"):
        score(np.ones(shape, dtype=np.int64))


NAMES = ("background", "cell", "debris")
FACTS: dict[str, Any] = {
    "dataset": "d.zarr",
    "dataset_id": "d1",
    "domain": "a",
    "split": "test",
    "arch": "unet",
    "encoder": "resnet18",
    "pruning": "L1-pruned",
    "fold": 0,
    "repeat": 0,
    "model_id": "m1",
    "shift": "original",
    "factor": None,
    "clean_skips": None,
}


def totals(*tables: tuple[dict[str, Any], Sequence[Sequence[int]]]) -> dict[str, list[Any]]:
    """Return matrices as the totals of a prediction table, with facts replaced if given."""
    rows = [
        {**FACTS, **facts, "truth": NAMES[t], "predicted": NAMES[p], "pixels": pixels}
        for facts, matrix in tables
        for t, line in enumerate(matrix)
        for p, pixels in enumerate(line)
    ]
    return {name: [row[name] for row in rows] for name in (*GROUP_COLUMNS, "pixels")}


def test_a_score_of_a_table_by_hand() -> None:
    """Cell: 2 in both, 1 only true, 3 only predicted: 2 / 6. Debris 4 / (4 + 1 + 1)."""
    matrix = [[9, 2, 1], [1, 2, 0], [0, 1, 4]]
    (score,) = scores(totals(({}, matrix)))
    assert score == Score(
        "d.zarr",
        "d1",
        "a",
        "test",
        "unet",
        "resnet18",
        "L1-pruned",
        0,
        0,
        "m1",
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
    matrix = confusion_counts(truth, prediction, 3).sum(axis=0)
    (score,) = scores(totals(({}, matrix.tolist())))
    known = truth != 255
    found = []
    for label in (1, 2):
        a, b = (truth == label) & known, (prediction == label) & known
        if (a | b).any():
            found.append(float((a & b).sum()) / float((a | b).sum()))
    expected = statistics.fmean(found) if found else math.nan
    assert score.miou == pytest.approx(expected, nan_ok=True)


def test_rows_that_differ_in_any_key_are_separate_scores() -> None:
    one, two = [[1, 0], [0, 1]], [[1, 0], [1, 1]]
    facts: list[dict[str, Any]] = [
        {},
        {"fold": 1},
        {"fold": None},
        {"model_id": "m2"},
        {"domain": "b"},
        {"split": "train"},
        {"dataset_id": "d2"},
        {"pruning": "baseline"},
        {"shift": "contrast", "factor": 0.5},
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
    """A table from another program may omit the rows of a class absent from the truth."""
    table = totals(({}, [[5, 2], [1, 4]]))
    table["predicted"] = ["background", "debris", "background", "cell"]
    (score,) = scores(table)
    assert score.classes == ("cell", "debris")
    assert score.miou == pytest.approx((4 / 5 + 0) / 2)


def test_an_empty_table_has_no_scores() -> None:
    assert scores({name: [] for name in (*GROUP_COLUMNS, "pixels")}) == []


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
