"""Folders of artifacts: one path that stands for all models, or all feature stores, below it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.addresses import below, last_part, located
from skiptool.stores.checkpoint import CONFIG, WEIGHTS
from skiptool.stores.fetching import ZARR, entries_at, fetch_models, is_folder_at, models_at
from skiptool.stores.remote import fetched

__all__ = ["by_numbers", "feature_folder", "is_folder", "is_store", "model_folders", "model_places"]


def model_folders(places: Sequence[Path | str]) -> list[Path]:
    """Replace each folder that holds model folders by these, and each URL by a copy.

    Parameters
    ----------
    places : sequence of Path or str
        Model folders, and folders with models below them at any depth; local or URLs.

    Returns
    -------
    list of Path
        In the order given; those of one folder sorted by name, numbers in names by their value.
        What holds no model stays as it is: opening it says what is wrong. Hidden folders (a
        training that still runs) and stores are passed over, links to folders are not followed
        unless they lead to a model.

    Raises
    ------
    FormatError
        If there is no model at a URL, or none below that of a host that lists folders.
    SourceError, ArgumentError
        If a URL cannot be read, or the copy does not fit on the disk.
    """
    found: list[Path] = []
    for place in map(located, places):
        if isinstance(place, Path):
            found += _models_below(place)
        else:
            found += sorted(fetch_models(place), key=by_numbers)
    return found


def model_places(places: Sequence[Path | str]) -> list[Path | str]:
    """Replace each folder that holds model folders by these, as `model_folders`; fetch nothing.

    Returns
    -------
    list of Path or str
        Paths of the local ones, URLs of the others.

    Raises
    ------
    FormatError, SourceError, ArgumentError
        See `model_folders`.
    """
    found: list[Path | str] = []
    for place in map(located, places):
        if isinstance(place, Path):
            found += _models_below(place)
        else:
            found += sorted(models_at(place), key=by_numbers)
    return found


def _models_below(path: Path) -> list[Path]:
    """Return what ``model_folders`` does, of one local folder."""
    return sorted(_below(path), key=by_numbers) or [path]


def _below(path: Path) -> Iterator[Path]:
    if _is_model(path):
        yield path
        return
    if not path.is_dir() or (path / "zarr.json").is_file():
        return
    for child in path.iterdir():
        if child.name.startswith(".") or not child.is_dir():
            continue
        if _is_model(child) or not child.is_symlink():
            yield from _below(child)


def feature_folder(folder: Path | str) -> tuple[list[Path | str], tuple[str, ...]]:
    """Find the feature stores, and stores of their counts, below a folder, at any depth.

    Parameters
    ----------
    folder : Path or str
        No store itself; a local path, or a URL.

    Returns
    -------
    stores : list of Path or str
        Zarr stores but those that say they are something else, sorted by name, numbers in names by
        their value; where there are none, the ``.npy`` files.
    left_out : tuple of str
        What else lies there, counted: ``2 of kind dataset``, ``1 unfinished``.

    Raises
    ------
    FormatError
        If a web server is to list a folder.
    SourceError, ArgumentError
        If a URL cannot be read.
    """
    stores: list[Path | str] = []
    files: list[Path | str] = []
    others: Counter[str] = Counter()
    found = _entries(folder) if isinstance(folder, Path) else _entries_at(folder)
    for path, is_folder in found:
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
    left_out = tuple(f"{number} {what}" for what, number in others.items() if number)
    return sorted(stores or files, key=by_numbers), left_out


def _entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield stores, hidden entries and files, and whether each is a folder.

    Links to folders lead to stores only.
    """
    for child in folder.iterdir():
        if child.name.startswith(".") or not child.is_dir() or is_store(child):
            yield child, child.is_dir()
        elif not child.is_symlink():
            yield from _entries(child)


def _entries_at(url: str) -> Iterator[tuple[str, bool]]:
    """Yield what :func:`_entries` does, of a folder at a URL."""
    return ((path, root is not None) for path, root in entries_at(url) if root in (None, "", *ZARR))


def is_folder(place: Path | str) -> bool:
    """Say whether a path or URL is that of a folder of stores, not of a store or file.

    Raises
    ------
    SourceError, ArgumentError
        If a URL cannot be read.
    """
    here = located(place)
    if isinstance(here, str):
        return is_folder_at(here)
    return here.is_dir() and not is_store(here)


def is_store(path: Path) -> bool:
    """Say whether a folder is a Zarr store."""
    return any((path / name).is_file() for name in ZARR)


def _kind(store: Path | str) -> str | None:
    """Return what a Zarr store says it is, None where it says nothing or cannot be read."""
    try:
        if isinstance(store, Path):
            text = (store / "zarr.json").read_bytes()
        else:
            text = fetched(below(store, "zarr.json"))
        found = json.loads(text)["attributes"]["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, FormatError):
        return None
    return found if isinstance(found, str) and found in tuple(Kind) else None


def _is_model(path: Path) -> bool:
    """Say whether it is one, or what is left of one: that is named when it is opened."""
    return any((path / name).is_file() for name in (CONFIG, WEIGHTS))


def by_numbers(path: Path | str) -> list[tuple[int, str]]:
    """Sort paths by it: numbers in names by their value."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)]
