"""Splits and folds by subject, or as the manifest says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heard import Heard
from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures.samples import Item
from skiptool.steps.extract_images.dealing import dealt
from small_stores import refused


def item(
    subject: str, split: str = "", fold: str = "", foreground: float = 0.5, domain: str = "A"
) -> Item:
    row = {"image": f"{subject}.png", "domain": domain, "subject": subject, "split": split}
    return Item({**row, "fold": fold}, (4, 4, 3), "uint8", None, foreground, 0.0)


@given(subjects=st.lists(st.integers(0, 9), min_size=12, max_size=40), seed=st.integers(0, 99))
def test_a_subject_is_on_one_side_and_in_one_fold(subjects: list[int], seed: int) -> None:
    subjects = [*subjects, *range(6)]
    heard = Heard()
    items = [item(f"s{subject}") for subject in subjects]
    found = dealt(items, 0.25, 3, seed, heard).tolist()
    for subject in set(subjects):
        assert len({f for f, s in zip(found, subjects, strict=True) if s == subject}) == 1
    assert set(found) == {-1, 0, 1, 2}
    assert heard.lines == []
    assert dealt(items, 0.25, 3, seed, heard).tolist() == found


def test_the_manifest_decides_where_it_is_filled_in() -> None:
    items = [item("a", "test", "-1"), item("b", "train", "1"), item("c", "train", "4")]
    assert dealt(items, 0.2, 5, 0, Heard()).tolist() == [-1, 1, 4]
    bare = [item("a", "test"), item("b", "train"), item("c", "train")]
    assert sorted(dealt(bare, 0.2, 2, 0, Heard()).tolist()) == [-1, 0, 1]


def test_columns_that_are_filled_in_partly_are_refused() -> None:
    with refused(SourceError, "b.png: split is empty, in other rows it is not"):
        dealt([item("a", "test"), item("b")], 0.2, 1, 0, Heard())
    with refused(SourceError, "c.png: fold is empty, in other rows it is not"):
        dealt([item("a", "test"), item("b", "train", "0"), item("c", "train")], 0.2, 1, 0, Heard())


def test_a_subject_on_both_sides_is_warned_of() -> None:
    heard = Heard()
    dealt([item("a", "test"), item("a", "train"), item("b", "train")], 0.2, 2, 0, heard)
    assert len(heard.lines) == 1
    assert "(a): the test will measure memory too" in heard.lines[0]


def test_more_folds_than_subjects_are_refused() -> None:
    with pytest.raises(ArgumentError, match="3 folds of 2 subjects"):
        dealt([item("a"), item("b")], 0.0, 3, 0, Heard())


def test_folds_without_splits_are_refused_not_ignored() -> None:
    with refused(SourceError, "column fold goes with the column split"):
        dealt([item("a", fold="0"), item("b", fold="1"), item("c", fold="0")], 0.0, 2, 0, Heard())


def test_a_subject_in_two_folds_is_warned_of() -> None:
    heard = Heard()
    items = [item("a", "train", "0"), item("b", "train", "1"), item("a", "train", "1")]
    assert dealt(items, 0.0, 2, 0, heard).tolist() == [0, 1, 1]
    (line,) = heard.lines
    assert "in several folds (a)" in line


def test_one_domain_is_trained_on() -> None:
    items = [item(f"a{n}") for n in range(10)] + [item(f"b{n}", domain="B") for n in range(5)]
    heard = Heard()
    found = dealt(items, 0.2, 4, 0, heard, "A").tolist()
    assert (found[:10].count(-1), found[10:]) == (2, [-1] * 5)
    assert set(found) == {-1, 0, 1, 2, 3}
    assert heard.lines == []
    with pytest.raises(ArgumentError, match="--train-domain: the source says itself"):
        dealt([item("a", "test"), item("b", "train")], 0.2, 1, 0, heard, "A")


def test_pictures_of_training_subjects_in_other_domains_are_told() -> None:
    items = [item(f"p{n}", domain=domain) for domain in "AB" for n in range(5)]
    heard = Heard()
    found = dealt(items, 0.2, 2, 0, heard, "B").tolist()
    assert found[:5] == found[5:]
    (line,) = heard.lines
    assert line.startswith("--train-domain B: 4 inputs of domain A are of subjects")


def test_subjects_of_two_spellings_are_warned_of() -> None:
    heard = Heard()
    dealt([item("1"), item("1.0")], 0.5, 1, 0, heard)
    assert any("are spelled almost alike" in line for line in heard.lines)
