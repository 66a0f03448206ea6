from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from skiptool.distances import frequencies
from skiptool.distances.frequencies import rowwise
from skiptool.errors import ArgumentError

Array = NDArray[Any]


@rowwise()
def first_difference(p: Array, q: Array) -> Array:
    """Difference of the first bin."""
    return np.asarray(p[:, 0] - q[:, 0])


@pytest.mark.parametrize("block", [1, 5, 8, 1 << 16])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    p, q = (rng.dirichlet(np.ones(4), size=(3, 5)) for _ in range(2))
    monkeypatch.setattr(frequencies, "_BLOCK", block)
    np.testing.assert_array_equal(first_difference(p, q), p[..., 0] - q[..., 0])


def test_takes_any_leading_axes_and_memory_order() -> None:
    p = np.array([0.5, 0.5])
    q = np.array([0.25, 0.75])
    assert first_difference(p, q).shape == ()
    assert first_difference(p[None, None], q[None, None]).tolist() == [[0.25]]
    assert first_difference(np.zeros((0, 3, 2)), np.zeros((0, 3, 2))).shape == (0, 3)
    turned = np.stack([p, q], axis=1).T
    assert first_difference(turned, turned[::-1]).tolist() == [0.25, -0.25]


def test_keeps_name_and_docstring() -> None:
    assert first_difference.__name__ == "first_difference"
    assert first_difference.__doc__ == "Difference of the first bin."


def test_refuses_bad_rows_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frequencies, "_BLOCK", 2)
    good = np.full((4, 2), 0.5)
    for bad in ([0.5, 0.6], [-0.5, 1.5], [np.nan, 1.0]):
        rows = good.copy()
        rows[3] = bad
        for pair in ((good, rows), (rows, good)):
            with pytest.raises(ArgumentError, match="expected relative frequencies"):
                first_difference(*pair)


@pytest.mark.parametrize("shapes", [((2, 3), (3, 3)), ((3,), (1, 3)), ((), ()), ((2, 0), (2, 0))])
def test_refuses_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ArgumentError, match="expected the same"):
        first_difference(*(np.zeros(shape) for shape in shapes))


def test_least_sum() -> None:
    whole = rowwise(least=0.0)(lambda p, q: np.asarray((p + q).sum(axis=1)))
    assert whole(np.array([[0.5, 0.0]]), np.array([[0.0, 0.0]])).tolist() == [0.5]
    with pytest.raises(ArgumentError, match="at most 1"):
        whole(np.array([[0.5, 0.7]]), np.array([[0.0, 0.0]]))
