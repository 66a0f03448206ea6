"""Cross-validation over kinds of shift: a kind that is left out chooses no layer and fits no line.

Lines start at the origin: images that are not shifted are at distance 0 and lose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skiptool.stats.isotonic import Monotone, conformal_width, fit_monotone

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["Crossed", "Held", "choose_layer", "cross_validate", "error_bound", "fit_from_origin"]


class Held(NamedTuple):
    """Errors on one kind of shift that was left out.

    ``error`` is the mean absolute error of the line, ``worst`` its greatest absolute error, and
    ``error_of_mean`` the mean absolute error of the mean loss of the other kinds.
    """

    kind: str
    layer: int
    points: int
    error: float
    error_of_mean: float
    worst: float


class Crossed(NamedTuple):
    """Cross-validation: absolute residuals (P,) of the line and of the mean, and both by kind."""

    residuals: Float64
    residuals_of_mean: Float64
    held: tuple[Held, ...]


def fit_from_origin(distances: Float64, loss: Float64) -> Monotone:
    """Fit the line that starts at (0, 0), never falls and is closest to the losses.

    Parameters
    ----------
    distances : float64 (P,)
        Finite. Points at 0 or below, where a corrected distance can be, add nothing to what is
        known there and are left out.
    loss : float64 (P,)

    Returns
    -------
    Monotone
        Least squares among lines that do not fall and are 0 at 0: isotonic regression, cut at 0
        from below (Barlow et al. 1972, bounded isotonic regression).

    Examples
    --------
    >>> line = fit_from_origin(np.array([-0.1, 0.2, 0.4]), np.array([0.3, -0.1, 0.5]))
    >>> line.knots.tolist(), line.values.tolist()
    ([0.0, 0.2, 0.4], [0.0, 0.0, 0.5])
    """
    away = distances > 0
    if not away.any():
        return Monotone(np.zeros(1), np.zeros(1))
    line = fit_monotone(distances[away], loss[away])
    values = np.maximum(line.values, 0.0)
    return Monotone(np.r_[0.0, line.knots], np.r_[0.0, values])


def error_bound(worst: Sequence[float], level: float) -> tuple[float, float]:
    """Bound the error on a further kind of shift by the greatest errors on the kinds left out.

    Parameters
    ----------
    worst : sequence of M float
        Greatest absolute error on each kind while it was left out.
    level : float
        Level asked for, in (0, 1).

    Returns
    -------
    bound : float
        The k-th smallest of them, k = ceil((M + 1) level), or the greatest where M is below k.
    level : float
        Level at which the bound holds for a kind drawn like the M kinds: the one asked for, or
        M / (M + 1) where M kinds allow no more.

    Notes
    -----
    Conformal prediction with kinds as the exchangeable units. Points within a kind are not
    exchangeable with those of another: their number promises nothing.

    References
    ----------
    R. Dunn, L. Wasserman and A. Ramdas, Distribution-free prediction sets for two-layer
    hierarchical models, Journal of the American Statistical Association 118 (2023) 2491-2502.

    Examples
    --------
    >>> error_bound([0.1, 0.3, 0.2], 0.95), error_bound([0.1, 0.3, 0.2], 0.5)
    ((0.3, 0.75), (0.2, 0.5))
    """
    holds = min(level, len(worst) / (len(worst) + 1))
    return conformal_width(np.array(worst), holds), holds


def cross_validate(
    distances: Float64, loss: Float64, kinds: Sequence[str], shifts: Sequence[int]
) -> Crossed:
    """Leave out one kind of shift at a time; choose the layer among the other kinds alone.

    Parameters
    ----------
    distances : float64 (L, P)
        Finite.
    loss : float64 (P,)
    kinds : sequence of P str
        Two different ones at least.
    shifts : sequence of P int
        Number of each point's shift: what is left out to choose a layer where one kind is left.

    Returns
    -------
    Crossed
        Kinds in the order of their first point.
    """
    of_kind, of_shift = np.array(kinds), np.array(shifts)
    residuals, of_mean = np.empty(len(loss)), np.empty(len(loss))
    held = []
    for kind in dict.fromkeys(kinds):
        out = of_kind == kind
        seen, known = distances[:, ~out], loss[~out]
        layer = choose_layer(seen, known, of_kind[~out].tolist(), of_shift[~out].tolist())
        line = fit_from_origin(seen[layer], known)
        residuals[out] = np.abs(line(distances[layer, out]) - loss[out])
        of_mean[out] = np.abs(known.mean() - loss[out])
        errors = float(residuals[out].mean()), float(of_mean[out].mean())
        held.append(Held(kind, layer, int(out.sum()), *errors, float(residuals[out].max())))
    return Crossed(residuals, of_mean, tuple(held))


def choose_layer(
    distances: Float64, loss: Float64, kinds: Sequence[str], shifts: Sequence[int]
) -> int:
    """Return the layer of the least error, leaving out a kind, or of one kind a shift, at a time.

    Parameters
    ----------
    distances, loss, kinds, shifts
        As for :func:`cross_validate`, of one kind at least.

    Returns
    -------
    int
        The first of equals, in the order of data flow; 0 where there is one shift alone.
    """
    several = len(set(kinds)) > 1
    labels = np.array(kinds if several else shifts)
    names = list(dict.fromkeys(labels.tolist()))
    if len(names) < 2:
        return 0
    errors = np.zeros(len(distances))
    for name in names:
        out = labels == name
        for layer, row in enumerate(distances):
            line = fit_from_origin(row[~out], loss[~out])
            errors[layer] += np.abs(line(row[out]) - loss[out]).sum()
    return int(np.argmin(np.round(errors, 12)))
