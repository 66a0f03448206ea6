from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.caching import NullCache
from numpy.typing import NDArray

from skiptool.distances import counting, kernels
from skiptool.distances.kernels import (
    _between,
    compiled,
    inlined,
    left_out_hellinger,
    permuted_hellinger,
    permuted_totals,
)
from strategies import SEEDS

Array = NDArray[Any]
PRODUCTS = pytest.mark.parametrize(
    ("dtype", "most"), [(np.float64, 1 << 20), (np.float32, counting._SHORT_BINS)]
)


def test_every_float16_is_widened() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    bits = np.empty(len(patterns), np.uint32)
    values = bits.view(np.float32)
    halves = patterns.view(np.float16)
    finite = np.isfinite(halves)
    assert kernels._widen(patterns, bits, values) == (~finite).sum()
    np.testing.assert_array_equal(values[finite], halves[finite])
    assert (np.signbit(values) == np.signbit(halves)).all()


def divided(x: Array, low: float, span: float, bins: int, literal: bool) -> Array:
    offset = np.maximum(x.astype(np.float64) - low, 0.0)
    place = np.minimum(np.floor(offset * bins / span), bins - 1)
    return np.where(offset >= span, bins if literal else bins - 1, place)


def doubtful(
    row: Array, low: float, span: float, bins: int, clamp: bool, literal: bool = False
) -> tuple[int, NDArray[np.uint32]]:
    index = np.empty(len(row), np.uint32)
    rule = (np.array([low]), np.array([span]), bins, clamp, literal)
    quick = counting.product_terms(*rule, row.dtype)[0]
    if not quick[1]:
        return len(row), index
    return kernels._index_by_product(row, 0, len(row), quick, index), index


@PRODUCTS
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("literal", [False, True])
@given(seed=SEEDS, share=st.floats(0.0, 1.0), size=st.floats(-20.0, 20.0))
def test_values_away_from_edges_are_in_their_bin(
    dtype: type, most: int, clamp: bool, literal: bool, seed: int, share: float, size: float
) -> None:
    rng = np.random.default_rng(seed)
    bins = max(1, int(most**share))
    low, span = float(dtype(10.0**size * rng.normal())), 10.0**size
    edges = low + span * rng.integers(0, bins + 1, 40) / bins
    close = np.geomspace(1e-14, 1e-3, 40) * span * rng.choice([-1, 1], 40)
    x = (edges + close).astype(dtype)
    for value, expected in zip(x[:, np.newaxis], divided(x, low, span, bins, literal), strict=True):
        doubts, index = doubtful(value, low, span, bins, clamp, literal)
        if not doubts:
            assert clamp or 0 <= float(value[0]) - low <= span
            assert index[0] == expected


def test_the_literal_maximum_is_after_the_last_bin_despite_rounding() -> None:
    spans = [span for span in np.geomspace(1e-3, 1e3, 2000) if span * 29 / span < 29]
    assert spans
    for span in spans:
        index = np.empty(2, np.uint32)
        x = np.array([span, span / 2])
        for literal, last in ((True, 29), (False, 28)):
            rule = (np.zeros(1), np.array([span]), 29, False, literal)
            exact = counting.division_terms(*rule)[0]
            assert kernels._index_by_division(x, 0, 2, exact, index) == 0
            assert index.tolist() == [last, 14]


@PRODUCTS
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("span", [1e-25, 1.0, 1e25])
def test_nonfinite_and_out_of_range_values_need_division(
    dtype: type, most: int, clamp: bool, span: float
) -> None:
    for value in (np.nan, np.inf, -np.inf):
        assert doubtful(np.array([value], dtype), 0.0, span, 100, clamp)[0]
    for value in (-span, -1e-30, 2 * span):
        assert bool(doubtful(np.array([value], dtype), 0.0, span, 100, clamp)[0]) != clamp


@PRODUCTS
@pytest.mark.parametrize("clamp", [False, True])
def test_most_stretches_need_no_division(dtype: type, most: int, clamp: bool) -> None:
    # Zeros of a ReLU at the lower end, and values clamped to the ends, need no division.
    x = np.maximum(np.random.default_rng(0).normal(size=(300, kernels._STRETCH)), 0.0).astype(dtype)
    span = 2.0 if clamp else float(x.max())
    doubts = [doubtful(row, 0.0, span, 100, clamp)[0] > 0 for row in x]
    assert sum(doubts) <= 30
    assert clamp or sum(doubts) >= 1  # for the maximum


def by_roots(p: Array, q: Array) -> float:
    """Eq. (9) as half the squared differences of roots, summed in order."""
    differences = np.sqrt(p / p.sum()) - np.sqrt(q / q.sum())
    return float(np.sqrt(np.square(differences).sum() / 2))


@given(
    p=st.lists(st.integers(0, 10**6), min_size=1, max_size=40).filter(any),
    factor=st.integers(1, 1000),
    moved=st.integers(0, 3),
    data=st.data(),
)
def test_small_distances_keep_their_digits(
    p: list[int], factor: int, moved: int, data: st.DataObject
) -> None:
    first = np.array(p, dtype=np.int64)
    second = first * factor
    second[data.draw(st.integers(0, len(p) - 1))] += moved
    assert _between(first, first + second) == pytest.approx(
        by_roots(first, second), rel=1e-9, abs=1e-15
    )
    assert _between(first, 2 * first) == 0


def test_distances_by_hand() -> None:
    assert _between(np.array([4, 0]), np.array([4, 9])) == 1.0
    assert _between(np.array([1, 1, 0]), np.array([6, 1, 5])) == pytest.approx(np.sqrt(0.5), 1e-15)
    assert np.isnan(_between(np.array([0, 0]), np.array([0, 9])))


@given(seed=SEEDS, dtype=st.sampled_from([np.uint16, np.uint32]), cuts=st.integers(1, 6))
def test_any_stretches_give_the_same_sums(seed: int, dtype: type, cuts: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 99, (n, 2, 5)).astype(dtype) for n in (6, 7))
    chosen = np.sort(rng.permuted(np.tile(np.arange(13), (4, 1)), axis=1)[:, :6], axis=1)
    chosen = chosen.astype(np.int32)
    edges = np.linspace(0, 13, cuts + 1).astype(int)
    bounds = np.array([np.searchsorted(row, edges) for row in chosen], dtype=np.int32)
    sums = np.empty((2, 4, 32), np.int64)
    scratch = (np.zeros((13, 32), dtype), np.empty(32, dtype))
    permuted_totals(a, b, chosen, bounds, *scratch, sums)
    pool = np.concatenate([a, b]).astype(np.int64)
    np.testing.assert_array_equal(sums[..., :5], pool[chosen].sum(axis=1).transpose(1, 0, 2))
    assert not sums[..., 5:].any()
    found = np.empty((2, 4))
    wide = (np.empty((4, 32), np.int64), np.empty(32, np.int64))
    permuted_hellinger(a, b, chosen, bounds, *scratch, *wide, found)
    rest = pool.sum(axis=0)[:, np.newaxis] - sums[..., :5]
    for place in np.ndindex(found.shape):
        expected = by_roots(sums[..., :5][place], rest[place])
        assert found[place] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("paired", [False, True])
def test_an_empty_set_gives_nan(paired: bool) -> None:
    a, b = np.ones((1, 2, 3), np.uint16), np.ones((1 if paired else 2, 2, 3), np.uint16)
    squares = np.zeros((2, 1 if paired else 3))
    left_out_hellinger(a, b, paired, *np.empty((2, 3)), squares)
    assert np.isnan(squares[:, 0]).all()
    assert (squares[:, 1:] == 0).all()


def total(x: Any) -> float:  # noqa: ANN401 - an array, here and in numba
    found = 0.0
    for k in range(x.size):
        found += x[k]
    return found


def test_compiles_and_caches() -> None:
    function = compiled(total)
    assert function(np.arange(5.0)) == 10.0
    dispatcher: Any = function
    assert not isinstance(dispatcher._cache, NullCache)
    assert dispatcher.targetoptions["nogil"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_numbers_keep_their_meaning(value: float) -> None:
    found = compiled(total)(np.array([1.0, value, 2.0]))
    np.testing.assert_equal(found, value)


def test_division_by_zero_follows_numpy() -> None:
    def ratio(x: Any) -> float:  # noqa: ANN401
        return float(x[0] / x[1])

    assert compiled(ratio)(np.array([1.0, 0.0])) == np.inf


def test_inlined_functions_are_compiled_with_their_callers_alone() -> None:
    part = inlined(total)

    def twice(x: Any) -> float:  # noqa: ANN401
        return part(x) + part(x)

    assert compiled(twice)(np.arange(5.0)) == 20.0
    dispatcher: Any = part
    assert not dispatcher.signatures
    assert part(np.arange(5.0)) == 10.0


def test_kernels_work_without_a_writable_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a writable cache, as on read-only installations, numba refuses to cache.
    from numba.core.caching import CacheImpl

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(total)
    function: Any = compiled(total)
    assert isinstance(function._cache, NullCache)
    assert function(np.arange(5.0)) == 10.0


COUNTED = """
import sys
import numpy as np
from numba.core import event
from skiptool.distances import kernels
from skiptool.distances.bins import equal_width, joint_range
from skiptool.distances.counting import activation_extremes, count_activations
x = np.arange(32, dtype=np.float16).reshape(2, 2, 8)
joint = joint_range(activation_extremes(x))
with event.install_recorder("numba:compile") as compiled:
    counts = count_activations(x, equal_width(joint, 4))
starts = sum(each.is_start for _, each in compiled.buffer)
print(sum(kernels.count_equal_width_half.stats.cache_hits.values()), starts, counts.sum())
print("numba.cpython.unicode" in sys.modules)
print(kernels.inlined(lambda x: x.sum())(np.arange(4.0)))
"""


@pytest.mark.slow
def test_the_first_start_compiles_one_function_and_the_second_none(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    lines = [
        subprocess.run(
            [sys.executable, "-c", COUNTED], env=environment, capture_output=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    # All that numba can compile is loaded only by a start that compiles, or later on demand.
    assert lines == [[b"0", b"1", b"32", b"True", b"6.0"], [b"1", b"0", b"32", b"False", b"6.0"]]


class UnlikeNumba:
    """A cache without the private parts of numba's own."""

    def load_overload(self, signature: object, context: object) -> None: ...


def is_quick(loop: Any) -> bool:  # noqa: ANN401 - numba's own
    return "load_overload" in vars(loop._cache)


@pytest.mark.parametrize("version", [(0, 58), (0, 69), (1, 0), (0, None)])
def test_caches_of_other_versions_of_numba_read_as_they_do(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int | None]
) -> None:
    assert is_quick(compiled(total))
    monkeypatch.setattr(kernels, "version_info", SimpleNamespace(short=version))
    assert not is_quick(compiled(total))


def test_caches_without_the_expected_parts_read_as_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for cache in (None, NullCache(), UnlikeNumba()):
        kernels._read_quickly(cache)
        assert "load_overload" not in getattr(cache, "__dict__", {})
    monkeypatch.setitem(sys.modules, "numba.core.runtime.nrt", None)
    assert not is_quick(compiled(total))


def test_an_invalid_numba_variable_is_reported() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import skiptool.distances.kernels"],
        env={**os.environ, "NUMBA_NUM_THREADS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    *_, last = found.stderr.splitlines()
    assert last.startswith("skiptool.errors.ArgumentError: numba cannot be loaded (")
    assert "unset NUMBA_NUM_THREADS" in last
