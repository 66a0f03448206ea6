"""Segment the nucleus at an annotated point by its stain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from skiptool.sources.otsu import otsu

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, UInt8


def component_at(mask: Bool, point: tuple[float, float], reach: float = 0.0) -> Bool:
    """Keep the connected component at a point.

    Parameters
    ----------
    mask : bool (H, W)
    point : tuple of float
        x and y in pixels; column j and row i cover [j, j + 1) and [i, i + 1).
    reach : float
        If the point lies on no component, the one with the nearest pixel centre is taken, up to
        this distance in pixels.

    Returns
    -------
    bool (H, W)
        The 4-connected component; all False if there is none.

    Examples
    --------
    >>> component_at(np.array([[True, True, False, True]]), (3.2, 0.5)).tolist()
    [[False, False, False, True]]
    """
    seed = _seed(mask, point, reach)
    if seed is None:
        return np.zeros_like(mask)
    labels, _ = ndimage.label(mask)
    component: Bool = labels == labels[seed]
    return component


def _seed(mask: Bool, point: tuple[float, float], reach: float) -> tuple[int, int] | None:
    """Return row and column of the mask pixel at the point, or of the nearest one within reach."""
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
"""Optical density of haematoxylin and eosin in red, green and blue (Ruifrok and Johnston)."""

_SMOOTHING: Final = 0.4
"""Standard deviation of the Gaussian that smooths the density, µm."""

_SURROUNDINGS: Final = 16.0
_LARGEST: Final = 12.0
"""Distances from the point in µm: pixels compared with each other, and largest extent of a
nucleus."""

_REACH: Final = 3.0
"""Largest distance in µm between a hand-set point and its nucleus."""

_SMALLEST: Final = 3.0
"""Smallest area of a nucleus in µm²: a disc of 2 µm."""

_TRIES: Final = 3

_LEAST_CONTRAST: Final = 0.08
"""Smallest contrast between a nucleus and its surroundings, in optical density."""


def haematoxylin(image: UInt8) -> Float64:
    """Estimate the amount of haematoxylin by colour deconvolution.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        RGB of tissue stained with haematoxylin and eosin.

    Returns
    -------
    float64 (H, W)
        Optical density (base 10) due to haematoxylin; about 0 on glass, negative for colours beyond
        eosin.

    References
    ----------
    A. C. Ruifrok and D. A. Johnston, Quantification of histochemical staining by color
    deconvolution, Anal. Quant. Cytol. Histol. 23 (2001). As in their method for two stains, the
    third vector is perpendicular to both.
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
    """Segment the nucleus at a point.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    point : tuple of float
        x and y in pixels of the patch; pixel j covers [j, j + 1).
    mpp : tuple of float
        µm per pixel of the patch, horizontally and vertically; the default is that of 40x.

    Returns
    -------
    bool (H, W)
        One connected component without holes. All False if nothing darker stands out: contrast
        below 0.08 of optical density, area below 3 µm², or more than 3 µm from the point.

    Notes
    -----
    Otsu's threshold divides the smoothed haematoxylin density within 16 µm of the point; the
    component at the point, or the nearest one, is kept and its holes are filled. If there is none
    because something darker lies nearby, the threshold is recomputed from the values below it; if
    the component extends beyond 12 µm because nuclei touch or the cytoplasm is dark too, from its
    own values. After three attempts, what still lies beyond 12 µm is cut off. The boundary is drawn
    at half the contrast of the nucleus itself, so that dark nuclei do not appear larger than pale
    ones.

    The two plates of a late mitosis are two components, of which only the one at the point is kept.
    """
    across, down = mpp
    rows = (np.arange(image.shape[0]) + 0.5 - point[1]) * down
    columns = (np.arange(image.shape[1]) + 0.5 - point[0]) * across
    distance = np.hypot(rows[:, None], columns[None, :])
    blur = (_SMOOTHING / down, _SMOOTHING / across)
    density = ndimage.gaussian_filter(haematoxylin(image), blur, mode="nearest")
    empty = np.zeros(density.shape, dtype=bool)
    surroundings = distance <= _SURROUNDINGS
    if not surroundings.any():
        return empty
    reach = _REACH / math.sqrt(across * down)
    compared = surroundings
    for _ in range(_TRIES):
        dark = density > _threshold(density[compared])
        nucleus = component_at(dark & surroundings, point, reach)
        if nucleus.any() and distance[nucleus].max() <= _LARGEST:
            break
        compared = nucleus if nucleus.any() else compared & ~dark
        if not compared.any():
            return empty
    nucleus &= distance <= _LARGEST
    contrast = _contrast(density, nucleus, surroundings & ~dark)
    if contrast < _LEAST_CONTRAST:
        return empty
    nucleus &= density > np.median(density[nucleus]) - contrast / 2
    nucleus = ndimage.binary_fill_holes(component_at(nucleus, point, reach))
    return nucleus if nucleus.sum() * across * down >= _SMALLEST else empty


def _threshold(density: Float64) -> float:
    """Return Otsu's threshold over 256 levels between the lowest and the highest density."""
    low, high = float(density.min()), float(density.max())
    levels = np.rint((density - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    return low + (otsu(levels) + 0.5) / 255 * (high - low)


def _contrast(density: Float64, nucleus: Bool, surroundings: Bool) -> float:
    """Return the difference between the median densities of a nucleus and its surroundings."""
    if not nucleus.any():
        return 0.0
    return float(
        np.median(density[nucleus])
        - (np.median(density[surroundings]) if surroundings.any() else 0.0)
    )
