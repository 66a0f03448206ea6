from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.distances.multivariate import (
    CovarianceParts,
    paired_difference,
    relative_distance,
    row_parts,
)


def direct(x: np.ndarray, y: np.ndarray) -> float:
    """Return the distance between the covariance matrices of vectors (n, D), by its definition."""
    a, b = (np.cov(each.T, bias=True).reshape(x.shape[1], -1) for each in (x, y))
    return float(np.linalg.norm(a - b) / np.hypot(np.linalg.norm(a), np.linalg.norm(b)))


def by_parts(x: np.ndarray, y: np.ndarray, parts: Iterable[slice]) -> float:
    """Return the same from some rows at a time."""
    n, m = len(x), len(y)
    moments = x.T @ x / n, y.T @ y / m
    pooled = (n * moments[0] + m * moments[1]) / (n + m)
    change = moments[0] - moments[1]
    given_means = CovarianceParts(x.mean(axis=0)[None], y.mean(axis=0)[None], n / (n + m))
    sums = np.zeros((2, 1))
    for rows in parts:
        here = (rows, slice(rows.start, None))
        sums += np.array(given_means.row_sums(rows, pooled[here], change[here][None]))
    return float(relative_distance(sums[0], sums[1])[0])


@pytest.mark.parametrize("step", [1, 2, 3, 7])
@pytest.mark.parametrize("sizes", [(40, 40), (30, 7)])
def test_sums_over_rows_follow_the_definition(step: int, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(step)
    mixing = rng.normal(size=(7, 7))
    x, y = (rng.normal(loc=1.0, size=(size, 7)) @ mixing for size in sizes)
    parts = [slice(start, min(start + step, 7)) for start in range(0, 7, step)]
    assert by_parts(x, y * 0.7 + 3, parts) == pytest.approx(direct(x, y * 0.7 + 3), rel=1e-12)


def test_known_values() -> None:
    square = np.array([[1.0, 0.0], [-1.0, 0.0]])
    upright = square[:, ::-1]
    whole = [slice(0, 2)]
    assert by_parts(square, upright, whole) == 1.0  # no direction in common
    assert by_parts(square, 2 * square, whole) == pytest.approx(3 / np.sqrt(17))
    assert by_parts(square, square + 5, whole) == 0.0  # means may change without covariances


def test_without_variation_the_distance_is_0() -> None:
    assert relative_distance(np.zeros(1), np.zeros(1)).tolist() == [0.0]
    assert relative_distance(np.array([1e-30]), np.ones(1)).tolist() == [0.0]
    assert relative_distance(np.array([1 + 1e-15]), np.ones(1)).tolist() == [1.0]


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 40_000))
def test_row_parts_cover_all_rows_within_the_limit(
    channels: int, labellings: int, limit: int
) -> None:
    parts = list(row_parts(channels, labellings, limit))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(channels))
    for part in parts:
        rows = part.stop - part.start
        assert rows == 1 or 8 * labellings * rows * (channels - part.start) <= limit


def of(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Measure units (U, D, n) of both sets."""
    both = np.concatenate([x, y], axis=2)
    return paired_difference(
        np.abs(x - y).mean(axis=2), both.mean(axis=2), np.square(both).mean(axis=2)
    )


def direct_of_differences(x: np.ndarray, y: np.ndarray) -> float:
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
    assert value == pytest.approx(direct_of_differences(x, y), rel=1e-9)
    known = [direct_of_differences(np.delete(x, u, 0), np.delete(y, u, 0)) for u in range(6)]
    np.testing.assert_allclose(without, known, rtol=1e-9)


def test_known_values_of_differences() -> None:
    x = np.array([[[1.0, -1.0]], [[1.0, -1.0]]])
    assert of(x, x)[0] == 0.0
    assert of(x, -x)[0] == pytest.approx(2.0)  # the maximum
    assert of(x, 0 * x)[0] == pytest.approx(np.sqrt(2.0))
    assert of(0 * x, 0 * x)[0] == 0.0


def test_one_pair_has_no_replicates() -> None:
    x = np.arange(4.0).reshape(1, 1, 4)
    value, without = of(x, x + 1)
    assert value > 0
    assert np.isnan(without).all()


def test_unrelated_normal_values_are_1_13_apart() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 40, 3, 500))
    assert of(x, y)[0] == pytest.approx(2 / np.sqrt(np.pi), abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 100.0))
def test_paired_difference_is_bounded_symmetric_and_free_of_scale(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_t(2, size=(2, 4, 2, 3))
    value, _ = of(x, y)
    assert 0 <= value <= 2 + 1e-9
    assert of(y, x)[0] == pytest.approx(value)
    scale = np.array([factor, 1.0])[:, np.newaxis]
    assert of(x * scale, y * scale)[0] == pytest.approx(value, rel=1e-6)
