"""Confusion counts: pixels of each truth and predicted class. All overlap scores come from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.names import IGNORE

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Int64, UInt8

__all__ = ["count"]


def count(truth: UInt8, prediction: UInt8, classes: int) -> Int64:
    """Pixels of each pair of truth and predicted class.

    Parameters
    ----------
    truth : uint8, shape (..., H, W)
        Labels 0..J-1, or 255 for pixels that are counted nowhere. Leading axes are samples.
    prediction : uint8, shape (..., H, W)
        Labels 0..J-1.
    classes : int
        Number J of classes, 1 to 255.

    Returns
    -------
    int64, shape (..., J, J)
        Pixels by [truth, predicted]: one table for each sample, to be added up over a split.

    Raises
    ------
    ArgumentError
        If shapes, types or the number of classes do not fit, or a label is not below J.

    Examples
    --------
    >>> truth = np.array([[0, 1, 1, 255]], dtype=np.uint8)
    >>> prediction = np.array([[0, 1, 0, 1]], dtype=np.uint8)
    >>> count(truth, prediction, 2)
    array([[1, 0],
           [1, 1]])
    """
    _check(truth, prediction, classes)
    # Truth label -> first cell of its row; one more row takes the ignored, another the unknown.
    rows = np.full(IGNORE + 1, classes + 1, dtype=np.uint16)
    rows[:classes] = np.arange(classes)
    rows[IGNORE] = classes
    rows *= np.uint16(classes)
    shape, cells = truth.shape[:-2], classes * (classes + 2)
    pixels = truth.shape[-2] * truth.shape[-1]
    samples = zip(truth.reshape(-1, pixels), prediction.reshape(-1, pixels), strict=True)
    counts = np.empty((*shape, classes + 2, classes), dtype=np.int64)
    for table, (true, predicted) in zip(counts.reshape(-1, cells), samples, strict=True):
        table[:] = np.bincount(np.take(rows, true) + predicted, minlength=cells)
    if counts[..., classes + 1, :].any():
        _refuse("truth", truth[truth != IGNORE], classes)
    return counts[..., :classes, :]


def _check(truth: UInt8, prediction: UInt8, classes: int) -> None:
    if not 1 <= classes <= IGNORE:
        raise ArgumentError(f"confusion: {classes} classes, expected 1 to {IGNORE}")
    fitting = truth.dtype == prediction.dtype == np.uint8 and truth.ndim >= 2
    if truth.shape != prediction.shape or not fitting or 0 in truth.shape[-2:]:
        raise ArgumentError(
            f"confusion: truth is {truth.dtype} {truth.shape}, prediction {prediction.dtype} "
            f"{prediction.shape}; expected both uint8 and of the same shape (..., H, W)"
        )
    if prediction.size and prediction.max() >= classes:
        _refuse("prediction", prediction, classes)


def _refuse(what: str, labels: AnyArray, classes: int) -> None:
    unknown = np.unique(labels[labels >= classes]).tolist()
    raise ArgumentError(
        f"confusion: {what} holds label {', '.join(map(str, unknown))}, expected 0 to "
        f"{classes - 1}{f' or {IGNORE} (ignored)' if what == 'truth' else ''}; correct the masks "
        "or the list of classes"
    )
