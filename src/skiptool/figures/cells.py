"""One patch on a sheet: its pixels, what is ignored of them, the outlines of its classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import Rectangle

from skiptool.errors import ArgumentError
from skiptool.figures.dots import as_rgb, lay, multiple, resized
from skiptool.figures.key import Entry
from skiptool.figures.outlines import outlines
from skiptool.figures.pens import class_pens, stroke
from skiptool.figures.style import HOLE, LINE
from skiptool.names import IGNORE

if TYPE_CHECKING:
    from fractions import Fraction

    from matplotlib.axes import Axes

    from skiptool.records import Bool, Float64, Image, UInt8

__all__ = ["Cells", "cell_size", "mask_entries"]

_WIDTH: Final = 0.5  # of an outline in points
_KEY: Final = 0.9  # of its line in the key: no finer than is seen
_STRIPES: Final = 14  # dots from one to the next
_VEIL: Final = 0.35  # share of white over what is ignored


def cell_size(images: Iterable[Image], wanted: int) -> tuple[int, int]:
    """Width and height in dots of cells in which each image has a side close to ``wanted``."""
    sizes = [_near(image.shape[1], image.shape[0], wanted) for image in images]
    width, height = (max(size[axis] for size in sizes) for axis in (0, 1))
    return width, height


def _near(width: int, height: int, wanted: int) -> tuple[int, int]:
    longest = max(width, height, 1)
    if longest <= wanted:
        return width * (wanted // longest), height * (wanted // longest)
    block = round(longest / wanted)
    return -(-width // block), -(-height // block)


def mask_entries(masks: Iterable[UInt8 | None], classes: Sequence[str]) -> list[Entry]:
    """Entries of the key: the classes that occur in some masks, and whether some is ignored.

    Raises
    ------
    ArgumentError
        If a label has no class.
    """
    found = {label for mask in masks if mask is not None for label in _labels(mask)}
    unknown = sorted(label for label in found - {IGNORE} if label >= len(classes))
    if unknown:
        raise ArgumentError(
            f"patches to draw: found label {unknown[0]} in a mask, expected labels below "
            f"{len(classes)}, the number of classes, or {IGNORE}; name every class"
        )
    pens = class_pens(classes)
    named = [Entry(classes[k], pens[classes[k]], _KEY) for k in sorted(found - {0, IGNORE})]
    return named + [Entry("ignored", striped=True)] * (IGNORE in found)


@dataclass(slots=True)
class Cells:
    """All patches of a sheet; outlines are gathered, and drawn at the end once for each class.

    Attributes
    ----------
    axes : Axes
        In dots from the upper left corner.
    size : (int, int)
        Width and height of a cell in dots.
    classes : sequence of str
        Name of each label; label 0 has no outline.
    """

    axes: Axes
    size: tuple[int, int]
    classes: Sequence[str]
    _lines: dict[int, list[Float64]] = field(default_factory=lambda: defaultdict(list))

    def add(
        self, image: Image, mask: UInt8 | None, left: int, top: int
    ) -> tuple[Fraction, tuple[int, int]]:
        """Show a patch in the middle of the cell at this corner.

        Returns
        -------
        factor : Fraction
            Dots for each of its pixels.
        corner : (int, int)
            Where its own upper left corner is, in dots.

        Raises
        ------
        ArgumentError
            If the mask is not as large as the image.
        """
        picture = as_rgb(image)
        high, wide = picture.shape[:2]
        factor = min(multiple(wide, self.size[0]), multiple(high, self.size[1]))
        shown = resized(picture, factor)
        left += (self.size[0] - shown.shape[1]) // 2
        top += (self.size[1] - shown.shape[0]) // 2
        if mask is not None:
            _check(mask, (high, wide))
            shown = _veiled(shown, mask == IGNORE, factor)
            self._gather(mask, float(factor), left, top)
        lay(self.axes, shown, left, top)
        return factor, (left, top)

    def add_hole(self, left: int, top: int) -> None:
        """Show that there is no patch."""
        hole = Rectangle((left, top), *self.size, facecolor=HOLE, edgecolor=LINE)
        hole.set(hatch="//////", linewidth=0.0)
        self.axes.add_patch(hole)

    def outline(self) -> None:
        """Draw the outlines, each on its own side of the edge."""
        pens = class_pens(self.classes)
        for label, lines in sorted(self._lines.items()):
            stroke(self.axes, lines, pens[self.classes[label]], _WIDTH, inside=True)

    def _gather(self, mask: UInt8, factor: float, left: int, top: int) -> None:
        for label in set(_labels(mask)) - {0, IGNORE}:
            self._lines[label] += [ring * factor + (left, top) for ring in outlines(mask == label)]


def _labels(mask: UInt8) -> list[int]:
    return np.flatnonzero(np.bincount(mask.ravel())).tolist()


def _check(mask: UInt8, shape: tuple[int, int]) -> None:
    if mask.shape != shape:
        raise ArgumentError(
            f"patch to draw: found a mask of shape {mask.shape}, expected {shape} as its image; "
            "give each image its own mask"
        )


def _veiled(shown: UInt8, ignored: Bool, factor: Fraction) -> UInt8:
    """Lighten what is ignored and lay stripes over it."""
    if not ignored.any():
        return shown
    spread = resized(255 * ignored[..., None].astype(np.uint8), factor) > 127
    y, x = np.ogrid[: shown.shape[0], : shown.shape[1]]
    striped = (x + y) % _STRIPES < 2
    share = np.where(striped, 0.5 + _VEIL, _VEIL)[..., None] * spread
    veiled: UInt8 = np.rint(shown + (255.0 - shown) * share).astype(np.uint8)
    return veiled
