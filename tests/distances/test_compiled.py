from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.caching import NullCache

from skiptool.distances import compiled as module
from skiptool.distances.compiled import compiled, inlined


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
def test_numbers_that_are_not_finite_hold(value: float) -> None:
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


def test_works_where_no_folder_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bool] = []

    def refusing(*, cache: bool = False, **options: Any) -> Callable[..., Any]:  # noqa: ANN401
        def decorate(function: Callable[..., Any]) -> Any:  # noqa: ANN401
            tried.append(cache)
            if cache:
                raise RuntimeError("cannot cache function 'total': no locator available for file")
            return numba.njit(**options)(function)

        return decorate

    monkeypatch.setattr(module, "njit", refusing)
    function = compiled(total)
    assert tried == [True, False]
    assert function(np.arange(5.0)) == 10.0


def test_numba_itself_refuses_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    # The error above is numba's: no place to cache in, as on read-only installations.
    from numba.core.caching import CacheImpl

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(total)
    function: Any = compiled(total)
    assert isinstance(function._cache, NullCache)
    assert function(np.arange(5.0)) == 10.0


COUNTED = """
import numpy as np
from numba.core import event
from skiptool.distances import kernel
from skiptool.distances.binning import count, equal_width
from skiptool.distances.histograms import extent, joint_range
x = np.arange(32, dtype=np.float16).reshape(2, 2, 8)
joint = joint_range(extent(x))
with event.install_recorder("numba:compile") as compiled:
    counts = count(x, equal_width(joint, 4))
starts = sum(each.is_start for _, each in compiled.buffer)
print(sum(kernel.count_equal_width_half.stats.cache_hits.values()), starts, counts.sum())
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
    assert lines == [[b"0", b"1", b"32"], [b"1", b"0", b"32"]]


def test_a_variable_that_numba_cannot_read_is_named() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import skiptool.distances.compiled"],
        env={**os.environ, "NUMBA_NUM_THREADS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    *_, last = found.stderr.splitlines()
    assert last.startswith("skiptool.errors.ArgumentError: numba cannot be loaded (")
    assert "unset NUMBA_NUM_THREADS" in last
