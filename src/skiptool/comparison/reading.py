"""Passes over the blocks of a set of activations, each block read and reduced at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from skiptool.comparison.sets import Activations
from skiptool.distances.counting import Binning, Misfit, count, extent
from skiptool.distances.float16 import KEYS, key_counts
from skiptool.errors import FormatError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64

__all__ = ["Block", "Mapper", "counted", "extents", "key_totals", "values_of"]

R = TypeVar("R")


class Mapper(Protocol):
    """How work is spread: threads of this process, or a cluster (see ``skiptool.parallel``)."""

    def __call__(
        self,
        function: Callable[[Any], R],
        items: Iterable[Any],
        merge: Callable[[Sequence[R]], R] | None = None,
    ) -> Iterator[R]:
        """Yield results in order; neighbours may come merged where ``merge`` is given."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Counts (n, D, C) of some images, and their mean activations (n, D) if asked for.

    The first entry of either is of all vectors of each image, a second one of those drawn, if any.
    """

    start: int
    counts: tuple[AnyArray, ...]
    means: tuple[Float64, ...] = ()


def counted(
    activations: Activations,
    layer: str,
    binning: Binning,
    mapper: Mapper,
    *,
    means: bool,
    drawn: Int64 | None = None,
) -> Iterator[Block]:
    """Count all images of a layer, block by block; ``drawn`` (N, k) asks for some vectors too.

    Counts that are kept are read as they are: their bins are those of ``binning``.

    Raises
    ------
    FormatError
        If an activation is not finite or out of range: says of which image and channel.
    """
    function = partial(_count_block, activations, layer, binning, means, drawn)
    return mapper(function, _rows(activations, layer), _joined)


def extents(activations: Activations, layer: str, mapper: Mapper) -> tuple[AnyArray, AnyArray]:
    """Return lowest and highest values (N, D): those kept, or from a pass over all values.

    Raises
    ------
    FormatError
        If one is not finite: says of which image and channel.
    """
    kept = activations.ranges(layer)
    if kept is None:
        found = list(mapper(partial(_extent_block, activations, layer), _rows(activations, layer)))
        kept = (
            np.concatenate([low for low, _ in found]),
            np.concatenate([high for _, high in found]),
        )
    low, high = kept
    wrong = np.argwhere(~(np.isfinite(low) & np.isfinite(high) & (low <= high)))
    if len(wrong):
        image, channel = wrong[0].tolist()
        ends = f"{low[image, channel]:g} to {high[image, channel]:g}"
        reason = f"activations range from {ends}, expected finite numbers"
        raise _misfit(activations, layer, image, channel, reason)
    return low, high


def key_totals(activations: Activations, layer: str, channels: slice) -> AnyArray:
    """Count the float16 values of some channels over all images, (d, KEYS).

    Raises
    ------
    FormatError
        If a value is not finite: says of which image and channel.
    """
    images, all_channels, vectors = activations.shape(layer)
    width = len(range(*channels.indices(all_channels)))
    dtype = np.int32 if images * vectors <= np.iinfo(np.int32).max else np.int64
    totals = np.zeros((width, KEYS), dtype)
    for rows in _rows(activations, layer):
        key_counts(_finite(activations, layer, rows, channels), totals)
    return totals


def values_of(activations: Activations, layer: str, channels: slice) -> AnyArray:
    """Return all values (N * K, d) of some channels.

    Raises
    ------
    FormatError
        If a value is not finite: says of which image and channel.
    """
    blocks = [
        _finite(activations, layer, rows, channels).transpose(0, 2, 1)
        for rows in _rows(activations, layer)
    ]
    return np.concatenate([block.reshape(-1, block.shape[2]) for block in blocks])


def _finite(activations: Activations, layer: str, rows: slice, channels: slice) -> AnyArray:
    block = activations.read(layer, rows)[:, channels]
    wrong = np.argwhere(~np.isfinite(block))
    if len(wrong):
        image, channel, vector = wrong[0].tolist()
        reason = f"activation {block[image, channel, vector]:g} is not finite"
        raise _misfit(activations, layer, rows.start + image, channels.start + channel, reason)
    return block


def _rows(activations: Activations, layer: str) -> list[slice]:
    step, images = activations.chunk(layer), len(activations)
    return [slice(start, min(start + step, images)) for start in range(0, images, step)]


def _count_block(
    activations: Activations,
    layer: str,
    binning: Binning,
    means: bool,
    drawn: Int64 | None,
    rows: slice,
) -> Block:
    values = activations.read(layer, rows)
    if activations.counted(layer) is not None:
        return Block(rows.start, (values,))
    parts = [values]
    if drawn is not None:
        chosen = drawn[rows][:, np.newaxis, :]
        parts.append(np.ascontiguousarray(np.take_along_axis(values, chosen, axis=2)))
    try:
        counts = tuple(count(part, binning) for part in parts)
    except Misfit as error:
        finite = np.isfinite(error.value)
        what = "outside of the range that is kept beside it" if finite else "not finite"
        reason = f"activation {error.value:g} is {what}"
        image = rows.start + error.image
        # Without its cause, which cannot travel from a cluster.
        raise _misfit(activations, layer, image, error.channel, reason) from None
    averages = tuple(part.mean(axis=2, dtype=np.float64) for part in parts) if means else ()
    return Block(rows.start, counts, averages)


def _extent_block(activations: Activations, layer: str, rows: slice) -> tuple[AnyArray, AnyArray]:
    return extent(activations.read(layer, rows))


def _joined(blocks: Sequence[Block]) -> Block:
    counts = zip(*(block.counts for block in blocks), strict=True)
    means = zip(*(block.means for block in blocks), strict=True)
    return Block(
        blocks[0].start,
        tuple(np.concatenate(each) for each in counts),
        tuple(np.concatenate(each) for each in means),
    )


def _misfit(
    activations: Activations, layer: str, image: int, channel: int, reason: str
) -> FormatError:
    names = activations.columns.get("id")
    return FormatError(
        f"{activations.where}: layer {layer}, image {image if names is None else names[image]}, "
        f"channel {channel}: {reason}; extract the features again"
    )
