"""Any artifact by its path: which kind it is, its header, and whether it is what is asked for."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as brief
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from skiptool.distances.counting import extent
from skiptool.errors import ExistsError, FormatError, SkiptoolError
from skiptool.names import Kind
from skiptool.stores.addresses import below, last_part, located, public
from skiptool.stores.counts import open_activations, open_counts, open_tallies, read_bins
from skiptool.stores.dataset import DatasetStore, Domain, StoredSamples, open_dataset, open_domain
from skiptool.stores.features import FeatureStore, layer_names, open_features, open_layers
from skiptool.stores.lineage import (
    Lineage,
    Making,
    check_same,
    identifier,
    parse_lineage,
    prolongs,
)
from skiptool.stores.masks import MaskEntries, open_masks
from skiptool.stores.models import CONFIG, WEIGHTS, open_model, read_config
from skiptool.stores.overlays import INDEX, damaged_pictures, open_overlays
from skiptool.stores.remote import fetched
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
from skiptool.stores.zarrs import member_names, open_group, open_root, read_columns

__all__ = [
    "TABLES",
    "artifacts_below",
    "at_hand",
    "by_numbers",
    "check_sound",
    "check_unchanged",
    "feature_folder",
    "finished",
    "is_artifact",
    "is_folder",
    "is_store",
    "kind_of",
    "lineage_of",
    "model_folders",
    "model_places",
]

# -------------------------------------------------------------------------------------------------
# Folders of artifacts: one path that stands for all models, or all feature stores, below it.


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


TABLES = (".parquet", ".parq", ".pq")
"""How the names of tables end."""

STORES = (Kind.DATASET, Kind.FEATURES, Kind.COUNTS, Kind.MASKS)
"""Kinds that are Zarr stores."""


@contextmanager
def at_hand(place: Path | str) -> Iterator[Path]:
    """Yield a local path of a file or folder; a file behind a URL is fetched for the while.

    Raises
    ------
    FormatError
        If there is no such file behind the URL.
    ArgumentError, SourceError
        If the URL cannot be read.
    """
    here = located(place)
    if isinstance(here, Path):
        yield here
        return
    where, name = public(here), last_part(here)
    with TemporaryDirectory() as folder:
        path = Path(folder, name if name.strip(".") else "file")
        path.write_bytes(fetched(here))
        try:
            yield path
        except SkiptoolError as error:
            raise type(error)(str(error).replace(str(path), where)) from error


def kind_of(path: Path | str) -> Kind:
    """Return what kind of artifact stands at a path, or which store at a URL.

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
    found = open_root(place, "skiptool").attrs.get("kind")
    if found not in STORES:
        where = public(str(place))
        raise FormatError(f"{where}: a Zarr store, but not made by skiptool (kind {brief(found)})")
    return Kind(str(found))


def is_artifact(folder: Path) -> bool:
    """Say whether a folder is a Zarr store, a model or a folder of overlays."""
    return is_store(folder) or any((folder / name).is_file() for name in (CONFIG, INDEX))


def artifacts_below(folder: Path) -> list[Path]:
    """Find stores, models, overlays and tables below a folder, at any depth.

    Parameters
    ----------
    folder : Path
        No artifact itself.

    Returns
    -------
    list of Path
        Sorted by name, numbers in names by their value; those of one folder before those of the
        folders in it. Hidden ones are passed over, links to folders lead to artifacts only.
    """
    found: list[Path] = []
    folders: list[Path] = []
    for child in sorted(folder.iterdir(), key=by_numbers):
        if child.name.startswith("."):
            continue
        if child.is_dir():
            if is_artifact(child):
                found.append(child)
            elif not child.is_symlink():
                folders.append(child)
        elif child.suffix in TABLES or child.suffix == ".npy":
            found.append(child)
    return [*found, *(path for each in folders for path in artifacts_below(each))]


def lineage_of(path: Path | str) -> Lineage | None:
    """Return the header of the artifact at a path or URL, None for a foreign model folder.

    Raises
    ------
    FormatError
        As :func:`kind_of`, or if the header is damaged.
    """
    kind = kind_of(path)
    if isinstance(path, str):
        return parse_lineage(dict(open_root(path, kind.value).attrs), public(path), kind)
    if kind is Kind.MODEL:
        return open_model(path).lineage
    if kind is Kind.OVERLAYS:
        return open_overlays(path)[0]
    if path.is_file():
        return open_table(path, kind).lineage
    return parse_lineage(dict(open_root(path, kind.value).attrs), str(path), kind)


def finished(out: Path, making: Making, *, resume: bool, clear: bool = False) -> bool:
    """Say whether a resumed run finds its output whole already.

    Parameters
    ----------
    out : Path
    making : Making
    resume : bool
        What it has less of than ``making.grows`` asks for is not finished.
    clear : bool
        Remove what killed processes left beside it.

    Raises
    ------
    ExistsError
        If the output is there but was made with other parameters or from other inputs, or is
        nothing that was made by skiptool.
    """
    if not (resume and out.exists()):
        return False
    try:
        header = lineage_of(out)
    except FormatError as error:
        raise ExistsError(
            f"{out}: exists already and is nothing to resume ({error}); give another --out, or "
            "--overwrite to replace it"
        ) from error
    if header is None:
        raise ExistsError(f"{out}: exists already and was not made by skiptool; give --overwrite")
    made = {"parameters": header.parameters, "inputs": header.inputs}
    check_same(made, making, str(out))
    if prolongs(made, making):
        return False
    if clear:
        clear_leftovers(out)
    return True


# -------------------------------------------------------------------------------------------------
# Whether every byte of an artifact is what was written, and where not, what can still be used.
#
# All of an artifact is read, part by part: domains and samples, layers, entries, columns, files.


BLOCK = 16
SHOWN = 8
HISTORY, CHECKPOINT = "history.parquet", "last.ckpt"

Findings = dict[str, str]
"""Part of an artifact to what is wrong with it, nothing where it is whole."""


def check_sound(path: Path, kind: Kind) -> bool:
    """Compare all checksums, digests, ranges, ids and seals of an artifact.

    Returns
    -------
    bool
        Whether its metadata has a seal.

    Raises
    ------
    FormatError
        If something is damaged: what it is, and what is whole.
    """
    check = _CHECKS.get(kind, _table)
    found = check(path)
    damaged = [f"{part}: {reason}" for part, reason in found.items() if reason]
    if damaged:
        whole = [part for part, reason in found.items() if not reason]
        raise FormatError(
            f"{path}: damaged: {_listed(damaged)}; whole: {_listed(whole) or 'nothing'}; make it "
            "again to be safe"
        )
    return _is_sealed(path, kind)


def _is_sealed(path: Path, kind: Kind) -> bool:
    if path.is_file():
        return table_is_whole(path) is not None
    if kind in (Kind.MODEL, Kind.OVERLAYS):
        return SEAL in read_config(path / (CONFIG if kind is Kind.MODEL else INDEX))
    return SEAL in open_root(path, kind.value).attrs


def _listed(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - SHOWN} others" if len(parts) > SHOWN else ""
    return ", ".join(parts[:SHOWN]) + more


def _reason(path: Path, act: Callable[..., object], *arguments: object) -> str:
    """Return what is wrong, without the path that stands in front of it and without a remedy."""
    try:
        act(*arguments)
    except SkiptoolError as error:
        text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
        return text.rpartition("; ")[0] or text
    return ""


def _metadata(path: Path, kind: Kind) -> Findings:
    root = open_root(path, kind.value)
    parse_lineage(dict(root.attrs), str(path), kind)
    files = [f"{name}/zarr.json".removeprefix("./") for name in broken_members(root)]
    return dict.fromkeys(files, "not as written")


def _rest(found: Findings, path: Path, opening: Callable[[Path], object]) -> Findings:
    """Ask the reader too, for what it alone looks at."""
    if not any(found.values()):
        reason = _reason(path, opening, path)
        return {**found, "the whole": reason} if reason else found
    return found


def _dataset(path: Path) -> Findings:
    found = _metadata(path, Kind.DATASET)
    root = open_root(path, Kind.DATASET.value)
    for name in member_names(root, str(path)):
        part = f"domain {name}"
        found[part] = _reason(path, open_domain, str(path), root, name)
        if found[part]:
            continue
        domain = open_domain(str(path), root, name)
        bad, count = dict(_bad_samples(path, domain)), len(domain)
        del found[part]
        if bad:
            found[f"{part}, samples {_listed(list(bad))}"] = next(iter(bad.values()))
        if len(bad) < count:
            found[f"{part}, {count - len(bad)} of {count} samples"] = ""
    return _rest(found, path, open_dataset)


def _bad_samples(path: Path, domain: Domain) -> Iterator[tuple[str, str]]:
    """Yield id and reason of each sample that cannot be read or is not as written."""
    reader = StoredSamples(path, domain.name, tuple(range(len(domain))))
    for start in range(0, len(domain), BLOCK):
        rows = range(start, min(start + BLOCK, len(domain)))
        try:
            _check_samples(reader, domain, rows)
        except SkiptoolError:
            for row in rows:  # one by one: most of them may be whole
                reason = _reason(path, _check_samples, reader, domain, [row])
                if reason:
                    yield str(domain.columns["id"][row]), reason


def _check_samples(reader: StoredSamples, domain: Domain, rows: Sequence[int]) -> None:
    images, masks = reader.read_many(rows)
    digests = domain.columns.get("digest")
    if digests is None:  # a column of ours: stores of other writers may lack it
        return
    for row, image, mask in zip(rows, images, masks, strict=True):
        if identifier(image.tobytes(), mask.tobytes()) != digests[row]:
            raise FormatError("pixels are not those that were written; make the store again")


def _features(path: Path) -> Findings:
    found = _metadata(path, Kind.FEATURES)
    root = open_root(path, "feature")
    for layer in layer_names(dict(root.attrs), str(path)):
        found[f"layer {layer}"] = _reason(path, _check_layer, root, layer, path)
    found["samples"] = _reason(path, read_columns, root, str(path))
    return _rest(found, path, open_features)


def _check_layer(root: zarr.Group, layer: str, path: Path) -> None:
    arrays = open_layers(root, [layer], str(path))
    store = FeatureStore(path, str(path), None, {}, (layer,), {}, arrays)
    kept = store.ranges(layer)
    for start, block in store.blocks(layer):
        rows = slice(start, start + len(block))
        low, high = extent(block)
        if kept is not None and ((low != kept[0][rows]) | (high != kept[1][rows])).any():
            raise FormatError(
                f"images from {start}: values are outside the range stored beside them; extract "
                "the features again"
            )


def _counts(path: Path) -> Findings:
    found = _metadata(path, Kind.COUNTS)
    root = open_root(path, "counts")
    for layer in layer_names(dict(root.attrs), str(path)):
        found[f"layer {layer}"] = _reason(path, _check_tallies, root, layer, path)
    found["samples"] = _reason(path, read_columns, root, str(path))
    return _rest(found, path, open_counts)


def _check_tallies(root: zarr.Group, layer: str, path: Path) -> None:
    """Read all of a layer: a row of n images adds up to n * K in every channel."""
    arrays, vectors = open_tallies(root, [layer], str(path)), root.attrs.get("vectors")
    read_bins(root, [layer], arrays[layer].shape[2], str(path))
    store = FeatureStore(path, str(path), None, {}, (layer,), {}, arrays)
    kept = store.ranges(layer)
    for start, counts in store.blocks(layer):
        rows, sums = slice(start, start + len(counts)), counts.sum(axis=2, dtype=np.int64)
        whole = isinstance(vectors, int) and vectors > 0 and not (sums % vectors).any()
        if not whole or (sums != sums[:, :1]).any() or not sums.all():
            raise FormatError(
                f"rows from {start}: do not add up to whole images; count the activations again"
            )
        if kept is not None and not (kept[0][rows] <= kept[1][rows]).all():
            raise FormatError(f"rows from {start}: have no range; count the activations again")


def _masks(path: Path) -> Findings:
    found = _metadata(path, Kind.MASKS)
    store = MaskEntries(path, open_root(path, "mask"))
    for name in store.names():
        found[f"entry {name}"] = _reason(path, _read_entry, store, name)
    return _rest(found, path, open_masks)


def _read_entry(store: MaskEntries, name: str) -> None:
    labels = store.read(name)
    where = f"{store.path}: entry {name}"
    ids = read_columns(open_group(store.root, name, str(store.path)), where).get("id", ())
    if len(ids) != len(labels):
        raise FormatError(f"{where}: {len(labels)} masks, {len(ids)} ids; predict again")


def _model(path: Path) -> Findings:
    found = {CONFIG: _reason(path, open_model, path)}
    if not found[CONFIG]:
        stored = open_model(path)
        found[WEIGHTS] = _reason(path, stored.tensors)
        if stored.lineage is None:  # a folder of another program
            return found
    found[HISTORY] = _reason(path, open_table, path / HISTORY, Kind.HISTORY)
    if (path / CHECKPOINT).is_file():
        found[CHECKPOINT] = _reason(path, _check_archive, path / CHECKPOINT)
    return found


def _check_archive(path: Path) -> None:
    """Compare the CRC-32 of every file in a checkpoint, a ZIP archive; unpickle nothing."""
    try:
        with ZipFile(path) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
            if inside > path.stat().st_size:  # a checkpoint is not compressed
                raise ValueError(f"{inside:,} bytes are said to be in it")
            damaged = archive.testzip()
    except (BadZipFile, OSError, ValueError, NotImplementedError, zlib.error) as error:
        damaged = str(error)
    if damaged is not None:
        raise FormatError(f"{path}: is damaged ({damaged}); the model does not need it, remove it")


def _overlays(path: Path) -> Findings:
    _, pictures = open_overlays(path)
    bad = damaged_pictures(path, pictures)
    found = dict.fromkeys(bad, "not as written")
    found[f"{len(pictures) - len(bad)} of {len(pictures)} pictures"] = ""
    return found


def _table(path: Path) -> Findings:
    kind = table_kind(path)
    check_extent(path, table_is_whole(path))
    found = {
        f"column {name}": _reason(path, _read_column, path, name)
        for name in pq.read_schema(path).names
    }
    reason = _reason(path, open_table, path, kind)
    # where all pages are whole, what describes them is damaged
    return {"the file": reason} if reason and not any(found.values()) else found


def _read_column(path: Path, name: str) -> None:
    try:
        pq.read_table(path, columns=[name], partitioning=None, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError("cannot be read; make it again") from error


_CHECKS: dict[Kind, Callable[[Path], Findings]] = {
    Kind.DATASET: _dataset,
    Kind.FEATURES: _features,
    Kind.COUNTS: _counts,
    Kind.MASKS: _masks,
    Kind.MODEL: _model,
    Kind.OVERLAYS: _overlays,
}


# -------------------------------------------------------------------------------------------------
# Whether a store is still the one that was opened, once all of it was read.
#
# Pixels and activations are read while the work goes on. What is deleted then reads as zeros (see
# ``chunks``), what is put in its place as itself: neither may end in an output that names the store
# as what it was made from.


def check_unchanged(opened: DatasetStore | FeatureStore) -> None:
    """Open a local store again, look for all of its chunks, and compare its id.

    Behind a URL only the id of a dataset is compared, for lost chunks are missed when they are
    read. Where a copy on this machine was read, nothing can have changed.

    Raises
    ------
    FormatError
        If it is gone, lacks a chunk, or is another store now.
    """
    if isinstance(opened, DatasetStore):
        if opened.copy is not None:
            return
        where, before, now = str(opened.path), opened.lineage.id, _id_now(opened)
    elif isinstance(opened.place, Path):
        again = open_activations(opened.place)
        where, before, now = opened.where, opened.id or "", again.id or ""
    else:
        return
    if now != before:
        raise FormatError(
            f"{where}: was replaced while it was read (its id was {before}, is {now}); run again"
        )


def _id_now(opened: DatasetStore) -> str:
    if isinstance(opened.place, Path):
        return open_dataset(opened.place).lineage.id
    attributes = dict(open_root(opened.place, "dataset").attrs)
    return parse_lineage(attributes, str(opened.path), Kind.DATASET).id
