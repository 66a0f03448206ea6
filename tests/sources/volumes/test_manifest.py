"""Tests of ``manifest``."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiptool.errors import SourceError
from skiptool.names import Split
from skiptool.sources.volumes.manifest import Frame, folder_rows, parse_frames, volume_rows
from volume_cases import row, write_table


def test_manifest_is_read(tmp_path: Path) -> None:
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


def test_manifest_may_be_given_as_text() -> None:
    (found,), _ = volume_rows("image\tdomain\tsubject\n/d/a.nii\tA\tp\n")
    assert found.image == Path("/d/a.nii")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"frames": "ED"}, r"a\.nii: frames 'ED', expected numbers from 0"),
        ({"frames": "1.5"}, "frames '1.5'"),
        ({"frames": "-1"}, "frames '-1'"),
        ({"frames": "3;3"}, "lists a frame twice"),
        ({"split": "val"}, "split 'val', expected train or test"),
        ({"domain": "a/b"}, "domain 'a/b'"),
    ],
)
def test_bad_row_is_reported(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    path = write_table(tmp_path / "m.csv", [row("a.nii", **columns), row("b.nii")])
    (good,), (line,) = volume_rows(path)
    assert good.image.name == "b.nii"
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(line)


def test_manifest_without_subjects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("image,domain\na.nii,A\n")
    with pytest.raises(SourceError, match=r"m\.csv: has no column subject"):
        volume_rows(path)


@pytest.mark.parametrize("text", ["0;9", "0 9", "9,0", "0|9", " 0 ; 9 "])
def test_frames_may_have_any_separator(text: str) -> None:
    assert [frame.number for frame in parse_frames(text, "a")] == [0, 9]


def test_empty_frames_are_accepted() -> None:
    assert parse_frames("", "a") == ()


HEADER = ",External code,VendorName,Vendor,Centre,ED,ES"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def table(folder: Path, *rows: str, header: str = HEADER, name: str = "info.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def pair(part: str, code: str) -> tuple[str, str]:
    return f"{part}/{code}/{code}_sa.nii.gz", f"{part}/{code}/{code}_sa_gt.nii.gz"


def test_challenge_folder_is_listed(tmp_path: Path) -> None:
    touch(tmp_path, *pair("Training/Labeled", "A0S9V9"), *pair("Testing", "B2C3D4"))
    touch(tmp_path, pair("Training/Unlabeled", "C1D2E3")[0], *pair("Validation", "D9E8F7"))
    touch(tmp_path, "Training/Labeled/A0S9V9/._A0S9V9_sa.nii.gz")
    rows = ["0,A0S9V9,Siemens,A,1,0,9", "1,B2C3D4,Philips,B,2,24,8", "2,C1D2E3,GE,C,4,,"]
    table(tmp_path, *rows[:2], "2,C1D2E3,GE,C,4,3,7", "3,D9E8F7,Canon,D,5,0,1")
    found, failures, left_out = folder_rows(tmp_path)
    assert failures == []
    assert left_out == ["D9E8F7"]
    first, second, third = found
    assert first.image == tmp_path / pair("Training/Labeled", "A0S9V9")[0]
    assert first.mask == tmp_path / pair("Training/Labeled", "A0S9V9")[1]
    assert (first.domain, first.subject, first.centre) == ("A", "A0S9V9", "1")
    assert first.frames == (Frame(0, "ED"), Frame(9, "ES"))
    assert second.frames == (Frame(8, "ES"), Frame(24, "ED"))
    assert [row.split for row in found] == [Split.TRAIN, Split.TEST, Split.TRAIN]
    assert third.mask is None


def test_folder_itself_may_name_the_subset(tmp_path: Path) -> None:
    touch(tmp_path / "Testing", *pair(".", "A0S9V9"))
    info = table(tmp_path, "0,A0S9V9,x,A,1,0,9")
    ((found,), _, _) = folder_rows(tmp_path / "Testing", info)
    assert found.split is Split.TEST


def test_single_frame_volumes_are_recognised_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "A0S9V9_sa_ED.nii.gz", "A0S9V9_sa_ED_gt.nii.gz", "worse_A0S9V9_sa_ES.nii.gz")
    touch(tmp_path, "A0S9V9_sa_ED_pred.nii.gz")
    table(tmp_path, "A0S9V9,A,1,22,11", header="External code,Vendor,Centre,ED,ES")
    (first, second), failures, _ = folder_rows(tmp_path)
    assert failures == []
    assert (first.frames, first.mask is None) == ((Frame(22, "ED"),), False)
    assert (second.frames, second.mask) == ((Frame(11, "ES"),), None)
    assert first.split is None


def test_missing_column_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, *pair("Training", "A0S9V9"), "B1_sa_ED.nii.gz")
    path = table(tmp_path, "A0S9V9,A,9", "B1,A,3", header="External code,Vendor,ES")
    found, (line,), _ = folder_rows(tmp_path)
    assert line.startswith(f"{path}: has no column ED; frames in which masks have labels are used")
    assert [row.frames for row in found] == [(), (Frame(0, "ED"),)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0,A0S9V9,x,A,1,,9", "A0S9V9: ED is '', expected the number of a frame"),
        ("0,A0S9V9,x,A,1,0,end", "A0S9V9: ES is 'end'"),
        ("0,A0S9V9,x,A,1,9,9", "ED and ES are the same frame (9)"),
        ("0,A0S9V9,x,a/b,1,0,9", "Vendor 'a/b'"),
        ("0,Z,x,A,1,0,9", "info.csv has no row for A0S9V9"),
    ],
)
def test_bad_line_does_not_affect_the_others(tmp_path: Path, line: str, words: str) -> None:
    touch(tmp_path, *pair("Training", "A0S9V9"), *pair("Training", "B1"))
    table(tmp_path, line, "1,B1,x,B,2,0,3")
    (good,), (failure,), _ = folder_rows(tmp_path)
    assert good.subject == "B1"
    assert words in failure


def test_numbers_of_spreadsheets_are_parsed(tmp_path: Path) -> None:
    touch(tmp_path, *pair("Training", "A0S9V9"))
    table(tmp_path, "0,A0S9V9,x,A,1.0,0.0,9.0")
    ((found,), _, _) = folder_rows(tmp_path)
    assert (found.centre, [frame.number for frame in found.frames]) == ("1", [0, 9])


def test_masks_without_image_and_duplicates_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, *pair("Training", "A0S9V9"), pair("Testing", "B1")[1])
    touch(tmp_path, pair("old", "A0S9V9")[0])
    table(tmp_path, "0,A0S9V9,x,A,1,0,9", "1,B1,x,B,2,0,3")
    (found,), failures, _ = folder_rows(tmp_path)
    assert found.subject == "A0S9V9"
    twice, alone = failures
    assert "old/A0S9V9/A0S9V9_sa.nii.gz: A0S9V9 is already in" in twice or "is already in" in twice
    assert "B1_sa_gt.nii.gz: a mask without its image" in alone


def test_table_with_frames_is_chosen_among_several(tmp_path: Path) -> None:
    touch(tmp_path, *pair("Training", "A0S9V9"))
    table(tmp_path, "A0S9V9,A", header="External code,Vendor", name="a.csv")
    table(tmp_path, "0,A0S9V9,x,B,1,0,9", name="b.csv")
    table(tmp_path, "1,2", header="x,y", name="c.csv")
    ((found,), _, _) = folder_rows(tmp_path)
    assert found.domain == "B"


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no volume named <code>_sa"):
        folder_rows(tmp_path)
    touch(tmp_path, *pair("Training", "A0S9V9"))
    with pytest.raises(SourceError, match="has no CSV with the columns 'External code'"):
        folder_rows(tmp_path)


def test_shared_volumes_are_listed(shared_data: Path) -> None:
    rows, failures, _ = folder_rows(shared_data / "mnms", shared_data / "mnms" / "info.csv")
    assert {row.subject for row in rows} == {"A0S9V9", "A1D9Z7"}
    assert [row.frames[0].number for row in rows] == [0, 9, 22]
    assert sum("a mask without its image" in line for line in failures) == 4
    assert sum("has no row for" in line for line in failures) == 8
