"""Artifacts by path: find them in folders, identify them, read their headers, verify them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from reprlib import repr as brief
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TypeVar
from zipfile import BadZipFile, ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from skiptool.distances.bins import check_features
from skiptool.errors import ExistsError, FormatError, SkiptoolError
from skiptool.names import Kind
from skiptool.stores.activations import is_store, natural_order
from skiptool.stores.addresses import last_part, path_or_url, redact
from skiptool.stores.arrays import FeatureStore, Layer
from skiptool.stores.counts import open_count_layers, open_counts, read_bins
from skiptool.stores.dataset import DatasetStore, Domain, StoredSamples, open_dataset, open_domain
from skiptool.stores.features import extremes_of, layer_names, open_features, open_layers
from skiptool.stores.lineage import (
    Invocation,
    Lineage,
    check_same_run,
    extends_run,
    hash_bytes,
    parse_lineage,
)
from skiptool.stores.masks import MaskEntries, open_masks
from skiptool.stores.models import CONFIG, WEIGHTS, open_model, read_config
from skiptool.stores.overlays import INDEX, damaged_pictures, open_overlays
from skiptool.stores.remote import fetch_file
from skiptool.stores.seals import SEAL, broken_members, table_matches_seal
from skiptool.stores.staging import clear_leftovers
from skiptool.stores.tables import check_extent, open_table, table_kind
from skiptool.stores.transfers import fetch_models, model_urls
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
        In the order given; those of a folder are sorted by name, numbers in names by value. A path
        without a model is kept, as opening it explains the error. Hidden folders (a running
        training) and stores are skipped; links to folders are followed only if they lead to a
        model.
    """
    return _expand_folders(places, fetch_models)


def model_places(places: Sequence[Path | str]) -> list[Path | str]:
    """Like `model_folders`, but keep URLs and fetch nothing."""
    return _expand_folders(places, model_urls)


def _expand_folders(
    places: Sequence[Path | str], expand_url: Callable[[str], Sequence[T]]
) -> list[Path | T]:
    models: list[Path | T] = []
    for place in map(path_or_url, places):
        if isinstance(place, Path):
            models += sorted(_models_below(place), key=natural_order) or [place]
        else:
            models += sorted(expand_url(place), key=natural_order)
    return models


def _models_below(path: Path) -> Iterator[Path]:
    if _is_model(path):
        yield path
        return
    if not path.is_dir() or (path / "zarr.json").is_file():
        return
    for child in path.iterdir():
        if child.name.startswith(".") or not child.is_dir():
            continue
        if _is_model(child) or not child.is_symlink():
            yield from _models_below(child)


def _is_model(path: Path) -> bool:
    """Return whether a folder is a model or the remains of one, which opening it explains."""
    return any((path / name).is_file() for name in (CONFIG, WEIGHTS))


STUDY_RECORD: Final = "study.json"
"""File in the folder of a study: its data and options, and the command that began it."""


def study_origin(folder: Path) -> dict[str, str] | None:
    """Return the command that began the study in a folder, and the version of skiptool.

    None for any other folder.

    Raises
    ------
    FormatError
        If the record is damaged, or was made by a version that did not record the command.
    """
    path = folder / STUDY_RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text())
        origin = {"command": record["command"], "version": record["skiptool_version"]}
    except (ValueError, KeyError, TypeError):
        raise FormatError(
            f"{path}: does not record the command of the study, as later versions of skiptool do; "
            "see commands.sh for those of its steps"
        ) from None
    if not all(isinstance(value, str) for value in origin.values()):
        raise FormatError(f"{path}: is damaged; see commands.sh for the commands of the steps")
    return origin


# Single artifacts

TABLES = (".parquet", ".parq", ".pq")
"""Suffixes of tables."""


@contextmanager
def local_file(place: Path | str) -> Iterator[Path]:
    """Yield the local path of a file or folder; fetch a file behind a URL temporarily."""
    source = path_or_url(place)
    if isinstance(source, Path):
        yield source
        return
    where, name = redact(source), last_part(source)
    with TemporaryDirectory() as folder:
        path = Path(folder, name if name.strip(".") else "file")
        path.write_bytes(fetch_file(source))
        try:
            yield path
        except SkiptoolError as error:
            raise type(error)(str(error).replace(str(path), where)) from error


def kind_of(path: Path | str) -> Kind:
    """Return the kind of the artifact at a path, or of the store at a URL."""
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
        where = redact(str(place))
        raise FormatError(f"{where}: a Zarr store, but not made by skiptool (kind {brief(kind)})")
    return Kind(str(kind))


def is_artifact(folder: Path) -> bool:
    """Return whether a folder is a Zarr store, a model or a folder of overlays."""
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
    """Return the header of the artifact at a path or URL, or None for a foreign model folder."""
    kind = kind_of(path)
    if isinstance(path, Path):
        if kind is Kind.MODEL:
            return open_model(path).lineage
        if kind is Kind.OVERLAYS:
            return open_overlays(path)[0]
        if path.is_file():
            return open_table(path, kind).lineage
    return parse_lineage(dict(open_root(path, kind.value).attrs), redact(str(path)), kind)


def is_complete(out: Path, invocation: Invocation, *, resume: bool, clear: bool = False) -> bool:
    """Return whether the output of a resumed run is already complete.

    An output with a smaller value of ``invocation.grows`` than requested is not complete. If
    ``clear``, leftovers of killed processes next to a complete output are removed.

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
    check_same_run(made, invocation, str(out))
    if extends_run(made, invocation):
        return False
    if clear:
        clear_leftovers(out)
    return True


# Verification: an artifact is read completely and compared with its checksums, part by part

_SAMPLES_PER_READ = 16
_MAX_LISTED = 8
HISTORY, CHECKPOINT = "history.parquet", "last.ckpt"

Findings = dict[str, str]
"""Part of an artifact to its damage, which is empty if the part is intact."""


def verify(path: Path, kind: Kind) -> bool:
    """Verify all checksums, digests, ranges, ids and seals of an artifact.

    Returns
    -------
    bool
        Whether its metadata has a seal.

    Raises
    ------
    FormatError
        If any part is damaged; the message lists the damaged and the intact parts.
    """
    if kind in _STORE_CHECKS:
        findings = _check_store(path, kind)
    elif kind is Kind.MODEL:
        findings = _check_model(path)
    elif kind is Kind.OVERLAYS:
        findings = _check_overlays(path)
    else:
        findings = _check_table(path)
    damaged = [f"{part}: {reason}" for part, reason in findings.items() if reason]
    if damaged:
        intact = [part for part, reason in findings.items() if not reason]
        raise FormatError(
            f"{path}: damaged: {_listed(damaged)}; whole: {_listed(intact) or 'nothing'}; make it "
            "again to be safe"
        )
    if path.is_file():
        return table_matches_seal(path) is not None
    if kind in (Kind.MODEL, Kind.OVERLAYS):
        return SEAL in read_config(path / (CONFIG if kind is Kind.MODEL else INDEX))
    return SEAL in open_root(path, kind.value).attrs


def _listed(parts: Sequence[str]) -> str:
    text = ", ".join(parts[:_MAX_LISTED])
    others = len(parts) - _MAX_LISTED
    return f"{text} and {others} others" if others > 0 else text


def _damage(path: Path, check: Callable[..., object], *arguments: object) -> str:
    """Return the error of a check without the leading path and the remedy, empty if none."""
    try:
        check(*arguments)
    except SkiptoolError as error:
        text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
        return text.rpartition("; ")[0] or text
    return ""


def _check_store(path: Path, kind: Kind) -> Findings:
    """Check metadata and parts of a Zarr store; if they are intact, open it with its reader."""
    root, check = open_root(path, kind.value), _STORE_CHECKS[kind]
    parse_lineage(dict(root.attrs), str(path), kind)
    files = [f"{name}/zarr.json".removeprefix("./") for name in broken_members(root)]
    findings = dict.fromkeys(files, "not as written") | dict(check.parts(root, path))
    if not any(findings.values()):
        damage = _damage(path, check.reader, path)
        if damage:
            findings["the whole"] = damage
    return findings


def _check_domains(root: zarr.Group, path: Path) -> Iterator[tuple[str, str]]:
    for name in member_names(root, str(path)):
        part = f"domain {name}"
        damage = _damage(path, open_domain, str(path), root, name)
        if damage:
            yield part, damage
            continue
        domain = open_domain(str(path), root, name)
        damaged, count = dict(_damaged_samples(path, domain)), len(domain)
        if damaged:
            yield f"{part}, samples {_listed(list(damaged))}", next(iter(damaged.values()))
        if len(damaged) < count:
            yield f"{part}, {count - len(damaged)} of {count} samples", ""


def _damaged_samples(path: Path, domain: Domain) -> Iterator[tuple[str, str]]:
    """Yield the id and the damage of each unreadable or changed sample."""
    reader = StoredSamples(path, domain.name, tuple(range(len(domain))))
    for start in range(0, len(domain), _SAMPLES_PER_READ):
        rows = range(start, min(start + _SAMPLES_PER_READ, len(domain)))
        try:
            _check_samples(reader, domain, rows)
        except SkiptoolError:
            for row in rows:  # one by one, as most of them may be intact
                damage = _damage(path, _check_samples, reader, domain, [row])
                if damage:
                    yield str(domain.columns["id"][row]), damage


def _check_samples(reader: StoredSamples, domain: Domain, rows: Sequence[int]) -> None:
    images, masks = reader.read_many(rows)
    digests = domain.columns.get("digest")
    if digests is None:  # other writers may omit it
        return
    for row, image, mask in zip(rows, images, masks, strict=True):
        if hash_bytes(image.tobytes(), mask.tobytes()) != digests[row]:
            raise FormatError("pixels are not those that were written; make the store again")


def _check_layers(
    check: Callable[[zarr.Group, str, Path], None], root: zarr.Group, path: Path
) -> Iterator[tuple[str, str]]:
    for layer in layer_names(dict(root.attrs), str(path)):
        yield f"layer {layer}", _damage(path, check, root, layer, path)
    yield "samples", _damage(path, read_columns, root, str(path))


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
    arrays, vectors = open_count_layers(root, [layer], str(path)), root.attrs.get("vectors")
    read_bins(root, [layer], arrays[layer].shape[2], str(path))
    for start, counts, ranges in _blocks(arrays, path):
        sums = counts.sum(axis=2, dtype=np.int64)
        divisible = isinstance(vectors, int) and vectors > 0 and not (sums % vectors).any()
        if not divisible or (sums != sums[:, :1]).any() or not sums.all():
            raise FormatError(
                f"rows from {start}: do not add up to whole images; count the activations again"
            )
        if ranges is not None and not (ranges[0] <= ranges[1]).all():
            raise FormatError(f"rows from {start}: have no range; count the activations again")


def _blocks(
    arrays: Mapping[str, Layer], path: Path
) -> Iterator[tuple[int, AnyArray, tuple[AnyArray, AnyArray] | None]]:
    """Yield start, values, and low and high (n, D) for each block of a single layer."""
    (layer,) = arrays
    store = FeatureStore(path, str(path), None, {}, (layer,), {}, arrays)
    ranges = store.ranges(layer)
    for start, block in store.blocks(layer):
        rows = slice(start, start + len(block))
        yield start, block, None if ranges is None else (ranges[0][rows], ranges[1][rows])


def _check_entries(root: zarr.Group, path: Path) -> Iterator[tuple[str, str]]:
    store = MaskEntries(path, root)
    for name in store.names():
        yield f"entry {name}", _damage(path, _check_entry, store, name)


def _check_entry(store: MaskEntries, name: str) -> None:
    labels, ids = store.read(name), store.ids(name)
    if len(ids) != len(labels):
        raise FormatError(
            f"{store.path}: entry {name}: {len(labels)} masks, {len(ids)} ids; predict again"
        )


@dataclass(frozen=True, slots=True)
class _StoreCheck:
    """Functions for a kind of store: yield the damage of its parts, and open it as a whole."""

    parts: Callable[[zarr.Group, Path], Iterator[tuple[str, str]]]
    reader: Callable[[Path], object]


_STORE_CHECKS: Mapping[Kind, _StoreCheck] = {
    Kind.DATASET: _StoreCheck(_check_domains, open_dataset),
    Kind.FEATURES: _StoreCheck(partial(_check_layers, _check_activations), open_features),
    Kind.COUNTS: _StoreCheck(partial(_check_layers, _check_counts), open_counts),
    Kind.MASKS: _StoreCheck(_check_entries, open_masks),
}


def _check_model(path: Path) -> Findings:
    findings = {CONFIG: _damage(path, open_model, path)}
    if not findings[CONFIG]:
        model = open_model(path)
        findings[WEIGHTS] = _damage(path, model.tensors)
        if model.lineage is None:  # a folder written by another program
            return findings
    findings[HISTORY] = _damage(path, open_table, path / HISTORY, Kind.HISTORY)
    if (path / CHECKPOINT).is_file():
        findings[CHECKPOINT] = _damage(path, _check_archive, path / CHECKPOINT)
    return findings


def _check_archive(path: Path) -> None:
    """Check the CRC-32 of every file in a checkpoint, a ZIP archive, without unpickling."""
    try:
        with ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > path.stat().st_size:  # a checkpoint is not compressed
                raise ValueError(f"it claims to hold {size:,} bytes")
            damaged = archive.testzip()
    except (BadZipFile, OSError, ValueError, NotImplementedError, zlib.error) as error:
        damaged = str(error)
    if damaged is not None:
        raise FormatError(f"{path}: is damaged ({damaged}); the model does not need it, remove it")


def _check_overlays(path: Path) -> Findings:
    _, pictures = open_overlays(path)
    damaged = damaged_pictures(path, pictures)
    intact = f"{len(pictures) - len(damaged)} of {len(pictures)} pictures"
    return {**dict.fromkeys(damaged, "not as written"), intact: ""}


def _check_table(path: Path) -> Findings:
    kind = table_kind(path)
    check_extent(path, table_matches_seal(path))
    findings = {
        f"column {name}": _damage(path, _read_column, path, name)
        for name in pq.read_schema(path).names
    }
    damage = _damage(path, open_table, path, kind)
    # if all pages are intact, the metadata is damaged
    return {"the file": damage} if damage and not any(findings.values()) else findings


def _read_column(path: Path, name: str) -> None:
    try:
        pq.read_table(path, columns=[name], partitioning=None, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError("cannot be read; make it again") from error


# Changes while reading


def check_unchanged(opened: DatasetStore) -> None:
    """Refuse a dataset that was changed, replaced or deleted while it was read.

    Pixels are read during a run; deleted chunks would be read as zeros. Behind a URL, only the id
    is compared, as lost chunks are detected when they are read. A local copy cannot have changed.
    """
    if opened.copy is not None:
        return
    old_id, new_id = opened.lineage.id, _current_id(opened)
    if new_id != old_id:
        raise FormatError(
            f"{opened.path}: was replaced while it was read (its id was {old_id}, is {new_id}); "
            "run again"
        )


def _current_id(opened: DatasetStore) -> str:
    if isinstance(opened.place, Path):
        return open_dataset(opened.place).lineage.id
    attributes = dict(open_root(opened.place, "dataset").attrs)
    return parse_lineage(attributes, str(opened.path), Kind.DATASET).id
