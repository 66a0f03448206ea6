from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.distances.covariances import CovarianceParts, relative_distance, row_parts


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
        sums += np.array(given_means.of(rows, pooled[here], change[here][None]))
    return float(relative_distance(sums[0], sums[1])[0])


@pytest.mark.parametrize("step", [1, 2, 3, 7])
@pytest.mark.parametrize("sizes", [(40, 40), (30, 7)])
def test_rows_at_a_time_give_the_definition(step: int, sizes: tuple[int, int]) -> None:
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
    assert by_parts(square, square + 5, whole) == 0.0  # a change of means is none of covariances


def test_nothing_that_varies_is_at_0() -> None:
    assert relative_distance(np.zeros(1), np.zeros(1)).tolist() == [0.0]
    assert relative_distance(np.array([1e-30]), np.ones(1)).tolist() == [0.0]
    assert relative_distance(np.array([1 + 1e-15]), np.ones(1)).tolist() == [1.0]


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 40_000))
def test_parts_cover_all_rows_and_fit(channels: int, labellings: int, limit: int) -> None:
    parts = list(row_parts(channels, labellings, limit))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(channels))
    for part in parts:
        rows = part.stop - part.start
        assert rows == 1 or 8 * labellings * rows * (channels - part.start) <= limit
