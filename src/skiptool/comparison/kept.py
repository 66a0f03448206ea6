"""Blocks read once and kept for the next pair, as far as memory allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any

from skiptool.comparison.sets import Activations

if TYPE_CHECKING:
    import numpy as np

    from skiptool.records import AnyArray

__all__ = ["keeping"]


@dataclass(slots=True, eq=False)
class _Kept:
    """A set of activations that keeps what it has read of one layer."""

    source: Activations
    blocks: dict[tuple[str, int, int], AnyArray] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @property
    def where(self) -> str:
        return self.source.where

    @property
    def dataset_id(self) -> str | None:
        return self.source.dataset_id

    @property
    def layers(self) -> tuple[str, ...]:
        return self.source.layers

    @property
    def columns(self) -> Mapping[str, Any]:
        return self.source.columns

    def __len__(self) -> int:
        return len(self.source)

    def shape(self, layer: str) -> tuple[int, int, int]:
        return self.source.shape(layer)

    def dtype(self, layer: str) -> np.dtype[Any]:
        return self.source.dtype(layer)

    def chunk(self, layer: str) -> int:
        return self.source.chunk(layer)

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray] | None:
        return self.source.ranges(layer)

    def read(self, layer: str, rows: slice) -> AnyArray:
        key = layer, rows.start, rows.stop
        with self.lock:
            found = self.blocks.get(key)
        if found is None:
            found = self.source.read(layer, rows)
            with self.lock:
                self.blocks[key] = found
        return found


def keeping(
    sets: Sequence[Activations], pairs: Sequence[tuple[int, int]], layer: str, limit: int
) -> list[Activations]:
    """Return the sets, of which those in several pairs keep their blocks while they fit.

    Parameters
    ----------
    sets : sequence of Activations
    pairs : sequence of (int, int)
        Places in ``sets`` that will be compared.
    layer : str
        The one layer that is about to be read.
    limit : int
        Bytes that may be kept in all; sets in more pairs go first, and none is kept in part.
    """
    uses = Counter(place for pair in pairs for place in pair)
    found = list(sets)
    for place, times in uses.most_common():
        size = prod(sets[place].shape(layer)) * sets[place].dtype(layer).itemsize
        if times > 1 and size <= limit:
            limit -= size
            found[place] = _Kept(sets[place])
    return found
