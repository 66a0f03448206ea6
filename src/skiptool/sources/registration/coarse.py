"""A first alignment, from features of two overviews, whichever way round the slides lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from skiptool.errors import MismatchError
from skiptool.sources.registration.alignment import Alignment, applied
from skiptool.sources.registration.tiles import grey_of
from skiptool.sources.registration.view import View

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, UInt8

__all__ = ["coarse"]

LONGEST: Final = (1280, 2560)
"""Pixels of an overview along its longer side, and where that shows too little. SIFT takes 0.3 GB
of memory for the first and 1.1 GB for the second."""

_FEATURES: Final = 5000
_CONTRAST: Final = 0.01
_RATIO: Final = 0.75
"""Lowe's: how much nearer the best match must be than the second."""

_ROWS: Final = 4
_TURNS: Final = 8
"""Fields of a descriptor along either side, and directions in each."""

_REACH: Final = 3.0
"""Overview pixels by which a match may miss the common transform."""

_LEAST: Final = 24
"""Features that must agree: scans of one slide have hundreds, of two slides a dozen."""

_SHEAR: Final = 1.3
_SCALES: Final = (0.15, 6.5)


@dataclass(frozen=True, slots=True, eq=False)
class _Features:
    """Places (N, 2) in level-0 pixels, descriptors (N, 128), level-0 pixels an overview pixel."""

    places: Float64
    descriptors: AnyArray
    by: float


def coarse(reference: View, other: View) -> Alignment:
    """Align two scans by SIFT features of their overviews and a RANSAC affine.

    SIFT knows any rotation and scale but no mirror image, so the other scan is tried both ways.

    Raises
    ------
    MismatchError
        If too few features agree, or they agree on what no two scans of a slide can differ by.
    SourceError
        If a scan cannot be read.
    """
    for longest in LONGEST:
        ours, theirs = (_features(*scan.overview(longest)) for scan in (reference, other))
        found = [_fitted(ours, each) for each in (theirs, _mirrored(theirs))]
        affine, inliers = max(found, key=lambda each: each[1])
        if inliers >= _LEAST:
            break
    if affine is None or inliers < _LEAST:
        raise MismatchError(
            f"{inliers} features agree, expected {_LEAST} or more; are these scans of one slide?"
        )
    _check(affine, reference.size, other.size)
    return Alignment(affine, inliers)


def _features(image: UInt8, by: tuple[float, float]) -> _Features:
    grey = grey_of(image)
    low, high = np.percentile(grey, [0.1, 99.9])
    stretched = np.clip((grey - low) * (255 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    finder = cv2.SIFT.create(
        nfeatures=_FEATURES, contrastThreshold=_CONTRAST, enable_precise_upscale=True
    )
    points, descriptors = finder.detectAndCompute(stretched, None)
    places = np.array([point.pt for point in points], dtype=np.float64).reshape(-1, 2) + 0.5
    none = np.empty((0, _ROWS * _ROWS * _TURNS), dtype=np.float32)
    return _Features(places * by, none if descriptors is None else descriptors, max(by))


def _mirrored(features: _Features) -> _Features:
    """Return the features as they are described on the mirror image, at the same places.

    A descriptor counts gradients by direction (eighths of a turn) in a square of 4 x 4 fields that
    is turned to the feature's own direction. In the mirror, the fields left of it are those right
    of it and all directions turn the other way round.
    """
    counts = features.descriptors.reshape(-1, _ROWS, _ROWS, _TURNS)
    turned = counts[:, ::-1, :, -np.arange(_TURNS) % _TURNS]
    return replace(features, descriptors=turned.reshape(features.descriptors.shape))


def _fitted(ours: _Features, theirs: _Features) -> tuple[Float64 | None, int]:
    """Match features both ways near enough, and fit an affine transform to most of them."""
    if min(len(ours.places), len(theirs.places)) < _LEAST:
        return None, 0
    near = cv2.BFMatcher(cv2.NORM_L2).knnMatch(ours.descriptors, theirs.descriptors, k=2)
    pairs = [
        (best.queryIdx, best.trainIdx)
        for best, second in near
        if best.distance < _RATIO * second.distance
    ]
    if len(pairs) < _LEAST:
        return None, len(pairs)
    from_places, to_places = (
        ours.places[[a for a, _ in pairs]],
        theirs.places[[b for _, b in pairs]],
    )
    affine, inlying = cv2.estimateAffine2D(
        from_places,
        to_places,
        method=cv2.RANSAC,
        ransacReprojThreshold=_REACH * theirs.by,
        maxIters=20_000,
        confidence=0.9999,
    )
    if affine is None:
        return None, 0
    return np.asarray(affine, dtype=np.float64), int(inlying.sum())


def _check(affine: Float64, size: tuple[int, int], other: tuple[int, int]) -> None:
    """Refuse what chance matches give: scans differ by rotation, scale and a little shear."""
    longest, shortest = np.linalg.svd(affine[:, :2], compute_uv=False).tolist()
    sheared = longest > _SHEAR * shortest
    if sheared or not (_SCALES[0] < shortest and longest < _SCALES[1]):
        raise MismatchError(
            f"the features that agree ask for scales of {shortest:.2g} and {longest:.2g}, which no "
            "two scans of a slide differ by; are these scans of one slide?"
        )
    x, y = np.meshgrid(np.linspace(0, size[0], 33), np.linspace(0, size[1], 33))
    there = applied(affine, np.column_stack([x.ravel(), y.ravel()]))
    shared = ((there >= 0) & (there < np.array(other))).all(axis=1).mean()
    if shared < 0.02:
        raise MismatchError("the scans share less than 2 % of the reference; is one cropped?")
