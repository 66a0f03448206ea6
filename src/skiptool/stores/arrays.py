"""Activations as arrays: an open feature store, its layers, and NumPy files.

Needs neither Zarr nor Arrow, so that comparing two ``.npy`` files starts quickly; ``features`` and
``counts`` open Zarr stores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.lib.format import (
    MAGIC_PREFIX,
    open_memmap,
    read_array_header_1_0,
    read_array_header_2_0,
    read_magic,
)

from skiptool.errors import ArgumentError, FormatError, OutOfMemoryError, SkiptoolError, suggestion
from skiptool.stores.addresses import OpenStore, last_part, redact
from skiptool.stores.lineage import Lineage, hash_bytes

if TYPE_CHECKING:
    from skiptool.distances.bins import CountLayout
    from skiptool.records import AnyArray

FLOATS = ("float16", "float32", "float64")
"""Data types of features."""

EXPECTED = "expected (N, D) or (N, D, K) of float16, float32 or float64"

_HASH_BLOCK_BYTES = 4 << 20

MAX_IMAGES = 10**8
"""Limit for foreign stores: metadata of a few bytes can claim more images without storing any."""

_MODEL_FACTS = ("model", "arch", "encoder", "pruning", "fold", "repeat", "parameter_count")
_TRAINING_FACTS = ("training_domain", "training_dataset")
_DATA_FACTS = ("dataset", "domain", "split", "shift", "factor", "patch_size", "grid", "pooling")
FACTS = (*_MODEL_FACTS, *_TRAINING_FACTS, *_DATA_FACTS)
"""Attributes, in addition to the header, that identify the source of the activations."""


Stamp = tuple[tuple[str, int, int, int], ...]
"""Name, inode, size and time of change of each file of a store."""


class Rows(Protocol):
    """Array that can be indexed by rows, that is, along its first axis."""

    def __getitem__(self, rows: slice | int, /) -> object: ...


def read_rows(array: Rows, rows: slice | int, where: str) -> AnyArray:
    """Read rows of an array's first axis."""
    try:
        return np.asarray(array[rows])
    except Exception as error:  # codecs raise many kinds
        damage = f"cannot be read ({error}); the file is damaged, make it again"
        raise read_error(error, where, damage) from error


def read_error(error: Exception, where: str, damage: str) -> SkiptoolError:
    """Return the error to raise for one that passed through Zarr.

    Errors of skiptool keep their type; any other means damaged data, which ``damage`` describes.
    """
    if isinstance(error, SkiptoolError):
        return type(error)(f"{where}: {error}")
    if isinstance(error, MemoryError):
        return OutOfMemoryError(f"{where}: not enough memory to read it; free memory")
    return FormatError(f"{where}: {damage}")


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
    stamp : tuple
        :func:`stamp_of` a store without a header when it was opened.
    """

    where: str
    lineage: Lineage | None
    facts: Mapping[str, Any]
    layers: tuple[str, ...]
    columns: Mapping[str, Any]
    arrays: Mapping[str, Layer]
    stamp: Stamp = ()

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


def _native(values: AnyArray) -> AnyArray:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def stamp_of(place: Path | str) -> Stamp:
    """Return what changes if a file, or a file in a folder, is written; empty for a URL."""
    if isinstance(place, str):
        return ()
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    statuses = ((str(file), file.stat()) for file in files if file.is_file())
    return tuple((name, st.st_ino, st.st_size, st.st_mtime_ns) for name, st in statuses)


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


def is_numpy_file(place: Path | str) -> bool:
    """Return whether a path or URL is that of a NumPy file, by its name."""
    return last_part(place).endswith((".npy", ".npz"))


def open_numpy_file(place: Path | str) -> FeatureStore:
    """Open a NumPy file, local or behind a URL, as a store of the single layer ``features``."""
    where, stamp = redact(str(place)), stamp_of(place)
    if isinstance(place, Path):
        layer = open_npy(place)
    else:
        from skiptool.stores.remote import fetch_file  # lazy: it imports Zarr

        layer = parse_npy(fetch_file(place), where)
    facts, layers = dict.fromkeys(FACTS), {"features": layer}
    return FeatureStore(place, where, None, facts, tuple(layers), {}, layers, stamp)


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
