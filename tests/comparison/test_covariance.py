from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.comparison.arrays import ArrayActivations
from skiptool.comparison.binned import Design
from skiptool.comparison.covariance import measure_covariance
from skiptool.comparison.sets import Settings
from skiptool.comparison.units import Units, equal_draw
from skiptool.steps.compare import compare_features
from small_activations import Noted

PLAIN = Settings(permutations=5)


def grouped(*names: int) -> Units:
    found = np.asarray(names)
    order = np.argsort(found, kind="stable")
    return Units(order, np.unique(found[order], return_index=True)[1])


def design(first: Units, second: Units, *rows: list[int], paired: bool = False) -> Design:
    labelled = [list(range(len(first))), *rows]
    draw = equal_draw(first, second, paired=paired, rng=np.random.default_rng(0))
    return Design(first, second, paired, np.array(labelled, dtype=np.int32), draw=draw)


def standardised(x: np.ndarray, y: np.ndarray, u: list[int], v: list[int]) -> list[np.ndarray]:
    """Second moments and means of each unit of both sets, every unit with the same weight."""
    units = [x[np.array(u) == k] for k in sorted(set(u))]
    units += [y[np.array(v) == k] for k in sorted(set(v))]
    flat = [each.transpose(0, 2, 1).reshape(-1, x.shape[1]).astype(float) for each in units]
    mean = np.mean([each.mean(axis=0) for each in flat], axis=0)
    spread = np.sqrt(np.mean([np.square(each - mean).mean(axis=0) for each in flat], axis=0))
    return [np.divide(e - mean, spread, out=np.zeros_like(e), where=spread > 0) for e in flat]


def expected(flat: list[np.ndarray], chosen: list[int]) -> float:
    """Return the distance between the chosen units and the others, by its definition."""
    sides = []
    for side in (chosen, [k for k in range(len(flat)) if k not in chosen]):
        mean = np.mean([flat[k].mean(axis=0) for k in side], axis=0)
        moment = np.mean([flat[k].T @ flat[k] / len(flat[k]) for k in side], axis=0)
        sides.append(moment - np.outer(mean, mean))
    apart, size = np.linalg.norm(sides[0] - sides[1]), np.linalg.norm(np.stack(sides))
    return float(apart / size)


def measured(x: Any, y: Any, how: Design, **changed: Any) -> tuple[float, Any]:  # noqa: ANN401
    sets = (Noted({"a": x}), Noted({"a": y}))
    constant = np.ptp(np.concatenate([x, y], axis=2 if len(x) == len(y) else 0), axis=(0, 2)) == 0
    return measure_covariance(sets, "a", constant, how, replace(PLAIN, **changed))


RNG = np.random.default_rng(3)
X, Y = RNG.normal(2.0, 3.0, size=(7, 4, 6)), RNG.normal(size=(8, 4, 6))
X[:, 3] = Y[:, 3] = 2.5
U, V = [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7]
ROWS = [[0, 2, 4, 6, 8, 10, 12], [8, 9, 10, 11, 12, 13, 14]]


@pytest.mark.parametrize("memory", [251, 512])
def test_it_follows_from_its_definition(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if memory == 251:  # one row of the matrices at a time
        monkeypatch.setattr(Settings, "budget", 1)
    how = design(grouped(*U), grouped(*V), *ROWS)
    value, null = measured(X, Y, how, memory=memory)
    flat = standardised(X, Y, U, V)
    known = [expected(flat, chosen) for chosen in (U, *ROWS)]
    np.testing.assert_allclose(null, known, rtol=1e-10)
    assert value == null[0]


def test_units_of_one_size_are_weighed_as_they_are() -> None:
    u, v = [0, 0, 1, 1, 2, 2], [1, 0, 1, 0, 2, 2, 3, 3]
    how = design(grouped(*u), grouped(*v), [1, 3, 5])
    _, null = measured(X[:6], Y, how)
    flat = standardised(X[:6], Y, u, v)
    np.testing.assert_allclose(null, [expected(flat, k) for k in ([0, 1, 2], [1, 3, 5])])


def test_units_of_unequal_size_weigh_the_same_in_the_value() -> None:
    u, v = [0, 0, 0, 1, 2, 2], V
    value, null = measured(X[:6], Y, design(grouped(*u), grouped(*v), [0, 5, 9]))
    flat = standardised(X[:6], Y, u, v)
    assert value == pytest.approx(expected(flat, [0, 1, 2]))
    assert abs(null[0] - value) > 1e-3  # of one image of each unit


def test_the_test_of_unequal_grids_sees_as_many_vectors() -> None:
    how = design(grouped(*U), grouped(*U), [0, 2, 4, 6, 8, 10, 12])
    wide = np.repeat(Y[:7], 3, axis=2)
    value, null = measured(X, wide, how)
    flat = standardised(X, wide, U, U)
    assert value == pytest.approx(expected(flat, U))
    assert measured(X, wide, how)[1].tolist() == null.tolist()
    assert measured(X, wide, replace(how, seed=1))[1].tolist() != null.tolist()


def test_without_permutations_there_is_a_value_alone() -> None:
    assert measured(X, Y, design(grouped(*U), grouped(*V)))[1] is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(-3, 3).filter(lambda s: abs(s) > 0.1), st.floats(-9, 9))
def test_scale_and_offset_of_a_channel_do_not_matter(
    seed: int, factor: float, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(5, 3, 4)), rng.normal(size=(6, 3, 4))
    how = design(grouped(*range(5)), grouped(*range(6)), [3, 5, 7, 9, 10])
    one = measured(x, y, how)
    for each in (x, y):
        each[:, 1] = factor * each[:, 1] + offset
    two = measured(x, y, how)
    np.testing.assert_allclose(two[1], one[1], rtol=1e-8)
    assert 0 < one[0] <= 1


def test_it_is_symmetric_and_0_between_equal_sets() -> None:
    forth, back = (
        compare_features(a, b, metrics="covariance", permutations=0)["value"][0].as_py()
        for a, b in ((X, Y), (Y, X))
    )
    assert forth == pytest.approx(back, rel=1e-12)
    same = compare_features(X, X[::-1].copy(), metrics="covariance", permutations=0)
    assert same["value"].to_pylist() == [0.0]


@pytest.mark.parametrize("chunk", [1, 2, 7, 50])
@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_and_workers_do_not_matter(chunk: int, workers: int) -> None:
    how = design(grouped(*U), grouped(*V), *ROWS)
    sets = (Noted({"a": X}, chunk=chunk), Noted({"a": Y}, chunk=chunk))
    found = measure_covariance(
        sets, "a", np.zeros(4, dtype=bool), how, replace(PLAIN, workers=workers)
    )
    np.testing.assert_allclose(found[1], measured(X, Y, how)[1], rtol=1e-12)


def test_workers_do_not_change_a_bit() -> None:
    how = design(grouped(*U), grouped(*V), *ROWS)
    sets = (Noted({"a": X}, chunk=2), Noted({"a": Y}, chunk=2))
    still = np.zeros(4, dtype=bool)
    one, two = (
        measure_covariance(sets, "a", still, how, replace(PLAIN, workers=workers))
        for workers in (1, 4)
    )
    assert (one[0], one[1].tolist()) == (two[0], two[1].tolist())


def test_ties_of_swapped_labellings_are_ties() -> None:
    """In pairs, exchanging all of them is the labelling itself: it must count as reached."""
    how = design(grouped(*U), grouped(*U), [7, 8, 9, 10, 11, 12, 13], paired=True)
    _, null = measured(X, Y[:7], how)
    assert null[1] == pytest.approx(null[0], rel=1e-12)


def test_it_sees_a_correlation_that_no_channel_shows() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30, 4, 20))
    y[:, 1] = 0.6 * y[:, 0] + 0.8 * y[:, 1]
    table = compare_features(x, y, metrics=["hellinger", "covariance"], bins=20).to_pylist()
    found = {row["metric"]: row["p_value"] for row in table if row["channel"] is None}
    assert found["covariance"] == 0.005
    assert found["hellinger"] > 0.05


def test_arrays_of_many_images_in_one_block() -> None:
    x = np.random.default_rng(1).normal(size=(300, 40, 1))
    sets = tuple(ArrayActivations("x", {"a": each}) for each in (x[:150], x[150:]))
    how = design(grouped(*range(150)), grouped(*range(150)), list(range(150, 300)))
    value, null = measure_covariance(sets, "a", np.zeros(40, dtype=bool), how, PLAIN)
    flat = standardised(x[:150], x[150:], list(range(150)), list(range(150)))
    assert value == pytest.approx(expected(flat, list(range(150))), rel=1e-10)
    assert null[1] == pytest.approx(value, rel=1e-12)
