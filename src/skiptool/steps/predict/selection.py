"""Which samples are segmented, and by which models."""

from __future__ import annotations

from collections.abc import Sequence

from skiptool.errors import ArgumentError, near
from skiptool.names import Split
from skiptool.records import Progress
from skiptool.steps.predict.run import Loaded, Part
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.domains import chosen_domains
from skiptool.stores.validated import FOLD, Validated, validated_samples

__all__ = ["FOLD", "SPLITS", "domains_of", "fold_parts", "split_parts"]

SPLITS = (*(split.value for split in Split), FOLD, "all")


def domains_of(
    stores: Sequence[DatasetStore], names: Sequence[str], split: str, progress: Progress
) -> list[tuple[DatasetStore, list[Domain]]]:
    """Return the domains to read of each store; a name need not be in all of several stores.

    Raises
    ------
    ArgumentError
        If a domain is in no store, named twice, or holds no sample of the split, or a store has
        none of them.
    """
    held = Split.TRAIN.value if split == FOLD else split
    if len(stores) == 1:
        return [(stores[0], chosen_domains(stores[0], names, held, progress))]
    known = [name for store in stores for name in store.domains]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ArgumentError(
            f"--domain {unknown[0]}: in none of {', '.join(str(store.path) for store in stores)}, "
            f"they have {', '.join(dict.fromkeys(known))}{near(unknown[0], known)}"
        )
    found = []
    for store in stores:
        own = [name for name in names if name in store.domains]
        if names and not own:
            raise ArgumentError(
                f"--data {store.path}: has none of the domains {', '.join(names)}; leave it out"
            )
        found.append((store, chosen_domains(store, own, held, progress)))
    return found


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
    for place, samples in enumerate(found.values()):
        groups.setdefault(samples, []).append(place)
    parts = [
        Part(store.domain(name), indices, tuple(numbers))
        for (name, indices), numbers in groups.items()
    ]
    return [models[number] for number in found], parts, failures
