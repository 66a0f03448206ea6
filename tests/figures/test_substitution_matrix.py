from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.figures.substitution import substitutions
from skiptool.figures.substitution_matrix import RegainedMatrix, SubstitutionMatrix, filled
from skiptool.stats.permutation import holm
from substituted import BRIGHT, DARK, columns, rows, study

Check = Callable[[Figure], list[str]]


def both(
    totals: Mapping[str, Sequence[Any]], level: float = 0.95
) -> tuple[SubstitutionMatrix, RegainedMatrix]:
    first, second = substitutions(totals, level=level)
    assert isinstance(first, SubstitutionMatrix)
    assert isinstance(second, RegainedMatrix)
    return first, second


def test_the_table_of_iou_holds_the_numbers() -> None:
    shown, _ = both(study())
    table, numbers = shown.table().columns, shown.numbers()
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
        **{"quantity": "IoU", "dataset": "d.zarr", "domain": "a", "split": "test"},
        **{"arch": "unet", "encoder": "resnet18", "pruning": "baseline", "fold": None},
        **{"clean_skips": "1", "shift": "brightness", "factor": 0.5},
        **{"value": table["brightness 0.5"][1], "folds": 2},
        "sd_folds": numbers[3]["sd_folds"],
    }
    assert numbers[1]["clean_skips"] is None


def test_the_table_of_what_is_regained_holds_the_numbers() -> None:
    _, shown = both(study(), level=0.9)
    table, numbers = shown.table().columns, shown.numbers()
    assert list(table) == [
        *("architecture", "clean", "shift", "IoU", "plain IoU", "regained", "CI low", "CI high"),
        *("p", "p (Holm)", "lost", "lost CI low", "lost CI high", "subjects", "trainings"),
    ]
    gains = [number for number in numbers if number["quantity"] == "regained"]
    names = {
        **{"regained": "value", "CI low": "ci_low", "CI high": "ci_high", "p": "p_value"},
        **{"p (Holm)": "p_adjusted", "subjects": "subjects", "trainings": "trainings"},
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
    np.testing.assert_array_equal(shown.adjusted, holm(np.array(table["p"], dtype=float)))


def test_no_number_is_told_twice_of_different_things() -> None:
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
            for number in shown.numbers()
        ]
        assert len(set(keys)) == len(keys)


def test_drawn(labels: Check) -> None:
    first, second = both(study(), level=0.8)
    texts = labels(first.draw())
    assert {"resnet18 baseline", "nothing clean", "L1", "all but L1", "original"} <= set(texts)
    assert texts.count("–") == 6  # a clean input changes nothing where there is no shift
    assert any(text.startswith("±") for text in texts)
    texts = labels(second.draw())
    assert {"+0.60", "regained cell IoU", "all skips", "brightness"} <= set(texts)
    assert not {"original", "nothing clean"} & set(texts)
    intervals = [text for text in texts if ", " in text]
    assert len(intervals) == len(second.found)


def test_one_subject_and_one_fold_are_drawn_without_spread_and_interval(labels: Check) -> None:
    first, second = both(study(folds=[0], subjects=1))
    assert not any(text.startswith("±") for text in labels(first.draw()))
    assert not any("," in text for text in labels(second.draw()))
    table = second.table().columns
    for name in ("CI low", "CI high", "p", "p (Holm)"):
        assert set(table[name]) == {None}, name
    assert all(math.isnan(p) for p in second.adjusted)


def test_what_was_not_measured_is_a_hole(labels: Check) -> None:
    totals = columns(
        *(rows(DARK, None, (10, 20)), rows(DARK, "1", (50, 60)), rows(BRIGHT, None, (30, 40))),
        rows(BRIGHT, "2", (35, 45)),
    )
    first, second = both(totals)
    assert labels(first.draw()).count("–") == labels(second.draw()).count("–") == 2
    assert len(first.numbers()) == 4
    assert first.table().columns["brightness 1.5"][1] is None


def test_values_by_place() -> None:
    first, _ = both(study())
    values = filled(first.grid, {(0, 1): 0.5})
    assert values.shape == (7, 3)
    assert values[0, 1] == 0.5
    assert np.isnan(values).sum() == 20


@pytest.mark.parametrize("name", ["<script>", "x" * 200, "a\nb"])
def test_names_from_data_cannot_break_it(labels: Check, name: str) -> None:
    facts = {"pruning": name, "encoder": name, "domain": name}
    totals = columns(rows(DARK, None, (1, 2), **facts), rows(DARK, name, (3, 4), **facts))
    for shown in both(totals):
        assert max(map(len, labels(shown.draw()))) <= 32
