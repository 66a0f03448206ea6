from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from skiptool.errors import ArgumentError
from skiptool.metrics.confusion import count
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
    counts = count(truth, prediction, 3)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


@given(case=labelled())
def test_counts_pixel_by_pixel(case: Case) -> None:
    np.testing.assert_array_equal(count(*case), pixel_by_pixel(*case))


@given(case=labelled(samples=3))
def test_samples_are_counted_alone(case: Case) -> None:
    truth, prediction, classes = case
    counts = count(truth, prediction, classes)
    assert counts.shape == (3, classes, classes)
    for sample in range(3):
        expected = pixel_by_pixel(truth[sample], prediction[sample], classes)
        np.testing.assert_array_equal(counts[sample], expected)


@given(case=labelled())
def test_every_pixel_but_the_ignored_is_counted_once(case: Case) -> None:
    truth, _, _ = case
    assert count(*case).sum() == (truth != 255).sum()


def test_no_sample_is_counted_as_none() -> None:
    empty = np.zeros((0, 4, 4), dtype=np.uint8)
    assert count(empty, empty, 2).shape == (0, 2, 2)


@pytest.mark.parametrize("classes", [254, 255])
def test_as_many_classes_as_labels(classes: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, (40, 40), dtype=np.uint8)
    truth[:3] = 255
    prediction = rng.integers(0, classes, (40, 40), dtype=np.uint8)
    prediction[0] = truth[-1] = classes - 1
    expected = pixel_by_pixel(truth, prediction, classes)
    np.testing.assert_array_equal(count(truth, prediction, classes), expected)


def test_takes_any_memory_layout() -> None:
    rng = np.random.default_rng(1)
    truth, prediction = (rng.integers(0, 3, (6, 5, 4), dtype=np.uint8) for _ in range(2))
    turned = truth.transpose(2, 1, 0), prediction.transpose(2, 1, 0)
    expected = count(turned[0].copy(), turned[1].copy(), 3)
    np.testing.assert_array_equal(count(*turned, 3), expected)


def test_refuses_labels_beyond_the_classes_by_name() -> None:
    good = np.zeros((2, 3), dtype=np.uint8)
    bad = np.array([[0, 7, 255], [3, 1, 7]], dtype=np.uint8)
    with pytest.raises(ArgumentError, match=r"truth holds label 3, 7, expected 0 to 1 or 255"):
        count(bad, good, 2)
    with pytest.raises(ArgumentError, match=r"prediction holds label 3, 7, 255, expected 0 to 1;"):
        count(good, bad, 2)
    with pytest.raises(ArgumentError, match=r"truth holds label 254, expected 0 to 253"):
        count(np.full((1, 1), 254, dtype=np.uint8), good[:1, :1], 254)


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
def test_refuses_other_arrays(truth: Array, prediction: Array) -> None:
    with pytest.raises(ArgumentError, match=r"expected both uint8 and of the same shape"):
        count(truth, prediction, 2)


@pytest.mark.parametrize("classes", [0, 256])
def test_refuses_other_numbers_of_classes(classes: int) -> None:
    mask = np.zeros((1, 1), dtype=np.uint8)
    with pytest.raises(ArgumentError, match=f"{classes} classes, expected 1 to 255"):
        count(mask, mask, classes)
