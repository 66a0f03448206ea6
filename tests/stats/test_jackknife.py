from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy.stats import t, ttest_1samp, ttest_ind

from skiptool.stats.jackknife import correct_bias, half_width, interval, jackknife_variance

Array = NDArray[Any]
VALUES = st.integers(-80, 80).map(lambda value: value / 8)


@st.composite
def samples(draw: st.DrawFn, channels: int | None = None) -> Array:
    """Two or more units of a few channels, (D, U)."""
    channels = draw(st.integers(1, 3)) if channels is None else channels
    return draw(npst.arrays(np.float64, (channels, draw(st.integers(2, 9))), elements=VALUES))


def left_out(x: Array) -> list[Array]:
    """All units but each one: arrays (D, U - 1)."""
    return [np.delete(x, unit, axis=1) for unit in range(x.shape[1])]


def means(x: Array) -> Array:
    return np.stack([each.mean(axis=1) for each in left_out(x)], axis=1)


def variances(x: Array) -> Array:
    return np.stack([each.var(axis=1) for each in left_out(x)], axis=1)


@given(x=samples())
def test_a_mean_has_no_bias(x: Array) -> None:
    estimate, (replicates,) = correct_bias(x.mean(axis=1), [means(x)])
    np.testing.assert_allclose(estimate, x.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(replicates, means(x), atol=1e-12)


@given(x=samples())
def test_the_bias_of_a_variance_is_removed(x: Array) -> None:
    # The mean squared deviation divides by n; the correction is known to divide by n - 1.
    estimate, (replicates,) = correct_bias(x.var(axis=1), [variances(x)])
    np.testing.assert_allclose(estimate, x.var(axis=1, ddof=1), atol=1e-10)
    shift = x.var(axis=1, ddof=1) - x.var(axis=1)
    np.testing.assert_allclose(replicates, variances(x) + shift[:, np.newaxis], atol=1e-10)


@given(x=samples(2), y=samples(2))
def test_the_biases_of_two_sets_add_up(x: Array, y: Array) -> None:
    value = x.var(axis=1) - 3 * y.var(axis=1)
    without = [
        variances(x) - 3 * y.var(axis=1, keepdims=True),
        x.var(axis=1, keepdims=True) - 3 * variances(y),
    ]
    estimate, replicates = correct_bias(value, without)
    expected = x.var(axis=1, ddof=1) - 3 * y.var(axis=1, ddof=1)
    np.testing.assert_allclose(estimate, expected, atol=1e-10)
    for found, given_ in zip(replicates, without, strict=True):
        np.testing.assert_allclose(found, given_ + (expected - value)[:, np.newaxis], atol=1e-10)


@given(x=samples(2), y=samples(2))
def test_the_bias_of_a_squared_difference_is_removed(x: Array, y: Array) -> None:
    # E (mean x - mean y)^2 exceeds the squared difference by the two variances of the means.
    difference = x.mean(axis=1) - y.mean(axis=1)
    without = [
        np.square(means(x) - y.mean(axis=1, keepdims=True)),
        np.square(x.mean(axis=1, keepdims=True) - means(y)),
    ]
    estimate, replicates = correct_bias(np.square(difference), without)
    bias = sum(z.var(axis=1, ddof=1) / z.shape[1] for z in (x, y))
    square = np.square(difference) - bias
    np.testing.assert_allclose(estimate, square, atol=1e-9)
    for found, given_ in zip(replicates, without, strict=True):
        expected = given_ - bias[:, np.newaxis]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_by_hand() -> None:
    # Leaving one out gives 0.1 and 0.3; the bias is (2 - 1) * (0.2 - 0.25) = -0.05.
    estimate, (replicates,) = correct_bias(np.array([0.25]), [np.array([[0.1, 0.3]])])
    np.testing.assert_allclose(estimate, [0.3])
    np.testing.assert_allclose(replicates, [[0.15, 0.35]])
    estimate, (replicates,) = correct_bias(np.array([0.01]), [np.array([[0.1, 0.1]])])
    np.testing.assert_allclose(estimate, [-0.08], atol=1e-15)
    np.testing.assert_allclose(replicates, [[0.01, 0.01]], atol=1e-15)


@pytest.mark.parametrize("sizes", [(1,), (1, 4), (4, 1), (1, 1)])
def test_a_single_unit_gives_nan(sizes: tuple[int, ...]) -> None:
    without = [np.full((2, size), np.nan if size == 1 else 0.5) for size in sizes]
    estimate, replicates = correct_bias(np.array([0.5, 0.25]), without)
    assert estimate.shape == (2,)
    assert np.isnan(estimate).all()
    for found, given_ in zip(replicates, without, strict=True):
        assert found.shape == given_.shape
        assert np.isnan(found).all()
    for end in interval(estimate, replicates):
        assert end.shape == (2,)
        assert np.isnan(end).all()
    for end in interval(estimate.sum(), [each.sum(axis=0) for each in replicates]):
        assert np.isnan(end)


@given(x=samples(), level=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_of_a_mean_is_that_of_student(x: Array, level: float) -> None:
    low, high = interval(x.mean(axis=1), [means(x)], level)
    for channel in range(len(x)):
        if np.ptp(x[channel]) > 0:
            expected = ttest_1samp(x[channel], 0.0).confidence_interval(level)
            np.testing.assert_allclose([low[channel], high[channel]], expected, atol=1e-9)
        else:
            np.testing.assert_allclose([low[channel], high[channel]], x[channel, 0], atol=1e-9)


@given(x=samples(2), y=samples(2), level=st.sampled_from([0.9, 0.95]))
def test_the_interval_of_a_difference_of_means_is_that_of_welch(
    x: Array, y: Array, level: float
) -> None:
    replicates = [
        means(x) - y.mean(axis=1, keepdims=True),
        x.mean(axis=1, keepdims=True) - means(y),
    ]
    low, high = interval(x.mean(axis=1) - y.mean(axis=1), replicates, level)
    for channel in range(2):
        if np.ptp(x[channel]) > 0 and np.ptp(y[channel]) > 0:
            test = ttest_ind(x[channel], y[channel], equal_var=False)
            expected = test.confidence_interval(level)
            np.testing.assert_allclose([low[channel], high[channel]], expected, atol=1e-9)


def test_the_interval_of_a_scalar_equals_that_of_an_array() -> None:
    x = np.random.default_rng(0).normal(size=(1, 12))
    rows = interval(x.mean(axis=1), [means(x)])
    alone = interval(np.asarray(x.mean()), [means(x)[0]])
    np.testing.assert_allclose(np.ravel(alone), np.ravel(rows), rtol=1e-12)
    half = t.ppf(0.975, 11) * x.std(ddof=1) / np.sqrt(12)
    np.testing.assert_allclose(np.ravel(alone), [x.mean() - half, x.mean() + half], rtol=1e-12)


def test_a_set_that_does_not_vary_adds_no_width() -> None:
    x = np.random.default_rng(1).normal(size=(1, 12))
    low, high = interval(x.mean(axis=1), [means(x), np.full((1, 5), 0.25)])
    expected = ttest_1samp(x[0], 0.0).confidence_interval(0.95)
    np.testing.assert_allclose([low[0], high[0]], expected, rtol=1e-12)


def test_a_tenth_of_the_correction_is_an_additional_error() -> None:
    x = np.random.default_rng(2).normal(size=(1, 12))
    squared = x.var(axis=1, ddof=1) / 12 + 0.1**2 * 3.0**2
    for correction in (np.array([3.0]), -3.0):
        low, high = interval(x.mean(axis=1), [means(x)], correction=correction)
        np.testing.assert_allclose(high - low, 2 * t.ppf(0.975, 11) * np.sqrt(squared), rtol=1e-12)
        np.testing.assert_allclose((low + high) / 2, x.mean(axis=1), rtol=1e-12)


def test_values_that_do_not_vary_have_an_interval_of_no_width() -> None:
    low, high = interval(np.array([0.25]), [np.full((1, 3), 0.25), np.full((1, 4), 0.25)])
    assert low.tolist() == high.tolist() == [0.25]


@given(x=samples(2), y=samples(2))
def test_variance_and_freedom_are_those_of_welch(x: Array, y: Array) -> None:
    replicates = [
        means(x) - y.mean(axis=1, keepdims=True),
        x.mean(axis=1, keepdims=True) - means(y),
    ]
    variance, freedom = jackknife_variance(replicates)
    known = x.var(axis=1, ddof=1) / x.shape[1] + y.var(axis=1, ddof=1) / y.shape[1]
    np.testing.assert_allclose(variance, known, atol=1e-9)
    for channel in range(2):
        if np.ptp(x[channel]) > 0 and np.ptp(y[channel]) > 0:
            test = ttest_ind(x[channel], y[channel], equal_var=False)
            assert freedom[channel] == pytest.approx(test.df)


def test_the_width_grows_with_the_level_and_the_correction() -> None:
    x = np.random.default_rng(3).normal(size=(2, 9))
    widths = [half_width([means(x)], level) for level in (0.5, 0.9, 0.95)]
    low, high = interval(x.mean(axis=1), [means(x)])
    np.testing.assert_allclose((high - low) / 2, widths[2], rtol=1e-12)
    assert (np.diff(widths, axis=0) > 0).all()
    assert (half_width([means(x)], correction=np.array([9.0, 0.0])) > widths[2]).tolist() == [
        True,
        False,
    ]
