from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from skiptool.distances import exact
from skiptool.distances.exact import (
    leave_one_out_wasserstein,
    permuted_wasserstein,
    representation_shift,
    subset_wasserstein,
    wasserstein,
)
from skiptool.errors import ArgumentError
from strategies import SEEDS, grid_values

Array = NDArray[Any]
DTYPES = st.sampled_from([np.float16, np.float32, np.float64])


@st.composite
def value_sets(draw: st.DrawFn, sets: int = 2, least: int = 1) -> list[Array]:
    """Values (n, D) of several sets of unequal size, with ties within and between them."""
    channels, dtype = draw(st.integers(1, 3)), draw(DTYPES)
    sizes = [draw(st.integers(least, 7)) for _ in range(sets)]
    return [draw(npst.arrays(dtype, (n, channels), elements=grid_values(24))) for n in sizes]


def column_by_column(x: Array, y: Array) -> list[float]:
    """Scipy's distance of each channel."""
    wide = x.astype(np.float64), y.astype(np.float64)
    return [wasserstein_distance(wide[0][:, d], wide[1][:, d]) for d in range(x.shape[1])]


def test_by_hand() -> None:
    x, y = np.array([[0.0, 5.0], [1.0, 5.0]]), np.array([[3.0, 5.0], [2.0, 4.0]])
    assert wasserstein(x, y).tolist() == [2.0, 0.5]
    # Unequal numbers: thirds of x against one value.
    assert wasserstein(np.array([[0.0], [0.0], [3.0]]), np.array([[1.0]])).tolist() == [4 / 3]


@given(sets=value_sets())
def test_wasserstein_agrees_with_scipy(sets: list[Array]) -> None:
    np.testing.assert_allclose(wasserstein(*sets), column_by_column(*sets), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("sizes", [(300, 300), (301, 200), (50, 400)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_wasserstein_of_activations_agrees_with_scipy(sizes: tuple[int, int], dtype: type) -> None:
    rng = np.random.default_rng(2)
    x, y = (np.maximum(rng.normal(0.2, 1.0, (n, 5)), 0.0).astype(dtype) for n in sizes)
    y = (y * 0.8).astype(dtype)
    np.testing.assert_allclose(wasserstein(x, y), column_by_column(x, y), rtol=1e-12)


@given(sets=value_sets())
def test_wasserstein_is_symmetric_and_not_negative(sets: list[Array]) -> None:
    x, y = sets
    values = wasserstein(x, y)
    assert values.dtype == np.float64
    assert (values >= 0).all()
    np.testing.assert_allclose(values, wasserstein(y, x), rtol=1e-14)
    assert (wasserstein(x, np.repeat(x, 2, axis=0)) == 0).all()


@given(sets=value_sets(sets=3))
def test_triangle_inequality(sets: list[Array]) -> None:
    x, y, z = sets
    assert (wasserstein(x, z) <= wasserstein(x, y) + wasserstein(y, z) + 1e-12).all()


@given(sets=value_sets(), power=st.integers(-3, 3), offset=st.integers(-16, 16))
def test_wasserstein_scales_with_values_and_ignores_common_offsets(
    sets: list[Array], power: int, offset: int
) -> None:
    x, y = (values.astype(np.float64) for values in sets)
    expected = wasserstein(x, y)
    # Powers of two and integer offsets: exact, so the results are bit-equal.
    np.testing.assert_array_equal(
        wasserstein(x * 2.0**power, y * 2.0**power), expected * 2.0**power
    )
    np.testing.assert_array_equal(wasserstein(x + offset, y + offset), expected)
    np.testing.assert_allclose(wasserstein(-x, -y), expected, rtol=1e-14)
    np.testing.assert_allclose(wasserstein(x, x + offset), abs(offset), rtol=1e-14)


@given(seed=SEEDS, block=st.sampled_from([1, 12, 30]))
def test_blocks_of_channels_do_not_change_distances(seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(5, 7)), rng.normal(size=(4, 7))
    whole = wasserstein(x, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_BLOCK", block)
        np.testing.assert_array_equal(wasserstein(x, y), whole)


def test_inputs_are_not_modified() -> None:
    x, y = np.array([[2.0], [1.0]]), np.array([[3.0], [0.0]])
    wasserstein(x, y)
    assert (x.tolist(), y.tolist()) == ([[2.0], [1.0]], [[3.0], [0.0]])


def test_representation_shift_follows_stacke() -> None:
    # Mean over positions, scipy's distance of each filter, mean over filters.
    rng = np.random.default_rng(5)
    x, y = rng.gamma(1.0, 1.0, (40, 6, 9)), rng.gamma(1.0, 1.2, (30, 6, 9))
    x, y = x.mean(axis=2), y.mean(axis=2)
    expected = np.mean([wasserstein_distance(x[:, d], y[:, d]) for d in range(6)])
    assert representation_shift(x, y).mean() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (np.array([[0.0, np.nan]]), r"1 of 2 channels \(1\)"),
        (np.full((2, 9), np.inf), r"9 of 9 channels \(0, 1, 2, 3, 4, \.\.\.\)"),
    ],
)
def test_nonfinite_values_are_refused(x: Array, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        wasserstein(x, np.zeros((3, x.shape[1])))


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
def test_subsets_agree_with_separate_distances(case: tuple[Array, Array, Array]) -> None:
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
def test_the_identity_relabelling_gives_the_plain_distance(pair: tuple[Array, Array]) -> None:
    x, y = pair
    pooled = np.concatenate([x, y])
    chosen = np.arange(len(pooled))[None] < len(x)
    both = permuted_wasserstein(pooled, np.concatenate([chosen, ~chosen]))
    np.testing.assert_allclose(both, [wasserstein(x, y)] * 2, **CLOSE)


@given(pair=pairs())
def test_leave_one_out_agrees_with_scipy(pair: tuple[Array, Array]) -> None:
    x, y = (z.astype(np.float64) for z in pair)
    without_x, without_y = leave_one_out_wasserstein(*pair)
    assert (without_x.shape, without_y.shape) == (x.shape, y.shape)
    for d in range(x.shape[1]):
        a, b = x[:, d], y[:, d]
        expected = [wasserstein_distance(np.delete(a, i), b) for i in range(len(a))]
        np.testing.assert_allclose(without_x[:, d], expected, **CLOSE)
        expected = [wasserstein_distance(a, np.delete(b, i)) for i in range(len(b))]
        np.testing.assert_allclose(without_y[:, d], expected, **CLOSE)


def test_leave_one_out_of_activations() -> None:
    rng = np.random.default_rng(6)
    x = np.maximum(rng.normal(0.0, 1.0, (60, 4)), 0.0).astype(np.float32)
    y = np.maximum(rng.normal(0.1, 1.0, (45, 4)), 0.0).astype(np.float32)
    without_x, without_y = leave_one_out_wasserstein(x, y)
    for i in (0, 7, 44):
        rest = wasserstein(np.delete(x, i, axis=0), y), wasserstein(x, np.delete(y, i, axis=0))
        np.testing.assert_allclose(without_x[i], rest[0], rtol=1e-12)
        np.testing.assert_allclose(without_y[i], rest[1], rtol=1e-12)


def test_blocks_of_channels_do_not_change_resampled_distances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(6, 5)), rng.normal(size=(4, 5))
    chosen = np.arange(10)[None] < 3
    whole = *leave_one_out_wasserstein(x, y), permuted_wasserstein(np.concatenate([x, y]), chosen)
    monkeypatch.setattr(exact, "_BLOCK", 25)
    parts = *leave_one_out_wasserstein(x, y), permuted_wasserstein(np.concatenate([x, y]), chosen)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)
