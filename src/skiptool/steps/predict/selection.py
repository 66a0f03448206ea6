"""Which samples are segmented, and by which models."""

from __future__ import annotations

from collections.abc import Sequence

from skiptool.names import Split
from skiptool.steps.predict.run import Loaded, Part
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.folds import FOLD, Validated, validated_samples

__all__ = ["FOLD", "SPLITS", "fold_parts", "split_parts"]

SPLITS = (*(split.value for split in Split), FOLD, "all")


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
    found, failures = validated_samples(store, domains, [model.stored for model in models])
    groups: dict[Validated, list[int]] = {}
    for number, samples in enumerate(found.values()):
        groups.setdefault(samples, []).append(number)
    parts = [
        Part(store.domain(name), indices, tuple(numbers))
        for (name, indices), numbers in groups.items()
    ]
    return [models[number] for number in found], parts, failures
