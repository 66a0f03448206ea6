"""Splits and folds: the manifest's where it has any, otherwise by subject in all domains."""

from __future__ import annotations

from typing import Any

import pytest

from heard import Heard
from skiptool.errors import ArgumentError, SourceError
from skiptool.names import Split
from skiptool.records import SILENT
from skiptool.steps.extract_wsi.dealing import dealt
from skiptool.steps.extract_wsi.survey import Surveyed
from slide_cases import area, surveyed
from small_stores import refused

TRAIN, TEST = Split.TRAIN, Split.TEST


def scans(subjects: int, domains: str = "AB", **row: Any) -> list[Surveyed]:  # noqa: ANN401
    """Return scans of every subject in every domain, annotated more from one to the next."""
    return [
        surveyed(
            f"{domain}{number}",
            [area("tumor", (100, 100, 120 + 10 * number, 200))],
            **({"domain": domain, "subject": f"s{number}"} | row),
        )
        for domain in domains
        for number in range(subjects)
    ]


def test_subjects_are_on_one_side_and_in_one_fold_in_all_domains() -> None:
    slides = scans(10)
    found = dealt(slides, 0.2, 4, 0, SILENT)
    sides: dict[str, set[tuple[Split, int]]] = {}
    for slide, side in zip(slides, found, strict=True):
        sides.setdefault(slide.row.subject, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    numbers = [fold for side in sides.values() for _, fold in side]
    assert sorted(set(numbers)) == [-1, 0, 1, 2, 3]
    assert numbers.count(-1) == 2
    assert all((fold == -1) == (side is TEST) for side, fold in found)


def test_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    slides = scans(12, "A")

    def by_name(seed: int, order: list[Surveyed]) -> dict[str, tuple[Split, int]]:
        found = dealt(order, 0.25, 3, seed, SILENT)
        return {slide.name: side for slide, side in zip(order, found, strict=True)}

    assert by_name(0, slides) == by_name(0, slides[::-1])
    assert any(by_name(0, slides) != by_name(seed, slides) for seed in range(1, 5))


def test_the_column_split_decides() -> None:
    slides = [
        *scans(4, "A", split=TRAIN),
        surveyed("t", domain="A", subject="t", split=TEST),
        surveyed("u", domain="B", subject="t", split=TEST),
    ]
    heard = Heard()
    found = dealt(slides, 0.5, 2, 0, heard)
    assert [side for side, _ in found] == [TRAIN] * 4 + [TEST] * 2
    assert sorted(fold for _, fold in found) == [-1, -1, 0, 0, 1, 1]
    assert heard.lines == []


def test_a_subject_on_both_sides_is_refused() -> None:
    slides = [
        surveyed("a", subject="s", split=TRAIN),
        surveyed("b", subject="s", split=TEST, domain="B"),
    ]
    with refused(SourceError, "b.svs: split is test", "subject s", "train", "one side"):
        dealt(slides, 0.2, 2, 0, SILENT)


@pytest.mark.parametrize("same", [True, False])
def test_a_column_filled_in_partly_is_refused(same: bool) -> None:
    slides = [
        surveyed("a", subject="s", split=TRAIN),
        surveyed("b", subject="s" if same else "t"),
    ]
    with refused(SourceError, "b.svs: split is empty"):
        dealt(slides, 0.2, 2, 0, SILENT)


def test_a_single_subject_is_for_testing() -> None:
    heard = Heard()
    assert dealt(scans(1), 0.2, 5, 0, heard) == [(TEST, -1)] * 2
    (line,) = heard.lines
    assert "single subject" in line
    assert "cannot be trained on one subject" in line


@pytest.mark.parametrize("folds", [1, 5])
def test_a_single_training_subject_is_no_training_set_and_that_is_told(folds: int) -> None:
    heard = Heard()
    assert dealt(scans(1), 0.0, folds, 0, heard) == [(TRAIN, 0)] * 2
    slides = [*scans(1, split=TRAIN), surveyed("t", subject="t", split=TEST)]
    assert dealt(slides, 0.2, folds, 0, heard) == [(TRAIN, 0)] * 2 + [(TEST, -1)]
    assert len(heard.lines) == 2
    for line in heard.lines:
        assert line.startswith("one training subject (s0) cannot be trained on")


def test_more_folds_than_subjects() -> None:
    heard = Heard()
    found = dealt(scans(3, "A"), 0.0, 5, 0, heard)
    assert sorted(found) == [(TRAIN, 0), (TRAIN, 1), (TRAIN, 2)]
    (line,) = heard.lines
    assert "--folds 5" in line
    assert "3 are made" in line


@pytest.mark.parametrize(("fraction", "folds"), [(1.0, 5), (-0.1, 5), (float("nan"), 5), (0.2, 0)])
def test_what_is_out_of_range_is_refused(fraction: float, folds: int) -> None:
    with refused(ArgumentError):
        dealt(scans(5, "A"), fraction, folds, 0, SILENT)


def test_one_domain_is_trained_on() -> None:
    slides = [*scans(10, "A"), *scans(4, "B", subject="b"), *scans(2, "A", subject="s3")]
    heard = Heard()
    found = dealt(slides, 0.2, 4, 0, heard, "A")
    assert [side for side, _ in found[:10]].count(TEST) == 2
    assert found[10:14] == [(TEST, -1)] * 4
    assert found[14:] == [found[3]] * 2
    assert heard.lines == []
    with refused(ArgumentError, "--train-domain: the source says itself"):
        dealt([*scans(1, "A", split=TRAIN), *scans(1, "B", split=TRAIN)], 0.2, 1, 0, heard, "A")
    with refused(ArgumentError, "--train-domain C: expected one of A, B"):
        dealt(slides, 0.2, 4, 0, heard, "C")
    paired = dealt(scans(5), 0.2, 4, 0, heard, "B")
    assert paired[:5] == paired[5:]
    (line,) = heard.lines
    assert line.startswith("--train-domain B: 4 inputs of domain A are of subjects")


def test_subjects_of_two_spellings_are_warned_of() -> None:
    heard = Heard()
    dealt([*scans(1, "A", subject="p1"), *scans(1, "B", subject="P1")], 0.5, 1, 0, heard)
    assert any("are spelled almost alike" in line for line in heard.lines)
