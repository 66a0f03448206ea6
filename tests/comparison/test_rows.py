from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest

from skiptool.comparison.binned import Design
from skiptool.comparison.results import Measured
from skiptool.comparison.rows import (
    PRINTED,
    columns_of,
    in_order,
    layer_warnings,
    pair_warnings,
    squeezed,
)
from skiptool.comparison.sets import Settings
from skiptool.comparison.units import Draw, Units
from skiptool.names import Kind, Metric, RangeRule
from skiptool.stores.table_writer import as_table
from small_activations import Noted

CONSTANT = np.array([False, True])
DESIGN = Design(
    Units(np.arange(4), np.array([0, 2])),
    Units(np.arange(3), np.array([0, 1])),
    True,
    np.zeros((20, 2), np.int32),
)


def measured(
    metric: Metric = Metric.HELLINGER,
    bins: int | None = 8,
    layer: str = "enc1",
    **how: Any,  # noqa: ANN401
) -> Measured:
    rule = None if bins is None else RangeRule.MINMAX
    channels = how.get("channels", {"value": np.array([0.5, 0.0])})
    mean = how.get("mean", {"value": 0.25, "value_live": 0.5})
    index = ("enc1", "enc2").index(layer)
    return Measured(layer, index, metric, bins, rule, CONSTANT, channels, mean)


def test_the_layer_stands_before_its_channels() -> None:
    channels = {
        "value": np.array([0.5, 0.0]),
        "p_value": np.array([0.1, 1.0]),
        "corrected": np.array([0.25, np.nan]),
    }
    mean = {"value": 0.25, "value_live": 0.5, "p_value": 0.1, "p_adjusted": 0.2}
    found = columns_of(measured(channels=channels, mean=mean), DESIGN)
    assert found["channel"] == [None, 0, 1]
    assert found["value"] == [0.25, 0.5, 0.0]
    assert found["value_live"] == [0.5, None, None]
    assert found["p_value"] == [0.1, 0.1, 1.0]
    assert found["p_adjusted"] == [0.2, None, None]
    assert found["corrected"] == [None, 0.25, None]
    assert found["constant_channels"] == [1, 0, 1]
    assert found["null_high"] == found["range_used"] == [None, None, None]
    for name, value in {
        **{"layer": "enc1", "layer_index": 0, "metric": "hellinger", "bins": 8},
        **{"range_rule": "minmax", "paired": True, "unit": "image", "permutations": 19},
        **{"units_reference": 2, "units_other": 2, "n_reference": 4, "n_other": 3},
        **{"skiptool_version": version("skiptool")},
    }.items():
        assert found[name] == value, name


def test_the_unit_is_the_group() -> None:
    assert columns_of(measured(), replace(DESIGN, unit="subject"))["unit"] == "subject"


def test_a_metric_without_bins_has_none() -> None:
    found = columns_of(measured(Metric.WASSERSTEIN_EXACT, None), DESIGN)
    assert (found["bins"], found["range_rule"]) == (None, None)


def test_columns_are_those_of_a_shift_table() -> None:
    found = columns_of(measured(), DESIGN)
    assert as_table(Kind.SHIFT, found, 3).num_rows == 3
    assert set(PRINTED) <= set(found)


def test_order_is_that_of_the_metrics_asked_for_then_bins_then_layers() -> None:
    kl, h, w = Metric.KL, Metric.HELLINGER, Metric.WASSERSTEIN_EXACT
    given = [
        measured(metric, bins, layer)
        for layer in ("enc2", "enc1")
        for metric, bins in ((h, 20), (w, None), (kl, 10), (h, 10), (kl, 20))
    ]
    found = in_order(given, Settings(metrics=(kl, w, h), bins=(10, 20)))
    assert [(each.metric, each.bins, each.layer) for each in found] == [
        (metric, bins, layer)
        for metric, bins in ((kl, 10), (kl, 20), (w, None), (h, 10), (h, 20))
        for layer in ("enc1", "enc2")
    ]


@pytest.mark.parametrize(
    ("used", "channels"),
    [((0.5, 0.01), 0), ((0.099, 0.01), 1), ((0.1, 0.01), 0), ((0.05, 1.0), 1)],
)
def test_squeezed_channels_are_counted_unless_constant(
    used: tuple[float, float], channels: int
) -> None:
    values = {"value": np.zeros(2), "range_used": np.array(used)}
    found = squeezed([measured(channels=values), measured(layer="enc2")])
    assert found == ({"enc1": channels} if channels else {})


def test_a_sweep_counts_squeezed_channels_once() -> None:
    values = [{"value": np.zeros(2), "range_used": np.array([used, 1.0])} for used in (0.5, 0.01)]
    assert squeezed([measured(channels=each) for each in values]) == {"enc1": 1}


def units(*sizes: int) -> Units:
    return Units(np.arange(sum(sizes)), np.append(0, np.cumsum(sizes)[:-1]))


def design(first: Units, second: Units, *, permutations: int = 19, **how: Any) -> Design:  # noqa: ANN401
    rows = np.zeros((1 + permutations, len(first)), np.int32)
    return Design(first, second, how.pop("paired", False), rows, **how)


def sets(
    images: tuple[int, int] = (8, 8),
    vectors: tuple[int, int] = (4, 4),
    subjects: tuple[list[str] | None, list[str] | None] = (None, None),
) -> list[Noted]:
    return [
        Noted(
            {"enc1": np.zeros((n, 2, 4)), "dec0": np.zeros((n, 2, k))},
            **({} if names is None else {"subject": names}),
        )
        for n, k, names in zip(images, vectors, subjects, strict=True)
    ]


EIGHT = units(*[1] * 8)


def test_nothing_is_said_of_a_sound_pair() -> None:
    assert pair_warnings(sets(), design(EIGHT, EIGHT)) == ()
    alone = [f"s{number}" for number in range(8)]
    assert pair_warnings(sets(subjects=(alone, alone)), design(EIGHT, EIGHT)) == ()


def test_images_of_subjects_that_count_as_independent_are_told() -> None:
    alone = [f"s{number}" for number in range(8)]
    given_ = sets(subjects=(alone, list("aabbccca")))
    (line,) = pair_warnings(given_, design(EIGHT, EIGHT))
    assert line.startswith("8 images of 3 subjects are counted as independent (pseudo-replication)")
    assert pair_warnings(given_, design(EIGHT, EIGHT, unit="subject")) == ()
    both = sets(subjects=(list("aabbccdd"), list("aabbccca")))
    first, second = pair_warnings(both, design(EIGHT, EIGHT))
    assert ("8 images of 4" in first, "8 images of 3" in second) == (True, True)


def test_too_few_units_for_a_p_value_are_told() -> None:
    three, four, five = (units(*[1] * n) for n in (3, 4, 5))
    (line,) = pair_warnings(sets(), design(three, three))
    assert line == "no p-value below 0.05 is possible with 3 and 3 units, so none is given"
    (line,) = pair_warnings(sets(), design(five, five, paired=True))
    assert "5 and 5 pairs" in line
    assert pair_warnings(sets(), design(four, four)) == ()
    assert pair_warnings(sets(), design(three, three, permutations=0)) == ()


def test_one_unit_has_no_interval_and_that_is_told() -> None:
    one = units(1)
    line, other = pair_warnings(sets(), design(EIGHT, one))
    assert "no p-value below 0.05 is possible with 8 and 1 units" in line
    assert other == "an interval needs at least 2 units of each set, not 8 and 1"
    two = units(1, 1)
    assert not any("interval needs" in each for each in pair_warnings(sets(), design(two, two)))


def test_what_is_drawn_is_told() -> None:
    plain = design(EIGHT, EIGHT)
    (line,) = pair_warnings(sets(vectors=(9, 4)), plain)
    assert line == ("the test draws 4 of the vectors of each image, as the sets differ in size")
    drawn = replace(plain, draw=Draw(EIGHT, EIGHT))
    (line,) = pair_warnings(sets(), drawn)
    assert line == ("the test draws equally many images of each unit, as the sets differ in size")
    (line,) = pair_warnings(sets(vectors=(4, 9)), drawn)
    assert "draws 4 of the vectors of each image and equally many images of each unit" in line
    assert (
        pair_warnings(sets(vectors=(9, 4)), replace(plain, labellings=plain.labellings[:1])) == ()
    )


def unresolved(number: int, high: float, unit: str = "image") -> list[str]:
    mean = {"unresolved_channels": float(number), "ci_high": high}
    return layer_warnings(measured(mean=mean), design(EIGHT, EIGHT, unit=unit))


def test_channels_that_too_few_units_share_are_told() -> None:
    assert unresolved(0, 0.5) == []
    assert unresolved(1, 0.5) == [
        "1 of 1 channels vary in too few images to estimate their distance (more are needed)"
    ]
    assert unresolved(1, np.nan, "subject") == [
        "1 of 1 channels vary in too few subjects to estimate their distance, so there is no "
        "interval (more are needed)"
    ]
    assert layer_warnings(measured(), DESIGN) == []


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (RangeRule.MINMAX, True),
        (RangeRule.REFERENCE, True),
        (RangeRule.PERCENTILES, False),
    ],
)
def test_outliers_are_told_where_they_stretch_the_range(rule: RangeRule, told: bool) -> None:
    channels = {"value": np.zeros(2), "range_used": np.array([0.05, 1.0])}
    found = layer_warnings(replace(measured(channels=channels), range_rule=rule), DESIGN)
    assert [("stretch the range of 1 channels" in line) for line in found] == [True] * told


def test_warnings_stand_in_the_row_of_the_layer() -> None:
    mean = {"unresolved_channels": 1.0, "ci_high": 0.5, "tested": 0.3}
    channels = {"value": np.zeros(2), "unresolved_channels": np.array([1.0, 0.0])}
    given_ = replace(measured(mean=mean, channels=channels), drawn=True)
    found = columns_of(given_, replace(DESIGN, warnings=("one", "two")))
    line, *rest = found["warnings"]
    assert line.startswith("one; two; 1 of 1 channels vary")
    assert rest == [None, None]
    assert found["unresolved_channels"] == [1, 1, 0]
    assert (found["tested"], found["drawn"]) == ([0.3, None, None], True)
    quiet = columns_of(measured(), DESIGN)
    assert quiet["warnings"] == quiet["unresolved_channels"] == [None] * 3
    assert quiet["drawn"] is False


def test_equal_names_of_other_subjects_are_told() -> None:
    names = {"dataset": "d", "id": list("abcdefgh")}
    layers = {"enc1": np.zeros((8, 2, 4))}
    first = Noted(layers, subject=[f"s{n}" for n in range(8)], **names)
    second = Noted(layers, subject=[f"t{n}" for n in range(8)], **names)
    (line,) = pair_warnings([first, second], design(EIGHT, EIGHT))
    assert (
        line
        == "images of one name are of different subjects (a, for one), so the sets are not paired"
    )
    assert pair_warnings([first, first], design(EIGHT, EIGHT)) == ()
