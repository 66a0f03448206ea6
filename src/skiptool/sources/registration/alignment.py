"""Where a point of one scan lies on another scan of the same glass slide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["Alignment", "Field", "applied"]

_ROUNDS = 20
"""Steps of the inversion at most; a field as smooth as ours needs three."""

_CLOSE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Displacements on a regular grid of points, linear between them, constant outside.

    Attributes
    ----------
    corner : tuple of float
        The first point, x and y, in level-0 pixels of the reference.
    pitch : tuple of float
        Distance of neighbours, horizontally and vertically.
    nodes : float64 (R, C, 2)
        Displacements in level-0 pixels of the other scan, rows from top to bottom.
    """

    corner: tuple[float, float]
    pitch: tuple[float, float]
    nodes: Float64

    def at(self, points: Float64) -> Float64:
        """Return the displacements (V, 2) at points (V, 2)."""
        last = np.array(self.nodes.shape[1::-1]) - 1
        place = np.clip((points - self.corner) / self.pitch, 0, last)
        cell = np.minimum(place.astype(np.int64), np.maximum(last - 1, 0))
        x, y = (place - cell).T[..., np.newaxis]
        (left, top), (right, bottom) = cell.T, np.minimum(cell + 1, last).T
        upper = self.nodes[top, left] * (1 - x) + self.nodes[top, right] * x
        lower = self.nodes[bottom, left] * (1 - x) + self.nodes[bottom, right] * x
        found: Float64 = upper * (1 - y) + lower * y
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """From level-0 pixels of the reference to those of the other scan.

    Attributes
    ----------
    affine : float64 (2, 3)
        ``[xx xy x0; yx yy y0]``.
    inliers : int
        Matches, or tiles where it was refined, that the affine part rests on.
    field : Field or None
        What is added to the affine part; None where that is as good alone.
    """

    affine: Float64
    inliers: int
    field: Field | None = None

    @property
    def mirrored(self) -> bool:
        """Whether one of the scans shows the slide from behind."""
        return bool(np.linalg.det(self.affine[:, :2]) < 0)

    def to_other(self, points: Float64) -> Float64:
        """Return where points (V, 2) of the reference lie on the other scan, (V, 2)."""
        found = applied(self.affine, points)
        return found if self.field is None else found + self.field.at(points)

    def to_reference(self, points: Float64) -> Float64:
        """Return where points (V, 2) of the other scan lie on the reference, within 0.01 pixels."""
        inverse = np.linalg.inv(self.affine[:, :2]).T
        found: Float64 = (points - self.affine[:, 2]) @ inverse
        for _ in range(_ROUNDS if self.field is not None else 0):
            step = (points - self.to_other(found)) @ inverse
            found = found + step
            if np.abs(step).max(initial=0.0) < _CLOSE:
                break
        return found

    def local_affine(self, point: tuple[float, float], reach: float = 64.0) -> Float64:
        """Return the affine transform (2, 3) that fits best within ``reach`` pixels of a point."""
        steps = np.array([[0.0, 0.0], [reach, 0.0], [-reach, 0.0], [0.0, reach], [0.0, -reach]])
        centre, right, left, down, up = self.to_other(np.array(point) + steps)
        linear = np.stack([right - left, down - up], axis=1) / (2 * reach)
        return np.column_stack([linear, centre - linear @ np.array(point)])

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types, from which :meth:`from_json` makes it again exactly."""
        found: dict[str, Any] = {"affine": self.affine.tolist(), "inliers": self.inliers}
        if self.field is not None:
            found["corner"], found["pitch"] = list(self.field.corner), list(self.field.pitch)
            found["nodes"] = self.field.nodes.tolist()
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Alignment:
        """Make an alignment of what :meth:`as_json` gave."""
        field = None
        if "nodes" in value:
            corner, pitch = value["corner"], value["pitch"]
            nodes = np.array(value["nodes"], dtype=np.float64)
            field = Field((corner[0], corner[1]), (pitch[0], pitch[1]), nodes)
        return cls(np.array(value["affine"], dtype=np.float64), int(value["inliers"]), field)


def applied(affine: Float64, points: Float64) -> Float64:
    """Send points (V, 2) through an affine transform (2, 3)."""
    found: Float64 = points @ affine[:, :2].T + affine[:, 2]
    return found
