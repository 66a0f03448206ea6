"""Labels of annotations, for all slides together; which names are in no class or nowhere."""

from __future__ import annotations

import pytest

from heard import Heard
from skiptool.errors import ArgumentError, SourceError
from skiptool.names import IGNORE, PatchMode
from skiptool.steps.extract_wsi.labels import labelling
from skiptool.steps.extract_wsi.settings import PatchSettings
from slide_cases import area, point, surveyed
from small_stores import refused

BOX = (0.0, 0.0, 9.0, 9.0)
SHAPES = [area(name, BOX) for name in ("SCC", "Dermis", "Bone", "scc ")]
PAPER = PatchSettings(classes="tumor=SCC,Melanoma;non-tumor=Dermis")


def test_a_class_map_gives_the_labels_and_the_rest_is_told() -> None:
    heard, slide = Heard(), surveyed(shapes=SHAPES)
    found, (unsorted,) = labelling([slide], PAPER, heard)
    assert found.classes == ("background", "tumor", "non-tumor")
    assert [found.label(slide, shape) for shape in slide.shapes] == [1, 2, None, 1]
    assert [found.name(label) for label in (0, 2, None, IGNORE)] == [
        *("background", "non-tumor", "in no class", "ignored")
    ]
    assert unsorted == (
        "--classes: annotations in no class are ignored (255): Bone (1); sort them into a class, "
        "or say that they may be ignored: 'ignore=Bone'"
    )
    (nowhere,) = heard.lines
    assert "no slide has annotations named 'Melanoma'" in nowhere


def test_the_names_in_no_class_are_listed_the_most_frequent_first() -> None:
    more = [*SHAPES, area("Fat", BOX), area("Fat", BOX)]
    _, (line,) = labelling([surveyed(shapes=more)], PAPER, Heard())
    assert "Fat (2), Bone (1); sort them" in line
    assert line.endswith("'ignore=Fat'")


def test_in_centred_patches_the_rest_is_left_out() -> None:
    heard = Heard()
    settings = PatchSettings(mode=PatchMode.CENTRED, classes="cell=SCC,Dermis")
    shapes = [*SHAPES, point("", 1, 1)]
    _, (line,) = labelling([surveyed(shapes=shapes)], settings, heard)
    assert "annotations in no class are left out: Bone (1);" in line
    assert heard.lines == ["1 annotations have no class in their file and are left out"]


@pytest.mark.parametrize(
    "classes", ["tumor=SCC;ignore=Bone,Dermis", "Ignore=bone,dermis;tumor=SCC"]
)
def test_what_may_be_ignored_is_no_class_and_no_failure(classes: str) -> None:
    heard, slide = Heard(), surveyed(shapes=SHAPES)
    found, failures = labelling([slide], PatchSettings(classes=classes), heard)
    assert (failures, heard.lines) == ([], [])
    assert found.classes == ("background", "tumor")
    assert [found.label(slide, shape) for shape in slide.shapes] == [1, IGNORE, IGNORE, 1]


STARRED = [area(name, BOX) for name in ("Ignore*", "Artefact*", "Tumor: Fold *", "SCC", "Ignore*")]
TOLD = "Ignore* (2), Artefact* (1), Tumor: Fold * (1)"


@pytest.mark.parametrize("classes", ["", "tumor=SCC"])
@pytest.mark.parametrize("mode", [PatchMode.GRID, PatchMode.CENTRED])
def test_names_with_a_star_are_ignored_and_counted(classes: str, mode: PatchMode) -> None:
    heard, slide = Heard(), surveyed(shapes=STARRED)
    found, failures = labelling([slide], PatchSettings(classes=classes, mode=mode), heard)
    assert failures == []
    assert len(found.classes) == 2
    labels = [found.label(slide, shape) for shape in slide.shapes]
    assert labels == [IGNORE, IGNORE, IGNORE, 1, IGNORE]
    fate = "left out" if mode is PatchMode.CENTRED else "ignored (255)"
    assert heard.lines == [f"annotations whose class says that it is ignored are {fate}: {TOLD}"]


def test_names_with_a_star_are_classes_where_they_are_typed() -> None:
    heard, slide = Heard(), surveyed(shapes=STARRED)
    classes = "tumor=SCC;fold=tumor: fold*;ignore=ignore*"
    found, _ = labelling([slide], PatchSettings(classes=classes), heard)
    labels = [found.label(slide, shape) for shape in slide.shapes]
    assert labels == [IGNORE, IGNORE, 2, 1, IGNORE]
    assert heard.lines == [
        "annotations whose class says that it is ignored are ignored (255): Artefact* (1)"
    ]


def test_a_name_that_means_ignored_is_counted_too() -> None:
    heard, slide = Heard(), surveyed(shapes=[area("ignore", BOX), area("SCC", BOX)])
    found, _ = labelling([slide], PatchSettings(), heard)
    assert [found.label(slide, shape) for shape in slide.shapes] == [IGNORE, 1]
    assert "ignore (1)" in heard.lines[0]


def test_a_near_name_is_hinted_at() -> None:
    heard = Heard()
    labelling([surveyed(shapes=[area("Melanoma", BOX)])], PatchSettings(classes="t=Melanom"), heard)
    assert any("'Melanom'" in line and "did you mean Melanoma" in line for line in heard.lines)


def test_without_a_class_map_each_name_is_a_class() -> None:
    heard, slides = Heard(), [surveyed(shapes=SHAPES[:2]), surveyed("b", SHAPES[2:])]
    found, failures = labelling(slides, PatchSettings(), heard)
    assert found.classes == ("background", "Bone", "Dermis", "SCC")
    assert [found.label(slides[1], shape) for shape in slides[1].shapes] == [1, 3]
    assert (failures, heard.lines) == ([], [])


def test_without_annotations_there_is_the_background_alone() -> None:
    found, failures = labelling([surveyed()], PatchSettings(), Heard())
    assert (found.classes, failures) == (("background",), [])


def test_a_slide_may_have_its_own_map() -> None:
    slides = [
        surveyed("a", SHAPES, key="a" * 32),
        surveyed("b", SHAPES, key="b" * 32, label_map="non-tumor=SCC;tumor=Bone"),
    ]
    found, (line,) = labelling(slides, PAPER, Heard())
    labels = [[found.label(slide, shape) for shape in slide.shapes] for slide in slides]
    assert labels == [[1, 2, None, 1], [2, None, 1, 2]]
    assert "Bone (1), Dermis (1)" in line


def test_one_file_in_two_domains_may_have_two_maps() -> None:
    slides = [
        surveyed("a", SHAPES, label_map="tumor=SCC;ignore=Bone,Dermis"),
        surveyed("a", SHAPES, domain="B", label_map="non-tumor=SCC,Dermis,Bone"),
        surveyed("a", SHAPES, domain="C"),
    ]
    found, _ = labelling(slides, PAPER, Heard())
    labels = [[found.label(slide, shape) for shape in SHAPES] for slide in slides]
    assert labels == [[1, IGNORE, IGNORE, 1], [2, 2, 2, 2], [1, 2, None, 1]]


def test_own_maps_add_classes_where_none_are_asked_for() -> None:
    slides = [
        surveyed("a", SHAPES[:1], key="a" * 32),
        surveyed("b", SHAPES[1:2], key="b" * 32, label_map="stroma=Dermis"),
    ]
    found, _ = labelling(slides, PatchSettings(), Heard())
    assert found.label(slides[1], SHAPES[1]) == found.classes.index("stroma")
    assert found.label(slides[0], SHAPES[0]) == found.classes.index("SCC")
    assert "Dermis" not in found.classes


def test_a_class_that_only_a_slide_knows_is_refused() -> None:
    slide = surveyed("b", SHAPES, label_map="tumour=SCC")
    with refused(SourceError, "b.svs: label_map names class tumour", "background, tumor"):
        labelling([slide], PAPER, Heard())


def test_a_malformed_own_map_is_refused() -> None:
    with refused(ArgumentError, "'SCC' is there twice"):
        labelling([surveyed("b", SHAPES, label_map="t=SCC;u=SCC")], PatchSettings(), Heard())


@pytest.mark.parametrize("classes", ["void=x;background=Bone", "void=x;Background=bone"])
def test_names_may_be_background(classes: str) -> None:
    slide = surveyed(shapes=SHAPES)
    found, _ = labelling([slide], PatchSettings(classes=classes), Heard())
    assert found.label(slide, SHAPES[2]) == 0
