"""Features as they are read, layer by layer, whatever they lie in.

A layer is an array (N, D, K) of float16, float32 or float64; one of (N, D) is read as K = 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, FormatError, near
from skiptool.stores.addresses import last_part
from skiptool.stores.header import Lineage, identifier
from skiptool.stores.shards import rows_of
from skiptool.stores.zarrs import read_rows

if TYPE_CHECKING:
    from skiptool.comparison.activations import Counted
    from skiptool.records import AnyArray
    from skiptool.stores.zarrs import Rows

__all__ = ["FLOATS", "FORM", "FeatureStore", "Layer", "check_form", "three_axes", "zarr_layer"]

FLOATS = ("float16", "float32", "float64")
"""Data types that features may have."""

FORM = "expected (N, D) or (N, D, K) of float16, float32 or float64"

_HASHED_AT_ONCE = 4 << 20

MOST_IMAGES = 10**8
"""In a store of others: a few bytes can say that there are more, without one being stored."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The features of one layer, as they are read.

    Attributes
    ----------
    values : Rows
        Zarr array or NumPy file, two or three axes.
    shape : tuple of int
        (N, D, K).
    dtype : np.dtype
        In this machine's byte order.
    chunk : int
        Images in one whole chunk.
    ranges : tuple of Rows, optional
        Low and high, (N, D) each.
    """

    values: Rows
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    chunk: int
    ranges: tuple[Rows, Rows] | None = None

    def read(self, rows: slice, where: str) -> AnyArray:
        """Read images: (n, D, K), contiguous, in this machine's byte order.

        Raises
        ------
        FormatError
            If a chunk of them is damaged.
        SourceError
            If a remote store cannot be reached.
        """
        block = _native(read_rows(self.values, rows, where))
        return block.reshape(len(block), *self.shape[1:])


@dataclass(frozen=True)
class FeatureStore:
    """An open feature store; activations are read in blocks of whole images, from any thread.

    Attributes
    ----------
    place : Path or str
        Local path, or a URL.
    where : str
        How messages call it: as it was given, without credentials.
    lineage : Lineage, optional
        None where others made it.
    facts : mapping
        :data:`skiptool.stores.features.FACTS` to what is known of them, else None.
    layers : tuple of str
        In the order of data flow.
    columns : mapping
        Columns of the samples, N values each; empty where others keep none.
    arrays : mapping
        Layer to what is read of it.
    """

    place: Path | str
    where: str
    lineage: Lineage | None
    facts: Mapping[str, Any]
    layers: tuple[str, ...]
    columns: Mapping[str, Any]
    arrays: Mapping[str, Layer]

    def __len__(self) -> int:
        return self.arrays[self.layers[0]].shape[0]

    @property
    def name(self) -> str:
        """Last component of the place, for people."""
        return last_part(self.place)

    @cached_property
    def id(self) -> str | None:
        """Id of the store; of what others made a hash of the bytes, None behind a URL."""
        if self.lineage is not None:
            return self.lineage.id
        place = self.place
        if isinstance(place, str):
            return None
        return _folder_id(place) if place.is_dir() else _content_id(place)

    @property
    def model_id(self) -> str | None:
        """Id of the model that the activations are of."""
        return None if self.lineage is None else self.lineage.inputs.get("model")

    @property
    def dataset_id(self) -> str | None:
        """Id of the dataset that the images are from."""
        return None if self.lineage is None else self.lineage.inputs.get("dataset")

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the pooled feature maps, where the store says so."""
        grid = self.facts.get("grid")
        sides = list(grid) if isinstance(grid, list | tuple) else []
        whole = len(sides) == 2 and all(isinstance(side, int) for side in sides)
        return (sides[0], sides[1]) if whole else None

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (N, D, K) of a layer."""
        return self._layer(layer).shape

    def dtype(self, layer: str) -> np.dtype[Any]:
        """Return the data type of a layer, in this machine's byte order."""
        return self._layer(layer).dtype

    def counted(self, layer: str) -> Counted | None:
        """Say that the values themselves are kept: nothing was counted."""
        self._layer(layer)
        return None

    def chunk(self, layer: str) -> int:
        """Return how many images a whole chunk of a layer holds: the unit of reading."""
        return self._layer(layer).chunk

    def read(self, layer: str, rows: slice) -> AnyArray:
        """Read images of a layer: (n, D, K), contiguous, in this machine's byte order.

        Raises
        ------
        FormatError
            If a chunk is damaged, or lost in a remote store.
        SourceError
            If a remote store cannot be reached.
        """
        found = self._layer(layer)
        start, stop, _ = rows.indices(len(self))
        return found.read(rows, f"{self.where}: layer {layer}, images {start} to {stop - 1}")

    def blocks(self, layer: str) -> Iterator[tuple[int, AnyArray]]:
        """Yield ``(start, features (n, D, K))`` chunk by chunk, in order.

        Raises
        ------
        FormatError, SourceError
            As :meth:`read`.
        """
        step = self.chunk(layer)
        for start in range(0, len(self), step):
            yield start, self.read(layer, slice(start, min(start + step, len(self))))

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray] | None:
        """Return low and high, each (N, D), of the stored values; None where none are kept.

        Raises
        ------
        FormatError, SourceError
            As :meth:`read`.
        """
        found = self._layer(layer).ranges
        if found is None:
            return None
        low, high = (
            _native(read_rows(values, slice(None), f"{self.where}: {name} of {layer}"))
            for name, values in zip(("low", "high"), found, strict=True)
        )
        return low, high

    def _layer(self, layer: str) -> Layer:
        if layer not in self.arrays:
            raise ArgumentError(
                f"{self.where}: has no layer {layer!r}, it has {', '.join(self.layers)}"
                f"{near(layer, self.layers)}"
            )
        return self.arrays[layer]


def check_form(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Check that an array made by others holds features.

    Raises
    ------
    FormatError
        If it has other axes or another data type, no images, or more than there can be.
    """
    if dtype.name not in FLOATS or len(shape) not in (2, 3):
        remedy = "; convert it with astype('float32')" if dtype.kind in "biu" else ""
        raise FormatError(f"{where}: is {shape} {dtype}, {FORM}{remedy}")
    if shape[0] > MOST_IMAGES:
        raise FormatError(f"{where}: is {shape}, expected at most {MOST_IMAGES:,} images; split it")
    if 0 in shape:
        what = "image" if shape[0] == 0 else "value"
        raise FormatError(f"{where}: is {shape}, which holds no {what}; extract the features again")


def zarr_layer(
    values: zarr.Array[Any], ranges: tuple[zarr.Array[Any], zarr.Array[Any]] | None
) -> Layer:
    """Return the layer in a Zarr array of two or three axes, and its ranges if they are kept."""
    shape = three_axes(values.shape)
    chunk = min(values.chunks[0], shape[0])
    kept = None if ranges is None else (rows_of(ranges[0]), rows_of(ranges[1]))
    return Layer(rows_of(values), shape, values.dtype.newbyteorder("="), chunk, kept)


def _native(values: AnyArray) -> AnyArray:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def _content_id(path: Path) -> str:
    """Hash a file's bytes, block by block, to 32 hex digits.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            blocks = iter(lambda: file.read(_HASHED_AT_ONCE), b"")
            return identifier(*(identifier(block).encode() for block in blocks))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from error


def _folder_id(folder: Path) -> str:
    """Hash the files of a folder, names and bytes, to 32 hex digits; raises as `_content_id`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = ((str(path.relative_to(folder)), _content_id(path)) for path in files)
    return identifier(*(f"{name}\0{content}\n".encode() for name, content in parts))


def three_axes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (N, D, K) of an array (N, D), K = 1, or (N, D, K)."""
    images, channels, *vectors = shape
    return images, channels, vectors[0] if vectors else 1
