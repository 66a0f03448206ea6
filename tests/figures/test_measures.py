from __future__ import annotations

from typing import Any

import pytest

from skiptool.analysis.distances import read_distances
from skiptool.cautions import Caution
from skiptool.figures.measures import (
    binning,
    bins_of,
    facts_of,
    interval_note,
    measure_of,
    numbers_of,
    shift_name,
    sides,
    title_of,
    trained,
    warned,
)
from skiptool.names import Metric, RangeRule
from small_shifts import FACTS, Layer, layer, tables


def facts(**new: Any) -> dict[str, Any]:  # noqa: ANN401 - columns of any type
    return {**FACTS, **new}


def test_every_metric_and_range_has_words() -> None:
    for metric in Metric:
        assert " " in measure_of({"metric": metric.value})
    for rule in RangeRule:
        assert binning(facts(range_rule=rule.value)).startswith(", B = 100 bins of equal ")
    assert measure_of({"metric": "theirs"}) == "theirs"


def test_bins_are_told_where_there_are_any() -> None:
    assert (binning(facts(bins=None)), bins_of(facts(bins=None))) == ("", "")
    assert (binning(facts(range_rule="theirs")), bins_of(FACTS)) == (", B = 100 bins", ", B = 100")


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({}, "brightness 0.5 against original, a"),
        ({"domain": "b"}, "b brightness 0.5 against a original"),
        ({"shift": None}, "o.zarr against r.zarr, a"),
        ({"domain": None, "reference_domain": None}, "brightness 0.5 against original"),
    ],
)
def test_titles(change: dict[str, Any], title: str) -> None:
    assert title_of(facts(**change)) == title
    assert title.startswith(" against ".join(sides(facts(**change))))


def test_shifts_are_named_with_their_factors() -> None:
    assert (shift_name(FACTS), shift_name(FACTS, "reference_")) == ("brightness 0.5", "original")


def test_columns_that_do_not_apply_are_left_out() -> None:
    found = facts_of(facts(dataset=None, bins=None))
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
def test_trainings_are_counted(rows: list[Layer], expected: str) -> None:
    (compared,) = read_distances(*tables(*rows))
    assert trained(compared) == expected
    (number,) = numbers_of(compared, "distance", lambda found: found.distance)
    assert (number["folds"], "sd_folds" in number) == (len(rows), len(rows) > 1)
    assert number["level"] == 0.95
    assert numbers_of(compared, "distance", lambda _: None) == []


def test_the_interval_is_explained_where_there_is_one() -> None:
    (with_one,) = read_distances(*tables(*(({**row, "unit": "slide"}, v) for row, v in FOLDS)))
    assert interval_note(with_one).startswith("95 % interval over slides of the estimate")
    (without,) = read_distances(*tables(layer("enc1", [0.2], 0.2)))
    assert interval_note(without) == ""
    (number,) = numbers_of(without, "distance", lambda found: found.distance)
    assert not {"ci_low", "ci_high", "level"} & set(number)


def test_warnings_that_differ_in_numbers_are_one() -> None:
    few = "of {} channels vary in too few images to estimate their distance (more are needed)"
    found = warned(
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
    assert warned([Caution("img-7.1 of 2 subjects"), Caution("3 subjects")]) == (
        " Caution: img-7.1 of 2 subjects; 3 subjects."
    )
    assert warned([]) == ""
