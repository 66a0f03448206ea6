"""Patches drawn by class weights for one epoch of training (section III.C)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.sources.patches.background import TissueMap, draw_empty, empty_cells
from skiptool.sources.patches.centred import around
from skiptool.sources.patches.drawing import point_in, portions
from skiptool.sources.patches.patch import Patch
from skiptool.sources.shapes import Shape

__all__ = ["BACKGROUND", "BACKGROUND_SHARE", "sampled"]

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
