"""Truth and prediction over one another on a patch: broad lines and narrow ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.figures.cells import Cells
from skiptool.figures.key import Entry
from skiptool.figures.outlines import outlines
from skiptool.figures.pens import compared_pens, stroke
from skiptool.names import IGNORE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.records import Float64, Image, UInt8

__all__ = ["WIDTHS", "ComparedCells", "compared_entries"]

WIDTHS: Final = (1.0, 0.4)
"""Points of both lines; where truth and prediction agree the latter lies within the former."""


def compared_entries(
    truths: Iterable[UInt8],
    predictions: Iterable[UInt8],
    classes: Sequence[str],
    widths: tuple[float, float] = WIDTHS,
) -> list[Entry]:
    """Entries of the key: truth and prediction of the classes that occur, and what is ignored.

    Raises
    ------
    ArgumentError
        If a label has no class.
    """
    pens = compared_pens(classes[1:])
    true = {label for mask in truths for label in _labels(mask)}
    predicted = {label for mask in predictions for label in _labels(mask)}
    labels = sorted((true | predicted) - {0, IGNORE})
    if labels and labels[-1] >= len(classes):
        raise ArgumentError(
            f"masks to compare: found label {labels[-1]}, expected labels below {len(classes)}, "
            f"the number of classes, or {IGNORE}; name every class"
        )
    entries = [
        Entry(f"{classes[label]}, {what}", pens[classes[label]][place], widths[place])
        for label in labels
        for place, what in enumerate(("truth", "prediction"))
    ]
    return entries + [Entry("ignored", striped=True)] * (IGNORE in true)


@dataclass(slots=True)
class ComparedCells:
    """Patches of a sheet with both masks; outlines are gathered, and drawn once at the end.

    Attributes
    ----------
    axes : Axes
        In dots from the upper left corner.
    size : (int, int)
        Width and height of a cell in dots.
    classes : sequence of str
        Name of each label; label 0 has no outline.
    widths : (float, float)
        Points of the line of the truth and of that of the prediction.
    """

    axes: Axes
    size: tuple[int, int]
    classes: Sequence[str]
    widths: tuple[float, float] = WIDTHS
    _lines: dict[tuple[int, int], list[Float64]] = field(default_factory=lambda: defaultdict(list))

    def add(self, image: Image, truth: UInt8, predicted: UInt8, left: int, top: int) -> None:
        """Show a patch in the middle of the cell at this corner.

        Raises
        ------
        ArgumentError
            If a mask is not as large as the image.
        """
        wrong = [m.shape for m in (truth, predicted) if m.shape != image.shape[:2]]
        if wrong:
            raise ArgumentError(
                f"masks to compare: found one of shape {wrong[0]}, expected {image.shape[:2]} as "
                "the image; give masks of this image"
            )
        ignored = np.where(truth == IGNORE, truth, 0).astype(np.uint8)
        cells = Cells(self.axes, self.size, self.classes)
        factor, corner = cells.add(image, ignored, left, top)
        for place, mask in enumerate((truth, predicted)):
            for label in set(_labels(mask)) - {0, IGNORE}:
                rings = [ring * float(factor) + corner for ring in outlines(mask == label)]
                self._lines[place, label] += rings

    def add_hole(self, left: int, top: int) -> None:
        """Show that there is no prediction."""
        Cells(self.axes, self.size, self.classes).add_hole(left, top)

    def outline(self) -> None:
        """Draw the outlines, all of the truth below all of the predictions."""
        pens = compared_pens(self.classes[1:])
        for (place, label), lines in sorted(self._lines.items()):
            # neighbours do not hide each other
            pen = pens[self.classes[label]][place]
            stroke(self.axes, lines, pen, self.widths[place], inside=True)


def _labels(mask: UInt8) -> list[int]:
    return np.flatnonzero(np.bincount(mask.ravel())).tolist()
