"""``skiptool info``: what an artifact is, what made it, and whether every byte is sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skiptool.errors import FormatError, SkiptoolError
from skiptool.names import Kind
from skiptool.records import SILENT, Outcome, Progress, as_paths
from skiptool.stores.checkpoint import open_model
from skiptool.stores.dataset import open_dataset
from skiptool.stores.failures import kept_failures
from skiptool.stores.features import open_features
from skiptool.stores.header import FORMAT_VERSIONS
from skiptool.stores.lookup import kind_of, lineage_of
from skiptool.stores.masks import open_masks
from skiptool.stores.overlays import open_overlays
from skiptool.stores.soundness import check_sound
from skiptool.stores.tables import open_table

__all__ = ["describe"]


def describe(
    paths: Sequence[Path | str] | Path | str,
    *,
    command: bool = False,
    check: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Describe artifacts.

    Parameters
    ----------
    paths : sequence of Path or str
        Stores, tables, model folders.
    command : bool
        Print only the command that would make each again.
    check : bool
        Read every byte and compare checksums, ids and seals; say what is damaged and what is whole.
    progress : Progress

    Returns
    -------
    Outcome
        Text: key and value lines for each path. Summary: the same as JSON types, by path.
        Failures: paths that could not be described, or whose check failed.

    Raises
    ------
    FormatError
        If no path could be described.
    """
    places = as_paths(paths)
    found: dict[str, Any] = {}
    failures: list[str] = []
    with progress.task("info", len(places)) as task:
        for path in places:
            try:
                found[str(path)] = _describe(path, check)
            except SkiptoolError as error:
                failures.append(str(error))
            task.advance(note=path.name)
    if not found:
        raise FormatError("; ".join(failures))
    text = "\n\n".join(
        _command(entry) if command else _lines(path, entry) for path, entry in found.items()
    )
    return Outcome(summary=found, failures=tuple(failures), text=text)


def _describe(path: Path, check: bool) -> dict[str, Any]:
    kind = kind_of(path)
    if kind not in _INSIDE:
        raise FormatError(f"{path}: says that it is a {kind.value}, which is no store or table")
    sealed = check and check_sound(path, kind)
    header = lineage_of(path)
    entry: dict[str, Any] = {"kind": kind.value, **_INSIDE[kind](path)}
    entry["lineage"] = None if header is None else header.as_json()
    if header is not None and header.format_version < FORMAT_VERSIONS[kind]:
        entry["older_format"] = (
            f"{header.format_version}; this version writes {FORMAT_VERSIONS[kind]}, in which some "
            "numbers mean something else (CHANGELOG.md); make it again to compare them"
        )
    if check:
        entry["check"] = "every byte read, checksums " + (
            "and seals hold" if sealed else "hold; metadata has no seal"
        )
    return entry


def _dataset(path: Path) -> dict[str, Any]:
    store = open_dataset(path)
    inside = {
        "classes": list(store.classes),
        "domains": {
            name: {
                "samples": len(domain),
                "train": len(domain.select("train")),
                "test": len(domain.select("test")),
                "size": [domain.height, domain.width, domain.channels],
                "folds": sorted({int(fold) for fold in domain.columns["fold"] if fold >= 0}),
                "subjects": len(set(domain.columns["subject"])),
            }
            for name, domain in store.domains.items()
        },
        "failures": kept_failures(path) or None,
    }

    return inside


def _features(path: Path) -> dict[str, Any]:
    store = open_features(path)
    inside = {
        **store.facts,
        "images": len(store),
        "layers": {layer: list(store.shape(layer)) for layer in store.layers},
    }

    return inside


def _model(path: Path) -> dict[str, Any]:
    stored = open_model(path)
    facts = {key: value for key, value in stored.facts().items() if key != "model_id"}
    inside = {
        **facts,
        "id": stored.id,
        "skips": list(stored.architecture.skips),
        "classes": list(stored.architecture.classes),
        "channels": stored.architecture.channels,
        "output": "one logit, of the foreground" if stored.architecture.binary else None,
        "options": {name: json.loads(v) for name, v in stored.architecture.options} or None,
        **{key: stored.config.get(key) for key in _OF_A_MODEL},
    }

    return inside


_OF_A_MODEL = ("training", "augmentation", "best_epoch", "best_mIoU")
"""Keys of a model's configuration that say how it was trained."""


def _table(path: Path) -> dict[str, Any]:
    table = open_table(path, kind_of(path))
    inside = {"rows": len(table), "columns": list(table.data.column_names)}
    return {**inside, "failures": list(table.failures) or None}


def _masks(path: Path) -> dict[str, Any]:
    store = open_masks(path)
    entries = [{**facts, "images": shape[0]} for facts, shape in store.entries()]
    inside = {"entries": entries, "failures": kept_failures(path) or None}

    return inside


def _overlays(path: Path) -> dict[str, Any]:
    return {"pictures": len(open_overlays(path)[1])}


_INSIDE: Mapping[Kind, Callable[[Path], dict[str, Any]]] = {
    Kind.DATASET: _dataset,
    Kind.FEATURES: _features,
    Kind.MODEL: _model,
    Kind.HISTORY: _table,
    Kind.PREDICTIONS: _table,
    Kind.REGISTRATION: _table,
    Kind.REPORT: _table,
    Kind.SHIFT: _table,
    Kind.MASKS: _masks,
    Kind.OVERLAYS: _overlays,
}


def _command(entry: Mapping[str, Any]) -> str:
    lineage = entry["lineage"]
    return "# not made by skiptool" if lineage is None else str(lineage["command"])


def _lines(path: str, entry: Mapping[str, Any]) -> str:
    lines = [path]
    lineage = entry["lineage"] or {}
    for key, value in {**entry, **lineage, "lineage": None}.items():
        if value is None:
            continue
        if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
            lines += [f"  {key} {name}: {_inline(item)}" for name, item in value.items()]
        else:
            lines.append(f"  {key}: {_inline(value)}")
    return "\n".join(lines)


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_inline(item)}" for key, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value)
