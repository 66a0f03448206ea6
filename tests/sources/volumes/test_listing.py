from __future__ import annotations

from pathlib import Path

import pytest

from skiptool.errors import SourceError
from skiptool.names import Split
from skiptool.sources.volumes.listing import Frame, parse_frames, volume_rows
from volume_cases import row, write_table


def test_a_manifest_is_read(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "m.csv",
        [
            row("a.nii.gz", "a_gt.nii.gz", frames="ES=9;ED=0", split="test", centre="1", id="x"),
            row("b.nii.gz", domain="B", subject="p1"),
        ],
    )
    (first, second), failures = volume_rows(path)
    assert failures == []
    assert (first.image, first.mask) == (tmp_path / "a.nii.gz", tmp_path / "a_gt.nii.gz")
    assert first.frames == (Frame(0, "ED"), Frame(9, "ES"))
    assert (first.split, first.centre, first.id) == (Split.TEST, "1", "x")
    assert (second.mask, second.frames, second.split) == (None, (), None)
    assert (second.domain, second.subject) == ("B", "p1")


def test_text_is_a_manifest_too() -> None:
    (found,), _ = volume_rows("image\tdomain\tsubject\n/d/a.nii\tA\tp\n")
    assert found.image == Path("/d/a.nii")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"frames": "ED"}, r"a\.nii: frames 'ED', expected numbers from 0"),
        ({"frames": "1.5"}, "frames '1.5'"),
        ({"frames": "-1"}, "frames '-1'"),
        ({"frames": "3;3"}, "names a frame twice"),
        ({"split": "val"}, "split 'val', expected train or test"),
        ({"domain": "a/b"}, "domain 'a/b'"),
    ],
)
def test_one_bad_row_is_a_failure(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    path = write_table(tmp_path / "m.csv", [row("a.nii", **columns), row("b.nii")])
    (good,), (line,) = volume_rows(path)
    assert good.image.name == "b.nii"
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(line)


def test_a_manifest_without_subjects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("image,domain\na.nii,A\n")
    with pytest.raises(SourceError, match=r"m\.csv: has no column subject"):
        volume_rows(path)


@pytest.mark.parametrize("text", ["0;9", "0 9", "9,0", "0|9", " 0 ; 9 "])
def test_frames_may_be_parted_by_whatever_a_table_allows(text: str) -> None:
    assert [frame.number for frame in parse_frames(text, "a")] == [0, 9]


def test_no_frames_are_none() -> None:
    assert parse_frames("", "a") == ()
