"""Which layer's distance goes with the loss of IoU best: rank correlation over shifts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from skiptool.metrics import Score, mean_and_spread
from skiptool.readings.joined import Change, Joined, join
from skiptool.stats.correlation import rank_correlation, rank_interval

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["FEWEST", "FEWEST_FOR_INTERVAL", "Association", "Mean", "associations"]

FEWEST: Final = 4
"""Different shifts (or pairs of domains) below which nothing is said about a correlation."""

FEWEST_FOR_INTERVAL: Final = 9
"""Different shifts below which a correlation has no interval: 95 % intervals by resampling the
shifts cover the true value 84 to 92 times in 100 with four shifts, 92 with six, and 93 to 96 with
nine and more (:func:`skiptool.stats.correlation.rank_interval`)."""

_ROUNDING: Final = 1e-9


class Mean(NamedTuple):
    """Networks of one pruning under one change: mean, standard deviation (n - 1) and number.

    ``distances`` and ``sd_distances`` have one value a layer, NaN where there is none; ``low`` and
    ``high`` are the ends of their 95 % intervals, averaged over the networks.
    """

    pruning: str
    change: Change
    loss: float
    sd_loss: float
    distances: tuple[float, ...]
    sd_distances: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
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
        distance is the same everywhere. There is no interval with fewer shifts than
        :data:`FEWEST_FOR_INTERVAL`, nor where the order is perfect: every resample of it is, so
        that resampling cannot show the uncertainty.
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
        """Average the networks of each pruning under each change (trainings)."""
        groups: dict[tuple[str, Change], list[int]] = {}
        for place, point in enumerate(self.joined.points):
            groups.setdefault((point.pruning, point.change), []).append(place)
        found = []
        for (pruning, change), places in groups.items():
            loss, deviation = mean_and_spread(self.joined.loss[places].tolist())
            rows = self.joined.distances[:, places].tolist()
            means, deviations = zip(*map(mean_and_spread, rows), strict=True)
            low, high = (
                tuple(each[:, places].mean(axis=1).tolist())
                for each in (self.joined.low, self.joined.high)
            )
            found.append(
                Mean(pruning, change, loss, deviation, means, deviations, low, high, len(places))
            )
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
        In the order of ``join``: those with at least :data:`FEWEST` different shifts and a
        corrected distance.

    Notes
    -----
    Points of all prunings, trainings and domains are pooled: the correlation is high where the
    distance at a layer tells which network loses most under which shift. All networks see the same
    shifts, so shifts (kind and factor) are resampled for the interval, with all their points.
    """
    return [
        _associated(joined, level, seed)
        for joined in join(scores, layers)
        if joined.shifts().max() + 1 >= FEWEST and np.isfinite(joined.distances).any()
    ]


def _associated(joined: Joined, level: float, seed: int) -> Association:
    shifts, known = joined.shifts(), np.isfinite(joined.distances)
    counts = tuple(len(set(shifts[row].tolist())) for row in known)
    low, high = rank_interval(joined.loss, joined.distances, shifts, level=level, seed=seed)
    found = (np.array(counts) >= FEWEST_FOR_INTERVAL) & (high - low > _ROUNDING)
    return Association(
        joined,
        rank_correlation(joined.loss, joined.distances),
        np.where(found, low, np.nan),
        np.where(found, high, np.nan),
        level,
        points=tuple(map(int, known.sum(axis=1))),
        shifts=counts,
    )
