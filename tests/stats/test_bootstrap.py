from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy.stats import chisquare

from skiptool.errors import ArgumentError
from skiptool.stats.bootstrap import percentile_interval, resampling_weights, standard_error
from strategies import SEEDS

Array = NDArray[np.float64]
HOLES = npst.arrays(
    np.float64,
    npst.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.one_of(st.floats(-1.0, 1.0), st.just(np.nan)),
)


@given(units=st.integers(1, 12), resamples=st.integers(0, 9), seed=SEEDS)
def test_each_resample_takes_as_many_as_there_are(units: int, resamples: int, seed: int) -> None:
    weights = resampling_weights(units, resamples, np.random.default_rng(seed))
    assert (weights.shape, weights.dtype) == ((resamples, units), np.int64)
    assert (weights.sum(axis=1) == units).all()
    assert (weights >= 0).all()
    again = resampling_weights(units, resamples, np.random.default_rng(seed))
    np.testing.assert_array_equal(weights, again)


def test_every_resample_is_as_likely() -> None:
    """Of 27 ordered draws of three from three, 6 take each once and 1 takes the first thrice."""
    weights = resampling_weights(3, 27_000, np.random.default_rng(0))
    highest = np.bincount(weights.max(axis=1), minlength=4)[1:]
    assert chisquare(highest, [6_000, 18_000, 3_000]).pvalue > 0.001
    assert chisquare(weights.sum(axis=0)).pvalue > 0.001


def test_refuses_to_resample_nothing() -> None:
    with pytest.raises(ArgumentError, match="resampling: 0 units, expected at least 1"):
        resampling_weights(0, 9, np.random.default_rng(0))


def test_ends_by_hand() -> None:
    low, high = percentile_interval(np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [5.0] * 5]), 0.5)
    assert low.tolist() == [1.0, 5.0]
    assert high.tolist() == [3.0, 5.0]


@given(HOLES, st.floats(0.01, 0.99))
def test_what_is_not_defined_is_left_out(replicates: Array, level: float) -> None:
    low, high = percentile_interval(replicates, level)
    error = standard_error(replicates)
    for place, row in enumerate(replicates):
        found = row[~np.isnan(row)]
        if found.size:
            ends = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
            np.testing.assert_allclose([low[place], high[place]], ends, rtol=1e-12, atol=1e-15)
        else:
            assert np.isnan([low[place], high[place]]).all()
        if found.size > 1:
            np.testing.assert_allclose(error[place], found.std(ddof=1), atol=1e-15)
        else:
            assert np.isnan(error[place])


def test_no_replicates_give_no_interval() -> None:
    low, high = percentile_interval(np.empty((2, 0)))
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_refuses_other_levels(level: float) -> None:
    with pytest.raises(ArgumentError, match=f"level {level:g}, expected between 0 and 1"):
        percentile_interval(np.zeros(3), level)


def test_the_interval_of_a_mean_covers_it() -> None:
    """A mean of 40 values: the 0.9 interval covers the true mean in about nine of ten sets."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        values = rng.normal(size=40)
        weights = resampling_weights(40, 300, rng)
        low, high = percentile_interval((weights @ values) / 40, 0.9)
        held += bool(low <= 0.0 <= high)
    assert 0.83 < held / 300 < 0.95
