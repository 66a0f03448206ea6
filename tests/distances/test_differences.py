from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.distances.differences import paired_difference


def of(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Measure units (U, D, n) of both sets."""
    both = np.concatenate([x, y], axis=2)
    return paired_difference(
        np.abs(x - y).mean(axis=2), both.mean(axis=2), np.square(both).mean(axis=2)
    )


def direct(x: np.ndarray, y: np.ndarray) -> float:
    both = np.concatenate([x, y], axis=2)
    spread = both.transpose(1, 0, 2).reshape(x.shape[1], -1).std(axis=1)
    apart = np.abs(x - y).mean(axis=(0, 2))
    return float(np.mean(apart[spread > 0] / spread[spread > 0]))


def test_value_and_replicates_follow_from_the_definition() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 1.0, size=(6, 3, 5))
    y = x * 0.8 + 0.1 * rng.normal(size=x.shape)
    x[:, 2] = y[:, 2] = 4.0
    value, without = of(x, y)
    assert value == pytest.approx(direct(x, y), rel=1e-9)
    known = [direct(np.delete(x, u, 0), np.delete(y, u, 0)) for u in range(6)]
    np.testing.assert_allclose(without, known, rtol=1e-9)


def test_known_values() -> None:
    x = np.array([[[1.0, -1.0]], [[1.0, -1.0]]])
    assert of(x, x)[0] == 0.0
    assert of(x, -x)[0] == pytest.approx(2.0)  # the most there is
    assert of(x, 0 * x)[0] == pytest.approx(np.sqrt(2.0))
    assert of(0 * x, 0 * x)[0] == 0.0


def test_one_pair_has_no_replicates() -> None:
    x = np.arange(4.0).reshape(1, 1, 4)
    value, without = of(x, x + 1)
    assert value > 0
    assert np.isnan(without).all()


def test_unrelated_normal_values_are_at_113() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 40, 3, 500))
    assert of(x, y)[0] == pytest.approx(2 / np.sqrt(np.pi), abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 100.0))
def test_it_is_bounded_symmetric_and_free_of_scale(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_t(2, size=(2, 4, 2, 3))
    value, _ = of(x, y)
    assert 0 <= value <= 2 + 1e-9
    assert of(y, x)[0] == pytest.approx(value)
    scale = np.array([factor, 1.0])[:, np.newaxis]
    assert of(x * scale, y * scale)[0] == pytest.approx(value, rel=1e-6)
