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

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.lib.format import (
    MAGIC_PREFIX,
    open_memmap,
    read_array_header_1_0,
    read_array_header_2_0,
    read_magic,
)
from zarr.errors import ZarrUserWarning

from skiptool.errors import ArgumentError, FormatError, suggestion
from skiptool.names import Kind, in_data_flow
from skiptool.records import repeat_of
from skiptool.stores.addresses import last_part, path_or_url, redact
from skiptool.stores.journal import JOURNAL
from skiptool.stores.lineage import Lineage, hash_bytes, parse_lineage
from skiptool.stores.remote import fetch_file, map_items, read_error
from skiptool.stores.seals import check_store
from skiptool.stores.shards import row_reader
from skiptool.stores.staging import partial_path
from skiptool.stores.zarrs import (
    OpenStore,
    check_chunks,
    is_missing,
    open_array,
    open_group,
    open_root,
    read_columns,
    read_rows,
)

if TYPE_CHECKING:
    from skiptool.distances.bins import CountLayout
    from skiptool.records import AnyArray, Float32
    from skiptool.stores.zarrs import Rows

    Extremes = tuple[Float32, Float32]
    Node = zarr.Array[Any] | zarr.Group

FLOATS = ("float16", "float32", "float64")
"""Data types of features."""

EXPECTED = "expected (N, D) or (N, D, K) of float16, float32 or float64"

_HASH_BLOCK_BYTES = 4 << 20

MAX_IMAGES = 10**8
"""Limit for foreign stores: metadata of a few bytes can claim more images without storing any."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The features of one layer, read on demand.

    Attributes
    ----------
    values : Rows
        Zarr array or NumPy file, with two or three axes.
    shape : tuple of int
        (N, D, K).
    dtype : np.dtype
        In native byte order.
    chunk : int
        Images in a whole chunk.
    ranges : tuple of Rows, optional
        Low and high, (N, D) each.
    """

    values: Rows
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    chunk: int
    ranges: tuple[Rows, Rows] | None = None

    def read(self, rows: slice, where: str) -> AnyArray:
        """Read images (n, D, K), contiguous, in native byte order."""
        block = _native(read_rows(self.values, rows, where))
        return block.reshape(len(block), *self.shape[1:])


@dataclass(frozen=True)
class FeatureStore(OpenStore):
    """An open feature store; activations are read in blocks of whole images, from any thread.

    Attributes
    ----------
    where : str
        Name in messages: the place as the user gave it, without credentials.
    lineage : Lineage, optional
        None for foreign stores.
    facts : mapping
        Values of :data:`FACTS`, None if unknown.
    layers : tuple of str
        In order of data flow.
    columns : mapping
        Columns of the samples, N values each; empty for a foreign store without any.
    arrays : mapping of str to Layer
    """

    where: str
    lineage: Lineage | None
    facts: Mapping[str, Any]
    layers: tuple[str, ...]
    columns: Mapping[str, Any]
    arrays: Mapping[str, Layer]

    def __len__(self) -> int:
        return self.arrays[self.layers[0]].shape[0]

    @cached_property
    def id(self) -> str | None:
        """Id of the store: for foreign ones a hash of the bytes, or None behind a URL."""
        if self.lineage is not None:
            return self.lineage.id
        place = self.place
        if isinstance(place, str):
            return None
        return _folder_id(place) if place.is_dir() else _content_id(place)

    @property
    def model_id(self) -> str | None:
        """Id of the model that computed the activations."""
        return None if self.lineage is None else self.lineage.inputs.get("model")

    @property
    def dataset_id(self) -> str | None:
        """Id of the dataset of the images."""
        return None if self.lineage is None else self.lineage.inputs.get("dataset")

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the pooled feature maps, if known."""
        grid = self.facts.get("grid")
        sides = list(grid) if isinstance(grid, list | tuple) else []
        whole = len(sides) == 2 and all(isinstance(side, int) for side in sides)
        return (sides[0], sides[1]) if whole else None

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (N, D, K) of a layer."""
        return self._layer(layer).shape

    def dtype(self, layer: str) -> np.dtype[Any]:
        """Return the data type of a layer, in native byte order."""
        return self._layer(layer).dtype

    def count_layout(self, layer: str) -> CountLayout | None:
        """Return None, as the store holds values, not counts of them."""
        self._layer(layer)
        return None

    def chunk(self, layer: str) -> int:
        """Return the number of images in a whole chunk of a layer: the unit of reading."""
        return self._layer(layer).chunk

    def read(self, layer: str, rows: slice) -> AnyArray:
        """Read images of a layer: (n, D, K), contiguous, in native byte order.

        Raises
        ------
        FormatError
            If a chunk is damaged, or lost in a remote store.
        SourceError
            If a remote store cannot be reached.
        """
        start, stop, _ = rows.indices(len(self))
        where = f"{self.where}: layer {layer}, images {start} to {stop - 1}"
        return self._layer(layer).read(rows, where)

    def blocks(self, layer: str) -> Iterator[tuple[int, AnyArray]]:
        """Yield ``(start, features (n, D, K))`` chunk by chunk, in order."""
        step = self.chunk(layer)
        for start in range(0, len(self), step):
            yield start, self.read(layer, slice(start, min(start + step, len(self))))

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray] | None:
        """Return low and high (N, D) of the stored values, or None if the store has none."""
        ranges = self._layer(layer).ranges
        if ranges is None:
            return None
        low, high = (
            _native(read_rows(values, slice(None), f"{self.where}: {name} of {layer}"))
            for name, values in zip(("low", "high"), ranges, strict=True)
        )
        return low, high

    def _layer(self, layer: str) -> Layer:
        if layer not in self.arrays:
            raise ArgumentError(
                f"{self.where}: has no layer {layer!r}, it has {', '.join(self.layers)}"
                f"{suggestion(layer, self.layers)}"
            )
        return self.arrays[layer]


def check_layout(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Check that a foreign array holds features."""
    if dtype.name not in FLOATS or len(shape) not in (2, 3):
        remedy = "; convert it with astype('float32')" if dtype.kind in "biu" else ""
        raise FormatError(f"{where}: is {shape} {dtype}, {EXPECTED}{remedy}")
    if shape[0] > MAX_IMAGES:
        raise FormatError(f"{where}: is {shape}, expected at most {MAX_IMAGES:,} images; split it")
    if 0 in shape:
        content = "images" if shape[0] == 0 else "values"
        raise FormatError(f"{where}: is {shape}, without {content}; extract the features again")


def zarr_layer(
    values: zarr.Array[Any], ranges: tuple[zarr.Array[Any], zarr.Array[Any]] | None
) -> Layer:
    """Return the layer in a Zarr array of two or three axes."""
    shape = three_axes(values.shape)
    chunk = min(values.chunks[0], shape[0])
    readers = None if ranges is None else (row_reader(ranges[0]), row_reader(ranges[1]))
    return Layer(row_reader(values), shape, values.dtype.newbyteorder("="), chunk, readers)


def _native(values: AnyArray) -> AnyArray:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def _content_id(path: Path) -> str:
    """Hash a file's bytes, block by block, to 32 hex digits."""
    try:
        with path.open("rb") as file:
            blocks = iter(lambda: file.read(_HASH_BLOCK_BYTES), b"")
            return hash_bytes(*(hash_bytes(block).encode() for block in blocks))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from error


def _folder_id(folder: Path) -> str:
    """Hash names and bytes of the files in a folder to 32 hex digits."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = ((str(path.relative_to(folder)), _content_id(path)) for path in files)
    return hash_bytes(*(f"{name}\0{content}\n".encode() for name, content in parts))


def three_axes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (N, D, K) of an array (N, D), with K = 1, or (N, D, K)."""
    images, channels, *vectors = shape
    return images, channels, vectors[0] if vectors else 1


# NumPy files

BLOCK_BYTES = 4 << 20
"""Approximate bytes read from a file at once, like chunks of feature stores."""


@dataclass(frozen=True, slots=True)
class _NumpyFile:
    """An array in a file, mapped again for each read so that memory is released."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    order: str

    def __getitem__(self, rows: slice | int, /) -> AnyArray:
        order: Any = self.order
        values = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order)
        return np.array(values[rows], order="C")


def open_npy(path: Path) -> Layer:
    """Open a NumPy file."""
    if path.suffix == ".npz":
        raise FormatError(
            f"{path}: is an archive of arrays, expected one array; np.save each as .npy"
        )
    try:
        with path.open("rb") as file:
            is_numpy = file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX
        array = open_memmap(path, mode="r") if is_numpy else None
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; check the path") from None
    except Exception as error:  # NumPy's reader raises many kinds
        raise _not_numpy_error(error, str(path)) from error
    if array is None:  # an archive, a pickle or text, none of which are opened
        raise FormatError(f"{path}: is not a NumPy array; np.save it again, {EXPECTED}")
    check_layout(array.shape, array.dtype, str(path))
    order = "C" if array.flags.c_contiguous else "F"
    values = _NumpyFile(path, array.dtype, array.offset, array.shape, order)
    return _numpy_layer(values, array.shape, array.dtype)


def parse_npy(content: bytes, where: str) -> Layer:
    """Parse the bytes of a NumPy file."""
    file = BytesIO(content)
    try:
        version = read_magic(file)
        header = read_array_header_1_0 if version == (1, 0) else read_array_header_2_0
        shape, fortran_order, dtype = header(file)
        if dtype.hasobject or min(shape, default=0) < 0:
            raise ValueError("it holds Python objects, or a size is negative")
        flat = np.frombuffer(content, dtype, math.prod(shape), file.tell())
        values = flat.reshape(shape, order="F" if fortran_order else "C")
    except Exception as error:  # NumPy's reader raises many kinds
        raise _not_numpy_error(error, where) from error
    check_layout(shape, dtype, where)
    return _numpy_layer(values, shape, dtype)


def _not_numpy_error(error: Exception, where: str) -> FormatError:
    reason = str(error).partition("\n")[0]
    return FormatError(
        f"{where}: cannot be read as a NumPy array ({reason}); np.save it again, {EXPECTED}"
    )


def _numpy_layer(values: Rows, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Layer:
    images, channels, vectors = three_axes(shape)
    chunk = max(BLOCK_BYTES // (channels * vectors * dtype.itemsize), 1)
    native = dtype.newbyteorder("=")
    return Layer(values, (images, channels, vectors), native, min(chunk, images))


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


_MODEL_FACTS = ("model", "arch", "encoder", "pruning", "fold", "repeat", "parameter_count")
_TRAINING_FACTS = ("training_domain", "training_dataset")
_DATA_FACTS = ("dataset", "domain", "split", "shift", "factor", "patch_size", "grid", "pooling")
FACTS = (*_MODEL_FACTS, *_TRAINING_FACTS, *_DATA_FACTS)
"""Attributes, in addition to the header, that identify the source of the activations."""

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
    if last_part(place).endswith((".npy", ".npz")):
        layer = open_npy(place) if isinstance(place, Path) else parse_npy(fetch_file(place), where)
        facts = dict.fromkeys(FACTS)
        return FeatureStore(place, where, None, facts, ("features",), {}, {"features": layer})
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
