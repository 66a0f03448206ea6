from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from skiptool.distances import samples
from skiptool.distances.resampled import (
    leave_one_out_wasserstein,
    permuted_wasserstein,
    subset_wasserstein,
)
from skiptool.distances.samples import wasserstein
from skiptool.errors import ArgumentError
from strategies import SEEDS, grid_values

Array = NDArray[Any]
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def values(draw: st.DrawFn, least: int, channels: int) -> Array:
    shape = (draw(st.integers(least, 6)), channels)
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    return draw(npst.arrays(dtype, shape, elements=grid_values(24)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Array, Array]:
    """Two sets (n, D), (m, D) of at least two values, with ties."""
    channels = draw(st.integers(1, 3))
    return values(draw, 2, channels), values(draw, 2, channels)


@st.composite
def relabellings(draw: st.DrawFn) -> tuple[Array, Array, Array]:
    """Pooled values (U, D) and the members (R, U) of two subsets of each of R pairs."""
    pooled = values(draw, 2, draw(st.integers(1, 3)))
    rng = np.random.default_rng(draw(SEEDS))
    member = rng.integers(0, 3, (draw(st.integers(1, 5)), len(pooled)))
    member[:, :2] = rng.permuted(np.tile([1, 2], (len(member), 1)), axis=1)  # none is empty
    member = rng.permuted(member, axis=1)
    return pooled, member == 1, member == 2


@given(case=relabellings())
def test_subsets_agree_with_one_distance_each(case: tuple[Array, Array, Array]) -> None:
    pooled, first, second = case
    expected = [wasserstein(pooled[a], pooled[b]) for a, b in zip(first, second, strict=True)]
    measured = subset_wasserstein(pooled, first, second)
    assert measured.shape == (len(first), pooled.shape[1])
    np.testing.assert_allclose(measured, expected, **CLOSE)


@given(case=relabellings())
def test_permutations_agree_with_scipy(case: tuple[Array, Array, Array]) -> None:
    pooled, chosen, _ = case
    wide = pooled.astype(np.float64)
    expected = [
        [wasserstein_distance(wide[row, d], wide[~row, d]) for d in range(pooled.shape[1])]
        for row in chosen
    ]
    np.testing.assert_allclose(permuted_wasserstein(pooled, chosen), expected, **CLOSE)


@given(pair=pairs())
def test_the_relabelling_that_changes_nothing(pair: tuple[Array, Array]) -> None:
    x, y = pair
    pooled = np.concatenate([x, y])
    chosen = np.arange(len(pooled))[None] < len(x)
    both = permuted_wasserstein(pooled, np.concatenate([chosen, ~chosen]))
    np.testing.assert_allclose(both, [wasserstein(x, y)] * 2, **CLOSE)


@given(pair=pairs())
def test_leaving_one_out_agrees_with_scipy(pair: tuple[Array, Array]) -> None:
    x, y = (z.astype(np.float64) for z in pair)
    without_x, without_y = leave_one_out_wasserstein(*pair)
    assert (without_x.shape, without_y.shape) == (x.shape, y.shape)
    for d in range(x.shape[1]):
        a, b = x[:, d], y[:, d]
        expected = [wasserstein_distance(np.delete(a, i), b) for i in range(len(a))]
        np.testing.assert_allclose(without_x[:, d], expected, **CLOSE)
        expected = [wasserstein_distance(a, np.delete(b, i)) for i in range(len(b))]
        np.testing.assert_allclose(without_y[:, d], expected, **CLOSE)


def test_leaving_one_out_on_activations() -> None:
    rng = np.random.default_rng(6)
    x = np.maximum(rng.normal(0.0, 1.0, (60, 4)), 0.0).astype(np.float32)
    y = np.maximum(rng.normal(0.1, 1.0, (45, 4)), 0.0).astype(np.float32)
    without_x, without_y = leave_one_out_wasserstein(x, y)
    for i in (0, 7, 44):
        rest = wasserstein(np.delete(x, i, axis=0), y), wasserstein(x, np.delete(y, i, axis=0))
        np.testing.assert_allclose(without_x[i], rest[0], rtol=1e-12)
        np.testing.assert_allclose(without_y[i], rest[1], rtol=1e-12)


def test_blocks_of_channels_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(6, 5)), rng.normal(size=(4, 5))
    chosen = np.arange(10)[None] < 3
    whole = *leave_one_out_wasserstein(x, y), permuted_wasserstein(np.concatenate([x, y]), chosen)
    monkeypatch.setattr(samples, "_BLOCK", 25)
    parts = *leave_one_out_wasserstein(x, y), permuted_wasserstein(np.concatenate([x, y]), chosen)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


def test_refuses() -> None:
    pooled = np.arange(3.0).reshape(3, 1)
    with pytest.raises(ArgumentError, match=r"type int64; expected bool \(R, 3\)"):
        permuted_wasserstein(pooled, np.array([[1, 0, 0]]))
    with pytest.raises(ArgumentError, match=r"shape \(1, 2\)"):
        permuted_wasserstein(pooled, np.array([[True, False]]))
    with pytest.raises(ArgumentError, match="number 1 has an empty part"):
        permuted_wasserstein(pooled, np.array([[True, False, True], [True, True, True]]))
    with pytest.raises(ArgumentError, match="number 0 has an empty part"):
        permuted_wasserstein(pooled, np.array([[False, False, False]]))
    with pytest.raises(ArgumentError, match="sets of 1 and 3"):
        leave_one_out_wasserstein(pooled[:1], pooled)
    with pytest.raises(ArgumentError, match="NaN or infinite in 1 of 1"):
        leave_one_out_wasserstein(pooled * np.nan, pooled)
