"""Folders of pictures: matched by name, and who they are by folder or pattern."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiptool.errors import SourceError
from skiptool.sources.folders import identified, pair_folders
from skiptool.sources.naming import MaskPattern, NamePattern
from small_stores import refused


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_pictures_are_matched_by_their_stem(tmp_path: Path) -> None:
    images = put(tmp_path / "i", "b.PNG", "a.jpg", "c.d.tif", "._a.png", ".git/x.png", "Thumbs.db")
    masks = put(tmp_path / "m", "a.png", "b.tiff", "c.d.png")
    rows, failures = pair_folders(images, masks, "A")
    assert failures == []
    assert rows == [
        {
            **{"image": str(images / name), "mask": str(masks / mask)},
            **{"domain": "A", "subject": stem, "id": stem},
        }
        for name, mask, stem in [
            ("a.jpg", "a.png", "a"),
            ("b.PNG", "b.tiff", "b"),
            ("c.d.tif", "c.d.png", "c.d"),
        ]
    ]


def test_accents_of_two_systems_are_one_name(tmp_path: Path) -> None:
    """Copied from a Mac, the accents of a name are characters of their own."""
    apart, joined = "Mu\u0308ller", "M\u00fcller"
    images, masks = put(tmp_path / "i", f"{joined}/1.png"), put(tmp_path / "m", f"{apart}/1.png")
    rows, failures = pair_folders(images, masks, None, NamePattern.parse("{subject}/{id}"))
    assert (len(rows), failures) == (1, [])
    assert rows[0]["subject"] == joined
    rows, failures = pair_folders(masks, images)
    assert (rows[0]["domain"], rows[0]["image"]) == (joined, str(masks / f"{apart}/1.png"))


def test_links_to_nothing_are_told_and_notes_of_other_programs_are_not(tmp_path: Path) -> None:
    """git-annex and DVC leave such links where a file was not fetched."""
    images = put(tmp_path / "i", "a.png", "@eaDir/a.png@SynoEAStream", "__MACOSX/b.png")
    masks = put(tmp_path / "m", "a.png", "b.png")
    (images / "b.png").symlink_to("../annex/b.png")
    rows, failures = pair_folders(images, masks)
    assert [row["id"] for row in rows] == ["a"]
    link, mask = failures
    assert "b.png: a broken link to ../annex/b.png" in link
    assert "no image named b.*" in mask


def test_what_is_left_out_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    images = put(tmp_path / "i", "a.png", "b.png", "b.tif", "c.png", "d.bmp", "e.png")
    put(images, "v.nii.gz", "bare")
    masks = put(tmp_path / "m", "a.png", "b.png", "e.png", "e.tif", "f.png")
    rows, failures = pair_folders(images, masks)
    assert [row["id"] for row in rows] == ["a"]
    expected = (
        ("bare: suffix (none) is none of",),
        ("d.bmp: suffix .bmp is none of .png, .tif",),
        ("v.nii.gz: a volume; use 'skiptool extract mri'",),
        ("b.png, ", "b.tif: 2 pictures of one name"),
        (f"c.png: no mask named c.* in {masks}",),
        ("e.png, ", "e.tif: 2 pictures of one name"),
        (f"f.png: no image named f.* in {images}",),
    )
    assert len(failures) == len(expected)
    for line, words in zip(failures, expected, strict=True):
        assert all(word in line for word in words), line


def test_folders_are_domains_and_subjects(tmp_path: Path) -> None:
    names = ["top.png", "A/1.png", "A/p1/1.png", "B/p1/1.png", "B/p1/day 2/1.png"]
    images, masks = put(tmp_path / "i", *names), put(tmp_path / "m", *names)
    rows, _ = pair_folders(images, masks)
    found = {(row["domain"], row["subject"], row["id"]) for row in rows}
    assert found == {
        ("images", "top", "top"),
        ("A", "1", "1"),
        ("A", "p1", "p1-1"),
        ("B", "p1", "p1-1"),
        ("B", "p1", "p1-day 2-1"),
    }
    rows, _ = pair_folders(images, masks, "phone")
    assert {row["domain"] for row in rows} == {"phone"}
    assert {row["subject"] for row in rows} == {"top", "A", "B"}


def test_a_pattern_says_who_a_picture_is(tmp_path: Path) -> None:
    names = ["A/train/s_1_01.png", "B/test/s_2_01.png", "odd.png"]
    images, masks = put(tmp_path / "i", *names), put(tmp_path / "m", *names)
    pattern = NamePattern.parse("{domain}/{split}/{subject}_{}")
    rows, (line,) = pair_folders(images, masks, None, pattern)
    assert line.startswith("odd.png: does not fit --pattern {domain}/{split}/{subject}_{}")
    assert [(row["domain"], row["split"], row["subject"], row["id"]) for row in rows] == [
        ("A", "train", "s_1", "train-s_1_01"),
        ("B", "test", "s_2", "test-s_2_01"),
    ]


def test_one_name_in_two_domains_is_one_place() -> None:
    for domain in ("Aperio", "Hamamatsu"):
        assert identified(f"{domain}/p1_3.png", None, None)["id"] == "p1_3"


def test_folders_that_cannot_be_matched_are_refused(tmp_path: Path) -> None:
    good = put(tmp_path / "good", "a.png")
    empty = put(tmp_path / "empty", "a.txt")
    for images, masks, words in (
        (tmp_path / "nowhere", good, ["nowhere", "no such folder"]),
        (good, tmp_path / "nowhere", ["nowhere", "no such folder"]),
        (good / "a.png", good, ["a.png", "no such folder"]),
        (empty, good, ["empty", "holds no picture (.png, .tif", "a.txt: suffix .txt"]),
    ):
        with refused(SourceError, *words):
            pair_folders(images, masks, "A")


def test_masks_may_lie_in_a_folder_of_the_images(tmp_path: Path) -> None:
    images = put(tmp_path / "x", "a.png", "p/b.png", "masks/a.png", "masks/p/b.png")
    for first, second in ((images, images / "masks"), (images / "masks", images)):
        rows, failures = pair_folders(first, second, "A")
        assert [Path(row["image"]).relative_to(first).as_posix() for row in rows] == [
            "a.png",
            "p/b.png",
        ]
        assert failures == []


@pytest.mark.parametrize("name", ["A/b.png", "b.png"])
def test_a_given_domain_stays(name: str) -> None:
    assert identified(name, "D", None)["domain"] == "D"


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    for part in ("i", "m"):
        for name in (f"{part}/A/1.png", f"{part}-elsewhere/2.png"):
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).touch()
        (tmp_path / part / "B").symlink_to(tmp_path / f"{part}-elsewhere")
        (tmp_path / part / "A" / "back").symlink_to(tmp_path / part)
    found, failures = pair_folders(tmp_path / "i", tmp_path / "m")
    assert failures == []
    assert [(row["domain"], Path(row["image"]).name) for row in found] == [
        ("A", "1.png"),
        ("B", "2.png"),
    ]


def test_masks_may_have_names_of_their_own(tmp_path: Path) -> None:
    images = put(tmp_path / "i", "A/0.jpg", "A/1.jpg", "B/0.jpg")
    masks = put(tmp_path / "m", "A/0_gt.png", "A/1_gt.tif", "B/9_gt.png")
    rows, failures = pair_folders(images, masks, mask_pattern=MaskPattern.parse("{}_gt"))
    assert [(Path(r["image"]).name, Path(r["mask"]).name, r["id"]) for r in rows] == [
        ("0.jpg", "0_gt.png", "0"),
        ("1.jpg", "1_gt.tif", "1"),
    ]
    assert failures == [
        f"{images}/B/0.jpg: no mask named B/0_gt.* in {masks}",
        f"{masks}/B/9_gt.png: no image of it in {images}",
    ]


def test_one_folder_may_hold_both(tmp_path: Path) -> None:
    names = ("0.png", "0_mask.png", "1.png", "1_mask.png", "2.png", "old_mask.png", "notes.md")
    both = put(tmp_path / "d", *names)
    with refused(SourceError, both, "the folder of images and of masks", "--mask-pattern"):
        pair_folders(both, both)
    rows, failures = pair_folders(both, both, mask_pattern=MaskPattern.parse("{}_mask"))
    assert [Path(row["mask"]).name for row in rows] == ["0_mask.png", "1_mask.png"]
    assert len(failures) == 3
    assert "notes.md: suffix .md" in failures[0]
    assert failures[1:] == [
        f"{both}/2.png: no mask named 2_mask.* in {both}",
        f"{both}/old_mask.png: no mask named old_mask_mask.* in {both}",
    ]


@pytest.mark.parametrize("end", ["_mask", "_gt", "_seg", "-labels", "_segmentation"])
def test_the_pattern_of_masks_is_named_where_nothing_fits(tmp_path: Path, end: str) -> None:
    images = put(tmp_path / "i", "0000.png", "0001.png")
    masks = put(tmp_path / "m", f"0000{end}.png", f"0001{end}.png")
    with refused(SourceError, masks, "all 2 images", f'--mask-pattern "{{}}{end}"'):
        pair_folders(images, masks)
    assert len(pair_folders(images, masks, mask_pattern=MaskPattern.parse(f"{{}}{end}"))[0]) == 2


def test_images_that_do_not_fit_the_pattern_of_masks_are_told(tmp_path: Path) -> None:
    images, masks = put(tmp_path / "i", "0_img.png", "1.png"), put(tmp_path / "m", "0_seg.png")
    pattern = MaskPattern.parse("{}_img={}_seg")
    rows, failures = pair_folders(images, masks, mask_pattern=pattern)
    assert [row["id"] for row in rows] == ["0_img"]
    assert failures == [f"{images}/1.png: does not fit --mask-pattern {{}}_img={{}}_seg"]
