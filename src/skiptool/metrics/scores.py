"""IoU by model, domain and shift from the totals of a prediction table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.metrics.overlap import mean_iou
from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import Shift, family

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["KEYS", "Score", "mean_and_spread", "scores"]

KEYS = (
    *("dataset", "dataset_id", "domain", "split", "arch", "encoder", "pruning"),
    *("fold", "repeat", "model_id", "shift", "factor", "clean_skips", "truth", "predicted"),
)
"""Columns that the totals are taken over."""


@dataclass(frozen=True, slots=True)
class Score:
    """Mean IoU of one model on one split of a domain under one shift.

    Attributes
    ----------
    dataset, dataset_id, domain, split, arch, encoder, pruning, model_id : str
    fold : int or None
        ``ENSEMBLE_FOLD`` for the mean of all trainings' class probabilities.
    repeat : int or None
        Which training of the fold; None for an ensemble and for networks that others trained.
    shift : Shift
    classes : tuple of str
        Foreground classes that the mean is taken over.
    miou : float
        From counts accumulated over the split (section V); NaN where no class is there.
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
        """Name of the group of rows: encoder, with the architecture where it is not ``unet``."""
        return family(self.arch, self.encoder)

    @property
    def network(self) -> str:
        """Label of a row: the pruning; an ensemble stands apart from the networks it is made of."""
        return f"{self.pruning}, ensemble" if self.fold == ENSEMBLE_FOLD else self.pruning


def scores(totals: Mapping[str, Sequence[Any]]) -> list[Score]:
    """Turn total pixel counts into scores.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns :data:`KEYS` and ``pixels``, a row for each group of them; the truths of a
        group stand in the order of their labels, background first.

    Returns
    -------
    list of Score
        In the order of first appearance. Rows with ``clean_skips`` are of another experiment and
        are passed over.
    """
    groups: dict[tuple[Any, ...], dict[tuple[str, str], int]] = {}
    rows = zip(*(totals[key] for key in (*KEYS, "pixels")), strict=True)
    for *key, clean_skips, truth, predicted, pixels in rows:
        if clean_skips is None:
            groups.setdefault(tuple(key), {})[truth, predicted] = pixels
    return [_score(key, cells) for key, cells in groups.items()]


def _score(key: tuple[Any, ...], cells: Mapping[tuple[str, str], int]) -> Score:
    names = list(dict.fromkeys([*(truth for truth, _ in cells), *(other for _, other in cells)]))
    matrix = np.array([[cells.get((a, b), 0) for b in names] for a in names], dtype=np.int64)
    facts = dict(zip(KEYS, key, strict=False))
    shift = Shift(ShiftKind(facts.pop("shift")), facts.pop("factor"))
    return Score(**facts, shift=shift, classes=tuple(names[1:]), miou=float(mean_iou(matrix)))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (n - 1) over trainings; NaN left out.

    Examples
    --------
    >>> mean_and_spread([0.5, 0.75, 1.0])
    (0.75, 0.25)
    >>> mean_and_spread([0.5])
    (0.5, nan)
    """
    found: Float64 = np.array([value for value in values if not np.isnan(value)])
    mean = float(found.mean()) if found.size else float("nan")
    return mean, float(found.std(ddof=1)) if found.size > 1 else float("nan")
