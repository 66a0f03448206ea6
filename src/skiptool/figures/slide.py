"""A slide at a glance: its tissue, annotations and patches over a thumbnail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import Rectangle

from skiptool.errors import ArgumentError
from skiptool.figures.masks import (
    DOTS,
    KEY_SIZE,
    MARGIN,
    Entry,
    Heading,
    Pen,
    as_rgb,
    class_pens,
    dot_axes,
    lay,
    multiple,
    outlines,
    plan_heading,
    resized,
    stamp,
    stroke,
)
from skiptool.figures.style import INK, ONE_COLUMN, TWO_COLUMNS, drawing_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.records import Bool, Float64, UInt8

# -------------------------------------------------------------------------------------------------
# Annotations and patches of a slide, brought to the dots of a small picture of it.


_SMALL: Final = 12.0  # dots; an area that is smaller is shown as a point
_STEP: Final = 0.5  # dots; vertices closer than this are one


@dataclass(slots=True)
class Marks:
    """What there is of one name, in dots from the upper left corner of the picture.

    Attributes
    ----------
    lines : list of float64 (V, 2)
        Closed rings of the areas that are large enough to be seen as such.
    points : list of float64 (2,)
        Points, and the middles of small areas.
    areas, dots : int
        How many areas and points were given.
    """

    lines: list[Float64] = field(default_factory=list)
    points: list[Float64] = field(default_factory=list)
    areas: int = 0
    dots: int = 0

    def label(self, name: str) -> str:
        """Name and numbers, for the key.

        Examples
        --------
        >>> Marks(areas=1200).label("tumor"), Marks(areas=2, dots=1).label("tumor")
        ('tumor (1,200)', 'tumor (areas 2, points 1)')
        """
        if self.areas and self.dots:
            return f"{name} (areas {self.areas:,}, points {self.dots:,})"
        return f"{name} ({self.areas + self.dots:,})"


def gather_marks(
    areas: Sequence[tuple[str, Sequence[Float64]]],
    points: Sequence[tuple[str, tuple[float, float]]],
    per_pixel: tuple[float, float],
) -> dict[str, Marks]:
    """Sort annotations by name.

    Parameters
    ----------
    areas : sequence of (name, rings)
        Rings are float64 (V, 2), x and y in pixels of level 0, closed or not.
    points : sequence of (name, (x, y))
    per_pixel : (float, float)
        Dots for each pixel of level 0.
    """
    marks: dict[str, Marks] = {}
    for name, rings in areas:
        found = marks.setdefault(name, Marks())
        found.areas += 1
        placed = [np.asarray(ring, dtype=np.float64) * per_pixel for ring in rings]
        low, high = placed[0].min(axis=0), placed[0].max(axis=0)
        if (high - low).max() < _SMALL:
            found.points.append((low + high) / 2)
        else:
            found.lines += [_closed(ring) for ring in placed]
    for name, place in points:
        found = marks.setdefault(name, Marks())
        found.dots += 1
        found.points.append(np.asarray(place, dtype=np.float64) * per_pixel)
    return marks


def box_lines(boxes: Float64, per_pixel: tuple[float, float]) -> Float64:
    """Turn boxes (N, 4), left, top, right, bottom at level 0, into rings (N, 5, 2) in dots.

    Raises
    ------
    ArgumentError
        If the boxes have another shape.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ArgumentError(
            f"patches to draw: found shape {boxes.shape}, expected (N, 4); give left, top, right "
            "and bottom of each"
        )
    left, top, right, bottom = boxes.T
    x = np.stack([left, right, right, left, left], axis=1)
    y = np.stack([top, top, bottom, bottom, top], axis=1)
    return np.stack([x, y], axis=2) * per_pixel


def _closed(ring: Float64) -> Float64:
    """Close a ring, and leave out vertices that fall on the one before."""
    cell = np.floor(ring / _STEP)
    kept = ring[np.append(True, (np.diff(cell, axis=0) != 0).any(axis=1))]
    return np.concatenate([kept, kept[:1]])


_LONGEST: Final = round(TWO_COLUMNS * DOTS) - 2 * MARGIN  # side of the picture in dots
_COLUMN: Final = round(ONE_COLUMN * DOTS) - 2 * MARGIN  # small pictures are not enlarged beyond
_TALL: Final = 1.5  # height over width from which the head stands beside the picture
_BESIDE: Final = 700  # its width there in dots
_GAP: Final = 30
_AREA: Final = 0.8  # width of an outline in points
_MARKER: Final = (4.0, 2.8)  # points; the second where there are many
_MANY: Final = 300
_TISSUE: Final = Pen("#565d66", "#ffffff")
_TISSUE_WIDTH: Final = 0.35
_DETAIL: Final = 10.0  # dots; finer fringes, specks and holes would cover the tissue with lines
_BOX: Final = Pen("#1f3fbf", "#ffffff")
_BOX_WIDTH: Final = (0.5, 0.25)
_FINE: Final = 40.0  # dots; boxes that are smaller are drawn with the second
_BAR: Final = 50  # height of the scale bar in dots
_BAR_SHARE: Final = 0.3  # of the picture's width, at most


def slide_overview(
    image: UInt8,
    scale: tuple[float, float],
    *,
    tissue: Bool | None = None,
    areas: Sequence[tuple[str, Sequence[Float64]]] = (),
    points: Sequence[tuple[str, tuple[float, float]]] = (),
    patches: Float64 | None = None,
    classes: Sequence[str] = (),
    mpp: tuple[float, float] | None = None,
    title: str = "",
    notes: str = "",
) -> Figure:
    """Draw tissue, annotations and patches over the thumbnail of a slide.

    Parameters
    ----------
    image : uint8 (h, w, 3)
        The thumbnail; over about 2100 pixels it is shown as means over blocks.
    scale : (float, float)
        Pixels of level 0 that one pixel of the thumbnail spans, horizontally and vertically.
    tissue : bool (h', w'), optional
        Over the same field as the image; its outline is drawn without the finest detail.
    areas : sequence of (name, rings)
        Rings are float64 (V, 2), x and y in pixels of level 0, closed or not: outline and holes.
        Areas too small to be seen are drawn as points.
    points : sequence of (name, (x, y))
        In pixels of level 0.
    patches : float64 (N, 4), optional
        Left, top, right and bottom in pixels of level 0.
    classes : sequence of str
        Order of the names, by which they get their pens, as on the sheets of patches; names
        beyond them follow in order of appearance.
    mpp : (float, float), optional
        Micrometres for each pixel of level 0; with it there is a scale bar.
    title, notes : str
        Above all, or beside a tall picture.

    Returns
    -------
    Figure
        Text and key stand outside of the picture.

    Raises
    ------
    ArgumentError
        If an array has another shape than this.
    """
    longest = max(image.shape[:2])
    factor = multiple(longest, _LONGEST if longest > _COLUMN else _COLUMN)
    shown = resized(as_rgb(image), factor)
    per_pixel = (float(factor) / scale[0], float(factor) / scale[1])
    boxes = box_lines(np.zeros((0, 4)) if patches is None else patches, per_pixel)
    marks = gather_marks(areas, points, per_pixel)
    pens = {name: pen for name, pen in class_pens([*classes, *marks]).items() if name in marks}
    marker = _MARKER[sum(len(found.points) for found in marks.values()) >= _MANY]
    with drawing_style():
        entries = [Entry("tissue", _TISSUE, _TISSUE_WIDTH)] * (tissue is not None)
        if len(boxes):
            entries.append(Entry(f"patches ({len(boxes):,})", _BOX, _BOX_WIDTH[0], boxed=True))
        entries += [_entry(name, marks[name], pen, marker) for name, pen in pens.items()]
        sheet = _plan(shown.shape[1], shown.shape[0], title, notes, entries, bool(mpp))
        figure, axes = dot_axes(*sheet.size)
        lay(axes, shown, sheet.left, sheet.top)
        corner = (sheet.left, sheet.top)
        if tissue is not None:
            traced = [ring + corner for ring in _traced(tissue, shown.shape)]
            stroke(axes, traced, _TISSUE, _TISSUE_WIDTH)
        stroke(axes, list(boxes + corner), _BOX, _box_width(boxes))
        for name, pen in pens.items():
            stroke(axes, [line + corner for line in marks[name].lines], pen, _AREA)
        for name, pen in pens.items():
            stamp(axes, np.array([place + corner for place in marks[name].points]), pen, marker)
        _clip(axes, *corner, shown.shape[1], shown.shape[0])
        sheet.head.draw(axes, sheet.beside)
        if mpp:
            _scale_bar(axes, sheet, shown.shape[1], per_pixel[0] / mpp[0])
    return figure


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Places in dots: of the picture, of the head's left edge, of the scale bar."""

    size: tuple[int, int]
    head: Heading
    left: int
    top: int
    beside: int
    bar: int


def _plan(
    width: int, height: int, title: str, notes: str, entries: Sequence[Entry], barred: bool
) -> _Sheet:
    foot = _BAR if barred else 0
    if height > _TALL * width:
        head = plan_heading(title, notes, entries, _BESIDE)
        size = (2 * MARGIN + width + _GAP + _BESIDE, max(height + 2 * MARGIN, head.bottom + foot))
        beside = MARGIN + width + _GAP
        return _Sheet(size, head, MARGIN, MARGIN, beside, size[1] - MARGIN - foot)
    room = max(width, _COLUMN)
    head = plan_heading(title, notes, entries, room)
    bottom = head.bottom + height
    size = (room + 2 * MARGIN, bottom + foot + MARGIN)
    return _Sheet(size, head, MARGIN, head.bottom, MARGIN, bottom)


def _entry(name: str, found: Marks, pen: Pen, marker: float) -> Entry:
    width = _AREA if found.lines else 0.0
    return Entry(found.label(name), pen, width, marker if found.points else 0.0)


def _traced(tissue: Bool, shape: tuple[int, ...]) -> list[Float64]:
    """Outlines of a mask over a picture (h, w, 3), in dots, of cells that can be told apart."""
    cell = (shape[1] / tissue.shape[1], shape[0] / tissue.shape[0])
    block = max(round(_DETAIL / max(cell)), 1)
    share = resized(255 * tissue[..., None].astype(np.uint8), Fraction(1, block))[..., 0]
    rings = [block * ring * cell for ring in outlines(share > 127)]
    return [ring for ring in rings if np.ptp(ring, axis=0).max() > 2.5 * _DETAIL]


def _box_width(boxes: Float64) -> float:
    side = float(np.median(np.ptp(boxes[..., 0], axis=1))) if len(boxes) else 0.0
    return _BOX_WIDTH[side < _FINE]


def _clip(axes: Axes, left: int, top: int, width: int, height: int) -> None:
    """Cut off what reaches beyond the slide."""
    inside = Rectangle((left, top), width, height, transform=axes.transData)
    for drawn in axes.collections:
        drawn.set_clip_path(inside)


def _scale_bar(axes: Axes, sheet: _Sheet, width: int, per_micrometre: float) -> None:
    """Draw the longest of 1, 2 and 5 times a power of ten that is short enough."""
    most = _BAR_SHARE * max(width, _BESIDE) / per_micrometre
    power = 10.0 ** math.floor(math.log10(most))
    length = power * max(step for step in (1, 2, 5) if step * power <= most)
    left = sheet.beside
    right, y = left + length * per_micrometre, sheet.bar + _BAR * 0.55
    axes.plot([left, right], [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
    for end in (left, right):
        axes.plot([end, end], [y - 7, y + 7], color=INK, linewidth=0.6)
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    axes.text(right + 14, y, label, size=KEY_SIZE, va="center_baseline", color=INK)
