"""Whether every byte of an artifact is what was written, and where not, what can still be used.

All of an artifact is read, part by part: domains and samples, layers, entries, columns, files.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from skiptool.distances.counting import extent
from skiptool.errors import FormatError, SkiptoolError
from skiptool.names import Kind
from skiptool.stores.checkpoint import CONFIG, WEIGHTS, open_model
from skiptool.stores.configuration import read_config
from skiptool.stores.counts import open_counts, open_tallies, read_bins
from skiptool.stores.dataset import Domain, StoredSamples, open_dataset, open_domain
from skiptool.stores.features import layer_names, open_features, open_layers
from skiptool.stores.header import identifier, parse_lineage
from skiptool.stores.layers import FeatureStore
from skiptool.stores.masks import MaskEntries, open_masks
from skiptool.stores.overlays import INDEX, damaged_pictures, open_overlays
from skiptool.stores.seal import SEAL, broken_members, table_is_whole
from skiptool.stores.tables import check_extent, open_table, table_kind
from skiptool.stores.zarrs import member_names, open_group, open_root, read_columns

__all__ = ["check_sound"]

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
