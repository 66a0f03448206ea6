"""Folders of runs: one path that stands for all models below it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from skiptool.stores.checkpoint import CONFIG, WEIGHTS

__all__ = ["model_folders"]


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
    return [model for path in paths for model in sorted(_below(path), key=_order) or [path]]


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


def _is_model(path: Path) -> bool:
    """Say whether it is one, or what is left of one: that is named when it is opened."""
    return any((path / name).is_file() for name in (CONFIG, WEIGHTS))


def _order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)]
