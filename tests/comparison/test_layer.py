"""Tests of ``layer``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import wasserstein_distance

from definitions import CUMULATED, DEFINITIONS, SQUARED, Channel
from skiptool.comparison.activations import Settings, count_blocks, extents
from skiptool.comparison.buffers import Counts
from skiptool.comparison.layer import (
    Design,
    LayerCounts,
    PairComparison,
    binned_metrics,
    exact_wasserstein,
    layer_binning,
    measure_channels,
    measure_layer,
    measure_unbinned,
)
from skiptool.comparison.results import ChannelEstimates
from skiptool.comparison.units import EqualDraw, Units, paired_units
from skiptool.distances.bins import (
    equal_width,
    joint_range,
    merge_counts,
    quantile_bins,
    sweep_binning,
)
from skiptool.distances.counting import activation_extremes, count_activations
from skiptool.errors import ArgumentError
from skiptool.names import Metric, RangeRule
from skiptool.records import SILENT
from small_activations import ONE, PLAIN, Noted, activations, threads
from small_stores import refused
from strategies import SEEDS, grid_values


def comparison(x: Any, y: Any, settings: Settings = PLAIN, workers: int = 1) -> PairComparison:  # noqa: ANN401
    sets = (Noted({"enc1": x}), Noted({"enc1": y}))
    first, second, paired = paired_units(*sets, settings)
    labellings = np.arange(len(first), dtype=np.int32)[np.newaxis].repeat(2, axis=0)
    design = Design(first, second, paired, labellings)
    with SILENT.task("", 0) as task:
        return PairComparison(sets, design, settings, threads(workers), task)


def pair() -> tuple[Any, Any]:
    return activations(6)["enc1"], activations(4, 1, 0.5)["enc1"]


def test_one_result_for_each_metric_and_number_of_bins() -> None:
    metrics = (Metric.REPRESENTATION_SHIFT, Metric.KL, Metric.WASSERSTEIN_EXACT, Metric.HELLINGER)
    settings = Settings(metrics=metrics, bins=(4, 8), permutations=1)
    found = measure_layer(comparison(*pair(), settings), "enc1")
    told = [(each.metric, each.bins, each.range_rule) for each in found]
    rule = RangeRule.MINMAX
    assert sorted(told, key=str) == sorted(
        [
            *((metric, bins, rule) for metric in (Metric.KL, Metric.HELLINGER) for bins in (4, 8)),
            (Metric.REPRESENTATION_SHIFT, None, None),
            (Metric.WASSERSTEIN_EXACT, None, None),
        ],
        key=str,
    )
    assert {(each.layer, each.index) for each in found} == {("enc1", 0)}


def test_the_hellinger_distance_by_hand() -> None:
    # Four bins of width 1: p = (1, 1, 1, 1) / 4, q = (1, 1, 0, 2) / 4.
    x, y = np.array([[[0.0, 1, 2, 4], [3, 3, 3, 3]]]), np.array([[[0.0, 1, 4, 4], [3, 3, 3, 3]]])
    (found,) = measure_layer(comparison(x, y, replace(PLAIN, bins=(4,))), "enc1")
    h = np.sqrt(1 - (1 / 4 + 1 / 4 + np.sqrt(2) / 4))
    np.testing.assert_allclose(found.channels["value"], [h, 0], atol=1e-12)
    assert found.mean["value"] == pytest.approx(h / 2)
    assert found.mean["value_live"] == pytest.approx(h)
    assert found.constant.tolist() == [False, True]


def test_means_are_computed_for_the_representation_shift_only() -> None:
    x, y = pair()
    metrics = (Metric.HELLINGER, Metric.REPRESENTATION_SHIFT)
    _, shift = measure_layer(comparison(x, y, replace(PLAIN, metrics=metrics)), "enc1")
    known = [
        np.abs(np.sort(np.repeat(x[:, d].astype(float).mean(1), 4))
               - np.sort(np.repeat(y[:, d].astype(float).mean(1), 6))).mean()
        for d in range(3)
    ]  # fmt: skip
    np.testing.assert_allclose(shift.channels["value"], known, rtol=1e-12)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("size", [1, 2000, 10**9])
def test_counts_stay_within_their_share_of_memory(
    size: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare the requested memory of counts and blocks with the budget."""
    made: list[tuple[int, int, int]] = []
    real = Counts.__init__

    def noting(self: Counts, shape: Any, vectors: int, width: int, limit: int) -> None:  # noqa: ANN401
        made.append((shape[0], width, limit))
        real(self, shape, vectors, width, limit)

    monkeypatch.setattr(Counts, "__init__", noting)
    monkeypatch.setattr(Settings, "budget", property(lambda _: size))
    settings = replace(PLAIN, workers=workers)
    (found,) = measure_layer(comparison(*pair(), settings, workers), "enc1")
    assert [images for images, _, _ in made] == [6, 4]
    assert sum(limit for *_, limit in made) <= size
    assert made[0][1] == made[1][1] >= 1
    assert len(found.channels["value"]) == 3


def test_temporary_files_are_gone_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    real = Counts.__exit__

    def noting(self: Counts, *error: object) -> None:
        real(self, *error)
        closed.append(self.in_memory)

    monkeypatch.setattr(Counts, "__exit__", noting)
    monkeypatch.setattr(Settings, "budget", property(lambda _: 1))
    x, y = pair()
    wrong = comparison(x, y)
    monkeypatch.setattr(Counts, "put", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure_layer(wrong, "enc1")
    assert closed == [False]


RULES = [rule for rule in RangeRule if rule is not RangeRule.LITERAL]
DTYPES = [(np.float16, np.float16), (np.float32, np.float32), (np.float16, np.float32)]


def settings(rule: RangeRule, *bins: int) -> Settings:
    return Settings(range_rule=rule, bins=bins or (8,))


def counts(x: Any, y: Any, how: Settings, bins: int | None = None) -> tuple[Any, Any]:  # noqa: ANN401
    """Return counts (D, B) of two arrays (N, D, K) by the rule, over all images."""
    sets = [Noted({"f": each}, chunk=2) for each in (x, y)]
    bounds = [extents(each, "f", ONE) for each in sets]
    binning = layer_binning(sets[0], sets[1], "f", bounds, how)
    totals = []
    for each in sets:
        blocks = count_blocks(each, "f", binning, ONE, means=False)
        whole = np.concatenate([block.counts[0] for block in blocks]).sum(axis=0)
        totals.append(merge_counts(whole, binning, how.bins[0] if bins is None else bins))
    return totals[0], totals[1]


def ends(x: Any, y: Any, rule: RangeRule) -> tuple[float, float]:  # noqa: ANN401
    """Range of the values of one channel by a rule, from its definition."""
    if rule is RangeRule.REFERENCE:
        return float(x.min()), float(x.max())
    pooled = np.sort(np.concatenate([x.ravel(), y.ravel()]).astype(np.float64))
    if rule is RangeRule.MINMAX:
        return float(pooled[0]), float(pooled[-1])
    ranks = [
        next(i for i in range(len(pooled)) if (i + 1) / len(pooled) >= s) for s in (0.001, 0.999)
    ]
    return float(pooled[ranks[0]]), float(pooled[ranks[1]])


def by_rule(x: Any, y: Any, rule: RangeRule, bins: int) -> list[Any]:  # noqa: ANN401
    """Count (B,) the values of both sets of one channel, value by value."""
    low, high = ends(x, y, rule)
    found = []
    for values in (x, y):
        row = np.zeros(bins, dtype=np.int64)
        for value in values.ravel().astype(np.float64):
            if low == high:  # below, on and above it
                place = 0 if value < low else bins // 2 if value == low else bins - 1
                place = 0 if x.min() == x.max() == y.min() == y.max() else place
            else:
                place = int(np.floor((min(max(value, low), high) - low) * bins / (high - low)))
            row[min(place, bins - 1)] += 1
        found.append(row)
    return found


@st.composite
def channels(draw: st.DrawFn, dtype: type) -> Any:  # noqa: ANN401
    shape = (draw(st.integers(1, 4)), 2, draw(st.integers(1, 5)))
    return draw(npst.arrays(dtype, shape, elements=grid_values(12)))


@pytest.mark.parametrize("rule", [RangeRule.MINMAX, RangeRule.REFERENCE, RangeRule.PERCENTILES])
@pytest.mark.parametrize(("first", "second"), DTYPES)
@given(data=st.data(), bins=st.integers(1, 12))
def test_equal_width_rules(
    rule: RangeRule, first: type, second: type, data: st.DataObject, bins: int
) -> None:
    x, y = data.draw(channels(first)), data.draw(channels(second))
    found = counts(x, y, settings(rule, bins))
    for channel in range(2):
        expected = by_rule(x[:, channel], y[:, channel], rule, bins)
        for row, known in zip(found, expected, strict=True):
            np.testing.assert_array_equal(row[channel], known)


@pytest.mark.parametrize(("first", "second"), DTYPES)
@pytest.mark.parametrize("images", [5, 700])
def test_percentiles_exclude_a_thousandth_on_either_side(
    images: int, first: type, second: type
) -> None:
    rng = np.random.default_rng(images)
    x = rng.normal(size=(images, 1, 3)).astype(first)
    y = rng.normal(size=(images // 2 + 1, 1, 3)).astype(second)
    x[0, 0, 0] = 60_000  # an outlier, which all but the end bins ignore
    found = counts(x, y, settings(RangeRule.PERCENTILES, 20))
    for row, known in zip(found, by_rule(x, y, RangeRule.PERCENTILES, 20), strict=True):
        np.testing.assert_array_equal(row[0], known)
    if images == 700:
        assert (found[0] > 0).sum() == 20


@pytest.mark.parametrize(("first", "second"), DTYPES)
@given(data=st.data(), bins=st.integers(1, 9))
def test_quantile_bins_hold_equal_shares_as_far_as_ties_allow(
    first: type, second: type, data: st.DataObject, bins: int
) -> None:
    x, y = data.draw(channels(first)), data.draw(channels(second))
    found = counts(x, y, settings(RangeRule.QUANTILE, bins))
    for channel in range(2):
        pooled = np.sort(np.concatenate([x[:, channel].ravel(), y[:, channel].ravel()]))
        n = len(pooled)
        edges = [
            pooled[next(i for i in range(n) if (i + 1) / n >= b / bins)] for b in range(1, bins)
        ]
        for row, values in zip(found, (x, y), strict=True):
            known = np.zeros(bins, dtype=np.int64)
            for value in values[:, channel].ravel():
                known[sum(edge <= value for edge in edges)] += 1  # an edge opens a bin
            np.testing.assert_array_equal(row[channel], known)


def test_quantiles_of_distinct_values_split_them_evenly() -> None:
    values = np.random.default_rng(0).permutation(1000).astype(np.float32).reshape(10, 1, 100)
    found = counts(values[:6], values[6:], settings(RangeRule.QUANTILE, 10))
    assert set(np.add(*found)[0].tolist()) <= {99, 100, 101}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_quantiles_compare_shares_to_avoid_rounding(dtype: type) -> None:
    """0.07 times 100 values is 7.000000000000001, but seven of them are enough."""
    values = np.arange(100, dtype=dtype).reshape(10, 1, 10)
    found = np.add(*counts(values[:5], values[5:], settings(RangeRule.QUANTILE, 100)))
    assert found.tolist() == [[0, *[1] * 98, 2]]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 5000.0])
@pytest.mark.parametrize("rule", [RangeRule.PERCENTILES, RangeRule.QUANTILE])
def test_rules_do_not_depend_on_the_scale_of_float32(
    rule: RangeRule, offset: float, scale: float
) -> None:
    """Values beyond the resolution or range of float16 are still divided into bins."""
    rng = np.random.default_rng(1)
    x, y = (rng.integers(0, 64, size=(40, 2, 8)) / 64 + offset for _ in range(2))
    plain = counts(x.astype(np.float64), y.astype(np.float64), settings(rule, 6))
    factor = 2.0 ** round(np.log2(scale))
    moved = counts(
        (x * factor).astype(np.float32), (y * factor).astype(np.float32), settings(rule, 6)
    )
    np.testing.assert_array_equal(plain, moved)
    assert (plain[0] > 0).all()


def test_values_other_than_a_constant_reference_get_separate_bins() -> None:
    x = np.full((2, 4, 3), 2.0, np.float16)
    y = np.full((2, 4, 3), 2.0, np.float16)
    y[:, 1], y[:, 2, 0], y[:, 3] = 3.0, 1.0, [0.0, 2.0, 4.0]
    found = counts(x, y, settings(RangeRule.REFERENCE, 9))
    np.testing.assert_array_equal(found[0][1:, 4], [6, 6, 6])
    np.testing.assert_array_equal(found[1][1], [0, 0, 0, 0, 0, 0, 0, 0, 6])
    np.testing.assert_array_equal(found[1][2], [2, 0, 0, 0, 4, 0, 0, 0, 0])
    np.testing.assert_array_equal(found[1][3], [2, 0, 0, 0, 2, 0, 0, 0, 2])
    assert (found[0][0] == found[1][0]).all()  # constant in both: at 0


@pytest.mark.parametrize("value", [0.0, -7.0, 65_504.0, 2.0**-24, -(2.0**-149), 3e38])
def test_a_constant_reference_may_have_any_magnitude(value: float) -> None:
    x = np.full((1, 1, 4), value, np.float32)
    y = np.nextafter(x, np.float32(np.inf))
    z = np.nextafter(x, np.float32(-np.inf))
    for bins in (3, 100, 4096):
        how = settings(RangeRule.REFERENCE, bins)
        assert counts(x, y, how)[1][0, -1] == 4
        assert counts(x, z, how)[1][0, 0] == 4
        assert counts(x, np.concatenate([x, y]), how)[1][0, bins // 2] == 4


@pytest.mark.parametrize("rule", [r for r in RULES if r is not RangeRule.QUANTILE])
def test_a_sweep_gives_the_counts_of_each_number_of_bins(rule: RangeRule) -> None:
    rng = np.random.default_rng(0)
    x, y = (np.maximum(rng.normal(size=(6, 3, 9)), 0).astype(np.float16) for _ in range(2))
    x[:, 2] = 0.5
    for bins in (3, 4, 10):
        alone = counts(x, y, settings(rule, bins))
        swept = counts(x, y, settings(rule, 3, 4, 10), bins)
        np.testing.assert_array_equal(alone, swept)


def test_a_sweep_without_a_common_grid_is_refused() -> None:
    x = np.zeros((1, 1, 1))
    with refused(ArgumentError, "997, 991", "rounder or fewer"):
        counts(x, x, settings(RangeRule.MINMAX, 997, 991, 2))


def budget(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(Settings, "budget", property(lambda _: size))


@pytest.mark.parametrize(("first", "second"), DTYPES)
@pytest.mark.parametrize("rule", [RangeRule.PERCENTILES, RangeRule.QUANTILE])
def test_results_do_not_depend_on_blocks_of_channels(
    rule: RangeRule, first: type, second: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(4, 7, 50)).astype(dtype) for dtype in (first, second))
    found = []
    for size in (1, 6000, 3_000_000, 10**9):
        budget(monkeypatch, size)
        found.append(counts(x, y, settings(rule)))
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


@pytest.mark.parametrize(("first", "second"), DTYPES)
@given(seed=SEEDS)
def test_exact_wasserstein_agrees_with_scipy(first: type, second: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(3, 4, 5)), 0).astype(first)
    y = np.maximum(rng.normal(size=(2, 4, 7)), 0.2).astype(second)
    sets = [Noted({"f": each}, chunk=2) for each in (x, y)]
    found = exact_wasserstein(*sets, "f", Settings())
    for channel in range(4):
        known = wasserstein_distance(
            x[:, channel].ravel().astype(float), y[:, channel].ravel().astype(float)
        )
        assert found[channel] == pytest.approx(known, rel=1e-12, abs=1e-15)


def test_exact_wasserstein_by_keys_and_by_sorting_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(5, 6, 11)).astype(np.float16) for _ in range(2))
    halves = [Noted({"f": each}) for each in (x, y)]
    floats = [Noted({"f": each.astype(np.float32)}) for each in (x, y)]
    found = []
    for size in (1, 3_000_000, 10**9):
        budget(monkeypatch, size)
        found.append(exact_wasserstein(*halves, "f", Settings()))
        np.testing.assert_allclose(
            exact_wasserstein(*floats, "f", Settings()), found[-1], rtol=1e-12
        )
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


def test_blocks_are_reread_only_if_memory_demands_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((3, 8, 2), np.float16)
    for size, passes in ((10**9, 1), (2 * 3 * 65_536 * 8, 4)):
        budget(monkeypatch, size)
        noted = Noted({"f": x}, chunk=10)
        exact_wasserstein(noted, Noted({"f": x}), "f", replace(Settings()))
        assert len(noted.reads) == passes


ON_BINS = tuple(Metric(name) for name in DEFINITIONS)


def alone(images: int) -> Units:
    return Units(np.arange(images), np.arange(images))


def design(n: int, m: int, *labellings: list[int], paired: bool = False) -> Design:
    rows = np.array([list(range(n)), *labellings], dtype=np.int32)
    return Design(alone(n), alone(m), paired, rows)


def layer(x: Any, y: Any, settings: Settings, width: int = 9, **how: Any) -> LayerCounts:  # noqa: ANN401
    """Count two arrays (N, D, K) as :func:`measure_channels` takes them."""
    joint = joint_range(activation_extremes(x), activation_extremes(y))
    many = len(settings.bins) > 1
    binning = how.get("binning") or (
        sweep_binning(joint, settings.bins)
        if many
        else equal_width(joint, settings.bins[0], literal=settings.literal)
    )
    both = []
    for each in (x, y):
        both.append(Counts((*each.shape[:2], binning.counters), each.shape[2], width, 10**9))
        both[-1].put(0, count_activations(each, binning))
    wanted = how.get("design") or design(len(x), len(y))
    return LayerCounts(binning, both[0], both[1], (x.shape[2], y.shape[2]), wanted, settings)


def pair_of_binned() -> tuple[Any, Any]:
    return activations(6, 0)["enc1"], activations(4, 1, 0.5)["enc1"]


def test_results_are_ordered_by_metric_then_bins() -> None:
    settings = Settings(
        metrics=(Metric.KL, Metric.WASSERSTEIN_EXACT, Metric.HELLINGER), bins=(4, 2)
    )
    kl, h = Metric.KL, Metric.HELLINGER
    assert binned_metrics(settings) == [(kl, 4), (kl, 2), (h, 4), (h, 2)]
    found = measure_channels(layer(*pair_of_binned(), settings), 0)
    x, y = pair_of_binned()
    for (metric, bins), part in zip(binned_metrics(settings), found, strict=True):
        single = layer(x, y, Settings(metrics=(metric,), bins=(bins,)))
        np.testing.assert_array_equal(measure_channels(single, 0)[0].values, part.values)


@pytest.mark.parametrize("metric", ON_BINS)
def test_values_and_their_resampling_by_hand(metric: Metric) -> None:
    x, y = pair_of_binned()
    rows = [[0, 1, 2, 3, 4, 9], [4, 5, 6, 7, 8, 9]]
    settings = Settings(metrics=(metric,), bins=(5,))
    (part,) = measure_channels(layer(x, y, settings, design=design(6, 4, *rows)), 0)
    binning = equal_width(joint_range(activation_extremes(x), activation_extremes(y)), 5)
    pooled = np.concatenate([count_activations(x, binning), count_activations(y, binning)]).astype(
        np.float64
    )
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
    x, y = (np.concatenate([each] * 3, axis=1) for each in pair_of_binned())
    settings = Settings(metrics=(metric,), bins=(50,))
    how = design(6, 4, [0, 1, 2, 3, 4, 9], [1, 3, 5, 7, 8, 9])
    (whole,) = measure_channels(layer(x, y, settings, design=how), 0)
    narrow = layer(x, y, settings, width, design=how)
    parts = [measure_channels(narrow, first)[0] for first in range(0, 9, width)]
    for name in ("values", "null", "occupied", "used"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
    estimates = [part.estimates for part in parts if part.estimates is not None]
    again = ChannelEstimates.concatenate(estimates)
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
    x, y = pair_of_binned()
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
def test_equivalent_relabellings_are_ties(metric: Metric) -> None:
    """Paired sets that differ in one value have the same distance in either direction."""
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


def test_range_used_leaves_out_a_thousandth_on_either_side() -> None:
    # Each of 1,000 values counts twice, so one is a thousandth of them.
    assert occupied_and_used(*[50.0] * 999, 0.0, bins=100)[1] == 0.01
    assert occupied_and_used(*[50.0] * 998, 0.0, 0.0, bins=100)[1] == 1.0


def test_quantile_bins_have_no_range_used() -> None:
    x, y = pair_of_binned()
    edges = np.tile(np.array([0.5, 1.0]), (3, 1))
    settings = Settings(bins=(3,), range_rule=RangeRule.QUANTILE)
    (part,) = measure_channels(layer(x, y, settings, binning=quantile_bins(edges)), 0)
    assert part.used is None
    assert part.occupied is not None


def test_literal_eq5_has_values_only() -> None:
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
    (part,) = measure_channels(layer(*pair_of_binned(), settings), 0)
    assert part.estimates is not None
    plain, ceiling = part.estimates.plain, part.estimates.ceiling
    assert (plain <= ceiling + 1e-5 * (metric is Metric.KL) + 1e-12).all()
    if metric.value not in CUMULATED:
        assert (part.estimates.bins < 50).all()
        assert (plain < ceiling).any()


SETTINGS = Settings()
SETS = (Noted(activations(5)), Noted(activations(4, 1, 0.3)))
X, Y = (each.arrays["enc1"].astype(np.float64).mean(axis=2) for each in SETS)
GROUPS = Units(np.array([0, 3, 1, 2, 4]), np.array([0, 2, 4]))
"""Images 0 and 3, 1 and 2, 4."""


def design_of_unbinned(
    first: Units, second: Units, *labellings: list[int], paired: bool = False
) -> Design:
    rows = np.array([list(range(len(first))), *labellings], dtype=np.int32)
    return Design(first, second, paired, rows)


def scipy_of(x: np.ndarray, y: np.ndarray) -> list[float]:
    return [float(wasserstein_distance(a, b)) for a, b in zip(x.T, y.T, strict=True)]


def test_exact_wasserstein_has_only_a_value() -> None:
    how = design_of_unbinned(alone(5), alone(4), [4, 5, 6, 7, 8])
    found = measure_unbinned(Metric.WASSERSTEIN_EXACT, SETS, "enc1", ((X,), (Y,)), how, SETTINGS)
    x, y = (each.arrays["enc1"].transpose(0, 2, 1).reshape(-1, 3).astype(float) for each in SETS)
    np.testing.assert_allclose(found.values, scipy_of(x, y), rtol=1e-12)
    assert (found.estimates, found.null) == (None, None)


def test_representation_shift_and_its_resampling() -> None:
    rows = [[0, 2, 4, 6, 8], [4, 5, 6, 7, 8]]
    how = design_of_unbinned(alone(5), alone(4), *rows)
    found = measure_unbinned(Metric.REPRESENTATION_SHIFT, SETS, "enc1", ((X,), (Y,)), how, SETTINGS)
    np.testing.assert_allclose(found.values, scipy_of(X, Y), rtol=1e-12)
    pooled = np.concatenate([X, Y])
    assert found.null is not None
    for number, row in enumerate([[0, 1, 2, 3, 4], *rows]):
        rest = [i for i in range(9) if i not in row]
        expected = scipy_of(pooled[row], pooled[rest])
        np.testing.assert_allclose(found.null[:, number], expected, rtol=1e-10)
    without = [
        np.array([scipy_of(np.delete(X, i, 0), Y) for i in range(5)]),
        np.array([scipy_of(X, np.delete(Y, i, 0)) for i in range(4)]),
    ]
    bias = sum((len(w) - 1) * (w.mean(axis=0) - found.values) for w in without)
    assert found.estimates is not None
    np.testing.assert_allclose(found.estimates.corrected, found.values - bias, rtol=1e-9)
    for each, known in zip(found.estimates.replicates, without, strict=True):
        np.testing.assert_allclose(each, (known - bias).T, rtol=1e-9)


def test_paired_units_are_left_out_together() -> None:
    how = design_of_unbinned(alone(4), alone(4), [0, 5, 6, 3], paired=True)
    found = measure_unbinned(
        Metric.REPRESENTATION_SHIFT, SETS, "enc1", ((X[:4],), (Y,)), how, SETTINGS
    )
    without = np.array([scipy_of(np.delete(X[:4], i, 0), np.delete(Y, i, 0)) for i in range(4)])
    bias = 3 * (without.mean(axis=0) - found.values)
    assert found.estimates is not None
    (replicates,) = found.estimates.replicates
    np.testing.assert_allclose(replicates, (without - bias).T, rtol=1e-9)


def test_units_are_means_of_their_images() -> None:
    found = measure_unbinned(
        Metric.REPRESENTATION_SHIFT,
        SETS,
        "enc1",
        ((X,), (Y,)),
        design_of_unbinned(GROUPS, alone(4)),
        SETTINGS,
    )
    units = np.array([X[[0, 3]].mean(axis=0), X[[1, 2]].mean(axis=0), X[4]])
    np.testing.assert_allclose(found.values, scipy_of(units, Y), rtol=1e-12)
    assert found.null is None
    assert found.estimates is not None
    assert [each.shape for each in found.estimates.replicates] == [(3, 3), (3, 4)]


@pytest.mark.parametrize("paired", [False, True])
def test_one_unit_has_no_interval(paired: bool) -> None:
    how = design_of_unbinned(alone(1), alone(1), paired=paired)
    found = measure_unbinned(
        Metric.REPRESENTATION_SHIFT, SETS, "enc1", ((X[:1],), (Y[:1],)), how, SETTINGS
    )
    assert found.estimates is not None
    assert np.isnan(found.estimates.corrected).all()
    assert np.isfinite(found.values).all()


def test_the_permutation_test_uses_means_of_the_equal_draw() -> None:
    few_x, few_y = X + 0.5, Y * 2.0
    rows = [[0, 1, 5], [2, 4, 6]]
    draw = EqualDraw(Units(np.array([3, 1, 4]), np.array([0, 1, 2])), alone(4))
    how = replace(design_of_unbinned(GROUPS, alone(4), *rows), draw=draw)
    found = measure_unbinned(
        Metric.REPRESENTATION_SHIFT, SETS, "enc1", ((X, few_x), (Y, few_y)), how, SETTINGS
    )
    units = np.array([X[[0, 3]].mean(axis=0), X[[1, 2]].mean(axis=0), X[4]])
    np.testing.assert_allclose(found.values, scipy_of(units, Y), rtol=1e-12)
    pooled = np.concatenate([few_x[[3, 1, 4]], few_y])
    assert found.null is not None
    for number, row in enumerate([[0, 1, 2], *rows]):
        rest = [i for i in range(7) if i not in row]
        np.testing.assert_allclose(
            found.null[:, number], scipy_of(pooled[row], pooled[rest]), rtol=1e-10
        )
