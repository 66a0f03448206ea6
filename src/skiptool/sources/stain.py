"""What on a picture is stained: the one threshold behind all templates and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from skiptool.images import colour_distance, otsu

if TYPE_CHECKING:
    from skiptool.records import Bool, UInt8

__all__ = ["STAIN_CAP", "frame_colour", "object_mask", "stained"]

STAIN_CAP: Final = 64
"""Grey levels. Whatever differs more is surely object: counted no higher, so that a dark parasite
is not parted from its pale cell instead of the cell from the background."""

_SHALLOW: Final = 40
"""Percentile of the distances within the stain that stands for its depth: that of a pale cell,
not of the parasite in it."""

_LEAST_DISTANCE: Final = 12
"""Grey levels by which the strongest pixel of an object differs from the background at least."""

_LEAST_PIECE: Final = 0.05
_FRAME: Final = 2


def frame_colour(image: UInt8) -> UInt8:
    """Median colour of the two outermost pixel rows and columns: the background's.

    Parameters
    ----------
    image : uint8, shape (h, w, 3)

    Returns
    -------
    uint8, shape (3,)
    """
    inside = np.zeros(image.shape[:2], dtype=bool)
    inside[_FRAME:-_FRAME, _FRAME:-_FRAME] = True
    colour: UInt8 = np.median(image[~inside], axis=0).astype(np.uint8)
    return colour


def stained(image: UInt8, colour: UInt8) -> Bool:
    """Mark what differs from an empty background of this colour.

    A first threshold parts stain from background; then the edge of the stain is put where half
    of its depth is reached, or else the glare around dark cells would count.

    Parameters
    ----------
    image : uint8, shape (h, w, 3)
    colour : uint8, shape (3,)

    Returns
    -------
    bool, shape (h, w)
        All False where no pixel differs by 12 grey levels in any channel.
    """
    distance = colour_distance(image, colour)
    if distance.max() < _LEAST_DISTANCE:
        return np.zeros(distance.shape, dtype=bool)
    level = min(otsu(np.minimum(distance, STAIN_CAP)), STAIN_CAP // 2)
    depth = float(np.percentile(distance[distance > level], _SHALLOW))
    return distance > max(level, depth / 2)


def object_mask(image: UInt8, pieces: bool = False) -> Bool:
    """Threshold a template: which of its pixels are the object (section III.A).

    Parameters
    ----------
    image : uint8, shape (h, w, 3)
        An object before an empty background.
    pieces : bool
        Keep every piece of at least a twentieth of the largest, not the largest alone.

    Returns
    -------
    bool, shape (h, w)
        All False where nothing stands out from the frame.

    Notes
    -----
    The paper says "thresholding" and no more; the rule is `stained` against the `frame_colour`,
    then the pieces.
    """
    filled = ndimage.binary_fill_holes(stained(image, frame_colour(image)))
    labels, _ = ndimage.label(filled)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if pieces:
        mask: Bool = (sizes >= max(sizes.max() * _LEAST_PIECE, 1))[labels]
    else:
        mask = filled & (labels == sizes.argmax())
    return mask
