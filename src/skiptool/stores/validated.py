"""The samples that a model was validated on: those of its own fold, of its own split of the data.

``predict --split fold`` and ``features --split fold`` read them; so the distances and the scores of
a model can be of the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from skiptool.errors import MismatchError, SkiptoolError, SourceError
from skiptool.stores.checkpoint import StoredModel
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.folds import training_folds

__all__ = ["FOLD", "Validated", "nothing_left", "validated_samples"]

FOLD = "fold"
"""Value of ``--split`` that asks for these samples."""

Validated: TypeAlias = tuple[str, tuple[int, ...]]
"""Name of a domain, and which of its samples."""


def validated_samples(
    store: DatasetStore, domains: Sequence[Domain], models: Sequence[StoredModel]
) -> tuple[dict[int, Validated], list[str]]:
    """Find the validation fold of each model.

    Parameters
    ----------
    store : DatasetStore
    domains : sequence of Domain
        Those that may be read.
    models : sequence of StoredModel

    Returns
    -------
    found : dict of int to (str, tuple of int)
        Domain and samples by the number of the model, without the models that are refused.
    failures : list of str
        One line for each model that was trained on another split of the data, or elsewhere.

    Raises
    ------
    SkiptoolError
        If no model is left.
    """
    found: dict[int, Validated] = {}
    failed: list[SkiptoolError] = []
    for number, model in enumerate(models):
        try:
            found[number] = _validated(store, domains, model)
        except SkiptoolError as error:
            failed.append(error)
    if failed and not found:
        raise nothing_left(failed)
    return found, [str(error) for error in failed]


def nothing_left(failed: Sequence[SkiptoolError]) -> SkiptoolError:
    """Return what to raise where no model can be used."""
    if len(failed) == 1:
        return failed[0]
    return SourceError(f"all {len(failed)} models failed, the first: {failed[0]}")


def _validated(store: DatasetStore, domains: Sequence[Domain], model: StoredModel) -> Validated:
    if model.lineage is None or model.fold is None:
        raise MismatchError(
            f"{model.path}: does not say which fold it was validated on, --split {FOLD} needs a "
            "model of 'skiptool train'; choose another --split"
        )
    how = model.lineage.parameters
    name, folds, seed = how.get("domain"), how.get("folds"), how.get("seed", 0)
    if name not in store.domains or not isinstance(seed, int):
        raise MismatchError(
            f"{model.path}: was trained on a domain {name!r} that {store.path} does not have; give "
            "the data it was trained on"
        )
    if name not in [domain.name for domain in domains]:
        raise MismatchError(
            f"{model.path}: has its validation fold in domain {name}, which --domain leaves out"
        )
    plan = training_folds(store, name, folds if isinstance(folds, int) else None, seed)
    if plan.hash != model.config.get("split_hash"):
        raise MismatchError(
            f"{model.path}: was trained on another split than that of {store.path}, domain {name}; "
            "give the data it was trained on, or choose another --split"
        )
    return name, tuple(plan.parts(model.fold)[1])
