from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skiptool.analysis.correlation import Association, associations
from skiptool.figures.correlations import (
    assumed_text,
    correlation_columns,
    correlation_numbers,
    distance_text,
    family_name,
    images_name,
    measure_name,
    rivals_text,
    spearman_text,
)
from skiptool.figures.scatter import interval_text
from sweeps import sweep

NAN = float("nan")


def ends(*triples: tuple[float, float, float]) -> Association:
    """Return correlations with their intervals at the first layers, made up."""
    names = [f"enc{number}" for number in range(1, len(triples) + 1)]
    (found,) = associations(*sweep(layers=names))
    rho, low, high = np.array(triples).T
    return replace(found, correlation=rho, low=low, high=high)


@pytest.mark.parametrize(
    ("triple", "text"),
    [
        ((0.8312, -0.004, 0.907), "0.83 [0.00, 0.91]"),
        ((-0.5, -1.0, 0.125), "−0.50 [−1.00, 0.12]"),
        ((0.999, 0.9961, 1.0), "0.999 [0.996, 1.00]"),
        ((0.5, NAN, NAN), "0.50"),
        ((NAN, NAN, NAN), "–"),
    ],
)
def test_a_correlation_is_written_with_its_interval(
    triple: tuple[float, float, float], text: str
) -> None:
    assert interval_text(ends(triple), 0) == text


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ([], ""),
        ([(0.1, 0.0, 0.59)], "Its interval overlaps with that of no other layer."),
        (
            [(0.1, 0.0, 0.6), (0.1, 0.0, 0.2)],
            "The interval at enc2 overlaps with it: which layer is best is not settled.",
        ),
        (
            [(0.5, 0.4, 0.7), (0.7, 0.5, 0.95)],
            "The intervals at enc2, enc3 overlap with it: which layer is best is not settled.",
        ),
        (
            [*[(0.5, 0.4, 0.7)] * 5, (0.0, -0.1, 0.1)],
            "The intervals at 5 of the 6 other layers overlap with it: which layer is best is "
            "not settled.",
        ),
        (
            [(0.5, 0.4, 0.7)] * 5,
            "The intervals at all 5 other layers overlap with it: which layer is best is not "
            "settled.",
        ),
        ([(NAN, NAN, NAN)], ""),
    ],
)
def test_layers_that_may_be_as_good_are_told(
    others: list[tuple[float, float, float]], text: str
) -> None:
    assert rivals_text(ends((0.8, 0.6, 0.9), *others), 0) == text


def test_columns_and_numbers_hold_the_same_floats() -> None:
    found = ends((0.8, 0.6, 0.9), (NAN, NAN, NAN))
    columns, numbers = correlation_columns(found), correlation_numbers(found)
    assert columns["rho"] == [0.8, None]
    assert columns["shifts"] == [9, 9]
    rows = {(row["quantity"], row["layer"]): row for row in numbers}
    assert rows["rank correlation", "enc1"] == {
        **{"dataset": "study", "split": "test", "arch": "unet", "encoder": "resnet18"},
        **{"metric": "hellinger", "bins": 100, "layer": "enc1", "quantity": "rank correlation"},
        **{"value": 0.8, "ci_low": 0.6, "ci_high": 0.9, "level": 0.95, "points": 36},
    }
    assert rows["shifts", "enc2"]["value"] == 9.0
    assert rows["rank correlation", "enc2"]["value"] is None


def test_names_and_methods_in_words() -> None:
    found = ends((0.8, 0.6, 0.9))
    assert (measure_name(found), family_name(found)) == ("Hellinger distance", "resnet18")
    assert images_name(found) == "study test, B = 100"
    assert "B = 100 bins of equal width over the joint range" in distance_text(found)
    kin = found.joined.kin._replace(metric="new", bins=None, range_rule="", arch="", encoder="")
    plain = replace(found, joined=replace(found.joined, kin=kin))
    assert (measure_name(plain), family_name(plain)) == ("new", "networks")
    assert images_name(plain) == "study test"
    assert "bins" not in distance_text(plain)
    assert "corrected for the finite number of images" in distance_text(plain)
    odd = replace(found, joined=replace(found.joined, kin=kin._replace(bins=7)))
    assert distance_text(odd).endswith("B = 7 bins")
    text = spearman_text([found, replace(found, points=(1000,), shifts=(4,), level=0.9)])
    for part in ("n = 36 to 1,000 points", "one of 4 to 9 shifts (", "95 % interval", "R = 2,000"):
        assert part in text
    assert "No interval with fewer than 9 shifts, or for a perfect order" in text


def test_points_of_tables_that_name_no_split_are_counted() -> None:
    (found,) = associations(*sweep(split=None))
    assert assumed_text(found) == (
        "36 of 36 points come from shift tables that do not name one split; their images are "
        "assumed to be the test images."
    )
    assert assumed_text(associations(*sweep())[0]) == ""
