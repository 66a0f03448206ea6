from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from definitions import CUMULATED, DEFINITIONS, SQUARED, Channel
from skiptool.comparison.binned import Bins, Design, measure_channels, metrics_on_bins
from skiptool.comparison.counts import Counts
from skiptool.comparison.estimates import Estimates
from skiptool.comparison.sets import Settings
from skiptool.comparison.units import Units
from skiptool.distances.counting import (
    count,
    equal_width,
    extent,
    joint_range,
    quantile_bins,
    sweep,
)
from skiptool.names import Metric, RangeRule
from small_activations import activations

ON_BINS = tuple(Metric(name) for name in DEFINITIONS)


def alone(images: int) -> Units:
    return Units(np.arange(images), np.arange(images))


def design(n: int, m: int, *labellings: list[int], paired: bool = False) -> Design:
    rows = np.array([list(range(n)), *labellings], dtype=np.int32)
    return Design(alone(n), alone(m), paired, rows)


def layer(x: Any, y: Any, settings: Settings, width: int = 9, **how: Any) -> Bins:  # noqa: ANN401
    """Count two arrays (N, D, K) as :func:`measure_channels` takes them."""
    joint = joint_range(extent(x), extent(y))
    many = len(settings.bins) > 1
    binning = how.get("binning") or (
        sweep(joint, settings.bins)
        if many
        else equal_width(joint, settings.bins[0], literal=settings.literal)
    )
    both = []
    for each in (x, y):
        both.append(Counts((*each.shape[:2], binning.counters), each.shape[2], width, 10**9))
        both[-1].put(0, count(each, binning))
    wanted = how.get("design") or design(len(x), len(y))
    return Bins(binning, both[0], both[1], (x.shape[2], y.shape[2]), wanted, settings)


def pair() -> tuple[Any, Any]:
    return activations(6, 0)["enc1"], activations(4, 1, 0.5)["enc1"]


def test_the_order_is_metrics_then_bins() -> None:
    settings = Settings(
        metrics=(Metric.KL, Metric.WASSERSTEIN_EXACT, Metric.HELLINGER), bins=(4, 2)
    )
    kl, h = Metric.KL, Metric.HELLINGER
    assert metrics_on_bins(settings) == [(kl, 4), (kl, 2), (h, 4), (h, 2)]
    found = measure_channels(layer(*pair(), settings), 0)
    x, y = pair()
    for (metric, bins), part in zip(metrics_on_bins(settings), found, strict=True):
        single = layer(x, y, Settings(metrics=(metric,), bins=(bins,)))
        np.testing.assert_array_equal(measure_channels(single, 0)[0].values, part.values)


@pytest.mark.parametrize("metric", ON_BINS)
def test_values_and_their_resampling_by_hand(metric: Metric) -> None:
    x, y = pair()
    rows = [[0, 1, 2, 3, 4, 9], [4, 5, 6, 7, 8, 9]]
    settings = Settings(metrics=(metric,), bins=(5,))
    (part,) = measure_channels(layer(x, y, settings, design=design(6, 4, *rows)), 0)
    binning = equal_width(joint_range(extent(x), extent(y)), 5)
    pooled = np.concatenate([count(x, binning), count(y, binning)]).astype(np.float64)
    define = DEFINITIONS[metric.value]

    def between(first: list[int], channel: int, out: tuple[int, ...] = ()) -> float:
        p = sum(pooled[i, channel] for i in first if i not in out)
        q = sum(pooled[i, channel] for i in range(10) if i not in first and i not in out)
        return define(p / p.sum(), q / q.sum())

    own = list(range(6))
    assert part.null is not None
    for channel in range(3):
        assert part.values[channel] == pytest.approx(between(own, channel), abs=1e-12)
        for number, row in enumerate([own, *rows]):
            assert part.null[channel, number] == pytest.approx(between(row, channel), abs=1e-12)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("metric", ON_BINS)
def test_estimates_follow_from_the_definitions(metric: Metric, paired: bool) -> None:
    x, y = activations(12, 0)["enc1"], activations(12 if paired else 9, 1, 0.5)["enc1"]
    x[:, 2] = y[:, 2] = 0  # constant
    x[0, 1], y[:, 1], x[1:, 1] = 1, 0, 0  # in one image only
    how = design(len(x), len(y), paired=paired)
    (part,) = measure_channels(layer(x, y, Settings(metrics=(metric,), bins=(9,)), design=how), 0)
    found = part.estimates
    assert found is not None
    assert found.squared == (metric.value in SQUARED)
    images = ([[i] for i in range(len(x))], [[i] for i in range(len(y))])
    for d in range(3):
        known = Channel(x[:, d], y[:, d], images, metric.value, 9).estimate(paired)
        assert found.bins[d] == known.bins
        assert found.plain[d] == pytest.approx(known.plain, abs=1e-12)
        assert found.corrected[d] == pytest.approx(known.corrected, abs=1e-9)
        ceiling = known.ceiling**2 if found.squared else known.ceiling
        assert found.ceiling[d] == pytest.approx(ceiling, abs=1e-12)
        for mine, theirs in zip(found.replicates, known.replicates, strict=True):
            np.testing.assert_allclose(mine[d], theirs, atol=1e-9)
    assert [each.shape for each in found.replicates] == ([(3, 12)] if paired else [(3, 12), (3, 9)])


@pytest.mark.parametrize("metric", ON_BINS)
@pytest.mark.parametrize("width", [1, 2])
def test_blocks_of_channels_are_equal_to_the_bit(width: int, metric: Metric) -> None:
    x, y = (np.concatenate([each] * 3, axis=1) for each in pair())
    settings = Settings(metrics=(metric,), bins=(50,))
    how = design(6, 4, [0, 1, 2, 3, 4, 9], [1, 3, 5, 7, 8, 9])
    (whole,) = measure_channels(layer(x, y, settings, design=how), 0)
    narrow = layer(x, y, settings, width, design=how)
    parts = [measure_channels(narrow, first)[0] for first in range(0, 9, width)]
    for name in ("values", "null", "occupied", "used"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
    estimates = [part.estimates for part in parts if part.estimates is not None]
    again = Estimates.joined(estimates)
    assert whole.estimates is not None
    for name in ("plain", "corrected", "bins", "ceiling"):
        np.testing.assert_array_equal(
            getattr(again, name), getattr(whole.estimates, name), err_msg=name
        )
    for mine, theirs in zip(again.replicates, whole.estimates.replicates, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # Sums over units, too: they run along memory in all blocks alike.
    assert all(each.flags.c_contiguous for part in estimates for each in part.replicates)


@pytest.mark.parametrize("metric", ON_BINS)
def test_a_set_of_one_image_has_no_interval(metric: Metric) -> None:
    x, y = pair()
    settings = Settings(metrics=(metric,), bins=(5,))
    for n, m in ((1, 4), (6, 1), (1, 1)):
        (part,) = measure_channels(layer(x[:n], y[:m], settings), 0)
        assert part.estimates is not None
        assert np.isnan(part.estimates.corrected).all()
        assert np.isfinite(part.values).all()
    both = design(1, 1, paired=True)
    (part,) = measure_channels(layer(x[:1], y[:1], settings, design=both), 0)
    assert part.estimates is not None
    assert np.isnan(part.estimates.corrected).all()


@pytest.mark.parametrize("metric", ON_BINS)
def test_a_relabelling_that_changes_nothing_is_a_tie(metric: Metric) -> None:
    """Paired sets that differ in one value: whoever plays the reference, the distance is one."""
    x = np.abs(np.random.default_rng(0).normal(size=(40, 1, 64))).astype(np.float16)
    y = x.copy()
    y[3, 0, 5] *= np.float16(1.5)
    rows = np.sort(np.arange(40) + 40 * np.random.default_rng(1).integers(0, 2, (30, 40)), axis=1)
    settings = Settings(metrics=(metric,))
    how = design(40, 40, *rows.tolist(), paired=True)
    (part,) = measure_channels(layer(x, y, settings, design=how), 0)
    assert part.null is not None
    assert part.values[0] > 0
    if metric is not Metric.KL:  # which is not symmetric
        assert set(part.null[0].tolist()) == {part.null[0, 0]}


def occupied_and_used(*values: float, bins: int = 10, **how: Any) -> tuple[float, float]:  # noqa: ANN401
    x = np.array(values, dtype=np.float64).reshape(1, 1, -1)
    (part,) = measure_channels(layer(x, x, Settings(bins=(bins,)), **how), 0)
    assert part.occupied is not None
    assert part.used is not None
    return float(part.occupied[0]), float(part.used[0])


def test_effective_bins_and_range_used_by_hand() -> None:
    assert occupied_and_used(*range(11)) == (10, 1.0)
    assert occupied_and_used(0, 0, 10, 10) == (2, 1.0)
    assert occupied_and_used(5, 5, 5) == (1, 0.1)
    # One of 2,000 values far away: the middle 99.8 % are in the first two bins.
    assert occupied_and_used(*[0.0, 15.0] * 1000, 99.0) == (3, 0.2)
    assert occupied_and_used(-99.0, *[0.0, -15.0] * 1000) == (3, 0.2)
    # One of 500 is 0.2 % of the values: it counts.
    assert occupied_and_used(*[0.0] * 499, 99.0) == (2, 1.0)


def test_a_thousandth_is_left_out_on_either_side() -> None:
    # Each of 1,000 values counts twice, so one is a thousandth of them.
    assert occupied_and_used(*[50.0] * 999, 0.0, bins=100)[1] == 0.01
    assert occupied_and_used(*[50.0] * 998, 0.0, 0.0, bins=100)[1] == 1.0


def test_bins_of_equal_shares_have_no_range() -> None:
    x, y = pair()
    edges = np.tile(np.array([0.5, 1.0]), (3, 1))
    settings = Settings(bins=(3,), range_rule=RangeRule.QUANTILE)
    (part,) = measure_channels(layer(x, y, settings, binning=quantile_bins(edges)), 0)
    assert part.used is None
    assert part.occupied is not None


def test_the_literal_reading_has_values_only() -> None:
    # Four bins of width 1: p = (1, 1, 1, 0) / 4, q = (1, 1, 0, 0) / 4, the maximum is in no bin.
    x, y = np.array([[[0.0, 1.0, 2.0, 4.0]]]), np.array([[[0.0, 1.0, 4.0, 4.0]]])
    settings = Settings(bins=(4,), range_rule=RangeRule.LITERAL)
    (part,) = measure_channels(layer(x, y, settings), 0)
    np.testing.assert_allclose(part.values, [np.sqrt(1 - 2 / 4)])
    assert (part.estimates, part.null, part.occupied, part.used) == (None, None, None, None)


def grouped(*sizes: int) -> Units:
    return Units(np.arange(sum(sizes)), np.append(0, np.cumsum(sizes)[:-1]))


@pytest.mark.parametrize("metric", ON_BINS)
@pytest.mark.parametrize("which", [0, 1])
def test_units_of_both_sets_weigh_equally_when_relabelled(metric: Metric, which: int) -> None:
    """The units of one set are alike, so only those of the other are scaled to one total."""
    x, y = activations(8, 0)["enc1"], activations(11, 1, 0.3)["enc1"]
    units = (grouped(2, 2, 2, 2), grouped(2, 3, 2, 2, 2))
    if which:
        x, y, units = y, x, units[::-1]
    n, m = map(len, units)
    rows = [list(range(n)), [0, *range(2, n + 1)], list(range(m, n + m))]
    how = Design(*units, paired=False, labellings=np.array(rows, dtype=np.int32))
    (part,) = measure_channels(layer(x, y, Settings(metrics=(metric,), bins=(6,)), design=how), 0)
    members = tuple(
        [each.order[a : a + size].tolist() for a, size in zip(each.first, each.sizes, strict=True)]
        for each in units
    )
    assert part.null is not None
    for d in range(3):
        known = Channel(x[:, d], y[:, d], members, metric.value, 6)
        np.testing.assert_allclose(part.null[d], known.null(np.array(rows[1:])), rtol=1e-6)
        assert part.values[d] == pytest.approx(known.value, rel=1e-9)


@pytest.mark.parametrize("metric", ON_BINS)
def test_the_distance_on_pooled_bins_is_no_larger(metric: Metric) -> None:
    settings = Settings(metrics=(metric,), bins=(50,))
    (part,) = measure_channels(layer(*pair(), settings), 0)
    assert part.estimates is not None
    plain, ceiling = part.estimates.plain, part.estimates.ceiling
    assert (plain <= ceiling + 1e-5 * (metric is Metric.KL) + 1e-12).all()
    if metric.value not in CUMULATED:
        assert (part.estimates.bins < 50).all()
        assert (plain < ceiling).any()
