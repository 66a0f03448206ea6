"""Activations by path: find feature stores and counts stores, open them, check for changes.

Zarr is imported only when a store is opened, not for ``.npy`` files.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.addresses import join_url, last_part, path_or_url
from skiptool.stores.arrays import FeatureStore, is_numpy_file, open_numpy_file
from skiptool.stores.copies import ZARR


def open_activations(place: Path | str) -> FeatureStore:
    """Open features or counts of them; see :func:`skiptool.stores.features.open_features`."""
    path = path_or_url(place)
    if is_numpy_file(path):
        return open_numpy_file(path)
    from skiptool.stores.counts import open_features_or_counts  # lazy: it imports Zarr

    return open_features_or_counts(place)


def check_unchanged(opened: FeatureStore) -> None:
    """Refuse a local store that was changed, replaced or deleted while it was read.

    Activations are read during a run; deleted chunks would be read as zeros. Behind a URL, lost
    chunks are detected when they are read.
    """
    if isinstance(opened.place, str):
        return
    reopened = open_activations(opened.place)
    if reopened.stamp != opened.stamp:
        raise FormatError(f"{opened.where}: was changed while it was read; run again")
    if opened.lineage is not None and reopened.id != opened.id:
        raise FormatError(
            f"{opened.where}: was replaced while it was read (its id was {opened.id}, is "
            f"{reopened.id}); run again"
        )


def find_feature_stores(folder: Path | str) -> tuple[list[Path | str], tuple[str, ...]]:
    """Find the feature stores, and stores of their counts, below a folder, at any depth.

    Returns
    -------
    stores : list of Path or str
        Zarr stores of these kinds or without a kind, sorted by name, numbers in names by value; if
        there are none, the ``.npy`` files.
    left_out : tuple of str
        Numbers of other entries: ``2 of kind dataset``, ``1 unfinished``.
    """
    stores: list[Path | str] = []
    files: list[Path | str] = []
    others: Counter[str] = Counter()
    entries: Iterable[tuple[Path | str, bool]]
    if isinstance(folder, Path):
        entries = _local_entries(folder)
    else:
        from skiptool.stores.transfers import entries_below  # lazy: it imports Zarr

        roots = (None, "", *ZARR)
        entries = ((url, root is not None) for url, root in entries_below(folder) if root in roots)
    for path, is_folder in entries:
        name = last_part(path)
        if name.startswith("."):
            others["unfinished"] += name.endswith(".zarr.partial")
        elif is_folder:
            kind = _kind(path)
            if kind in (None, Kind.FEATURES.value, Kind.COUNTS.value):
                stores.append(path)
            else:
                others[f"of kind {kind}"] += 1
        elif name.endswith(".npy"):
            files.append(path)
    if stores and files:
        others[".npy files"] += len(files)
    left_out = tuple(f"{number} {entry}" for entry, number in others.items() if number)
    return sorted(stores or files, key=natural_order), left_out


def _local_entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield stores, hidden entries and files below a folder, and whether each is a folder.

    Links to folders are followed only if they lead to stores.
    """
    for child in folder.iterdir():
        if child.name.startswith(".") or not child.is_dir() or is_store(child):
            yield child, child.is_dir()
        elif not child.is_symlink():
            yield from _local_entries(child)


def is_folder(place: Path | str) -> bool:
    """Return whether a path or URL is a folder of stores, not a store or file."""
    path = path_or_url(place)
    if isinstance(path, str):
        from skiptool.stores.transfers import is_folder_at  # lazy: it imports Zarr

        return is_folder_at(path)
    return path.is_dir() and not is_store(path)


def is_store(path: Path) -> bool:
    """Return whether a folder is a Zarr store."""
    return any((path / name).is_file() for name in ZARR)


def _kind(store: Path | str) -> str | None:
    """Return the kind that a Zarr store declares, or None if it has none or cannot be read."""
    try:
        if isinstance(store, Path):
            text = (store / "zarr.json").read_bytes()
        else:
            from skiptool.stores.remote import fetch_file  # lazy: it imports Zarr

            text = fetch_file(join_url(store, "zarr.json"))
        kind = json.loads(text)["attributes"]["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, FormatError):
        return None
    return kind if isinstance(kind, str) and kind in tuple(Kind) else None


def natural_order(path: Path | str) -> list[tuple[int, str]]:
    """Sort key of paths: numbers in names by value."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)]
