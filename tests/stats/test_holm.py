from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skiptool.stats.holm import holm

P_VALUES = st.lists(st.one_of(st.floats(0.0, 1.0), st.just(np.nan)), max_size=8)


def slow(p_values: list[float]) -> list[float]:
    """Holm's rule as it is told: from the smallest on, each times the tests that are left."""
    found = [np.nan] * len(p_values)
    made = [place for place, p in enumerate(p_values) if not np.isnan(p)]
    least = 0.0
    for step, place in enumerate(sorted(made, key=lambda place: p_values[place])):
        least = max(least, min(1.0, p_values[place] * (len(made) - step)))
        found[place] = least
    return found


def test_by_hand() -> None:
    """Worked by hand: 3 x 0.01, then 2 x 0.03, then 1 x 0.04, which may not fall below."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_array_equal(holm(np.array([0.8, 0.7])), [1.0, 1.0])
    assert holm(np.array([0.04])).tolist() == [0.04]
    assert holm(np.array([])).size == 0


@given(P_VALUES)
def test_as_the_rule_says(p_values: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array(p_values, dtype=np.float64)), slow(p_values))


@given(P_VALUES)
def test_tests_that_were_not_made_count_for_nothing(p_values: list[float]) -> None:
    values = np.array(p_values, dtype=np.float64)
    made = ~np.isnan(values)
    np.testing.assert_array_equal(holm(values)[made], holm(values[made]))
    assert np.isnan(holm(values)[~made]).all()
