from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from skiptool.readings.association import (
    FEWEST,
    FEWEST_FOR_INTERVAL,
    Mean,
    associations,
)
from skiptool.records import ORIGINAL
from sweeps import HALF, SHIFTS, as_layers, distance, score, sweep


def test_correlations_are_of_all_networks_under_all_shifts() -> None:
    (found,) = associations(*sweep())
    joined = found.joined
    assert (len(joined.points), joined.layers) == (36, ("input", "enc1", "head"))
    expected = [spearmanr(joined.loss, row).statistic for row in joined.distances]
    np.testing.assert_allclose(found.correlation, expected)
    assert found.points == (36, 36, 36)
    assert found.shifts == (9, 9, 9)
    assert (found.low < found.correlation).all()
    assert (found.correlation < found.high).all()
    assert found.correlation[2] < min(found.correlation[:2])
    assert found.best == int(np.argmax(expected))


@pytest.mark.parametrize("count", [FEWEST - 1, FEWEST])
def test_of_fewer_than_four_shifts_nothing_is_said(count: int) -> None:
    found = associations(*sweep(shifts=SHIFTS[:count]))
    assert len(found) == (count >= FEWEST)


@pytest.mark.parametrize("count", [5, FEWEST_FOR_INTERVAL - 1, FEWEST_FOR_INTERVAL])
def test_of_few_shifts_a_correlation_has_no_interval(count: int) -> None:
    (found,) = associations(*sweep(shifts=SHIFTS[:count]))
    assert np.isfinite(found.correlation).all()
    assert np.isfinite(found.low).all() == (count >= FEWEST_FOR_INTERVAL)
    np.testing.assert_array_equal(np.isfinite(found.low), np.isfinite(found.high))


def test_a_perfect_order_has_no_interval() -> None:
    """Every resample of it is perfect: the interval would be a point."""
    found = associations(*ordered())
    assert found[0].correlation.tolist() == [1.0]
    assert found[0].shifts == (9,)
    assert np.isnan([found[0].low, found[0].high]).all()


def ordered() -> tuple[list[Any], dict[str, list[Any]]]:
    """Nine shifts of one network whose losses and distances are in one order."""
    losses = [0.05 * place for place in range(1, 10)]
    scores = [score(ORIGINAL, 0.9)]
    scores += [score(shift, 0.9 - loss) for shift, loss in zip(SHIFTS, losses, strict=True)]
    rows = [distance(shift, loss) for shift, loss in zip(SHIFTS, losses, strict=True)]
    return scores, as_layers(rows)


def test_without_corrected_distances_nothing_is_said() -> None:
    scores, layers = sweep()
    layers["corrected"] = [None] * len(layers["corrected"])
    assert associations(scores, layers) == []


def test_shifts_of_several_domains_are_the_same_shifts() -> None:
    """Three shifts in two domains are three, not six."""
    first, second = sweep(shifts=SHIFTS[:3]), sweep(shifts=SHIFTS[:3], domain="b")
    layers = {name: [*first[1][name], *second[1][name]] for name in first[1]}
    layers["reference_domain"] = layers["domain"]
    assert associations([*first[0], *second[0]], layers) == []


def test_pairs_of_domains_count_as_shifts() -> None:
    scores = [score(ORIGINAL, 0.9 - 0.1 * place, domain=name) for place, name in enumerate("abcde")]
    rows = [
        distance(ORIGINAL, 0.1 * place, domain=name) for place, name in enumerate("bcde", start=1)
    ]
    (found,) = associations(scores, as_layers(rows))
    assert (found.correlation.tolist(), found.shifts) == ([1.0], (4,))


def test_the_interval_follows_level_and_seed() -> None:
    (usual,), (wide,), (other,) = (
        associations(*sweep()),
        associations(*sweep(), level=0.99),
        associations(*sweep(), seed=1),
    )
    assert wide.level == 0.99
    assert (wide.low < usual.low).all()
    assert (other.low != usual.low).any()
    np.testing.assert_array_equal(other.correlation, usual.correlation)


def test_a_layer_that_was_measured_less_often_says_so() -> None:
    scores, layers = sweep()
    gone = [
        place
        for place, (name, kind) in enumerate(zip(layers["layer"], layers["shift"], strict=True))
        if (name, kind) == ("head", "contrast")
    ]
    for place in gone:
        layers["corrected"][place] = None
    (found,) = associations(scores, layers)
    assert found.points == (36, 36, 24)
    assert found.shifts == (9, 9, 6)


def test_where_nothing_varies_no_layer_is_best() -> None:
    scores, layers = sweep(layers=("input",))
    layers["corrected"] = [0.5] * len(layers["corrected"])
    (found,) = associations(scores, layers)
    assert found.best is None
    assert np.isnan([found.correlation, found.low, found.high]).all()


def test_folds_are_averaged_by_pruning_and_shift() -> None:
    """Worked by hand: losses 0.25 and 0.5, distances 0.5 and 1; the third fold has no head."""
    dark = SHIFTS[0]
    losses, distances = (0.25, 0.5), (0.5, 1.0)
    scores, rows = [], []
    for fold, (lost, far) in enumerate(zip(losses, distances, strict=True)):
        who = {"model_id": f"m{fold}"}
        scores += [score(ORIGINAL, 0.75, fold=fold, **who)]
        scores += [score(shift, 0.75 - lost, fold=fold, **who) for shift in SHIFTS[:4]]
        rows += [distance(shift, far, **who) for shift in SHIFTS[:4]]
        if fold == 0:
            rows.append(distance(dark, 0.125, layer="head", **who))
    (found,) = associations(scores, as_layers(rows))
    means = found.means()
    assert len(means) == 4
    first = next(mean for mean in means if mean.change.factor == dark.factor)
    half = 0.25 / math.sqrt(2)
    assert first[:2] == ("baseline", found.joined.points[0].change)
    assert first[2:4] == pytest.approx((0.375, half))
    assert first.distances == (0.75, 0.125)
    assert first.sd_distances == pytest.approx((2 * half, math.nan), nan_ok=True)
    assert first.folds == 2
    assert first.low == pytest.approx((0.75 - HALF, math.nan), nan_ok=True)
    assert first.high == pytest.approx((0.75 + HALF, math.nan), nan_ok=True)


def test_one_fold_has_no_deviation() -> None:
    (found,) = associations(*sweep(folds=1, layers=("input",)))
    for mean in found.means():
        assert isinstance(mean, Mean)
        assert mean.folds == 1
        assert math.isnan(mean.sd_loss)
        assert math.isnan(mean.sd_distances[0])


def test_an_ensemble_without_features_is_no_point() -> None:
    scores, layers = sweep()
    together = [replace(one, fold=-1, model_id="all") for one in scores]
    (found,), (same,) = associations(scores, layers), associations([*scores, *together], layers)
    assert found.joined.points == same.joined.points


def test_points_stand_by_kind_and_factor_of_their_shift() -> None:
    (found,) = associations(*sweep(layers=("input",), shifts=SHIFTS[::-1]))
    changes = [point.change for point in found.joined.points]
    assert list(dict.fromkeys((each.shift, each.factor) for each in changes)) == [
        (shift.kind.value, shift.factor) for shift in SHIFTS
    ]
