"""What can be compared: sets of activations, and the settings of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from skiptool.distances.counting import MAX_BINS, Binning
from skiptool.errors import ArgumentError
from skiptool.names import Metric, RangeRule

if TYPE_CHECKING:
    import numpy as np

    from skiptool.records import AnyArray, Int64

__all__ = ["BINS", "PERMUTATIONS", "SWEPT", "Activations", "Counted", "Settings", "vectors_of"]

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
