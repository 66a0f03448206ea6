from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heard import Heard
from skiptool.errors import ArgumentError, SourceError
from skiptool.names import Split
from skiptool.records import SILENT
from skiptool.sources.volumes.manifest import Frame, VolumeRow
from skiptool.sources.volumes.nifti import Volume
from skiptool.sources.volumes.orientation import as_stored
from skiptool.steps.extract_mri.dealing import dealt
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import Surveyed


def volume(subject: str, domain: str = "A", **known: Any) -> Surveyed:  # noqa: ANN401
    row = VolumeRow(Path(f"{subject}.nii"), None, domain, subject, split=known.get("split"))
    labelled = frozenset({0}) if known.get("labelled", True) else frozenset()
    header = Volume(row.image, (4, 4, 1, 1), np.eye(4), True, "")
    none = np.zeros(4, dtype=np.int64)
    shape: tuple[int, int, int] = (1, 4, 4)
    return Surveyed(
        row=row,
        name=subject,
        volume=header,
        mask=None,
        view=as_stored(),
        spacing=(1.0, 1.0, 1.0),
        grid=shape,
        frames=(Frame(0),),
        labelled=labelled,
        voxels=none,
        whole=none,
        kept=none,
        notes=(),
    )


def many(**domains: int) -> list[Surveyed]:
    """Subjects of each domain, two volumes each (ED and ES)."""
    return [
        volume(f"{domain}{number:03d}", domain)
        for domain, count in domains.items()
        for number in range(count)
        for _ in ("ED", "ES")
    ]


def deal(volumes: list[Surveyed], seed: int = 0, folds: int = 5, **asked: Any) -> dict[str, int]:  # noqa: ANN401
    fraction, domain = asked.pop("test_fraction", 0.2), asked.pop("train_domain", None)
    return dealt(volumes, SliceSettings(**asked), fraction, folds, seed, SILENT, domain)


def sides(fold: dict[str, int], domain: str) -> tuple[int, int]:
    of = [number for subject, number in fold.items() if subject.startswith(domain)]
    return sum(number >= 0 for number in of), sum(number < 0 for number in of)


@given(st.integers(0, 99), st.integers(2, 20), st.integers(2, 20))
def test_every_subject_is_on_one_side_and_every_domain_on_both(seed: int, a: int, b: int) -> None:
    fold = deal(many(A=a, B=b), seed=seed, test_fraction=0.5, folds=2)
    assert len(fold) == a + b
    for domain, count in (("A", a), ("B", b)):
        train, test = sides(fold, domain)
        assert train + test == count
        assert abs(test - count / 2) <= 1


def test_the_paper_takes_75_and_16() -> None:
    volumes = [*many(A=91, B=125, C=50, D=50)]
    fold = deal(volumes, train_subjects={"A": 75}, test_subjects={"": 16})
    assert [sides(fold, domain) for domain in "ABCD"] == [(75, 16), (0, 16), (0, 16), (0, 16)]
    assert sorted(np.bincount([number for number in fold.values() if number >= 0])) == [15] * 5


def test_numbers_of_the_given_splits() -> None:
    volumes = [
        volume(f"{domain}{number}", domain, split=Split.TEST if number < 5 else Split.TRAIN)
        for domain in "AB"
        for number in range(12)
    ]
    assert [sides(deal(volumes), domain) for domain in "AB"] == [(7, 5), (7, 5)]
    fold = deal(volumes, train_subjects={"A": 6}, test_subjects={"": 3, "B": 4}, folds=2)
    assert [sides(fold, domain) for domain in "AB"] == [(6, 3), (0, 4)]
    for subject, number in fold.items():
        assert (number < 0) == (int(subject[1:]) < 5)


def test_the_same_seed_draws_the_same_subjects_in_whatever_order() -> None:
    volumes = many(A=20, B=20)
    first = deal(volumes, train_subjects={"A": 5}, test_subjects={"": 4}, seed=3)
    assert deal(volumes[::-1], train_subjects={"A": 5}, test_subjects={"": 4}, seed=3) == first
    assert deal(volumes, train_subjects={"A": 5}, test_subjects={"": 4}, seed=4) != first


def test_more_subjects_than_there_are() -> None:
    with pytest.raises(ArgumentError, match=r"--test-subjects 16: domain B has 3 subjects"):
        deal(many(A=20, B=3), test_subjects={"": 16})
    with pytest.raises(ArgumentError, match=r"--train-subjects 19: domain A has 4 subjects"):
        deal(many(A=20), train_subjects={"A": 19}, test_subjects={"A": 16})


def test_subjects_without_labels_are_for_testing() -> None:
    bare = [volume("A900", labelled=False), volume("A901", labelled=False)]
    fold = deal([*many(A=4), *bare], folds=2)
    assert (fold["A900"], fold["A901"]) == (-1, -1)
    assert deal(bare) == {"A900": -1, "A901": -1}


def test_a_subject_of_two_domains_is_on_one_side() -> None:
    volumes = [volume(f"p{number}", domain) for domain in "AB" for number in range(6)]
    fold = deal(volumes, test_subjects={"A": 2}, folds=2)
    assert len(fold) == 6
    assert sum(number < 0 for number in fold.values()) == 2


def test_few_subjects() -> None:
    assert deal(many(A=1)) == {"A000": -1}
    assert deal(many(A=1), test_fraction=0) == {"A000": 0}
    assert sorted(deal(many(A=3)).values()) == [-1, 0, 1]


def test_splits_that_contradict_each_other_are_refused() -> None:
    first = volume("p0", split=Split.TRAIN)
    other = replace(first, row=replace(first.row, split=Split.TEST))
    with pytest.raises(SourceError, match="subject p0 it is train; a subject is on one side"):
        deal([first, other])
    with pytest.raises(SourceError, match=r"p1\.nii: split is empty, in other rows it is not"):
        deal([first, volume("p1")])


def test_one_domain_is_trained_on() -> None:
    bare = [volume("A900", labelled=False), volume("B900", "B", labelled=False)]
    fold = deal([*many(A=10, B=4, C=3), *bare], train_domain="A")
    assert [sides(fold, domain) for domain in "ABC"] == [(8, 3), (0, 5), (0, 3)]
    assert fold["A900"] == -1
    whole = deal(many(A=10, B=4), train_domain="A", test_fraction=0)
    assert [sides(whole, domain) for domain in "AB"] == [(10, 0), (0, 4)]


def test_a_domain_to_train_on_does_not_go_with_other_words_for_it() -> None:
    given_ = [volume("A1", split=Split.TRAIN), volume("B1", "B", split=Split.TEST)]
    with pytest.raises(ArgumentError, match="--train-domain: the source says itself"):
        deal(given_, train_domain="A")
    with pytest.raises(ArgumentError, match="--train-domain: --train-subjects and --test-subjects"):
        deal(many(A=4, B=4), train_domain="A", train_subjects={"A": 2})


def test_one_training_subject_is_told() -> None:
    lines: list[str] = []
    progress: Any = SimpleNamespace(warn=lines.append)
    dealt(many(A=2), SliceSettings(), 0.5, 5, 0, progress)
    (line,) = lines
    assert line.startswith("one training subject (A00")
    assert "no other is left to validate on" in line


def test_subjects_of_two_spellings_are_warned_of() -> None:
    heard = Heard()
    dealt([volume("1"), volume("01")], SliceSettings(), 0.5, 1, 0, heard)
    assert any("are spelled almost alike" in line for line in heard.lines)
