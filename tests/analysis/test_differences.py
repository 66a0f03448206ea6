"""Tests of ``differences``."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy import stats

from skiptool.analysis.differences import (
    Differences,
    NetworkCondition,
    PairedDifference,
    iou_by_training,
    leave_one_out_iou,
    paired_differences,
    subject_counts,
)
from skiptool.analysis.differences import differences as measured
from skiptool.errors import ArgumentError
from skiptool.metrics import GROUP_COLUMNS, mean_iou, scores
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shift

PAIRS = [(a, b) for a in ("background", "cell") for b in ("background", "cell")]
PLAIN: dict[str, Any] = {
    "dataset": "d.zarr",
    "dataset_id": "d1",
    "domain": "a",
    "split": "test",
    "arch": "unet",
    "encoder": "resnet18",
    "pruning": "baseline",
    "fold": 0,
    "model_id": "m0",
    "shift": "original",
    "factor": None,
    "clean_skips": None,
    "subject": "s1",
    "repeat": None,
}
COLUMNS = tuple(dict.fromkeys((*GROUP_COLUMNS, "repeat", "subject", "pixels")))
BASELINE = NetworkCondition("unet", "resnet18", "baseline", False, ORIGINAL)


def cells(*pixels: int, **facts: object) -> list[dict[str, Any]]:
    """Rows of one subject: pixels by truth and predicted class."""
    return [
        {**PLAIN, **facts, "truth": truth, "predicted": predicted, "pixels": count}
        for (truth, predicted), count in zip(PAIRS, pixels, strict=True)
    ]


def columns(*groups: list[dict[str, Any]]) -> dict[str, list[Any]]:
    rows = [row for group in groups for row in group]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def test_pixels_by_hand() -> None:
    """In both: 6 and 1; in either: 6 + 2 + 1 and 1 + 0 + 4; fold 1 lacks s1."""
    found = subject_counts(
        columns(
            cells(9, 2, 1, 6, subject="s2"),
            cells(9, 0, 4, 1, subject="s1"),
            cells(9, 0, 0, 3, subject="s2", fold=1, model_id="m1"),
        )
    )
    (counts,) = found
    facts = (counts.dataset, counts.dataset_id, counts.domain, counts.split)
    assert facts == ("d.zarr", "d1", "a", "test")
    assert (counts.classes, counts.subjects) == (("cell",), ("s1", "s2"))
    overlap = counts.networks[BASELINE]
    assert overlap.trainings == ((0, 0), (1, 0))
    np.testing.assert_array_equal(overlap.pixels[0], [[[1, 6], [0, 3]]])
    np.testing.assert_array_equal(overlap.pixels[1], [[[5, 9], [0, 3]]])
    np.testing.assert_array_equal(overlap.present, [[True, True], [False, True]])


def test_the_iou_is_that_of_the_scores() -> None:
    """Random pixels of three classes in two datasets: sums over subjects give the same IoU."""
    rng = np.random.default_rng(0)
    names = ("ground", "a", "b")
    rows = [
        {
            **PLAIN,
            "dataset_id": data,
            "pruning": pruning,
            "fold": fold,
            "model_id": model,
            "shift": "contrast",
            "factor": factor,
            "subject": subject,
            "truth": truth,
            "predicted": other,
            "pixels": int(rng.integers(0, 50)),
        }
        for data in ("d1", "d2")
        for pruning in ("L1-pruned", "baseline")
        for fold, model in ((1, "m1"), (0, "m0"))
        for factor in (0.5, 2.0)
        for subject in ("x", "q", "z")
        for truth in names
        for other in names
    ]
    totals = {name: [row[name] for row in rows] for name in COLUMNS}
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in GROUP_COLUMNS)
        groups.setdefault(key, {**row, "pixels": 0})["pixels"] += row["pixels"]
    summed = list(groups.values())
    expected = scores({name: [row[name] for row in summed] for name in (*GROUP_COLUMNS, "pixels")})
    found = {
        (counts.dataset_id, network.pruning, fold, network.shift): float(np.mean(both / either))
        for counts in subject_counts(totals)
        for network, overlap in counts.networks.items()
        for place, (fold, _) in enumerate(overlap.trainings)
        for both, either in [overlap.pixels[:, :, place].sum(axis=-1)]
    }
    assert len(found) == len(expected) == 16
    for score in expected:
        key = (score.dataset_id, score.pruning, score.fold, score.shift)
        np.testing.assert_allclose(found[key], score.miou)


def test_domains_splits_and_datasets_are_separate() -> None:
    found = subject_counts(
        columns(
            cells(1, 0, 0, 1),
            cells(1, 0, 0, 2, domain="b", subject="s9"),
            cells(1, 0, 0, 3, split="train"),
            cells(1, 0, 0, 4, dataset_id="d2"),
            cells(1, 0, 0, 5, subject="s2"),
        )
    )
    assert [(one.dataset_id, one.domain, one.split) for one in found] == [
        ("d1", "a", "test"),
        ("d1", "b", "test"),
        ("d1", "a", "train"),
        ("d2", "a", "test"),
    ]
    assert [one.subjects for one in found] == [("s1", "s2"), ("s9",), ("s1",), ("s1",)]
    pixels = [one.networks[BASELINE].pixels[0].sum() for one in found]
    assert pixels == [6, 2, 3, 4]


def test_ensembles_shifts_and_architectures_are_separate_networks() -> None:
    (counts,) = subject_counts(
        columns(
            cells(1, 0, 0, 1, fold=ENSEMBLE_FOLD),
            cells(1, 0, 0, 1),
            cells(1, 0, 0, 1, shift="brightness", factor=0.5),
            cells(1, 0, 0, 1, arch="linknet"),
        )
    )
    assert list(counts.networks) == [
        NetworkCondition("unet", "resnet18", "baseline", True, ORIGINAL),
        BASELINE,
        NetworkCondition("unet", "resnet18", "baseline", False, Shift.parse("brightness=0.5")),
        NetworkCondition("linknet", "resnet18", "baseline", False, ORIGINAL),
    ]


def test_duplicate_models_count_once_and_substitutions_never() -> None:
    once = columns(cells(9, 2, 1, 6))
    other = columns(
        cells(9, 2, 1, 6), cells(9, 2, 1, 6), cells(9, 0, 9, 0, clean_skips="1", subject="s2")
    )
    (first,), (second,) = subject_counts(once), subject_counts(other)
    assert first.subjects == second.subjects
    np.testing.assert_array_equal(first.networks[BASELINE].pixels, second.networks[BASELINE].pixels)


def test_trainings_are_folds_and_repeats() -> None:
    (counts,) = subject_counts(
        columns(
            cells(9, 0, 0, 3, repeat=2, model_id="m2"),
            cells(9, 0, 0, 1),
            cells(9, 0, 0, 4, fold=1, repeat=0, model_id="m3"),
            cells(9, 0, 0, 2, repeat=1, model_id="m1"),
        )
    )
    overlap = counts.networks[BASELINE]
    assert overlap.trainings == ((0, 0), (0, 1), (0, 2), (1, 0))
    np.testing.assert_array_equal(overlap.pixels[0], [[[1], [2], [3], [4]]])


def test_further_models_of_a_fold_are_further_trainings() -> None:
    """Two runs with different seeds, numbered by their ids, in any order."""
    groups = [cells(9, 2, 1, 6, repeat=1, model_id="m5"), cells(9, 0, 3, 5, model_id="m9")]
    groups += [cells(9, 0, 3, 4, model_id="m2", subject="s2"), cells(9, 0, 3, 3, model_id="m3")]
    for order in (groups, groups[::-1]):
        (counts,) = subject_counts(columns(*order))
        overlap = counts.networks[BASELINE]
        assert overlap.trainings == ((0, 0), (0, 1), (0, 2), (0, 3))
        np.testing.assert_array_equal(overlap.pixels[0, 0], [[0, 4], [6, 0], [3, 0], [5, 0]])
        assert overlap.present.tolist() == [[False, True], *[[True, False]] * 3]


def test_a_missing_repeat_is_the_first_one() -> None:
    """One model in a table from before repeats were recorded and in one that names them."""
    found = columns(cells(9, 2, 1, 6), cells(9, 2, 1, 6, repeat=0))
    (counts,) = subject_counts(found)
    assert counts.networks[BASELINE].trainings == ((0, 0),)


def test_a_fold_and_a_subject_may_have_no_name() -> None:
    (counts,) = subject_counts(
        columns(cells(1, 0, 0, 1, fold=None, subject=None), cells(1, 0, 0, 2, fold=3))
    )
    assert counts.networks[BASELINE].trainings == ((3, 0), (None, 0))
    assert counts.subjects == ("", "s1")


def test_an_empty_table_has_no_counts() -> None:
    assert subject_counts(columns()) == []
    assert subject_counts(columns(cells(1, 0, 0, 1, clean_skips="1"))) == []


def test_rows_with_clean_skips_are_separate_networks_on_request() -> None:
    totals = columns(
        cells(9, 0, 2, 6, clean_skips="1"), cells(9, 0, 9, 0), cells(9, 0, 1, 7, clean_skips="2+3")
    )
    (counts,) = subject_counts(totals, substituted=True)
    assert list(counts.networks) == [
        replace(BASELINE, clean_skips="1"),
        BASELINE,
        replace(BASELINE, clean_skips="2+3"),
    ]
    found = [int(overlap.pixels[0].sum()) for overlap in counts.networks.values()]
    assert found == [6, 0, 7]


PLAIN_PAIRED: dict[str, Any] = {
    "dataset": "d.zarr",
    "dataset_id": "d1",
    "domain": "a",
    "split": "test",
    "arch": "unet",
    "encoder": "resnet18",
    "shift": "original",
    "factor": None,
    "clean_skips": None,
    "repeat": None,
}


def rows(pruning: str, fold: int, both: dict[str, int], **facts: object) -> list[dict[str, Any]]:
    """Rows of a model: the number of pixels predicted of 100 cell pixels in each subject."""
    return [
        {
            **PLAIN_PAIRED,
            "pruning": pruning,
            "fold": fold,
            "model_id": f"{pruning} {fold}",
            **facts,
            "subject": subject,
            "truth": truth,
            "predicted": predicted,
            "pixels": count,
        }
        for subject, found in both.items()
        for (truth, predicted), count in zip(PAIRS, (900, 0, 100 - found, found), strict=True)
    ]


def columns_of_paired(*groups: list[dict[str, Any]]) -> dict[str, list[Any]]:
    every = [row for group in groups for row in group]
    return {name: [row[name] for row in every] for name in COLUMNS}


FOUND = [
    rows("baseline", 0, {"s1": 50, "s2": 70}),
    rows("baseline", 1, {"s1": 60, "s2": 60}),
    rows("L1-pruned", 0, {"s1": 60, "s2": 80}),
    rows("L1-pruned", 1, {"s1": 60, "s2": 64}),
]


def test_by_hand() -> None:
    """IoU 0.60, 0.60 of the baseline's folds, 0.70, 0.62 of the pruned ones."""
    (one,) = paired_differences(columns_of_paired(*FOUND))
    assert (one.family, one.network, one.shift) == ("resnet18", "L1-pruned", ORIGINAL)
    assert (one.dataset, one.dataset_id, one.domain, one.split) == ("d.zarr", "d1", "a", "test")
    assert one.classes == ("cell",)
    assert one.by_training == pytest.approx((0.1, 0.02))
    assert one.value == pytest.approx(0.06)
    assert one.sd_trainings == pytest.approx(0.08 / math.sqrt(2))
    assert one.se_trainings == pytest.approx(0.04)
    # pseudo-values 0.1 and 0.1, 0 and 0.04: of the subjects 0.05 and 0.07, no interaction but that
    assert one.se_subjects == pytest.approx(0.01)
    interaction = 0.02**2 / 4
    error = math.sqrt(0.04**2 + max(0.01**2 - interaction, 0))
    assert one.p_value == pytest.approx(2 * stats.t.sf(0.06 / error, 1))
    assert one.ci_high == pytest.approx(0.06 + error * stats.t.ppf(0.975, 1))
    assert (one.trainings, one.subjects, one.unpaired) == (2, 2, 0)


def test_repeats_are_paired_and_those_without_a_partner_counted() -> None:
    (one,) = paired_differences(
        columns_of_paired(
            *(rows("baseline", 0, {"s1": 50, "s2": 50}, repeat=repeat) for repeat in (2, 0, 1)),
            rows("L1-pruned", 0, {"s1": 60, "s2": 60}, repeat=0),
            rows("L1-pruned", 0, {"s1": 80, "s2": 80}, repeat=2),
            rows("L1-pruned", 1, {"s1": 99, "s2": 99}, repeat=0),
        )
    )
    assert one.pairs == ((0, 0), (0, 2))
    assert one.by_training == pytest.approx((0.1, 0.3))
    assert (one.trainings, one.unpaired) == (2, 2)


def test_one_training_has_an_interval_over_subjects_and_no_test() -> None:
    (one,) = paired_differences(columns_of_paired(FOUND[0], FOUND[2]))
    assert one.value == pytest.approx(0.1)
    assert (one.ci_low, one.ci_high) == pytest.approx((0.1, 0.1))
    for value in (one.p_value, one.sd_trainings, one.se_trainings):
        assert math.isnan(value)


def test_only_trainings_and_subjects_that_both_have_are_compared() -> None:
    found = columns_of_paired(
        rows("baseline", 0, {"s1": 50, "s2": 70}),
        rows("baseline", 2, {"s1": 1}),
        rows("L1-pruned", 0, {"s1": 60, "s3": 99}),
        rows("L1-pruned", 1, {"s1": 99}),
    )
    (one,) = paired_differences(found)
    assert (one.value, one.subjects, one.trainings) == (pytest.approx(0.1), 1, 1)
    assert one.unpaired == 2
    for value in (one.ci_low, one.ci_high, one.se_subjects, one.p_value, one.sd_trainings):
        assert math.isnan(value)


def test_folds_may_have_different_subjects() -> None:
    found = columns_of_paired(
        rows("baseline", 0, {"s1": 50, "s2": 50}),
        rows("baseline", 1, {"s3": 50, "s4": 50}),
        rows("L1-pruned", 0, {"s1": 60, "s2": 60}),
        rows("L1-pruned", 1, {"s3": 70, "s4": 70}),
    )
    (one,) = paired_differences(found)
    assert one.by_training == pytest.approx((0.1, 0.2))
    assert (one.subjects, one.trainings, one.nested) == (4, 2, True)
    assert one.p_value == pytest.approx(stats.ttest_1samp([0.1, 0.2], 0).pvalue)


def test_a_fold_without_a_class_is_left_out() -> None:
    empty = [
        {**row, "pixels": 900 if row["truth"] == row["predicted"] == "background" else 0}
        for row in rows("L1-pruned", 1, {"s1": 0, "s2": 0})
    ]
    blank = [{**row, "pruning": "baseline", "model_id": "b"} for row in empty]
    (one,) = paired_differences(columns_of_paired(FOUND[0], FOUND[2], empty, blank))
    assert (one.value, one.trainings) == (pytest.approx(0.1), 1)
    assert math.isnan(one.by_training[1])
    (none,) = paired_differences(columns_of_paired(empty, blank))
    assert math.isnan(none.value)
    assert math.isnan(none.p_value)
    assert none.trainings == 0


def test_networks_are_compared_with_their_own_baseline() -> None:
    dark = {"shift": "brightness", "factor": 0.5}
    places = [{}, dark, {"domain": "b"}, {"encoder": "resnet34"}, {"fold": ENSEMBLE_FOLD}]
    found = []
    for step, facts in enumerate(places):
        fold = int(str(facts.pop("fold", 0)))
        for pruning, more in (("baseline", 0), ("L2-pruned", step + 1)):
            both = {"s1": 50 + more, "s2": 50 + more}
            found.append(rows(pruning, fold, both, **facts))
    found.append(rows("L1-pruned", 0, {"s1": 9, "s2": 9}, split="train"))  # without a baseline
    compared = paired_differences(columns_of_paired(*found))
    assert {
        (one.family, one.network, one.shift, one.domain): round(one.value, 3) for one in compared
    } == {
        ("resnet18", "L2-pruned", ORIGINAL, "a"): 0.01,
        ("resnet18", "L2-pruned", Shift.parse("brightness=0.5"), "a"): 0.02,
        ("resnet18", "L2-pruned", ORIGINAL, "b"): 0.03,
        ("resnet34", "L2-pruned", ORIGINAL, "a"): 0.04,
        ("resnet18", "L2-pruned, ensemble", ORIGINAL, "a"): 0.05,
    }


def study(prunings: int = 3, subjects: int = 16, seed: int = 0) -> list[list[dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    names = [f"s{number:02d}" for number in range(subjects)]
    return [
        rows(pruning, fold, dict(zip(names, rng.integers(40, 90, subjects).tolist(), strict=True)))
        for pruning in ("baseline", *(f"L{k}-pruned" for k in range(1, prunings)))
        for fold in range(3)
    ]


def test_bits_do_not_depend_on_other_rows_or_their_order() -> None:
    whole = study()
    first = {one.pruning: one for one in paired_differences(columns_of_paired(*whole))}
    assert paired_differences(columns_of_paired(*whole[:6])) == [first["L1-pruned"]]
    turned = [group[::-1] for group in reversed(whole)]
    for group in turned:  # a table has the background first
        group.sort(key=lambda row: PAIRS.index((row["truth"], row["predicted"])))
    again = {one.pruning: one for one in paired_differences(columns_of_paired(*turned))}
    assert again == first


def test_many_pairs_are_compared_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = paired_differences(columns_of_paired(*study(5)))
    monkeypatch.setattr("skiptool.analysis.differences._BATCH", 3)
    assert paired_differences(columns_of_paired(*study(5))) == whole
    assert [one.pruning for one in whole] == [f"L{k}-pruned" for k in range(1, 5)]


def test_without_partners_there_are_no_differences() -> None:
    assert paired_differences(columns_of_paired()) == []
    assert paired_differences(columns_of_paired(FOUND[0], FOUND[1])) == []
    assert paired_differences(columns_of_paired(FOUND[2])) == []
    apart = [rows("baseline", 0, {"s1": 1}), rows("L1-pruned", 0, {"s2": 1})]
    assert paired_differences(columns_of_paired(*apart)) == []
    assert isinstance(paired_differences(columns_of_paired(*FOUND))[0], PairedDifference)


Array = NDArray[np.int64]
Floats = NDArray[np.float64]


@st.composite
def counts(draw: st.DrawFn) -> tuple[Array, Array]:
    """Confusion counts of two networks, (T, S, J, J), with many zeros and absent classes."""
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
        self.names = tuple(asdict(found.summaries[0]))
        for name in self.names:
            setattr(self, name, np.array([getattr(one, name) for one in found.summaries]))

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
        "value": each.mean(),
        "sd_trainings": each.std(ddof=1),
        "se_trainings": each.std(ddof=1) / np.sqrt(trainings),
        "se_subjects": np.sqrt(of_subject / cells),
        "ci_low": low,
        "ci_high": high,
        "p_value": p,
    }


@given(counts())
@settings(max_examples=60, deadline=None)
def test_differences_follow_the_definition(pair: tuple[Array, Array]) -> None:
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


def test_differences_by_hand() -> None:
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


def test_one_training_gives_an_interval_over_subjects_and_no_test() -> None:
    both = np.array([[10.0, 20.0, 60.0]])
    found = differences(single(both), single(np.zeros((1, 3))), np.ones((1, 3), dtype=bool))
    each = both[0] / 100  # of a mean of equal subjects the jackknife is the usual error
    low, high = stats.t.interval(0.95, 2, each.mean(), each.std(ddof=1) / np.sqrt(3))
    np.testing.assert_allclose([found.ci_low[0], found.ci_high[0]], [low, high])
    np.testing.assert_allclose(found.se_subjects, each.std(ddof=1) / np.sqrt(3))
    for name in ("sd_trainings", "se_trainings", "p_value"):
        assert np.isnan(getattr(found, name)).all(), name


def test_folds_with_different_subjects_are_the_units() -> None:
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
    """Trainings 0 and 2 share no subject, but both share some with training 1."""
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


def test_bits_do_not_depend_on_other_pairs() -> None:
    """Also with more than eight trainings and classes, where NumPy would add in another order."""
    first, second = many(3)
    together = differences(first, second, everywhere(first))
    alone = differences(first[..., 1:2, :], second[..., 1:2, :].copy(), everywhere(first))
    for name in together.names:
        np.testing.assert_array_equal(getattr(together, name)[1:2], getattr(alone, name), name)


def test_exchanging_the_networks_changes_the_sign() -> None:
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


def test_equal_networks_do_not_differ() -> None:
    first, _ = many(1)
    found = differences(first, first, everywhere(first))
    assert (found.value[0], found.ci_low[0], found.ci_high[0], found.p_value[0]) == (0, 0, 0, 1)


def test_the_level_is_respected() -> None:
    first, second = many(1)
    narrow, wide = (
        differences(first, second, everywhere(first), level=level) for level in (0.5, 0.99)
    )
    assert wide.ci_low < narrow.ci_low < narrow.ci_high < wide.ci_high
    with pytest.raises(ArgumentError, match="level 95"):
        differences(first, second, everywhere(first), level=95)


@pytest.mark.parametrize("trainings", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_two_trainings_of_one_network_do_not_differ_significantly(
    trainings: int, spread: float
) -> None:
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
    found = leave_one_out_iou(parts(table))[:, 0]
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
