"""Feature store: pooled activations of named layers. Format ``features``, version 1.

::

    feats.zarr/                     Zarr format 3
      zarr.json                     attributes: the header (see ``header``), ``model``, ``dataset``,
                                    ``domain``, ``split`` (``validation``: the fold that the
                                    model was validated on), ``shift``, ``factor`` (null for
                                    original), ``patch_size`` [H, W], ``grid`` [rows, columns],
                                    ``pooling``, ``layers`` (names in order of data flow) and what
                                    is known of the model: ``arch``, ``encoder``, ``pruning``,
                                    ``fold``, ``repeat``, ``parameter_count``,
                                    ``training_domain`` and ``training_dataset`` (an id; since
                                    version 0.2); ``seal`` (see ``seal``)
      layers/<name>   (N, D, K)     float16 (float32 on request); K = rows x columns
      ranges/<name>/
        low, high     (N, D)        float32, of the stored values, each image and channel
      samples/        ...           all columns of the dataset's samples

Counts of activations are another format (see ``counts``).

Stores of ours without ``ranges/`` are read too, and so are Zarr stores that others made (see
``foreign``) and NumPy files (see ``arrays``).

Chunks hold 16 whole images in every layer, compressed with LZ4 and closed by a CRC-32C. Shards, one
file each, hold the same number of chunks in every layer: the largest power of two, up to 64, with
which a shard of the largest layer stays within 128 MiB before compression, and no more than there
are. Chunks of ``ranges/`` hold up to 256 images, their shards up to 64 chunks. All chunks of an
array are written (its attribute ``every_chunk`` says so): one that is not in the index of its shard
is an error.

Stores of version 0.1 have no shards but a file for each chunk. Both are format version 1, for
readers of either open them: shards belong to Zarr format 3, and nothing else differs.

The id is a hash of weights, data, domain, split, shift, preprocessing, layers, pooling and dtype.
Activations of equal ids are the same up to their last digits, which depend on ``arithmetic`` in the
header as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import zarr

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.records import repeat_of
from skiptool.stores.addresses import last_part, located, public
from skiptool.stores.arrays import npy_in_memory, open_npy
from skiptool.stores.chunks import is_lost
from skiptool.stores.foreign import open_foreign
from skiptool.stores.header import parse_lineage
from skiptool.stores.journal import JOURNAL
from skiptool.stores.layers import FeatureStore, Layer, zarr_layer
from skiptool.stores.remote import each, fetched
from skiptool.stores.seal import check_store
from skiptool.stores.staging import partial_of
from skiptool.stores.zarrs import open_array, open_group, open_root, read_columns

__all__ = [
    "FACTS",
    "FeatureStore",
    "check_finished",
    "check_lengths",
    "facts_of",
    "layer_names",
    "open_features",
    "open_layers",
]

FACTS = (
    *("model", "arch", "encoder", "pruning", "fold", "repeat", "parameter_count"),
    *("training_domain", "training_dataset"),
    *("dataset", "domain", "split", "shift", "factor", "patch_size", "grid", "pooling"),
)
"""Attributes beside the header that say what the activations are of."""

_NUMBERS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("fold", "repeat", "parameter_count"), int),
    **dict.fromkeys(("bins", "vectors", "pool_images"), int),
    "factor": (int, float),
    **dict.fromkeys(("patch_size", "grid"), list),
}
"""Facts that are no text; any may be null."""

_HEADER = {"format_version", "skiptool_version"}
"""Attributes that only skiptool writes: with any of them, the whole header must be right."""


def open_features(place: Path | str) -> FeatureStore:
    """Open the features at a place and check their layout.

    Parameters
    ----------
    place : Path or str
        Local folder of a Zarr store, a file ending in ``.npy``, or the URL of either; a file
        behind a URL is kept in memory.

    Raises
    ------
    FormatError
        If there is none, it is of another kind or version, is empty or torn, or is being written.
    SourceError, ArgumentError
        If a URL cannot be read.
    """
    where, place = public(str(place)), located(place)
    if last_part(place).endswith((".npy", ".npz")):
        return _open_file(place, where)
    check_finished(place, where)
    root = open_root(place, "feature", (3, 2))
    attributes: dict[str, Any] = dict(root.attrs)
    if not (_HEADER & attributes.keys() or attributes.get("kind") in tuple(Kind)):
        layers, columns = open_foreign(root, where)
        lineage, facts = None, dict.fromkeys(FACTS)
    else:
        lineage = parse_lineage(attributes, where, Kind.FEATURES)
        facts = facts_of(attributes, where)
        columns = read_columns(root, where)
        if not len(columns.get("id", ())):
            raise FormatError(f"{where}: holds no image; extract the features again")
        layers = open_layers(root, layer_names(attributes, where), where)
    check_lengths(columns, layers, where)
    if lineage is not None:
        check_store(root, where)
    return FeatureStore(place, where, lineage, facts, tuple(layers), columns, layers)


def _open_file(place: Path | str, where: str) -> FeatureStore:
    known = open_npy(place) if isinstance(place, Path) else npy_in_memory(fetched(place), where)
    layers = {"features": known}
    return FeatureStore(place, where, None, dict.fromkeys(FACTS), tuple(layers), {}, layers)


def check_finished(place: Path | str, where: str) -> None:
    """Refuse a store that still grows, or was left half written (see ``staging``).

    Raises
    ------
    FormatError
        As said.
    """
    name = last_part(place)
    growing = name.startswith(".") and name.endswith(".partial")
    if isinstance(place, Path) and place.name:
        growing |= (place / JOURNAL).is_file()
        growing |= not place.exists() and partial_of(place).exists()
        name = partial_of(place).name if not place.exists() else name
    if growing:
        raise FormatError(
            f"{where}: is not finished ({name} is there); wait for 'skiptool features' to end, or "
            "finish it with --resume"
        )


def layer_names(attributes: Mapping[str, Any], where: str) -> list[str]:
    """Return the layers that a store's attributes name.

    Raises
    ------
    FormatError
        If they name none.
    """
    layers = attributes.get("layers")
    if not (isinstance(layers, list) and layers and all(isinstance(name, str) for name in layers)):
        raise FormatError(f"{where}: attributes name no layers; extract the features again")
    return layers


def facts_of(
    attributes: Mapping[str, Any], where: str, names: Sequence[str] = FACTS
) -> dict[str, Any]:
    """Return some attributes of a store, null where it has none.

    Raises
    ------
    FormatError
        If one is of another type.
    """
    facts = {name: attributes.get(name) for name in names}
    for name, value in facts.items():
        if value is not None and not isinstance(value, _NUMBERS.get(name, str)):
            raise FormatError(
                f"{where}: attribute {name} is {brief(value)}; extract the features again"
            )
    return facts | {"repeat": repeat_of(facts["fold"], facts["repeat"])}


def open_layers(root: zarr.Group, names: Sequence[str], where: str) -> dict[str, Layer]:
    """Open layers and their ranges, and look for all of their chunks.

    Raises
    ------
    FormatError
        If one is missing or damaged.
    """
    layers, ranges = open_group(root, "layers", where), _ranges(root, where)

    def opened(name: str) -> Layer:
        values = open_array(layers, name, f"{where}: layers", 3, ["float16", "float32"])
        if ranges is None:
            return zarr_layer(values, None)
        low, high = (
            open_array(ranges, f"{name}/{end}", f"{where}: ranges", 2, ["float32"])
            for end in ("low", "high")
        )
        for end, found in (("low", low), ("high", high)):
            if found.shape != values.shape[:2]:
                raise FormatError(
                    f"{where}: {end} of layer {name} is {found.shape}, the layer {values.shape}; "
                    "extract the features again"
                )
        return zarr_layer(values, (low, high))

    return dict(zip(names, each(root.store, opened, names), strict=True))


def _ranges(root: zarr.Group, where: str) -> zarr.Group | None:
    """Open the group of ranges; stores of early versions have none."""
    try:
        root["ranges"]
    except Exception as error:  # whatever Zarr's reader of JSON trips over
        if is_lost(root, "ranges", error):
            return None
    return open_group(root, "ranges", where)


def check_lengths(columns: Mapping[str, Any], layers: Mapping[str, Layer], where: str) -> None:
    """Check that all layers and columns are of equally many images.

    Raises
    ------
    FormatError
        If they are not.
    """
    lengths = {f"layer {name}": layer.shape[0] for name, layer in layers.items()}
    lengths |= {f"column {name}": len(values) for name, values in columns.items()}
    known, images = next(iter(lengths.items()))
    said = f"{known} {images}"
    if "id" in columns:
        images = len(columns["id"])
        said = f"the samples are {images}"
    for name, length in lengths.items():
        if length != images:
            raise FormatError(
                f"{where}: {name} holds {length} images, {said}; extract the features again"
            )
