"""A slide at a glance: its tissue, annotations and patches over a thumbnail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.figures.masks import (
    DOTS,
    Entry,
    Pen,
    as_rgb,
    class_pens,
    line_sample,
    marker_sample,
    multiple,
    resized,
    show_image,
    stamp,
    stroke,
)
from skiptool.figures.sheets import MARGIN, Sheet
from skiptool.figures.style import INK, ONE_COLUMN, TWO_COLUMNS, drawing_style
from skiptool.images import trace_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.records import Bool, Float64, UInt8

# Annotations and patches of a slide, scaled to the dots of a small picture of it.


_SMALL: Final = 12.0  # dots; an area that is smaller is shown as a point
_STEP: Final = 0.5  # dots; vertices closer than this are one


@dataclass(slots=True)
class Marks:
    """Annotations of one name, in dots from the upper left corner of the picture.

    Attributes
    ----------
    lines : list of float64 (V, 2)
        Closed rings of areas that are large enough to be drawn as such.
    points : list of float64 (2,)
        Points, and centres of small areas.
    areas, dots : int
        Number of areas and of points given.
    """

    lines: list[Float64] = field(default_factory=list)
    points: list[Float64] = field(default_factory=list)
    areas: int = 0
    dots: int = 0

    def label(self, name: str) -> str:
        """Return name and numbers for the key.

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
    """Group annotations by name and scale them from pixels of level 0 to dots."""
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
    """Convert boxes (N, 4), left, top, right, bottom at level 0, to rings (N, 5, 2) in dots.

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
    """Close a ring, without vertices that are too close to the one before."""
    cell = np.floor(ring / _STEP)
    kept = ring[np.append(True, (np.diff(cell, axis=0) != 0).any(axis=1))]
    return np.concatenate([kept, kept[:1]])


# The overview.


_LONGEST: Final = round(TWO_COLUMNS * DOTS) - 2 * MARGIN  # side of the picture in dots
_COLUMN: Final = round(ONE_COLUMN * DOTS) - 2 * MARGIN  # small pictures are enlarged up to this
_TALL: Final = 1.5  # height over width from which the heading is to the right of the picture
_RIGHT: Final = 700  # width of the heading there in dots
_GAP: Final = 30
_AREA: Final = 0.8  # width of an outline in points
_MARKER: Final = 4.0  # points
_MARKER_OF_MANY: Final = 2.8
_MANY: Final = 300
_TISSUE: Final = Pen("#565d66", "#ffffff")
_TISSUE_WIDTH: Final = 0.35
_DETAIL: Final = 10.0  # dots; finer fringes, specks and holes would cover the tissue with lines
_BOX: Final = Pen("#1f3fbf", "#ffffff")
_BOX_MARKER: Final = Pen("none", _BOX.colour, marker="s")
_BOX_SIZE: Final = 5.0
_BOX_WIDTH: Final = 0.5
_FINE_BOX_WIDTH: Final = 0.25
_FINE: Final = 40.0  # dots; boxes that are smaller have fine lines
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
        The thumbnail; above about 2100 pixels it is shown as means over blocks.
    scale : (float, float)
        Pixels of level 0 per pixel of the thumbnail, horizontally and vertically.
    tissue : bool (h', w'), optional
        Covers the same field as the image; outlined without the finest detail.
    areas : sequence of (name, rings)
        Rings are float64 (V, 2), x and y in pixels of level 0, closed or not: outline and holes.
        Areas that would be too small to see are drawn as points.
    points : sequence of (name, (x, y))
        In pixels of level 0.
    patches : float64 (N, 4), optional
        Left, top, right and bottom in pixels of level 0.
    classes : sequence of str
        Order of the names, which determines their pens, as on sheets of patches; other names
        follow in order of appearance.
    mpp : (float, float), optional
        Micrometres per pixel of level 0, for a scale bar.
    title, notes : str
        Heading, above the picture or to the right of a tall one.

    Raises
    ------
    ArgumentError
        If an array has another shape.
    """
    longest = max(image.shape[:2])
    factor = multiple(longest, _LONGEST if longest > _COLUMN else _COLUMN)
    shown = resized(as_rgb(image), factor)
    per_pixel = (float(factor) / scale[0], float(factor) / scale[1])
    boxes = box_lines(np.zeros((0, 4)) if patches is None else patches, per_pixel)
    marks = gather_marks(areas, points, per_pixel)
    pens = {name: pen for name, pen in class_pens([*classes, *marks]).items() if name in marks}
    many = sum(len(found.points) for found in marks.values()) >= _MANY
    marker = _MARKER_OF_MANY if many else _MARKER
    with drawing_style():
        entries = (
            [Entry("tissue", line_sample(_TISSUE, _TISSUE_WIDTH))] if tissue is not None else []
        )
        if len(boxes):
            entries.append(
                Entry(f"patches ({len(boxes):,})", marker_sample(_BOX_MARKER, _BOX_SIZE))
            )
        entries += [_entry(name, marks[name], pen, marker) for name, pen in pens.items()]
        sheet, axes = _arrange(shown, title, notes, entries, per_pixel[0] / mpp[0] if mpp else None)
        show_image(axes, shown)
        if tissue is not None:
            stroke(axes, _traced(tissue, shown.shape), _TISSUE, _TISSUE_WIDTH)
        stroke(axes, list(boxes), _BOX, _box_width(boxes))
        for name, pen in pens.items():
            stroke(axes, marks[name].lines, pen, _AREA)
        for name, pen in pens.items():
            stamp(axes, np.array(marks[name].points), pen, marker)
    return sheet.figure


def _arrange(
    shown: UInt8, title: str, notes: str, entries: Sequence[Entry], per_micrometre: float | None
) -> tuple[Sheet, Axes]:
    """Make a sheet with a heading, Axes for the picture, and a scale bar if its scale is known."""
    height, width = shown.shape[:2]
    foot = 0 if per_micrometre is None else _BAR
    sheet = Sheet()
    if height > _TALL * width:
        left, top = MARGIN + width + _GAP, MARGIN
        bottom = sheet.add_head(title, notes, entries, _RIGHT, left)
        high = max(height + 2 * MARGIN, bottom + foot)
        sheet.resize(left + _RIGHT + MARGIN, high)
        bar = high - MARGIN - foot
    else:
        left, room = MARGIN, max(width, _COLUMN)
        top = sheet.add_head(title, notes, entries, room)
        bar = top + height
        sheet.resize(room + 2 * MARGIN, bar + foot + MARGIN)
    axes = sheet.add_panel(MARGIN, top, (width, height))
    if per_micrometre is not None:
        _scale_bar(sheet, axes, left, bar, max(width, _RIGHT), per_micrometre)
    return sheet, axes


def _entry(name: str, found: Marks, pen: Pen, marker: float) -> Entry:
    line = line_sample(pen, _AREA) if found.lines else ()
    return Entry(found.label(name), (*line, *(marker_sample(pen, marker) if found.points else ())))


def _traced(tissue: Bool, shape: tuple[int, ...]) -> list[Float64]:
    """Trace a mask over a picture (h, w, 3) in dots, at a resolution without the finest detail."""
    cell = (shape[1] / tissue.shape[1], shape[0] / tissue.shape[0])
    block = max(round(_DETAIL / max(cell)), 1)
    share = resized(255 * tissue[..., None].astype(np.uint8), Fraction(1, block))[..., 0]
    rings = [block * ring * cell for ring in trace_mask(share > 127)]
    return [ring for ring in rings if np.ptp(ring, axis=0).max() > 2.5 * _DETAIL]


def _box_width(boxes: Float64) -> float:
    side = float(np.median(np.ptp(boxes[..., 0], axis=1))) if len(boxes) else 0.0
    return _FINE_BOX_WIDTH if side < _FINE else _BOX_WIDTH


def _scale_bar(
    sheet: Sheet, axes: Axes, left: int, top: int, width: int, per_micrometre: float
) -> None:
    """Draw the longest bar of 1, 2 or 5 times a power of ten micrometres that is short enough."""
    most = _BAR_SHARE * width / per_micrometre
    power = 10.0 ** math.floor(math.log10(most))
    length = power * max(step for step in (1, 2, 5) if step * power <= most)
    dots, middle = length * per_micrometre, top + 0.55 * _BAR
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    (bar,) = axes.plot([left, left + dots], [middle, middle], transform=sheet.dots, color=INK)
    bar.set(linewidth=1.2, solid_capstyle="butt", clip_on=False)
    bar.set(marker="|", markersize=3.4, markeredgewidth=0.6)
    sheet.write(left + dots + 14, middle, label, va="center_baseline")
