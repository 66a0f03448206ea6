"""Which domains of a dataset are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from skiptool.errors import ArgumentError
from skiptool.records import Progress
from skiptool.stores.dataset import DatasetStore, Domain

__all__ = ["chosen_domains", "tell_network"]


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
