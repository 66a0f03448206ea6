from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from skiptool.metrics import KEYS
from skiptool.names import ENSEMBLE_FOLD
from skiptool.readings.paired import PairedDifference, paired_differences
from skiptool.records import ORIGINAL, Shift

PAIRS = [(a, b) for a in ("background", "cell") for b in ("background", "cell")]
PLAIN: dict[str, Any] = {
    **{"dataset": "d.zarr", "dataset_id": "d1", "domain": "a", "split": "test"},
    **{"arch": "unet", "encoder": "resnet18", "shift": "original", "factor": None},
    **{"clean_skips": None, "repeat": None},
}
COLUMNS = tuple(dict.fromkeys((*KEYS, "repeat", "subject", "pixels")))


def rows(pruning: str, fold: int, both: dict[str, int], **facts: object) -> list[dict[str, Any]]:
    """Rows of a model: of 100 pixels that are cell in each subject, so many are found."""
    return [
        {
            **{**PLAIN, "pruning": pruning, "fold": fold, "model_id": f"{pruning} {fold}"},
            **{**facts, "subject": subject, "truth": truth, "predicted": predicted},
            "pixels": count,
        }
        for subject, found in both.items()
        for (truth, predicted), count in zip(PAIRS, (900, 0, 100 - found, found), strict=True)
    ]


def columns(*groups: list[dict[str, Any]]) -> dict[str, list[Any]]:
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
    (one,) = paired_differences(columns(*FOUND))
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
        columns(
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
    (one,) = paired_differences(columns(FOUND[0], FOUND[2]))
    assert one.value == pytest.approx(0.1)
    assert (one.ci_low, one.ci_high) == pytest.approx((0.1, 0.1))
    for value in (one.p_value, one.sd_trainings, one.se_trainings):
        assert math.isnan(value)


def test_only_trainings_and_subjects_that_both_have_are_compared() -> None:
    found = columns(
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


def test_folds_may_have_subjects_of_their_own() -> None:
    found = columns(
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
    (one,) = paired_differences(columns(FOUND[0], FOUND[2], empty, blank))
    assert (one.value, one.trainings) == (pytest.approx(0.1), 1)
    assert math.isnan(one.by_training[1])
    (none,) = paired_differences(columns(empty, blank))
    assert math.isnan(none.value)
    assert math.isnan(none.p_value)
    assert none.trainings == 0


def test_each_is_compared_with_the_baseline_of_its_family_shift_domain_and_kind() -> None:
    dark = {"shift": "brightness", "factor": 0.5}
    places = [{}, dark, {"domain": "b"}, {"encoder": "resnet34"}, {"fold": ENSEMBLE_FOLD}]
    found = []
    for step, facts in enumerate(places):
        fold = int(str(facts.pop("fold", 0)))
        for pruning, more in (("baseline", 0), ("L2-pruned", step + 1)):
            both = {"s1": 50 + more, "s2": 50 + more}
            found.append(rows(pruning, fold, both, **facts))
    found.append(rows("L1-pruned", 0, {"s1": 9, "s2": 9}, split="train"))  # without a baseline
    compared = paired_differences(columns(*found))
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


def test_the_same_bits_whatever_else_is_in_the_table_and_in_whatever_order() -> None:
    whole = study()
    first = {one.pruning: one for one in paired_differences(columns(*whole))}
    assert paired_differences(columns(*whole[:6])) == [first["L1-pruned"]]
    turned = [group[::-1] for group in reversed(whole)]
    for group in turned:  # a table has the background first
        group.sort(key=lambda row: PAIRS.index((row["truth"], row["predicted"])))
    again = {one.pruning: one for one in paired_differences(columns(*turned))}
    assert again == first


def test_many_pairs_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = paired_differences(columns(*study(5)))
    monkeypatch.setattr("skiptool.readings.paired._TOGETHER", 3)
    assert paired_differences(columns(*study(5))) == whole
    assert [one.pruning for one in whole] == [f"L{k}-pruned" for k in range(1, 5)]


def test_nothing_to_compare() -> None:
    assert paired_differences(columns()) == []
    assert paired_differences(columns(FOUND[0], FOUND[1])) == []
    assert paired_differences(columns(FOUND[2])) == []
    apart = [rows("baseline", 0, {"s1": 1}), rows("L1-pruned", 0, {"s2": 1})]
    assert paired_differences(columns(*apart)) == []
    assert isinstance(paired_differences(columns(*FOUND))[0], PairedDifference)
