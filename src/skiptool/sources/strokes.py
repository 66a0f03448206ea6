"""Smooth fields that drawings are made of: noise, soft discs, grains. Coordinates in pixels.

Fields are float64 (side, side), their origin the middle of the square, rows down and columns to
the right. A soft edge runs from 0 to 1 over the stated width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skiptool.records import Float64

__all__ = ["axes", "disc", "grains", "noise", "step"]

_HARMONICS = 7
_REACH = 4.0


def axes(side: int) -> tuple[Float64, Float64]:
    """Row and column of each pixel, from the middle: (side, 1) and (1, side)."""
    line = np.arange(side, dtype=np.float64) - (side - 1) / 2
    return line[:, None], line[None, :]


def noise(side: int, width: float, rng: np.random.Generator) -> Float64:
    """Gaussian noise of mean 0 and standard deviation 1, smooth over ``width`` pixels.

    Wraps around at the borders.
    """
    white = rng.standard_normal((side, side))
    smooth = ndimage.gaussian_filter(white, width, mode="wrap", truncate=_REACH)
    field: Float64 = (smooth - smooth.mean()) / smooth.std()
    return field


def step(values: Float64, width: float) -> Float64:
    """Rise smoothly from 0 to 1 while the values go from ``-width / 2`` to ``width / 2``.

    Examples
    --------
    >>> step(np.array([-1.0, 0.0, 1.0]), 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    ramp = np.clip(values / width + 0.5, 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


def disc(
    side: int,
    centre: Sequence[float] | Float64,
    radius: float,
    edge: float,
    irregular: float,
    rng: np.random.Generator,
) -> Float64:
    """Draw a soft disc of irregular outline.

    Parameters
    ----------
    side : int
        Of the field.
    centre : (row, column)
        From the middle of the field.
    radius, edge : float
        Mean radius and width of the soft edge.
    irregular : float
        Standard deviation of the radius along the outline, as a share of the radius; made of the
        harmonics 2 to 7, weaker as they get finer.
    rng : np.random.Generator

    Returns
    -------
    float64, shape (side, side)
        1 inside, 0 outside.
    """
    rows, columns = axes(side)
    rows, columns = rows - centre[0], columns - centre[1]
    angle = np.arctan2(rows, columns)
    orders = np.arange(2, _HARMONICS + 1)
    strengths = rng.standard_normal((2, orders.size)) / orders
    strengths *= irregular / np.sqrt((1.0 / orders**2).sum())
    outline = np.ones_like(angle)
    for order, cosine, sine in zip(orders, *strengths, strict=True):
        outline += cosine * np.cos(order * angle) + sine * np.sin(order * angle)
    return step(radius * outline - np.hypot(rows, columns), edge)


def grains(
    where: Float64, count: int, sizes: tuple[float, float], rng: np.random.Generator
) -> Float64:
    """Strew ``count`` grains of radius ``sizes`` (least, most), denser where the field is higher.

    Returns
    -------
    float64, shape (side, side)
        1 within a grain, 0 outside, the grains run into one another where they touch.
    """
    side = len(where)
    reach = int(np.ceil(2 * sizes[1])) + 1
    chance = np.clip(where, 0.0, None).ravel() ** 2
    strewn = np.zeros((side + 2 * reach, side + 2 * reach))
    for spot in rng.choice(chance.size, size=count, p=chance / chance.sum()):
        row, column = divmod(int(spot), side)
        around = strewn[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        grain = disc(2 * reach + 1, (0.0, 0.0), rng.uniform(*sizes), 1.2, 0.22, rng)
        np.maximum(around, grain, out=around)
    return strewn[reach:-reach, reach:-reach]
