"""Every exhibit has known columns, whole sentences and a figure that fits; shared wording."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.analysis.distances import read_distances
from skiptool.cautions import Caution
from skiptool.figures.style import TWO_COLUMNS
from skiptool.names import Metric, RangeRule
from skiptool.records import ORIGINAL, Shift, Table
from skiptool.report.contents import table_exhibits
from skiptool.report.exhibit import Exhibit, fact_columns, layer_numbers, name_exhibits
from skiptool.report.wording import (
    bins_suffix,
    caution_text,
    compared_names,
    comparison_title,
    count_trainings,
    interval_note,
    measure_name,
    most_trainings,
    range_suffix,
    shift_name,
    shift_text,
    tied_text,
    tied_with,
    trainings_behind,
)
from skiptool.steps.report import read_inputs
from skiptool.stores.tables import REPORT
from small_shifts import FACTS, Layer, layer, tables


@pytest.fixture(scope="module")
def shown(study: list[Path]) -> dict[str, Exhibit]:
    """One exhibit of each topic that tables of numbers allow."""
    found = table_exhibits(read_inputs(study), 0.95, 0)
    return {each.topic: each for each in reversed(found)}


def test_exhibits_of_all_topics_are_tested(shown: dict[str, Exhibit]) -> None:
    assert set(shown) >= {
        *("iou", "difference", "paired", "reach", "distance", "layers", "transmission"),
        *("forecast-by-layer", "rank-correlation", "parameters"),
    }


def test_captions_and_sentences_are_complete(shown: dict[str, Exhibit]) -> None:
    for topic, each in shown.items():
        assert re.fullmatch(r"[a-z][a-z0-9-]*", topic)
        assert each.heading, topic
        assert each.title, topic
        assert each.caption.endswith("."), topic
        for sentence in each.sentences:
            assert sentence.endswith("."), topic


def test_numbers_have_columns_of_the_table(shown: dict[str, Exhibit]) -> None:
    for topic, each in shown.items():
        rows = each.numbers
        assert rows, topic
        for row in rows:
            assert {"quantity", "value"} <= set(row) <= set(REPORT) - {"figure", "title"}, topic


def test_columns_of_a_table_are_of_one_length(shown: dict[str, Exhibit]) -> None:
    for topic, each in shown.items():
        lengths = {len(cells) for cells in each.table.columns.values()}
        assert len(lengths) == 1, topic
        assert lengths != {0}, topic


@pytest.mark.long
def test_figures_fit_two_columns_of_a_journal(shown: dict[str, Exhibit]) -> None:
    assert shown["parameters"].draw is None  # a table alone
    assert shown["iou"].draw is not None
    for topic, each in shown.items():
        if each.draw is not None:
            assert each.draw().get_figwidth() <= TWO_COLUMNS + 0.01, topic


def fake(topic: str, heading: str, **new: Any) -> Exhibit:  # noqa: ANN401
    facts: dict[str, Any] = {"title": "t", "caption": "n = 1.", "table": Table("t", {})}
    return Exhibit(topic=topic, heading=heading, numbers=[], **{**facts, **new})


def test_name_exhibits_groups_headings_and_numbers_topics() -> None:
    named = name_exhibits([fake("iou", "A"), fake("paired", "B"), fake("iou", "A")])
    assert [(each.anchor, each.heading) for each in named] == [
        *(("iou-1", "A"), ("iou-2", "A"), ("paired-1", "B")),
    ]


def test_parts_become_names() -> None:
    parts = ("brightness 0.5", "Brightness 0.5", "contrast", "contrast 2", "contrast", "é/..", "")
    named = name_exhibits(fake("layers", "A", part=part) for part in parts)
    assert [each.anchor for each in named] == [
        *("layers-brightness-0.5", "layers-brightness-0.5-2", "layers-contrast"),
        *("layers-contrast-2", "layers-contrast-3", "layers-1", "layers-2"),
    ]


def facts(**new: Any) -> dict[str, Any]:  # noqa: ANN401 - columns of any type
    return {**FACTS, **new}


def test_every_metric_and_range_has_a_name() -> None:
    for metric in Metric:
        assert " " in measure_name(metric.value)
    for rule in RangeRule:
        assert range_suffix(100, rule.value).startswith(", B = 100 bins of equal ")
    assert measure_name("theirs") == "theirs"


def test_bins_suffix_is_empty_without_bins() -> None:
    assert (range_suffix(None, "minmax"), bins_suffix(None)) == ("", "")
    assert (range_suffix(100, "theirs"), bins_suffix(100)) == (", B = 100 bins", ", B = 100")


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({}, "brightness 0.5 against original, a"),
        ({"domain": "b"}, "b brightness 0.5 against a original"),
        ({"shift": None}, "o.zarr against r.zarr, a"),
        ({"domain": None, "reference_domain": None}, "brightness 0.5 against original"),
    ],
)
def test_comparison_titles(change: dict[str, Any], title: str) -> None:
    assert comparison_title(facts(**change)) == title
    assert title.startswith(" against ".join(compared_names(facts(**change))))


def test_shifts_are_named_with_their_factors() -> None:
    assert (shift_name(FACTS), shift_name(FACTS, "reference_")) == ("brightness 0.5", "original")
    assert (shift_text(ORIGINAL), shift_text(Shift.parse("saturation=0"))) == (
        *("original", "saturation 0"),
    )


def test_columns_that_do_not_apply_are_left_out() -> None:
    found = fact_columns(facts(dataset=None, bins=None))
    assert not {"dataset", "bins", "reference_factor", "arch"} & set(found)
    assert (found["shift"], found["factor"]) == ("brightness", 0.5)


FOLDS = [
    layer("enc1", [0.2], 0.2, other_id=f"o{fold}", fold=fold, ci_low=0.1, ci_high=0.3)
    for fold in (0, 1)
]
REPEATS = [({**row, "other_id": "again", "repeat": 1}, values) for row, values in FOLDS[:1]]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        *((FOLDS[:1], "one training"), (FOLDS, "2 folds")),
        ([*FOLDS[:1], *REPEATS], "2 repeats of one fold"),
        ([*FOLDS, *REPEATS], "3 trainings of 2 folds"),
    ],
)
def test_trainings_behind_counts_folds(rows: list[Layer], expected: str) -> None:
    (compared,) = read_distances(*tables(*rows))
    assert trainings_behind(compared) == expected
    (number,) = layer_numbers(compared, "distance", lambda found: found.distance)
    assert (number["folds"], "sd_folds" in number) == (len(rows), len(rows) > 1)
    assert number["level"] == 0.95
    assert layer_numbers(compared, "distance", lambda _: None) == []


def test_interval_note_is_empty_without_interval() -> None:
    (with_one,) = read_distances(*tables(*(({**row, "unit": "slide"}, v) for row, v in FOLDS)))
    assert interval_note(with_one).startswith("95 % interval of the estimate over slides")
    (without,) = read_distances(*tables(layer("enc1", [0.2], 0.2)))
    assert interval_note(without) == ""
    (number,) = layer_numbers(without, "distance", lambda found: found.distance)
    assert not {"ci_low", "ci_high", "level"} & set(number)


def test_cautions_that_differ_in_numbers_are_merged() -> None:
    few = "of {} channels vary in too few images to estimate their distance (more are needed)"
    found = caution_text(
        [
            Caution("the test draws equally many images of each unit, as the sets differ in size"),
            Caution(f"3 {few.format(64)}", ("enc1",)),
            Caution(f"16 {few.format(128)}", ("enc2", "enc3")),
            Caution(f"5 {few.format(64)}", ("enc1",)),
        ]
    )
    assert found == (
        " Caution: the test draws equally many images of each unit, as the sets differ in size; "
        f"enc1, enc2, enc3: 3 to 16 {few.format('64 to 128')}."
    )
    assert caution_text([Caution("img-7.1 of 2 subjects"), Caution("3 subjects")]) == (
        " Caution: img-7.1 of 2 subjects; 3 subjects."
    )
    assert caution_text([]) == ""


@pytest.mark.parametrize(
    ("best", "values", "ends", "expected"),
    [
        (0, [0.9, 0.8], [], []),
        (0, [0.904, 0.896, 0.894], [], [1]),  # both are written 0.90
        (0, [0.9, math.nan, 0.1], [], []),
        (0, [0.9, 0.7], [(0.8, 1.0), (0.6, 0.8)], [1]),  # they touch
        (0, [0.9, 0.7], [(0.85, 1.0), (0.6, 0.8)], []),
        (1, [0.9, 0.7, 0.5], [(0.6, 1.0), None, (0.4, 0.6)], []),
        (2, [0.0, 0.0, 0.0], [None] * 3, [0, 1]),
    ],
)
def test_ties(
    best: int, values: list[float], ends: list[tuple[float, float] | None], expected: list[int]
) -> None:
    assert tied_with(best, values, ends) == expected


def test_few_ties_are_named_and_many_counted() -> None:
    assert tied_text([]) == ""
    assert tied_text(["a", "b", "c"]) == ", not distinguishable from a, b, c"
    assert tied_text(["a", "b", "c", "d"]) == ", not distinguishable from a, b and 2 more"


Training = tuple[int | None, int | None]


@pytest.mark.parametrize(
    ("trainings", "words"),
    [
        ([(3, 0)], "one training"),
        ([(None, None)], "one training"),
        ([(0, 0), (4, 0)], "2 folds"),
        ([(0, 1), (4, 1)], "2 folds"),
        ([(0, 0), (1, 3)], "2 folds"),
        ([(2, 0), (2, 1), (2, 5)], "3 repeats of one fold"),
        ([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)], "3 folds x 2 repeats"),
        ([(0, 0), (0, 1), (1, 0)], "3 trainings of 2 folds"),
        ([(0, 0), (0, 0)], "2 trainings of one fold"),
        ([(0, 0), (0, 0), (1, 0), (1, 1)], "4 trainings of 2 folds"),
        ([(None, None), (0, 0)], "2 networks"),
    ],
)
def test_count_trainings_describes_folds_and_repeats(trainings: list[Training], words: str) -> None:
    assert count_trainings(trainings) == words


@given(folds=st.integers(1, 9), repeats=st.integers(1, 9))
def test_count_trainings_includes_every_training(folds: int, repeats: int) -> None:
    words = count_trainings([(fold, repeat) for fold in range(folds) for repeat in range(repeats)])
    numbers = [int(word) for word in words.replace("one", "1").split() if word.isdigit()]
    product = 1
    for number in numbers:
        product *= number
    assert product == folds * repeats


def test_most_trainings_describes_the_network_with_most() -> None:
    assert most_trainings([[(0, 0)], [(0, 0), (0, 1)]]) == "up to 2 repeats of one fold"
    assert most_trainings([[(0, 0), (1, 0)], [(0, 0), (2, 0)]]) == "2 folds"
