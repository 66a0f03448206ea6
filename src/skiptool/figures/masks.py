"""Pictures drawn pixel on pixel: a sheet measured in the dots of its PNG file.

An image appears at a whole multiple of its size or, where it is too large, as means over whole
blocks of pixels; never in between, where drawing would blur it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.path import Path

from skiptool.errors import ArgumentError
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    architecture_colours,
    shorten,
    text_width,
)
from skiptool.names import IGNORE_LABEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.records import Bool, Float64, Image, Int64, UInt8

DOTS: Final = 300
"""Dots an inch, as :mod:`skiptool.figures.style` writes PNG files."""


def dot_axes(width: int, height: int) -> tuple[Figure, Axes]:
    """Make a figure whose bare axes are its whole sheet, in dots from the upper left corner."""
    # a trace more, lest rounding cut the last dot off
    figure = Figure(figsize=((width + 1e-6) / DOTS, (height + 1e-6) / DOTS), dpi=DOTS)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, width)
    axes.set_ylim(height, 0.0)
    axes.set_autoscale_on(False)
    return figure, axes


def lay(axes: Axes, image: UInt8, left: int, top: int) -> None:
    """Put an image (h, w, 3) on the sheet, one pixel a dot, with an edge one dot wide."""
    height, width = image.shape[:2]
    corner = (left - 1, top - 1)
    edge = Rectangle(corner, width + 2, height + 2, color=LINE, linewidth=0.0, zorder=0.4)
    edge.set(snap=False, antialiased=False)
    axes.add_patch(edge)
    extent = (left, left + width, top + height, top)
    drawn = AxesImage(axes, interpolation="nearest", extent=extent, origin="upper", zorder=0.5)
    drawn.set_data(image)
    axes.add_artist(drawn)


def multiple(length: int, room: int) -> Fraction:
    """Dots for each pixel, as many as fit: a whole number, or one over a whole number.

    Examples
    --------
    >>> [str(multiple(length, 256)) for length in (64, 100, 128, 256, 300, 512, 2000)]
    ['4', '2', '2', '1', '1/2', '1/2', '1/8']
    """
    if length <= room:
        return Fraction(room // max(length, 1))
    return Fraction(1, -(-length // room))


def resized(image: UInt8, factor: Fraction) -> UInt8:
    """Show an image (h, w, C) at a multiple of its size.

    A last block that the image does not fill is the mean of what there is.
    """
    if factor >= 1:
        return image.repeat(int(factor), axis=0).repeat(int(factor), axis=1)
    sums, counts = block_sums(image, factor.denominator)
    return np.rint(sums / counts[..., None]).astype(np.uint8)


def block_sums(values: UInt8 | Bool, block: int) -> tuple[Int64, Int64]:
    """Add up the whole numbers in blocks of pixels.

    Parameters
    ----------
    values : uint8 or bool (H, W, ...)
    block : int
        Side b of a block in pixels; those at the right and the lower edge may be smaller.

    Returns
    -------
    sums : int64 (ceil(H / b), ceil(W / b), ...)
    counts : int64 (ceil(H / b), ceil(W / b))
        Pixels in each block.
    """
    high, wide = values.shape[:2]
    rows, columns = np.arange(0, high, block), np.arange(0, wide, block)
    # whole rows first: ten times as fast, and a large image is never held in more than 8 bits
    sums = np.zeros((len(rows), *values.shape[1:]), dtype=np.int64)
    for first in range(min(block, high)):
        part = values[first::block]
        sums[: len(part)] += part
    heights, widths = np.diff([*rows, high]), np.diff([*columns, wide])
    total: Int64 = np.add.reduceat(sums, columns, axis=1)
    return total, np.multiply.outer(heights, widths)


def as_rgb(image: Image) -> UInt8:
    """Turn an image into what is seen on a screen.

    Parameters
    ----------
    image : uint8 (H, W, 3), uint8 (H, W, 1), or float32 (H, W, 1) in [0, 1]

    Returns
    -------
    uint8 (H, W, 3)

    Raises
    ------
    ArgumentError
        If the image is none of these, or has no pixel.
    """
    if image.ndim != 3 or image.shape[2] not in (1, 3) or not math.prod(image.shape):
        raise ArgumentError(
            f"picture to draw: found shape {image.shape}, expected (H, W, 3) or (H, W, 1) with at "
            "least one pixel; give one image at a time, channels last"
        )
    if image.dtype != np.uint8:
        grey = np.nan_to_num(image.astype(np.float64)).clip(0.0, 1.0)
        image = np.rint(255.0 * grey).astype(np.uint8)
    return np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.uint8)


# -------------------------------------------------------------------------------------------------
# Names from data cut or broken to the room that a picture has for them.


def wrapped(text: str, size: float, width: float, lines: int = 2) -> list[str]:
    """Break a text at its line breaks or else between words; the last line is cut.

    Examples
    --------
    >>> wrapped("Hamamatsu NanoZoomer XR", 6.0, 200)
    ['Hamamatsu', 'NanoZo…er XR']
    >>> wrapped("slide 7, 120 450", 6.0, 900)
    ['slide 7, 120 450']
    """
    given = text.strip().splitlines()
    if len(given) > 1:
        kept = [*given[: lines - 1], *([" ".join(given[lines - 1 :])] * (len(given) >= lines))]
        return [shorten(line, size, width / DOTS) for line in kept]
    broken: list[str] = []
    rest = text.split()
    while rest and len(broken) < lines - 1:
        count = 1
        while count < len(rest) and _fits(" ".join(rest[: count + 1]), size, width):
            count += 1
        broken.append(" ".join(rest[:count]))
        rest = rest[count:]
    return [shorten(line, size, width / DOTS) for line in [*broken, " ".join(rest)] if line]


def _fits(text: str, size: float, width: float) -> bool:
    return text_width([text], size) * DOTS <= width


# -------------------------------------------------------------------------------------------------
# Large images and masks made small for a picture, by whole blocks of pixels.


def block_side(height: int, width: int, most: int) -> int:
    """Side of the blocks that bring an image down to at most so many blocks a side.

    Examples
    --------
    >>> block_side(100, 160, 160), block_side(100, 161, 160), block_side(4096, 10, 160)
    (1, 2, 26)
    """
    return max(1, -(-max(height, width) // most))


def block_note(block: int) -> str:
    """Say in a caption what blocks did, with a blank before it; nothing for blocks of one pixel."""
    if block == 1:
        return ""
    return (
        f" Shown smaller by {block}: means over blocks of {block} x {block} px, of masks the most "
        "frequent label of each block."
    )


def small_image(image: Image, block: int) -> UInt8:
    """Average an image over blocks.

    Parameters
    ----------
    image : uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]
    block : int
        Side b of a block in pixels.

    Returns
    -------
    uint8 (ceil(H / b), ceil(W / b), 3)
    """
    return resized(as_rgb(image), Fraction(1, block))


def small_mask(mask: UInt8, block: int) -> UInt8:
    """Give each block its most frequent label; of equally frequent ones the lowest.

    Parameters
    ----------
    mask : uint8 (H, W)
        Labels; 255 (ignored) is one of them.
    block : int
        Side b of a block in pixels.

    Returns
    -------
    uint8 (ceil(H / b), ceil(W / b))

    Examples
    --------
    >>> small_mask(np.array([[1, 1, 2], [1, 0, 0]], dtype=np.uint8), 2).tolist()
    [[1, 0]]
    """
    if block == 1:
        return mask
    shape = (-(-mask.shape[0] // block), -(-mask.shape[1] // block))
    found = np.zeros(shape, dtype=np.uint8)
    most: Int64 = np.zeros(shape, dtype=np.int64)
    for label in np.flatnonzero(np.bincount(mask.ravel())):
        pixels, _ = block_sums(mask == label, block)
        found[pixels > most] = label
        most = np.maximum(most, pixels)
    return found


# -------------------------------------------------------------------------------------------------
# The outline of a mask along the edges of its pixels.


def outlines(mask: Bool) -> list[Float64]:
    """Trace where a mask begins and ends: exactly between pixels, nothing smoothed.

    Parameters
    ----------
    mask : bool (H, W)

    Returns
    -------
    list of float64 (V, 2)
        Closed rings (the first vertex comes again at the end) of x and y in pixels from the upper
        left corner of the mask; only corners, horizontal and vertical edges in turn, the first
        horizontal. The inside lies to the right of one who walks along; pixels that touch only at
        a corner have outlines of their own.

    Examples
    --------
    >>> outlines(np.array([[True, True]]))[0].tolist()
    [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    """
    padded = np.pad(mask.astype(np.int8), 1)
    y, begin, end, east = _runs(np.diff(padded, axis=0)[:, 1:-1])
    x, foot, tip, south = _runs(-np.diff(padded, axis=1)[1:-1].T)
    # Every corner ends one run and begins one of the other direction. Where four pixels meet
    # corner to corner there are two of each: sorting by the direction pairs the right turns.
    following = np.empty(len(y), dtype=np.int64)
    turn = np.empty(len(y), dtype=np.int64)
    turn[np.lexsort((east, end, y))] = np.lexsort((south, x, foot))
    following[np.lexsort((-south, x, tip))] = np.lexsort((east, begin, y))
    starts, ends = np.stack([begin, y], axis=1), np.stack([end, y], axis=1)
    corners = np.stack([starts, ends], axis=1).astype(np.float64)
    rings = []
    for cycle in _cycles(following[turn]):
        ring = corners[cycle].reshape(-1, 2)
        rings.append(np.concatenate([ring, ring[:1]]))
    return rings


def _runs(edges: np.ndarray) -> tuple[Int64, Int64, Int64, Int64]:
    """Line, first and last place and direction of each run of equal edges along the rows."""
    walls = np.pad(edges, ((0, 0), (1, 1)))
    change = np.diff(walls, axis=1) != 0
    line, low = np.nonzero(change & (walls[:, 1:] != 0))
    _, high = np.nonzero(change & (walls[:, :-1] != 0))
    direction = edges[line, low].astype(np.int64)
    forward = direction > 0
    return line, np.where(forward, low, high), np.where(forward, high, low), direction


def _cycles(following: Int64) -> list[list[int]]:
    successor = following.tolist()
    free = [True] * len(successor)
    cycles = []
    for start in range(len(successor)):
        cycle, place = [], start
        while free[place]:
            free[place] = False
            cycle.append(place)
            place = successor[place]
        if cycle:
            cycles.append(cycle)
    return cycles


# -------------------------------------------------------------------------------------------------
# How each class is drawn over a picture: colour, dashes and marker.
#
# A line lies on a casing, dark below light colours and white below dark ones, so that it is seen on
# stained tissue, on grey tissue and on the empty slide alike. Colours are those of the paper's five
# networks, told apart under the three forms of colour-blindness; dashes and markers change with
# them, so that a print in grey can be read.


_PAPER: Final = architecture_colours(
    ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]
)
_WHITE: Final = "#ffffff"
_DARK: Final = "#15181c"
# in the order in which they stand out from stained tissue, each with its casing
_COLOURS: Final = (
    (_PAPER["L4-pruned"], _WHITE),  # green
    (_PAPER["L2-pruned"], _DARK),  # amber
    (_PAPER["L1-pruned"], _DARK),  # sky
    (_PAPER["L3-pruned"], _WHITE),  # red
    ("#3b4049", _WHITE),  # near black; no tone of the page, which turns in its dark scheme
)
_DASHES: Final = ((), (6.0, 1.8), (2.2, 1.5), (7.0, 1.5, 1.8, 1.5))  # in widths of the line
_MANY: Final = 60_000
"""Corners beyond which lines become dots in SVG and PDF too: noise, that would fill megabytes."""
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True, slots=True)
class Pen:
    """Colour, the colour around it, dashes (none: solid) and the marker of a point."""

    colour: str
    casing: str
    dashes: tuple[float, ...] = ()
    marker: str = "o"

    @property
    def breadth(self) -> float:
        """Of the casing, in widths of the line: dark looks broader than white."""
        return 1.9 if self.casing == _WHITE else 1.5


PLAIN: Final = Pen(INK, _WHITE, (1.2, 2.4), "x")
"""For the background, and for whatever is of no class."""


def class_pens(classes: Iterable[str]) -> dict[str, Pen]:
    """Give each class its pen, in the order of the classes; ``background`` has the plain one.

    The first twenty differ from one another.

    Examples
    --------
    >>> pens = class_pens(["background", "tumor", "non-tumor"])
    >>> pens["tumor"].dashes, pens["non-tumor"].dashes
    ((), (6.0, 1.8))
    """
    pens: dict[str, Pen] = {}
    for name in dict.fromkeys(classes):
        place = len(pens) - ("background" in pens)
        pens[name] = PLAIN if name == "background" else _pen(place)
    return pens


def compared_pens(classes: Iterable[str]) -> dict[str, tuple[Pen, Pen]]:
    """Give each class a pen for its truth and one for its prediction: colour tells which it is.

    Sky and amber are told apart under the three forms of colour-blindness; classes differ by their
    dashes, the first four from one another.

    Examples
    --------
    >>> truth, predicted = compared_pens(["LV", "MYO"])["MYO"]
    >>> truth.colour != predicted.colour, truth.dashes == predicted.dashes
    (True, True)
    """
    truth, predicted = _PAPER["L1-pruned"], _PAPER["L2-pruned"]
    return {
        name: (Pen(truth, _DARK, dashes), Pen(predicted, _DARK, dashes))
        for place, name in enumerate(dict.fromkeys(classes))
        for dashes in (_DASHES[place % len(_DASHES)],)
    }


def _pen(place: int) -> Pen:
    colour, casing = _COLOURS[place % len(_COLOURS)]
    dashes, marker = _DASHES[place % len(_DASHES)], _MARKERS[place % len(_MARKERS)]
    return Pen(colour, casing, dashes, marker)


def stroke(
    axes: Axes, lines: Sequence[Float64], pen: Pen, width: float, *, inside: bool = False
) -> None:
    """Draw lines, each float64 (V, 2), with a pen ``width`` points wide.

    ``inside``, of closed lines, only what lies in the area that they enclose is drawn: colour at
    the edge, casing towards the middle, and nothing on what lies beyond.
    """
    across = 2.0 if inside else 1.0  # half of it falls away
    dashes = tuple(length / across for length in pen.dashes)
    casing = LineCollection(lines, colors=pen.casing, linewidths=across * width * pen.breadth)
    colour = LineCollection(
        lines,
        colors=pen.colour,
        linewidths=across * width,
        linestyles=[(0.0, dashes) if dashes else "solid"],
    )
    area = Path.make_compound_path(*map(Path, lines)) if inside else None
    for drawn in (casing, colour):
        drawn.set_capstyle("butt")
        drawn.set_joinstyle("miter" if inside else "round")
        drawn.set_rasterized(sum(map(len, lines)) > _MANY)
        axes.add_collection(drawn, autolim=False)
        if area is not None:
            drawn.set_snap(False)  # one and the same edge for line and area
            drawn.set_clip_path(area, axes.transData)


def stamp(axes: Axes, places: Float64, pen: Pen, width: float) -> None:
    """Draw points, float64 (V, 2), as markers ``width`` points wide."""
    x, y = np.asarray(places, dtype=np.float64).reshape(-1, 2).T
    area, edge = width**2, width / 8
    if pen.marker in "x+":  # has no face
        axes.scatter(x, y, s=area, c=pen.casing, marker=pen.marker, linewidths=4 * edge)
        axes.scatter(x, y, s=area, c=pen.colour, marker=pen.marker, linewidths=2 * edge)
        return
    axes.scatter(
        x, y, s=area, c=pen.colour, marker=pen.marker, linewidths=edge, edgecolors=pen.casing
    )


# -------------------------------------------------------------------------------------------------
# The key of a picture: what its lines and markers mean, set in rows outside of it.


KEY_SIZE: Final = 6.5
"""Points of the key's text."""

_SAMPLE: Final = 66  # dots of the line before a name
_GAP: Final = 14
_BETWEEN: Final = 44
_ROW: Final = 40
_HATCH: Final = "/////"
_VEILED: Final = "#b9bec6"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the key.

    Attributes
    ----------
    name : str
    pen : Pen, optional
        Without one there is no line and no marker.
    width : float
        Of its line in points; 0 for no line.
    marker : float
        Of its marker in points; 0 for no marker.
    boxed : bool
        A small box in place of a line.
    striped : bool
        A striped field, as ignored pixels are shown.
    """

    name: str
    pen: Pen | None = None
    width: float = 0.0
    marker: float = 0.0
    boxed: bool = False
    striped: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """Entries with their places in dots from the key's upper left corner."""

    entries: tuple[Entry, ...]
    places: tuple[tuple[int, int], ...]
    width: int
    height: int

    def draw(self, axes: Axes, left: int, top: int) -> None:
        """Draw the key on a sheet measured in dots."""
        for entry, (x, y) in zip(self.entries, self.places, strict=True):
            x, middle = x + left, y + top + _ROW / 2
            _sample(axes, entry, x, middle)
            axes.text(x + _SAMPLE + _GAP, middle, entry.name, size=KEY_SIZE, va="center_baseline")


def plan_key(entries: Sequence[Entry], width: int, limit: int = 24) -> Key:
    """Set entries in rows of at most ``width`` dots; names are cut where one alone is wider.

    Beyond ``limit`` entries the last says how many more there are.
    """
    shown = list(entries[:limit])
    if len(entries) > limit:
        shown[-1] = Entry(f"and {len(entries) - limit + 1} more")
    room = width - _SAMPLE - _GAP
    placed, places = [], []
    x = y = right = 0
    for entry in shown:
        name = shorten(entry.name, KEY_SIZE, room / DOTS)
        need = _SAMPLE + _GAP + round(text_width([name], KEY_SIZE) * DOTS)
        if x and x + need > width:
            x, y = 0, y + _ROW
        placed.append(replace(entry, name=name))
        places.append((x, y))
        right = max(right, x + need)
        x += need + _BETWEEN
    return Key(tuple(placed), tuple(places), right, y + _ROW if placed else 0)


def _sample(axes: Axes, entry: Entry, x: float, y: float) -> None:
    low, high = y - 0.26 * _ROW, y + 0.26 * _ROW
    box = (x + _SAMPLE / 2 - 0.26 * _ROW, x + _SAMPLE / 2 + 0.26 * _ROW)
    if entry.striped:
        field = Rectangle((x, low), _SAMPLE, high - low, facecolor=_VEILED, edgecolor="#ffffff")
        field.set(hatch=_HATCH, linewidth=0.0)
        axes.add_patch(field)
    if entry.pen is None:
        return
    if entry.boxed:
        corners = [(box[0], low), (box[1], low), (box[1], high), (box[0], high), (box[0], low)]
        stroke(axes, [np.array(corners)], entry.pen, entry.width)
    elif entry.width:
        stroke(axes, [np.array([(x, y), (x + _SAMPLE, y)])], entry.pen, entry.width)
    if entry.marker:
        stamp(axes, np.array([(x + _SAMPLE / 2, y)]), entry.pen, entry.marker)


# -------------------------------------------------------------------------------------------------
# Heading of a sheet of pictures: title, notes and key, above what is shown.


MARGIN: Final = 18
"""Free edge of the sheet in dots."""

_TITLE: Final = (8.0, 46)  # points, dots of its line
_NOTES: Final = (6.5, 36)
_GAP_HEADING: Final = 12


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above the pictures; ``bottom`` is where they may begin, in dots."""

    title: str
    notes: tuple[str, ...]
    key: Key
    bottom: int

    def draw(self, axes: Axes, left: int = MARGIN) -> None:
        """Draw it on a sheet measured in dots."""
        y = MARGIN
        if self.title:
            axes.text(left, y, self.title, size=_TITLE[0], va="top")
            y += _TITLE[1]
        for line in self.notes:
            axes.text(left, y, line, size=_NOTES[0], va="top", color=SOFT)
            y += _NOTES[1]
        self.key.draw(axes, left, y)


def plan_heading(title: str, notes: str, entries: Sequence[Entry], width: int) -> Heading:
    """Fit title, notes (at most three lines) and key into ``width`` dots."""
    key = plan_key(entries, width)
    name = shorten(title, _TITLE[0], width / DOTS)
    lines = wrapped(notes, _NOTES[0], width, lines=3)
    height = (_TITLE[1] if name else 0) + _NOTES[1] * len(lines) + key.height
    return Heading(name, tuple(lines), key, MARGIN + height + (_GAP_HEADING if height else 0))


# -------------------------------------------------------------------------------------------------
# One patch on a sheet: its pixels, what is ignored of them, the outlines of its classes.


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
    unknown = sorted(label for label in found - {IGNORE_LABEL} if label >= len(classes))
    if unknown:
        raise ArgumentError(
            f"patches to draw: found label {unknown[0]} in a mask, expected labels below "
            f"{len(classes)}, the number of classes, or {IGNORE_LABEL}; name every class"
        )
    pens = class_pens(classes)
    named = [Entry(classes[k], pens[classes[k]], _KEY) for k in sorted(found - {0, IGNORE_LABEL})]
    return named + [Entry("ignored", striped=True)] * (IGNORE_LABEL in found)


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
            shown = _veiled(shown, mask == IGNORE_LABEL, factor)
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
        for label in set(_labels(mask)) - {0, IGNORE_LABEL}:
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


# -------------------------------------------------------------------------------------------------
# Truth and prediction over one another on a patch: broad lines and narrow ones.


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
    labels = sorted((true | predicted) - {0, IGNORE_LABEL})
    if labels and labels[-1] >= len(classes):
        raise ArgumentError(
            f"masks to compare: found label {labels[-1]}, expected labels below {len(classes)}, "
            f"the number of classes, or {IGNORE_LABEL}; name every class"
        )
    entries = [
        Entry(f"{classes[label]}, {what}", pens[classes[label]][place], widths[place])
        for label in labels
        for place, what in enumerate(("truth", "prediction"))
    ]
    return entries + [Entry("ignored", striped=True)] * (IGNORE_LABEL in true)


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
        ignored = np.where(truth == IGNORE_LABEL, truth, 0).astype(np.uint8)
        cells = Cells(self.axes, self.size, self.classes)
        factor, corner = cells.add(image, ignored, left, top)
        for place, mask in enumerate((truth, predicted)):
            for label in set(_labels(mask)) - {0, IGNORE_LABEL}:
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
