"""Numbers by which the inner loops of counting find the bin of a value, for each channel.

They are computed here, for all channels at once: every line inside of the compiled loops makes the
first start on a machine longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64

__all__ = ["division_terms", "product_terms"]

_NEAR = 1e-9
"""Distance to an edge, in bins, where a product of float64 may err: by 5e-10 with 2**20 bins."""

_NEAR_SHORT = 2.5e-7
"""The same for products of float32, as a share of B: their rounding is below 1.8e-7."""

_SHORT_BINS = 1024
"""Most bins for which float32 pays: beyond, too many values are near to an edge."""

_FAR = 1e30
"""Offsets and places beyond are left to division, which tells large from infinite."""


def division_terms(low: Float64, span: Float64, bins: int, clamp: bool, literal: bool) -> Float64:
    """Terms of the exact rule, floor((x - low) * B / span).

    Parameters
    ----------
    low, span : float64, shape (D,)
    bins : int
        B.
    clamp : bool
        Values outside of the range count in the end bins.
    literal : bool
        Eq. (5) as printed: the maximum and constant channels are in no bin, their index is B.

    Returns
    -------
    float64, shape (D, 7)
        Low; least and greatest offset from it in range; the offset above which a value is at the
        upper end; B; the divisor; the place of the upper end, half a bin off its edge.

    Notes
    -----
    A constant channel has its values in bin 0; what is clamped from above is at the upper end.
    """
    constant = span == 0.0
    terms = np.empty((len(low), 7))
    terms[:, 0] = low
    terms[:, 1] = -np.inf if clamp else 0.0
    terms[:, 2] = np.inf if clamp else span
    # Of literal counts the maximum is at the upper end even where its place is rounded below B.
    below = np.where(constant, -np.inf, np.nextafter(span, -np.inf))
    terms[:, 3] = below if literal else span
    terms[:, 4] = bins
    terms[:, 5] = np.where(constant, 1.0, span)
    terms[:, 6] = _upper_end(bins, literal)
    return terms


def product_terms(
    low: Float64, span: Float64, bins: int, clamp: bool, literal: bool, dtype: np.dtype[Any]
) -> AnyArray:
    """Terms of the quick rule, floor((x - low) * (B / span)).

    Parameters
    ----------
    low, span, bins, clamp, literal
        As above.
    dtype : float32 or float64
        Type of the values and of the terms.

    Returns
    -------
    of ``dtype``, shape (D, 7)
        Low; B / span, or 0 where the rule does not serve; least offset from low and greatest place
        for which it serves; the place of the upper end; the distance to an edge up to which
        it does not serve, in bins; and 0.5.
    """
    short = dtype == np.float32
    close = _NEAR_SHORT * bins if short else _NEAR
    terms = np.empty((len(low), 7), dtype)
    with np.errstate(divide="ignore", over="ignore"):
        terms[:, 0] = low
        terms[:, 1] = np.where(_fits(low, span, bins) if short else span > 0.0, bins / span, 0.0)
    terms[:, 2] = -_FAR if clamp else 0.0
    terms[:, 3] = _FAR if clamp else bins - 2.0 * close
    terms[:, 4] = _upper_end(bins, literal)
    terms[:, 5] = close
    terms[:, 6] = 0.5
    return terms


def _upper_end(bins: int, literal: bool) -> float:
    """Place of values at the upper end: in the last bin or, of literal counts, behind it."""
    return bins + 0.5 if literal else bins - 0.5


def _fits(low: Float64, span: Float64, bins: int) -> Bool:
    """Whether differences and scales of float32 neither overflow nor lose digits below 2**-126."""
    exact = low.astype(np.float32) == low
    return np.asarray((bins <= _SHORT_BINS) & (span > 1e-30) & (span < 1e30) & exact)
