"""Worst and median predictions, as a part of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.exports.predicted import Masked
from skiptool.figures.blocks import block_side, block_told, small_image, small_mask
from skiptool.figures.examples import example_sheet
from skiptool.figures.style import readable
from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import Shift, Table
from skiptool.shifts import apply
from skiptool.stores.dataset import DatasetStore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.figures.exhibit import Number
    from skiptool.metrics import Score
    from skiptool.records import Float64, UInt8

__all__ = ["Example", "ExampleSheet", "shift_told"]

_SIDE: Final = 256
"""Pixels of a sample in the page."""


@dataclass(frozen=True, slots=True)
class Example:
    """A column: a sample under a shift, and why it was chosen.

    Attributes
    ----------
    index : int
        Place in the domain.
    sample, subject : str
    which : str
        ``worst`` or ``median``.
    shift : Shift
    rated : int
        Samples that it was chosen from.
    """

    index: int
    sample: str
    subject: str
    which: str
    shift: Shift
    rated: int


@dataclass(frozen=True, slots=True, eq=False)
class ExampleSheet:
    """Samples by several networks of one family, read when they are drawn.

    Attributes
    ----------
    store : DatasetStore
    networks : tuple of Score
        One a row, the first the one that samples were chosen by; its ``miou`` is not shown.
    columns : tuple of Example
    masked : tuple of R tuples of C Masked or None
        Where the predictions lie; None where there is none.
    values : float64 (R, C)
        Mean IoU of each sample; NaN without foreground or prediction.
    left_out : int
        Further networks that there was no room for.
    lowest_of : int
        Number of shifts of which the last shown has the lowest IoU.
    """

    store: DatasetStore
    networks: tuple[Score, ...]
    columns: tuple[Example, ...]
    masked: tuple[tuple[Masked | None, ...], ...]
    values: Float64
    left_out: int
    lowest_of: int
    topic: str = "examples"
    heading: str = "Worst and median predictions"

    @property
    def title(self) -> str:
        """Family, domain and split."""
        first = self.networks[0]
        return f"{first.family}, {first.domain}, {first.split}".removeprefix(", ")

    @property
    def caption(self) -> str:
        """What was chosen from how many, and how."""
        first, names = self.networks[0], self._names()
        fold = f" (fold {first.fold})" if first.fold not in (None, ENSEMBLE_FOLD) else ""
        shifts = {column.shift: column.rated for column in self.columns}
        rated = ", ".join(f"n = {number} ({shift_told(s)})" for s, number in shifts.items())
        mean = f" (mean of {', '.join(first.classes)})" if len(first.classes) > 1 else ""
        last = list(shifts)[-1]
        lowest = f" Of {self.lowest_of} shifts its IoU is lowest under {shift_told(last)}."
        further = f" Further architectures, not shown: {self.left_out}." if self.left_out else ""
        return (
            f"Samples of {first.dataset}, domain {first.domain}, {first.split} split, with the "
            f"outlines of truth and prediction: under each shift those of lowest and of median "
            f"IoU{mean} by {names[0]}{fold}, {rated}. All rows ({', '.join(names)}) show the same "
            "samples; below each stands the IoU of this sample alone."
            f"{lowest if self.lowest_of > 1 else ''}{further}{block_told(self._block())}"
        )

    def draw(self) -> Figure:
        """Read the chosen samples and what was predicted, one at a time, and draw them.

        Raises
        ------
        FormatError
            If a chunk of them is damaged.
        """
        block, domain = self._block(), self.networks[0].domain
        reader = self.store.samples(domain, [column.index for column in self.columns])
        images: list[UInt8] = []
        truths: list[UInt8] = []
        for place, column in enumerate(self.columns):
            image, truth = reader.read(place)
            images.append(small_image(apply(image, column.shift), block))
            truths.append(small_mask(truth, block))
        predicted = [
            [self._predicted(found, place, block) for place, found in enumerate(row)]
            for row in self.masked
        ]
        heads = [
            f"{column.which}, {shift_told(column.shift)}\n{column.sample}\n{column.subject}"
            if column.subject != column.sample
            else f"{column.which}, {shift_told(column.shift)}\n{column.sample}"
            for column in self.columns
        ]
        told = [
            [self._told(row, place) for place in range(len(self.columns))]
            for row in range(len(self.networks))
        ]
        names = self._names()
        return example_sheet(images, truths, predicted, self.store.classes, names, heads, told)

    def table(self) -> Table:
        """Return the IoU of each sample, architectures across."""
        cells: dict[str, list[str | int | float | None]] = {
            "chosen as": [column.which for column in self.columns],
            "shift": [shift_told(column.shift) for column in self.columns],
            "sample": [readable(column.sample) for column in self.columns],
            "subject": [readable(column.subject) for column in self.columns],
        }
        for name, row in zip(self._names(), self.values.tolist(), strict=True):
            cells[name] = [None if np.isnan(value) else value for value in row]
        return Table(f"IoU of examples: {self.title}", cells)

    def numbers(self) -> list[Number]:
        """Return the same numbers."""
        return [
            {
                **{"quantity": "IoU", "dataset": one.dataset, "domain": one.domain},
                **{"split": one.split, "arch": one.arch, "encoder": one.encoder},
                **{"pruning": one.pruning, "fold": one.fold, "shift": column.shift.kind.value},
                **{"factor": column.shift.factor, "sample": column.sample},
                **{"subject": column.subject, "value": value},
            }
            for one, row in zip(self.networks, self.values.tolist(), strict=True)
            for column, value in zip(self.columns, row, strict=True)
        ]

    def sentences(self) -> tuple[str, ...]:
        """Say in words what becomes of the worst samples in the other architectures."""
        names, found = self._names(), []
        for place, column in enumerate(self.columns):
            others = self.values[1:, place]
            if column.which != "worst" or np.isnan(others).all():
                continue
            best = 1 + int(np.nanargmax(others))
            found.append(
                f"Worst of {column.rated} samples ({shift_told(column.shift)}): "
                f"{readable(column.sample)}, {names[0]} {self.values[0, place]:.2f}, best of the "
                f"others {names[best]} {self.values[best, place]:.2f}."
            )
        return tuple(found)

    def _names(self) -> list[str]:
        folds = {network.fold for network in self.networks}
        shared = len(folds) == 1 and folds != {ENSEMBLE_FOLD}
        return [_named(network, shared=shared) for network in self.networks]

    def _block(self) -> int:
        domain = self.store.domain(self.networks[0].domain)
        return block_side(domain.height, domain.width, _SIDE)

    def _predicted(self, found: Masked | None, place: int, block: int) -> UInt8 | None:
        if found is None:
            return None
        return small_mask(found.labels(self.columns[place].sample), block)

    def _told(self, row: int, place: int) -> str:
        if self.masked[row][place] is None:
            return "not predicted"
        value = self.values[row, place]
        return "no foreground" if np.isnan(value) else f"IoU {value:.3f}"


def shift_told(shift: Shift) -> str:
    """Write a shift for people.

    Examples
    --------
    >>> shift_told(Shift.parse("brightness=0.50")), shift_told(Shift.parse("original"))
    ('brightness 0.5', 'original')
    """
    if shift.kind is ShiftKind.ORIGINAL or shift.factor is None:
        return "original"
    return f"{shift.kind.value} {shift.factor:g}"


def _named(network: Score, *, shared: bool) -> str:
    if shared or network.fold in (None, ENSEMBLE_FOLD):
        return network.network
    return f"{network.pruning}, fold {network.fold}"
