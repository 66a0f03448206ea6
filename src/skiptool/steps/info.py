"""``skiptool info``: describe artifacts and their lineage, and check their integrity."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skiptool.errors import FormatError, SkiptoolError
from skiptool.names import Kind
from skiptool.records import SILENT, Outcome, Progress, as_paths_or_urls
from skiptool.stores.activations import is_store, natural_order
from skiptool.stores.addresses import is_web, last_part, path_or_url, redact
from skiptool.stores.arrays import FeatureStore
from skiptool.stores.artifacts import (
    TABLES,
    artifacts_below,
    is_artifact,
    kind_of,
    lineage_of,
    local_file,
    study_origin,
    verify,
)
from skiptool.stores.contents import contents_tables
from skiptool.stores.copies import ZARR
from skiptool.stores.counts import open_counts
from skiptool.stores.dataset import open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.lineage import FORMAT_VERSIONS
from skiptool.stores.masks import open_masks
from skiptool.stores.models import open_model
from skiptool.stores.overlays import INDEX, open_overlays
from skiptool.stores.remote import RemoteFolder
from skiptool.stores.tables import open_table
from skiptool.stores.transfers import (
    FILES,
    entries_below,
    fetch_artifact,
    fetch_models,
    is_folder_at,
    root_file,
)
from skiptool.stores.urls import accept_urls
from skiptool.stores.zarrs import open_root, recorded_failures


@accept_urls()
def describe(
    paths: Sequence[Path | str] | Path | str,
    *,
    command: bool = False,
    check: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Describe artifacts, and features or weights of other programs.

    Parameters
    ----------
    paths : sequence of Path or str
        Stores, tables and model folders; folders that hold any of these; ``.npy`` files and files
        of weights. Local paths or URLs.
    command : bool
        Print only the command that made each.
    check : bool
        Read every byte and compare checksums, ids and seals; name damaged and intact parts.

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
    entries: dict[str, Any] = {}
    failures: list[str] = []
    places: list[Path | str] = []
    for path in as_paths_or_urls(paths):
        try:
            places += _expand(path)
        except SkiptoolError as error:
            failures.append(str(error))
    with progress.task("info", len(places)) as task:
        for place in places:
            try:
                entries[redact(str(place))] = _describe(place, check, progress)
            except SkiptoolError as error:
                failures.append(str(error))
            task.advance(note=last_part(path_or_url(place)))
    if not entries:
        raise FormatError("; ".join(failures))
    text = "\n\n".join(
        _recorded_command(entry) if command else _format_entry(path, entry)
        for path, entry in entries.items()
    )
    return Outcome(summary=entries, failures=tuple(failures), text=text)


def read_origins(
    paths: Sequence[Path | str] | Path | str, *, progress: Progress = SILENT
) -> dict[str, dict[str, str]]:
    """Read which command made each artifact; a study counts as one.

    Returns
    -------
    dict
        ``command`` and ``version`` of skiptool, by path.

    Raises
    ------
    FormatError
        If something was not made by skiptool, or did not record its command.
    """
    origins: dict[str, dict[str, str]] = {}
    for path in as_paths_or_urls(paths):
        study = study_origin(path) if isinstance(path, Path) else None
        if study is not None:
            origins[str(path)] = study
            continue
        for place in _expand(path):
            lineage = _describe(place, False, progress)["lineage"]
            shown = redact(str(place))
            if lineage is None:
                raise FormatError(f"{shown}: was not made by skiptool, so its command is unknown")
            origins[shown] = {
                "command": lineage["command"],
                "version": lineage["skiptool_version"],
            }
    return origins


def _expand(place: Path | str) -> list[Path | str]:
    """Replace a folder that is not itself an artifact by the artifacts in it, if any."""
    folder = path_or_url(place)
    if isinstance(folder, Path):
        if folder.is_dir() and not is_artifact(folder):
            return [*artifacts_below(folder)] or [place]
        return [place]
    if not is_folder_at(folder) or is_web(folder):
        return [folder]
    below = [
        path
        for path, root in entries_below(folder)
        if root or (root is None and last_part(path).endswith((*TABLES, ".npy")))
    ]
    return sorted(below, key=natural_order) or [folder]


def _describe(place: Path | str, check: bool, progress: Progress) -> dict[str, Any]:
    artifact = path_or_url(place)
    if isinstance(artifact, str) and not last_part(artifact).endswith(FILES):
        return _describe_url(artifact, check, progress)
    with local_file(artifact) as path:
        return _describe_local(path, check)


def _describe_local(path: Path, check: bool) -> dict[str, Any]:
    foreign = _describe_foreign(path)
    return _describe_artifact(path, check) if foreign is None else {**foreign, "lineage": None}


def _describe_url(url: str, check: bool, progress: Progress) -> dict[str, Any]:
    """Describe a store by its metadata; download anything else, and everything to be checked."""
    root = root_file(RemoteFolder(url))
    if root is None:
        open_root(url, "skiptool")  # raises
    if check or root == INDEX:
        return _describe_local(fetch_artifact(url, progress), check)
    if root not in ZARR:
        return _describe_local(fetch_models(url)[0], check)
    if "kind" not in open_root(url, "skiptool", (3, 2)).attrs:
        return {**_describe_foreign_features(url, "Zarr"), "lineage": None}
    return _describe_artifact(url, check)


def _describe_artifact(path: Path | str, check: bool) -> dict[str, Any]:
    """Describe an artifact made by skiptool."""
    kind = kind_of(path)
    if kind not in _CONTENTS:
        raise FormatError(f"{path}: is of kind {kind.value}, which is no store or table")
    sealed = check and verify(Path(path), kind)
    header = lineage_of(path)
    entry: dict[str, Any] = {"kind": kind.value, **_CONTENTS[kind](path)}
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


def _describe_foreign(path: Path) -> dict[str, Any] | None:
    """Describe NumPy files, weights and Zarr stores from elsewhere; None for anything else."""
    if path.suffix in (".npy", ".npz"):
        return _describe_foreign_features(path, "NumPy")
    if path.is_file() and _starts_with(path, b"PK\x03\x04"):
        return _describe_archive(path)
    if path.is_file() and path.suffix in _PICKLES and not _starts_with(path, b"PAR1"):
        return {"kind": "weights of others (pickle, not opened)", "bytes": path.stat().st_size}
    if path.is_file() and path.suffix == ".safetensors":
        return {"kind": "weights (safetensors)", **_describe_safetensors(path)}
    if path.is_dir() and is_store(path) and "kind" not in open_root(path, "skiptool", (3, 2)).attrs:
        return _describe_foreign_features(path, "Zarr")
    return None


_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")


def _starts_with(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def _describe_foreign_features(path: Path | str, form: str) -> dict[str, Any]:
    store = open_features(path)
    return {
        "kind": f"features of others ({form})",
        "images": len(store),
        "layers": {layer: [*store.shape(layer), store.dtype(layer).name] for layer in store.layers},
        "id": store.id,
    }


def _describe_archive(path: Path) -> dict[str, Any]:
    """Describe a PyTorch file by the names in its archive, without unpickling anything."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FormatError(f"{path}: a damaged archive (ZIP): {error}; make it again") from error
    names = [entry.filename.partition("/")[2] for entry in entries]
    tensors = [entry for entry, name in zip(entries, names, strict=True) if _TENSOR.match(name)]
    if not ("data.pkl" in names or tensors):
        raise FormatError(
            f"{path}: is an archive (ZIP), but not of PyTorch; give stores, tables, models, .npy "
            "files or folders of them"
        )
    form = "TorchScript" if any(name.startswith("code/") for name in names) else "pickle"
    return {
        "kind": f"weights of others (PyTorch, {form})",
        "tensors": len(tensors),
        "bytes": sum(entry.file_size for entry in tensors),
    }


_TENSOR = re.compile(r"(data|constants|weights)/[^/]+$")
"""End of the names of tensors in a PyTorch archive."""


def _describe_safetensors(path: Path) -> dict[str, Any]:
    """Count the tensors named in the header of a safetensors file."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(size) if size < path.stat().st_size else b"")
        tensors = [value for name, value in head.items() if name != "__metadata__"]
        count = sum(math.prod(value["shape"]) for value in tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: is no safetensors file, or is truncated ({error})") from error
    return {"tensors": len(tensors), "values": count, "bytes": path.stat().st_size}


def _dataset_contents(path: Path | str) -> dict[str, Any]:
    store = open_dataset(path)
    return {
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
        "contents": _contents_by_domain(path),
        "failures": recorded_failures(path) or None,
    }


def _contents_by_domain(path: Path | str) -> dict[str, Any] | None:
    """Return samples, shares of pixels and uniform images by domain."""
    for table in contents_tables(path, SILENT):
        domains, *others = table.columns.items()
        return {
            str(domain): {name: values[row] for name, values in others}
            for row, domain in enumerate(domains[1])
        }
    return None


def _features_contents(path: Path | str) -> dict[str, Any]:
    return _feature_facts(open_features(path))


def _counts_contents(path: Path | str) -> dict[str, Any]:
    store = open_counts(path)
    facts = _feature_facts(store)
    layers = facts.pop("layers")
    images = int(store.count_layout(store.layers[0]).images.sum())
    return {**facts, "images": images, "rows": len(store), "layers": layers}


def _feature_facts(store: FeatureStore) -> dict[str, Any]:
    layers = {layer: list(store.shape(layer)) for layer in store.layers}
    return {**store.facts, "images": len(store), "layers": layers}


def _model_contents(path: Path | str) -> dict[str, Any]:
    stored = open_model(Path(path))
    facts = {key: value for key, value in stored.facts().items() if key != "model_id"}
    keys = ("training", "augmentation", "best_epoch", "best_mIoU")
    return {
        **facts,
        "id": stored.id,
        "skips": list(stored.architecture.skips),
        "classes": list(stored.architecture.classes),
        "channels": stored.architecture.channels,
        "output": "one logit, of the foreground" if stored.architecture.binary else None,
        "options": {name: json.loads(v) for name, v in stored.architecture.options} or None,
        **{key: stored.config.get(key) for key in keys},
    }


def _table_contents(path: Path | str) -> dict[str, Any]:
    table = open_table(Path(path), kind_of(path))
    return {
        "rows": len(table),
        "columns": list(table.data.column_names),
        "failures": list(table.failures) or None,
    }


def _masks_contents(path: Path | str) -> dict[str, Any]:
    entries = [{**facts, "images": shape[0]} for facts, shape in open_masks(path).entries()]
    return {"entries": entries, "failures": recorded_failures(path) or None}


def _overlays_contents(path: Path | str) -> dict[str, Any]:
    return {"pictures": len(open_overlays(Path(path))[1])}


_CONTENTS: Mapping[Kind, Callable[[Path | str], dict[str, Any]]] = {
    Kind.DATASET: _dataset_contents,
    Kind.FEATURES: _features_contents,
    Kind.COUNTS: _counts_contents,
    Kind.MODEL: _model_contents,
    Kind.HISTORY: _table_contents,
    Kind.PREDICTIONS: _table_contents,
    Kind.REGISTRATION: _table_contents,
    Kind.REPORT: _table_contents,
    Kind.SHIFT: _table_contents,
    Kind.MASKS: _masks_contents,
    Kind.OVERLAYS: _overlays_contents,
}


def _recorded_command(entry: Mapping[str, Any]) -> str:
    lineage = entry["lineage"]
    return "# not made by skiptool" if lineage is None else str(lineage["command"])


def _format_entry(path: str, entry: Mapping[str, Any]) -> str:
    lines = [path]
    lineage = entry["lineage"] or {}
    for key, value in {**entry, **lineage, "lineage": None}.items():
        if value is None:
            continue
        if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
            lines += [f"  {key} {name}: {_format_value(item)}" for name, item in value.items()]
        else:
            lines.append(f"  {key}: {_format_value(value)}")
    return "\n".join(lines)


def _format_value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_format_value(item)}" for key, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value)
