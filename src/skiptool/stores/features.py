"""Feature store: pooled activations of named layers. Format ``features``, version 1.

::

    feats.zarr/                     Zarr format 3
      zarr.json                     attributes: the header (see ``lineage``), ``model``,
                                    ``dataset``, ``domain``, ``split`` (``validation``: the
                                    validation fold of the model), ``shift``, ``factor`` (null for
                                    original), ``patch_size`` [H, W], ``grid`` [rows, columns],
                                    ``pooling``, ``layers`` (names in order of data flow); of the
                                    model, if known, ``arch``, ``encoder``, ``pruning``, ``fold``,
                                    ``repeat``, ``parameter_count``, ``training_domain`` and
                                    ``training_dataset`` (an id; since version 0.2); ``seal`` (see
                                    ``seals``)
      layers/<name>   (N, D, K)     float16 (float32 on request); K = rows x columns
      ranges/<name>/
        low, high     (N, D)        float32, of the stored values, each image and channel
      samples/        ...           all columns of the dataset's samples

Counts of activations have another format (see ``counts``).

Chunks hold 16 whole images in every layer, compressed with LZ4 and followed by a CRC-32C. Shards,
one file each, hold the same number of chunks in every layer: the largest power of two, up to 64,
with which a shard of the largest layer stays within 128 MiB before compression, or the number of
chunks if that is less. Chunks of ``ranges/`` hold up to 256 images, their shards up to 64 chunks.
All chunks of an array are written (its attribute ``every_chunk`` is true): a chunk missing from the
index of its shard is an error.

The id is a hash of weights, data, domain, split, shift, preprocessing, layers, pooling and dtype.
Activations with equal ids are the same up to their last digits, which also depend on
``arithmetic`` in the header.

Other sources of features can also be read:

- stores of version 0.1, with a file for each chunk instead of shards. They are also of format
  version 1, as any reader opens both: shards are a feature of Zarr format 3, and nothing else
  differs;
- stores of skiptool without ``ranges/``;
- Zarr groups without the header: layers are in ``layers/<name>`` or, without such a group, arrays
  of two or three axes at the root; ``samples/`` and ``ranges/<layer>/low``, ``high`` are optional,
  as in our stores;
- a NumPy file ``.npy``, read as a store of a single layer.

A layer is an array (N, D, K) of float16, float32 or float64; (N, D) is read as K = 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.errors import ZarrUserWarning

from skiptool.errors import FormatError
from skiptool.names import Kind, in_data_flow
from skiptool.records import repeat_of
from skiptool.stores.addresses import last_part, path_or_url, redact
from skiptool.stores.arrays import (
    EXPECTED,
    FACTS,
    FLOATS,
    FeatureStore,
    Layer,
    check_layout,
    is_numpy_file,
    open_numpy_file,
    read_error,
    stamp_of,
    three_axes,
)
from skiptool.stores.journal import JOURNAL
from skiptool.stores.lineage import parse_lineage
from skiptool.stores.remote import map_items
from skiptool.stores.seals import check_store
from skiptool.stores.shards import row_reader
from skiptool.stores.staging import partial_path
from skiptool.stores.zarrs import (
    check_chunks,
    is_missing,
    open_array,
    open_group,
    open_root,
    read_columns,
)

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32
    from skiptool.stores.arrays import Stamp

    Extremes = tuple[Float32, Float32]
    Node = zarr.Array[Any] | zarr.Group

# Zarr arrays


def zarr_layer(
    values: zarr.Array[Any], ranges: tuple[zarr.Array[Any], zarr.Array[Any]] | None
) -> Layer:
    """Return the layer in a Zarr array of two or three axes."""
    shape = three_axes(values.shape)
    chunk = min(values.chunks[0], shape[0])
    readers = None if ranges is None else (row_reader(ranges[0]), row_reader(ranges[1]))
    return Layer(row_reader(values), shape, values.dtype.newbyteorder("="), chunk, readers)


# Foreign Zarr stores


def open_foreign(root: zarr.Group, where: str) -> tuple[dict[str, Layer], dict[str, AnyArray]]:
    """Open the layers of a Zarr group without our header, and the columns of its samples.

    Returns
    -------
    layers : dict of Layer
        Known layer names first, in order of data flow, then the others by name.
    columns : dict of arrays (N,)
        Empty without ``samples/``.
    """
    members = _members(root, where)
    parent = members.get("layers")
    if isinstance(parent, zarr.Group):
        nodes = _members(parent, f"{where}: layers")
    else:  # there may be labels and the like as well as features
        nodes = {
            name: node
            for name, node in members.items()
            if isinstance(node, zarr.Array) and node.ndim in (2, 3)
        }
    if not nodes:
        raise FormatError(
            f"{where}: holds no features, expected arrays in a group 'layers' or at the root; if a "
            "web server lists no folders, consolidate the metadata"
        )
    group = members.get("ranges")
    ranges = _members(group, f"{where}: ranges") if isinstance(group, zarr.Group) else {}
    layers = {
        name: _foreign_layer(nodes[name], ranges.get(name), name, where)
        for name in in_data_flow(sorted(nodes))
    }
    columns = read_columns(root, where) if isinstance(members.get("samples"), zarr.Group) else {}
    return layers, columns


def _members(group: zarr.Group, where: str) -> Mapping[str, Node]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # about files that are not part of it
        try:
            return dict(group.members())
        except Exception as error:  # Zarr's JSON parser raises many kinds
            raise read_error(error, where, f"metadata cannot be read ({error})") from error


def _foreign_layer(values: Node, ranges: Node | None, name: str, where: str) -> Layer:
    where = f"{where}: layer {name}"
    if not isinstance(values, zarr.Array):
        raise FormatError(f"{where} is a group, {EXPECTED}")
    check_layout(values.shape, values.dtype, where)
    check_chunks(values, where)
    if not isinstance(ranges, zarr.Group):
        return zarr_layer(values, None)
    low, high = (open_array(ranges, end, f"{where}: ranges", 2, FLOATS) for end in ("low", "high"))
    if not low.shape == high.shape == values.shape[:2]:
        raise FormatError(
            f"{where} is {values.shape}, its ranges {low.shape} and {high.shape}; expected (N, D)"
        )
    # Rounded ranges would exclude values, so none are better.
    exact = all(np.can_cast(values.dtype, end.dtype) for end in (low, high))
    return zarr_layer(values, (low, high) if exact else None)


_NUMBERS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("fold", "repeat", "parameter_count"), int),
    **dict.fromkeys(("bins", "vectors", "pool_images"), int),
    "factor": (int, float),
    **dict.fromkeys(("patch_size", "grid"), list),
}
"""Facts that are not text; any may be null."""

_HEADER = {"format_version", "skiptool_version"}
"""Attributes that only skiptool writes: with any of them, the whole header must be valid."""


def open_features(place: Path | str) -> FeatureStore:
    """Open features and check their layout.

    Parameters
    ----------
    place : Path or str
        Local folder of a Zarr store, a file ending in ``.npy``, or the URL of either; a file behind
        a URL is kept in memory.

    Raises
    ------
    FormatError
        If there are none, or they are of another kind or version, empty, truncated, or still being
        written.
    SourceError, ArgumentError
        If a URL cannot be read.
    """
    where, place = redact(str(place)), path_or_url(place)
    stamp: Stamp = ()
    if is_numpy_file(place):
        return open_numpy_file(place)
    check_finished(place, where)
    root = open_root(place, "feature", (3, 2))
    attributes: dict[str, Any] = dict(root.attrs)
    if not (_HEADER & attributes.keys() or attributes.get("kind") in tuple(Kind)):
        stamp = stamp_of(place)
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
    return FeatureStore(place, where, lineage, facts, tuple(layers), columns, layers, stamp)


def check_finished(place: Path | str, where: str) -> None:
    """Refuse a store that is still growing or was left half written (see ``staging``)."""
    name = last_part(place)
    growing = name.startswith(".") and name.endswith(".partial")
    if isinstance(place, Path) and place.name:
        growing |= (place / JOURNAL).is_file()
        if not place.exists():
            growing |= partial_path(place).exists()
            name = partial_path(place).name
    if growing:
        raise FormatError(
            f"{where}: is not finished ({name} is there); wait for 'skiptool features' to end, or "
            "finish it with --resume"
        )


def layer_names(attributes: Mapping[str, Any], where: str) -> list[str]:
    """Return the layers named in a store's attributes."""
    layers = attributes.get("layers")
    if not (isinstance(layers, list) and layers and all(isinstance(name, str) for name in layers)):
        raise FormatError(f"{where}: attributes name no layers; extract the features again")
    return layers


def facts_of(
    attributes: Mapping[str, Any], where: str, names: Sequence[str] = FACTS
) -> dict[str, Any]:
    """Return attributes of a store by name, None for missing ones."""
    facts = {name: attributes.get(name) for name in names}
    for name, value in facts.items():
        if value is not None and not isinstance(value, _NUMBERS.get(name, str)):
            raise FormatError(
                f"{where}: attribute {name} is {brief(value)}; extract the features again"
            )
    return facts | {"repeat": repeat_of(facts["fold"], facts["repeat"])}


def open_layers(root: zarr.Group, names: Sequence[str], where: str) -> dict[str, Layer]:
    """Open layers and their ranges, and check for missing chunks."""
    layers, ranges = open_group(root, "layers", where), _open_ranges(root, where)

    def open_layer(name: str) -> Layer:
        values = open_array(layers, name, f"{where}: layers", 3, ["float16", "float32"])
        if ranges is None:
            return zarr_layer(values, None)
        low, high = (
            open_array(ranges, f"{name}/{end}", f"{where}: ranges", 2, ["float32"])
            for end in ("low", "high")
        )
        for end, array in (("low", low), ("high", high)):
            if array.shape != values.shape[:2]:
                raise FormatError(
                    f"{where}: {end} of layer {name} is {array.shape}, the layer {values.shape}; "
                    "extract the features again"
                )
        return zarr_layer(values, (low, high))

    return dict(zip(names, map_items(root.store, open_layer, names), strict=True))


def _open_ranges(root: zarr.Group, where: str) -> zarr.Group | None:
    """Open the group of ranges, which stores of early versions do not have."""
    try:
        root["ranges"]
    except Exception as error:  # Zarr's JSON parser raises many kinds
        if is_missing(root, "ranges", error):
            return None
    return open_group(root, "ranges", where)


def extremes_of(block: Float32) -> Extremes:
    """Return the lowest and the highest value (n, D) of each image and channel of (n, D, K)."""
    return block.min(axis=2), block.max(axis=2)


def check_lengths(columns: Mapping[str, Any], layers: Mapping[str, Layer], where: str) -> None:
    """Check that all layers and columns have the same number of images."""
    lengths = {f"layer {name}": layer.shape[0] for name, layer in layers.items()}
    lengths |= {f"column {name}": len(values) for name, values in columns.items()}
    first, images = next(iter(lengths.items()))
    if "id" in columns:
        first, images = "the column id", len(columns["id"])
    for name, length in lengths.items():
        if length != images:
            raise FormatError(
                f"{where}: {name} holds {length} images, {first} {images}; extract the features "
                "again"
            )
