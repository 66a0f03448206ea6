"""Which layer's distance goes with the loss of IoU best: rank correlation over shifts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from skiptool.metrics.scores import Score, mean_and_spread
from skiptool.readings.joined import Change, Joined, join
from skiptool.stats.ranks import rank_correlation, rank_interval

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["FEWEST", "Association", "Mean", "associations"]

FEWEST: Final = 4
"""Different shifts (or pairs of domains) below which nothing is said about a correlation."""


class Mean(NamedTuple):
    """Networks of one pruning under one change: mean, standard deviation (n - 1) and number.

    ``distances`` and ``sd_distances`` have one value a layer, NaN where there is none.
    """

    pruning: str
    change: Change
    loss: float
    sd_loss: float
    distances: tuple[float, ...]
    sd_distances: tuple[float, ...]
    folds: int


@dataclass(frozen=True, slots=True, eq=False)
class Association:
    """Rank correlation of each layer's distance with the loss of IoU.

    Attributes
    ----------
    joined : Joined
        The points, of L layers.
    correlation, low, high : float64 (L,)
        Spearman's, with the ends of its interval by resampling the shifts; NaN where a layer's
        distance is the same everywhere.
    level : float
        Of the interval.
    points, shifts : tuple of int, length L
        What each correlation rests on.
    """

    joined: Joined
    correlation: Float64
    low: Float64
    high: Float64
    level: float
    points: tuple[int, ...]
    shifts: tuple[int, ...]

    @property
    def best(self) -> int | None:
        """Place of the layer with the greatest correlation, the first of equals."""
        return None if np.isnan(self.correlation).all() else int(np.nanargmax(self.correlation))

    def means(self) -> list[Mean]:
        """Average the networks of each pruning under each change (folds, as a rule)."""
        groups: dict[tuple[str, Change], list[int]] = {}
        for place, point in enumerate(self.joined.points):
            groups.setdefault((point.pruning, point.change), []).append(place)
        found = []
        for (pruning, change), places in groups.items():
            loss, deviation = mean_and_spread(self.joined.loss[places].tolist())
            rows = self.joined.distances[:, places].tolist()
            means, deviations = zip(*map(mean_and_spread, rows), strict=True)
            found.append(Mean(pruning, change, loss, deviation, means, deviations, len(places)))
        return found


def associations(
    scores: Iterable[Score],
    layers: Mapping[str, Sequence[Any]],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> list[Association]:
    """Join scores with distances by layer, and correlate them.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.readings.joined.join`.
    level, seed : float, int
        Of the intervals.

    Returns
    -------
    list of Association
        In the order of ``join``: those with at least :data:`FEWEST` different shifts.

    Notes
    -----
    Points of all prunings, folds and domains are pooled: a layer forecasts well if its distance
    tells which network loses under which shift. All networks see the same shift, so what is drawn
    anew for the interval is the shift (kind and factor), with all its points.
    """
    return [
        _associated(joined, level, seed)
        for joined in join(scores, layers)
        if joined.shifts().max() + 1 >= FEWEST
    ]


def _associated(joined: Joined, level: float, seed: int) -> Association:
    shifts, known = joined.shifts(), np.isfinite(joined.distances)
    low, high = rank_interval(joined.loss, joined.distances, shifts, level=level, seed=seed)
    return Association(
        joined,
        rank_correlation(joined.loss, joined.distances),
        low,
        high,
        level,
        points=tuple(map(int, known.sum(axis=1))),
        shifts=tuple(len(set(shifts[row].tolist())) for row in known),
    )
