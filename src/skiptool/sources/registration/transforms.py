"""Where a point of one scan lies on another scan of the same glass slide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = ["Alignment", "Field", "applied", "fitted_affine", "fitted_field"]


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
        place = ((points - self.corner) / self.pitch).T
        parts = [
            ndimage.map_coordinates(plane, place, order=1, mode="nearest") for plane in self.nodes.T
        ]
        return np.stack(parts, axis=1)


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


# -------------------------------------------------------------------------------------------------
# Transforms that fit pairs of points, whatever a few of them say.


_REWEIGHTINGS: Final = 30
_LOOSE: Final = 6.0
"""Multiples of the median misfit beyond which a pair is left out."""

_FLOOR: Final = 0.5
"""Pixels that the median misfit counts at least: where the glass is bent, all pairs miss a little,
and none of them is wrong."""

_WILD: Final = 5.0
"""Pixels from which on a pair is no worse for missing by more."""

_FEWEST: Final = 24
"""Points without which nothing is said about a field."""

_FOLDS: Final = 5
_ROUNDS_OF_FIELD: Final = 3
_FLOOR_OF_FIELD: Final = 0.1

_GAIN: Final = 0.95
"""Share of the affine's misfit, on pairs not seen, that the field must get below."""

_REST: Final = 0.1
"""Weight of a displacement itself against a tile's, so that nodes far from tiles stay at rest."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What displacements may look like.

    Attributes
    ----------
    nodes : int
        Along either side of the smooth part.
    spring : float
        Weight of a difference between neighbouring nodes of it against that of a tile's misfit.
    strips : int
        Nodes of a part that depends on x alone, and of one that depends on y alone; 0 for none.
        Scanners put slides together from strips, each of which is off by its own few pixels.
    stitch : float
        Weight of a difference between neighbours in these.
    """

    nodes: int
    spring: float
    strips: int = 0
    stitch: float = 0.3


_FORMS: Final = (_Form(6, 0.4), _Form(12, 0.4), _Form(6, 0.6, 48))


def fitted_affine(here: Float64, there: Float64) -> tuple[Float64, Bool]:
    """Fit an affine transform by least squares to all pairs but those that miss it by far.

    Starts from that of all pairs, which suits bent glass, or from that of least median misfit,
    which wild pairs cannot spoil.

    Parameters
    ----------
    here, there : float64 (T, 2)
        T >= 3.

    Returns
    -------
    affine : float64 (2, 3)
    kept : bool (T,)
        Pairs it rests on.
    """
    affine = min(_starts(here, there), key=lambda each: _cost(each, here, there))
    for _ in range(_REWEIGHTINGS):
        misfit = np.hypot(*(there - applied(affine, here)).T)
        limit = _LOOSE * max(float(np.median(misfit)), _FLOOR)
        weights = _tukey(misfit, limit)
        affine = _least_squares(here, there, weights)
    return affine, weights > 0


def fitted_field(here: Float64, left: Float64) -> Field | None:
    """Smooth what an affine transform leaves into a field of displacements.

    Parameters
    ----------
    here : float64 (T, 2)
        Points of the reference.
    left : float64 (T, 2)
        Displacements that the affine transform leaves there.

    Returns
    -------
    Field or None
        The form of field that, fitted to four fifths of the points, says most about the others;
        None where none says anything.
    """
    if len(here) < _FEWEST:
        return None
    # Dealt out by lot: neighbours of a grid would fall into one fold.
    fold = np.random.default_rng(0).permutation(len(here)) % _FOLDS
    plain = np.hypot(*left.T)
    wild = _LOOSE * max(float(np.median(plain)), _FLOOR)
    costs = [_unseen(form, here, left, fold, wild) for form in _FORMS]
    if min(costs) >= _GAIN * float(np.minimum(plain, wild).mean()):
        return None
    return _smoothed(_FORMS[int(np.argmin(costs))], here, left, here)


def _unseen(form: _Form, here: Float64, left: Float64, fold: Int64, wild: float) -> float:
    """Return the mean misfit of points where the field was fitted to those of other folds."""
    misfit = np.empty(len(here))
    for each in range(_FOLDS):
        seen, unseen = fold != each, fold == each
        field = _smoothed(form, here[seen], left[seen], here)
        misfit[unseen] = np.hypot(*(left[unseen] - field.at(here[unseen])).T)
    return float(np.minimum(misfit, wild).mean())


def _starts(here: Float64, there: Float64) -> Iterator[Float64]:
    yield _least_squares(here, there, np.ones(len(here)))
    found, _ = cv2.estimateAffine2D(here, there, method=cv2.LMEDS)
    if found is not None:
        yield np.asarray(found, dtype=np.float64)


def _cost(affine: Float64, here: Float64, there: Float64) -> float:
    misfit = np.hypot(*(there - applied(affine, here)).T)
    return float(np.square(np.minimum(misfit, _WILD)).sum())


def _least_squares(here: Float64, there: Float64, weights: Float64) -> Float64:
    centre = here.mean(axis=0)
    spread = max(float(np.abs(here - centre).max()), 1.0)
    terms = np.column_stack([(here - centre) / spread, np.ones(len(here))])
    root = np.sqrt(weights)[:, np.newaxis]
    found, *_ = np.linalg.lstsq(terms * root, there * root, rcond=None)
    linear = found[:2].T / spread
    return np.column_stack([linear, found[2] - linear @ centre])


def _smoothed(form: _Form, here: Float64, left: Float64, extent: Float64) -> Field:
    """Fit the parts of a field by least squares, neighbours held together, wild points left out."""
    low, high = extent.min(axis=0), extent.max(axis=0)
    place = np.clip((here - low) / np.maximum(high - low, 1.0), 0.0, 1.0)
    says, held = _parts(form, place), _holds(form)
    weights = np.ones(len(here))
    for _ in range(_ROUNDS_OF_FIELD):
        weighted = says * weights[:, np.newaxis]
        found = np.linalg.solve(weighted.T @ says + held, weighted.T @ left)
        misfit = np.hypot(*(left - says @ found).T)
        weights = _tukey(misfit, _LOOSE * max(float(np.median(misfit)), _FLOOR_OF_FIELD))
    side = max(form.strips, form.nodes)
    y, x = np.meshgrid(*[np.linspace(0.0, 1.0, side)] * 2, indexing="ij")
    nodes = _parts(form, np.column_stack([x.ravel(), y.ravel()])) @ found
    pitch = np.maximum(high - low, 1.0) / (side - 1)
    corner, steps = (float(low[0]), float(low[1])), (float(pitch[0]), float(pitch[1]))
    return Field(corner, steps, nodes.reshape(side, side, 2))


def _parts(form: _Form, place: Float64) -> Float64:
    """Return what each unknown of a form adds at places (T, 2) in 0..1: (T, unknowns)."""
    x, y = (_between(place[:, axis], form.nodes) for axis in (0, 1))
    smooth = (y[:, :, np.newaxis] * x[:, np.newaxis]).reshape(len(place), -1)
    if not form.strips:
        return smooth
    return np.hstack([*(_between(place[:, axis], form.strips) for axis in (0, 1)), smooth])


def _between(place: Float64, nodes: int) -> Float64:
    """Return the weights (T, nodes) of linear interpolation between equal steps from 0 to 1."""
    apart = np.abs(place[:, np.newaxis] * (nodes - 1) - np.arange(nodes))
    return np.maximum(1.0 - apart, 0.0)


def _holds(form: _Form) -> Float64:
    """Return the matrix of what it costs to bend the parts of a form and to leave rest."""
    smooth = np.eye(form.nodes)
    bend = _bending(form.nodes)
    square = form.spring**2 * (np.kron(bend, smooth) + np.kron(smooth, bend))
    lines = form.stitch**2 * np.kron(np.eye(2), _bending(form.strips))
    held = np.zeros((len(lines) + len(square),) * 2)
    held[: len(lines), : len(lines)] = lines
    held[len(lines) :, len(lines) :] = square
    held += _REST**2 * np.eye(len(held))
    return held


def _bending(nodes: int) -> Float64:
    steps = np.diff(np.eye(nodes), axis=0)
    return steps.T @ steps


def _tukey(misfit: Float64, limit: float) -> Float64:
    """Return weights from 1 down to 0 at a limit: what lies beyond it has no say."""
    weights: Float64 = np.square(np.maximum(1 - np.square(misfit / limit), 0.0))
    return weights
