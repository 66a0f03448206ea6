"""Listing and survey of images: rows, ids, classes, failures, warnings, one format per domain."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from heard import Heard
from skiptool.errors import ArgumentError, MismatchError, SourceError
from skiptool.sources.pictures.files import write_mask, write_picture
from skiptool.sources.pictures.intensities import Scale
from skiptool.sources.pictures.labels import label_map
from skiptool.sources.pictures.samples import Item, ReadOptions
from skiptool.steps.extract_images import (
    DEFAULT_CLASSES,
    check_formats,
    list_images,
    survey_images,
)
from small_stores import refused

READING = ReadOptions(label_map(("background", "cell"), None))


def rows(folder: Path, number: int, value: int = 1) -> list[dict[str, str]]:
    found = []
    for place in range(number):
        files = {"image": str(folder / f"{place}.png"), "mask": str(folder / f"{place}-mask.png")}
        write_picture(Path(files["image"]), np.full((4, 4, 3), 200 + place, np.uint8))
        write_mask(Path(files["mask"]), np.full((4, 4), value, np.uint8), ())
        found.append({**files, "domain": "A", "subject": f"s{place}", "id": f"{place}"})
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_survey_keeps_the_order_and_reports_failures(tmp_path: Path, threads: int) -> None:
    given, heard = rows(tmp_path, 6), Heard()
    (tmp_path / "2.png").write_bytes(b"\x89PNG")
    (tmp_path / "4-mask.png").unlink()
    items, failures = survey_images(given, READING, threads, heard)
    assert [item.name for item in items] == ["0", "1", "3", "5"]
    assert ["2.png" in failures[0], "4-mask.png" in failures[1]] == [True, True]
    assert heard.lines == []
    assert heard.said == [
        "4 of 4 images are grey and are stored as colour, with three equal channels; --channels 1 "
        "stores one channel"
    ]


def test_survey_fails_if_all_inputs_fail(tmp_path: Path) -> None:
    with refused(
        SourceError, "all 2 inputs failed, the first: ", "0-mask.png: mask contains value 7"
    ):
        survey_images(rows(tmp_path, 2, 7), READING, 1, Heard())


def test_masks_of_255_alone_give_a_warning(tmp_path: Path) -> None:
    heard = Heard()
    survey_images(rows(tmp_path, 2, 255), READING, 1, heard)
    assert len(heard.lines) == 1
    assert "--labels 255=foreground" in heard.lines[0]
    unlabelled = Heard()
    survey_images([{**row, "mask": ""} for row in rows(tmp_path, 2)], READING, 1, unlabelled)
    assert unlabelled.lines == []


@pytest.mark.parametrize(
    ("high", "scale", "lines"), [(4095, "full", 1), (4095, "0:4095", 0), (40_000, "full", 0)]
)
def test_dark_images_give_a_warning(tmp_path: Path, high: int, scale: str, lines: int) -> None:
    given, heard = rows(tmp_path, 2), Heard()
    for row in given:
        Image.fromarray(np.full((4, 4), high, np.uint16)).save(row["image"])
    survey_images(given, replace(READING, scale=Scale.parse(scale)), 1, heard)
    assert len(heard.lines) == lines
    assert all("brighter than 6.2%" in line and "--scale 0:4095" in line for line in heard.lines)


RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


@pytest.mark.parametrize(
    ("palettes", "words"),
    [
        (([BLACK, RED], [BLACK, RED, GREEN]), ""),
        (([BLACK, RED], [BLACK, GREEN]), "palette index 1 is #ff0000 in "),
        (([RED, BLACK], [RED, BLACK]), "shows index 0, the background, in #ff0000 and index 1"),
    ],
)
def test_palettes_that_contradict_labels_give_a_warning(
    tmp_path: Path, palettes: list[list[tuple[int, int, int]]], words: str
) -> None:
    """Programs that optimise palettes reorder their colours."""
    given, heard = rows(tmp_path, 2), Heard()
    for row, palette in zip(given, palettes, strict=True):
        write_mask(Path(row["mask"]), np.eye(4, dtype=np.uint8), palette)
    survey_images(given, READING, 1, heard)
    assert len(heard.lines) == bool(words)
    assert all(words in line and "--labels '#RRGGBB=CLASS'" in line for line in heard.lines)
    mapped = ReadOptions(label_map(("background", "cell"), {0: "cell", 1: "background"}))
    if palettes[0] == palettes[1]:
        survey_images(given, mapped, 1, quiet := Heard())
        assert quiet.lines == []


def item(name: str, domain: str, shape: tuple[int, ...], dtype: str = "uint8") -> Item:
    return Item({"image": name, "domain": domain, "id": name}, shape, dtype, None, 0.5, 0.0)


def test_domain_must_have_one_size_and_type() -> None:
    first = item("a", "A", (4, 4, 3))
    check_formats([first, item("b", "A", (4, 4, 3)), item("c", "B", (5, 4, 1), "float32")])
    with refused(MismatchError, "domain A, sample b", "(5, 4, 3)", "one size", "--patch-size"):
        check_formats([first, item("b", "A", (5, 4, 3))])
    with refused(MismatchError, "sample b", "(4, 4, 1) float32", "--channels 3 or 1"):
        check_formats([first, item("b", "A", (4, 4, 1), "float32")])


def test_differing_image_is_named_at_any_position() -> None:
    odd, others = item("odd", "A", (9, 9, 3)), [item(name, "A", (4, 4, 3)) for name in "bc"]
    with refused(MismatchError, "sample odd: image is (9, 9, 3)", "one size"):
        check_formats([odd, *others])


def test_only_grey_images_are_reported_as_grey(tmp_path: Path) -> None:
    given, heard = rows(tmp_path, 3), Heard()
    write_picture(Path(given[1]["image"]), np.full((4, 4, 3), (9, 9, 8), np.uint8))
    survey_images(given, READING, 1, heard)
    assert heard.said[0].startswith("2 of 3 images are grey")
    asked = Heard()
    survey_images(given, replace(READING, channels=3), 1, asked)
    assert asked.said == []


# -------------------------------------------------------------------------------------------------
# Listing: manifests and folders become rows with ids, and classes.


HEAD = "image,mask,domain,subject,id\n"


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_domains_and_classes_of_folders(tmp_path: Path) -> None:
    images, masks = put(tmp_path / "i", "B/1.png", "A/1.png"), put(tmp_path / "m", "A/1.png")
    put(masks, "B/1.png")
    found = list_images(None, images, masks)
    assert [(row["domain"], row["id"]) for row in found.rows] == [("A", "1"), ("B", "1")]
    assert (found.classes, found.labels) == (DEFAULT_CLASSES, {})
    named = list_images(None, images, masks, labels={(255, 0, 0): "tumor"})
    assert named.classes == ("background", "tumor")
    asked = list_images(None, images, masks, classes=["none", "tumor", "x"], labels={9: "tumor"})
    assert asked.classes == ("none", "tumor", "x")


def test_equal_stems_are_prefixed_with_their_folders() -> None:
    rows = "".join(
        f"{image},,{domain},s,{key}\n"
        for image, domain, key in (
            *(("p1/x/img.png", "A", ""), ("p2/x/img.png", "A", ""), ("p2/y/img.png", "A", "")),
            *(("p1/x/img.png", "B", ""), ("else.png", "A", "own")),
        )
    )
    found = list_images(HEAD + rows, None, None)
    assert [row["id"] for row in found.rows] == ["p1-x-img", "p2-x-img", "y-img", "own", "img"]
    assert found.failures == ()


def test_file_listed_under_two_paths_is_one_sample(tmp_path: Path) -> None:
    """One picture listed for two subjects could be on both sides of a split."""
    put(tmp_path, "a.png", "x/b.png", "m.png")
    (tmp_path / "link.png").symlink_to("a.png")
    text = HEAD + "a.png,m.png,A,1,\nx/../a.png,,A,2,\nlink.png,,B,3,\nx/b.png,x/b.png,A,4,\n"
    (tmp_path / "t.csv").write_text(text + "m.png,,A,5,\n")
    found = list_images(tmp_path / "t.csv", None, None)
    assert [row["subject"] for row in found.rows] == ["1", "5"]
    twice, both, several = found.failures
    assert "x/../a.png: is listed twice in domain A" in twice
    assert "link.png: is listed for subject 1 in domain A and for subject 3 in domain B" in several
    assert "x/b.png: is given both as image and as mask" in both


def test_shared_masks_give_a_warning(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png", "c.png", "m.png")
    (tmp_path / "t.csv").write_text(HEAD + "a.png,m.png,A,1,\nc.png,m.png,B,1,\n")
    assert list_images(tmp_path / "t.csv", None, None).warnings == ()
    (tmp_path / "t.csv").write_text(HEAD + "a.png,m.png,A,1,\nb.png,m.png,A,2,\n")
    (line,) = list_images(tmp_path / "t.csv", None, None).warnings
    assert line.startswith("masks given for several images of one domain: 1 (")


def test_duplicate_rows_and_ids_fail() -> None:
    rows = "x/a.png,,A,s,\nx/a.png,,A,s,\nb.png,,A,s,7\nc.png,,A,s,7\nx/a.png,,B,s,\n"
    found = list_images(HEAD + rows, None, None)
    assert [(row["id"], row["domain"]) for row in found.rows] == [
        ("a", "A"),
        ("7", "A"),
        ("a", "B"),
    ]
    first, second = found.failures
    assert first == "x/a.png: is listed twice in domain A; list it once"
    assert "c.png: has the id 7 in domain A, as b.png has" in second


def test_folder_of_exported_pairs_is_listed(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(HEAD + "images/1.png,masks/1.png,A,s,x\n")
    (tmp_path / "classes.txt").write_text("glass,tumor\n")
    found = list_images(tmp_path, None, None)
    assert found.rows[0]["image"] == str(tmp_path / "images/1.png")
    assert found.classes == ("glass", "tumor")
    assert list_images(tmp_path, None, None, classes=["a", "b"]).classes == ("a", "b")
    assert list_images(tmp_path / "manifest.csv", None, None).classes == DEFAULT_CLASSES


def test_exported_class_names_may_contain_commas(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(HEAD + "images/1.png,masks/1.png,A,s,x\n")
    listed = tmp_path / "classes.txt"
    listed.write_bytes('glass,"cell, dead"\n'.encode("utf-8-sig"))
    assert list_images(tmp_path, None, None).classes == ("glass", "cell, dead")
    listed.write_bytes("glass,cell\n".encode("utf-16"))
    with refused(SourceError, listed, "save it as UTF-8"):
        list_images(tmp_path, None, None)


def test_folder_of_nnunet_is_listed(tmp_path: Path) -> None:
    about = {
        "channel_names": {"0": "x"},
        "labels": {"background": 0, "a": 3},
        "file_ending": ".png",
    }
    put(tmp_path, "imagesTr/c_0000.png", "labelsTr/c.png", "manifest.png")
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    found = list_images(tmp_path, None, None, domain="D")
    assert (found.classes, found.labels) == (("background", "a"), {0: "background", 3: "a"})
    assert (found.rows[0]["domain"], found.rows[0]["id"]) == ("D", "c")
    other = list_images(tmp_path, None, None, labels={3: "b"})
    assert (other.classes, other.labels) == (("background", "b"), {3: "b"})


@pytest.mark.parametrize(
    ("manifest", "images", "masks"),
    [
        (None, None, None),
        ("m", Path("i"), Path("m")),
        (None, Path("i"), None),
        ("m", None, Path("m")),
    ],
)
def test_contradictory_sources_are_refused(
    manifest: str | None, images: Path | None, masks: Path | None
) -> None:
    with refused(ArgumentError, "either a manifest, or both --images DIR and --masks DIR"):
        list_images(manifest, images, masks)


def test_options_of_folders_are_refused_with_a_manifest() -> None:
    for option in ("domain", "pattern"):
        with refused(ArgumentError, f"--{option} goes with folders"):
            list_images(HEAD + "a.png,,A,s,\n", None, None, **{option: "{subject}"})


def test_invalid_domain_names_are_refused(tmp_path: Path) -> None:
    with refused(ArgumentError, "--domain 'a/b'"):
        list_images(None, tmp_path, tmp_path, domain="a/b")
    with refused(ArgumentError, "a.png: domain 'A/B'"):
        list_images(HEAD + "a.png,,A/B,s,\n", None, None)


def test_first_failure_is_reported_if_all_inputs_fail(tmp_path: Path) -> None:
    images, masks = put(tmp_path / "i", "a.png"), put(tmp_path / "m", "b.png")
    with refused(SourceError, "all 2 inputs failed, the first: ", "a.png: no mask named a.*"):
        list_images(None, images, masks)
    (tmp_path / "plain").mkdir()
    with refused(SourceError, "plain: holds neither dataset.json", "--images DIR --masks DIR"):
        list_images(tmp_path / "plain", None, None)


def test_equal_names_of_different_subjects_get_different_ids() -> None:
    """Hospitals A and B have different patients; C has scanned two of A's again."""
    rows = "".join(
        f"{domain}/{number}.png,,{domain},{subject},\n"
        for domain, number, subject in (
            *(("A", 0, "p"), ("A", 1, "q"), ("A", 2, "r")),
            *(("B", 0, "s"), ("C", 0, "p"), ("C", 2, "r")),
        )
    )
    found = list_images(HEAD + rows, None, None)
    assert [(row["domain"], row["id"]) for row in found.rows] == [
        *(("A", "p-0"), ("A", "1"), ("A", "2"), ("B", "s-0"), ("C", "p-0"), ("C", "2"))
    ]
    (line,) = found.warnings
    assert line.startswith("file names that belong to different subjects in several domains: 1;")
    assert "(p-0)" in line


def test_equal_ids_of_different_subjects_give_a_warning() -> None:
    found = list_images(HEAD + "a.png,,A,p,7\nb.png,,B,q,7\nc.png,,B,q,8\n", None, None)
    assert [row["id"] for row in found.rows] == ["7", "7", "8"]
    (line,) = found.warnings
    assert line.startswith("ids that belong to different subjects in several domains: 1 (7, ")


def test_mask_pattern_is_for_folders_only(tmp_path: Path) -> None:
    images, masks = put(tmp_path / "i", "0.png"), put(tmp_path / "m", "0_gt.png")
    found = list_images(None, images, masks, mask_pattern="{}_gt")
    assert found.rows[0]["mask"].endswith("0_gt.png")
    with refused(ArgumentError, "--mask-pattern goes with --images DIR and --masks DIR"):
        list_images(HEAD + "a.png,,A,s,\n", None, None, mask_pattern="{}_gt")
