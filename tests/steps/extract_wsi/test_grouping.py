"""Scans of one glass slide, gathered around that of the reference domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skiptool.sources.slides.manifest import SlideRow
from skiptool.steps.extract_wsi.grouping import Group, grouped
from skiptool.steps.extract_wsi.survey import Surveyed
from slide_cases import surveyed


def scan(domain: str, subject: str = "s", slide: str = "", **new: Any) -> Surveyed:  # noqa: ANN401
    name = f"{domain}-{subject}{slide}"
    facts = {"domain": domain, "subject": subject, "slide": slide, "path": Path(f"{name}.svs")}
    facts["key"] = name.encode().hex().ljust(32, "0")
    return replace(surveyed(subject, **(facts | new)), name=slide or subject)


def rows_of(slides: Sequence[Surveyed]) -> list[SlideRow]:
    return [slide.row for slide in slides]


def test_scans_are_gathered_around_the_reference() -> None:
    slides = [
        *(scan("B"), scan("A"), scan("A", "t", "1"), scan("A", "t", "2"), scan("B", "t", "2")),
        *(scan("C"), scan("B", "t", "1")),
    ]
    groups, failures = grouped(slides, rows_of(slides), "A")
    assert failures == []
    assert groups == [
        Group(1, {0: None, 5: None}),
        Group(2, {6: None}),
        Group(3, {4: None}),
    ]


def test_a_slide_scanned_once_is_a_group_of_its_own() -> None:
    assert grouped([scan("A")], [scan("A").row], "A") == ([Group(0, {})], [])


def test_what_is_not_whole_is_left_out_and_told() -> None:
    slides = [scan("B", "no-reference"), scan("A", "torn"), scan("A", "twice"), scan("A", "good")]
    slides += [scan("A", "twice", path=Path("again.svs")), scan("B", "good")]
    rows = [*rows_of(slides), scan("B", "torn").row, scan("B", "twice").row]
    groups, failures = grouped(slides, rows, "A")
    assert groups == [Group(3, {5: None})]
    without, torn, twice = failures
    assert "slide no-reference: the manifest has no scan of it in domain A" in without
    assert "slide torn: its scan in domain B failed" in torn
    assert "slide twice: the manifest has 2 scans of it in domain A" in twice
    assert "column slide" in twice
