"""What can be compared: sets of activations, and the settings of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from skiptool.distances.counting import MAX_BINS, Binning, Misfit, check_features, count, extent
from skiptool.distances.float16 import KEYS, key_counts
from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Metric, RangeRule

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64

__all__ = [
    "BINS",
    "PERMUTATIONS",
    "SWEPT",
    "Activations",
    "ArrayActivations",
    "Block",
    "Counted",
    "Mapper",
    "Settings",
    "as_activations",
    "counted",
    "extents",
    "key_totals",
    "values_of",
    "vectors_of",
]

BINS = 100
"""Bins B of eq. (4); the paper does not state its number."""

PERMUTATIONS = 199
"""Relabellings behind a null: the smallest p-value is 1 / 200."""

LIBRARIES = 250
"""Megabytes that Python and its libraries take before any array is made."""


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """How the values of a layer were counted, where only their counts were kept.

    Attributes
    ----------
    binning : Binning
        Bins of equal width that all values were counted in.
    vectors : int
        K, the vectors of one image.
    images : int64, shape (N,)
        Images in each row of counts; a row of n images adds up to n * K in each channel.
    """

    binning: Binning
    vectors: int
    images: Int64


class Activations(Protocol):
    """Activations of N images in named layers, read in blocks of whole images.

    ``read`` is called by several threads at once. ``columns`` are of the images; ``ranges`` are the
    lowest and highest stored values (N, D), None where nobody kept them.

    Some sets hold counts in place of activations (see :class:`Counted`): of each image, or of each
    block of images, which then stands for an image everywhere.
    """

    @property
    def where(self) -> str:
        """How messages call it."""

    @property
    def dataset_id(self) -> str | None:
        """Which images these are of; ids of images mean the same within one dataset only."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names in the order of data flow."""

    @property
    def columns(self) -> Mapping[str, Any]:
        """Columns of the images by name, ``id`` and ``subject`` among them."""

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns that the K vectors of an image lie in; None where nobody kept them."""

    def __len__(self) -> int: ...

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (N, D, K), of counts (N, D, B)."""

    def dtype(self, layer: str) -> np.dtype[Any]:
        """Return the type of the stored values."""

    def counted(self, layer: str) -> Counted | None:
        """Return how values were counted; None where the values themselves are kept."""

    def chunk(self, layer: str) -> int:
        """Return how many images are best read at once."""

    def read(self, layer: str, rows: slice) -> AnyArray:
        """Return the activations (n, D, K) of some images, or the counts (n, D, B) of them."""

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray] | None:
        """Return lowest and highest values, each (N, D), if they were kept."""


def vectors_of(activations: Activations, layer: str) -> int:
    """Return K, the vectors of each image."""
    counted = activations.counted(layer)
    return activations.shape(layer)[2] if counted is None else counted.vectors


@dataclass(frozen=True, slots=True)
class Settings:
    """How sets are compared; every value that shapes the result.

    Attributes
    ----------
    metrics : tuple of Metric
    bins : tuple of int
        Numbers of bins B; more than one is a sweep, counted once.
    range_rule : RangeRule
        ``quantile`` puts the same share of all values into each bin.
    permutations : int
        R relabellings; 0 leaves the null out.
    group : str or None
        Column whose values are the units of statistics; ``image`` for the images themselves. None
        takes the subjects where the sets know them and they repeat, else the images.
    paired : bool or None
        Relabel within pairs of units of one name; None where the sets say so themselves.
    seed : int
    memory : int
        Megabytes the process should stay below.
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
        for wrong, message in self._faults():
            if wrong:
                raise ArgumentError(message)

    def _faults(self) -> Iterator[tuple[bool, str]]:
        for option, given in (("--metric", self.metrics), ("--bins", self.bins)):
            twice = len(set(given)) < len(given)
            yield twice or not given, f"{option}: expected at least one, and none twice"
        for each in self.bins:
            whole = isinstance(each, int)
            yield not (whole and 1 <= each <= MAX_BINS), f"--bins {each}: expected 1 to {MAX_BINS}"
        yield (
            len(self.bins) > 1 and self.range_rule not in SWEPT,
            f"--sweep-bins with --range or --bins {self.range_rule.value}: a sweep merges bins of "
            "equal width; leave one of them out",
        )
        yield (
            self.literal and self.metrics != (Metric.HELLINGER,),
            "--literal-eq5 is about the Hellinger distance; drop --metric",
        )
        least = {"permutations": 0, "seed": 0, "workers": 1}
        for option, value in least.items():
            found = getattr(self, option)
            yield found < value, f"--{option} {found}: expected {value} or more"
        yield (
            self.memory <= LIBRARIES,
            f"--memory {self.memory}: expected more than {LIBRARIES} megabytes, which the "
            "libraries take alone",
        )

    @property
    def asked(self) -> dict[str, Any]:
        """What shapes the result, as options of the command."""
        quantile = self.range_rule is RangeRule.QUANTILE
        swept = ",".join(map(str, self.bins)) if len(self.bins) > 1 else None
        return {
            "metric": [metric.value for metric in self.metrics],
            "bins": f"quantile:{self.bins[0]}" if quantile else self.bins[0] if not swept else None,
            "sweep_bins": swept,
            "range": None if quantile or self.literal else self.range_rule.value,
            **{"permutations": self.permutations, "group": self.group, "seed": self.seed},
            **{"paired": self.paired is True, "unpaired": self.paired is False},
            "literal_eq5": self.literal,
        }

    @property
    def literal(self) -> bool:
        """Whether eq. (5) is read as printed."""
        return self.range_rule is RangeRule.LITERAL

    @property
    def budget(self) -> int:
        """Bytes for counts; half as much is left to what is computed from them."""
        return (self.memory - LIBRARIES) * 1_000_000 * 2 // 3


SWEPT = (RangeRule.MINMAX, RangeRule.PERCENTILES, RangeRule.REFERENCE)
"""Range rules that make bins of equal width with the last one closed."""


# -------------------------------------------------------------------------------------------------
# Plain arrays as activations, so that anybody's features can be compared.


_BLOCK = 4_000_000
"""Bytes read at once: they stay in a cache while they are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayActivations:
    """Activations in memory (see :class:`skiptool.comparison.activations.Activations`)."""

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
        """Say that nobody kept it."""

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (N, D, K)."""
        images, channels, vectors = self.arrays[layer].shape
        return images, channels, vectors

    def dtype(self, layer: str) -> np.dtype[Any]:
        """Return the type of the values."""
        return self.arrays[layer].dtype

    def counted(self, layer: str) -> None:
        """Say that the values themselves are at hand."""

    def chunk(self, layer: str) -> int:
        """Return how many images are counted at once."""
        array = self.arrays[layer]
        return max(1, _BLOCK * len(array) // max(1, array.nbytes))

    def read(self, layer: str, rows: slice) -> AnyArray:
        """Return the activations (n, D, K) of some images."""
        return np.ascontiguousarray(self.arrays[layer][rows])

    def ranges(self, layer: str) -> None:
        """Say that nobody kept them."""


def as_activations(
    found: object, where: str, groups: Sequence[object] | None = None
) -> ArrayActivations:
    """Take an array, or a mapping from layers to arrays, for activations.

    Parameters
    ----------
    found : array, or mapping of str to array, shapes (N, D) or (N, D, K)
        Floats; whatever ``numpy.asarray`` takes. An array alone is the layer ``features``.
    where : str
        How messages call it.
    groups : sequence, optional
        Group of each image.

    Raises
    ------
    ArgumentError
        If there is no array or image, a shape or type is another, or the layers differ in N.
    """
    given = found if isinstance(found, Mapping) else {"features": found}
    arrays = {str(name): _checked(array, f"{where}: {name}") for name, array in given.items()}
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise ArgumentError(
            f"{where}: images by layer are {sizes or 'none'}; expected one number, at least 1"
        )
    columns = {} if groups is None else {"group": np.asarray(groups, dtype=object)}
    made = ArrayActivations(where, arrays, columns)
    if groups is not None and len(groups) != len(made):
        raise ArgumentError(f"{where}: {len(groups)} groups for {len(made)} images; give one each")
    return made


def _checked(array: object, where: str) -> AnyArray:
    values = np.asarray(array)
    values = values[:, :, np.newaxis] if values.ndim == 2 else values
    try:
        check_features(values)
    except ArgumentError as error:
        raise ArgumentError(f"{where}: {str(error).removeprefix('features: ')}") from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)


# -------------------------------------------------------------------------------------------------
# Passes over the blocks of a set of activations, each block read and reduced at once.


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
