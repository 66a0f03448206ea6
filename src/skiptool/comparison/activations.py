"""Activations to compare, the settings of a comparison, and passes over blocks of images.

A set of activations is read in blocks of whole images. Each block is reduced to counts or extremes
as soon as it is read. Every pass raises FormatError, naming image and channel, if an activation is
not finite. Plain arrays serve as activations too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from skiptool.distances.bins import MAX_BINS, Binning, CountLayout, check_features
from skiptool.distances.counting import UnbinnedActivation, activation_extremes, count_activations
from skiptool.distances.float16 import KEYS, key_counts
from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Metric, RangeRule

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64

BINS = 100
"""Default number of bins B of eq. (4), which the paper does not state."""

PERMUTATIONS = 199
"""Default number of relabellings: the smallest p-value is 1 / 200."""

SWEPT = (RangeRule.MINMAX, RangeRule.PERCENTILES, RangeRule.REFERENCE)
"""Range rules with bins of equal width and a closed last bin, which can be merged in a sweep."""

LIBRARIES = 250
"""Megabytes that Python and its libraries take before any array is allocated."""

_ARRAY_BLOCK = 4_000_000
"""Bytes of an array counted at once, so that they stay in cache."""


class Activations(Protocol):
    """Activations of N images in named layers, read in blocks of whole images.

    ``read`` is called from several threads at once.

    Some sets hold counts instead of activations (see :class:`CountLayout`), of single images or of
    blocks of images; a row of counts then takes the place of an image everywhere.
    """

    @property
    def where(self) -> str:
        """Name of the set in messages."""

    @property
    def dataset_id(self) -> str | None:
        """Dataset of the images; image ids are comparable only within one dataset."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names in the order of data flow."""

    @property
    def columns(self) -> Mapping[str, Any]:
        """Metadata columns of the images, such as ``id`` and ``subject``."""

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the grid of the K vectors of an image; None if unknown."""

    def __len__(self) -> int: ...

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (N, D, K), for counts (N, D, B)."""

    def dtype(self, layer: str) -> np.dtype[Any]:
        """Return the type of the stored values."""

    def count_layout(self, layer: str) -> CountLayout | None:
        """Return the layout of stored counts; None if the activations themselves are stored."""

    def chunk(self, layer: str) -> int:
        """Return the best number of images to read at once."""

    def read(self, layer: str, rows: slice) -> AnyArray:
        """Return activations (n, D, K) of some images, or their counts (n, D, B)."""

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray] | None:
        """Return minima and maxima, each (N, D), if they are stored."""


def vectors_per_image(activations: Activations, layer: str) -> int:
    """Return K, the number of vectors per image."""
    layout = activations.count_layout(layer)
    return activations.shape(layer)[2] if layout is None else layout.vectors


@dataclass(frozen=True, slots=True)
class Settings:
    """All options that shape the result of a comparison.

    Attributes
    ----------
    bins : tuple of int
        Numbers of bins B; several make a sweep, counted once.
    permutations : int
        R relabellings; 0 for no null distribution.
    group : str or None
        Column whose values are the statistical units, or ``image``. By default subjects if both
        sets have them and they repeat, else images.
    paired : bool or None
        Relabel within pairs of units of the same name; None to detect pairing.
    memory : int
        Megabytes to stay below.
    workers : int
        Threads.
    """

    metrics: tuple[Metric, ...] = (Metric.HELLINGER,)
    bins: tuple[int, ...] = (BINS,)
    range_rule: RangeRule = RangeRule.MINMAX
    permutations: int = PERMUTATIONS
    group: str | None = None
    paired: bool | None = None
    seed: int = 0
    memory: int = 512
    workers: int = 1

    def __post_init__(self) -> None:
        for option, values in (("--metric", self.metrics), ("--bins", self.bins)):
            if not values or len(set(values)) < len(values):
                raise ArgumentError(f"{option}: expected at least one, and none twice")
        self._check_bins()
        for option, least in (("permutations", 0), ("seed", 0), ("workers", 1)):
            value = getattr(self, option)
            if value < least:
                raise ArgumentError(f"--{option} {value}: expected {least} or more")
        if self.memory <= LIBRARIES:
            raise ArgumentError(
                f"--memory {self.memory}: expected more than {LIBRARIES} megabytes, which the "
                "libraries alone take"
            )

    def _check_bins(self) -> None:
        for bins in self.bins:
            if not isinstance(bins, int) or not 1 <= bins <= MAX_BINS:
                raise ArgumentError(f"--bins {bins}: expected 1 to {MAX_BINS}")
        if len(self.bins) > 1 and self.range_rule not in SWEPT:
            raise ArgumentError(
                f"--sweep-bins with --range or --bins {self.range_rule.value}: a sweep merges bins "
                "of equal width; drop one of them"
            )
        if self.literal and self.metrics != (Metric.HELLINGER,):
            raise ArgumentError(
                "--literal-eq5 applies to the Hellinger distance only; drop --metric"
            )

    @property
    def options(self) -> dict[str, Any]:
        """Options of the command that shape the result."""
        swept = ",".join(map(str, self.bins)) if len(self.bins) > 1 else None
        quantile = self.range_rule is RangeRule.QUANTILE
        bins: int | str | None = None if swept else self.bins[0]
        return {
            "metric": [metric.value for metric in self.metrics],
            "bins": f"quantile:{self.bins[0]}" if quantile else bins,
            "sweep_bins": swept,
            "range": None if quantile or self.literal else self.range_rule.value,
            "permutations": self.permutations,
            "group": self.group,
            "seed": self.seed,
            "paired": self.paired is True,
            "unpaired": self.paired is False,
            "literal_eq5": self.literal,
        }

    @property
    def literal(self) -> bool:
        """True to count as in eq. (5) as printed."""
        return self.range_rule is RangeRule.LITERAL

    @property
    def budget(self) -> int:
        """Bytes for counts; half as much is left for computing on them."""
        return (self.memory - LIBRARIES) * 1_000_000 * 2 // 3


# Arrays as activations


@dataclass(frozen=True, slots=True, eq=False)
class ArrayActivations:
    """Activations in memory (see :class:`Activations`)."""

    where: str
    arrays: Mapping[str, AnyArray]
    columns: Mapping[str, Any] = field(default_factory=dict)
    dataset_id: str | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names in the order of the mapping."""
        return tuple(self.arrays)

    @property
    def grid(self) -> None:
        """None: the grid of an array's vectors is unknown."""

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (N, D, K)."""
        images, channels, vectors = self.arrays[layer].shape
        return images, channels, vectors

    def dtype(self, layer: str) -> np.dtype[Any]:
        """Return the type of the values."""
        return self.arrays[layer].dtype

    def count_layout(self, layer: str) -> None:
        """Return None: arrays hold the activations themselves."""

    def chunk(self, layer: str) -> int:
        """Return how many images are counted at once."""
        array = self.arrays[layer]
        return max(1, _ARRAY_BLOCK * len(array) // max(1, array.nbytes))

    def read(self, layer: str, rows: slice) -> AnyArray:
        """Return the activations (n, D, K) of some images."""
        return np.ascontiguousarray(self.arrays[layer][rows])

    def ranges(self, layer: str) -> None:
        """Return None: minima and maxima are not stored."""


def as_activations(
    features: object, where: str, groups: Sequence[object] | None = None
) -> ArrayActivations:
    """Turn an array, or a mapping from layers to arrays, into activations.

    Parameters
    ----------
    features : array, or mapping of str to array, shapes (N, D) or (N, D, K)
        Floats, or anything ``numpy.asarray`` takes. A single array is the layer ``features``.
    where : str
        Name in messages.
    groups : sequence, optional
        Group of each image.

    Raises
    ------
    ArgumentError
        If there is no array or image, a shape or type is wrong, or the layers differ in N.
    """
    by_layer = features if isinstance(features, Mapping) else {"features": features}
    arrays = {}
    for name, array in by_layer.items():
        values = np.asarray(array)
        values = values[:, :, np.newaxis] if values.ndim == 2 else values
        try:
            check_features(values)
        except ArgumentError as error:
            reason = str(error).removeprefix("features: ")
            raise ArgumentError(f"{where}: {name}: {reason}") from error
        arrays[str(name)] = values.astype(values.dtype.newbyteorder("="), copy=False)
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise ArgumentError(
            f"{where}: images by layer are {sizes or 'none'}; expected one number, at least 1"
        )
    columns = {} if groups is None else {"group": np.asarray(groups, dtype=object)}
    activations = ArrayActivations(where, arrays, columns)
    if groups is not None and len(groups) != len(activations):
        raise ArgumentError(
            f"{where}: {len(groups)} groups for {len(activations)} images; give one each"
        )
    return activations


# Passes over the blocks of a set


R = TypeVar("R")


class Mapper(Protocol):
    """Distributes work over threads of this process, or a cluster (see ``skiptool.parallel``)."""

    def __call__(
        self,
        function: Callable[[Any], R],
        items: Iterable[Any],
        merge: Callable[[Sequence[R]], R] | None = None,
    ) -> Iterator[R]:
        """Yield results in order; neighbours may come merged if ``merge`` is given."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockCounts:
    """Counts (n, D, C) of some images, and their mean activations (n, D) if requested.

    The first entry of each is for all vectors of an image, the second for the drawn ones, if any.
    """

    start: int
    counts: tuple[AnyArray, ...]
    means: tuple[Float64, ...] = ()

    @staticmethod
    def concatenate(blocks: Sequence[BlockCounts]) -> BlockCounts:
        """Concatenate neighbouring blocks."""
        counts = zip(*(block.counts for block in blocks), strict=True)
        means = zip(*(block.means for block in blocks), strict=True)
        return BlockCounts(
            blocks[0].start,
            tuple(np.concatenate(arrays) for arrays in counts),
            tuple(np.concatenate(arrays) for arrays in means),
        )


def row_blocks(activations: Activations, layer: str) -> list[slice]:
    """Return the rows of each block of images that is read at once."""
    step, images = activations.chunk(layer), len(activations)
    return [slice(start, min(start + step, images)) for start in range(0, images, step)]


def count_blocks(
    activations: Activations,
    layer: str,
    binning: Binning,
    mapper: Mapper,
    *,
    means: bool,
    drawn: Int64 | None = None,
) -> Iterator[BlockCounts]:
    """Count all images of a layer, block by block; with ``drawn`` (N, k) also some vectors.

    Stored counts are returned unchanged: ``binning`` must be theirs.
    """
    function = partial(_count_block, activations, layer, binning, means, drawn)
    return mapper(function, row_blocks(activations, layer), BlockCounts.concatenate)


def _count_block(
    activations: Activations,
    layer: str,
    binning: Binning,
    means: bool,
    drawn: Int64 | None,
    rows: slice,
) -> BlockCounts:
    values = activations.read(layer, rows)
    if activations.count_layout(layer) is not None:
        return BlockCounts(rows.start, (values,))
    parts = [values]
    if drawn is not None:
        chosen = drawn[rows][:, np.newaxis, :]
        parts.append(np.ascontiguousarray(np.take_along_axis(values, chosen, axis=2)))
    try:
        counts = tuple(count_activations(part, binning) for part in parts)
    except UnbinnedActivation as error:
        finite = np.isfinite(error.value)
        problem = "outside the stored range" if finite else "not finite"
        reason = f"activation {error.value:g} is {problem}"
        image = rows.start + error.image
        # Without its cause, which cannot be sent back from a cluster.
        raise _bad_activation(activations, layer, image, error.channel, reason) from None
    averages = tuple(part.mean(axis=2, dtype=np.float64) for part in parts) if means else ()
    return BlockCounts(rows.start, counts, averages)


def extents(activations: Activations, layer: str, mapper: Mapper) -> tuple[AnyArray, AnyArray]:
    """Return minima and maxima (N, D): stored ones, or from a pass over all values."""
    stored = activations.ranges(layer)
    if stored is None:
        function = partial(_block_extent, activations, layer)
        blocks = list(mapper(function, row_blocks(activations, layer)))
        low, high = (np.concatenate(side) for side in zip(*blocks, strict=True))
    else:
        low, high = stored
    wrong = np.argwhere(~(np.isfinite(low) & np.isfinite(high) & (low <= high)))
    if len(wrong):
        image, channel = wrong[0].tolist()
        ends = f"{low[image, channel]:g} to {high[image, channel]:g}"
        reason = f"activations range from {ends}, expected finite numbers"
        raise _bad_activation(activations, layer, image, channel, reason)
    return low, high


def _block_extent(activations: Activations, layer: str, rows: slice) -> tuple[AnyArray, AnyArray]:
    return activation_extremes(activations.read(layer, rows))


def key_totals(activations: Activations, layer: str, channels: slice) -> AnyArray:
    """Count the float16 values of some channels over all images, (d, KEYS)."""
    images, all_channels, vectors = activations.shape(layer)
    width = len(range(*channels.indices(all_channels)))
    dtype = np.int32 if images * vectors <= np.iinfo(np.int32).max else np.int64
    totals = np.zeros((width, KEYS), dtype)
    for rows in row_blocks(activations, layer):
        key_counts(read_finite(activations, layer, rows, channels), totals)
    return totals


def read_values(activations: Activations, layer: str, channels: slice) -> AnyArray:
    """Return all values (N * K, d) of some channels."""
    blocks = [
        read_finite(activations, layer, rows, channels).transpose(0, 2, 1)
        for rows in row_blocks(activations, layer)
    ]
    return np.concatenate([block.reshape(-1, block.shape[2]) for block in blocks])


def read_finite(
    activations: Activations, layer: str, rows: slice, channels: slice = slice(0, None)
) -> AnyArray:
    """Return the activations (n, d, K) of some images and channels."""
    block = activations.read(layer, rows)[:, channels]
    finite = np.isfinite(block)
    if not finite.all():
        image, channel, vector = np.argwhere(~finite)[0].tolist()
        reason = f"activation {block[image, channel, vector]:g} is not finite"
        image, channel = rows.start + image, channels.start + channel
        raise _bad_activation(activations, layer, image, channel, reason)
    return block


def _bad_activation(
    activations: Activations, layer: str, image: int, channel: int, reason: str
) -> FormatError:
    ids = activations.columns.get("id")
    return FormatError(
        f"{activations.where}: layer {layer}, image {image if ids is None else ids[image]}, "
        f"channel {channel}: {reason}; extract the features again"
    )
