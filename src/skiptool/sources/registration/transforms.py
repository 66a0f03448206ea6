"""Transforms between scans of one glass slide, and robust fits of them to pairs of points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Displacements on a regular grid, interpolated linearly inside and constant outside.

    Attributes
    ----------
    corner : tuple of float
        First grid point, x and y, in level-0 pixels of the reference.
    pitch : tuple of float
        Grid spacing, horizontally and vertically.
    nodes : float64 (R, C, 2)
        Displacements in level-0 pixels of the other scan, rows from top to bottom.
    """

    corner: tuple[float, float]
    pitch: tuple[float, float]
    nodes: Float64

    def at(self, points: Float64) -> Float64:
        """Return the displacements (V, 2) at points (V, 2)."""
        position = ((points - self.corner) / self.pitch).T
        parts = [
            ndimage.map_coordinates(plane, position, order=1, mode="nearest")
            for plane in self.nodes.T
        ]
        return np.stack(parts, axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Transform from level-0 pixels of the reference to those of the other scan.

    Attributes
    ----------
    affine : float64 (2, 3)
        ``[xx xy x0; yx yy y0]``.
    inliers : int
        Matches, or tiles after refinement, that support the affine part.
    field : Field or None
        Added to the affine part; None if it does not improve on it.
    """

    affine: Float64
    inliers: int
    field: Field | None = None

    @property
    def mirrored(self) -> bool:
        """True if one of the scans is a mirror image of the other."""
        return bool(np.linalg.det(self.affine[:, :2]) < 0)

    def to_other(self, points: Float64) -> Float64:
        """Map points (V, 2) of the reference to the other scan, (V, 2)."""
        mapped = apply_affine(self.affine, points)
        return mapped if self.field is None else mapped + self.field.at(points)

    def local_affine(self, point: tuple[float, float], reach: float = 64.0) -> Float64:
        """Return the affine transform (2, 3) that fits best within ``reach`` pixels of a point."""
        steps = np.array([[0.0, 0.0], [reach, 0.0], [-reach, 0.0], [0.0, reach], [0.0, -reach]])
        centre, right, left, down, up = self.to_other(np.array(point) + steps)
        linear = np.stack([right - left, down - up], axis=1) / (2 * reach)
        return np.column_stack([linear, centre - linear @ np.array(point)])

    def as_json(self) -> dict[str, Any]:
        """Convert to JSON types; `from_json` restores it exactly."""
        value: dict[str, Any] = {"affine": self.affine.tolist(), "inliers": self.inliers}
        if self.field is not None:
            value["corner"], value["pitch"] = list(self.field.corner), list(self.field.pitch)
            value["nodes"] = self.field.nodes.tolist()
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Alignment:
        """Restore an alignment from the result of `as_json`."""
        field = None
        if "nodes" in value:
            corner, pitch = value["corner"], value["pitch"]
            nodes = np.array(value["nodes"], dtype=np.float64)
            field = Field((corner[0], corner[1]), (pitch[0], pitch[1]), nodes)
        return cls(np.array(value["affine"], dtype=np.float64), int(value["inliers"]), field)


def apply_affine(affine: Float64, points: Float64) -> Float64:
    """Apply an affine transform (2, 3) to points (V, 2)."""
    mapped: Float64 = points @ affine[:, :2].T + affine[:, 2]
    return mapped


# Robust fits to pairs of points.

_ITERATIONS: Final = 30
_OUTLIER_FACTOR: Final = 6.0
"""Multiple of the median misfit beyond which a pair is an outlier."""

_MIN_MISFIT: Final = 0.5
"""Lower bound of the median misfit in pixels: where the glass is bent, all pairs miss by a
little, and none is wrong."""

_MAX_COST_MISFIT: Final = 5.0
"""Misfit in pixels beyond which the cost of a pair is constant."""

_MIN_POINTS: Final = 24
"""Fewest points for which a field is fitted."""

_FOLDS: Final = 5
_FIELD_ITERATIONS: Final = 3
_MIN_FIELD_MISFIT: Final = 0.1

_REQUIRED_GAIN: Final = 0.95
"""Share of the affine's cross-validated misfit that a field must fall below."""

_REST_WEIGHT: Final = 0.1
"""Weight of a displacement itself against a tile's, so that nodes far from tiles stay at rest."""


@dataclass(frozen=True, slots=True)
class _FieldForm:
    """Form of a displacement field.

    Attributes
    ----------
    nodes : int
        Nodes of the smooth part along either side.
    spring : float
        Weight of differences between its neighbouring nodes against a tile's misfit.
    strips : int
        Nodes of a part that depends on x alone and of one that depends on y alone; 0 for none.
        Scanners stitch slides from strips, each off by a few pixels.
    stitch : float
        Weight of differences between neighbours in these.
    """

    nodes: int
    spring: float
    strips: int = 0
    stitch: float = 0.3


_FIELD_FORMS: Final = (_FieldForm(6, 0.4), _FieldForm(12, 0.4), _FieldForm(6, 0.6, 48))


def fit_affine(points: Float64, targets: Float64) -> tuple[Float64, Bool]:
    """Fit an affine transform to pairs of points by iteratively reweighted least squares.

    Starts from the fit to all pairs, which suits bent glass, or from that of least median of
    squares, which is robust to outliers.

    Parameters
    ----------
    points, targets : float64 (T, 2)
        T >= 3.

    Returns
    -------
    affine : float64 (2, 3)
    inliers : bool (T,)
    """
    affine = min(_starts(points, targets), key=lambda start: _cost(start, points, targets))
    for _ in range(_ITERATIONS):
        misfit = np.hypot(*(targets - apply_affine(affine, points)).T)
        limit = _OUTLIER_FACTOR * max(float(np.median(misfit)), _MIN_MISFIT)
        weights = _tukey(misfit, limit)
        affine = _least_squares(points, targets, weights)
    return affine, weights > 0


def fit_field(points: Float64, residuals: Float64) -> Field | None:
    """Smooth the residuals of an affine transform into a displacement field.

    Parameters
    ----------
    points : float64 (T, 2)
        Points of the reference.
    residuals : float64 (T, 2)
        Residual displacements at them.

    Returns
    -------
    Field or None
        The form of field with the lowest cross-validated misfit (5 folds); None if none improves on
        the affine.
    """
    if len(points) < _MIN_POINTS:
        return None
    # random folds: consecutive points are neighbours on a grid
    fold = np.random.default_rng(0).permutation(len(points)) % _FOLDS
    misfit = np.hypot(*residuals.T)
    limit = _OUTLIER_FACTOR * max(float(np.median(misfit)), _MIN_MISFIT)
    costs = [_cross_validate(form, points, residuals, fold, limit) for form in _FIELD_FORMS]
    if min(costs) >= _REQUIRED_GAIN * float(np.minimum(misfit, limit).mean()):
        return None
    return _fit_form(_FIELD_FORMS[int(np.argmin(costs))], points, residuals, points)


def _cross_validate(
    form: _FieldForm, points: Float64, residuals: Float64, fold: Int64, limit: float
) -> float:
    """Return the cross-validated mean misfit of a form."""
    misfit = np.empty(len(points))
    for number in range(_FOLDS):
        seen, unseen = fold != number, fold == number
        field = _fit_form(form, points[seen], residuals[seen], points)
        misfit[unseen] = np.hypot(*(residuals[unseen] - field.at(points[unseen])).T)
    return float(np.minimum(misfit, limit).mean())


def _starts(points: Float64, targets: Float64) -> Iterator[Float64]:
    yield _least_squares(points, targets, np.ones(len(points)))
    affine, _ = cv2.estimateAffine2D(points, targets, method=cv2.LMEDS)
    if affine is not None:
        yield np.asarray(affine, dtype=np.float64)


def _cost(affine: Float64, points: Float64, targets: Float64) -> float:
    misfit = np.hypot(*(targets - apply_affine(affine, points)).T)
    return float(np.square(np.minimum(misfit, _MAX_COST_MISFIT)).sum())


def _least_squares(points: Float64, targets: Float64, weights: Float64) -> Float64:
    centre = points.mean(axis=0)
    spread = max(float(np.abs(points - centre).max()), 1.0)
    terms = np.column_stack([(points - centre) / spread, np.ones(len(points))])
    root = np.sqrt(weights)[:, np.newaxis]
    solution, *_ = np.linalg.lstsq(terms * root, targets * root, rcond=None)
    linear = solution[:2].T / spread
    return np.column_stack([linear, solution[2] - linear @ centre])


def _fit_form(form: _FieldForm, points: Float64, residuals: Float64, extent: Float64) -> Field:
    """Fit the parts of a field by regularised least squares with outliers downweighted."""
    low, high = extent.min(axis=0), extent.max(axis=0)
    position = np.clip((points - low) / np.maximum(high - low, 1.0), 0.0, 1.0)
    design, penalty = _design_matrix(form, position), _penalty_matrix(form)
    weights = np.ones(len(points))
    for _ in range(_FIELD_ITERATIONS):
        weighted = design * weights[:, np.newaxis]
        unknowns = np.linalg.solve(weighted.T @ design + penalty, weighted.T @ residuals)
        misfit = np.hypot(*(residuals - design @ unknowns).T)
        weights = _tukey(misfit, _OUTLIER_FACTOR * max(float(np.median(misfit)), _MIN_FIELD_MISFIT))
    side = max(form.strips, form.nodes)
    y, x = np.meshgrid(*[np.linspace(0.0, 1.0, side)] * 2, indexing="ij")
    nodes = _design_matrix(form, np.column_stack([x.ravel(), y.ravel()])) @ unknowns
    pitch = np.maximum(high - low, 1.0) / (side - 1)
    corner, steps = (float(low[0]), float(low[1])), (float(pitch[0]), float(pitch[1]))
    return Field(corner, steps, nodes.reshape(side, side, 2))


def _design_matrix(form: _FieldForm, position: Float64) -> Float64:
    """Return the design matrix (T, unknowns) of a form at positions (T, 2) in 0..1."""
    x, y = (_interpolation_weights(position[:, axis], form.nodes) for axis in (0, 1))
    smooth = (y[:, :, np.newaxis] * x[:, np.newaxis]).reshape(len(position), -1)
    if not form.strips:
        return smooth
    return np.hstack(
        [*(_interpolation_weights(position[:, axis], form.strips) for axis in (0, 1)), smooth]
    )


def _interpolation_weights(position: Float64, nodes: int) -> Float64:
    """Return the weights (T, nodes) of linear interpolation between equal steps from 0 to 1."""
    apart = np.abs(position[:, np.newaxis] * (nodes - 1) - np.arange(nodes))
    return np.maximum(1.0 - apart, 0.0)


def _penalty_matrix(form: _FieldForm) -> Float64:
    """Return the penalty matrix of a form: bending of its parts, and displacement from rest."""
    smooth = np.eye(form.nodes)
    bend = _bending(form.nodes)
    square = form.spring**2 * (np.kron(bend, smooth) + np.kron(smooth, bend))
    lines = form.stitch**2 * np.kron(np.eye(2), _bending(form.strips))
    penalty = np.zeros((len(lines) + len(square),) * 2)
    penalty[: len(lines), : len(lines)] = lines
    penalty[len(lines) :, len(lines) :] = square
    penalty += _REST_WEIGHT**2 * np.eye(len(penalty))
    return penalty


def _bending(nodes: int) -> Float64:
    steps = np.diff(np.eye(nodes), axis=0)
    return steps.T @ steps


def _tukey(misfit: Float64, limit: float) -> Float64:
    """Return Tukey's biweight, from 1 down to 0 at the limit."""
    weights: Float64 = np.square(np.maximum(1 - np.square(misfit / limit), 0.0))
    return weights
