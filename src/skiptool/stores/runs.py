"""Folders of artifacts: one path that stands for all models, or all feature stores, below it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from skiptool.names import Kind
from skiptool.stores.checkpoint import CONFIG, WEIGHTS

__all__ = ["by_numbers", "feature_folder", "is_store", "model_folders"]

_ZARR = ("zarr.json", ".zgroup", ".zarray")
"""One of these stands in every Zarr store, of either format."""


def model_folders(paths: Sequence[Path]) -> list[Path]:
    """Replace each folder that holds model folders by these.

    Parameters
    ----------
    paths : sequence of Path
        Model folders, and folders with models below them at any depth.

    Returns
    -------
    list of Path
        In the order given; those of one folder sorted by name, numbers in names by their value.
        What holds no model stays as it is: opening it says what is wrong. Hidden folders (a
        training that still runs) and stores are passed over, links to folders are not followed
        unless they lead to a model.
    """
    return [model for path in paths for model in sorted(_below(path), key=by_numbers) or [path]]


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


def feature_folder(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Find the feature stores, and stores of their counts, below a folder, at any depth.

    Parameters
    ----------
    folder : Path
        No store itself.

    Returns
    -------
    stores : list of Path
        Zarr stores but those that say they are something else, sorted by name, numbers in names by
        their value; where there are none, the ``.npy`` files.
    left_out : tuple of str
        What else lies there, counted: ``2 of kind dataset``, ``1 unfinished``.
    """
    stores: list[Path] = []
    files: list[Path] = []
    others: Counter[str] = Counter()
    for path in _entries(folder):
        if path.name.startswith("."):
            others["unfinished"] += path.name.endswith(".zarr.partial")
        elif path.is_dir():
            kind = _kind(path)
            if kind in (None, Kind.FEATURES.value, Kind.COUNTS.value):
                stores.append(path)
            else:
                others[f"of kind {kind}"] += 1
        elif path.suffix == ".npy":
            files.append(path)
    if stores and files:
        others[".npy files"] += len(files)
    left_out = tuple(f"{number} {what}" for what, number in others.items() if number)
    return sorted(stores or files, key=by_numbers), left_out


def _entries(folder: Path) -> Iterator[Path]:
    """Yield stores, hidden entries and files; links to folders lead to stores only."""
    for child in folder.iterdir():
        if child.name.startswith(".") or not child.is_dir() or is_store(child):
            yield child
        elif not child.is_symlink():
            yield from _entries(child)


def is_store(path: Path) -> bool:
    """Say whether a folder is a Zarr store."""
    return any((path / name).is_file() for name in _ZARR)


def _kind(store: Path) -> str | None:
    """Return what a Zarr store says it is, None where it says nothing or cannot be read."""
    try:
        found = json.loads((store / "zarr.json").read_bytes())["attributes"]["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) and found in tuple(Kind) else None


def _is_model(path: Path) -> bool:
    """Say whether it is one, or what is left of one: that is named when it is opened."""
    return any((path / name).is_file() for name in (CONFIG, WEIGHTS))


def by_numbers(path: Path) -> list[tuple[int, str]]:
    """Sort paths by it: numbers in names by their value."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)]
