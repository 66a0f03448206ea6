from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skiptool.analysis.differences import paired_differences
from skiptool.analysis.substitution import Substitution, substitution_effects
from skiptool.errors import ArgumentError
from skiptool.metrics import mean_and_spread, scores
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shift
from substituted import BRIGHT, COLUMNS, DARK, columns, rows, study


def test_by_hand() -> None:
    """IoU 0.20 and 0.40 in two folds; 0.80 and 0.70 with a clean L1; 0.90 of one fold unshifted."""
    (one,) = substitution_effects(
        columns(
            rows(DARK, None, (10, 30)),
            rows(DARK, None, (30, 50), fold=1),
            rows(DARK, "1", (70, 90)),
            rows(DARK, "1", (60, 80), fold=1),
            rows(ORIGINAL, None, (90, 90)),
        )
    )
    assert (one.clean_skips, one.parts, one.label) == ("1", ("1",), "L1")
    assert (one.plain.value, one.plain.trainings) == (pytest.approx(0.3), 2)
    assert one.plain.sd_trainings == pytest.approx(0.2 / math.sqrt(2))
    assert (one.clean.value, one.clean.trainings) == (pytest.approx(0.75), 2)
    assert one.original is not None
    assert (one.original.value, one.original.trainings) == (pytest.approx(0.9), 1)
    gain = one.regained
    assert gain.by_training == pytest.approx((0.6, 0.3))
    assert gain.value == pytest.approx(0.45)
    # each subject alone regains (0.6 + 0.3) / 2 as well: only trainings vary, by 0.15
    assert gain.se_subjects == pytest.approx(0.0, abs=1e-12)
    half = 0.15 * stats.t.ppf(0.975, 1)
    assert (gain.ci_low, gain.ci_high) == pytest.approx((0.45 - half, 0.45 + half))
    assert gain.p_value == pytest.approx(2 * stats.t.sf(3.0, 1))
    assert (gain.subjects, gain.trainings, gain.shift) == (2, 2, DARK)
    assert one.lost is not None
    assert one.lost.by_training == pytest.approx((-0.1,))
    assert (one.behind, one.lowest) == (None, (DARK, pytest.approx(0.3)))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Totals of two folds and three subjects; counts of zero are likely."""
    names = ("ground", "a", "b")
    pixels = st.sampled_from([0, 0, 1, 5, 40])
    groups = []
    for fold in (0, 1):
        for shift, clean in ((ORIGINAL, None), (DARK, None), (DARK, "1"), (DARK, "2+3")):
            (first, *_) = rows(shift, clean, (0,), fold=fold)
            groups.append(
                [
                    {**first, "subject": s, "truth": t, "predicted": p, "pixels": draw(pixels)}
                    for s in ("x", "y", "z")
                    for t in names
                    for p in names
                ]
            )
    return columns(*groups)


def slow(totals: dict[str, list[Any]], clean: str | None, shift: str) -> tuple[float, float]:
    """Mean and spread over folds of the scores of the rows chosen, as if they were plain."""
    every = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*totals.values(), strict=True)]
    cells: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in every:
        if (row["clean_skips"], row["shift"]) == (clean, shift):
            key = (row["fold"], row["truth"], row["predicted"])
            cells.setdefault(key, {**row, "clean_skips": None, "pixels": 0})
            cells[key]["pixels"] += row["pixels"]
    summed = {name: [row[name] for row in cells.values()] for name in COLUMNS}
    return mean_and_spread([score.miou for score in scores(summed)])


@settings(max_examples=25, deadline=None)
@given(tables())
def test_scores_are_those_of_the_definition(totals: dict[str, list[Any]]) -> None:
    found = substitution_effects(totals)
    assert [one.clean_skips for one in found] == ["1", "2+3"]
    for one in found:
        assert one.original is not None
        for mean, key in (
            (one.clean, (one.clean_skips, "brightness")),
            (one.plain, (None, "brightness")),
            (one.original, (None, "original")),
        ):
            np.testing.assert_allclose((mean.value, mean.sd_trainings), slow(totals, *key))
        if one.clean.trainings == one.plain.trainings == 2:
            difference = one.clean.value - one.plain.value
            np.testing.assert_allclose(one.regained.value, difference, atol=1e-12)


def effect(clean: str, pruning: str = "baseline") -> Substitution:
    (one,) = substitution_effects(
        columns(
            rows(DARK, None, (1, 2), pruning=pruning), rows(DARK, clean, (3, 4), pruning=pruning)
        )
    )
    return one


@pytest.mark.parametrize(
    ("clean", "pruning", "label", "shifted"),
    [
        ("1", "baseline", "L1", ("2", "3", "4", "bottleneck")),
        ("bottleneck", "L1-pruned", "bottleneck", ("2", "3", "4")),
        ("bottleneck", "L4-pruned", "bottleneck", ()),
        ("bottleneck", "dense", "bottleneck", None),
        ("1+2+3+4", "baseline", "all skips", ("bottleneck",)),
        ("2+3+4", "L1-pruned", "all skips", ("bottleneck",)),
        ("2+3+4", "baseline", "L2, L3, L4", ("1", "bottleneck")),
        ("4", "L3-pruned", "L4", ("bottleneck",)),
        ("2+3+4+bottleneck", "baseline", "all but L1", ("1",)),
        ("3+bottleneck", "skips-1+3", "all but L1", ("1",)),
        ("1+2+3+4+bottleneck", "baseline", "all inputs", ()),
        ("1+bottleneck", "dense", "L1, bottleneck", None),
        ("1+2", "L1-pruned", "L1, L2", None),
        ("<b>+", "baseline", "<b>, ", None),
    ],
)
def test_names(clean: str, pruning: str, label: str, shifted: tuple[str, ...] | None) -> None:
    one = effect(clean, pruning)
    assert (one.label, one.shifted) == (label, shifted)


def test_single_inputs_come_first_and_all_skips_before_other_sets() -> None:
    order = ["1", "2", "4", "bottleneck", "1+2+3+4", "1+2", "3+4", "2+3+4+bottleneck"]
    assert [one.clean_skips for one in sorted(map(effect, order[::-1]), key=lambda e: e.order)] == (
        order
    )


def test_substitutions_are_compared_with_their_plain_prediction() -> None:
    places: list[dict[str, object]] = [
        {},
        {"domain": "b"},
        {"split": "train"},
        {"encoder": "resnet34"},
        {"pruning": "L1-pruned"},
        {"fold": ENSEMBLE_FOLD},
    ]
    groups = []
    for step, facts in enumerate(places):
        groups += [rows(DARK, None, (10, 10), **facts), rows(BRIGHT, None, (20, 20), **facts)]
        groups += [rows(DARK, "2", (30 + step,) * 2, **facts)]
    found = substitution_effects(columns(*groups))
    gained = {round(one.regained.value, 6) for one in found}
    assert gained == {0.2, 0.21, 0.22, 0.23, 0.24, 0.25}
    assert all(one.original is None for one in found)
    assert [one.regained.ensemble for one in found].count(True) == 1


def test_no_effect_without_plain_prediction_or_substitution() -> None:
    assert substitution_effects(columns()) == []
    assert substitution_effects(columns(rows(DARK, None, (1,)))) == []
    assert substitution_effects(columns(rows(DARK, "1", (1,)), rows(BRIGHT, None, (1,)))) == []


def test_one_subject_has_no_interval_and_one_training_no_spread() -> None:
    (one,) = substitution_effects(columns(rows(DARK, None, (10,)), rows(DARK, "1", (60,))))
    gain = one.regained
    assert (gain.value, gain.subjects) == (pytest.approx(0.5), 1)
    for value in (
        gain.ci_low,
        gain.se_subjects,
        gain.p_value,
        gain.sd_trainings,
        one.clean.sd_trainings,
    ):
        assert math.isnan(value)


def test_bits_do_not_depend_on_other_rows() -> None:
    totals = study()
    whole = substitution_effects(totals)
    fewer = [clean in (None, "1") for clean in totals["clean_skips"]]
    less = {
        name: [value for value, kept in zip(column, fewer, strict=True) if kept]
        for name, column in totals.items()
    }
    assert substitution_effects(less) == [one for one in whole if one.clean_skips == "1"]


def test_the_lowest_shift_is_that_of_all_plain_predictions() -> None:
    """Also of shifts under which nothing was substituted; each network has its own."""
    worse = Shift.parse("contrast=0.5")
    (one, other) = substitution_effects(
        columns(
            rows(ORIGINAL, None, (90,)),
            rows(DARK, None, (20,)),
            rows(DARK, "1", (80,)),
            rows(worse, None, (5,)),
            rows(worse, None, (95,), pruning="L1-pruned"),
            rows(DARK, None, (30,), pruning="L1-pruned"),
            rows(DARK, "2", (70,), pruning="L1-pruned"),
        )
    )
    assert one.lowest == (worse, pytest.approx(0.05))
    assert other.lowest == (DARK, pytest.approx(0.3))


def test_single_inputs_are_compared_with_the_best_one() -> None:
    cells = {"1": (80, 82), "2": (60, 66), "3": (79, 81), "1+2": (99, 99)}
    groups = [rows(shift, None, (20, 20)) for shift in (DARK, BRIGHT)]
    groups += [rows(DARK, clean, both) for clean, both in cells.items()]
    groups += [rows(BRIGHT, "2", (50, 50)), rows(BRIGHT, "3", (40, 60))]
    found = {(one.regained.shift, one.clean_skips): one.behind
             for one in substitution_effects(columns(*groups))}  # fmt: skip
    none = {key for key, behind in found.items() if behind is None}
    assert none == {(DARK, "1"), (DARK, "1+2"), (BRIGHT, "2")}
    second, third = found[DARK, "2"], found[DARK, "3"]
    assert second is not None
    assert third is not None
    assert (second.value, third.value) == pytest.approx((-0.18, -0.01))
    assert third.ci_high == pytest.approx(-0.01)
    bright = found[BRIGHT, "3"]
    assert bright is not None
    assert (bright.value, bright.ci_low < 0 < bright.ci_high) == (pytest.approx(0.0), True)


def test_losses_are_relative_to_clean_images_of_the_same_training() -> None:
    groups = []
    for fold, both in enumerate((90, 80)):
        groups += [rows(ORIGINAL, None, (both, both), fold=fold)]
        groups += [rows(DARK, None, (10, 10), fold=fold)]
        groups += [rows(DARK, "2+3+4+bottleneck", (both - 20, both - 40), fold=fold)]
    (one,) = substitution_effects(columns(*groups))
    assert one.lost is not None
    assert one.lost.by_training == pytest.approx((-0.3, -0.3))
    assert one.lost.se_trainings == pytest.approx(0.0, abs=1e-12)
    assert one.lost.se_subjects == pytest.approx(0.1)


def test_comparisons_with_the_baseline_ignore_substitutions() -> None:
    totals = study(prunings=("baseline", "L1-pruned"), found={None: 20, "2": 60})
    plain = [clean is None for clean in totals["clean_skips"]]
    without = {
        name: [value for value, kept in zip(column, plain, strict=True) if kept]
        for name, column in totals.items()
    }
    found = paired_differences(totals)
    assert len(found) == 3
    assert found == paired_differences(without)


def test_the_level_must_be_valid() -> None:
    with pytest.raises(ArgumentError, match="level"):
        substitution_effects(study(), level=1.5)


def test_the_clean_images_may_be_of_another_domain() -> None:
    plain = rows(ORIGINAL, None, (90, 90), domain="b")
    totals = columns(plain, rows(ORIGINAL, None, (10, 20)), rows(ORIGINAL, "1", (60, 70)))
    (one,) = substitution_effects(totals, clean_domain="b")
    assert (one.clean_domain, one.is_shifted) == ("b", True)
    assert one.regained.value == pytest.approx(0.5)
    assert one.original is not None
    assert (one.plain.value, one.original.value) == pytest.approx((0.15, 0.9))
    (alike,) = substitution_effects(totals)
    assert (alike.clean_domain, alike.is_shifted) == (None, False)
    assert alike.original == alike.plain
    (lacking,) = substitution_effects(totals, clean_domain="c")
    assert (lacking.is_shifted, lacking.original) == (True, None)


def test_the_clean_domain_itself_is_not_shifted() -> None:
    totals = columns(rows(ORIGINAL, None, (10, 20)), rows(ORIGINAL, "1", (10, 20)))
    (one,) = substitution_effects(totals, clean_domain="a")
    assert (one.clean_domain, one.is_shifted) == (None, False)
