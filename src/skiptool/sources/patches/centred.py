"""One patch around each annotated object (section III.B)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from skiptool.sources.patches.patch import Patch
from skiptool.sources.shapes import Shape

__all__ = ["around", "centred"]


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
