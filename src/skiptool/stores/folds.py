"""Which stored samples a model is trained on and which it is validated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.names import Split
from skiptool.splits import assign_folds, split_hash
from skiptool.stores.dataset import DatasetStore, Domain

if TYPE_CHECKING:
    from skiptool.records import Int64

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
    """

    store: DatasetStore
    domain: Domain
    fold: Int64
    hash: str

    @property
    def numbers(self) -> list[int]:
        """The folds there are."""
        return sorted(set(self.fold[self.fold >= 0].tolist()))

    def parts(self, fold: int) -> tuple[list[int], list[int]]:
        """Return the indices of the samples to train on and of those to validate on.

        Raises
        ------
        ArgumentError
            If either is empty.
        """
        index = np.arange(len(self.fold))
        train = index[(self.fold >= 0) & (self.fold != fold)].tolist()
        validation = index[self.fold == fold].tolist()
        if fold < 0 or not train or not validation:
            raise ArgumentError(
                f"--fold {fold}: nothing to train or to validate on; the folds of "
                f"{self.store.path}, domain {self.domain.name}, are {self.numbers}"
            )
        return train, validation


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
    """
    holding = [name for name, found in store.domains.items() if found.select("train")]
    if domain is None and len(holding) != 1:
        raise ArgumentError(
            f"{store.path}: training samples in {len(holding)} domains "
            f"({', '.join(holding) or 'none'}); name one with --domain"
        )
    chosen = store.domain(holding[0] if domain is None else domain)
    train = chosen.columns["split"] == Split.TRAIN.value
    if not train.any():
        raise ArgumentError(
            f"{store.path}: domain {chosen.name} holds no training samples; those that do: "
            f"{', '.join(holding) or 'none'}"
        )
    fold = np.where(train, chosen.columns["fold"], -1).astype(np.int64)
    if folds is not None:
        strata = chosen.columns.get("cells", chosen.columns.get("foreground"))
        strata = np.zeros(len(chosen)) if strata is None else strata
        fold[train] = assign_folds(chosen.columns["subject"][train], strata[train], folds, seed)
    ids, subjects = chosen.columns["id"], chosen.columns["subject"]
    return TrainingFolds(store, chosen, fold, split_hash(ids, subjects, fold))
