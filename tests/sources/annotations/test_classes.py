"""Class maps: what is typed after --classes, and what annotations hold."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError
from skiptool.names import IGNORE_LABEL
from skiptool.sources.annotations.classes import ClassMap, classes_from_names, unmatched_names
from skiptool.sources.annotations.shapes import Shape

WORDS = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=6)


def shapes(*names: str) -> list[Shape]:
    return [Shape(name, (np.zeros((1, 2)),), "1") for name in names]


def test_classes_keep_the_order_given() -> None:
    mapping = ClassMap.parse("tumor=Melanoma,Mast Cell Tumor; non-tumor = Dermis ;")
    assert mapping.classes == ("background", "tumor", "non-tumor")
    assert mapping.named == {"Melanoma": 1, "Mast Cell Tumor": 1, "Dermis": 2}


@pytest.mark.parametrize("name", ["Mast Cell Tumor", "mast cell tumor", " MastCell  Tumor\n"])
def test_case_and_blanks_are_ignored(name: str) -> None:
    assert ClassMap.parse("a=b;tumor=Mast cell Tumor").label(name) == 2


def test_names_are_compared_after_unicode_normalisation() -> None:
    """QuPath on a Mac writes what was typed elsewhere with accents as characters of their own."""
    apart, joined = "Tumo\u0308r", "Tum\u00f6r"
    assert ClassMap.parse(f"tumor={joined}").label(apart) == 1
    assert classes_from_names([apart, joined]).classes == ("background", apart)


def test_unknown_and_empty_names_have_no_label() -> None:
    mapping = ClassMap.parse("tumor=Melanoma")
    assert [mapping.label(name) for name in ("tumor", "", "Melanom")] == [None] * 3


def test_class_without_names_is_its_own_name() -> None:
    mapping = ClassMap.parse("mitosis;look-alike=non-mitosis")
    assert (mapping.classes, mapping.label("Mitosis")) == (
        ("background", "mitosis", "look-alike"),
        1,
    )


@pytest.mark.parametrize(
    "text", ["background=Void,Glass;tumor=SCC", "tumor=SCC;Background=Void,Glass"]
)
def test_background_is_label_0_in_any_position(text: str) -> None:
    mapping = ClassMap.parse(text)
    assert mapping.classes == ("background", "tumor")
    assert [mapping.label(name) for name in ("void", "Glass", "SCC")] == [0, 0, 1]


@pytest.mark.parametrize("text", ["ignore=Fold,Pen;tumor=SCC", "tumor=SCC;Ignore=Fold,Pen"])
def test_ignored_names_get_label_255_without_a_class(text: str) -> None:
    mapping = ClassMap.parse(text)
    assert mapping.classes == ("background", "tumor")
    assert [mapping.label(name) for name in ("fold", "Pen", "SCC")] == [
        IGNORE_LABEL,
        IGNORE_LABEL,
        1,
    ]
    assert unmatched_names([shapes("SCC", "Pen")], mapping) == ({}, {"Fold": ""})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no class"),
        (" ; ", "no class"),
        ("tumor=", "is empty"),
        ("=SCC", "is empty"),
        ("tumor=SCC,,b", "is empty"),
        ("tumor=SCC;tumor=PNST", "class 'tumor' occurs twice"),
        ("tumor=SCC;Tumor=PNST", "class 'tumor' occurs twice"),
        ("tumor=SCC;other=scc", "name 'SCC' occurs twice"),
        ("tumor=SCC,S CC", "name 'SCC' occurs twice"),
        ("SCC;other=SCC", "name 'SCC' occurs twice"),
        ("tumor=SCC;ignore=SCC", "name 'SCC' occurs twice"),
        ("tumor=SCC;ignore=", "is empty"),
        ("SCC,PNST", "'SCC,PNST' has no class; put 'CLASS=' before"),
        (";".join(f"c{at}" for at in range(251)), "251 classes, at most 250"),
    ],
)
def test_malformed_maps_are_refused(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^classes .*{message}"):
        ClassMap.parse(text)


@given(st.dictionaries(WORDS, st.lists(WORDS, min_size=1), min_size=1, max_size=5))
def test_every_given_name_has_its_class(grouped: dict[str, list[str]]) -> None:
    names = [name for sources in grouped.values() for name in sources]
    text = ";".join(f"{target}={','.join(sources)}" for target, sources in grouped.items())
    if len(set(names)) < len(names):
        with pytest.raises(ArgumentError, match="occurs twice"):
            ClassMap.parse(text)
        return
    mapping = ClassMap.parse(text)
    for target, sources in grouped.items():
        for name in sources:
            label = mapping.label(name.upper())
            assert label is not None
            assert mapping.classes[label] == target


@given(st.lists(WORDS))
def test_names_become_classes_in_alphabetical_order(names: list[str]) -> None:
    mapping = classes_from_names(names)
    assert list(mapping.classes[1:]) == sorted({*names} - {"background"})
    assert all(mapping.classes[mapping.label(name) or 0] == name for name in names)


def test_names_differing_in_case_share_a_class() -> None:
    mapping = classes_from_names(["b", "Zebra", "zebra", " ", "", "Background"])
    assert mapping.classes == ("background", "b", "Zebra")
    assert [mapping.label(name) for name in ("zebra", "Zebra", "Background", "")] == [2, 2, 0, None]


def test_starred_names_are_ignored_unless_given() -> None:
    mapping = classes_from_names(["Tumor", "Ignore*", "Region *"])
    assert mapping.classes == ("background", "Tumor")
    assert [mapping.label(name) for name in ("Tumor", "Ignore*", "Region *")] == [1, 255, 255]
    typed = ClassMap.parse("region=Region*")
    assert [typed.label(name) for name in ("region*", "Other*", "Other", "*")] == [
        1,
        255,
        None,
        255,
    ]
    assert [typed.knows(name) for name in ("REGION *", "Other*")] == [True, False]


def test_too_many_names_are_refused() -> None:
    classes_from_names(str(at) for at in range(250))
    with pytest.raises(ArgumentError, match="have 251 names, at most 250"):
        classes_from_names(str(at) for at in range(251))


@pytest.mark.parametrize(
    ("slides", "unmapped", "nowhere"),
    [
        ([["SCC"], ["scc", "PNST"]], {}, {}),
        ([["SCC", "PNST"], ["Bone", "", "Bone"]], {"Bone": 2, "": 1}, {}),
        ([["SCC", "PNTS"]], {"PNTS": 1}, {"PNST": "; did you mean PNTS?"}),
        ([], {}, {"SCC": "", "PNST": ""}),
    ],
)
def test_unmapped_and_absent_names_are_listed(
    slides: Iterable[list[str]], unmapped: dict[str, int], nowhere: dict[str, str]
) -> None:
    found = unmatched_names(
        (iter(shapes(*names)) for names in slides), ClassMap.parse("tumor=SCC,PNST")
    )
    assert found == (unmapped, nowhere)


def test_names_containing_separators_are_quoted() -> None:
    text = 'tumor="Carcinoma, invasive",SCC;"CD3+; CD8-";"a=b"="x=y",z=w;ignore="Bone, old"'
    found = ClassMap.parse(text)
    assert found.classes == ("background", "tumor", "CD3+; CD8-", "a=b")
    labels = {"carcinoma, invasive": 1, "SCC": 1, "CD3+; CD8-": 2, "x=y": 3, "z=w": 3}
    assert {name: found.label(name) for name in labels} == labels
    assert (found.label("Bone, old"), found.label("Carcinoma")) == (255, None)
    with pytest.raises(ArgumentError, match=r"'Carcinoma, invasive' has no class.*quote"):
        ClassMap.parse("Carcinoma, invasive")


def test_suggested_name_with_a_comma_can_be_parsed() -> None:
    hints = unmatched_names(
        [shapes("Carcinoma, invasive")], ClassMap.parse("tumor=Carcinoma invasive")
    )[1]
    assert hints == {"Carcinoma invasive": '; did you mean "Carcinoma, invasive"?'}
