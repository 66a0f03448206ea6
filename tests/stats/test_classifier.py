from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.stats.classifier import assign_folds, balanced_accuracy


def by_hand(vectors: np.ndarray, folds: np.ndarray, chosen: np.ndarray, ridge: float) -> float:
    """Balanced accuracy of linear discriminant analysis, one vector after the other."""
    shares: dict[bool, list[float]] = {True: [], False: []}
    units, _, channels = vectors.shape
    for unit in range(units):
        train = [k for k in range(units) if folds[k] != folds[unit]]
        sides = [[k for k in train if chosen[k] == side] for side in (True, False)]
        ours = bool(chosen[unit])
        if not all(sides):
            shares[ours].append(0.5)
            continue
        first, second = (vectors[side].reshape(-1, channels).mean(axis=0) for side in sides)
        every = vectors[train].reshape(-1, channels)
        scatter = np.cov(every.T, bias=True).reshape(channels, channels)
        scatter = scatter + ridge * np.trace(scatter) / channels * np.eye(channels)
        direction = np.linalg.inv(scatter) @ (first - second)
        scores = (vectors[unit] - (first + second) / 2) @ direction
        shares[ours].append(float(np.mean(scores > 0 if ours else scores < 0)))
    return float(np.mean([np.mean(shares[True]), np.mean(shares[False])]))


@pytest.mark.parametrize("sizes", [(9, 9), (12, 4), (3, 2)])
def test_accuracy_is_that_of_cross_validated_discriminant_analysis(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(sizes))
    units = sum(sizes)
    vectors = rng.normal(size=(units, 5, 3)) @ rng.normal(size=(3, 3))
    vectors[: sizes[0]] += 0.7
    folds = assign_folds(np.arange(units), rng)
    chosen = np.zeros((4, units), dtype=bool)
    chosen[0, : sizes[0]] = True
    for row in chosen[1:]:
        row[rng.permutation(units)[: sizes[0]]] = True
    known = [by_hand(vectors, folds, row, 0.01) for row in chosen]
    np.testing.assert_allclose(balanced_accuracy(vectors, folds, chosen), known, rtol=1e-12)


def test_scatter_around_the_means_of_both_sets_gives_the_same_direction() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(30, 3)), rng.normal(1.0, 2.0, size=(20, 3))
    apart = x.mean(axis=0) - y.mean(axis=0)
    within = np.cov(x.T, bias=True) * 30 + np.cov(y.T, bias=True) * 20
    total = np.cov(np.concatenate([x, y]).T, bias=True) * 50
    one, two = (np.linalg.solve(each + np.eye(3), apart) for each in (within, total))
    np.testing.assert_allclose(one / np.linalg.norm(one), two / np.linalg.norm(two))


def test_distant_sets_are_separated_and_equal_vectors_are_not() -> None:
    chosen = np.arange(10)[None] < 5
    folds = assign_folds(np.arange(10), np.random.default_rng(0))
    apart = np.zeros((10, 2, 3))
    assert balanced_accuracy(apart, folds, chosen).tolist() == [0.5]
    apart[:5] = 1.0
    assert balanced_accuracy(apart, folds, chosen).tolist() == [1.0]


@pytest.mark.parametrize("folds", [[0, 0], [0, 1]])
def test_accuracy_is_chance_without_training_data(folds: list[int]) -> None:
    vectors = np.array([[[1.0]], [[2.0]]])
    found = balanced_accuracy(vectors, np.array(folds), np.array([[True, False]]))
    assert found.tolist() == [0.5]


def test_a_unit_is_never_in_its_own_training_data() -> None:
    """Memorised units that are unlike others of their set are classified at chance level."""
    rng = np.random.default_rng(2)
    vectors = np.repeat(rng.normal(size=(40, 1, 2)) * 9, 30, axis=1)
    chosen = np.arange(40)[None] < 20
    found = balanced_accuracy(vectors, assign_folds(np.arange(40), rng), chosen)[0]
    assert 0.2 < found < 0.7


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(2, 7), st.integers(0, 99))
def test_folds_keep_groups_together_and_have_nearly_equal_size(
    groups: int, folds: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    names = np.concatenate([np.arange(groups), rng.integers(0, groups, 5)])
    found = assign_folds(names, rng, folds)
    sizes = np.bincount(found[:groups])
    assert len(sizes) == min(folds, groups)
    assert sizes.max() - sizes.min() <= 1
    assert (found[groups:] == found[names[groups:]]).all()
