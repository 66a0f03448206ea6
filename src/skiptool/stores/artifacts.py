"""Artifacts by path: find them in folders, tell their kind, read their header, verify them."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from reprlib import repr as brief
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar
from zipfile import BadZipFile, ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from skiptool.distances.bins import check_features
from skiptool.errors import ExistsError, FormatError, SkiptoolError
from skiptool.names import Kind
from skiptool.stores.addresses import join_url, last_part, located, public
from skiptool.stores.counts import open_activations, open_counts, open_tallies, read_bins
from skiptool.stores.dataset import DatasetStore, Domain, StoredSamples, open_dataset, open_domain
from skiptool.stores.features import (
    FeatureStore,
    Layer,
    extremes_of,
    layer_names,
    open_features,
    open_layers,
)
from skiptool.stores.lineage import (
    Invocation,
    Lineage,
    check_same,
    extends_run,
    identifier,
    parse_lineage,
)
from skiptool.stores.masks import MaskEntries, open_masks
from skiptool.stores.models import CONFIG, WEIGHTS, open_model, read_config
from skiptool.stores.overlays import INDEX, damaged_pictures, open_overlays
from skiptool.stores.remote import fetch_file
from skiptool.stores.seals import SEAL, broken_members, table_is_whole
from skiptool.stores.staging import clear_leftovers
from skiptool.stores.tables import check_extent, open_table, table_kind
from skiptool.stores.transfers import (
    ZARR,
    entries_at,
    fetch_models,
    is_folder_at,
    models_at,
)
from skiptool.stores.zarrs import member_names, open_root, read_columns

if TYPE_CHECKING:
    from skiptool.records import AnyArray

T = TypeVar("T", Path, str)

# Folders of artifacts


def model_folders(places: Sequence[Path | str]) -> list[Path]:
    """Replace each folder of models by the models below it, and each URL by a local copy.

    Parameters
    ----------
    places : sequence of Path or str
        Model folders, and folders with models below them at any depth; local or URLs.

    Returns
    -------
    list of Path
        In the order given; those of one folder sorted by name, numbers in names by value. A place
        without a model is kept: opening it explains the error. Hidden folders (a running training)
        and stores are skipped; links to folders are followed only if they lead to a model.

    Raises
    ------
    FormatError
        If there is no model at a URL, or none below that of a host that lists folders.
    SourceError, ArgumentError
        If a URL cannot be read, or the copy does not fit on the disk.
    """
    return _replaced(places, fetch_models)


def model_places(places: Sequence[Path | str]) -> list[Path | str]:
    """Like `model_folders`, but keep URLs and fetch nothing."""
    return _replaced(places, models_at)


def _replaced(places: Sequence[Path | str], remote: Callable[[str], Sequence[T]]) -> list[Path | T]:
    """Replace folders by the models below them, and URLs by what ``remote`` returns."""
    models: list[Path | T] = []
    for place in map(located, places):
        if isinstance(place, Path):
            models += sorted(_below(place), key=natural_order) or [place]
        else:
            models += sorted(remote(place), key=natural_order)
    return models


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

    Returns
    -------
    stores : list of Path or str
        Zarr stores of these kinds or without a kind, sorted by name, numbers in names by value; if
        there are none, the ``.npy`` files.
    left_out : tuple of str
        All else, counted: ``2 of kind dataset``, ``1 unfinished``.

    Raises
    ------
    FormatError
        If the folder is on a web server, which lists none.
    SourceError, ArgumentError
        If a URL cannot be read.
    """
    stores: list[Path | str] = []
    files: list[Path | str] = []
    others: Counter[str] = Counter()
    entries: Iterable[tuple[Path | str, bool]]
    if isinstance(folder, Path):
        entries = _local_entries(folder)
    else:
        roots = (None, "", *ZARR)
        entries = ((url, root is not None) for url, root in entries_at(folder) if root in roots)
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
    left_out = tuple(f"{number} {what}" for what, number in others.items() if number)
    return sorted(stores or files, key=natural_order), left_out


def _local_entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield stores, hidden entries and files, and whether each is a folder.

    Links to folders are followed only if they lead to stores.
    """
    for child in folder.iterdir():
        if child.name.startswith(".") or not child.is_dir() or is_store(child):
            yield child, child.is_dir()
        elif not child.is_symlink():
            yield from _local_entries(child)


def is_folder(place: Path | str) -> bool:
    """Tell whether a path or URL is a folder of stores, not a store or file."""
    here = located(place)
    if isinstance(here, str):
        return is_folder_at(here)
    return here.is_dir() and not is_store(here)


def is_store(path: Path) -> bool:
    """Tell whether a folder is a Zarr store."""
    return any((path / name).is_file() for name in ZARR)


def _kind(store: Path | str) -> str | None:
    """Return the kind that a Zarr store declares, None if it has none or cannot be read."""
    try:
        if isinstance(store, Path):
            text = (store / "zarr.json").read_bytes()
        else:
            text = fetch_file(join_url(store, "zarr.json"))
        kind = json.loads(text)["attributes"]["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, FormatError):
        return None
    return kind if isinstance(kind, str) and kind in tuple(Kind) else None


def _is_model(path: Path) -> bool:
    """Tell whether a folder is a model or the remains of one, which opening it explains."""
    return any((path / name).is_file() for name in (CONFIG, WEIGHTS))


def natural_order(path: Path | str) -> list[tuple[int, str]]:
    """Sort key of paths: numbers in names by value."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)]


# Single artifacts

TABLES = (".parquet", ".parq", ".pq")
"""Suffixes of tables."""


@contextmanager
def local_file(place: Path | str) -> Iterator[Path]:
    """Yield the local path of a file or folder; fetch a file behind a URL temporarily."""
    here = located(place)
    if isinstance(here, Path):
        yield here
        return
    where, name = public(here), last_part(here)
    with TemporaryDirectory() as folder:
        path = Path(folder, name if name.strip(".") else "file")
        path.write_bytes(fetch_file(here))
        try:
            yield path
        except SkiptoolError as error:
            raise type(error)(str(error).replace(str(path), where)) from error


def kind_of(path: Path | str) -> Kind:
    """Return the kind of artifact at a path, or of the store at a URL.

    Raises
    ------
    FormatError
        If nothing is there, or it was not made by skiptool.
    SourceError, ArgumentError
        If a URL cannot be read.
    """
    if isinstance(path, str):
        return _kind_of_store(path)
    if not path.exists():
        raise FormatError(f"{path}: no such file or folder; check the path")
    if path.is_file():
        return table_kind(path)
    if (path / CONFIG).is_file():
        return Kind.MODEL
    if (path / INDEX).is_file():
        return Kind.OVERLAYS
    if not (path / "zarr.json").is_file():
        raise FormatError(f"{path}: a folder that is neither a store nor a model of skiptool")
    return _kind_of_store(path)


def _kind_of_store(place: Path | str) -> Kind:
    kind = open_root(place, "skiptool").attrs.get("kind")
    if kind not in tuple(_STORE_CHECKS):
        where = public(str(place))
        raise FormatError(f"{where}: a Zarr store, but not made by skiptool (kind {brief(kind)})")
    return Kind(str(kind))


def is_artifact(folder: Path) -> bool:
    """Tell whether a folder is a Zarr store, a model or a folder of overlays."""
    return is_store(folder) or any((folder / name).is_file() for name in (CONFIG, INDEX))


def artifacts_below(folder: Path) -> list[Path]:
    """Find stores, models, overlays and tables below a folder, at any depth.

    Sorted by name, numbers in names by value; those of a folder come before those of its
    subfolders. Hidden ones are skipped; links to folders are followed only if they lead to
    artifacts.
    """
    artifacts: list[Path] = []
    folders: list[Path] = []
    for child in sorted(folder.iterdir(), key=natural_order):
        if child.name.startswith("."):
            continue
        if child.is_dir():
            if is_artifact(child):
                artifacts.append(child)
            elif not child.is_symlink():
                folders.append(child)
        elif child.suffix in TABLES or child.suffix == ".npy":
            artifacts.append(child)
    return [*artifacts, *(path for sub in folders for path in artifacts_below(sub))]


def lineage_of(path: Path | str) -> Lineage | None:
    """Return the header of the artifact at a path or URL, None for a foreign model folder."""
    kind = kind_of(path)
    if isinstance(path, Path):
        if kind is Kind.MODEL:
            return open_model(path).lineage
        if kind is Kind.OVERLAYS:
            return open_overlays(path)[0]
        if path.is_file():
            return open_table(path, kind).lineage
    return parse_lineage(dict(open_root(path, kind.value).attrs), public(str(path)), kind)


def is_complete(out: Path, invocation: Invocation, *, resume: bool, clear: bool = False) -> bool:
    """Tell whether a resumed run finds its output complete.

    Parameters
    ----------
    resume : bool
        An output with less of ``invocation.grows`` than requested is not complete.
    clear : bool
        Remove what killed processes left next to it.

    Raises
    ------
    ExistsError
        If the output exists but was made with other parameters or from other inputs, or not by
        skiptool.
    """
    if not (resume and out.exists()):
        return False
    try:
        header = lineage_of(out)
    except FormatError as error:
        raise ExistsError(
            f"{out}: exists already and cannot be resumed ({error}); give another --out, or "
            "--overwrite to replace it"
        ) from error
    if header is None:
        raise ExistsError(f"{out}: exists already and was not made by skiptool; give --overwrite")
    made = {"parameters": header.parameters, "inputs": header.inputs}
    check_same(made, invocation, str(out))
    if extends_run(made, invocation):
        return False
    if clear:
        clear_leftovers(out)
    return True


# Verification: an artifact is read completely and compared with its checksums, part by part

BLOCK = 16
SHOWN = 8
HISTORY, CHECKPOINT = "history.parquet", "last.ckpt"

Findings = dict[str, str]
"""Part of an artifact to its damage, empty if it is intact."""


def check_sound(path: Path, kind: Kind) -> bool:
    """Verify all checksums, digests, ranges, ids and seals of an artifact.

    Returns
    -------
    bool
        Whether its metadata has a seal.

    Raises
    ------
    FormatError
        If something is damaged: names the damaged and the intact parts.
    """
    if kind in _STORE_CHECKS:
        findings = _check_store(path, kind)
    else:
        findings = {Kind.MODEL: _model, Kind.OVERLAYS: _overlays}.get(kind, _table)(path)
    damaged = [f"{part}: {reason}" for part, reason in findings.items() if reason]
    if damaged:
        intact = [part for part, reason in findings.items() if not reason]
        raise FormatError(
            f"{path}: damaged: {_listed(damaged)}; whole: {_listed(intact) or 'nothing'}; make it "
            "again to be safe"
        )
    if path.is_file():
        return table_is_whole(path) is not None
    if kind in (Kind.MODEL, Kind.OVERLAYS):
        return SEAL in read_config(path / (CONFIG if kind is Kind.MODEL else INDEX))
    return SEAL in open_root(path, kind.value).attrs


def _listed(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - SHOWN} others" if len(parts) > SHOWN else ""
    return ", ".join(parts[:SHOWN]) + more


def _reason(path: Path, act: Callable[..., object], *arguments: object) -> str:
    """Return the error of a check, without the leading path and the remedy."""
    try:
        act(*arguments)
    except SkiptoolError as error:
        text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
        return text.rpartition("; ")[0] or text
    return ""


def _check_store(path: Path, kind: Kind) -> Findings:
    """Check metadata and parts of a Zarr store; if they are intact, what only its reader checks."""
    root, check = open_root(path, kind.value), _STORE_CHECKS[kind]
    parse_lineage(dict(root.attrs), str(path), kind)
    files = [f"{name}/zarr.json".removeprefix("./") for name in broken_members(root)]
    findings = dict.fromkeys(files, "not as written") | dict(check.parts(root, path))
    reason = "" if any(findings.values()) else _reason(path, check.reader, path)
    return {**findings, "the whole": reason} if reason else findings


def _domains(root: zarr.Group, path: Path) -> Iterator[tuple[str, str]]:
    for name in member_names(root, str(path)):
        part = f"domain {name}"
        reason = _reason(path, open_domain, str(path), root, name)
        if reason:
            yield part, reason
            continue
        domain = open_domain(str(path), root, name)
        bad, count = dict(_bad_samples(path, domain)), len(domain)
        if bad:
            yield f"{part}, samples {_listed(list(bad))}", next(iter(bad.values()))
        if len(bad) < count:
            yield f"{part}, {count - len(bad)} of {count} samples", ""


def _bad_samples(path: Path, domain: Domain) -> Iterator[tuple[str, str]]:
    """Yield id and reason of each unreadable or changed sample."""
    reader = StoredSamples(path, domain.name, tuple(range(len(domain))))
    for start in range(0, len(domain), BLOCK):
        rows = range(start, min(start + BLOCK, len(domain)))
        try:
            _check_samples(reader, domain, rows)
        except SkiptoolError:
            for row in rows:  # one by one: most of them may be intact
                reason = _reason(path, _check_samples, reader, domain, [row])
                if reason:
                    yield str(domain.columns["id"][row]), reason


def _check_samples(reader: StoredSamples, domain: Domain, rows: Sequence[int]) -> None:
    images, masks = reader.read_many(rows)
    digests = domain.columns.get("digest")
    if digests is None:  # stores of other writers may lack it
        return
    for row, image, mask in zip(rows, images, masks, strict=True):
        if identifier(image.tobytes(), mask.tobytes()) != digests[row]:
            raise FormatError("pixels are not those that were written; make the store again")


def _layers(
    check: Callable[[zarr.Group, str, Path], None], root: zarr.Group, path: Path
) -> Iterator[tuple[str, str]]:
    for layer in layer_names(dict(root.attrs), str(path)):
        yield f"layer {layer}", _reason(path, check, root, layer, path)
    yield "samples", _reason(path, read_columns, root, str(path))


def _check_activations(root: zarr.Group, layer: str, path: Path) -> None:
    for start, block, ranges in _blocks(open_layers(root, [layer], str(path)), path):
        check_features(block)
        low, high = extremes_of(block.astype(np.float32, copy=False))
        if ranges is not None and ((low != ranges[0]) | (high != ranges[1])).any():
            raise FormatError(
                f"images from {start}: values are outside the stored range; extract the features "
                "again"
            )


def _check_counts(root: zarr.Group, layer: str, path: Path) -> None:
    """Check that a row of n images adds up to n * K in every channel."""
    arrays, vectors = open_tallies(root, [layer], str(path)), root.attrs.get("vectors")
    read_bins(root, [layer], arrays[layer].shape[2], str(path))
    for start, counts, ranges in _blocks(arrays, path):
        sums = counts.sum(axis=2, dtype=np.int64)
        whole = isinstance(vectors, int) and vectors > 0 and not (sums % vectors).any()
        if not whole or (sums != sums[:, :1]).any() or not sums.all():
            raise FormatError(
                f"rows from {start}: do not add up to whole images; count the activations again"
            )
        if ranges is not None and not (ranges[0] <= ranges[1]).all():
            raise FormatError(f"rows from {start}: have no range; count the activations again")


def _blocks(
    arrays: Mapping[str, Layer], path: Path
) -> Iterator[tuple[int, AnyArray, tuple[AnyArray, AnyArray] | None]]:
    """Yield start, values, and low and high (n, D) of each block of a single layer."""
    (layer,) = arrays
    store = FeatureStore(path, str(path), None, {}, (layer,), {}, arrays)
    ranges = store.ranges(layer)
    for start, block in store.blocks(layer):
        rows = slice(start, start + len(block))
        yield start, block, None if ranges is None else (ranges[0][rows], ranges[1][rows])


def _entries(root: zarr.Group, path: Path) -> Iterator[tuple[str, str]]:
    store = MaskEntries(path, root)
    for name in store.names():
        yield f"entry {name}", _reason(path, _check_entry, store, name)


def _check_entry(store: MaskEntries, name: str) -> None:
    labels, ids = store.read(name), store.ids(name)
    if len(ids) != len(labels):
        raise FormatError(
            f"{store.path}: entry {name}: {len(labels)} masks, {len(ids)} ids; predict again"
        )


@dataclass(frozen=True, slots=True)
class _StoreCheck:
    """Check of one kind of store: yields parts and their damage; reader that opens it whole."""

    parts: Callable[[zarr.Group, Path], Iterator[tuple[str, str]]]
    reader: Callable[[Path], object]


_STORE_CHECKS: Mapping[Kind, _StoreCheck] = {
    Kind.DATASET: _StoreCheck(_domains, open_dataset),
    Kind.FEATURES: _StoreCheck(partial(_layers, _check_activations), open_features),
    Kind.COUNTS: _StoreCheck(partial(_layers, _check_counts), open_counts),
    Kind.MASKS: _StoreCheck(_entries, open_masks),
}


def _model(path: Path) -> Findings:
    findings = {CONFIG: _reason(path, open_model, path)}
    if not findings[CONFIG]:
        stored = open_model(path)
        findings[WEIGHTS] = _reason(path, stored.tensors)
        if stored.lineage is None:  # a folder of another program
            return findings
    findings[HISTORY] = _reason(path, open_table, path / HISTORY, Kind.HISTORY)
    if (path / CHECKPOINT).is_file():
        findings[CHECKPOINT] = _reason(path, _check_archive, path / CHECKPOINT)
    return findings


def _check_archive(path: Path) -> None:
    """Check the CRC-32 of every file in a checkpoint, a ZIP archive; unpickle nothing."""
    try:
        with ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > path.stat().st_size:  # a checkpoint is not compressed
                raise ValueError(f"{size:,} bytes are said to be in it")
            damaged = archive.testzip()
    except (BadZipFile, OSError, ValueError, NotImplementedError, zlib.error) as error:
        damaged = str(error)
    if damaged is not None:
        raise FormatError(f"{path}: is damaged ({damaged}); the model does not need it, remove it")


def _overlays(path: Path) -> Findings:
    _, pictures = open_overlays(path)
    bad = damaged_pictures(path, pictures)
    intact = f"{len(pictures) - len(bad)} of {len(pictures)} pictures"
    return {**dict.fromkeys(bad, "not as written"), intact: ""}


def _table(path: Path) -> Findings:
    kind = table_kind(path)
    check_extent(path, table_is_whole(path))
    findings = {
        f"column {name}": _reason(path, _read_column, path, name)
        for name in pq.read_schema(path).names
    }
    reason = _reason(path, open_table, path, kind)
    # if all pages are intact, the metadata is damaged
    return {"the file": reason} if reason and not any(findings.values()) else findings


def _read_column(path: Path, name: str) -> None:
    try:
        pq.read_table(path, columns=[name], partitioning=None, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError("cannot be read; make it again") from error


# Changes while reading


def check_unchanged(opened: DatasetStore | FeatureStore) -> None:
    """Refuse a local store that was changed or replaced while it was read.

    Pixels and activations are read while the work goes on; deleted chunks would read as zeros.
    Behind a URL only the id of a dataset is compared, as lost chunks are noticed when they are
    read. A local copy cannot have changed.

    Raises
    ------
    FormatError
        If it is gone, lacks a chunk, or is another store now.
    """
    if isinstance(opened, DatasetStore):
        if opened.copy is not None:
            return
        where, before, now = str(opened.path), opened.lineage.id, _current_id(opened)
    elif isinstance(opened.place, Path):
        again = open_activations(opened.place)
        where, before, now = opened.where, opened.id or "", again.id or ""
    else:
        return
    if now != before:
        raise FormatError(
            f"{where}: was replaced while it was read (its id was {before}, is {now}); run again"
        )


def _current_id(opened: DatasetStore) -> str:
    if isinstance(opened.place, Path):
        return open_dataset(opened.place).lineage.id
    attributes = dict(open_root(opened.place, "dataset").attrs)
    return parse_lineage(attributes, str(opened.path), Kind.DATASET).id
