"""Small activations to compare: in memory, where they note who reads what, and in stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skiptool.comparison.activations import Mapper, Settings
from skiptool.parallel import ordered_map
from skiptool.stores.features_writer import CHUNK, FeatureWriter
from skiptool.stores.lineage import Invocation

LAYERS = {"enc1": (3, 4), "dec0": (2, 6)}
"""Channels D and vectors K of each layer."""


class Noted:
    """Layers (N, D, K); ``reads`` lists layer, start and stop of every block that was read."""

    def __init__(
        self,
        arrays: Mapping[str, Any],
        where: str = "x",
        *,
        chunk: int = 3,
        ranges: Mapping[str, Any] | None = None,
        dataset: str | None = None,
        **columns: Sequence[object],
    ) -> None:
        self.arrays, self.where, self.step = dict(arrays), where, chunk
        self.columns: Mapping[str, Any] = columns
        self.dataset_id, self.kept = dataset, dict(ranges or {})
        self.reads: list[tuple[str, int, int]] = []
        self.sides: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.arrays)

    @property
    def grid(self) -> tuple[int, int] | None:
        return self.sides

    def shape(self, layer: str) -> tuple[int, int, int]:
        images, channels, vectors = self.arrays[layer].shape
        return images, channels, vectors

    def dtype(self, layer: str) -> Any:  # noqa: ANN401
        return self.arrays[layer].dtype

    def count_layout(self, _layer: str) -> None:
        return None

    def chunk(self, _layer: str) -> int:
        return self.step

    def read(self, layer: str, rows: slice) -> Any:  # noqa: ANN401
        self.reads.append((layer, rows.start, rows.stop))
        return self.arrays[layer][rows]

    def ranges(self, layer: str) -> Any:  # noqa: ANN401
        return self.kept.get(layer)

    def reordered(self, order: Sequence[int], **other: Any) -> Noted:  # noqa: ANN401
        """Return the same images in another order."""
        arrays = {name: array[list(order)] for name, array in self.arrays.items()}
        columns = {name: [values[i] for i in order] for name, values in self.columns.items()}
        made = Noted(arrays, self.where, chunk=self.step, dataset=self.dataset_id, **columns)
        vars(made).update(other)
        return made


def extremes(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Lowest and highest value of each image and channel, by layer."""
    return {name: (array.min(axis=2), array.max(axis=2)) for name, array in arrays.items()}


def activations(
    images: int, seed: int = 0, shift: float = 0.0, dtype: type = np.float16
) -> dict[str, Any]:
    """Layers like those after a ReLU, each image with an effect of its own."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, (channels, vectors) in LAYERS.items():
        effect = rng.normal(scale=0.3, size=(images, channels, 1))
        values = rng.normal(shift, size=(images, channels, vectors)) + effect
        found[name] = np.maximum(values, 0.0).astype(dtype)
    return found


def numbered(images: int) -> list[str]:
    """Ids of so many images."""
    return [f"im{number:03d}" for number in range(images)]


def threads(workers: int) -> Mapper:
    """Return the mapper of so many threads."""

    def spread(function: Any, items: Iterable[Any], merge: Any = None) -> Any:  # noqa: ANN401
        return ordered_map(function, items, workers)

    return spread


ONE = threads(1)

PLAIN = Settings(bins=(8,), permutations=19, group="image")
"""Settings of most tests: few bins, few relabellings, images as units."""


def written(
    path: Path,
    layers: Mapping[str, Any],
    *,
    model: str = "m",
    dataset: str | None = "d",
    dtype: str = "float16",
    facts: Mapping[str, Any] | None = None,
    **columns: Sequence[object],
) -> Path:
    """Write layers (N, D, K) as a feature store; ids are numbered where none are given."""
    inputs = {"model": model} | ({} if dataset is None else {"dataset": dataset})
    invocation = Invocation("features", (), {}, {}, inputs)
    told = {"model": model, "domain": "A", "shift": "original", "dataset": "d.zarr"}
    images = len(next(iter(layers.values())))
    ids = {"id": columns.pop("id", numbered(images)), **columns}
    writer = FeatureWriter(path, invocation, path.name, told | dict(facts or {}), ids, dtype)
    for start in range(0, images, CHUNK):
        block = {name: array[start : start + CHUNK] for name, array in layers.items()}
        writer.append({name: array.astype(np.float32) for name, array in block.items()})
    writer.finish()
    return path
