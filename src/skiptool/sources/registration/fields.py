"""Transforms that fit pairs of points, whatever a few of them say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.sources.registration.alignment import Field, applied

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = ["fitted_affine", "fitted_field"]

_ROUNDS: Final = 30
_LOOSE: Final = 6.0
"""Multiples of the median misfit beyond which a pair is left out."""

_FLOOR: Final = 0.05
"""Pixels that the median misfit counts at least."""

_NODES: Final = 6
"""Nodes of the field along either side."""

_PRIOR: Final = 1.0
"""Tiles that speak for no displacement at each node."""

_GAIN: Final = 0.95
"""Share of the affine's misfit, on pairs not seen, that the field must get below."""


def fitted_affine(here: Float64, there: Float64) -> tuple[Float64, Bool]:
    """Fit an affine transform by least squares, pairs that miss it by far left out in turn.

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
    weights = np.ones(len(here))
    for _ in range(_ROUNDS):
        affine = _least_squares(here, there, weights)
        misfit = np.hypot(*(there - applied(affine, here)).T)
        limit = _LOOSE * max(float(np.median(misfit)), _FLOOR)
        # Tukey's weights: pairs beyond the limit have no say, near it little.
        weights = np.square(np.maximum(1 - np.square(misfit / limit), 0.0))
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
        None where a field fitted to one half of the points says nothing about the other.
    """
    if len(here) < 4 * _NODES:
        return None
    order = np.lexsort(here.T)
    halves = (order[::2], order[1::2])
    plain, better = 0.0, 0.0
    for seen, unseen in (halves, halves[::-1]):
        field = _smoothed(here[seen], left[seen], here)
        plain += float(np.hypot(*left[unseen].T).sum())
        better += float(np.hypot(*(left[unseen] - field.at(here[unseen])).T).sum())
    return _smoothed(here, left, here) if better < _GAIN * plain else None


def _least_squares(here: Float64, there: Float64, weights: Float64) -> Float64:
    centre = here.mean(axis=0)
    spread = max(float(np.abs(here - centre).max()), 1.0)
    terms = np.column_stack([(here - centre) / spread, np.ones(len(here))])
    root = np.sqrt(weights)[:, np.newaxis]
    found, *_ = np.linalg.lstsq(terms * root, there * root, rcond=None)
    linear = found[:2].T / spread
    return np.column_stack([linear, found[2] - linear @ centre])


def _smoothed(here: Float64, left: Float64, extent: Float64) -> Field:
    low, high = extent.min(axis=0), extent.max(axis=0)
    pitch = np.maximum(high - low, 1.0) / (_NODES - 1)
    steps = np.arange(_NODES)
    x, y = np.meshgrid(low[0] + steps * pitch[0], low[1] + steps * pitch[1])
    nodes = np.stack([x, y], axis=-1)
    apart = (nodes[:, :, np.newaxis] - here) / pitch
    near = np.exp(-np.square(apart).sum(axis=-1) / 2)
    displaced = near @ left / (near.sum(axis=-1, keepdims=True) + _PRIOR)
    corner, across = low.tolist(), pitch.tolist()
    return Field((corner[0], corner[1]), (across[0], across[1]), displaced)
