"""Segmentation scores from confusion counts: pixels of each pair of true and predicted class.

- :func:`confusion_counts` counts the pixels of masks in NumPy. Prediction counts with torch; this
  function is the reference in its tests.
- :func:`iou`, :func:`dice`, :func:`precision`, :func:`recall` and :func:`mean_iou` are scores of
  counts (..., J, J), indexed [truth, predicted]. Sum counts over the samples of a split first: the
  mean of scores over images or batches is a different quantity.
- :func:`scores` turns the total counts of a prediction table into mean IoU by model, domain and
  shift.

To add a score: write a function from counts (..., J, J) to (..., J), NaN where a class is absent
from truth and prediction, and add it with its definition by sets of pixels to ``BY_SETS`` in
``tests/test_metrics.py``. Prediction tables hold counts, so it applies to stored predictions too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.names import ENSEMBLE_FOLD, IGNORE_LABEL, ShiftKind
from skiptool.records import Shift, architecture_family

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64, UInt8


def confusion_counts(truth: UInt8, prediction: UInt8, classes: int) -> Int64:
    """Pixels of each pair of truth and predicted class.

    Parameters
    ----------
    truth : uint8, shape (..., H, W)
        Labels 0..J-1, or 255 for ignored pixels. Leading axes are samples.
    prediction : uint8, shape (..., H, W)
        Labels 0..J-1.
    classes : int
        Number J of classes, 1 to 255.

    Returns
    -------
    int64, shape (..., J, J)
        Pixels by [truth, predicted], one table per sample.

    Examples
    --------
    >>> truth = np.array([[0, 1, 1, 255]], dtype=np.uint8)
    >>> prediction = np.array([[0, 1, 0, 1]], dtype=np.uint8)
    >>> confusion_counts(truth, prediction, 2)
    array([[1, 0],
           [1, 1]])
    """
    _check(truth, prediction, classes)
    # True label -> first cell of its row, with extra rows for ignored and unknown labels.
    rows = np.full(IGNORE_LABEL + 1, classes + 1, dtype=np.uint16)
    rows[:classes] = np.arange(classes)
    rows[IGNORE_LABEL] = classes
    rows *= np.uint16(classes)
    shape, cells = truth.shape[:-2], classes * (classes + 2)
    pixels = truth.shape[-2] * truth.shape[-1]
    samples = zip(truth.reshape(-1, pixels), prediction.reshape(-1, pixels), strict=True)
    counts = np.empty((*shape, classes + 2, classes), dtype=np.int64)
    for table, (true, predicted) in zip(counts.reshape(-1, cells), samples, strict=True):
        table[:] = np.bincount(np.take(rows, true) + predicted, minlength=cells)
    if counts[..., classes + 1, :].any():
        expected = f"0 to {classes - 1} or {IGNORE_LABEL} (ignored)"
        raise _unknown_labels("truth", truth[truth != IGNORE_LABEL], classes, expected)
    return counts[..., :classes, :]


def _check(truth: UInt8, prediction: UInt8, classes: int) -> None:
    if not 1 <= classes <= IGNORE_LABEL:
        raise ArgumentError(f"confusion: {classes} classes, expected 1 to {IGNORE_LABEL}")
    are_masks = truth.dtype == prediction.dtype == np.uint8 and truth.ndim >= 2
    if truth.shape != prediction.shape or not are_masks or 0 in truth.shape[-2:]:
        raise ArgumentError(
            f"confusion: truth is {truth.dtype} {truth.shape}, prediction {prediction.dtype} "
            f"{prediction.shape}; expected both uint8 and of the same shape (..., H, W)"
        )
    if prediction.size and prediction.max() >= classes:
        raise _unknown_labels("prediction", prediction, classes, f"0 to {classes - 1}")


def _unknown_labels(mask: str, labels: AnyArray, classes: int, expected: str) -> ArgumentError:
    unknown = np.unique(labels[labels >= classes]).tolist()
    return ArgumentError(
        f"confusion: {mask} contains label {', '.join(map(str, unknown))}, expected {expected}; "
        "correct the masks or the list of classes"
    )


def iou(counts: Int64) -> Float64:
    """Intersection over union of each class.

    Parameters
    ----------
    counts : int64, shape (..., J, J)
        Pixels by [truth, predicted].

    Returns
    -------
    float64, shape (..., J)
        In [0, 1]; NaN where a class is absent from truth and prediction.

    Examples
    --------
    >>> iou(np.array([[5, 1], [2, 2]]))
    array([0.625, 0.4  ])
    """
    shared, true, predicted = _class_pixels(counts)
    return _ratio(shared, true + predicted - shared)


def dice(counts: Int64) -> Float64:
    """Dice coefficient (F1 score) of each class, as :func:`iou`.

    Examples
    --------
    >>> dice(np.array([[4, 0], [3, 3]])).round(3)
    array([0.727, 0.667])
    """
    shared, true, predicted = _class_pixels(counts)
    return _ratio(2 * shared, true + predicted)


def precision(counts: Int64) -> Float64:
    """Fraction of the pixels predicted as a class that belong to it, as :func:`iou`.

    0 where a class of the truth is never predicted.

    Examples
    --------
    >>> precision(np.array([[4, 0], [4, 2]]))
    array([0.5, 1. ])
    """
    shared, true, predicted = _class_pixels(counts)
    return _ratio(shared, np.where((predicted == 0) & (true > 0), 1, predicted))


def recall(counts: Int64) -> Float64:
    """Fraction of the pixels of a class that are predicted as it (sensitivity), as :func:`iou`.

    0 where a predicted class is not in the truth.

    Examples
    --------
    >>> recall(np.array([[4, 0], [3, 1]]))
    array([1.  , 0.25])
    """
    shared, true, predicted = _class_pixels(counts)
    return _ratio(shared, np.where((true == 0) & (predicted > 0), 1, true))


def mean_iou(counts: Int64) -> Float64:
    """Mean IoU over the foreground classes (label 1 and above).

    Parameters
    ----------
    counts : int64, shape (..., J, J)
        Pixels by [truth, predicted], J > 1.

    Returns
    -------
    float64, shape (...)
        In [0, 1]. Classes absent from truth and prediction are ignored; NaN if all are absent.

    Examples
    --------
    >>> float(mean_iou(np.array([[5, 1, 0], [2, 2, 0], [0, 0, 0]])))
    0.4
    """
    scores = iou(counts)[..., 1:]
    if not scores.shape[-1]:
        raise ArgumentError("mean IoU: counts have only the background, expected another class")
    present = ~np.isnan(scores)
    return _ratio(np.where(present, scores, 0.0).sum(axis=-1), present.sum(axis=-1))


def _class_pixels(counts: Int64) -> tuple[Int64, Int64, Int64]:
    """Return the pixels of each class in both masks, in truth and in prediction, (..., J)."""
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ArgumentError(
            f"overlap: counts have shape {counts.shape}, expected (..., J, J), truth by prediction"
        )
    shared = np.diagonal(counts, axis1=-2, axis2=-1)
    return shared, counts.sum(axis=-1), counts.sum(axis=-2)


def _ratio(part: Int64 | Float64, whole: Int64) -> Float64:
    """Return ``part / whole``, NaN where the whole is 0."""
    missing = np.full(np.shape(whole), np.nan)
    ratio: Float64 = np.divide(part, whole, out=missing, where=np.asarray(whole) > 0)
    return ratio


GROUP_COLUMNS = (
    "dataset",
    "dataset_id",
    "domain",
    "split",
    "arch",
    "encoder",
    "pruning",
    "fold",
    "repeat",
    "model_id",
    "shift",
    "factor",
    "clean_skips",
    "truth",
    "predicted",
)
"""Columns by which a prediction table's counts are grouped."""


@dataclass(frozen=True, slots=True)
class Score:
    """Mean IoU of one model on one split of a domain under one shift.

    Attributes
    ----------
    fold : int or None
        ``ENSEMBLE_FOLD`` for an ensemble, the mean of all trainings' class probabilities.
    repeat : int or None
        None for ensembles and external networks.
    classes : tuple of str
        Foreground classes over which the mean is taken.
    miou : float
        From counts accumulated over the split (section V); NaN if no class is present.
    """

    dataset: str
    dataset_id: str
    domain: str
    split: str
    arch: str
    encoder: str
    pruning: str
    fold: int | None
    repeat: int | None
    model_id: str
    shift: Shift
    classes: tuple[str, ...]
    miou: float

    @property
    def family(self) -> str:
        """Name of the group of rows: encoder, with the architecture unless ``unet``."""
        return architecture_family(self.arch, self.encoder)

    @property
    def network(self) -> str:
        """Label of a row: the pruning, marked for ensembles."""
        return f"{self.pruning}, ensemble" if self.fold == ENSEMBLE_FOLD else self.pruning


def scores(totals: Mapping[str, Sequence[Any]]) -> list[Score]:
    """Turn total pixel counts into scores, in order of first appearance.

    Rows with ``clean_skips`` belong to another experiment and are ignored.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns :data:`GROUP_COLUMNS` and ``pixels``, one row per group; the true classes of a
        group are in the order of their labels, background first.
    """
    groups: dict[tuple[Any, ...], dict[tuple[str, str], int]] = {}
    rows = zip(*(totals[key] for key in (*GROUP_COLUMNS, "pixels")), strict=True)
    for *key, clean_skips, truth, predicted, pixels in rows:
        if clean_skips is None:
            groups.setdefault(tuple(key), {})[truth, predicted] = pixels
    return [_score(key, cells) for key, cells in groups.items()]


def _score(key: tuple[Any, ...], cells: Mapping[tuple[str, str], int]) -> Score:
    names = list(dict.fromkeys([*(truth for truth, _ in cells), *(other for _, other in cells)]))
    matrix = np.array([[cells.get((a, b), 0) for b in names] for a in names], dtype=np.int64)
    facts = dict(zip(GROUP_COLUMNS, key, strict=False))
    shift = Shift(ShiftKind(facts.pop("shift")), facts.pop("factor"))
    return Score(**facts, shift=shift, classes=tuple(names[1:]), miou=float(mean_iou(matrix)))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (n - 1) over trainings, ignoring NaN.

    Examples
    --------
    >>> mean_and_spread([0.5, 0.75, 1.0])
    (0.75, 0.25)
    >>> mean_and_spread([0.5])
    (0.5, nan)
    """
    known: Float64 = np.array([value for value in values if not np.isnan(value)])
    mean = float(known.mean()) if known.size else math.nan
    return mean, float(known.std(ddof=1)) if known.size > 1 else math.nan
