"""The nucleus at a point, by its stain: masks for objects that were annotated as points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from skiptool.sources.otsu import otsu

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, UInt8

__all__ = ["component_at", "haematoxylin", "stain_mask"]

# -------------------------------------------------------------------------------------------------
# Which of several things in a mask is the one that was annotated.


def component_at(mask: Bool, point: tuple[float, float], reach: float = 0.0) -> Bool:
    """Keep the connected component at a point.

    Parameters
    ----------
    mask : bool (H, W)
    point : tuple of float
        x and y in pixels; column j and row i cover [j, j + 1) and [i, i + 1).
    reach : float
        Where the point lies on no component, the one whose next pixel centre is at most so many
        pixels away is taken.

    Returns
    -------
    bool (H, W)
        The component (pixels joined by their edges, not by their corners); all False where there
        is none.

    Examples
    --------
    >>> component_at(np.array([[True, True, False, True]]), (3.2, 0.5)).tolist()
    [[False, False, False, True]]
    """
    found = _seed(mask, point, reach)
    if found is None:
        return np.zeros_like(mask)
    labels, _ = ndimage.label(mask)
    component: Bool = labels == labels[found]
    return component


def _seed(mask: Bool, point: tuple[float, float], reach: float) -> tuple[int, int] | None:
    """Row and column of the pixel of the mask that stands for the point."""
    row, column = math.floor(point[1]), math.floor(point[0])
    height, width = mask.shape
    if 0 <= row < height and 0 <= column < width and mask[row, column]:
        return row, column
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return None
    distance = np.hypot(columns + 0.5 - point[0], rows + 0.5 - point[1])
    nearest = int(distance.argmin())
    return (int(rows[nearest]), int(columns[nearest])) if distance[nearest] <= reach else None


_STAINS: Final = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
"""Optical density in red, green and blue of haematoxylin and eosin (Ruifrok and Johnston)."""

_SMOOTHING: Final = 0.4
"""µm: standard deviation of the Gaussian laid over the density."""

_SURROUNDINGS: Final = 16.0
_LARGEST: Final = 12.0
"""µm from the point: what is compared with each other, and what may belong to the nucleus."""

_REACH: Final = 3.0
"""µm by which a point may miss its nucleus: it is set by hand."""

_SMALLEST: Final = 3.0
"""Area of a nucleus in µm² at least: a disc of 2 µm."""

_TRIES: Final = 3

_LEAST_CONTRAST: Final = 0.08
"""Optical density by which a nucleus differs from its surroundings at least."""


def haematoxylin(image: UInt8) -> Float64:
    """Amount of haematoxylin by colour deconvolution.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        Tissue stained with haematoxylin and eosin, red, green, blue.

    Returns
    -------
    float64 (H, W)
        Optical density (base 10) due to haematoxylin; about 0 on glass, below 0 where the colour
        lies beyond eosin.

    References
    ----------
    A. C. Ruifrok and D. A. Johnston, Quantification of histochemical staining by color
    deconvolution, Anal. Quant. Cytol. Histol. 23 (2001). As they do for two stains, the third
    direction is the one perpendicular to both.
    """
    stains = _STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True)
    third = np.cross(*stains)
    unmixing = np.linalg.inv(np.vstack([stains, third / np.linalg.norm(third)]))
    density = -np.log10((np.arange(256) + 1.0) / 256.0)[image]
    amount: Float64 = density @ unmixing[:, 0]
    return amount


def stain_mask(
    image: UInt8, point: tuple[float, float], mpp: tuple[float, float] = (0.25, 0.25)
) -> Bool:
    """Mark the nucleus at a point.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        A patch.
    point : tuple of float
        x and y in pixels of the patch; pixel j covers [j, j + 1).
    mpp : tuple of float
        µm per pixel of the patch, horizontally and vertically; the default is that of 40x.

    Returns
    -------
    bool (H, W)
        One connected component without holes. All False where nothing darker stands out: less
        than 0.08 of optical density, smaller than 3 µm², or more than 3 µm from the point; the
        caller then decides what to paint.

    Notes
    -----
    The smoothed density of haematoxylin within 16 µm of the point is parted by Otsu's threshold,
    the component at the point is kept (or the next one), its holes are filled. Where there is
    none, because something darker lies near, the threshold is that of what lies below it; where
    it reaches beyond 12 µm, because nuclei touch or the plasm is dark too, that of its own
    values; three tries in all, and what still lies beyond 12 µm is cut off. The edge is where at
    least half of the nucleus's own contrast is reached, or a dark one would look larger than a
    pale one.

    The two plates of a late mitosis are two components and only the one at the point is kept.
    """
    across, down = mpp
    rows = (np.arange(image.shape[0]) + 0.5 - point[1]) * down
    columns = (np.arange(image.shape[1]) + 0.5 - point[0]) * across
    distance = np.hypot(rows[:, None], columns[None, :])
    blur = (_SMOOTHING / down, _SMOOTHING / across)
    density = ndimage.gaussian_filter(haematoxylin(image), blur, mode="nearest")
    empty, around = np.zeros(density.shape, dtype=bool), distance <= _SURROUNDINGS
    if not around.any():
        return empty
    reach = _REACH / math.sqrt(across * down)
    compared = around
    for _ in range(_TRIES):
        dark = density > _threshold(density[compared])
        found = component_at(dark & around, point, reach)
        if found.any() and distance[found].max() <= _LARGEST:
            break
        compared = found if found.any() else compared & ~dark
        if not compared.any():
            return empty
    found &= distance <= _LARGEST
    contrast = _contrast(density, found, around & ~dark)
    if contrast < _LEAST_CONTRAST:
        return empty
    found &= density > np.median(density[found]) - contrast / 2
    found = ndimage.binary_fill_holes(component_at(found, point, reach))
    return found if found.sum() * across * down >= _SMALLEST else empty


def _threshold(density: Float64) -> float:
    """Otsu's threshold, by 256 levels from the least to the largest density."""
    low, high = float(density.min()), float(density.max())
    levels = np.rint((density - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    return low + (otsu(levels) + 0.5) / 255 * (high - low)


def _contrast(density: Float64, found: Bool, rest: Bool) -> float:
    """How much denser a nucleus is than what lies around it, by their medians."""
    if not found.any():
        return 0.0
    return float(np.median(density[found]) - (np.median(density[rest]) if rest.any() else 0.0))
