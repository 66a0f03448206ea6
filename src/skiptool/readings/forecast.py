"""The loss of IoU forecast from the distance at a layer, for images without labels.

A monotone line is fitted to the controlled shifts of one domain, the layer chosen and the error
stated by leaving out one kind of shift at a time; what is left out is seen by nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from skiptool.metrics.scores import Score
from skiptool.names import ShiftKind, Split
from skiptool.readings.crossed import Crossed, choose_layer, cross_validate
from skiptool.readings.joined import Change, Joined, Kin, Point, join, measured
from skiptool.stats.monotone import Monotone, conformal_width, fit_monotone

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["VALIDATION", "Expected", "Fitted", "fit_losses"]

VALIDATION: Final = "validation"
"""What tables call samples that a network was validated on (``predict --split fold``)."""

_ROUNDING, _SPLITS = 1e-12, (VALIDATION, Split.TEST.value)


class Expected(NamedTuple):
    """Loss that is expected under one change: a mean over ``networks`` (folds, as a rule).

    Without enough points for the level, ``low`` and ``high`` are NaN; without labels ``loss`` is,
    the true one of ``labelled`` networks on ``split``.
    """

    change: Change
    distance: float
    forecast: float
    low: float
    high: float
    networks: int
    loss: float
    labelled: int
    split: str


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Networks of one pruning: their loss under shifts of one domain as a line over a distance.

    Attributes
    ----------
    kin : Kin
    pruning, domain, split : str
        What the line is fitted to.
    classes, layers : tuple of str
        Foreground classes that IoU is the mean over; layers that could be chosen.
    points : tuple of Point, length P
    distances, loss : float64 (P,)
        At the chosen layer.
    layer : int
        Place of the chosen layer in ``layers``.
    line : Monotone
    crossed : Crossed
    level : float
        Of the intervals.
    width : float
        Half of an interval; NaN where P is too small for the level.
    expected : tuple of Expected
    left_out : int
        Comparisons without a distance at the chosen layer.
    """

    kin: Kin
    pruning: str
    domain: str
    split: str
    classes: tuple[str, ...]
    layers: tuple[str, ...]
    points: tuple[Point, ...]
    distances: Float64
    loss: Float64
    layer: int
    line: Monotone
    crossed: Crossed
    level: float
    width: float
    expected: tuple[Expected, ...]
    left_out: int

    @property
    def error(self) -> float:
        """Cross-validated mean absolute error over all points."""
        return float(self.crossed.residuals.mean())

    @property
    def error_of_mean(self) -> float:
        """Mean absolute error of forecasting the mean loss of the other kinds."""
        return float(self.crossed.residuals_of_mean.mean())

    @property
    def better(self) -> bool:
        """Whether the line forecasts better than the mean, by more than rounding."""
        return self.error < self.error_of_mean - _ROUNDING

    @property
    def unmet(self) -> tuple[str, ...]:
        """Kinds of shift on which, left out, the line is no better than the mean."""
        held = self.crossed.held
        return tuple(one.kind for one in held if one.error >= one.error_of_mean - _ROUNDING)


def fit_losses(
    scores: Iterable[Score], layers: Mapping[str, Sequence[Any]], *, level: float = 0.95
) -> list[Fitted]:
    """Fit a line for the networks of each pruning, and forecast what it was not fitted to.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.readings.joined.join`.
    level : float
        Of the intervals.

    Returns
    -------
    list of Fitted
        In the order of ``join``, one for each pruning and domain with two kinds of shift at least
        whose losses are known. Where the networks' validation samples were scored, lines are
        fitted to these alone, else to test samples. Forecast are the comparisons with the original
        images of this domain that lead to another domain, or to images without a known loss.

    Notes
    -----
    Networks of all folds are pooled. The layer of the line itself is chosen from all kinds; the
    error that is stated is of lines whose layer was chosen without the kind that was left out
    (:func:`skiptool.readings.crossed.cross_validate`).
    """
    parts: dict[Kin, dict[str, Joined]] = {}
    for one in join(scores, layers):
        parts.setdefault(one.kin, {})[one.split] = one
    every = measured(layers) if parts else {}
    found = []
    for kin, by_split in parts.items():
        for split in _SPLITS:
            sweeps = _sweeps(by_split[split]) if split in by_split else {}
            if sweeps:
                ordered = [by_split[split], *(by_split[s] for s in by_split if s != split)]
                fits = (_fitted(ordered, *each, every[kin], level) for each in sweeps.items())
                found += [fit for fit in fits if fit is not None]
                break
    return found


def _sweeps(joined: Joined) -> dict[tuple[str, str], list[int]]:
    """Places of the controlled shifts by pruning and domain, where there are two kinds."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, point in enumerate(joined.points):
        change, original = point.change, ShiftKind.ORIGINAL.value
        plain = change.reference_shift == original != change.shift
        if plain and change.domain == change.reference_domain:
            found.setdefault((point.pruning, change.domain), []).append(place)
    return {
        key: places
        for key, places in found.items()
        if len({joined.points[place].change.kind for place in places}) > 1
    }


def _fitted(
    parts: Sequence[Joined],
    key: tuple[str, str],
    places: list[int],
    every: Mapping[Point, Mapping[str, float]],
    level: float,
) -> Fitted | None:
    """Fit one line to the first of the parts; None if no layer was measured under all shifts."""
    joined, (pruning, domain) = parts[0], key
    whole = np.flatnonzero(np.isfinite(joined.distances[:, places]).all(axis=1))
    if not len(whole):
        return None
    points = tuple(joined.points[place] for place in places)
    names = tuple(joined.layers[number] for number in whole)
    distances, loss = joined.distances[whole][:, places], joined.loss[places]
    kinds = [point.change.kind for point in points]
    shifts = joined.shifts()[places]
    crossed = cross_validate(distances, loss, kinds, shifts.tolist())
    layer = choose_layer(distances, loss, kinds, shifts.tolist())
    line, width = fit_monotone(distances[layer], loss), conformal_width(crossed.residuals, level)
    seen = set(points)
    targets = [
        (point, by_layer.get(names[layer], math.nan))
        for point, by_layer in every.items()
        if point not in seen and point.pruning == pruning and _starts(point.change, domain)
    ]
    known = [(point, distance) for point, distance in targets if math.isfinite(distance)]
    return Fitted(
        *(joined.kin, pruning, domain, joined.split, joined.classes, names, points),
        *(distances[layer], loss, layer, line, crossed, level, width),
        _forecast(known, line, width, parts),
        len(targets) - len(known),
    )


def _starts(change: Change, domain: str) -> bool:
    return change[:2] == (domain, ShiftKind.ORIGINAL.value)


def _forecast(
    targets: Sequence[tuple[Point, float]], line: Monotone, width: float, parts: Sequence[Joined]
) -> tuple[Expected, ...]:
    """Forecast the mean loss of the networks under each change, other domains first."""
    losses = [
        (part.split, dict(zip(part.points, part.loss.tolist(), strict=True))) for part in parts
    ]
    groups: dict[Change, list[tuple[Point, float]]] = {}
    for point, distance in targets:
        groups.setdefault(point.change, []).append((point, distance))
    found = []
    for change in sorted(groups, key=_place):
        points, distances = zip(*groups[change], strict=True)
        at = float(line(np.array(distances)).mean())
        split, true = next(
            ((s, mine) for s, by in losses if (mine := [by[p] for p in points if p in by])),
            ("", []),
        )
        low, high = (float(np.clip(at + end, -1.0, 1.0)) for end in (-width, width))
        loss = float(np.mean(true)) if true else math.nan
        mean = float(np.mean(distances))
        found.append(Expected(change, mean, at, low, high, len(points), loss, len(true), split))
    return tuple(found)


_KINDS: Final = {kind.value: place for place, kind in enumerate(ShiftKind)}


def _place(change: Change) -> tuple[object, ...]:
    within = change.domain == change.reference_domain
    factor = -1.0 if change.factor is None else change.factor
    return (
        within,
        str(change.domain),
        _KINDS.get(change.shift, len(_KINDS)),
        str(change.shift),
        factor,
    )
