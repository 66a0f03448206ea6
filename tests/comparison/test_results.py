"""Tests of ``results``."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import definitions
from definitions import Estimate, channel_interval, layer_interval, noise_of
from skiptool.comparison.results import (
    BlockResult,
    ChannelEstimates,
    LayerResult,
    channel_intervals,
    combine_blocks,
    layer_estimate,
)
from skiptool.names import Metric
from strategies import SEEDS

if TYPE_CHECKING:
    from skiptool.records import Bool

D, U, V, R = 7, 5, 4, 19


def combined(
    parts: list[BlockResult],
    constant: Bool,
    *,
    bounded: bool = True,
    least_p: float = 0.0,
) -> LayerResult:
    empty = LayerResult("enc1", 0, Metric.HELLINGER, 8, None, constant)
    return combine_blocks(empty, parts, bounded=bounded, least_p=least_p)


def joined(parts: list[BlockResult], constant: Bool, **how: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401
    found = combined(parts, constant, **how)
    return found.channels, found.mean, found.null


CONSTANT = np.array([False, True, False, False, True, False, False])


def partial(seed: int = 0, *, squared: bool = True, low: float = -0.2) -> BlockResult:
    """Results of seven channels; the one before the last is unresolved."""
    rng = np.random.default_rng(seed)
    plain = rng.random(D)
    corrected = plain - rng.uniform(0, 0.3, D) + low
    replicates = tuple(
        corrected[:, np.newaxis] + rng.normal(scale=0.03, size=(D, size)) for size in (U, V)
    )
    bins = np.array([5, 1, 3, 2, 1, 1, 9])
    estimates = ChannelEstimates(squared, plain, corrected, replicates, bins, rng.random(D))
    return BlockResult(
        values=rng.random(D),
        estimates=estimates,
        null=rng.random((D, 1 + R)),
        occupied=rng.integers(1, 9, D).astype(np.float64),
        used=rng.random(D),
    )


def known(whole: BlockResult) -> list[Estimate]:
    """Return the estimates of a result in the form that the definitions expect."""
    found = whole.estimates
    assert found is not None
    return [
        Estimate(
            found.squared,
            float(found.plain[d]),
            float(found.corrected[d]),
            [each[d].tolist() for each in found.replicates],
            int(found.bins[d]),
            float(np.sqrt(found.ceiling[d]) if found.squared else found.ceiling[d]),
            bool(CONSTANT[d]),
        )
        for d in range(D)
    ]


def cut(whole: BlockResult, *ends: int) -> list[BlockResult]:
    """Cut a result into blocks of channels."""
    parts = []
    for a, b in pairwise([0, *ends, D]):
        block = slice(a, b)
        arrays: dict[str, Any] = {
            name: getattr(whole, name)[block] for name in ("values", "null", "occupied", "used")
        }
        found = whole.estimates
        assert found is not None
        estimates = ChannelEstimates(
            found.squared,
            found.plain[block],
            found.corrected[block],
            tuple(each[block] for each in found.replicates),
            found.bins[block],
            found.ceiling[block],
        )
        parts.append(BlockResult(**arrays, estimates=estimates))
    return parts


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("ends", [(3,), (1, 2, 3, 4, 5, 6), (1, 6)])
def test_results_have_equal_bits_for_any_blocks(ends: tuple[int, ...], squared: bool) -> None:
    whole = partial(squared=squared)
    channels, mean, null = joined([whole], CONSTANT)
    again, mean_again, null_again = joined(cut(whole, *ends), CONSTANT)
    assert mean == mean_again
    np.testing.assert_array_equal(null, null_again)
    for name, column in channels.items():
        np.testing.assert_array_equal(column, again[name], err_msg=name)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_layers_are_means_over_channels(seed: int, squared: bool) -> None:
    whole = partial(seed, squared=squared, low=(-0.3, 0.1)[seed % 2])
    _, mean, null = joined([whole], CONSTANT, bounded=False)
    assert whole.occupied is not None
    assert whole.used is not None
    assert whole.null is not None
    live = ~CONSTANT
    labelled = whole.null.mean(axis=0)
    np.testing.assert_allclose(null, labelled)
    lift = noise_of(labelled[1:].tolist(), squared)
    estimate, low, high, _ = layer_interval(known(whole), lift)
    p = (1 + (labelled[1:] >= labelled[0]).sum()) / (1 + R)
    for name, value in {
        "value": whole.values.mean(),
        "value_live": whole.values[live].mean(),
        "effective_bins": whole.occupied[live].mean(),
        "range_used": whole.used[live].mean(),
        "inference_bins": 4.0,
        "tested": labelled[0],
        "null_mean": labelled[1:].mean(),
        "p_value": p,
        "null_high": np.quantile(labelled[1:], 0.95),
        "unresolved_channels": 1,
        "corrected": max(estimate, 0.0),
        "ci_high": max(high, 0.0),
        "ci_low": max(low, 0.0) if p <= 0.05 else 0.0,
    }.items():
        assert mean[name] == pytest.approx(value, abs=1e-12), name


def test_a_layer_keeps_its_estimate_and_replicates() -> None:
    whole = partial()
    found = combined(cut(whole, 3), CONSTANT)
    estimate, _, _, replicates = layer_interval(known(whole), 0.0)
    assert found.estimate == pytest.approx(estimate)
    for each, expected in zip(found.replicates, replicates, strict=True):
        np.testing.assert_allclose(each, expected)


@pytest.mark.parametrize("squared", [True, False])
def test_channels_have_their_own_statistics(squared: bool) -> None:
    whole = partial(1, squared=squared, low=0.1)
    channels, _, _ = joined([whole], CONSTANT)
    assert whole.null is not None
    for d, each in enumerate(known(whole)):
        lift = noise_of(whole.null[d, 1:].tolist(), squared)
        estimate, low, high = channel_interval(each, lift)
        reached = (whole.null[d, 1:] >= whole.null[d, 0]).sum()
        assert channels["p_value"][d] == (1 + reached) / (1 + R)
        if (1 + reached) / (1 + R) > 0.05 and not each.unresolved:
            low = 0.0
        for name, end in {"corrected": estimate, "ci_low": low, "ci_high": high}.items():
            assert channels[name][d] == pytest.approx(np.clip(end, 0, 1), abs=1e-12, nan_ok=True)
        assert channels["inference_bins"][d] == each.bins
        assert channels["unresolved_channels"][d] == each.unresolved


def apart(rank: int) -> BlockResult:
    """Far from 0 in every channel, with ``rank`` of R = 19 relabellings at least as far."""
    null = np.tile(np.append(0.5, np.where(np.arange(R) < rank, 0.6, 0.4)), (D, 1))
    corrected = np.full(D, 0.25)
    replicates = (np.full((D, U), 0.25), np.full((D, V), 0.25))
    estimates = ChannelEstimates(True, corrected, corrected, replicates, np.full(D, 4), corrected)
    return BlockResult(np.full(D, 0.5), estimates, null)


@pytest.mark.parametrize(
    ("rank", "least", "low"), [(0, 0.0, 0.5), (1, 0.0, 0.0), (0, 0.05, 0.5), (0, 0.051, 0.0)]
)
def test_intervals_reach_0_unless_the_test_is_significant(
    rank: int, least: float, low: float
) -> None:
    channels, mean, _ = joined([apart(rank)], np.zeros(D, np.bool_), least_p=least)
    assert mean["ci_low"] == pytest.approx(low)
    np.testing.assert_allclose(channels["ci_low"], low)
    assert mean["ci_high"] == mean["corrected"] == pytest.approx(0.5)
    for p in (mean["p_value"], *channels["p_value"]):
        assert p == pytest.approx(np.nan if least > 0.05 else (1 + rank) / 20, nan_ok=True)
    assert mean["tested"] == 0.5


def test_without_a_test_intervals_do_not_change() -> None:
    channels, mean, null = joined([replace(apart(5), null=None)], np.zeros(D, np.bool_))
    assert null is None
    assert mean["ci_low"] == pytest.approx(0.5)
    np.testing.assert_allclose(channels["ci_low"], 0.5)
    assert "p_value" not in mean


def test_unresolved_channels_and_layers_of_them_have_no_interval() -> None:
    whole = apart(5)
    assert whole.estimates is not None
    estimates = replace(whole.estimates, bins=np.array([1, 1, 1, 1, 4, 4, 4]))
    channels, mean, _ = joined([replace(whole, estimates=estimates)], np.zeros(D, np.bool_))
    assert mean["unresolved_channels"] == 4
    assert np.isnan([mean["corrected"], mean["ci_low"], mean["ci_high"]]).all()
    for name in ("corrected", "ci_low", "ci_high"):
        assert np.isnan(channels[name]).tolist() == [True] * 4 + [False] * 3


def test_missing_statistics_have_no_column() -> None:
    channels, mean, null = joined([BlockResult(np.ones(D))], CONSTANT, bounded=True)
    assert set(channels) == {"value"}
    assert set(mean) == {"value", "value_live"}
    assert null is None


def test_a_layer_of_constant_channels() -> None:
    _, mean, _ = joined([partial()], np.ones(D, dtype=np.bool_), bounded=True)
    assert np.isnan([mean["value_live"], mean["effective_bins"], mean["range_used"]]).all()


def test_unbounded_distances_are_not_clipped_at_1() -> None:
    def at(value: float) -> BlockResult:
        where = np.full(D, value)
        replicates = (np.full((D, U), value), np.full((D, V), value))
        estimates = ChannelEstimates(False, where, where, replicates, np.full(D, 9), where)
        return BlockResult(np.ones(D), estimates)

    for name in ("corrected", "ci_low", "ci_high"):
        assert joined([at(5.0)], CONSTANT, bounded=False)[1][name] == 5.0
        assert joined([at(5.0)], CONSTANT, bounded=True)[1][name] == 1.0
        assert joined([at(-1.0)], CONSTANT, bounded=False)[1][name] == 0.0


def test_a_metric_without_bins_has_no_number_of_bins() -> None:
    whole = replace(partial(squared=False), occupied=None, used=None)
    channels, mean, _ = joined([whole], CONSTANT)
    assert "inference_bins" not in channels
    assert "inference_bins" not in mean


@st.composite
def estimates(
    draw: st.DrawFn, squared: bool | None = None
) -> tuple[ChannelEstimates, NDArray[Any]]:
    """Estimates of a few channels, clear ones and others; some constant, some unresolved."""
    rng = np.random.default_rng(draw(SEEDS))
    size = draw(st.integers(1, 9))
    squared = draw(st.booleans()) if squared is None else squared
    kinds = draw(st.lists(st.sampled_from("cwwzu"), min_size=size, max_size=size))
    kind = np.array(kinds)
    plain = np.where(kind == "c", rng.uniform(0.2, 0.9, size), rng.uniform(0, 0.1, size))
    corrected = plain - rng.uniform(0, 0.1, size)
    silent = (kind == "z") | (kind == "u")
    plain[silent] = corrected[silent] = 0.0
    units = draw(st.lists(st.integers(2, 6), min_size=1, max_size=2))
    noise = draw(st.sampled_from([0.002, 0.02]))
    replicates = []
    for number in units:
        away = rng.normal(scale=noise, size=(size, number))
        away[silent] = 0.0
        replicates.append(corrected[:, np.newaxis] + away)
    bins = np.where(silent, 1, rng.integers(2, 20, size))
    ceiling = np.where(kind == "z", 0.0, plain + rng.random(size))
    found = ChannelEstimates(squared, plain, corrected, tuple(replicates), bins, ceiling)
    return found, kind == "z"


def known_of_estimates(
    found: ChannelEstimates, constant: NDArray[Any]
) -> list[definitions.Estimate]:
    ceiling = np.sqrt(found.ceiling) if found.squared else found.ceiling
    return [
        definitions.Estimate(
            found.squared,
            float(found.plain[d]),
            float(found.corrected[d]),
            [each[d].tolist() for each in found.replicates],
            int(found.bins[d]),
            float(ceiling[d]),
            bool(constant[d]),
        )
        for d in range(len(found.plain))
    ]


@given(given_=estimates())
def test_layers_follow_from_the_definition(given_: tuple[ChannelEstimates, NDArray[Any]]) -> None:
    found, constant = given_
    layer = layer_estimate(found, constant, 0.02)
    value, low, high, replicates = layer_interval(known_of_estimates(found, constant), 0.02)
    ends = (layer.value, layer.low, layer.high)
    assert ends == pytest.approx((value, low, high), abs=1e-9, nan_ok=True)
    for mine, theirs in zip(layer.replicates, replicates, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)
    assert layer.unresolved == sum(each.unresolved for each in known_of_estimates(found, constant))


@given(given_=estimates())
def test_channels_follow_from_the_definition(given_: tuple[ChannelEstimates, NDArray[Any]]) -> None:
    found, constant = given_
    lifts = np.linspace(0.0, 0.03, len(constant))
    columns = np.array(channel_intervals(found, constant, lifts)).T
    for row, each, lift in zip(
        columns, known_of_estimates(found, constant), lifts.tolist(), strict=True
    ):
        expected = definitions.channel_interval(each, lift)
        assert row.tolist() == pytest.approx(list(expected), abs=1e-9, nan_ok=True)


@given(given_=estimates())
def test_intervals_contain_their_estimate(given_: tuple[ChannelEstimates, NDArray[Any]]) -> None:
    estimate, low, high = channel_intervals(*given_, np.zeros(len(given_[1])))
    told = ~np.isnan(estimate)
    assert (low[told] <= estimate[told]).all()
    assert (estimate[told] <= high[told]).all()
    layer = layer_estimate(*given_, 0.0)
    if not np.isnan(layer.low):
        assert layer.low <= layer.value <= layer.high
    else:
        assert np.isnan(layer.high)


@given(given_=estimates(), seed=SEEDS)
def test_the_order_of_channels_does_not_matter(
    given_: tuple[ChannelEstimates, NDArray[Any]], seed: int
) -> None:
    found, constant = given_
    order = np.random.default_rng(seed).permutation(len(constant))
    moved = ChannelEstimates(
        found.squared,
        found.plain[order],
        found.corrected[order],
        tuple(each[order] for each in found.replicates),
        found.bins[order],
        found.ceiling[order],
    )
    first, second = (
        layer_estimate(found, constant, 0.01),
        layer_estimate(moved, constant[order], 0.01),
    )
    for name in ("value", "low", "high"):
        assert getattr(second, name) == pytest.approx(
            getattr(first, name), abs=1e-9, nan_ok=True
        ), name


def alike(square: float, noise: float, channels: int, *, bias: float = 0.0) -> ChannelEstimates:
    """Channels that are copies of each other."""
    away = noise * np.array([[1.0, -2.0, 0.5, 0.5], [0.3, -0.3, 1.0, -1.0]])
    corrected = np.full(channels, square)
    replicates = tuple(np.tile(square + each, (channels, 1)) for each in away)
    return ChannelEstimates(
        True, corrected + bias, corrected, replicates, np.full(channels, 5), corrected + 0.2
    )


@pytest.mark.parametrize("channels", [1, 2, 7])
@pytest.mark.parametrize("square", [0.25, 0.01, 0.0, -0.01])
def test_a_layer_of_equal_channels_equals_each_channel(square: float, channels: int) -> None:
    found = alike(square, 0.004, channels, bias=0.02)
    constant = np.zeros(channels, np.bool_)
    estimate, _, high = channel_intervals(found, constant, np.zeros(len(constant)))
    layer = layer_estimate(found, constant, 0.0)
    assert layer.value == pytest.approx(estimate[0])
    assert estimate[0] == pytest.approx(np.sign(square) * np.sqrt(abs(square)))
    if square <= 0.01:  # not clear: its upper end is that of the mean square
        assert layer.high == pytest.approx(max(high[0], 0.0, layer.value))


def test_the_ends_of_one_channel_by_hand() -> None:
    found = alike(0.04, 0.0, 1, bias=0.1)
    estimate, low, high = channel_intervals(found, np.array([False]), np.array([0.01]))
    # Nothing varies: one degree of freedom, and a tenth of the bias is all that is unsure.
    half = 12.706204736 * 0.01
    assert estimate[0] == pytest.approx(0.2)
    assert high[0] == pytest.approx(np.sqrt(0.05 + half))
    assert low[0] == pytest.approx(-np.sqrt(half - 0.04))


@pytest.mark.parametrize(("square", "weak"), [(0.0299, True), (0.0301, False)])
def test_three_standard_errors_separate_clear_channels_from_others(
    square: float, weak: bool
) -> None:
    # The jackknife variance is 3/4 of the squared deviations: a standard error of 0.01.
    away = np.array([1.0, -1.0, 1.0, -1.0]) * 0.01 / np.sqrt(3)
    both = np.array([square, 0.0])
    found = ChannelEstimates(True, both, both, (both[:, np.newaxis] + away,), np.full(2, 5), both)
    value = layer_estimate(found, np.zeros(2, np.bool_), 0.0).value
    if weak:
        beyond = both.var(ddof=1) - 1e-4
        shape = both.mean() ** 2 / beyond
        share = definitions.share_of_roots(both.tolist(), [1e-4, 1e-4])
        assert shape > 0.5
        assert 0.7 < share < 1
        assert value == pytest.approx(share * np.sqrt(square / 2))
    else:
        assert value == pytest.approx(np.sqrt(square) / 2)


def test_squares_that_differ_within_noise_are_not_lowered() -> None:
    away = np.array([1.0, -1.0, 1.0, -1.0]) * 0.05
    both = np.array([0.02, 0.03])
    found = ChannelEstimates(True, both, both, (both[:, np.newaxis] + away,), np.full(2, 5), both)
    value = layer_estimate(found, np.zeros(2, np.bool_), 0.0).value
    assert value == pytest.approx(np.sqrt(0.025))


@pytest.mark.parametrize("squared", [True, False])
def test_unresolved_channels_raise_the_upper_end(squared: bool) -> None:
    found = replace(alike(0.04, 0.002, 4), squared=squared)
    constant = np.zeros(4, np.bool_)
    whole = layer_estimate(found, constant, 0.0)
    bins = np.array([5, 5, 1, 1])
    some = layer_estimate(replace(found, bins=bins), constant, 0.0)
    assert some.unresolved == 2
    ceiling = np.sqrt(0.24) if squared else 0.24
    assert some.high == pytest.approx(whole.high + 2 * ceiling / 4)
    assert (some.low, some.value) == (whole.low, whole.value)


@pytest.mark.parametrize(
    ("bins", "constant", "told"),
    [
        ([1, 1, 5, 5], [0, 0, 0, 0], True),  # just half
        ([1, 1, 1, 5], [0, 0, 0, 0], False),
        ([1, 1, 1, 5], [1, 1, 1, 0], True),  # constant ones are known
        ([1, 1, 1, 5], [1, 0, 0, 0], False),  # two of three that vary
        ([1, 1, 1, 1], [1, 1, 1, 1], True),
    ],
)
def test_no_interval_above_half_unresolved(bins: Any, constant: Any, told: bool) -> None:  # noqa: ANN401
    found = replace(alike(0.04, 0.002, 4), bins=np.array(bins))
    layer = layer_estimate(found, np.array(constant, np.bool_), 0.0)
    assert np.isnan([layer.low, layer.high]).tolist() == [not told] * 2
    assert not np.isnan(layer.value)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 4), (4, 1), (1,)])
def test_one_unit_has_no_estimate(sizes: tuple[int, ...], squared: bool) -> None:
    nothing = np.full(3, np.nan)
    replicates = tuple(np.full((3, size), np.nan) for size in sizes)
    found = ChannelEstimates(
        squared, np.full(3, 0.5), nothing, replicates, np.full(3, 1), np.ones(3)
    )
    layer = layer_estimate(found, np.zeros(3, np.bool_), 0.0)
    assert np.isnan([layer.value, layer.low, layer.high]).all()
    assert [each.shape for each in layer.replicates] == [(size,) for size in sizes]
    assert all(np.isnan(each).all() for each in layer.replicates)
    assert layer.unresolved == 3
    assert np.isnan(channel_intervals(found, np.zeros(3, np.bool_), np.zeros(3))).all()


@given(given_=estimates(), cuts=st.sets(st.integers(1, 8)))
def test_blocks_are_concatenated(
    given_: tuple[ChannelEstimates, NDArray[Any]], cuts: set[int]
) -> None:
    found, _ = given_
    size = len(found.plain)
    ends = [0, *sorted(cut for cut in cuts if cut < size), size]
    parts = [
        ChannelEstimates(
            found.squared,
            found.plain[a:b],
            found.corrected[a:b],
            tuple(each[a:b] for each in found.replicates),
            found.bins[a:b],
            found.ceiling[a:b],
        )
        for a, b in pairwise(ends)
    ]
    again = ChannelEstimates.concatenate(parts)
    assert again.squared == found.squared
    for name in ("plain", "corrected", "bins", "ceiling"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    for mine, theirs in zip(again.replicates, found.replicates, strict=True):
        np.testing.assert_array_equal(mine, theirs)
