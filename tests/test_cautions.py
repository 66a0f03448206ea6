from __future__ import annotations

from skiptool.cautions import Caution, joined

FEW = "of {} channels vary in too few images to estimate their distance (more are needed)"


def test_what_differs_in_layers_comparisons_and_numbers_is_one() -> None:
    found = joined(
        [
            Caution("the sets differ in size", (), ("b against a",)),
            Caution(f"3 {FEW.format(64)}", ("enc1",), ("b against a",)),
            Caution(f"16 {FEW.format(1280)}", ("enc2", "enc3"), ("b against a",)),
            Caution(f"5 {FEW.format(64)}", ("enc1",), ("c against a",)),
            Caution("the sets differ in size", (), ("c against a",)),
        ]
    )
    both = ("b against a", "c against a")
    assert found == [
        Caution("the sets differ in size", (), both),
        Caution(f"3 to 16 {FEW.format('64 to 1280')}", ("enc1", "enc2", "enc3"), both),
    ]


def test_numbers_within_names_are_no_numbers() -> None:
    cautions = [Caution("img-7.1 of 2 subjects"), Caution("3 subjects"), Caution("2,000 subjects")]
    assert joined(cautions) == [Caution("img-7.1 of 2 subjects"), Caution("3 to 2,000 subjects")]


def test_what_is_about_all_layers_names_none() -> None:
    cautions = [Caution("2 units", ("enc1",)), Caution("3 units")]
    assert [str(each) for each in joined(cautions)] == ["2 to 3 units"]
    assert str(cautions[0]) == "enc1: 2 units"
    assert joined([]) == []
