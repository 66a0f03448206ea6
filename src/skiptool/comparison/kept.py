"""Blocks read once and kept for the next pair: in memory, and beyond it in a temporary file.

Stores may lie behind a network, compressed; the temporary file is local and holds bare values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.comparison.scratch import Scratch
from skiptool.comparison.sets import Activations, Counted

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["keeping"]


@dataclass(slots=True, eq=False)
class _Kept:
    """A set of activations that keeps what it has read of one layer.

    ``blocks`` holds arrays, or None where they lie in the temporary file.
    """

    source: Activations
    layer: str
    scratch: Scratch | None
    blocks: dict[tuple[int, int], AnyArray | None] = field(default_factory=dict)
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

    @property
    def grid(self) -> tuple[int, int] | None:
        return self.source.grid

    def __len__(self) -> int:
        return len(self.source)

    def shape(self, layer: str) -> tuple[int, int, int]:
        return self.source.shape(layer)

    def dtype(self, layer: str) -> np.dtype[Any]:
        return self.source.dtype(layer)

    def counted(self, layer: str) -> Counted | None:
        return self.source.counted(layer)

    def chunk(self, layer: str) -> int:
        return self.source.chunk(layer)

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray] | None:
        return self.source.ranges(layer)

    def read(self, layer: str, rows: slice) -> AnyArray:
        if layer != self.layer:
            return self.source.read(layer, rows)
        key = rows.start, rows.stop
        with self.lock:
            known, found = key in self.blocks, self.blocks.get(key)
        if found is None:
            found = self._from_scratch(rows) if known else self.source.read(layer, rows)
        if not known:
            self._keep(key, found)
        return found

    def _keep(self, key: tuple[int, int], block: AnyArray) -> None:
        if self.scratch is not None:
            self.scratch.write(key[0] * block[:1].nbytes, np.ascontiguousarray(block))
        with self.lock:
            self.blocks[key] = block if self.scratch is None else None

    def _from_scratch(self, rows: slice) -> AnyArray:
        _, channels, vectors = self.shape(self.layer)
        found = np.empty((rows.stop - rows.start, channels, vectors), self.dtype(self.layer))
        if self.scratch is not None:
            self.scratch.read(rows.start * found[:1].nbytes, found)
        return found


@contextmanager
def keeping(
    sets: Sequence[Activations], pairs: Sequence[tuple[int, int]], layer: str, limit: int
) -> Iterator[list[Activations]]:
    """Yield the sets, of which those in several pairs keep their blocks, each read once.

    Parameters
    ----------
    sets : sequence of Activations
    pairs : sequence of (int, int)
        Places in ``sets`` that will be compared.
    layer : str
        The one layer that is about to be read.
    limit : int
        Bytes that may be kept in memory in all; sets in more pairs go first. What is left over
        goes to temporary files, removed at the end.

    Raises
    ------
    SourceError
        If the folder of temporary files cannot be written.
    """
    uses = Counter(place for pair in pairs for place in pair)
    found = list(sets)
    with ExitStack() as stack:
        for place, times in uses.most_common():
            if times > 1:
                size = prod(sets[place].shape(layer)) * sets[place].dtype(layer).itemsize
                fits = size <= limit
                limit -= size if fits else 0
                scratch = None if fits else stack.enter_context(Scratch())
                found[place] = _Kept(sets[place], layer, scratch)
        yield found
