"""All patches of a slide that show tissue, side by side: how models are tested (section III.C)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from scipy import ndimage

from skiptool.errors import ArgumentError
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Patch, crossings

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = [
    "BACKGROUND",
    "BACKGROUND_SHARE",
    "EMPTY",
    "TissueMap",
    "TissueShare",
    "around",
    "centred",
    "draw_empty",
    "empty_cells",
    "grid",
    "point_in",
    "portions",
    "sampled",
]


class TissueShare(Protocol):
    """What tells how much tissue lies in a part of a slide."""

    def share(self, left: float, top: float, right: float, bottom: float) -> float:
        """Share of tissue in a box of level 0, in [0, 1]; outside the slide there is none."""


def grid(
    slide_size: tuple[int, int],
    tissue: TissueShare,
    size: int,
    scale: tuple[float, float],
    stride: int,
    min_tissue: float,
) -> list[Patch]:
    """Lay a regular grid over a slide and keep the patches with enough tissue.

    Parameters
    ----------
    slide_size : tuple of int
        Width and height of level 0.
    tissue : TissueShare
    size : int
        Pixels of a patch along either side.
    scale : tuple of float
        Pixels of level 0 that a pixel of the patch spans, horizontally and vertically.
    stride : int
        Pixels of the patch from one to the next; ``size`` lays them edge to edge.
    min_tissue : float
        A patch is kept if its share of tissue is above; 0.5 in the paper.

    Returns
    -------
    list of Patch
        Row by row from the slide's upper left corner. The last row and column may reach beyond
        the slide, which counts as no tissue. Column: ``tissue`` (the share).

    Raises
    ------
    ArgumentError
        If size or stride is below 1.
    """
    if size < 1 or stride < 1:
        raise ArgumentError(f"grid: size {size} and stride {stride}; expected 1 pixel or more")
    across, down = (
        [step * stride * by for step in range(_steps(extent / by, size, stride))]
        for extent, by in zip(slide_size, scale, strict=True)
    )
    patches = (Patch(x, y, size, scale) for y in down for x in across)
    shares = ((patch, tissue.share(*patch.box)) for patch in patches)
    return [
        Patch(patch.x, patch.y, size, scale, {"tissue": share})
        for patch, share in shares
        if share > min_tissue
    ]


def _steps(extent: float, size: int, stride: int) -> int:
    """Patches along a side of ``extent`` patch pixels: all that begin on it, until it is covered.

    >>> _steps(10, 4, 4), _steps(10, 4, 3), _steps(10, 4, 6), _steps(3, 4, 1)
    (3, 3, 2, 1)
    """
    whole = round(extent) if abs(extent - round(extent)) < 1e-6 else extent
    until_covered = math.ceil(max(whole - size, 0) / stride) + 1
    return min(math.ceil(whole / stride), until_covered)


# -------------------------------------------------------------------------------------------------
# One patch around each annotated object (section III.B).


def centred(shapes: Sequence[Shape], size: int, scale: tuple[float, float]) -> list[Patch]:
    """Lay a patch around the centre of each shape.

    Parameters
    ----------
    shapes : sequence of Shape
        Points and areas of the classes wanted.
    size : int
        Pixels of a patch along either side; 128 in the paper.
    scale : tuple of float
        Pixels of level 0 that a pixel of the patch spans, horizontally and vertically.

    Returns
    -------
    list of Patch
        One a shape, in their order, also for two shapes at one place. Columns: ``annotation``
        (the class as the file names it) and ``record`` (its id there). Where the object lies near
        the border the patch reaches beyond the slide.
    """
    return [
        around(shape.centre, size, scale, {"annotation": shape.name, "record": shape.record})
        for shape in shapes
    ]


def around(
    point: tuple[float, float],
    size: int,
    scale: tuple[float, float],
    columns: Mapping[str, str | int | float],
) -> Patch:
    """Lay a patch around a point, on the grid of pixels of its own resolution.

    Parameters
    ----------
    point : tuple of float
        x and y in pixels of level 0.
    size : int
    scale : tuple of float
    columns : mapping

    Returns
    -------
    Patch
        Its corner lies a whole number of patch pixels from the slide's, so that a level read at
        its own scale gives the stored pixels; its middle is at most half a patch pixel off.

    Examples
    --------
    >>> around((100.25, 7.0), 8, (2.0, 2.0), {}).box
    (92.0, 0.0, 108.0, 16.0)
    """
    x, y = (math.floor(at / by - size / 2 + 0.5) * by for at, by in zip(point, scale, strict=True))
    return Patch(x, y, size, scale, columns)


# -------------------------------------------------------------------------------------------------
# Places on a slide where a patch shows no tissue.


EMPTY: Final = 0.05
"""Share of tissue up to which a patch counts as slide background."""


class TissueMap(Protocol):
    """Tissue of a slide on a coarse grid."""

    @property
    def mask(self) -> Bool:
        """Where there is tissue, (h, w)."""

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of level 0 that a cell of the mask spans, horizontally and vertically."""


def empty_cells(tissue: TissueMap, extent: tuple[float, float]) -> Int64:
    """Find where the middle of a patch may lie so that it shows slide background.

    Parameters
    ----------
    tissue : TissueMap
    extent : tuple of float
        Width and height of a patch in pixels of level 0.

    Returns
    -------
    int64 (N, 2)
        Row and column of cells of the mask that are no tissue themselves and around which a patch
        holds at most 5 % of it. Where there are such places wholly on the slide, only those;
        otherwise also those where the patch reaches beyond it.
    """
    sides = [side / by for side, by in zip(extent, tissue.scale, strict=True)]
    # Wherever in its cell the middle lies, the patch reaches no further than these.
    right, down = (int(np.ceil(side / 2)) for side in sides)
    amount = tissue.mask.astype(np.float32) * ((2 * right + 1) * (2 * down + 1))
    for reach, axis in ((down, 0), (right, 1)):
        amount = ndimage.uniform_filter1d(amount, 2 * reach + 1, axis=axis, mode="constant")
    empty = ~tissue.mask & (amount <= EMPTY * sides[0] * sides[1])
    whole = np.zeros_like(empty)
    whole[down : len(whole) - down, right : whole.shape[1] - right] = True
    whole &= empty
    found: Int64 = np.argwhere(whole if whole.any() else empty)
    return found


def draw_empty(
    cells: Int64, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[float, float]:
    """Draw a point, x and y in pixels of level 0, uniformly from cells (N, 2) of the mask."""
    row, column = cells[rng.integers(len(cells))] + rng.random(2)
    return float(column * scale[0]), float(row * scale[1])


# -------------------------------------------------------------------------------------------------
# Random numbers behind patches: shares that add up, points in areas.


_LINES: Final = 256


def portions(total: int, weights: Sequence[float], rng: np.random.Generator) -> list[int]:
    """Split a number of draws by weights, each part rounded up or down by chance.

    Parameters
    ----------
    total : int
    weights : sequence of float
        Not negative, at least one above 0.
    rng : np.random.Generator
        Gives one number.

    Returns
    -------
    list of int
        They add up to the total; each is its exact share rounded up or down, and its expectation
        is that share (systematic sampling). Independent draws would scatter far more.

    Examples
    --------
    >>> portions(32, [0.25, 0.25, 0.5], np.random.default_rng(0))
    [8, 8, 16]
    """
    reached = np.cumsum(np.asarray(weights, dtype=np.float64))
    # The last one is the total whatever rounding does; fuzz keeps whole shares whole.
    marks = np.floor(reached / reached[-1] * total + rng.uniform(1e-9, 1 - 1e-9))
    marks[reached == reached[-1]] = total
    return [int(part) for part in np.diff(marks, prepend=0.0)]


def point_in(shape: Shape, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a point uniformly from an area.

    Parameters
    ----------
    shape : Shape
        An area that is not empty; holes are left out, if they lie within it and apart.
    rng : np.random.Generator
        Gives 258 numbers.

    Returns
    -------
    tuple of float
        x and y in pixels of level 0.

    Notes
    -----
    Out of 256 horizontal lines, one at a random height in each of as many strips, one is taken by
    the length of it that lies inside, then a point on that length. Unlike trying points in the
    bounding box this finds thin and winding areas as surely as square ones.
    """
    _, top, _, bottom = shape.bounds
    heights = top + (np.arange(_LINES) + rng.random(_LINES)) / _LINES * (bottom - top)
    line, entries, exits = _spans(shape, heights)
    reached = np.cumsum(exits - entries)
    at = int(np.searchsorted(reached, rng.random() * reached[-1], side="right"))
    span = min(at, len(line) - 1)
    x = entries[span] + rng.random() * (exits[span] - entries[span])
    return float(x), float(heights[line[span]])


def _spans(shape: Shape, heights: Float64) -> tuple[Int64, Float64, Float64]:
    """Line, start and end of each stretch inside: crossings of a line in pairs (even-odd rule)."""
    line, x = crossings(shape.rings, heights)
    order = np.lexsort((x, line))
    return line[order][::2], x[order][::2], x[order][1::2]


# -------------------------------------------------------------------------------------------------
# Patches drawn by class weights for one epoch of training (section III.C).


BACKGROUND: Final = "background"
"""What the column ``drawn`` says of a patch of slide background."""

BACKGROUND_SHARE: Final = 0.1
"""Share of the patches that show slide background, as in the paper."""

_TRIES: Final = 100


def sampled(
    shapes: Sequence[Shape],
    labels: Sequence[int | None],
    tissue: TissueMap,
    slide_size: tuple[int, int],
    size: int,
    scale: tuple[float, float],
    patches: int,
    draw: int,
    rng: np.random.Generator,
    background_share: float = BACKGROUND_SHARE,
) -> list[Patch]:
    """Draw the patches of a slide for one epoch.

    Parameters
    ----------
    shapes : sequence of Shape
    labels : sequence of int or None
        Label of each shape. Areas with a label above 0 are drawn from; those with None or 0 and
        points are not.
    tissue : TissueMap
    slide_size : tuple of int
        Width and height of level 0.
    size : int
        Pixels of a patch along either side; 512 in the paper.
    scale : tuple of float
        Pixels of level 0 that a pixel of the patch spans, horizontally and vertically.
    patches : int
        How many; 32 in the paper.
    draw : int
        Number of the epoch, for the column only: the caller seeds ``rng`` by it.
    rng : np.random.Generator
    background_share : float
        Share of slide background; the rest is split evenly over the labels.

    Returns
    -------
    list of Patch
        Background first, then by label and class name. Columns: ``draw``, ``drawn`` (class name
        as annotated, or "background") and ``record`` (id of the area, or ""). None at all if no
        area on the slide can be drawn from.

    Raises
    ------
    ArgumentError
        If there is less than one patch to draw or the share is not in [0, 1).

    Notes
    -----
    The paper gives the frequencies: 10 % background, tumour and non-tumour alike. The rest
    follows the authors' release: the share of a label is split evenly over its class names
    present, every area of a name is as likely as another however large it is, and the middle of
    the patch is a uniform point in the area, also where another area lies over that.
    Points beyond the slide are drawn again.

    Departures: how often each is drawn is rounded up or down by chance instead of drawn
    independently, so every epoch is as balanced as can be; the release takes background
    patches beside the bounding box of all annotations, where tissue may lie and the slide may
    end, and here they come from where the slide shows none (see `empty_cells`). A slide without
    such a place gets no background, and what is missing on it goes to the others evenly.
    """
    if patches < 1 or not 0 <= background_share < 1:
        raise ArgumentError(
            f"sampling: {patches} patches with a background share of {background_share}; expected "
            "one patch or more and a share from 0 to below 1"
        )
    areas = _by_label_and_name(shapes, labels, slide_size)
    if not areas:
        return []
    # A pixel more than the patch has, because its middle is moved to the grid of pixels.
    cells = empty_cells(tissue, ((size + 1) * scale[0], (size + 1) * scale[1]))
    weights = [background_share if len(cells) else 0.0]
    weights += [(1 - background_share) / len(areas)] * len(areas)
    empty, *counts = portions(patches, weights, rng)
    middles = [(draw_empty(cells, tissue.scale, rng), BACKGROUND, "") for _ in range(empty)]
    for count, names in zip(counts, areas, strict=True):
        for area in _draw_areas(names, count, rng):
            middles.append((_point(area, slide_size, rng), area.name, area.record))
    return [
        around(middle, size, scale, {"draw": draw, "drawn": name, "record": record})
        for middle, name, record in middles
    ]


def _by_label_and_name(
    shapes: Sequence[Shape], labels: Sequence[int | None], slide_size: tuple[int, int]
) -> list[Mapping[str, list[Shape]]]:
    """Areas to draw from: for each label present, ascending, its class names and their areas."""
    found: dict[int, dict[str, list[Shape]]] = defaultdict(lambda: defaultdict(list))
    for shape, label in zip(shapes, labels, strict=True):
        left, top, right, bottom = shape.bounds
        meets = left < slide_size[0] and top < slide_size[1] and right > 0 and bottom > 0
        if label and meets and shape.area > 0:
            found[label][shape.name].append(shape)
    return [found[label] for label in sorted(found)]


def _draw_areas(
    names: Mapping[str, list[Shape]], count: int, rng: np.random.Generator
) -> list[Shape]:
    """Draw areas: names in turn as evenly as can be, the areas of a name with equal chances."""
    ordered = sorted(names)
    shares = portions(count, [1.0] * len(ordered), rng)
    return [
        names[name][rng.integers(len(names[name]))]
        for name, share in zip(ordered, shares, strict=True)
        for _ in range(share)
    ]


def _point(
    area: Shape, slide_size: tuple[int, int], rng: np.random.Generator
) -> tuple[float, float]:
    """Draw a point in an area and, unless hardly any of it is there, on the slide."""
    width, height = slide_size
    for _ in range(_TRIES):
        x, y = point_in(area, rng)
        if 0 <= x < width and 0 <= y < height:
            break
    return x, y
