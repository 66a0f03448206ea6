from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from skiptool.comparison.binned import Design
from skiptool.comparison.sets import Settings
from skiptool.comparison.unbinned import measure_unbinned
from skiptool.comparison.units import Draw, Units
from skiptool.names import Metric
from small_activations import Noted, activations

SETTINGS = Settings()
SETS = (Noted(activations(5)), Noted(activations(4, 1, 0.3)))
X, Y = (each.arrays["enc1"].astype(np.float64).mean(axis=2) for each in SETS)
GROUPS = Units(np.array([0, 3, 1, 2, 4]), np.array([0, 2, 4]))
"""Images 0 and 3, 1 and 2, 4."""


def alone(images: int) -> Units:
    return Units(np.arange(images), np.arange(images))


def design(first: Units, second: Units, *labellings: list[int], paired: bool = False) -> Design:
    rows = np.array([list(range(len(first))), *labellings], dtype=np.int32)
    return Design(first, second, paired, rows)


def scipy_of(x: np.ndarray, y: np.ndarray) -> list[float]:
    return [float(wasserstein_distance(a, b)) for a, b in zip(x.T, y.T, strict=True)]


def test_exact_wasserstein_has_a_value_and_nothing_else() -> None:
    how = design(alone(5), alone(4), [4, 5, 6, 7, 8])
    found = measure_unbinned(Metric.WASSERSTEIN_EXACT, SETS, "enc1", ((X,), (Y,)), how, SETTINGS)
    x, y = (each.arrays["enc1"].transpose(0, 2, 1).reshape(-1, 3).astype(float) for each in SETS)
    np.testing.assert_allclose(found.values, scipy_of(x, y), rtol=1e-12)
    assert (found.estimates, found.null) == (None, None)


def test_representation_shift_and_its_resampling() -> None:
    rows = [[0, 2, 4, 6, 8], [4, 5, 6, 7, 8]]
    how = design(alone(5), alone(4), *rows)
    found = measure_unbinned(Metric.REPRESENTATION_SHIFT, SETS, "enc1", ((X,), (Y,)), how, SETTINGS)
    np.testing.assert_allclose(found.values, scipy_of(X, Y), rtol=1e-12)
    pooled = np.concatenate([X, Y])
    assert found.null is not None
    for number, row in enumerate([[0, 1, 2, 3, 4], *rows]):
        rest = [i for i in range(9) if i not in row]
        expected = scipy_of(pooled[row], pooled[rest])
        np.testing.assert_allclose(found.null[:, number], expected, rtol=1e-10)
    without = [
        np.array([scipy_of(np.delete(X, i, 0), Y) for i in range(5)]),
        np.array([scipy_of(X, np.delete(Y, i, 0)) for i in range(4)]),
    ]
    bias = sum((len(w) - 1) * (w.mean(axis=0) - found.values) for w in without)
    assert found.estimates is not None
    np.testing.assert_allclose(found.estimates.corrected, found.values - bias, rtol=1e-9)
    for each, known in zip(found.estimates.replicates, without, strict=True):
        np.testing.assert_allclose(each, (known - bias).T, rtol=1e-9)


def test_pairs_are_left_out_together() -> None:
    how = design(alone(4), alone(4), [0, 5, 6, 3], paired=True)
    found = measure_unbinned(
        Metric.REPRESENTATION_SHIFT, SETS, "enc1", ((X[:4],), (Y,)), how, SETTINGS
    )
    without = np.array([scipy_of(np.delete(X[:4], i, 0), np.delete(Y, i, 0)) for i in range(4)])
    bias = 3 * (without.mean(axis=0) - found.values)
    assert found.estimates is not None
    (replicates,) = found.estimates.replicates
    np.testing.assert_allclose(replicates, (without - bias).T, rtol=1e-9)


def test_units_are_means_of_their_images() -> None:
    found = measure_unbinned(
        Metric.REPRESENTATION_SHIFT, SETS, "enc1", ((X,), (Y,)), design(GROUPS, alone(4)), SETTINGS
    )
    units = np.array([X[[0, 3]].mean(axis=0), X[[1, 2]].mean(axis=0), X[4]])
    np.testing.assert_allclose(found.values, scipy_of(units, Y), rtol=1e-12)
    assert found.null is None
    assert found.estimates is not None
    assert [each.shape for each in found.estimates.replicates] == [(3, 3), (3, 4)]


@pytest.mark.parametrize("paired", [False, True])
def test_one_unit_has_no_interval(paired: bool) -> None:
    how = design(alone(1), alone(1), paired=paired)
    found = measure_unbinned(
        Metric.REPRESENTATION_SHIFT, SETS, "enc1", ((X[:1],), (Y[:1],)), how, SETTINGS
    )
    assert found.estimates is not None
    assert np.isnan(found.estimates.corrected).all()
    assert np.isfinite(found.values).all()


def test_the_test_takes_the_means_of_the_draw() -> None:
    few_x, few_y = X + 0.5, Y * 2.0
    rows = [[0, 1, 5], [2, 4, 6]]
    draw = Draw(Units(np.array([3, 1, 4]), np.array([0, 1, 2])), alone(4))
    how = replace(design(GROUPS, alone(4), *rows), draw=draw)
    found = measure_unbinned(
        Metric.REPRESENTATION_SHIFT, SETS, "enc1", ((X, few_x), (Y, few_y)), how, SETTINGS
    )
    units = np.array([X[[0, 3]].mean(axis=0), X[[1, 2]].mean(axis=0), X[4]])
    np.testing.assert_allclose(found.values, scipy_of(units, Y), rtol=1e-12)
    pooled = np.concatenate([few_x[[3, 1, 4]], few_y])
    assert found.null is not None
    for number, row in enumerate([[0, 1, 2], *rows]):
        rest = [i for i in range(7) if i not in row]
        np.testing.assert_allclose(
            found.null[:, number], scipy_of(pooled[row], pooled[rest]), rtol=1e-10
        )
