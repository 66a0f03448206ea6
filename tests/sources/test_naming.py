"""Patterns of names: what stands in braces is found again."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.naming import MaskPattern, NamePattern, by_folders

WORD = st.text(st.sampled_from("ab01_-. (é+"), min_size=1, max_size=5)


@given(domain=WORD, subject=WORD, rest=st.text(st.sampled_from("ab01-("), min_size=1, max_size=4))
def test_fields_are_read_as_they_were_written(domain: str, subject: str, rest: str) -> None:
    name = f"{domain}/{subject}_{rest}.png"
    found = NamePattern.parse("{domain}/{subject}_{}.png").read(name)
    assert found == {"domain": domain, "subject": subject}


def test_the_suffix_may_be_left_open() -> None:
    for name in ("a_1.png", "a_1.TIF", "a_1.jpeg"):
        assert NamePattern.parse("{subject}_{id}").read(name) == {"subject": "a", "id": "1"}
    with pytest.raises(SourceError, match=r"a_1\.tif: does not fit"):
        NamePattern.parse("{subject}_{id}.png").read("a_1.tif")


def test_a_field_that_stands_twice_must_be_the_same() -> None:
    pattern = NamePattern.parse("{subject}/{subject}_{}")
    assert pattern.read("p1/p1_2.png") == {"subject": "p1"}
    with pytest.raises(SourceError, match="does not fit"):
        pattern.read("p1/p2_2.png")


def test_nothing_reaches_beyond_a_folder() -> None:
    with pytest.raises(SourceError, match="does not fit"):
        NamePattern.parse("{domain}_{}.png").read("a/b_c.png")


def test_signs_of_regular_expressions_mean_themselves() -> None:
    assert NamePattern.parse("({subject})+.{}").read("(x)+.1.png") == {"subject": "x"}
    with pytest.raises(SourceError, match="does not fit"):
        NamePattern.parse("a.{subject}").read("ab1.png")


@pytest.mark.parametrize(
    "text", ["", "a.png", "{}", "{scanner}/{}", "{domain", "domain}{id}", "{{id}}"]
)
def test_patterns_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(f"--pattern {text}: expected some of")):
        NamePattern.parse(text)


def test_folders_tell_what_no_pattern_does() -> None:
    assert by_folders("x/y/z.png", "D") == {"domain": "D", "subject": "x"}
    assert by_folders("z.a.png", None) == {"subject": "z.a"}


@pytest.mark.parametrize(
    ("text", "image", "mask"),
    [
        ("{}_mask", "A/p/07", "A/p/07_mask"),
        ("{}_mask.png", "07", "07_mask"),
        ("{}.TIF", "07", "07"),
        ("gt_{}", "A/07", "A/gt_07"),
        ("{}/label", "A/07", "A/07/label"),
        ("{}_img={}_seg", "A/07_img", "A/07_seg"),
        ("image{}.jpg=label{}.png", "image3", "label3"),
        ("{}_img={}_seg", "07_image", None),
        ("{}_img={}_seg", "_img", None),
    ],
)
def test_names_of_masks(text: str, image: str, mask: str | None) -> None:
    assert MaskPattern.parse(text).mask_of(image) == mask


@pytest.mark.parametrize("text", ["", "_mask", "{}{}", "{}=_mask", "{}_{id}", "a/{}={}", "{x}"])
def test_patterns_of_masks_that_say_nothing(text: str) -> None:
    with pytest.raises(ArgumentError, match="--mask-pattern"):
        MaskPattern.parse(text)


@pytest.mark.parametrize(
    ("images", "masks", "text"),
    [
        (["0", "1"], ["0_mask", "1_mask"], "{}_mask"),
        (["A/0", "B/0"], ["A/0_gt", "B/0_gt", "B/9_gt"], "{}_gt"),
        (["0_img", "10_img"], ["0_seg", "10_seg"], "{}img={}seg"),
        (["image1", "image12"], ["label1", "label12"], "image{}=label{}"),
        (["ISIC_1"], ["ISIC_1_segmentation"], "{}_segmentation"),
        (["a", "b"], ["a_mask", "c_mask"], None),
        ([], ["a"], None),
        (["a"], [], None),
        (["a"], ["b"], None),
    ],
)
def test_the_pattern_that_fits_all_is_found(
    images: list[str], masks: list[str], text: str | None
) -> None:
    found = MaskPattern.guess(images, masks)
    assert (found and found.text) == text
    assert found is None or all(found.mask_of(image) in masks for image in images)
