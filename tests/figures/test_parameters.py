from __future__ import annotations

from skiptool.figures.exhibit import Shown
from skiptool.figures.parameters import ParameterCounts, parameter_exhibit, parameter_table

COUNTS = {
    ("unet", "resnet18", "L4-pruned"): 13_535_778,
    ("unet", "resnet34", "baseline"): 24_436_514,
    ("unet", "resnet18", "L1-pruned"): 14_309_922,
    ("linknet", "resnet18", "baseline"): 11_660_000,
    ("unet", "resnet18", "baseline"): 14_328_354,
}


def test_table_two_of_the_paper_whatever_the_order_given() -> None:
    counts = {(encoder, p): n for (arch, encoder, p), n in COUNTS.items() if arch == "unet"}
    assert dict(parameter_table(counts).columns) == {
        "architecture": ["baseline", "L1-pruned", "L4-pruned"],
        "resnet18": [14_328_354, 14_309_922, 13_535_778],
        "resnet34": [24_436_514, None, None],
    }


def test_without_networks_only_the_stub_is_left() -> None:
    assert dict(parameter_table({}).columns) == {"architecture": []}
    assert parameter_exhibit({}) == []


def test_an_exhibit_without_a_figure_whose_numbers_are_those_of_its_table() -> None:
    shown: Shown
    (shown,) = parameter_exhibit(COUNTS)
    assert (shown.topic, shown.heading) == ("parameters", "Parameters")
    assert shown.draw() is None
    assert {
        (row["arch"], row["encoder"], row["pruning"]): row["value"] for row in shown.numbers()
    } == COUNTS
    assert {row["quantity"] for row in shown.numbers()} == {"parameters"}
    columns = dict(shown.table().columns)
    assert list(columns) == ["architecture", "resnet18", "resnet34", "linknet resnet18"]
    cells = [cell for name in list(columns)[1:] for cell in columns[name] if cell is not None]
    assert sorted(map(int, cells)) == sorted(COUNTS.values())


def test_in_words_what_the_skip_connections_cost() -> None:
    """Worked by hand: 792,576 of 14,328,354 are 5.53 %."""
    assert ParameterCounts(COUNTS).sentences() == (
        "resnet18: L4-pruned has 5.5 % fewer parameters than baseline.",
    )
    alike = {("linknet", "r", pruning): 7 for pruning in ("baseline", "L4-pruned")}
    assert ParameterCounts(alike).sentences() == ()
