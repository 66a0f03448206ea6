"""Which domains of a dataset are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from skiptool.errors import ArgumentError, near
from skiptool.records import Progress
from skiptool.stores.dataset import DatasetStore, Domain

__all__ = ["chosen_domains", "domains_of", "tell_network"]


def chosen_domains(
    store: DatasetStore, names: Sequence[str], split: str, progress: Progress
) -> list[Domain]:
    """Return the domains to read: those named, or all that hold samples of the split.

    Parameters
    ----------
    store : DatasetStore
    names : sequence of str
        None means all; what is left out of them is warned of.
    split : str
        ``train``, ``test`` or ``all``.
    progress : Progress

    Raises
    ------
    ArgumentError
        If a domain is unknown, named twice, or holds no sample of the split.
    """
    if len(set(names)) < len(names):
        raise ArgumentError("a domain is given twice, its pixels would count twice; drop one")
    domains = [store.domain(name) for name in names or store.domains]
    wanted = None if split == "all" else split
    empty = [domain.name for domain in domains if not domain.select(wanted)]
    if empty and (names or len(empty) == len(domains)):
        raise ArgumentError(
            f"{store.path}: domain {empty[0]} has no {split} samples; choose by --domain, --split"
        )
    if empty:
        progress.warn(f"{store.path}: no {split} samples in {', '.join(empty)}; left out")
    return [domain for domain in domains if domain.name not in empty]


def domains_of(
    stores: Sequence[DatasetStore], names: Sequence[str], split: str, progress: Progress
) -> list[tuple[DatasetStore, list[Domain]]]:
    """Return the domains to read of each store; a name need not be in all of several stores.

    Parameters
    ----------
    stores : sequence of DatasetStore
    names, split, progress
        As in `chosen_domains`.

    Raises
    ------
    ArgumentError
        If a domain is in no store, named twice, or holds no sample of the split, or a store has
        none of them.
    """
    if len(stores) == 1:
        return [(stores[0], chosen_domains(stores[0], names, split, progress))]
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
        found.append((store, chosen_domains(store, own, split, progress)))
    return found


def tell_network(
    store: DatasetStore, read: Iterable[tuple[Domain, int]], progress: Progress
) -> None:
    """Say how much is going to be read of a dataset behind a URL; nothing of a local one.

    Parameters
    ----------
    store : DatasetStore
    read : iterable of (Domain, int)
        Domains, and how many of their samples.
    progress : Progress
    """
    if isinstance(store.place, str):
        size = sum(domain.sample_bytes * count for domain, count in read)
        progress.say(
            f"{store.path}: is read over the network, {size:,} bytes before compression; copy it "
            "to this machine first if you read it often"
        )
