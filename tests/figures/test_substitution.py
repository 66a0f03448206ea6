from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from skiptool.errors import ArgumentError
from skiptool.figures.exhibit import Shown
from skiptool.figures.substitution import substitutions
from skiptool.figures.substitution_matrix import RegainedMatrix, SubstitutionMatrix
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shift
from substituted import BRIGHT, DARK, columns, rows, study

FIVE = ("baseline", *(f"L{k}-pruned" for k in range(1, 5)))


def heads(shown: Shown) -> list[str]:
    assert isinstance(shown, SubstitutionMatrix | RegainedMatrix)
    return list(dict.fromkeys(row.group for row in shown.grid.rows))


def joined(*tables: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def test_two_matrices_of_each_domain_and_split_stand_in_one_section() -> None:
    fewer = {None: 10, "2": 15}
    totals = joined(
        study(),
        study(domain="b", found=fewer),
        study(split="train", found=fewer),
        study(dataset_id="d2", found=fewer),
    )
    shown = substitutions(totals)
    assert [one.topic for one in shown] == ["substitution", "regained"] * 4
    assert {one.heading for one in shown} == {"Which skip connection carries the shift"}
    assert [one.title for one in shown[:4]] == [
        "IoU with clean skip connections, a",
        "IoU regained by clean skip connections, a",
        "IoU with clean skip connections, b",
        "IoU regained by clean skip connections, b",
    ]


def test_networks_stand_in_the_papers_order_and_shifts_by_kind() -> None:
    gray = Shift.parse("contrast=0.5")
    totals = joined(
        study((gray, BRIGHT, ORIGINAL, DARK), ("L2-pruned", "L1-pruned"), found={None: 9, "3": 30}),
        study((DARK,), ("baseline",), found={None: 9, "3": 30}),
        study((DARK,), ("baseline",), (ENSEMBLE_FOLD,), found={None: 9, "3": 30}),
    )
    first, second = substitutions(totals)
    assert (
        heads(first)
        == heads(second)
        == [
            *("resnet18 baseline", "resnet18 baseline, ensemble"),
            *("resnet18 L1-pruned", "resnet18 L2-pruned"),
        ]
    )
    assert isinstance(first, SubstitutionMatrix)
    assert first.grid.column_names() == [
        *("original", "brightness 0.5", "brightness 1.5", "contrast 0.5")
    ]
    assert isinstance(second, RegainedMatrix)
    assert second.grid.column_names() == first.grid.column_names()[1:]
    folds = [number["fold"] for number in first.numbers()]
    assert folds[:4] == [None, None, ENSEMBLE_FOLD, ENSEMBLE_FOLD]


def test_many_networks_are_divided_among_sheets() -> None:
    found = {None: 9, "bottleneck": 30}
    totals = study((DARK,), FIVE, (0,), 2, ("resnet18", "resnet34"), found)
    shown = substitutions(totals)
    assert [one.title.partition(", ")[2] for one in shown[::2]] == ["a, resnet18", "a, resnet34"]
    assert len(heads(shown[0])) == 5
    names = [f"net {number:02d}" for number in range(8)]
    shown = substitutions(study((DARK,), names, (0,), 2, ("resnet18",), found))
    assert [one.title.partition(", ")[2] for one in shown[::2]] == [
        *("a, resnet18 1 of 2", "a, resnet18 2 of 2")
    ]
    assert [len(heads(one)) for one in shown] == [6, 6, 2, 2]


def test_baselines_are_told_first() -> None:
    totals = study((DARK,), ("L1-pruned", "baseline"), (0,), 4, ("r18", "r34"), {None: 9, "2": 60})
    first, second = substitutions(totals)
    told = [sentence.partition(" (one training):")[0] for sentence in first.sentences()]
    assert told == ["r18 baseline", "r34 baseline", "r18 L1-pruned", "r34 L1-pruned"]
    assert second.sentences() == ()


def test_nothing_substituted_shows_nothing() -> None:
    assert substitutions(study(found={None: 20})) == []
    assert substitutions(columns()) == []
    alone = columns(rows(ORIGINAL, None, (1, 2)), rows(ORIGINAL, "1", (1, 2)))
    assert substitutions(alone) == []  # without a shift there is nothing to regain


def test_several_classes_are_a_mean() -> None:
    totals = study((DARK,))
    for name in ("truth", "predicted"):
        totals[name] = [
            "debris" if label == "cell" and number % 8 > 3 else label
            for number, label in enumerate(totals[name])
        ]
    first, second = substitutions(totals)
    assert first.caption.startswith("Mean IoU where")
    assert second.caption.startswith("Mean IoU with")


def test_the_level_is_checked_and_stands_with_the_numbers() -> None:
    with pytest.raises(ArgumentError, match="level"):
        substitutions(study(), level=0.0)
    _, second = substitutions(study(), level=0.5)
    assert {number.get("level") for number in second.numbers()} == {0.5, None}


def test_between_domains_the_clean_one_stands_first() -> None:
    totals = columns(
        *(rows(ORIGINAL, clean, (found,) * 16) for clean, found in ((None, 20), ("1", 80))),
        rows(ORIGINAL, None, (90,) * 16, domain="b"),
        rows(DARK, None, (50,) * 16, domain="b"),
    )
    first, second = substitutions(totals, clean_domain="b")
    assert first.title == "IoU with clean skip connections, a (clean: b)"
    assert isinstance(first, SubstitutionMatrix)
    assert isinstance(second, RegainedMatrix)
    assert first.grid.column_names() == ["b", "a"]
    assert second.grid.column_names() == ["a"]
    facts = [(fact["domain"], fact["shift"]) for fact in first.grid.column_facts]
    assert facts == [("b", "original"), ("a", "original")]
    assert first.means[0, 0].value == pytest.approx(0.9)
    assert first.means[0, 1].value == pytest.approx(0.2)
    assert "in domain b, all others from that in domain a" in first.caption
    (told,) = first.sentences()
    assert told.startswith(
        "resnet18 baseline (one training): in domain a a clean L1 alone (the only one tried) "
        "brings it from 0.20"
    )
    assert told.endswith("; in domain b 0.90.")


def test_a_shift_within_another_domain_is_named_with_it() -> None:
    totals = joined(study((DARK,)), study((ORIGINAL,), found={None: 90}, domain="b"))
    first, _ = substitutions(totals, clean_domain="b")
    assert isinstance(first, SubstitutionMatrix)
    assert first.grid.column_names() == ["b", "brightness 0.5"]
    assert "under brightness 0.5 in domain a a clean L1" in first.sentences()[0]
