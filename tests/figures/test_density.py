from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import gaussian_kde

from skiptool.figures.density import outline


@given(arrays(np.float64, st.integers(2, 40), elements=st.floats(0.0, 1.0)))
def test_it_stays_between_the_values_and_within_one(values: np.ndarray) -> None:
    shape = outline(values)
    if shape is None:
        assert np.ptp(values) < 1e-8
        return
    places, density = shape
    assert places[0] == values.min()
    assert places[-1] == pytest.approx(values.max())
    assert np.isfinite(density).all()
    assert density.min() >= 0.0
    assert density.max() == 1.0


def test_far_from_the_bounds_it_is_the_gaussian_estimate_of_scipy() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.04, 300)
    places, density = outline(values) or pytest.fail("flat")
    # scipy's factor multiplies the standard deviation; Silverman's rule may use the quartiles
    spread = min(values.std(ddof=1), np.subtract(*np.quantile(values, (0.75, 0.25))) / 1.349)
    kernel = gaussian_kde(values, bw_method=0.9 * spread * 300**-0.2 / values.std(ddof=1))
    expected = kernel(places)
    assert density == pytest.approx(expected / expected.max(), abs=1e-9)


def test_mass_at_a_bound_is_reflected_not_lost() -> None:
    values = np.linspace(0.0, 1.0, 2001)  # uniform: without reflection the ends fall to one half
    _, density = outline(values) or pytest.fail("flat")
    assert density.min() > 0.97


@pytest.mark.parametrize("values", [[], [0.3], [0.0] * 64, [1.0, 1.0]])
def test_nothing_to_outline(values: list[float]) -> None:
    assert outline(np.array(values, dtype=np.float64)) is None


def test_two_equal_heaps_are_equally_wide() -> None:
    places, density = outline(np.repeat([0.2, 0.8], 20)) or pytest.fail("flat")
    assert density[0] == pytest.approx(density[-1])
    assert density[np.abs(places - 0.5).argmin()] < density[0]


def test_beyond_one_nothing_is_reflected_where_values_go_beyond() -> None:
    """Distances without a bound have no wall at 1."""
    heap = np.random.default_rng(1).normal(0.9, 0.05, 400)
    shape, moved = (outline(np.append(heap, 1.2) + shift) for shift in (0.0, 5.0))
    assert shape is not None
    assert moved is not None
    np.testing.assert_allclose(shape[1], moved[1], atol=1e-6)
