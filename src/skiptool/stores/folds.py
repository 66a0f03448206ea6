"""Which stored samples a model is trained on and which it is validated on.

Where training patches were drawn several times (the column ``draw``), each epoch trains on one
draw, and validation stays with draw 0: its images are the same in every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from reprlib import repr as brief
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Split
from skiptool.splits import assign_folds, split_hash
from skiptool.stores.dataset import DatasetStore, Domain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skiptool.records import Bool, Int64

__all__ = ["TrainingFolds", "training_folds"]


@dataclass(frozen=True, slots=True)
class TrainingFolds:
    """The training samples of one domain and their validation folds.

    Attributes
    ----------
    store : DatasetStore
    domain : Domain
    fold : int64 (N,)
        Fold of every sample of the domain, -1 for those not trained on.
    hash : str
        Digest of the assignment, recorded with every model.
    draw : int64 (N,)
        Draw 0..E-1 of every training sample, 0 where there is but one; -1 for the others.
    """

    store: DatasetStore
    domain: Domain
    fold: Int64
    hash: str
    draw: Int64

    @property
    def numbers(self) -> list[int]:
        """The folds there are."""
        return sorted(set(self.fold[self.fold >= 0].tolist()))

    @property
    def draws(self) -> int:
        """Number E of draws of training samples."""
        return int(self.draw.max()) + 1

    def parts(self, fold: int) -> tuple[list[int], list[int]]:
        """Return the indices of the samples to train on, and of those of draw 0 to validate on.

        Raises
        ------
        ArgumentError
            If either is empty.
        FormatError
            If a draw has no sample in the part it is needed for.
        """
        held = self.fold == fold
        train = np.flatnonzero((self.fold >= 0) & ~held)
        validation = np.flatnonzero(held & (self.draw == 0))
        if fold < 0 or not train.size or not held.any():
            subjects = {*self.domain.columns["subject"][self.fold >= 0].tolist()}
            if len(subjects) < 2:
                raise ArgumentError(
                    f"{self.store.path}: domain {self.domain.name} has {len(subjects)} training "
                    "subject, and training takes at least two: one to train on, one to validate "
                    "on; extract more subjects"
                )
            raise ArgumentError(
                f"--fold {fold}: nothing to train or to validate on; the folds of "
                f"{self.store.path}, domain {self.domain.name}, are {self.numbers}"
            )
        lacking = sorted({*range(self.draws)} - {*self.draw[train].tolist()})
        if lacking or not validation.size:
            side = f"draw {lacking[0]} has none outside" if lacking else "draw 0 has none in"
            raise FormatError(
                f"{self.store.path}: domain {self.domain.name}, training samples: {side} fold "
                f"{fold}, expected every draw to hold all subjects; extract the dataset again"
            )
        return train.tolist(), validation.tolist()

    def by_draw(self, indices: Sequence[int]) -> list[list[int]]:
        """Return for each draw which of ``indices``, counted from 0, are of it."""
        draw = self.draw[list(indices)]
        return [np.flatnonzero(draw == each).tolist() for each in range(self.draws)]


def training_folds(
    store: DatasetStore, domain: str | None, folds: int | None, seed: int
) -> TrainingFolds:
    """Choose the domain to train on and its folds.

    Parameters
    ----------
    store : DatasetStore
    domain : str, optional
        Needed where several domains hold training samples.
    folds : int, optional
        Deal the subjects out to so many folds instead of taking the stored ones.
    seed : int
        Of that dealing.

    Raises
    ------
    ArgumentError
        If the domain is unknown or ambiguous, holds no training samples, or there are fewer
        subjects than folds.
    FormatError
        If no domain holds training samples, or their draws are not numbered 0..E-1.
    """
    holding = [name for name, found in store.domains.items() if found.select("train")]
    if not holding:
        raise FormatError(
            f"{store.path}: holds no training samples in any domain ({', '.join(store.domains)}), "
            "expected some to train on; make it with a smaller test fraction, or a split of yours"
        )
    if domain is None and len(holding) != 1:
        raise ArgumentError(
            f"{store.path}: training samples in {len(holding)} domains "
            f"({', '.join(holding)}); name one with --domain"
        )
    chosen = store.domain(holding[0] if domain is None else domain)
    train = chosen.columns["split"] == Split.TRAIN.value
    if not train.any():
        raise ArgumentError(
            f"{store.path}: domain {chosen.name} holds no training samples; those that do: "
            f"{', '.join(holding)}"
        )
    fold = np.where(train, chosen.columns["fold"], -1).astype(np.int64)
    if folds is not None:
        strata = chosen.columns.get("cells", chosen.columns.get("foreground"))
        strata = np.zeros(len(chosen)) if strata is None else strata
        fold[train] = assign_folds(chosen.columns["subject"][train], strata[train], folds, seed)
    ids, subjects = chosen.columns["id"], chosen.columns["subject"]
    draw = _draws(chosen, train, f"{store.path}: domain {chosen.name}")
    return TrainingFolds(store, chosen, fold, split_hash(ids, subjects, fold), draw)


def _draws(domain: Domain, train: Bool, where: str) -> Int64:
    column = domain.columns.get("draw", np.zeros(len(domain), dtype=np.int64))
    values = set(column[train].tolist())
    if len(values) == 1:  # all are of one draw, whatever it is called
        return np.where(train, 0, -1)
    if column.dtype.kind not in "iu" or values != set(range(len(values))):
        raise FormatError(
            f"{where}, column draw: training samples hold {brief(sorted(values))}, expected whole "
            f"numbers from 0 to {len(values) - 1}; extract the dataset again"
        )
    return np.where(train, column, -1).astype(np.int64)
