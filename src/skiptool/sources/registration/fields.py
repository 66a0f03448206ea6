"""Transforms that fit pairs of points, whatever a few of them say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from skiptool.sources.registration.alignment import Field, applied

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = ["fitted_affine", "fitted_field"]

_ROUNDS: Final = 30
_LOOSE: Final = 6.0
"""Multiples of the median misfit beyond which a pair is left out."""

_FLOOR: Final = 0.5
"""Pixels that the median misfit counts at least: where the glass is bent, all pairs miss a little,
and none of them is wrong."""

_WILD: Final = 5.0
"""Pixels from which on a pair is no worse for missing by more."""

_NODES: Final = 6
"""Nodes of the field along either side."""

_SPRING: Final = 0.4
"""Weight of a difference between neighbouring nodes against that of a tile's misfit."""

_REST: Final = 0.1
"""Weight of a displacement itself, so that nodes far from all tiles stay at rest."""

_GAIN: Final = 0.95
"""Share of the affine's misfit, on pairs not seen, that the field must get below."""


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
    for _ in range(_ROUNDS):
        misfit = np.hypot(*(there - applied(affine, here)).T)
        limit = _LOOSE * max(float(np.median(misfit)), _FLOOR)
        # Tukey's weights: pairs beyond the limit have no say, near it little.
        weights = np.square(np.maximum(1 - np.square(misfit / limit), 0.0))
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
        None where a field fitted to one half of the points says nothing about the other.
    """
    if len(here) < 4 * _NODES:
        return None
    # Dealt out by lot: every second tile of a grid would be every second column.
    order = np.random.default_rng(0).permutation(len(here))
    halves = (order[::2], order[1::2])
    plain, better = 0.0, 0.0
    for seen, unseen in (halves, halves[::-1]):
        field = _smoothed(here[seen], left[seen], here)
        plain += float(np.hypot(*left[unseen].T).sum())
        better += float(np.hypot(*(left[unseen] - field.at(here[unseen])).T).sum())
    return _smoothed(here, left, here) if better < _GAIN * plain else None


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


def _smoothed(here: Float64, left: Float64, extent: Float64) -> Field:
    """Fit the nodes by least squares, neighbours held together by springs."""
    low, high = extent.min(axis=0), extent.max(axis=0)
    pitch = np.maximum(high - low, 1.0) / (_NODES - 1)
    corner, across = low.tolist(), pitch.tolist()
    each = np.eye(_NODES * _NODES).reshape(_NODES * _NODES, _NODES, _NODES, 1)
    place = (corner[0], corner[1]), (across[0], across[1])
    says = np.stack([Field(*place, node).at(here)[:, 0] for node in each], axis=1)
    springs = np.concatenate([np.diff(each, axis=axis).reshape(len(each), -1).T for axis in (1, 2)])
    terms = np.concatenate([says, _SPRING * springs, _REST * np.eye(len(each))])
    wanted = np.concatenate([left, np.zeros((len(terms) - len(left), 2))])
    nodes, *_ = np.linalg.lstsq(terms, wanted, rcond=None)
    return Field(*place, nodes.reshape(_NODES, _NODES, 2))
