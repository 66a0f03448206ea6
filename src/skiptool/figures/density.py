"""Outline of a violin: a kernel density estimate of distances."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["outline"]

_POINTS: Final = 48
_FLAT: Final = 1e-9
_REACH: Final = 7.0


def outline(values: Float64) -> tuple[Float64, Float64] | None:
    """Density of values between their least and greatest, greatest density 1.

    Parameters
    ----------
    values : float64, shape (D,)
        Finite values, one a channel, not below 0.

    Returns
    -------
    (float64, shape (P,), float64, shape (P,)) or None
        Places and the density there; None where all values are equal or there is none.

    Notes
    -----
    Gaussian kernel, Silverman's rule. What the kernel would put below 0 is reflected, and beyond 1
    where no value is greater. The outline ends at the extreme values: it claims no distance that
    no channel has.

    Examples
    --------
    >>> places, density = outline(np.array([0.2, 0.3, 0.3, 0.4]))
    >>> float(places[0]), float(places[-1]), float(density.max())
    (0.2, 0.4, 1.0)
    >>> outline(np.zeros(64)) is None
    True
    """
    if values.size < 2 or np.ptp(values) < _FLAT:
        return None
    places = np.linspace(values.min(), values.max(), _POINTS)
    width = _bandwidth(values)
    density = np.zeros(_POINTS)
    for mirrored in (values, -values, *([2.0 - values] if values.max() <= 1.0 else [])):
        far = _REACH * width  # what is farther away adds nothing that could be seen
        mirrored = mirrored[(mirrored > places[0] - far) & (mirrored < places[-1] + far)]
        density += np.exp(-0.5 * ((places[:, None] - mirrored) / width) ** 2).sum(axis=1)
    return places, density / density.max()


def _bandwidth(values: Float64) -> float:
    """Silverman's rule, but never so narrow that the density falls between the places."""
    quarter, three_quarters = np.quantile(values, (0.25, 0.75))
    scale = float(np.std(values, ddof=1))
    if three_quarters > quarter:
        scale = min(scale, float(three_quarters - quarter) / 1.349)
    return max(0.9 * scale * math.pow(values.size, -0.2), float(np.ptp(values)) / _POINTS)
