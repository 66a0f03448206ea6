"""Which samples are segmented, and by which models."""

from __future__ import annotations

from collections.abc import Sequence

from skiptool.errors import MismatchError, SkiptoolError
from skiptool.names import Split
from skiptool.steps.predict.loading import nothing_left
from skiptool.steps.predict.run import Loaded, Part
from skiptool.stores.checkpoint import StoredModel
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.folds import training_folds

__all__ = ["FOLD", "SPLITS", "VALIDATION", "fold_parts", "split_parts"]

FOLD = "fold"
SPLITS = (*(split.value for split in Split), FOLD, "all")
VALIDATION = "validation"
"""What tables call the split of samples that a model was validated on, as its history does."""


def split_parts(domains: Sequence[Domain], split: str, models: int) -> list[Part]:
    """Return one part a domain: every model segments the samples of a split."""
    numbers = tuple(range(models))
    return [
        Part(domain, tuple(domain.select(None if split == "all" else split)), numbers)
        for domain in domains
    ]


def fold_parts(
    store: DatasetStore, domains: Sequence[Domain], models: Sequence[Loaded]
) -> tuple[list[Loaded], list[Part], list[str]]:
    """Give each model the samples that it was validated on, of its own fold and split.

    Returns
    -------
    models : list of Loaded
        Those of them whose samples are there; parts count in this list.
    parts : list of Part
        One for each fold of a domain: models of one fold share it.
    failures : list of str
        One line for each model that was trained on another split, or by others.

    Raises
    ------
    SkiptoolError
        If no model is left.
    """
    kept: list[Loaded] = []
    failed: list[SkiptoolError] = []
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for model in models:
        try:
            found = _validated(store, domains, model.stored)
        except SkiptoolError as error:
            failed.append(error)
            continue
        groups.setdefault(found, []).append(len(kept))
        kept.append(model)
    if not kept:
        raise nothing_left(failed)
    parts = [
        Part(store.domain(name), indices, tuple(numbers))
        for (name, indices), numbers in groups.items()
    ]
    return kept, parts, [str(error) for error in failed]


def _validated(
    store: DatasetStore, domains: Sequence[Domain], model: StoredModel
) -> tuple[str, tuple[int, ...]]:
    """Domain and samples that a model was validated on."""
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
