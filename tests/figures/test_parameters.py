from __future__ import annotations

from skiptool.figures.parameters import parameter_table


def test_table_two_of_the_paper_whatever_the_order_given() -> None:
    counts = {
        ("resnet18", "L4-pruned"): 13_535_778,
        ("resnet34", "baseline"): 24_436_514,
        ("resnet18", "L1-pruned"): 14_309_922,
        ("resnet18", "baseline"): 14_328_354,
        ("resnet34", "L4-pruned"): 23_643_938,
    }
    assert dict(parameter_table(counts).columns) == {
        "architecture": ["baseline", "L1-pruned", "L4-pruned"],
        "resnet18": [14_328_354, 14_309_922, 13_535_778],
        "resnet34": [24_436_514, None, 23_643_938],
    }


def test_without_networks_only_the_stub_is_left() -> None:
    assert dict(parameter_table({}).columns) == {"architecture": []}
