from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from definitions import Estimate, channel_interval, layer_interval, noise_of
from skiptool.comparison import results
from skiptool.comparison.estimates import Estimates
from skiptool.comparison.results import Partial

if TYPE_CHECKING:
    from skiptool.records import Bool

D, U, V, R = 7, 5, 4, 19


def joined(parts: list[Partial], constant: Bool, **how: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401
    found = results.joined(parts, constant, **{"bounded": True} | how)
    return found["channels"], found["mean"], found["null"]


CONSTANT = np.array([False, True, False, False, True, False, False])


def partial(seed: int = 0, *, squared: bool = True, low: float = -0.2) -> Partial:
    """Results of seven channels; the one before the last is unresolved."""
    rng = np.random.default_rng(seed)
    plain = rng.random(D)
    corrected = plain - rng.uniform(0, 0.3, D) + low
    replicates = tuple(
        corrected[:, np.newaxis] + rng.normal(scale=0.03, size=(D, size)) for size in (U, V)
    )
    bins = np.array([5, 1, 3, 2, 1, 1, 9])
    estimates = Estimates(squared, plain, corrected, replicates, bins, rng.random(D))
    return Partial(
        values=rng.random(D),
        estimates=estimates,
        null=rng.random((D, 1 + R)),
        occupied=rng.integers(1, 9, D).astype(np.float64),
        used=rng.random(D),
    )


def known(whole: Partial) -> list[Estimate]:
    """Return the estimates of a result as the definitions take them."""
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


def cut(whole: Partial, *ends: int) -> list[Partial]:
    """Cut a result into blocks of channels."""
    parts = []
    for a, b in pairwise([0, *ends, D]):
        block = slice(a, b)
        arrays: dict[str, Any] = {
            name: getattr(whole, name)[block] for name in ("values", "null", "occupied", "used")
        }
        found = whole.estimates
        assert found is not None
        estimates = Estimates(
            found.squared,
            *(found.plain[block], found.corrected[block]),
            tuple(each[block] for each in found.replicates),
            *(found.bins[block], found.ceiling[block]),
        )
        parts.append(Partial(**arrays, estimates=estimates))
    return parts


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("ends", [(3,), (1, 2, 3, 4, 5, 6), (1, 6)])
def test_blocks_do_not_show_in_any_bit(ends: tuple[int, ...], squared: bool) -> None:
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
        **{"value": whole.values.mean(), "value_live": whole.values[live].mean()},
        "effective_bins": whole.occupied[live].mean(),
        **{"range_used": whole.used[live].mean(), "inference_bins": 4.0},
        **{"tested": labelled[0], "null_mean": labelled[1:].mean(), "p_value": p},
        **{"null_high": np.quantile(labelled[1:], 0.95), "unresolved_channels": 1},
        **{"corrected": max(estimate, 0.0), "ci_high": max(high, 0.0)},
        "ci_low": max(low, 0.0) if p <= 0.05 else 0.0,
    }.items():
        assert mean[name] == pytest.approx(value, abs=1e-12), name


def test_a_layer_keeps_its_estimate_and_replicates() -> None:
    whole = partial()
    found = results.joined(cut(whole, 3), CONSTANT, bounded=True)
    estimate, _, _, replicates = layer_interval(known(whole), 0.0)
    assert found["estimate"] == pytest.approx(estimate)
    for each, expected in zip(found["replicates"], replicates, strict=True):
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


def apart(rank: int) -> Partial:
    """Far from 0 in every channel, with ``rank`` of R = 19 relabellings at least as far."""
    null = np.tile(np.append(0.5, np.where(np.arange(R) < rank, 0.6, 0.4)), (D, 1))
    corrected = np.full(D, 0.25)
    replicates = (np.full((D, U), 0.25), np.full((D, V), 0.25))
    estimates = Estimates(True, corrected, corrected, replicates, np.full(D, 4), corrected)
    return Partial(np.full(D, 0.5), estimates, null)


@pytest.mark.parametrize(
    ("rank", "least", "low"), [(0, 0.0, 0.5), (1, 0.0, 0.0), (0, 0.05, 0.5), (0, 0.051, 0.0)]
)
def test_intervals_reach_0_unless_the_test_says_otherwise(
    rank: int, least: float, low: float
) -> None:
    channels, mean, _ = joined([apart(rank)], np.zeros(D, np.bool_), least_p=least)
    assert mean["ci_low"] == pytest.approx(low)
    np.testing.assert_allclose(channels["ci_low"], low)
    assert mean["ci_high"] == mean["corrected"] == pytest.approx(0.5)
    for p in (mean["p_value"], *channels["p_value"]):
        assert p == pytest.approx(np.nan if least > 0.05 else (1 + rank) / 20, nan_ok=True)
    assert mean["tested"] == 0.5


def test_without_a_test_intervals_are_left_alone() -> None:
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


def test_what_was_not_computed_has_no_column() -> None:
    channels, mean, null = joined([Partial(np.ones(D))], CONSTANT, bounded=True)
    assert set(channels) == {"value"}
    assert set(mean) == {"value", "value_live"}
    assert null is None


def test_a_layer_of_constant_channels() -> None:
    _, mean, _ = joined([partial()], np.ones(D, dtype=np.bool_), bounded=True)
    assert np.isnan([mean["value_live"], mean["effective_bins"], mean["range_used"]]).all()


def test_distances_without_bound_are_not_cut_at_one() -> None:
    def at(value: float) -> Partial:
        where = np.full(D, value)
        replicates = (np.full((D, U), value), np.full((D, V), value))
        estimates = Estimates(False, where, where, replicates, np.full(D, 9), where)
        return Partial(np.ones(D), estimates)

    for name in ("corrected", "ci_low", "ci_high"):
        assert joined([at(5.0)], CONSTANT, bounded=False)[1][name] == 5.0
        assert joined([at(5.0)], CONSTANT, bounded=True)[1][name] == 1.0
        assert joined([at(-1.0)], CONSTANT, bounded=False)[1][name] == 0.0


def test_a_metric_without_bins_has_no_number_of_bins() -> None:
    whole = replace(partial(squared=False), occupied=None, used=None)
    channels, mean, _ = joined([whole], CONSTANT)
    assert "inference_bins" not in channels
    assert "inference_bins" not in mean
