"""Images with the outlines of their masks, drawn pixel on pixel, and what explains them in a key.

An image appears at a whole multiple of its size or, if it is too large, as means over whole blocks
of pixels; never in between, where drawing would blur it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path

from skiptool.errors import ArgumentError
from skiptool.figures.style import HOLE, INK, LINE, architecture_colours
from skiptool.images import trace_mask
from skiptool.names import IGNORE_LABEL

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from skiptool.records import Bool, Float64, Image, Int64, UInt8

DOTS: Final = 300
"""Dots per inch of the PNG files that :mod:`skiptool.figures.style` writes."""


def multiple(length: int, room: int) -> Fraction:
    """Return the most dots per pixel that fit: a whole number, or one over a whole number.

    Examples
    --------
    >>> [str(multiple(length, 256)) for length in (64, 100, 128, 256, 300, 512, 2000)]
    ['4', '2', '2', '1', '1/2', '1/2', '1/8']
    """
    if length <= room:
        return Fraction(room // max(length, 1))
    return Fraction(1, -(-length // room))


def resized(image: UInt8, factor: Fraction) -> UInt8:
    """Enlarge an image (h, w, C) by repeating pixels, or reduce it by averaging blocks.

    A block at the right or lower edge that the image does not fill is the mean of its part.
    """
    if factor >= 1:
        return image.repeat(int(factor), axis=0).repeat(int(factor), axis=1)
    sums, counts = block_sums(image, factor.denominator)
    return np.rint(sums / counts[..., None]).astype(np.uint8)


def block_sums(values: UInt8 | Bool, block: int) -> tuple[Int64, Int64]:
    """Sum whole numbers over blocks of pixels.

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
    """Convert an image to 8-bit RGB.

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


# Large images and masks reduced for a figure, by whole blocks of pixels.


def block_side(height: int, width: int, most: int) -> int:
    """Return the side of the smallest blocks of which an image has at most ``most`` per side.

    Examples
    --------
    >>> block_side(100, 160, 160), block_side(100, 161, 160), block_side(4096, 10, 160)
    (1, 2, 26)
    """
    return max(1, -(-max(height, width) // most))


def block_note(block: int) -> str:
    """Return the sentence of a caption about blocks, after a space; empty for single pixels."""
    if block == 1:
        return ""
    return (
        f" Shown smaller by {block}: means over blocks of {block} x {block} px, of masks the most "
        "frequent label of each block."
    )


def small_image(image: Image, block: int) -> UInt8:
    """Average an image over blocks, as 8-bit RGB (ceil(H / block), ceil(W / block), 3)."""
    return resized(as_rgb(image), Fraction(1, block))


def small_mask(mask: UInt8, block: int) -> UInt8:
    """Reduce blocks of a mask to their most frequent labels, the lowest of equally frequent ones.

    255 (ignored) counts as a label.

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


# Pens: how the outlines and points of each class are drawn over an image.
#
# A line lies on a casing, dark below light colours and white below dark ones, so that it is visible
# on stained tissue, on grey tissue and on an empty slide. Colours are those of the paper's five
# networks, distinguishable under the three forms of colour blindness; dashes and markers change
# with them, so that a print in grey is legible.

_PAPER: Final = architecture_colours(
    ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]
)
_WHITE: Final = "#ffffff"
_DARK: Final = "#15181c"
# sorted by contrast with stained tissue, each with its casing
_COLOURS: Final = (
    (_PAPER["L4-pruned"], _WHITE),  # green
    (_PAPER["L2-pruned"], _DARK),  # amber
    (_PAPER["L1-pruned"], _DARK),  # sky
    (_PAPER["L3-pruned"], _WHITE),  # red
    ("#3b4049", _WHITE),  # near black; not a tone that a dark page inverts
)
_DASHES: Final = ((), (6.0, 1.8), (2.2, 1.5), (7.0, 1.5, 1.8, 1.5))  # in widths of the line
_MANY: Final = 4_000
"""Vertices above which SVG and PDF hold lines as pixels: outlines of noise would fill megabytes."""
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_FACELESS: Final = "x+"


@dataclass(frozen=True, slots=True)
class Pen:
    """Colour of lines and points, of their casing, dashes in line widths, and marker of points."""

    colour: str
    casing: str
    dashes: tuple[float, ...] = ()
    marker: str = "o"

    @property
    def breadth(self) -> float:
        """Width of the casing in widths of the line: dark looks broader than white."""
        return 1.9 if self.casing == _WHITE else 1.5


PLAIN: Final = Pen(INK, _WHITE, (1.2, 2.4), "x")
"""Pen of the background, and of anything without a class."""


def class_pens(classes: Iterable[str]) -> dict[str, Pen]:
    """Assign pens to classes in their order; ``background`` gets the plain one.

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
        colour, casing = _COLOURS[place % len(_COLOURS)]
        dashes, marker = _DASHES[place % len(_DASHES)], _MARKERS[place % len(_MARKERS)]
        pens[name] = PLAIN if name == "background" else Pen(colour, casing, dashes, marker)
    return pens


def compared_pens(classes: Iterable[str]) -> dict[str, tuple[Pen, Pen]]:
    """Assign each class a pen for truth and one for prediction, which differ in colour.

    Sky and amber are distinguishable under the three forms of colour blindness. Classes differ in
    dashes, the first four from one another.

    Examples
    --------
    >>> truth, predicted = compared_pens(["LV", "MYO"])["MYO"]
    >>> truth.colour != predicted.colour, truth.dashes == predicted.dashes
    (True, True)
    """
    truth, predicted = _PAPER["L1-pruned"], _PAPER["L2-pruned"]
    pens = {}
    for name, dashes in zip(dict.fromkeys(classes), cycle(_DASHES), strict=False):
        pens[name] = (Pen(truth, _DARK, dashes), Pen(predicted, _DARK, dashes))
    return pens


def stroke(
    axes: Axes, lines: Sequence[Float64], pen: Pen, width: float, *, inside: bool = False
) -> None:
    """Draw lines, each float64 (V, 2), with a pen ``width`` points wide.

    With ``inside``, closed lines are drawn only on the inner side of their edge, colour outermost,
    so that the outlines of neighbours do not cover each other.
    """
    across = 2.0 if inside else 1.0  # half of it is clipped
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
            drawn.set_snap(False)  # the line and the area that clips it share their edge
            drawn.set_clip_path(area, axes.transData)


def stamp(axes: Axes, places: Float64, pen: Pen, width: float) -> None:
    """Draw points, float64 (V, 2), as markers ``width`` points wide."""
    x, y = np.asarray(places, dtype=np.float64).reshape(-1, 2).T
    for markers in marker_sample(pen, width):
        markers.set_data(x, y)
        axes.add_line(markers)


# Patches: an image, its ignored pixels, the outlines of its classes.


_WIDTH: Final = 0.5  # of an outline in points
_KEY_WIDTH: Final = 0.9  # of its line in a key, where a finer one would be hard to see
_NARROW: Final = 0.4  # width of the prediction's line in widths of the truth's
_VEILED: Final = "#b9bec6"
_STRIPES: Final = 14  # dots from one stripe to the next
_VEIL: Final = 0.35  # share of white over ignored pixels


def show_image(axes: Axes, image: Image, ignored: Bool | None = None) -> None:
    """Show an image in the middle of Axes, which get its pixels as their coordinates.

    A pixel is a square of whole dots, or a dot the mean of a whole block of pixels, at the
    resolution of the PNG files of this package. Ignored pixels, bool (H, W), are lightened and
    striped.
    """
    picture = as_rgb(image)
    scale = DOTS / axes.figure.dpi
    width, height = round(axes.bbox.width * scale), round(axes.bbox.height * scale)
    factor = min(multiple(picture.shape[1], width), multiple(picture.shape[0], height))
    shown = resized(picture, factor)
    if ignored is not None and ignored.any():
        shown = _veiled(shown, ignored, factor)
    high, wide = shown.shape[:2]
    left, top, dot = (width - wide) // 2, (height - high) // 2, float(1 / factor)
    edge = Rectangle((-dot, -dot), (wide + 2) * dot, (high + 2) * dot, color=LINE, linewidth=0.0)
    edge.set(snap=False, antialiased=False, clip_on=False, zorder=0.4)  # one dot on each side
    axes.add_patch(edge)
    extent = (0.0, wide * dot, high * dot, 0.0)
    axes.imshow(shown, extent=extent, interpolation="nearest", zorder=0.5)
    axes.set(xlim=(-left * dot, (width - left) * dot), ylim=((height - top) * dot, -top * dot))
    axes.set_axis_off()


def draw_patch(
    axes: Axes, image: Image | None, mask: UInt8 | None = None, classes: Sequence[str] = ()
) -> None:
    """Draw an image in Axes, with outlines of the classes in its mask just inside their edges.

    Parameters
    ----------
    axes : Axes
    image : uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1], or None
        None is drawn as a hatched field.
    mask : uint8 (H, W), optional
        Labels: 0 has no outline, 255 (ignored) is lightened and striped.
    classes : sequence of str
        Name of each label from 0.

    Raises
    ------
    ArgumentError
        If the mask differs in size from the image, or a label has no class.
    """
    if image is None:
        draw_missing(axes)
        return
    if mask is None:
        show_image(axes, image)
        return
    _check(mask, image)
    show_image(axes, image, mask == IGNORE_LABEL)
    pens = class_pens(classes)
    for label in sorted(_labels([mask], classes) - {IGNORE_LABEL}):
        stroke(axes, trace_mask(mask == label), pens[classes[label]], _WIDTH, inside=True)


def draw_comparison(
    axes: Axes,
    image: Image,
    truth: UInt8,
    predicted: UInt8,
    classes: Sequence[str],
    width: float = 1.0,
) -> None:
    """Draw an image in Axes, with outlines of true classes and, over them, of predicted ones.

    Parameters
    ----------
    axes, image, classes
        As in :func:`draw_patch`.
    truth, predicted : uint8 (H, W)
        Labels: 0 has no outline; pixels that are 255 (ignored) in the truth are striped.
    width : float
        Width of the truth's line in points. The prediction's is narrower: where both agree, it
        lies within the truth's.

    Raises
    ------
    ArgumentError
        If a mask differs in size from the image, or a label has no class.
    """
    for mask in (truth, predicted):
        _check(mask, image)
    show_image(axes, image, truth == IGNORE_LABEL)
    pens = compared_pens(classes[1:])
    for place, (mask, across) in enumerate(((truth, width), (predicted, _NARROW * width))):
        for label in sorted(_labels([mask], classes) - {IGNORE_LABEL}):
            pen = pens[classes[label]][place]
            stroke(axes, trace_mask(mask == label), pen, across, inside=True)


def draw_missing(axes: Axes) -> None:
    """Fill Axes with a hatched field in place of an image."""
    field = Rectangle((0.0, 0.0), 1.0, 1.0, facecolor=HOLE, edgecolor=LINE)
    field.set(hatch="//////", linewidth=0.0, transform=axes.transAxes)
    axes.add_patch(field)
    axes.set_axis_off()


def _check(mask: UInt8, image: Image) -> None:
    if mask.shape != image.shape[:2]:
        raise ArgumentError(
            f"patch to draw: found a mask of shape {mask.shape}, expected {image.shape[:2]} as "
            "its image; give each image its own mask"
        )


def _veiled(shown: UInt8, ignored: Bool, factor: Fraction) -> UInt8:
    """Lighten ignored pixels and draw stripes over them."""
    spread = resized(255 * ignored[..., None].astype(np.uint8), factor) > 127
    y, x = np.ogrid[: shown.shape[0], : shown.shape[1]]
    striped = (x + y) % _STRIPES < 2
    share = np.where(striped, 0.5 + _VEIL, _VEIL)[..., None] * spread
    veiled: UInt8 = np.rint(shown + (255.0 - shown) * share).astype(np.uint8)
    return veiled


# Entries of a key.


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a key: a name, and the artists drawn over one another before it."""

    name: str
    sample: tuple[Artist, ...] = ()


def line_sample(pen: Pen, width: float) -> tuple[Line2D, Line2D]:
    """Return casing and colour of a line of a key, ``width`` points wide."""
    casing = Line2D([], [], color=pen.casing, linewidth=width * pen.breadth)
    colour = Line2D([], [], color=pen.colour, linewidth=width)
    colour.set_linestyle((0.0, pen.dashes) if pen.dashes else "solid")
    for line in (casing, colour):
        line.set(solid_capstyle="butt", dash_capstyle="butt")
    return casing, colour


def marker_sample(pen: Pen, width: float) -> tuple[Line2D, ...]:
    """Return the marker of a key, ``width`` points wide."""
    marker = Line2D([], [], linestyle="none", marker=pen.marker, markersize=width)
    if pen.marker not in _FACELESS:
        marker.set(color=pen.colour, markeredgecolor=pen.casing, markeredgewidth=width / 8)
        return (marker,)
    casing = Line2D([], [], linestyle="none", marker=pen.marker, markersize=width)
    casing.set(color=pen.casing, markeredgewidth=width / 2)
    marker.set(color=pen.colour, markeredgewidth=width / 4)
    return casing, marker


def _ignored_entry() -> Entry:
    field = Rectangle((0.0, 0.0), 1.0, 1.0, facecolor=_VEILED, edgecolor=_WHITE)
    field.set(hatch="/////", linewidth=0.0)
    return Entry("ignored", (field,))


def mask_entries(masks: Iterable[UInt8 | None], classes: Sequence[str]) -> list[Entry]:
    """Return entries for the classes that occur in some masks, and for ignored pixels.

    Raises
    ------
    ArgumentError
        If a label has no class.
    """
    labels = _labels((mask for mask in masks if mask is not None), classes)
    pens = class_pens(classes)
    entries = [
        Entry(classes[label], line_sample(pens[classes[label]], _KEY_WIDTH))
        for label in sorted(labels - {IGNORE_LABEL})
    ]
    return [*entries, _ignored_entry()] if IGNORE_LABEL in labels else entries


def compared_entries(
    truths: Iterable[UInt8],
    predictions: Iterable[UInt8],
    classes: Sequence[str],
    width: float = 1.0,
) -> list[Entry]:
    """Return entries for truth and prediction of the classes that occur, and for ignored pixels.

    Raises
    ------
    ArgumentError
        If a label has no class.
    """
    true, predicted = _labels(truths, classes), _labels(predictions, classes)
    pens = compared_pens(classes[1:])
    entries = []
    for label in sorted((true | predicted) - {IGNORE_LABEL}):
        truth, prediction = pens[classes[label]]
        entries += [
            Entry(f"{classes[label]}, truth", line_sample(truth, width)),
            Entry(f"{classes[label]}, prediction", line_sample(prediction, _NARROW * width)),
        ]
    return [*entries, _ignored_entry()] if IGNORE_LABEL in true else entries


def _labels(masks: Iterable[UInt8], classes: Sequence[str]) -> set[int]:
    """Return the labels in some masks but 0."""
    labels = {label for mask in masks for label in np.flatnonzero(np.bincount(mask.ravel()))}
    unknown = sorted(label for label in labels - {IGNORE_LABEL} if label >= len(classes))
    if unknown:
        raise ArgumentError(
            f"patches to draw: found label {unknown[0]} in a mask, expected labels below "
            f"{len(classes)}, the number of classes, or {IGNORE_LABEL}; name every class"
        )
    return {int(label) for label in labels} - {0}
