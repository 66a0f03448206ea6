"""Place patches on slides.

- `grid_patches`: all patches that show tissue, side by side, for testing (section III.C);
- `centre_patches`: one patch around each annotated object (section III.B);
- `sample_patches`: patches drawn by class weights for one epoch of training (section III.C),
  including slide background.
"""

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


class TissueShare(Protocol):
    """Anything that knows the share of tissue in a part of a slide."""

    def share(self, left: float, top: float, right: float, bottom: float) -> float:
        """Return the share of tissue in a box of level 0, in [0, 1]; 0 outside the slide."""


def grid_patches(
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
    size : int
        Side of a patch in pixels.
    scale : tuple of float
        Pixels of level 0 per pixel of the patch, horizontally and vertically.
    stride : int
        Distance between neighbouring patches in pixels of the patch.
    min_tissue : float
        A patch is kept if its share of tissue is above this; 0.5 in the paper.

    Returns
    -------
    list of Patch
        Row by row. The last row and column may extend beyond the slide, where there is no tissue.
        Column: ``tissue`` (the share).
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
    """Count the patches that cover a side of ``extent`` patch pixels, all starting on it.

    >>> _steps(10, 4, 4), _steps(10, 4, 3), _steps(10, 4, 6), _steps(3, 4, 1)
    (3, 3, 2, 1)
    """
    whole = round(extent) if abs(extent - round(extent)) < 1e-6 else extent
    until_covered = math.ceil(max(whole - size, 0) / stride) + 1
    return min(math.ceil(whole / stride), until_covered)


def centre_patches(shapes: Sequence[Shape], size: int, scale: tuple[float, float]) -> list[Patch]:
    """Centre a patch on each shape.

    Parameters
    ----------
    shapes : sequence of Shape
        Points and areas of the wanted classes.
    size : int
        Side of a patch in pixels; 128 in the paper.
    scale : tuple of float
        Pixels of level 0 per pixel of the patch, horizontally and vertically.

    Returns
    -------
    list of Patch
        One per shape, in order, even if two shapes coincide. Columns: ``annotation`` (the class
        name in the file) and ``record`` (its id there). Near the border a patch extends beyond the
        slide.
    """
    return [
        patch_around(shape.centre, size, scale, {"annotation": shape.name, "record": shape.record})
        for shape in shapes
    ]


def patch_around(
    point: tuple[float, float],
    size: int,
    scale: tuple[float, float],
    columns: Mapping[str, str | int | float],
) -> Patch:
    """Centre a patch on a point of level 0, aligned to the pixel grid of its own resolution.

    The corner lies a whole number of patch pixels from the slide's, so that a level read at its own
    scale returns the stored pixels; the centre is off by at most half a patch pixel.

    Examples
    --------
    >>> patch_around((100.25, 7.0), 8, (2.0, 2.0), {}).box
    (92.0, 0.0, 108.0, 16.0)
    """
    x, y = (math.floor(at / by - size / 2 + 0.5) * by for at, by in zip(point, scale, strict=True))
    return Patch(x, y, size, scale, columns)


EMPTY: Final = 0.05
"""Largest share of tissue in a patch of slide background."""


class TissueMap(Protocol):
    """Tissue of a slide on a coarse grid."""

    @property
    def mask(self) -> Bool:
        """Tissue, (h, w)."""

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of level 0 per cell of the mask, horizontally and vertically."""


def empty_cells(tissue: TissueMap, extent: tuple[float, float]) -> Int64:
    """Find the cells in which the centre of a patch of slide background may lie.

    Parameters
    ----------
    tissue : TissueMap
    extent : tuple of float
        Width and height of a patch in pixels of level 0.

    Returns
    -------
    int64 (N, 2)
        Row and column of mask cells without tissue around which a patch holds at most 5 % of it.
        Only places where the patch lies wholly on the slide, unless there are none.
    """
    sides = [side / by for side, by in zip(extent, tissue.scale, strict=True)]
    # upper bounds of the patch's extent, wherever in its cell the centre lies
    right, down = (int(np.ceil(side / 2)) for side in sides)
    amount = tissue.mask.astype(np.float32) * ((2 * right + 1) * (2 * down + 1))
    for reach, axis in ((down, 0), (right, 1)):
        amount = ndimage.uniform_filter1d(amount, 2 * reach + 1, axis=axis, mode="constant")
    empty = ~tissue.mask & (amount <= EMPTY * sides[0] * sides[1])
    whole = np.zeros_like(empty)
    whole[down : len(whole) - down, right : whole.shape[1] - right] = True
    whole &= empty
    cells: Int64 = np.argwhere(whole if whole.any() else empty)
    return cells


def draw_empty(
    cells: Int64, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[float, float]:
    """Draw a point (x, y in pixels of level 0) uniformly from cells (N, 2) of the mask."""
    row, column = cells[rng.integers(len(cells))] + rng.random(2)
    return float(column * scale[0]), float(row * scale[1])


_LINES: Final = 256


def split_draws(total: int, weights: Sequence[float], rng: np.random.Generator) -> list[int]:
    """Split a number of draws by weights, each part rounded up or down at random.

    Parameters
    ----------
    total : int
    weights : sequence of float
        Non-negative, at least one positive.
    rng : np.random.Generator
        One number is drawn.

    Returns
    -------
    list of int
        Parts that add up to the total and have their exact shares as expectations (systematic
        sampling). Independent draws would vary far more.

    Examples
    --------
    >>> split_draws(32, [0.25, 0.25, 0.5], np.random.default_rng(0))
    [8, 8, 16]
    """
    reached = np.cumsum(np.asarray(weights, dtype=np.float64))
    # the last mark is the total despite rounding; the margin keeps integer parts exact
    marks = np.floor(reached / reached[-1] * total + rng.uniform(1e-9, 1 - 1e-9))
    marks[reached == reached[-1]] = total
    return [int(part) for part in np.diff(marks, prepend=0.0)]


def draw_point(shape: Shape, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a point uniformly from an area.

    Parameters
    ----------
    shape : Shape
        A non-empty area; its holes are excluded if they lie within it and do not overlap.
    rng : np.random.Generator
        258 numbers are drawn.

    Returns
    -------
    tuple of float
        x and y in pixels of level 0.

    Notes
    -----
    One of 256 horizontal lines, each at a random height in its strip, is chosen with probability
    proportional to its length inside the area, then a point on that length. Unlike rejection
    sampling from the bounding box, this is as reliable for thin and winding areas as for square
    ones.
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
    """Return line, start and end of each segment inside: pairs of crossings (even-odd rule)."""
    line, x = crossings(shape.rings, heights)
    order = np.lexsort((x, line))
    return line[order][::2], x[order][::2], x[order][1::2]


BACKGROUND: Final = "background"
"""Value of the column ``drawn`` for a patch of slide background."""

BACKGROUND_SHARE: Final = 0.1
"""Share of patches of slide background, as in the paper."""

_TRIES: Final = 100


def sample_patches(
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
        Label of each shape. Areas with a label above 0 are sampled; points are not, nor are areas
        with label None or 0.
    tissue : TissueMap
    slide_size : tuple of int
        Width and height of level 0.
    size : int
        Side of a patch in pixels; 512 in the paper.
    scale : tuple of float
        Pixels of level 0 per pixel of the patch, horizontally and vertically.
    patches : int
        Number of patches; 32 in the paper.
    draw : int
        Number of the epoch, for the column only: the caller seeds ``rng`` by it.
    rng : np.random.Generator
    background_share : float
        Share of slide background; the rest is split evenly over the labels.

    Returns
    -------
    list of Patch
        Background first, then by label and class name. Columns: ``draw``, ``drawn`` (annotated
        class name or "background") and ``record`` (id of the area or ""). Empty if the slide has no
        area to sample.

    Notes
    -----
    The paper gives the frequencies: 10 % background, tumour and non-tumour in equal parts. The rest
    follows the authors' release: the share of a label is split evenly over its class names, the
    areas of a name are equally likely regardless of size, and the patch centre is a uniform point
    in the area, even where another area covers it. Points beyond the slide are redrawn.

    Departures from the release: counts are rounded up or down at random instead of drawn
    independently, so that every epoch is as balanced as possible; and background patches come from
    where the slide shows none of its tissue (see `empty_cells`), whereas the release takes them
    from outside the bounding box of all annotations, where tissue may lie and the slide may end. A
    slide without such a place gets no background; its share goes to the other classes evenly.
    """
    if patches < 1 or not 0 <= background_share < 1:
        raise ArgumentError(
            f"sampling: {patches} patches with a background share of {background_share}; expected "
            "one patch or more and a share from 0 to below 1"
        )
    areas = _by_label_and_name(shapes, labels, slide_size)
    if not areas:
        return []
    # one pixel larger than the patch, whose centre is moved to the pixel grid
    cells = empty_cells(tissue, ((size + 1) * scale[0], (size + 1) * scale[1]))
    weights = [background_share if len(cells) else 0.0]
    weights += [(1 - background_share) / len(areas)] * len(areas)
    empty, *counts = split_draws(patches, weights, rng)
    centres = [(draw_empty(cells, tissue.scale, rng), BACKGROUND, "") for _ in range(empty)]
    for count, names in zip(counts, areas, strict=True):
        for area in _draw_areas(names, count, rng):
            centres.append((_point(area, slide_size, rng), area.name, area.record))
    return [
        patch_around(centre, size, scale, {"draw": draw, "drawn": name, "record": record})
        for centre, name, record in centres
    ]


def _by_label_and_name(
    shapes: Sequence[Shape], labels: Sequence[int | None], slide_size: tuple[int, int]
) -> list[Mapping[str, list[Shape]]]:
    """Group the areas to sample by class name, one group per label in ascending order."""
    grouped: dict[int, dict[str, list[Shape]]] = defaultdict(lambda: defaultdict(list))
    for shape, label in zip(shapes, labels, strict=True):
        left, top, right, bottom = shape.bounds
        meets = left < slide_size[0] and top < slide_size[1] and right > 0 and bottom > 0
        if label and meets and shape.area > 0:
            grouped[label][shape.name].append(shape)
    return [grouped[label] for label in sorted(grouped)]


def _draw_areas(
    names: Mapping[str, list[Shape]], count: int, rng: np.random.Generator
) -> list[Shape]:
    """Draw areas: balanced over names, uniformly over the areas of a name."""
    ordered = sorted(names)
    shares = split_draws(count, [1.0] * len(ordered), rng)
    return [
        names[name][rng.integers(len(names[name]))]
        for name, share in zip(ordered, shares, strict=True)
        for _ in range(share)
    ]


def _point(
    area: Shape, slide_size: tuple[int, int], rng: np.random.Generator
) -> tuple[float, float]:
    """Draw a point in an area that lies on the slide, unless hardly any of the area does."""
    width, height = slide_size
    for _ in range(_TRIES):
        x, y = draw_point(area, rng)
        if 0 <= x < width and 0 <= y < height:
            break
    return x, y
