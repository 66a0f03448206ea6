"""Training and validation samples of a model, by fold.

If training patches were drawn several times (see the column ``draw``), each epoch trains on one
draw, while validation always uses draw 0: the same images in every epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as brief
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skiptool.errors import ArgumentError, FormatError, MismatchError, SkiptoolError, SourceError
from skiptool.names import Split
from skiptool.splits import assign_folds, split_hash
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.models import StoredModel

if TYPE_CHECKING:
    from skiptool.records import Bool, Int64


@dataclass(frozen=True, slots=True)
class TrainingFolds:
    """The training samples of one domain and their validation folds.

    Attributes
    ----------
    fold : int64 (N,)
        Fold of every sample of the domain, -1 if not a training sample.
    hash : str
        Digest of the assignment, recorded with every model.
    draw : int64 (N,)
        Draw 0..E-1 of every training sample, 0 if there is only one; -1 for the others.
    """

    store: DatasetStore
    domain: Domain
    fold: Int64
    hash: str
    draw: Int64

    @property
    def fold_numbers(self) -> list[int]:
        """Numbers of the existing folds."""
        return sorted(set(self.fold[self.fold >= 0].tolist()))

    @property
    def draws(self) -> int:
        """Number E of draws of training samples."""
        return int(self.draw.max()) + 1

    def split(self, fold: int) -> tuple[list[int], list[int]]:
        """Return the indices of the training samples and of the validation samples (draw 0).

        Neither may be empty, and every draw must have training samples.
        """
        held_out = self.fold == fold
        train = np.flatnonzero((self.fold >= 0) & ~held_out)
        validation = np.flatnonzero(held_out & (self.draw == 0))
        if fold < 0 or not train.size or not held_out.any():
            subjects = {*self.domain.columns["subject"][self.fold >= 0].tolist()}
            if len(subjects) < 2:
                raise ArgumentError(
                    f"{self.store.path}: domain {self.domain.name} has {len(subjects)} training "
                    "subject, and training needs at least two: one to train on, one to validate "
                    "on; extract more subjects"
                )
            raise ArgumentError(
                f"--fold {fold}: nothing to train or to validate on; the folds of "
                f"{self.store.path}, domain {self.domain.name}, are {self.fold_numbers}"
            )
        missing = sorted({*range(self.draws)} - {*self.draw[train].tolist()})
        if missing or not validation.size:
            side = f"draw {missing[0]} has none outside" if missing else "draw 0 has none in"
            raise FormatError(
                f"{self.store.path}: domain {self.domain.name}, training samples: {side} fold "
                f"{fold}, expected every draw to hold all subjects; extract the dataset again"
            )
        return train.tolist(), validation.tolist()

    def group_by_draw(self, indices: Sequence[int]) -> list[list[int]]:
        """Group positions in ``indices`` by draw."""
        draw = self.draw[list(indices)]
        return [np.flatnonzero(draw == number).tolist() for number in range(self.draws)]


def training_folds(
    store: DatasetStore, domain: str | None, folds: int | None, seed: int
) -> TrainingFolds:
    """Choose the domain to train on and its folds.

    Parameters
    ----------
    domain : str, optional
        Required if several domains have training samples.
    folds : int, optional
        Assign the subjects to this many new folds instead of using the stored ones.
    seed : int
        Of the new assignment.

    Raises
    ------
    ArgumentError
        If the domain is unknown or ambiguous, or has no training samples, or there are fewer
        subjects than folds.
    FormatError
        If no domain has training samples, or their draws are not numbered 0..E-1.
    """
    candidates = [name for name, candidate in store.domains.items() if candidate.select("train")]
    if not candidates:
        raise FormatError(
            f"{store.path}: holds no training samples in any domain ({', '.join(store.domains)}), "
            "expected some to train on; make it with a smaller test fraction, or your own split"
        )
    if domain is None and len(candidates) != 1:
        raise ArgumentError(
            f"{store.path}: training samples in {len(candidates)} domains "
            f"({', '.join(candidates)}); name one with --domain"
        )
    chosen = store.domain(candidates[0] if domain is None else domain)
    train = chosen.columns["split"] == Split.TRAIN.value
    if not train.any():
        raise ArgumentError(
            f"{store.path}: domain {chosen.name} holds no training samples; those that do: "
            f"{', '.join(candidates)}"
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
    if len(values) == 1:  # a single draw, with any number
        return np.where(train, 0, -1)
    if column.dtype.kind not in "iu" or values != set(range(len(values))):
        raise FormatError(
            f"{where}, column draw: training samples hold {brief(sorted(values))}, expected whole "
            f"numbers from 0 to {len(values) - 1}; extract the dataset again"
        )
    return np.where(train, column, -1).astype(np.int64)


# Validation samples of trained models

FOLD = "fold"
"""Value of ``--split`` that selects the validation fold of each model."""


class ValidationSamples(NamedTuple):
    """Name of a domain, and indices of its samples."""

    domain: str
    indices: tuple[int, ...]


def find_validation_samples(
    store: DatasetStore, domains: Sequence[Domain], models: Sequence[StoredModel]
) -> tuple[dict[int, ValidationSamples], list[str]]:
    """Find the validation samples of each model: its fold of the split it was trained with.

    ``predict --split fold`` and ``features --split fold`` read them, so that distances and scores
    of a model are of the same images.

    Parameters
    ----------
    domains : sequence of Domain
        Those that may be read.

    Returns
    -------
    samples : dict of int to ValidationSamples
        By the position of the model, without refused models.
    failures : list of str
        One line for each refused model, which was trained on other data or with another split.

    Raises
    ------
    SkiptoolError
        If no model is left.
    """
    samples: dict[int, ValidationSamples] = {}
    errors: list[SkiptoolError] = []
    for number, model in enumerate(models):
        try:
            samples[number] = _validation_samples(store, domains, model)
        except SkiptoolError as error:
            errors.append(error)
    if errors and not samples:
        raise all_failed_error(errors)
    return samples, [str(error) for error in errors]


def all_failed_error(failed: Sequence[SkiptoolError]) -> SkiptoolError:
    """Return the error to raise if every model failed."""
    if len(failed) == 1:
        return failed[0]
    return SourceError(f"all {len(failed)} models failed, the first: {failed[0]}")


def _validation_samples(
    store: DatasetStore, domains: Sequence[Domain], model: StoredModel
) -> ValidationSamples:
    if model.lineage is None or model.fold is None:
        raise MismatchError(
            f"{model.path}: does not say which fold it was validated on, --split {FOLD} needs a "
            "model of 'skiptool train'; choose another --split"
        )
    parameters = model.lineage.parameters
    name, folds = parameters.get("domain"), parameters.get("folds")
    seed = parameters.get("seed", 0)
    if name not in store.domains or not isinstance(seed, int):
        raise MismatchError(
            f"{model.path}: was trained on a domain {name!r} that {store.path} does not have; give "
            "the data it was trained on"
        )
    if name not in [domain.name for domain in domains]:
        raise MismatchError(
            f"{model.path}: has its validation fold in domain {name}, which --domain leaves out"
        )
    assignment = training_folds(store, name, folds if isinstance(folds, int) else None, seed)
    if assignment.hash != model.config.get("split_hash"):
        raise MismatchError(
            f"{model.path}: was trained on another split than that of {store.path}, domain {name}; "
            "give the data it was trained on, or choose another --split"
        )
    _, validation = assignment.split(model.fold)
    return ValidationSamples(name, tuple(validation))
