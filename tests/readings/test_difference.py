from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy import stats

from skiptool.errors import ArgumentError
from skiptool.metrics import mean_iou
from skiptool.readings.difference import Differences, iou_by_training, without_each
from skiptool.readings.difference import differences as measured

Array = NDArray[np.int64]
Floats = NDArray[np.float64]


@st.composite
def counts(draw: st.DrawFn) -> tuple[Array, Array]:
    """Confusion counts of two networks, (T, S, J, J); zeros are likely, so that classes lack."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(2, 3)))
    cells = npst.arrays(np.int64, (2, *shape, shape[-1]), elements=st.sampled_from([0, 0, 1, 2, 9]))
    first, second = draw(cells)
    return first, second


def parts(counts: Array) -> Floats:
    """Pixels in both and in either, (2, K, T, 1, S), from the definition."""
    trainings, subjects, classes, _ = counts.shape
    found = np.zeros((2, classes - 1, trainings, 1, subjects))
    for t, s, k in np.ndindex(trainings, subjects, classes - 1):
        table = counts[t, s]
        found[0, k, t, 0, s] = table[k + 1, k + 1]
        found[1, k, t, 0, s] = table[k + 1].sum() + table[:, k + 1].sum() - table[k + 1, k + 1]
    return found


class Found:
    """Fields of all pairs as arrays."""

    def __init__(self, found: Differences) -> None:
        self.by_training = found.by_training
        self.names = tuple(asdict(found.found[0]))
        for name in self.names:
            setattr(self, name, np.array([getattr(one, name) for one in found.found]))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - arrays
        raise AttributeError(name)


def differences(*pixels: Any, **settings: float) -> Found:  # noqa: ANN401 - arrays
    return Found(measured(*pixels, **settings))


def everywhere(pixels: Floats) -> NDArray[np.bool_]:
    return np.ones((pixels.shape[2], pixels.shape[4]), dtype=bool)


def slow(first: Array, second: Array) -> Floats:
    """Difference of mean IoU in each training, counts added up subject by subject."""
    return np.array(
        [
            float(mean_iou(sum(mine))) - float(mean_iou(sum(other)))
            for mine, other in zip(first, second, strict=True)
        ]
    )


def by_definition(first: Array, second: Array) -> dict[str, float]:
    """Two-way analysis of variance of pseudo-values, from mean squares as textbooks have it."""
    each = slow(first, second)
    known = ~np.isnan(each)
    first, second, each = first[known], second[known], each[known]
    trainings, subjects = first.shape[:2]
    left = np.array(
        [slow(np.delete(first, s, axis=1), np.delete(second, s, axis=1)) for s in range(subjects)]
    ).T
    pseudo = subjects * each[:, np.newaxis] - (subjects - 1) * left
    of_training = subjects * np.sum((each - each.mean()) ** 2) / (trainings - 1)
    of_subject = trainings * np.sum((pseudo.mean(0) - pseudo.mean()) ** 2) / (subjects - 1)
    rest = sum(
        (pseudo[t, s] - pseudo[:, s].mean() - pseudo[t].mean() + pseudo.mean()) ** 2
        for t, s in np.ndindex(trainings, subjects)
    ) / ((trainings - 1) * (subjects - 1))
    cells = trainings * subjects
    variance = of_training / cells + max(of_subject - rest, 0) / cells
    share = np.sqrt(of_training / cells / variance) if variance > 0 else 1.0
    freedom = 1 / (share / (trainings - 1) + (1 - share) / (subjects - 1))
    half = stats.t.ppf(0.9, freedom) * np.sqrt(variance)
    low, high = each.mean() - half, each.mean() + half
    p = 2 * stats.t.sf(abs(each.mean()) / np.sqrt(variance), freedom) if variance > 0 else np.nan
    return {
        **{"value": each.mean(), "sd_trainings": each.std(ddof=1)},
        **{"se_trainings": each.std(ddof=1) / np.sqrt(trainings)},
        **{"se_subjects": np.sqrt(of_subject / cells), "ci_low": low, "ci_high": high},
        "p_value": p,
    }


@given(counts())
@settings(max_examples=60, deadline=None)
def test_as_the_definition_says(pair: tuple[Array, Array]) -> None:
    first, second = pair
    pixels = parts(first)
    found = differences(pixels, parts(second), everywhere(pixels), level=0.8)
    each = slow(first, second)
    np.testing.assert_allclose(found.by_training, [each])
    if np.sum(~np.isnan(each)) < 2:
        assert np.isnan(found.p_value).all()
        return
    with np.errstate(all="ignore"):
        expected = by_definition(first, second)
    if np.isnan(expected["se_subjects"]):
        assert np.isnan([found.ci_low, found.ci_high, found.p_value]).all()
        return
    for name, value in expected.items():
        if name != "p_value" or expected["se_trainings"] > 1e-9:
            np.testing.assert_allclose(getattr(found, name), [value], atol=1e-9, err_msg=name)


def single(both: Floats, either: float = 100.0) -> Floats:
    """Pixels (2, 1, T, 1, S) of one class; ``both`` is (T, S)."""
    return np.stack([both, np.full(both.shape, either)])[:, np.newaxis, :, np.newaxis, :]


def test_by_hand() -> None:
    """Trainings 0.30 and 0.10; pseudo-values 0.4, 0.2 and 0.2, 0: no interaction, no freedom."""
    first = single(np.array([[40.0, 20.0], [20.0, 0.0]]))
    found = differences(first, single(np.zeros((2, 2))), np.ones((2, 2), dtype=bool))
    np.testing.assert_allclose(found.by_training, [[0.3, 0.1]])
    np.testing.assert_allclose(found.value, 0.2)
    np.testing.assert_allclose(found.sd_trainings, 0.2 / np.sqrt(2))
    np.testing.assert_allclose(found.se_trainings, 0.1)
    np.testing.assert_allclose(found.se_subjects, 0.1)
    error = np.sqrt(0.02)
    np.testing.assert_allclose(found.p_value, 2 * stats.t.sf(0.2 / error, 1))
    np.testing.assert_allclose(found.ci_high - found.value, error * stats.t.ppf(0.975, 1))


def test_one_training_has_an_interval_over_subjects_and_no_test() -> None:
    both = np.array([[10.0, 20.0, 60.0]])
    found = differences(single(both), single(np.zeros((1, 3))), np.ones((1, 3), dtype=bool))
    each = both[0] / 100  # of a mean of equal subjects the jackknife is the usual error
    low, high = stats.t.interval(0.95, 2, each.mean(), each.std(ddof=1) / np.sqrt(3))
    np.testing.assert_allclose([found.ci_low[0], found.ci_high[0]], [low, high])
    np.testing.assert_allclose(found.se_subjects, each.std(ddof=1) / np.sqrt(3))
    for name in ("sd_trainings", "se_trainings", "p_value"):
        assert np.isnan(getattr(found, name)).all(), name


def test_folds_with_subjects_of_their_own_are_the_units() -> None:
    """Three folds of two subjects, the first trained twice: means 0.3, 0.1 and 0.2."""
    both = np.zeros((4, 6))
    both[0, :2], both[1, :2], both[2, 2:4], both[3, 4:] = 40, 20, 10, 20
    present = both > 0
    pixels = np.stack([both, np.where(present, 100.0, 0.0)])[:, np.newaxis, :, np.newaxis, :]
    nothing = pixels.copy()
    nothing[0] = 0
    found = differences(pixels, nothing, present)
    assert found.nested.all()
    np.testing.assert_allclose(found.by_training, [[0.4, 0.2, 0.1, 0.2]])
    np.testing.assert_allclose(found.value, 0.225)
    off = np.array([0.6 - 0.45, 0.1 - 0.225, 0.2 - 0.225])
    error = np.sqrt((off**2).sum() / 16 * 3 / 2)
    np.testing.assert_allclose(found.se_trainings, error)
    np.testing.assert_allclose(found.p_value, 2 * stats.t.sf(0.225 / error, 2))
    equal = differences(pixels[:, :, [0, 2, 3]], nothing[:, :, [0, 2, 3]], present[[0, 2, 3]])
    np.testing.assert_allclose(equal.p_value, stats.ttest_1samp([0.4, 0.1, 0.2], 0).pvalue)


def test_trainings_that_share_a_subject_through_others_are_one_group() -> None:
    """Training 0 and 2 have none in common, but both share some with training 1."""
    present = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=bool)
    either = np.where(present, 100.0, 0.0)
    rng = np.random.default_rng(0)
    first, second = (
        np.stack([np.floor(either * rng.random(either.shape)), either])[:, None, :, None, :]
        for _ in range(2)
    )
    found = differences(first, second, present)
    assert not found.nested.any()
    spread = found.by_training[0].std(ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(found.se_trainings, spread)
    # with holes, all of the variation between subjects counts
    variance = spread**2 + found.se_subjects[0] ** 2
    share = spread / np.sqrt(variance)
    freedom = 1 / (share / 2 + (1 - share) / 3)
    expected = 2 * stats.t.sf(abs(found.value[0]) / np.sqrt(variance), freedom)
    np.testing.assert_allclose(found.p_value, expected)


def many(pairs: int, trainings: int = 9, subjects: int = 20) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(0)
    either = rng.integers(50, 99, (2, 9, trainings, pairs, subjects)).astype(np.float64)
    both = np.floor(either * rng.random(either.shape))
    first, second = (np.stack([both[k], either[k]]) for k in range(2))
    return first, second


def test_the_same_bits_whatever_else_is_compared() -> None:
    """Also with more than eight trainings and classes, where NumPy would add in another order."""
    first, second = many(3)
    together = differences(first, second, everywhere(first))
    alone = differences(first[..., 1:2, :], second[..., 1:2, :].copy(), everywhere(first))
    for name in together.names:
        np.testing.assert_array_equal(getattr(together, name)[1:2], getattr(alone, name), name)


def test_exchanging_the_networks_turns_the_sign() -> None:
    first, second = many(2)
    one, other = (
        differences(*pair, everywhere(first)) for pair in ((first, second), (second, first))
    )
    np.testing.assert_allclose(one.value, -other.value)
    np.testing.assert_allclose(one.ci_low, -other.ci_high)
    np.testing.assert_allclose(one.p_value, other.p_value)


def test_one_subject_has_neither_interval_nor_test() -> None:
    for trainings in (1, 3):
        first, second = many(2, trainings, subjects=1)
        found = differences(first, second, everywhere(first))
        assert not np.isnan(found.value).any()
        for name in ("ci_low", "ci_high", "se_subjects", "p_value"):
            assert np.isnan(getattr(found, name)).all(), name
        assert np.isnan(found.sd_trainings).all() == (trainings == 1)


def test_networks_that_are_equal_do_not_differ() -> None:
    first, _ = many(1)
    found = differences(first, first, everywhere(first))
    assert (found.value[0], found.ci_low[0], found.ci_high[0], found.p_value[0]) == (0, 0, 0, 1)


def test_the_level_is_kept() -> None:
    first, second = many(1)
    narrow, wide = (
        differences(first, second, everywhere(first), level=level) for level in (0.5, 0.99)
    )
    assert wide.ci_low < narrow.ci_low < narrow.ci_high < wide.ci_high
    with pytest.raises(ArgumentError, match="level 95"):
        differences(first, second, everywhere(first), level=95)


@pytest.mark.parametrize("trainings", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_another_training_is_no_difference(trainings: int, spread: float) -> None:
    """Pairs whose trainings vary about the same mean, on 12 subjects: 5 % false alarms.

    The script tests/benchmarks/trainings.py has more settings and pairs.
    """
    rng = np.random.default_rng(trainings)
    pairs, subjects = 1_500, 12
    size = (1, trainings, pairs, subjects)
    off = rng.normal(0, spread, (2, 1, trainings, pairs, 1)) + rng.normal(0, 0.03, (2, *size))
    both = np.clip(0.7 + rng.normal(0, 0.1, (1, 1, 1, 1, subjects)) + off, 0, 1) * 1e4
    first, second = (np.stack([each, np.full(size, 1e4)]) for each in both)
    found = differences(first, second, everywhere(first))
    alarms = (found.p_value < 0.05).mean()
    assert 0.025 < alarms < 0.075
    held = (found.ci_low <= 0) & (found.ci_high >= 0)
    np.testing.assert_array_equal(held, found.p_value >= 0.05)


@settings(max_examples=30, deadline=None)
@given(counts())
def test_iou_without_each_subject_is_that_of_the_others(drawn: tuple[Array, Array]) -> None:
    table, _ = drawn
    found = without_each(parts(table))[:, 0]
    for t, training in enumerate(table):
        expected = [float(mean_iou(np.delete(training, s, axis=0).sum(axis=0)))
                    for s in range(len(training))]  # fmt: skip
        np.testing.assert_allclose(found[t, 1:], expected)
        np.testing.assert_allclose(found[t, 0], float(mean_iou(training.sum(axis=0))))


@settings(max_examples=30, deadline=None)
@given(counts())
def test_iou_by_training_is_that_of_the_counts_summed(drawn: tuple[Array, Array]) -> None:
    table, _ = drawn
    expected = [float(mean_iou(training.sum(axis=0))) for training in table]
    np.testing.assert_allclose(iou_by_training(parts(table)[:, :, :, 0]), expected)
