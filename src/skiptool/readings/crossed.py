"""Cross-validation over kinds of shift: what is left out chooses no layer and fits no line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skiptool.stats.monotone import fit_monotone

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["Crossed", "Held", "choose_layer", "cross_validate"]


class Held(NamedTuple):
    """Mean absolute error on one kind of shift that was left out, and that of the mean loss."""

    kind: str
    layer: int
    points: int
    error: float
    error_of_mean: float


class Crossed(NamedTuple):
    """Cross-validation: absolute residuals (P,) of the line and of the mean, and both by kind."""

    residuals: Float64
    residuals_of_mean: Float64
    held: tuple[Held, ...]


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
        line = fit_monotone(seen[layer], known)
        residuals[out] = np.abs(line(distances[layer, out]) - loss[out])
        of_mean[out] = np.abs(known.mean() - loss[out])
        errors = float(residuals[out].mean()), float(of_mean[out].mean())
        held.append(Held(kind, layer, int(out.sum()), *errors))
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
            line = fit_monotone(row[~out], loss[~out])
            errors[layer] += np.abs(line(row[out]) - loss[out]).sum()
    return int(np.argmin(np.round(errors, 12)))
