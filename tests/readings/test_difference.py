from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from skiptool.errors import ArgumentError
from skiptool.metrics.overlap import mean_iou
from skiptool.readings.difference import EXCHANGES, RESAMPLES, differences, iou_by_fold
from skiptool.stats.bootstrap import resampling_weights
from skiptool.stats.exchange import exchanges

Array = NDArray[np.int64]


@st.composite
def counts(draw: st.DrawFn) -> tuple[Array, Array]:
    """Confusion counts of two networks, (F, S, J, J); zeros are likely, so that classes lack."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(2, 3)))
    cells = npst.arrays(np.int64, (2, *shape, shape[-1]), elements=st.sampled_from([0, 0, 1, 2, 9]))
    first, second = draw(cells)
    return first, second


def parts(counts: Array) -> NDArray[np.float64]:
    """Pixels in both and in either, (2, K, F, 1, S), from the definition."""
    folds, subjects, classes, _ = counts.shape
    found = np.zeros((2, classes - 1, folds, 1, subjects))
    for f, s, k in np.ndindex(folds, subjects, classes - 1):
        table = counts[f, s]
        found[0, k, f, 0, s] = table[k + 1, k + 1]
        found[1, k, f, 0, s] = table[k + 1].sum() + table[:, k + 1].sum() - table[k + 1, k + 1]
    return found


def slow(pruned: Array, baseline: Array, weights: Array) -> float:
    """Mean over folds of the difference of mean IoU, counts added up subject by subject."""
    found = []
    for mine, other in zip(pruned, baseline, strict=True):
        scores = [
            float(mean_iou(sum(n * table for n, table in zip(weights, fold, strict=True))))
            for fold in (mine, other)
        ]
        found.append(scores[0] - scores[1])
    there = [value for value in found if not np.isnan(value)]
    return sum(there) / len(there) if there else np.nan


@given(counts())
@settings(max_examples=20, deadline=None)
def test_as_the_definition_says(pair: tuple[Array, Array]) -> None:
    """Every resample and exchange gone through one by one, on the same draws."""
    pruned, baseline = pair
    subjects = pruned.shape[1]
    found = differences(parts(pruned), parts(baseline), level=0.8, seed=3)
    ones = np.ones(subjects, dtype=np.int64)
    value = slow(pruned, baseline, ones)
    np.testing.assert_allclose(found.value, [value])
    each = [slow(pruned[f : f + 1], baseline[f : f + 1], ones) for f in range(len(pruned))]
    np.testing.assert_allclose(found.by_fold, [each])
    rng = np.random.default_rng([3, subjects])
    weights = resampling_weights(subjects, RESAMPLES, rng)
    kinds, which = np.unique(weights, axis=0, return_inverse=True)
    resampled = np.array([slow(pruned, baseline, kind) for kind in kinds])[which]
    resampled = resampled[~np.isnan(resampled)]
    if resampled.size > 1:
        np.testing.assert_allclose(found.ci_low, np.quantile(resampled, 0.1), atol=1e-12)
        np.testing.assert_allclose(found.ci_high, np.quantile(resampled, 0.9), atol=1e-12)
        np.testing.assert_allclose(found.se_subjects, resampled.std(ddof=1), atol=1e-12)
    reached = 1
    for swap in exchanges(subjects, EXCHANGES, rng):
        places = swap[np.newaxis, :, np.newaxis, np.newaxis]
        mine, other = (
            np.where(places, baseline, pruned),
            np.where(places, pruned, baseline),
        )
        changed = slow(mine, other, ones)
        reached += bool(np.isnan(changed) or abs(changed) >= abs(value) * (1 - 1e-9))
    p = np.nan if np.isnan(value) else reached / 2**subjects
    np.testing.assert_allclose(found.p_value, [p])


def test_by_hand() -> None:
    """Two folds, two subjects: IoU 0.75 and 0.5 against 0.5 and 0.5."""
    pruned = np.array([[[[[3, 3]], [[2, 2]]]], [[[[4, 4]], [[4, 4]]]]], dtype=np.float64)
    baseline = np.array([[[[[2, 2]], [[2, 2]]]], [[[[4, 4]], [[4, 4]]]]], dtype=np.float64)
    found = differences(pruned, baseline)
    np.testing.assert_array_equal(found.by_fold, [[0.25, 0.0]])
    assert found.value == 0.125
    assert found.sd_folds == pytest.approx(0.25 / np.sqrt(2))
    assert found.p_value == 0.5  # the exchange of both subjects gives -0.125, of one 0
    assert found.ci_low <= 0.125 <= found.ci_high


def many(pairs: int, folds: int = 9, subjects: int = 20) -> tuple[NDArray[np.float64], ...]:
    rng = np.random.default_rng(0)
    either = rng.integers(50, 99, (2, 9, folds, pairs, subjects)).astype(np.float64)
    both = np.floor(either * rng.random(either.shape))
    return tuple(np.stack([both[k], either[k]]) for k in range(2))


def test_the_same_bits_whatever_else_is_compared() -> None:
    """Also with more than eight folds and classes, where NumPy would add in another order."""
    pruned, baseline = many(3)
    together = differences(pruned, baseline, seed=5)
    alone = differences(pruned[..., 1:2, :].copy(), baseline[..., 1:2, :].copy(), seed=5)
    for name in together.__slots__:
        np.testing.assert_array_equal(getattr(together, name)[1:2], getattr(alone, name), name)


def test_the_seed_matters() -> None:
    first, second = (differences(*many(1), seed=seed) for seed in (0, 1))
    assert first.value == second.value
    assert first.ci_low != second.ci_low


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = differences(*many(2))
    monkeypatch.setattr("skiptool.readings.difference._MEMORY", 1e6)
    cut = differences(*many(2))
    for name in whole.__slots__:
        np.testing.assert_array_equal(getattr(whole, name), getattr(cut, name), name)


def test_one_subject_has_no_interval_and_one_fold_no_spread() -> None:
    found = differences(*many(2, folds=1, subjects=1))
    assert not np.isnan(found.value).any()
    for name in ("sd_folds", "ci_low", "ci_high", "se_subjects", "p_value"):
        assert np.isnan(getattr(found, name)).all(), name


def test_the_level_is_kept() -> None:
    narrow, wide = (differences(*many(1), level=level) for level in (0.5, 0.99))
    assert wide.ci_low < narrow.ci_low < narrow.ci_high < wide.ci_high
    with pytest.raises(ArgumentError, match="level 95"):
        differences(*many(1), level=95)


def test_networks_that_are_alike_seldom_differ() -> None:
    """200 pairs drawn alike: about one in twenty below 0.05, intervals hold 0 in most."""
    rng = np.random.default_rng(4)
    either = np.full((2, 1, 1, 200, 30), 100.0)
    both = rng.integers(30, 90, either.shape).astype(np.float64)
    found = differences(*(np.stack([both[k], either[k]]) for k in range(2)))
    assert 0.01 < (found.p_value < 0.05).mean() < 0.1
    assert 0.88 < ((found.ci_low <= 0) & (found.ci_high >= 0)).mean() < 0.99


@settings(max_examples=30, deadline=None)
@given(counts())
def test_iou_by_fold_is_that_of_the_counts_summed(drawn: tuple[Array, Array]) -> None:
    table, _ = drawn
    expected = [float(mean_iou(fold.sum(axis=0))) for fold in table]
    np.testing.assert_allclose(iou_by_fold(parts(table)[:, :, :, 0]), expected)
