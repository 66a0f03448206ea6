"""nnU-Net's folders as rows: cases, channels, labels, and what is amiss with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skiptool.errors import SourceError
from skiptool.sources.pictures.manifest import NamePattern
from skiptool.sources.pictures.nnunet import read_nnunet
from small_stores import refused

ABOUT: dict[str, Any] = {
    "channel_names": {"0": "R", "1": "G", "2": "B"},
    "labels": {"background": 0, "road": 1, "car": 2},
    "numTraining": 2,
    "file_ending": ".png",
}


def make(folder: Path, *names: str, **change: Any) -> Path:  # noqa: ANN401
    about = {key: value for key, value in {**ABOUT, **change}.items() if value is not None}
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(about))
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


TRAINING = ("imagesTr/a_0000.png", "labelsTr/a.png", "imagesTr/b_1_0000.png", "labelsTr/b_1.png")


def test_cases_become_rows_and_labels_classes(tmp_path: Path) -> None:
    folder = make(tmp_path / "d", *TRAINING, "imagesTr/.hidden_0000.png")
    found = read_nnunet(folder)
    assert found.classes == ("background", "road", "car")
    assert found.labels == {0: "background", 1: "road", 2: "car"}
    assert (found.failures, found.warnings) == ([], [])
    assert found.rows == [
        {
            **{"image": str(folder / f"imagesTr/{case}_0000.png")},
            **{"mask": str(folder / f"labelsTr/{case}.png")},
            **{"domain": "images", "subject": case, "id": case},
        }
        for case in ("a", "b_1")
    ]


def test_cases_of_imagests_are_for_testing(tmp_path: Path) -> None:
    folder = make(tmp_path / "d", *TRAINING, "imagesTs/c_0000.png", "labelsTs/c.png")
    found = read_nnunet(folder, "A")
    assert [(row["split"], row["domain"]) for row in found.rows] == [
        ("train", "A"),
        ("train", "A"),
        ("test", "A"),
    ]
    (folder / "labelsTs" / "c.png").unlink()
    (line,) = read_nnunet(folder).failures
    assert "c_0000.png: no mask c.png" in line
    (folder / "labelsTs").rmdir()
    found = read_nnunet(folder)
    assert (found.rows[-1]["mask"], found.failures) == ("", [])
    assert "imagesTs without labelsTs; its 1 cases" in found.warnings[0]


def test_channels_in_separate_files_are_read(tmp_path: Path) -> None:
    names = [f"imagesTr/a_000{n}.tif" for n in range(3)]
    folder = make(tmp_path / "d", *names, "labelsTr/a.tif", file_ending=".tif")
    (row,) = read_nnunet(folder).rows
    assert [row[name] for name in ("image", "image_0001", "image_0002")] == [
        str(folder / name) for name in names
    ]
    (folder / names[1]).unlink()
    with refused(SourceError, "no case", "case a has channels 0000, 0002; expected 3 from 0000"):
        read_nnunet(folder)


def test_faulty_cases_are_reported_and_skipped(tmp_path: Path) -> None:
    odd = ("imagesTr/lost_0000.png", "labelsTr/alone.png", "imagesTr/a.jpg", "imagesTr/x.png")
    found = read_nnunet(make(tmp_path / "d", *TRAINING, *odd))
    assert [row["id"] for row in found.rows] == ["a", "b_1"]
    expected = (
        "a.jpg: is not named CASE_0000.png",
        "x.png: is not named",
        "lost_0000.png: no mask",
    )
    for line, words in zip(
        found.failures, (*expected, "alone.png: no image alone_0000.png"), strict=True
    ):
        assert words in line


def test_pattern_applies_to_names_of_cases(tmp_path: Path) -> None:
    folder = make(tmp_path / "d", "imagesTr/A_p1_07_0000.png", "labelsTr/A_p1_07.png")
    (row,) = read_nnunet(folder, None, NamePattern.parse("{domain}_{subject}_{}")).rows
    assert (row["domain"], row["subject"], row["id"]) == ("A", "p1", "A_p1_07")
    with refused(SourceError, "no case", "does not match --pattern"):
        read_nnunet(folder, None, NamePattern.parse("{domain}-{subject}"))


def test_exported_manifest_identifies_the_cases(tmp_path: Path) -> None:
    folder = make(tmp_path / "d", *TRAINING)
    (folder / "manifest.csv").write_text(
        "image,mask,domain,subject,id,split,fold\n"
        "imagesTr/b_1_0000.png,labelsTr/b_1.png,B,p7,odd id,train,2\n"
    )
    known, other = read_nnunet(folder).rows
    assert (known["domain"], known["subject"], known["id"]) == ("B", "p7", "odd id")
    assert (other["domain"], other["id"]) == ("images", "a")


def test_ignored_pixels_and_exported_class_names_are_read(tmp_path: Path) -> None:
    labels = {"background": 0, "road": 1, "ignore": 2}
    own = {"classes": ["field", "road"]}
    found = read_nnunet(make(tmp_path / "d", *TRAINING, labels=labels, skiptool=own))
    assert found.classes == ("field", "road")
    assert found.labels == {0: "field", 1: "road", 2: "ignore"}


BAD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "keys": ({"labels": None, "file_ending": None}, ("has no labels, file_ending; fill in",)),
    "version 1": (
        {"channel_names": None, "modality": {"0": "T1"}},
        ("has no channel_names", "nnU-Net 1", "nnUNetv2_convert_old_nnUNet_dataset"),
    ),
    "list": ({"labels": ["a"]}, ("must be objects",)),
    "volumes": ({"file_ending": ".nii.gz"}, ("'.nii.gz'", "'skiptool extract mri'")),
    "channels": ({"channel_names": {"0": "a", "1": "b"}}, ("2 channels",)),
    "regions": ({"labels": {"background": 0, "whole": [1, 2]}}, ("'whole' is [1, 2]", "regions")),
    "twice": ({"labels": {"background": 0, "a": 1, "b": 1}}, ("'a' and 'b' are both 1",)),
    "no zero": ({"labels": {"a": 1, "b": 2}}, ("no label is 0",)),
}


@pytest.mark.parametrize("name", BAD)
def test_unsupported_descriptions_are_refused(tmp_path: Path, name: str) -> None:
    change, words = BAD[name]
    with refused(SourceError, "dataset.json", *words):
        read_nnunet(make(tmp_path / "d", *TRAINING, **change))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\x00", b"[1]"])
def test_damaged_descriptions_are_refused(tmp_path: Path, text: bytes) -> None:
    folder = make(tmp_path / "d", *TRAINING)
    (folder / "dataset.json").write_bytes(text)
    with refused(SourceError, "dataset.json: "):
        read_nnunet(folder)


def test_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with refused(SourceError, "no case CASE_0000.png with a mask CASE.png"):
        read_nnunet(make(tmp_path / "d"))
