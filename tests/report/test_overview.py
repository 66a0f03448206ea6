"""Tests of ``overview``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.figure import Figure

from skiptool.analysis.distances import read_distances
from skiptool.records import Shade
from skiptool.report.exhibit import Exhibit
from skiptool.report.overview import divide_matrices, overview_exhibits
from small_shifts import Layer, network, tables

Check = Callable[[Figure], list[str]]


def drawn(*layers: Layer) -> list[Exhibit]:
    return overview_exhibits(read_distances(*tables(*layers)))


def shifts(pruning: str = "baseline", by: float = 1.0, **facts: Any) -> list[Layer]:  # noqa: ANN401
    return [
        each
        for factor in (0.5, 0.75)
        for each in network(
            {"enc1": factor * by, "dec0": 0.2 * by}, pruning, factor=factor, **facts
        )
    ]


def test_shifts_of_one_domain_are_the_rows() -> None:
    (found,) = drawn(*shifts(), *shifts("L1-pruned", 0.5))
    assert (found.topic, found.heading) == ("reach", "How far shifts reach")
    assert found.title == "Hellinger distance under shifts, a, B = 100"
    assert found.table.columns == {
        "architecture": ["resnet18 baseline"] * 2 + ["resnet18 L1-pruned"] * 2,
        "shift": ["brightness 0.5", "brightness 0.75"] * 2,
        "enc1": [0.5, 0.75, 0.25, 0.375],
        "dec0": [0.2, 0.2, 0.1, 0.1],
    }
    assert found.sentences[0] == (
        "resnet18 baseline: at dec0, none reaches clearly farthest (0.200 to 0.200)."
    )
    for word in ("a original", "one training;", "8 and 9 images, B = 100"):
        assert word in found.caption
    assert "mean over 1 fold" not in found.caption


def test_numbers_of_one_architecture_are_those_of_its_violins() -> None:
    (found,) = drawn(*shifts())
    numbers = [(n["factor"], n["layer"], n["value"], n["quantity"]) for n in found.numbers]
    assert numbers == [
        *((0.5, "enc1", 0.5, "distance"), (0.5, "dec0", 0.2, "distance")),
        *((0.75, "enc1", 0.75, "distance"), (0.75, "dec0", 0.2, "distance")),
    ]
    assert {n["pruning"] for n in found.numbers} == {"baseline"}


def test_many_architectures_are_averaged_and_named() -> None:
    """Worked by hand: 0.1 to 0.7 times the baseline, 0.4 on average; one of them lacks a layer."""
    rows = [each for n in range(1, 8) for each in shifts(f"x{n}", n / 10)]
    lacking = [row for row in rows if (row[0]["pruning"], row[0]["layer"]) != ("x7", "dec0")]
    (found,) = drawn(*shifts(), *lacking)
    table = found.table.columns
    names = ("resnet18 baseline", "resnet18, mean of 7 pruned networks")
    assert table["architecture"] == [name for name in names for _ in range(2)]
    assert table["enc1"][2:] == [pytest.approx(0.2), pytest.approx(0.3)]
    assert table["dec0"][2:] == [pytest.approx(0.07), pytest.approx(0.07)]
    last = found.numbers[-1]
    assert (last["quantity"], last["encoder"]) == ("mean distance", "resnet18")
    assert last["pruning"] == "x1, x2, x3, x4, x5, x6, x7"
    assert last["value"] == table["dec0"][-1]
    assert "over the named architectures" in found.caption


def test_domains_are_the_rows_if_unshifted() -> None:
    domains = [
        each
        for domain, mean in (("b", 0.3), ("c", 0.4))
        for each in network({"enc1": mean}, domain=domain, shift="original", factor=None)
    ]
    found, shifted = drawn(*domains, *shifts())
    assert found.title == "Hellinger distance of other domains to a, B = 100"
    assert found.table.columns["domain"] == ["b", "c"]
    assert "between domains (rows)" in found.caption
    assert shifted.table.columns["shift"] == ["brightness 0.5", "brightness 0.75"]


@pytest.mark.parametrize(
    "change",
    [{"metric": "kl"}, {"bins": 50}, {"dataset": "e"}, {"domain": "b"}, {"range_rule": "p0.1"}],
)
def test_different_settings_have_separate_overviews(change: dict[str, Any]) -> None:
    found = drawn(*shifts(), *shifts(**change))
    assert [len(each.table.columns["shift"]) for each in found] == [2, 2]


def test_single_shifts_and_unnamed_sets_have_no_overview() -> None:
    assert drawn(*network({"enc1": 0.5})) == []
    assert drawn(*shifts(shift=None)) == []


def test_missing_values_are_empty(labels: Check) -> None:
    part = network({"enc1": math.nan, "x": 0.1}, factor=0.9)
    (found,) = drawn(*shifts(), *part)
    assert [*found.table.columns][2:] == ["enc1", "dec0", "x"]
    assert found.table.columns["enc1"] == [0.5, 0.75, None]
    assert found.table.shade == Shade(0.0, 0.75, digits=3)
    assert found.table.columns["dec0"] == [0.2, 0.2, None]
    texts = labels(found.draw())
    assert texts.count("–") == 4
    assert {"resnet18 baseline", "brightness", "0.9", "Hellinger distance"} <= set(texts)
    (nothing,) = drawn(*network({"enc1": math.nan}), *network({"enc1": math.nan}, factor=0.1))
    assert tuple(nothing.sentences) == ()
    nothing.draw()


FIVE = ("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned")


def keys(prunings: tuple[str, ...], *families: str) -> list[tuple[str, str]]:
    return [(family, pruning) for family in families for pruning in prunings]


def test_few_architectures_have_a_matrix_each() -> None:
    found = divide_matrices(keys(FIVE[1::-1], "r18", "r34"), rows=15)
    assert [name for name, _ in found] == [
        *("r18 baseline", "r34 baseline", "r18 L1-pruned", "r34 L1-pruned")
    ]
    assert [" ".join(key) for _, (key,) in found] == [name for name, _ in found]


def test_many_architectures_are_divided_into_baseline_and_mean_of_pruned() -> None:
    found = divide_matrices(keys(FIVE, "r18", "r34"), rows=15)
    assert found == [
        ("r18 baseline", (("r18", "baseline"),)),
        ("r34 baseline", (("r34", "baseline"),)),
        ("r18, mean of 4 pruned networks", tuple(keys(FIVE[1:], "r18"))),
        ("r34, mean of 4 pruned networks", tuple(keys(FIVE[1:], "r34"))),
    ]


def test_many_families_are_averaged() -> None:
    families = [f"r{n}" for n in range(10)]
    assert [name for name, _ in divide_matrices(keys(FIVE[:2], *families), rows=2)] == [
        *("baseline, mean of 10 encoders", "mean of 10 pruned networks")
    ]


def test_many_rows_reduce_the_number_of_matrices() -> None:
    """Four matrices are two rows of them: 60 rows of cells fit, 62 do not."""
    four = keys(FIVE[:2], "r18", "r34")
    assert [len(divide_matrices(four, rows)) for rows in (30, 31)] == [4, 2]


@pytest.mark.parametrize("wanted", [keys(FIVE, *"abcdefgh"), keys(("x", "y"), "", "a"), [("", "")]])
@pytest.mark.parametrize("rows", [1, 30, 200])
def test_every_architecture_is_in_exactly_one_matrix(
    wanted: list[tuple[str, str]], rows: int
) -> None:
    found = divide_matrices(wanted, rows)
    members = [key for _, each in found for key in each]
    assert sorted(members) == sorted(wanted)
    assert len({name for name, _ in found}) == len(found) <= 6
