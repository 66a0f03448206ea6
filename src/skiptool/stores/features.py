"""Feature store: pooled activations of named layers. Format ``features``, version 1.

::

    feats.zarr/                     Zarr format 3
      zarr.json                     attributes: the header (see ``header``), ``model``, ``dataset``,
                                    ``domain``, ``split``, ``shift``, ``factor`` (null for
                                    original), ``patch_size`` [H, W], ``grid`` [rows, columns],
                                    ``pooling``, ``layers`` (names in order of data flow) and what
                                    is known of the model: ``arch``, ``encoder``, ``pruning``,
                                    ``fold``, ``parameter_count``
      layers/<name>   (N, D, K)     float16 (float32 on request); K = rows x columns
      ranges/<name>/
        low, high     (N, D)        float32, of the stored values, each image and channel
      samples/        ...           all columns of the dataset's samples

Chunks hold whole images, the same number in every layer (16 unless asked), compressed with LZ4
and closed by a CRC-32C. The id is a hash of weights, data, domain, split, shift, preprocessing,
layers, pooling and dtype: equal ids, equal activations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any

import zarr

from skiptool.errors import ArgumentError, FormatError, near
from skiptool.names import Kind
from skiptool.stores.header import Lineage, parse_lineage
from skiptool.stores.zarrs import open_array, open_group, open_root, read_columns, read_rows

if TYPE_CHECKING:
    from skiptool.records import AnyArray

    Arrays = Mapping[str, zarr.Array[Any]]

__all__ = ["FACTS", "FeatureStore", "open_features"]

FACTS = (
    *("model", "arch", "encoder", "pruning", "fold", "parameter_count"),
    *("dataset", "domain", "split", "shift", "factor", "patch_size", "grid", "pooling"),
)
"""Attributes beside the header that say what the activations are of."""

_NUMBERS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("fold", "parameter_count"), int),
    "factor": (int, float),
    **dict.fromkeys(("patch_size", "grid"), list),
}
"""Facts that are no text; any may be null."""


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """An open feature store; activations are read in blocks of whole images."""

    path: Path
    lineage: Lineage
    facts: Mapping[str, Any]
    layers: tuple[str, ...]
    columns: Mapping[str, Any]
    arrays: Mapping[str, Arrays]

    def __len__(self) -> int:
        return len(self.columns["id"])

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (N, D, K) of a layer."""
        images, channels, vectors = self._arrays(layer)["values"].shape
        return images, channels, vectors

    def blocks(self, layer: str) -> Iterator[tuple[int, AnyArray]]:
        """Yield ``(start, features (n, D, K))`` chunk by chunk, in order.

        Raises
        ------
        FormatError
            If a chunk is damaged.
        """
        array = self._arrays(layer)["values"]
        step = array.chunks[0]
        for start in range(0, array.shape[0], step):
            stop = min(start + step, array.shape[0])
            where = f"{self.path}: layer {layer}, images {start} to {stop - 1}"
            yield start, read_rows(array, slice(start, stop), where)

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray]:
        """Return low and high, each float32 (N, D), of the stored values of a layer.

        Raises
        ------
        FormatError
            If they are damaged.
        """
        low, high = (
            read_rows(self._arrays(layer)[name], slice(None), f"{self.path}: {name} of {layer}")
            for name in ("low", "high")
        )
        return low, high

    def _arrays(self, layer: str) -> Arrays:
        if layer not in self.arrays:
            raise ArgumentError(
                f"{self.path}: has no layer {layer!r}, it has {', '.join(self.layers)}"
                f"{near(layer, self.layers)}"
            )
        return self.arrays[layer]


def open_features(path: Path) -> FeatureStore:
    """Open a feature store and check its layout.

    Raises
    ------
    FormatError
        If there is none at ``path``, it is of another kind or version, or is empty or torn.
    """
    root = open_root(path, "feature")
    attributes: dict[str, Any] = dict(root.attrs)
    lineage = parse_lineage(attributes, str(path), Kind.FEATURES)
    layers = attributes.get("layers")
    named = isinstance(layers, list) and all(isinstance(name, str) for name in layers)
    if not layers or not named:
        raise FormatError(f"{path}: attributes name no layers; extract the features again")
    facts = {name: attributes.get(name) for name in FACTS}
    for name, value in facts.items():
        if value is not None and not isinstance(value, _NUMBERS.get(name, str)):
            raise FormatError(
                f"{path}: attribute {name} is {brief(value)}; extract the features again"
            )
    columns = read_columns(root, str(path))
    if not len(columns.get("id", ())):
        raise FormatError(f"{path}: holds no image; extract the features again")
    arrays = {layer: _open_layer(root, path, layer) for layer in layers}
    _check_lengths(columns, arrays, path)
    return FeatureStore(path, lineage, facts, tuple(layers), columns, arrays)


def _open_layer(root: zarr.Group, path: Path, layer: str) -> Arrays:
    values = open_array(
        open_group(root, "layers", str(path)), layer, f"{path}: layers", 3, ["float16", "float32"]
    )
    arrays = {"values": values}
    ranges = open_group(root, "ranges", str(path))
    for name in ("low", "high"):
        found = open_array(ranges, f"{layer}/{name}", f"{path}: ranges", 2, ["float32"])
        if found.shape != values.shape[:2]:
            raise FormatError(
                f"{path}: {name} of layer {layer} is {found.shape}, the layer {values.shape}; "
                "extract the features again"
            )
        arrays[name] = found
    return arrays


def _check_lengths(columns: Mapping[str, Any], arrays: Mapping[str, Arrays], path: Path) -> None:
    lengths = {f"column {name}": len(values) for name, values in columns.items()}
    lengths |= {f"layer {layer}": found["values"].shape[0] for layer, found in arrays.items()}
    for name, length in lengths.items():
        if length != len(columns["id"]):
            raise FormatError(
                f"{path}: {name} holds {length} images, the samples are {len(columns['id'])}; "
                "extract the features again"
            )
