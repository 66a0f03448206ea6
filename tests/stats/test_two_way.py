from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from skiptool.errors import ArgumentError
from skiptool.stats.two_way import over_trainings, with_known_error


def test_a_known_error_is_added_to_that_of_the_trainings() -> None:
    each = np.array([0.1, np.nan, 0.3, 0.2])
    found = with_known_error(each, 0.05, 24, 0.9)
    of_trainings = 0.1 / np.sqrt(3)
    error = np.hypot(of_trainings, 0.05)
    share = of_trainings / error
    freedom = 1 / (share / 2 + (1 - share) / 23)
    assert found.value == pytest.approx(0.2)
    assert (found.se_trainings, found.se_subjects) == pytest.approx((of_trainings, 0.05))
    assert found.ci_low == pytest.approx(0.2 - error * stats.t.ppf(0.95, freedom))
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.2 / error, freedom))


def test_one_training_of_known_error_has_an_interval_and_no_test() -> None:
    found = with_known_error(np.array([0.2]), 0.05, 11)
    assert found.ci_high == pytest.approx(0.2 + 0.05 * stats.t.ppf(0.975, 10))
    assert np.isnan(found.p_value)
    assert np.isnan(found.se_trainings)


def test_without_trainings_all_values_are_nan() -> None:
    found = over_trainings(np.array([np.nan]), np.full((1, 3), np.nan), np.ones((1, 3), dtype=bool))
    assert np.isnan([found.value, found.ci_low, found.p_value]).all()
    assert np.isnan(with_known_error(np.array([]), 0.1, 3).value)


def test_equal_trainings_leave_the_error_of_subjects() -> None:
    """Without variation between trainings, Student's t over subjects has S - 1 degrees."""
    values = np.array([0.1, 0.2, 0.6, 0.3])
    left = (values.sum() - values) / 3
    found = over_trainings(
        np.full(3, values.mean()), np.tile(left, (3, 1)), np.ones((3, 4), dtype=bool)
    )
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high))


def test_equal_subjects_leave_the_error_of_trainings() -> None:
    each = np.array([0.1, 0.4, 0.2])
    found = over_trainings(each, np.tile(each[:, None], 5), np.ones((3, 5), dtype=bool))
    assert found.p_value == pytest.approx(stats.ttest_1samp(each, 0).pvalue)


def test_copies_of_one_network_have_no_p_value() -> None:
    every = np.ones((3, 5), dtype=bool)
    assert np.isnan(over_trainings(np.full(3, 0.25), np.full((3, 5), 0.25), every).p_value)
    assert over_trainings(np.zeros(3), np.zeros((3, 5)), every).p_value == 1.0


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_an_invalid_level_is_refused(level: float) -> None:
    with pytest.raises(ArgumentError, match="interval: level"):
        with_known_error(np.array([1.0, 2.0]), 0.1, 5, level)
