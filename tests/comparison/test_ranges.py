from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import wasserstein_distance

from skiptool.comparison.ranges import binning_of, exact_wasserstein
from skiptool.comparison.reading import counted, extents
from skiptool.comparison.sets import Settings
from skiptool.distances.counting import merged
from skiptool.errors import ArgumentError
from skiptool.names import RangeRule
from small_activations import ONE, Noted
from small_stores import refused
from strategies import SEEDS, grid_values

RULES = [rule for rule in RangeRule if rule is not RangeRule.LITERAL]
DTYPES = [(np.float16, np.float16), (np.float32, np.float32), (np.float16, np.float32)]


def settings(rule: RangeRule, *bins: int) -> Settings:
    return Settings(range_rule=rule, bins=bins or (8,))


def counts(x: Any, y: Any, how: Settings, bins: int | None = None) -> tuple[Any, Any]:  # noqa: ANN401
    """Return counts (D, B) of two arrays (N, D, K) by the rule, over all images."""
    sets = [Noted({"f": each}, chunk=2) for each in (x, y)]
    bounds = [extents(each, "f", ONE) for each in sets]
    binning = binning_of(sets[0], sets[1], "f", bounds, how)
    totals = []
    for each in sets:
        blocks = counted(each, "f", binning, ONE, means=False)
        whole = np.concatenate([block.counts[0] for block in blocks]).sum(axis=0)
        totals.append(merged(whole, binning, how.bins[0] if bins is None else bins))
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
def test_percentiles_leave_a_thousandth_outside(images: int, first: type, second: type) -> None:
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
def test_shares_are_compared_where_products_round(dtype: type) -> None:
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
    """What float16 cannot tell apart, or cannot hold, is still divided."""
    rng = np.random.default_rng(1)
    x, y = (rng.integers(0, 64, size=(40, 2, 8)) / 64 + offset for _ in range(2))
    plain = counts(x.astype(np.float64), y.astype(np.float64), settings(rule, 6))
    factor = 2.0 ** round(np.log2(scale))
    moved = counts(
        (x * factor).astype(np.float32), (y * factor).astype(np.float32), settings(rule, 6)
    )
    np.testing.assert_array_equal(plain, moved)
    assert (plain[0] > 0).all()


def test_a_reference_that_is_constant_sets_apart_what_differs_from_it() -> None:
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
def test_a_constant_reference_of_any_size(value: float) -> None:
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
def test_parts_of_channels_do_not_show(
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
def test_exact_wasserstein_is_that_of_scipy(first: type, second: type, seed: int) -> None:
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


def test_parts_read_no_more_often_than_memory_demands(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((3, 8, 2), np.float16)
    for size, passes in ((10**9, 1), (2 * 3 * 65_536 * 8, 4)):
        budget(monkeypatch, size)
        noted = Noted({"f": x}, chunk=10)
        exact_wasserstein(noted, Noted({"f": x}), "f", replace(Settings()))
        assert len(noted.reads) == passes
