"""Tests of ``substitution``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.analysis.substitution import Substitution, substitution_effects
from skiptool.errors import ArgumentError
from skiptool.figures.heatmap import difference_scale
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shift
from skiptool.report.exhibit import Exhibit
from skiptool.report.substitution import (
    findings,
    regained_caption,
    short_interval,
    substituted_caption,
    substitution_exhibits,
)
from skiptool.stats.permutation import holm
from substituted import BRIGHT, DARK, columns, rows, study

FIVE = ("baseline", *(f"L{k}-pruned" for k in range(1, 5)))


def heads(shown: Exhibit) -> list[str]:
    return list(dict.fromkeys(shown.table.columns["architecture"]))


def joined(*tables: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def test_each_domain_and_split_has_two_matrices_in_one_section() -> None:
    fewer = {None: 10, "2": 15}
    totals = joined(
        study(),
        study(domain="b", found=fewer),
        study(split="train", found=fewer),
        study(dataset_id="d2", found=fewer),
    )
    shown = substitution_exhibits(totals)
    assert [one.topic for one in shown] == ["substitution", "regained"] * 4
    assert {one.heading for one in shown} == {"Which skip connection carries the shift"}
    assert [one.title for one in shown[:4]] == [
        "IoU with clean skip connections, a",
        "IoU regained by clean skip connections, a",
        "IoU with clean skip connections, b",
        "IoU regained by clean skip connections, b",
    ]


def test_networks_are_in_paper_order_and_shifts_by_kind() -> None:
    gray = Shift.parse("contrast=0.5")
    totals = joined(
        study((gray, BRIGHT, ORIGINAL, DARK), ("L2-pruned", "L1-pruned"), found={None: 9, "3": 30}),
        study((DARK,), ("baseline",), found={None: 9, "3": 30}),
        study((DARK,), ("baseline",), (ENSEMBLE_FOLD,), found={None: 9, "3": 30}),
    )
    first, second = substitution_exhibits(totals)
    assert (
        heads(first)
        == heads(second)
        == [
            *("resnet18 baseline", "resnet18 baseline, ensemble"),
            *("resnet18 L1-pruned", "resnet18 L2-pruned"),
        ]
    )
    names = ["original", "brightness 0.5", "brightness 1.5", "contrast 0.5"]
    assert [*first.table.columns][2:] == names
    assert {*second.table.columns["shift"]} == {*names[1:]}
    folds = [number["fold"] for number in first.numbers]
    assert folds[:4] == [None, None, ENSEMBLE_FOLD, ENSEMBLE_FOLD]


def test_many_networks_are_divided_among_sheets() -> None:
    found = {None: 9, "bottleneck": 30}
    totals = study((DARK,), FIVE, (0,), 2, ("resnet18", "resnet34"), found)
    shown = substitution_exhibits(totals)
    assert [one.title.partition(", ")[2] for one in shown[::2]] == ["a, resnet18", "a, resnet34"]
    assert len(heads(shown[0])) == 5
    names = [f"net {number:02d}" for number in range(8)]
    shown = substitution_exhibits(study((DARK,), names, (0,), 2, ("resnet18",), found))
    assert [one.title.partition(", ")[2] for one in shown[::2]] == [
        *("a, resnet18 1 of 2", "a, resnet18 2 of 2")
    ]
    assert [len(heads(one)) for one in shown] == [6, 6, 2, 2]


def test_baselines_have_the_first_sentences() -> None:
    totals = study((DARK,), ("L1-pruned", "baseline"), (0,), 4, ("r18", "r34"), {None: 9, "2": 60})
    first, second = substitution_exhibits(totals)
    told = [sentence.partition(" (one training):")[0] for sentence in first.sentences]
    assert told == ["r18 baseline", "r34 baseline", "r18 L1-pruned", "r34 L1-pruned"]
    assert tuple(second.sentences) == ()


def test_no_exhibit_without_substitutions() -> None:
    assert substitution_exhibits(study(found={None: 20})) == []
    assert substitution_exhibits(columns()) == []
    alone = columns(rows(ORIGINAL, None, (1, 2)), rows(ORIGINAL, "1", (1, 2)))
    assert substitution_exhibits(alone) == []  # without a shift there is nothing to regain


def test_several_classes_are_a_mean() -> None:
    totals = study((DARK,))
    for name in ("truth", "predicted"):
        totals[name] = [
            "debris" if label == "cell" and number % 8 > 3 else label
            for number, label in enumerate(totals[name])
        ]
    first, second = substitution_exhibits(totals)
    assert first.caption.startswith("Mean IoU when")
    assert second.caption.startswith("Mean IoU with")


def test_level_is_checked_and_among_the_numbers() -> None:
    with pytest.raises(ArgumentError, match="level"):
        substitution_exhibits(study(), level=0.0)
    _, second = substitution_exhibits(study(), level=0.5)
    assert {number.get("level") for number in second.numbers} == {0.5, None}


def test_clean_domain_is_the_first_column() -> None:
    totals = columns(
        *(rows(ORIGINAL, clean, (found,) * 16) for clean, found in ((None, 20), ("1", 80))),
        rows(ORIGINAL, None, (90,) * 16, domain="b"),
        rows(DARK, None, (50,) * 16, domain="b"),
    )
    first, second = substitution_exhibits(totals, clean_domain="b")
    assert first.title == "IoU with clean skip connections, a (clean: b)"
    table = first.table.columns
    assert [*table][2:] == ["b", "a"]
    assert {*second.table.columns["shift"]} == {"original"}
    facts = [(number["domain"], number["shift"]) for number in first.numbers[:2]]
    assert facts == [("b", "original"), ("a", "original")]
    assert (table["b"][0], table["a"][0]) == (pytest.approx(0.9), pytest.approx(0.2))
    assert "in domain b and all others from that in domain a" in first.caption
    (told,) = first.sentences
    assert told.startswith(
        "resnet18 baseline (one training): in domain a a clean L1 alone (the only one tried) "
        "raises it from 0.20"
    )
    assert told.endswith("; in domain b 0.90.")


def test_shift_within_another_domain_is_named_with_the_domain() -> None:
    totals = joined(study((DARK,)), study((ORIGINAL,), found={None: 90}, domain="b"))
    first, _ = substitution_exhibits(totals, clean_domain="b")
    assert [*first.table.columns][2:] == ["b", "brightness 0.5"]
    assert "under brightness 0.5 in domain a a clean L1" in first.sentences[0]


def found(totals: Mapping[str, Sequence[Any]] | None = None) -> list[Substitution]:
    return substitution_effects(study() if totals is None else totals)


def told(cells: Mapping[str | None, int], **facts: Any) -> str:  # noqa: ANN401
    """Tell what pixels of 100 say that were found under one shift, by clean inputs."""
    groups = [rows(DARK, clean, (both,), **facts) for clean, both in cells.items()]
    (sentence,) = findings({"net": found(columns(*groups))})
    return sentence


def test_sentence_names_the_inputs_that_restore_the_worst_shift() -> None:
    (worst,) = findings({"resnet18 baseline": found()})
    head, _, tail = worst.partition(" [")
    interval, _, tail = tail.partition("]")
    assert head == (
        "resnet18 baseline (mean over 2 trainings): under brightness 0.5, where its IoU is lowest, "
        "a clean L1 alone raises it from 0.20 to 0.80 (+0.60"
    )
    low, high = map(float, interval.split(", "))
    assert low <= 0.60 <= high
    assert tail.startswith(
        "); no other single input that was tried regains more than 0.02; with all skips cle"
    )
    assert "with a single input shifted it is 0.22 for L1 (−0.73 [" in tail
    assert "]), 0.90 for bottleneck (−0.05 [" in tail
    assert tail.endswith("; unshifted 0.95.")


def test_sentence_names_the_shift_where_a_single_input_regains_most() -> None:
    bright = replace(DARK, factor=1.5)
    groups = [
        *(rows(DARK, None, (10,)), rows(DARK, "1", (10,)), rows(DARK, "2", (9,))),
        *(rows(bright, None, (30,)), rows(bright, "1", (30,)), rows(bright, "2", (70,))),
    ]
    assert findings({"net": found(columns(*groups))}) == (
        "net (one training): under brightness 0.5, where its IoU is lowest, none of the clean "
        "feature maps tried alone (L1, L2) raises it (0.10).",
        "net (one training): under brightness 1.5, where a single input regains most, a clean L2 "
        "alone raises it from 0.30 to 0.70 (+0.40); no other single input that was tried regains "
        "anything.",
    )


def test_the_lowest_of_the_substituted_is_not_called_the_lowest_of_all() -> None:
    """As on a page whose worst shift was not substituted."""
    bright = replace(DARK, factor=1.75)
    groups = [rows(DARK, None, (20,)), rows(DARK, "1", (60,)), rows(bright, None, (0,))]
    mild = replace(DARK, factor=0.9)
    groups += [rows(mild, None, (80,)), rows(mild, "1", (90,))]
    (sentence,) = findings({"net": found(columns(*groups))})
    assert sentence.startswith(
        "net (one training): under brightness 0.5, where its IoU is lowest of the shifts that were "
        "substituted (lowest of all: 0.00 under brightness 1.75), a clean L1"
    )


def test_tied_inputs_are_not_ranked() -> None:
    """L1 regains 0.40 and L2 0.39 with an interval of the difference about 0; L3 is far below."""
    cells = {None: (20, 20, 20, 20), "1": (55, 65, 58, 62), "2": (60, 58, 62, 56)}
    cells |= {"3": (24, 25, 26, 25), "4": (20, 20, 20, 20), "bottleneck": (20, 20, 20, 21)}
    (sentence,) = findings(
        {"net": found(columns(*(rows(DARK, clean, both) for clean, both in cells.items())))}
    )
    assert (
        "not distinguishable from L2 (+0.39); no other single input regains more than 0.05"
        in sentence
    )
    cells["2"] = (40, 49, 42, 48)
    (sentence,) = findings(
        {"net": found(columns(*(rows(DARK, clean, both) for clean, both in cells.items())))}
    )
    assert "not distinguishable" not in sentence
    assert "; no other single input regains more than 0.25" in sentence


def test_single_shifted_inputs_are_described_by_their_loss() -> None:
    """What predict --shifted-skips each leaves: of single clean parts only the bottleneck."""
    cells = {None: (20, 20), "bottleneck": (19, 19), "2+3+4+bottleneck": (50, 54)}
    cells |= {"1+3+4+bottleneck": (88, 86), "1+2+3+4": (90, 90)}
    groups = [rows(DARK, clean, both) for clean, both in cells.items()]
    groups.append(rows(replace(DARK, factor=None, kind=ORIGINAL.kind), None, (90, 92)))
    (sentence,) = findings({"net": found(columns(*groups))})
    assert sentence.startswith(
        "net (one training): under brightness 0.5 none of the clean feature maps tried alone "
        "(bottleneck) raises it (0.20)"
    )
    order = [sentence.index(f" for {name} (") for name in ("L1", "L2", "bottleneck")]
    assert order == sorted(order)
    assert "; with a single input shifted it is 0.52 for L1 (−0.39 [" in sentence


def test_sentences_of_incomplete_substitutions() -> None:
    assert told({None: 20, "1": 50}).endswith(
        "a clean L1 alone (the only one tried) raises it from 0.20 to 0.50 (+0.30)."
    )
    assert told({None: 20, "1+2": 50}).endswith("clean L1, L2 raise it from 0.20 to 0.50 (+0.30).")
    assert told({None: 20, "1+2": 10}).endswith("no combination of clean inputs raises it (0.20).")
    assert told({None: 20, "bottleneck": 50}, pruning="L4-pruned").endswith(
        "a clean bottleneck (the only input of its decoder) raises it from 0.20 to 0.50 (+0.30)."
    )
    assert told({None: 20, "1": 30}).startswith("net (one training): under brightness 0.5 a clean")
    long = told({None: 20, "x" * 300: 50})
    assert len(long) < 220


def test_bound_on_other_inputs_is_rounded_up() -> None:
    """Of 300 pixels of one subject one more is 0.0033, four more are 0.0133."""

    def of(*more: int) -> str:
        cells = dict.fromkeys(("1", "2", "3", "4", "bottleneck"), 0)
        cells |= {str(part): found_more for part, found_more in enumerate(more, 1)}
        groups = []
        for clean, gain in [(None, 0), *cells.items()]:
            (cell,) = [row for row in rows(DARK, clean, (0,)) if row["truth"] == row["predicted"]
                       == "cell"]  # fmt: skip
            lost = {**cell, "predicted": "background", "pixels": 240 - gain}
            ground = {**cell, "truth": "background", "predicted": "background", "pixels": 900}
            groups.append([ground, lost, {**cell, "pixels": 60 + gain}])
        (sentence,) = findings({"net": found(columns(*groups))})
        return sentence

    assert of(60, 4).endswith("; no other single input regains more than 0.02.")
    assert of(60, 1).endswith("; no other single input regains more than 0.01.")
    assert of(60, 0).endswith("; no other single input regains anything.")
    assert of(1, 0).endswith("no clean feature map alone raises it by 0.01 or more (0.20).")
    assert of(0, 0).endswith("no clean feature map alone raises it (0.20).")


def test_no_sentence_without_values() -> None:
    assert findings({}) == ()
    assert findings({"net": []}) == ()
    blank = [
        {**row, "pixels": 900 if row["truth"] == row["predicted"] == "background" else 0}
        for clean in (None, "1")
        for row in rows(DARK, clean, (0, 0))
    ]
    (one,) = found(columns(blank))
    assert math.isnan(one.regained.value)
    assert findings({"net": [one]}) == ()


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.55, 0.63, ".55, .63"),
        (-0.012, 0.004, "−.01, .00"),
        (-0.004, 1.0, ".00, 1.00"),
        (math.nan, math.nan, ""),
    ],
)
def test_intervals_are_short(low: float, high: float, text: str) -> None:
    assert short_interval(replace(found()[0].regained, ci_low=low, ci_high=high)) == text


def test_captions_describe_data_and_limits() -> None:
    effects = found()
    text = substituted_caption(effects, "cell IoU")
    for part in (
        "Cell IoU when some inputs of the decoder",
        "the test samples of d.zarr (n = ",
        " subjects); mean over 2 trainings, standard deviation below it",
        "activation patching",
        "never saw in training",
        "only the reverse, in which it alone is shifted",
    ):
        assert part in text
    scale = difference_scale(np.array([0.6]))
    text = regained_caption(effects, "cell IoU", 0.9, scale)
    for part in (
        "Cell IoU with clean inputs",
        "mean over 2 trainings",
        "ends at −0.60 and +0.60",
        "90 % intervals and t-tests treat trainings and the 16 subjects as random",
        "adjustment over 12 comparisons",
    ):
        assert part in text
    single = found(study(folds=[0], subjects=1))
    assert "one training." in substituted_caption(single, "cell IoU")
    assert "neither an interval nor a test" in regained_caption(single, "cell IoU", 0.9, scale)


def test_sentence_without_a_loss_to_regain() -> None:
    groups = [rows(DARK, None, (60,)), rows(DARK, "1", (60,)), rows(ORIGINAL, None, (60,))]
    assert findings({"net": found(columns(*groups))}) == (
        "net (one training): under brightness 0.5 it is 0.60, so there is no loss to "
        "regain; unshifted 0.60.",
    )


Check = Callable[[Figure], list[str]]


def both(totals: Mapping[str, Sequence[Any]], level: float = 0.95) -> tuple[Exhibit, Exhibit]:
    first, second = substitution_exhibits(totals, level=level)
    return first, second


def test_table_of_iou_contains_the_numbers() -> None:
    shown, _ = both(study())
    table, numbers = shown.table.columns, shown.numbers
    assert list(table) == [
        *("architecture", "clean", "original", "brightness 0.5", "brightness 1.5")
    ]
    assert table["clean"] == [
        *("nothing clean", "L1", "L2", "L4", "bottleneck", "all skips", "all but L1")
    ]
    assert set(table["architecture"]) == {"resnet18 baseline"}
    assert table["original"][1:] == [None] * 6
    cells = [
        *([table["original"][0]]),
        *(v for pair in zip(table["brightness 0.5"], table["brightness 1.5"]) for v in pair),  # noqa: B905
    ]
    assert cells == [number["value"] for number in numbers]
    assert numbers[3] == {
        "quantity": "IoU",
        "dataset": "d.zarr",
        "domain": "a",
        "split": "test",
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "baseline",
        "fold": None,
        "clean_skips": "1",
        "shift": "brightness",
        "factor": 0.5,
        "value": table["brightness 0.5"][1],
        "folds": 2,
        "sd_folds": numbers[3]["sd_folds"],
    }
    assert numbers[1]["clean_skips"] is None


def test_table_of_regained_iou_contains_the_numbers() -> None:
    _, shown = both(study(), level=0.9)
    table, numbers = shown.table.columns, shown.numbers
    assert list(table) == [
        *("architecture", "clean", "shift", "IoU", "plain IoU", "regained", "CI low", "CI high"),
        *("p", "p (Holm)", "lost", "lost CI low", "lost CI high", "subjects", "trainings"),
    ]
    gains = [number for number in numbers if number["quantity"] == "regained"]
    names = {
        "regained": "value",
        "CI low": "ci_low",
        "CI high": "ci_high",
        "p": "p_value",
        "p (Holm)": "p_adjusted",
        "subjects": "subjects",
        "trainings": "trainings",
    }
    for head, name in names.items():
        assert list(table[head]) == [gain[name] for gain in gains], head
    losses = [number for number in numbers if number["quantity"] == "lost"]
    assert list(table["lost"]) == [lost["value"] for lost in losses]
    assert list(table["lost CI low"]) == [lost["ci_low"] for lost in losses]
    assert [lost["clean_skips"] for lost in losses] == [gain["clean_skips"] for gain in gains]
    assert {gain["level"] for gain in gains} == {0.9}
    assert [gain["clean_skips"] for gain in gains[:4]] == ["1", "1", "2", "2"]
    assert table["shift"][:2] == ["brightness 0.5", "brightness 1.5"]
    scores = [number for number in numbers if number["quantity"] == "IoU"]
    clean = [number["value"] for number in scores if number["clean_skips"] is not None]
    plain = {number["factor"]: number["value"] for number in scores if not number["clean_skips"]}
    assert list(table["IoU"]) == clean
    assert list(table["plain IoU"]) == [plain[gain["factor"]] for gain in gains]
    assert len(scores) == len(gains) + 2
    np.testing.assert_allclose(
        np.array(table["regained"], dtype=float),
        np.array(table["IoU"], dtype=float) - np.array(table["plain IoU"], dtype=float),
    )
    p_values = np.array(table["p"], dtype=float)
    np.testing.assert_array_equal(table["p (Holm)"], holm(p_values))


def test_numbers_are_uniquely_identified() -> None:
    measured = {
        "value",
        "sd_folds",
        "se_trainings",
        "se_subjects",
        "ci_low",
        "ci_high",
        "p_value",
        "p_adjusted",
    }
    totals = study(prunings=("L1-pruned", "baseline"), found={None: 5, "2": 9, "2+3+4": 50})
    for shown in both(totals):
        keys = [
            tuple(sorted((k, str(v)) for k, v in number.items() if k not in measured))
            for number in shown.numbers
        ]
        assert len(set(keys)) == len(keys)


def test_figures_are_drawn(labels: Check) -> None:
    first, second = both(study(), level=0.8)
    texts = labels(first.draw())
    assert {"resnet18 baseline", "nothing clean", "L1", "all but L1", "original"} <= set(texts)
    assert texts.count("–") == 6  # a clean input changes nothing where there is no shift
    assert any(text.startswith("±") for text in texts)
    texts = labels(second.draw())
    assert {"+0.60", "regained cell IoU", "all skips", "brightness"} <= set(texts)
    assert not {"original", "nothing clean"} & set(texts)
    intervals = [text for text in texts if ", " in text]
    assert len(intervals) == len(second.table.columns["regained"])


def test_one_subject_and_one_fold_are_drawn_without_spread_and_interval(labels: Check) -> None:
    first, second = both(study(folds=[0], subjects=1))
    assert not any(text.startswith("±") for text in labels(first.draw()))
    assert not any("," in text for text in labels(second.draw()))
    table = second.table.columns
    for name in ("CI low", "CI high", "p", "p (Holm)"):
        assert set(table[name]) == {None}, name


def test_missing_substitutions_are_empty_cells(labels: Check) -> None:
    totals = columns(
        *(rows(DARK, None, (10, 20)), rows(DARK, "1", (50, 60)), rows(BRIGHT, None, (30, 40))),
        rows(BRIGHT, "2", (35, 45)),
    )
    first, second = both(totals)
    assert labels(first.draw()).count("–") == labels(second.draw()).count("–") == 2
    assert len(first.numbers) == 4
    assert first.table.columns["brightness 1.5"][1] is None


@pytest.mark.parametrize("name", ["<script>", "x" * 200, "a\nb"])
def test_names_from_data_cannot_break_it(labels: Check, name: str) -> None:
    facts = {"pruning": name, "encoder": name, "domain": name}
    totals = columns(rows(DARK, None, (1, 2), **facts), rows(DARK, name, (3, 4), **facts))
    for shown in both(totals):
        assert max(map(len, labels(shown.draw()))) <= 32
