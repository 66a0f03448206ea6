"""Vertices as files give them, checked and made into shapes.

What marks no place or is a line is left out and counted: slips of the mouse are common in real
files and no reason to refuse them. A rectangle or polygon without area is kept, because it was
recorded and has a place. What is no number at all is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import SourceError
from skiptool.sources.annotations.annotated import NOWHERE, SLIP, Found, LeftOut
from skiptool.sources.shapes import Shape

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["box", "circle", "outer_first", "point", "polygon", "vertices"]

_CIRCLE: Final = 128
"""Vertices of a circle: the outline stays within 0.03 % of the radius."""

_FARTHEST: Final = 2.0**31
"""No slide has that many pixels in a row; beyond, areas would overflow."""


def vertices(values: object, where: str) -> Float64:
    """Read pairs, or numbers that take turns, as vertices.

    Parameters
    ----------
    values : object
        ``[[x, y], ...]`` (a third coordinate is ignored) or ``[x, y, x, y, ...]``, as parsed.
    where : str
        File and record, for the message.

    Returns
    -------
    float64, shape (V, 2)
        x and y, pixels of level 0; V may be 0.

    Raises
    ------
    SourceError
        If they are no pairs of numbers, or one is not finite or beyond any slide.

    Examples
    --------
    >>> vertices([1, 2, 3, 4], "a.json").tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise SourceError(f"{where}: {_NO_PAIRS}") from None
    if numbers.ndim == 1 and numbers.size % 2 == 0:
        numbers = numbers.reshape(-1, 2)
    if numbers.ndim != 2 or numbers.shape[1] not in (2, 3):
        raise SourceError(f"{where}: {_NO_PAIRS}")
    pairs: Float64 = numbers[:, :2]
    sound = np.isfinite(pairs) & (np.abs(pairs) < _FARTHEST)
    if not sound.all():
        at = int(np.argmin(sound.all(axis=1)))
        x, y = pairs[at].tolist()
        raise SourceError(
            f"{where}: vertex {at + 1} is ({x:g}, {y:g}); expected pixels of level 0; mend or "
            "delete that annotation"
        )
    return pairs


_NO_PAIRS: Final = "its vertices are no pairs of numbers; expected x and y of each, in pixels"


def point(name: str, at: Float64, record: str) -> Found:
    """Make a point of the first vertex; left out where there is none."""
    return Shape(name, (at[:1].copy(),), record) if len(at) else LeftOut(NOWHERE)


def polygon(name: str, rings: Sequence[Float64], record: str) -> Found:
    """Make an area of an outline (V, 2) and holes in it, each closed or not.

    Returns
    -------
    Shape or LeftOut
        Left out where the outline has fewer than three vertices; holes of so few have no area.
    """
    outline, *holes = map(_open, rings) if rings else [np.empty((0, 2))]
    if len(outline) < 3:
        return LeftOut(SLIP)
    return Shape(name, (outline, *(hole for hole in holes if len(hole) > 2)), record)


def box(name: str, corners: Float64, record: str) -> Found:
    """Make the rectangle around two or more vertices (V, 2); left out where there are fewer."""
    if len(corners) < 2:
        return LeftOut(NOWHERE)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    outline = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return Shape(name, (outline,), record)


def circle(name: str, corners: Float64, record: str) -> Found:
    """Make the circle whose box has these corners (2, 2) and whose diameter is the box's width."""
    if len(corners) < 2:
        return LeftOut(NOWHERE)
    centre = (corners.min(axis=0) + corners.max(axis=0)) / 2
    radius = np.ptp(corners[:, 0]) / 2
    angles = np.arange(_CIRCLE) * (2 * np.pi / _CIRCLE)
    outline = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Shape(name, (outline,), record)


def outer_first(shapes: Iterable[Found]) -> list[Found]:
    """Sort into paint order where a file has none: large ones first, points last.

    What lies within another shape is smaller, so it comes after it and stays visible; those who
    made CATCH export its database in such an order. Equal areas keep the order of the file.
    """
    return sorted(shapes, key=lambda shape: -shape.area if isinstance(shape, Shape) else 0.0)


def _open(ring: Float64) -> Float64:
    closed = len(ring) > 1 and bool((ring[0] == ring[-1]).all())
    return ring[:-1] if closed else ring
