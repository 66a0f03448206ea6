"""Forecast of the loss of IoU from the distance at a layer, for images without labels.

A non-decreasing line from the origin (images that are not shifted lose nothing) is fitted to the
controlled shifts of one domain. The layer is chosen, and the error estimated, by cross-validation
over kinds of shift: the kind left out takes no part in choosing the layer or fitting the line. The
error on a further kind is bounded by those of the kinds left out, whose number sets the level; the
uncertainty of the distance, which grows as images become fewer, is added to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from skiptool.analysis.correlation import (
    Distance,
    ImagePair,
    LossAndDistance,
    Point,
    SettingKey,
    gather_distances,
    join_distances,
)
from skiptool.metrics import Score
from skiptool.names import VALIDATION, ShiftKind, Split
from skiptool.stats.isotonic import Monotone, conformal_width, fit_monotone

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

SEEN: Final = 0.05
"""Largest p-value at which a shift counts as seen."""

_ROUNDING: Final = 1e-12

_SPLITS: Final = (VALIDATION, Split.TEST.value)
"""Splits that lines are fitted to; the first one available is used."""

_KINDS: Final = {kind.value: number for number, kind in enumerate(ShiftKind)}


# Cross-validation over kinds of shift


class HeldOutError(NamedTuple):
    """Errors on one kind of shift that was left out.

    ``error`` is the mean absolute error of the line, ``worst`` its greatest absolute error, and
    ``error_of_mean`` the mean absolute error if the mean loss of the other kinds is the forecast.
    """

    kind: str
    layer: int
    points: int
    error: float
    error_of_mean: float
    worst: float


class CrossValidation(NamedTuple):
    """Absolute residuals (P,) of the line and of the mean, and the errors by kind."""

    residuals: Float64
    residuals_of_mean: Float64
    held: tuple[HeldOutError, ...]

    @property
    def better(self) -> bool:
        """True if the line forecasts kinds left out better than the mean, beyond rounding."""
        gains = [kind.error_of_mean - kind.error for kind in self.held]
        return float(np.mean(gains)) > _ROUNDING


def fit_from_origin(distances: Float64, loss: Float64) -> Monotone:
    """Fit the non-decreasing line from (0, 0) that is closest to the losses.

    Least squares: isotonic regression, clipped at 0 from below (Barlow et al. 1972, bounded
    isotonic regression). Distances (P,) are finite; points with a corrected distance of 0 or less
    carry no information and are left out.

    Examples
    --------
    >>> line = fit_from_origin(np.array([-0.1, 0.2, 0.4]), np.array([0.3, -0.1, 0.5]))
    >>> line.knots.tolist(), line.values.tolist()
    ([0.0, 0.2, 0.4], [0.0, 0.0, 0.5])
    """
    positive = distances > 0
    if not positive.any():
        return Monotone(np.zeros(1), np.zeros(1))
    line = fit_monotone(distances[positive], loss[positive])
    values = np.maximum(line.values, 0.0)
    return Monotone(np.r_[0.0, line.knots], np.r_[0.0, values])


def error_bound(worst: Sequence[float], level: float) -> tuple[float, float]:
    """Bound the error on a further kind of shift by the greatest errors on the kinds left out.

    Parameters
    ----------
    worst : sequence of M float
        Greatest absolute error on each kind while it was left out.
    level : float
        Requested level, in (0, 1).

    Returns
    -------
    bound : float
        The k-th smallest of them, k = ceil((M + 1) level), or the greatest if M is below k.
    level : float
        Level at which the bound holds for a kind drawn like the M kinds: the one requested, or at
        most M / (M + 1).

    Notes
    -----
    Conformal prediction with kinds as the exchangeable units. Points within a kind are not
    exchangeable with those of another, so their number does not raise the level.

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
) -> CrossValidation:
    """Leave out one kind of shift at a time; choose the layer by the other kinds alone.

    Parameters
    ----------
    distances : float64 (L, P)
        Finite.
    loss : float64 (P,)
    kinds : sequence of P str
        At least two distinct kinds.
    shifts : sequence of P int
        Index of each point's shift; shifts are left out to choose a layer if only one kind remains.

    Returns
    -------
    CrossValidation
        Kinds in the order of their first point.
    """
    of_kind, of_shift = np.array(kinds), np.array(shifts)
    residuals, of_mean = np.empty(len(loss)), np.empty(len(loss))
    held = []
    for kind in dict.fromkeys(kinds):
        out = of_kind == kind
        fitted, losses = distances[:, ~out], loss[~out]
        layer = choose_layer(fitted, losses, of_kind[~out].tolist(), of_shift[~out].tolist())
        line = fit_from_origin(fitted[layer], losses)
        residuals[out] = np.abs(line(distances[layer, out]) - loss[out])
        of_mean[out] = np.abs(losses.mean() - loss[out])
        held.append(
            HeldOutError(
                kind,
                layer,
                points=int(out.sum()),
                error=float(residuals[out].mean()),
                error_of_mean=float(of_mean[out].mean()),
                worst=float(residuals[out].max()),
            )
        )
    return CrossValidation(residuals, of_mean, tuple(held))


def choose_layer(
    distances: Float64, loss: Float64, kinds: Sequence[str], shifts: Sequence[int]
) -> int:
    """Return the layer of the least error, leaving out one kind of shift at a time.

    With a single kind, shifts are left out instead. Parameters are as for :func:`cross_validate`,
    with at least one kind. Of ties, the first in data flow is returned; 0 if there is only one
    shift.
    """
    labels = np.array(kinds if len(set(kinds)) > 1 else shifts)
    folds = list(dict.fromkeys(labels.tolist()))
    if len(folds) < 2:
        return 0
    errors = np.zeros(len(distances))
    for fold in folds:
        out = labels == fold
        for layer, row in enumerate(distances):
            line = fit_from_origin(row[~out], loss[~out])
            errors[layer] += np.abs(line(row[out]) - loss[out]).sum()
    return int(np.argmin(np.round(errors, 12)))


# Lines and forecasts


class Expected(NamedTuple):
    """Expected loss under one change, a mean over ``networks`` (trainings).

    Attributes
    ----------
    distance, distance_low, distance_high : float
        Corrected distance with its 95 % interval, means over the networks.
    p_value : float
        For no shift, over the networks (:func:`combined_p`); NaN if none was computed.
    seen : bool
        Whether a shift is seen: p-value at most 0.05, or without one an interval above 0.
    forecast, low, high : float
        All NaN if the fit is no better than the mean; ``forecast`` is NaN if no shift is seen.
    images_reference, images, units : int
        Images compared, and the statistical units among the latter.
    unit : str
        Kind of the units: image, subject ...
    loss : float
        True loss of ``labelled`` networks on ``split``; NaN without labels.
    """

    change: ImagePair
    distance: float
    distance_low: float
    distance_high: float
    p_value: float
    seen: bool
    forecast: float
    low: float
    high: float
    networks: int
    images_reference: int
    images: int
    units: int
    unit: str
    loss: float
    labelled: int
    split: str


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Loss of the networks of one pruning under shifts of one domain, as a line over a distance.

    Attributes
    ----------
    pruning, domain, split : str
        Networks and images that the line is fitted to.
    classes, layers : tuple of str
        Foreground classes that IoU is the mean over; layers that could be chosen.
    points : tuple of Point, length P
    distances, low, high, loss : float64 (P,)
        At the chosen layer; the ends of the distance's interval are NaN if unknown.
    layer : int
        Index of the chosen layer in ``layers``.
    requested_level, level : float
        Level of the intervals as requested, and as it holds for a further kind of shift.
    bound : float
        Bound of the error on a further kind, at that level.
    left_out : int
        Comparisons without a corrected distance and its interval at the chosen layer.
    passed_over : tuple of str
        Layers that could not be chosen, without a corrected distance at some point.
    images : int64 (P,)
        Images under the shift of each point, 0 if unknown.
    assumed : int
        Points of tables that do not name their split.
    """

    setting: SettingKey
    pruning: str
    domain: str
    split: str
    classes: tuple[str, ...]
    layers: tuple[str, ...]
    points: tuple[Point, ...]
    distances: Float64
    low: Float64
    high: Float64
    loss: Float64
    layer: int
    line: Monotone
    cross_validation: CrossValidation
    requested_level: float
    level: float
    bound: float
    expected: tuple[Expected, ...]
    left_out: int
    passed_over: tuple[str, ...]
    images: Int64
    assumed: int

    @property
    def error(self) -> float:
        """Mean absolute error on kinds left out, each kind counting once."""
        return float(np.mean([kind.error for kind in self.cross_validation.held]))

    @property
    def error_of_mean(self) -> float:
        """Mean absolute error if the mean loss of the other kinds is the forecast."""
        return float(np.mean([kind.error_of_mean for kind in self.cross_validation.held]))

    @property
    def better(self) -> bool:
        """True if the line forecasts kinds left out better than the mean."""
        return self.cross_validation.better

    @property
    def unmet(self) -> tuple[str, ...]:
        """Kinds of shift on which, left out, the line is no better than the mean."""
        held = self.cross_validation.held
        return tuple(kind.kind for kind in held if kind.error >= kind.error_of_mean - _ROUNDING)


def combined_p(p_values: Sequence[float]) -> float:
    """Combine p-values of several networks on the same images, under any dependence.

    The k-th smallest of n p-values times n / k, k = ceil(n / 2), at most 1; that of a single
    network stays. NaN values are ignored; NaN if there are no others.

    References
    ----------
    B. Rüger, Das maximale Signifikanzniveau des Tests "Lehne H0 ab, wenn k unter n gegebenen Tests
    zur Ablehnung führen", Metrika 25 (1978) 171-178.

    Examples
    --------
    >>> combined_p([0.03]), combined_p([0.01, 0.02, 0.9]), combined_p([])
    (0.03, 0.03, nan)
    """
    known = sorted(p for p in p_values if not math.isnan(p))
    if not known:
        return math.nan
    rank = math.ceil(len(known) / 2)
    return min(known[rank - 1] * len(known) / rank, 1.0)


def fit_losses(
    scores: Iterable[Score], layers: Mapping[str, Sequence[Any]], *, level: float = 0.95
) -> list[Fitted]:
    """Fit a line for the networks of each pruning, and forecast what it was not fitted to.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.analysis.correlation.join_distances`.
    level : float
        Requested level of the intervals; M kinds of shift allow at most M / (M + 1).

    Returns
    -------
    list of Fitted
        In the order of ``join_distances``, one for each pruning and domain with at least two kinds
        of shift whose losses are known. If there are distances and scores of the networks'
        validation samples, lines are fitted to these alone, else to test samples. Forecasts are
        made for comparisons of the original images of this domain with another domain, or with
        images without a known loss.

    Notes
    -----
    Networks of all folds and repeats are pooled. The layer of the line itself is chosen from all
    kinds; the error reported is that of lines whose layer was chosen without the kind left out
    (:func:`cross_validate`). An interval extends from the line at the lower end of the distance's
    interval to the line at its upper end, widened by the bound of the error on either side, within
    the range of possible losses: from the networks' IoU on the original images minus 1 to that IoU.
    """
    settings: dict[SettingKey, dict[str, LossAndDistance]] = {}
    for joined in join_distances(scores, layers):
        settings.setdefault(joined.setting, {})[joined.split] = joined
    distances = gather_distances(layers) if settings else {}
    fits = []
    for key, by_split in settings.items():
        for split in _SPLITS:
            sweeps = _sweeps(by_split[split]) if split in by_split else {}
            if sweeps:
                parts = [by_split[split], *(by_split[s] for s in by_split if s != split)]
                fits += [_fit(parts, *sweep, distances[key], level) for sweep in sweeps.items()]
                break
    return [fit for fit in fits if fit is not None]


def _sweeps(joined: LossAndDistance) -> dict[tuple[str, str], list[int]]:
    """Group points of controlled shifts by pruning and domain, if there are at least two kinds."""
    original = ShiftKind.ORIGINAL.value
    sweeps: dict[tuple[str, str], list[int]] = {}
    for number, point in enumerate(joined.points):
        change = point.change
        controlled = change.reference_shift == original != change.shift
        if controlled and change.domain == change.reference_domain:
            sweeps.setdefault((point.pruning, change.domain), []).append(number)
    return {
        key: numbers
        for key, numbers in sweeps.items()
        if len({joined.points[number].change.kind for number in numbers}) > 1
    }


def _fit(
    parts: Sequence[LossAndDistance],
    key: tuple[str, str],
    numbers: list[int],
    measured: Mapping[Point, Mapping[str, Distance]],
    level: float,
) -> Fitted | None:
    """Fit a line to some points of the first part; None if no layer has distances at all points."""
    joined, (pruning, domain) = parts[0], key
    complete = np.isfinite(joined.distances[:, numbers]).all(axis=1)
    rows = np.flatnonzero(complete)
    if not len(rows):
        return None
    points = tuple(joined.points[number] for number in numbers)
    layers = tuple(joined.layers[row] for row in rows)
    distances, low, high = (
        array[rows][:, numbers] for array in (joined.distances, joined.low, joined.high)
    )
    loss = joined.loss[numbers]
    kinds, shifts = [point.change.kind for point in points], joined.shifts()[numbers].tolist()
    cross_validation = cross_validate(distances, loss, kinds, shifts)
    layer = choose_layer(distances, loss, kinds, shifts)
    line = fit_from_origin(distances[layer], loss)
    bound, holds = error_bound([kind.worst for kind in cross_validation.held], level)
    targets = _targets(measured, points, pruning, domain, joined.split)
    bounded = {
        point: by_layer[layers[layer]]
        for point, by_layer in targets.items()
        if layers[layer] in by_layer and by_layer[layers[layer]].bounded
    }
    return Fitted(
        setting=joined.setting,
        pruning=pruning,
        domain=domain,
        split=joined.split,
        classes=joined.classes,
        layers=layers,
        points=points,
        distances=distances[layer],
        low=low[layer],
        high=high[layer],
        loss=loss,
        layer=layer,
        line=line,
        cross_validation=cross_validation,
        requested_level=level,
        level=holds,
        bound=bound,
        expected=_forecast(bounded, line, bound if cross_validation.better else math.nan, parts),
        left_out=len(targets) - len(bounded),
        passed_over=tuple(joined.layers[row] for row in np.flatnonzero(~complete)),
        images=joined.images[numbers],
        assumed=len(joined.assumed.intersection(points)),
    )


def _targets(
    measured: Mapping[Point, Mapping[str, Distance]],
    fitted: Sequence[Point],
    pruning: str,
    domain: str,
    split: str,
) -> dict[Point, Mapping[str, Distance]]:
    """Return comparisons with the fitted domain that the line was not fitted to.

    Those with the images of the fit take precedence over those with another split of its domain.
    """
    original = (domain, ShiftKind.ORIGINAL.value)
    seen = {(point.model_id, point.change.after) for point in fitted}
    targets: dict[tuple[object, ...], Point] = {}
    for point in sorted(measured, key=lambda point: point.change.home not in (None, split)):
        change = point.change
        same_reference = point.pruning == pruning and change[:2] == original
        if same_reference and (point.model_id, change.after) not in seen:
            targets.setdefault((point.model_id, change.after, change.split), point)
    return {point: measured[point] for point in targets.values()}


def _forecast(
    targets: Mapping[Point, Distance],
    line: Monotone,
    bound: float,
    parts: Sequence[LossAndDistance],
) -> tuple[Expected, ...]:
    """Forecast the mean loss of the networks under each change, other domains first."""
    groups: dict[ImagePair, list[Point]] = {}
    for point in targets:
        groups.setdefault(point.change, []).append(point)
    ious = {
        (point.model_id, point.change.before): float(iou)
        for point, iou in zip(parts[0].points, parts[0].before, strict=True)
    }
    losses = [
        (part.split, dict(zip(part.points, part.loss.tolist(), strict=True))) for part in parts
    ]
    forecasts = []
    for change in sorted(groups, key=_change_order):
        points = groups[change]
        distances = [targets[point] for point in points]
        split, true = _true_losses(points, losses)
        numbers = np.array([distance[:3] for distance in distances])
        mean, low, high = line(numbers).mean(axis=0).tolist()
        p_value = combined_p([distance.p_value for distance in distances])
        seen = p_value <= SEEN or (math.isnan(p_value) and bool(numbers[:, 1].mean() > 0))
        most = np.mean([ious.get((point.model_id, change.before), 1.0) for point in points])
        least = np.mean([ious.get((point.model_id, change.before), 0.0) for point in points]) - 1
        mean, low, high = np.clip((mean, low - bound, high + bound), least, most).tolist()
        mean_distance, distance_low, distance_high = numbers.mean(axis=0).tolist()
        forecasts.append(
            Expected(
                change=change,
                distance=mean_distance,
                distance_low=distance_low,
                distance_high=distance_high,
                p_value=p_value,
                seen=seen,
                forecast=mean if seen and not math.isnan(bound) else math.nan,
                low=low if seen else min(low, 0.0),
                high=high,
                networks=len(points),
                images_reference=min(distance.images_reference for distance in distances),
                images=min(distance.images for distance in distances),
                units=min(distance.units for distance in distances),
                unit=distances[0].unit,
                loss=float(np.mean(true)) if true else math.nan,
                labelled=len(true),
                split=split,
            )
        )
    return tuple(forecasts)


def _true_losses(
    points: Sequence[Point], losses: Sequence[tuple[str, Mapping[Point, float]]]
) -> tuple[str, list[float]]:
    """Return the losses of these networks on the first split with any."""
    for split, by_point in losses:
        on_split = [point._replace(change=point.change.with_split(split)) for point in points]
        true = [by_point[point] for point in on_split if point in by_point]
        if true:
            return on_split[0].change.split or split, true
    return "", []


def _change_order(change: ImagePair) -> tuple[object, ...]:
    return (
        change.domain == change.reference_domain,
        str(change.domain),
        _KINDS.get(change.shift, len(_KINDS)),
        str(change.shift),
        -1.0 if change.factor is None else change.factor,
    )
