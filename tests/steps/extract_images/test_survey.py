"""What is sound goes on, what is not is told; a domain has one form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from heard import Heard
from skiptool.errors import MismatchError, SourceError
from skiptool.sources.pictures.files import write_mask, write_picture
from skiptool.sources.pictures.intensities import Scale
from skiptool.sources.pictures.labels import label_map
from skiptool.sources.pictures.samples import Item, Reading
from skiptool.steps.extract_images.survey import check_forms, survey_all
from small_stores import refused

READING = Reading(label_map(("background", "cell"), None))


def rows(folder: Path, number: int, value: int = 1) -> list[dict[str, str]]:
    found = []
    for place in range(number):
        files = {"image": str(folder / f"{place}.png"), "mask": str(folder / f"{place}-mask.png")}
        write_picture(Path(files["image"]), np.full((4, 4, 3), 200 + place, np.uint8))
        write_mask(Path(files["mask"]), np.full((4, 4), value, np.uint8), ())
        found.append({**files, "domain": "A", "subject": f"s{place}", "id": f"{place}"})
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_keep_their_order_and_failures_are_lines(tmp_path: Path, threads: int) -> None:
    given, heard = rows(tmp_path, 6), Heard()
    (tmp_path / "2.png").write_bytes(b"\x89PNG")
    (tmp_path / "4-mask.png").unlink()
    items, failures = survey_all(given, READING, threads, heard)
    assert [item.name for item in items] == ["0", "1", "3", "5"]
    assert ["2.png" in failures[0], "4-mask.png" in failures[1]] == [True, True]
    assert heard.lines == []
    assert heard.said == [
        "4 of 4 images are grey and are stored as colour, with three equal channels; --channels 1 "
        "stores one channel"
    ]


def test_where_all_fail_nothing_goes_on(tmp_path: Path) -> None:
    with refused(SourceError, "all 2 inputs failed, the first: ", "0-mask.png: mask holds value 7"):
        survey_all(rows(tmp_path, 2, 7), READING, 1, Heard())


def test_masks_of_nothing_but_255_are_warned_of(tmp_path: Path) -> None:
    heard = Heard()
    survey_all(rows(tmp_path, 2, 255), READING, 1, heard)
    assert len(heard.lines) == 1
    assert "--labels 255=foreground" in heard.lines[0]
    unlabelled = Heard()
    survey_all([{**row, "mask": ""} for row in rows(tmp_path, 2)], READING, 1, unlabelled)
    assert unlabelled.lines == []


@pytest.mark.parametrize(
    ("high", "scale", "lines"), [(4095, "full", 1), (4095, "0:4095", 0), (40_000, "full", 0)]
)
def test_images_that_leave_most_of_their_range_empty_are_warned_of(
    tmp_path: Path, high: int, scale: str, lines: int
) -> None:
    given, heard = rows(tmp_path, 2), Heard()
    for row in given:
        Image.fromarray(np.full((4, 4), high, np.uint16)).save(row["image"])
    survey_all(given, replace(READING, scale=Scale.parse(scale)), 1, heard)
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
def test_palettes_that_speak_against_the_labels_are_warned_of(
    tmp_path: Path, palettes: list[list[tuple[int, int, int]]], words: str
) -> None:
    """Programs that optimise a palette put its colours into another order."""
    given, heard = rows(tmp_path, 2), Heard()
    for row, palette in zip(given, palettes, strict=True):
        write_mask(Path(row["mask"]), np.eye(4, dtype=np.uint8), palette)
    survey_all(given, READING, 1, heard)
    assert len(heard.lines) == bool(words)
    assert all(words in line and "--labels '#RRGGBB=CLASS'" in line for line in heard.lines)
    mapped = Reading(label_map(("background", "cell"), {0: "cell", 1: "background"}))
    if palettes[0] == palettes[1]:
        survey_all(given, mapped, 1, quiet := Heard())
        assert quiet.lines == []


def item(name: str, domain: str, shape: tuple[int, ...], dtype: str = "uint8") -> Item:
    return Item({"image": name, "domain": domain, "id": name}, shape, dtype, None, 0.5, 0.0)


def test_a_domain_has_one_size_and_kind() -> None:
    first = item("a", "A", (4, 4, 3))
    check_forms([first, item("b", "A", (4, 4, 3)), item("c", "B", (5, 4, 1), "float32")])
    with refused(MismatchError, "domain A, sample b", "(5, 4, 3)", "one size", "--patch-size"):
        check_forms([first, item("b", "A", (5, 4, 3))])
    with refused(MismatchError, "sample b", "(4, 4, 1) float32", "--channels 3 or 1"):
        check_forms([first, item("b", "A", (4, 4, 1), "float32")])


def test_the_odd_one_is_named_wherever_it_stands() -> None:
    odd, others = item("odd", "A", (9, 9, 3)), [item(name, "A", (4, 4, 3)) for name in "bc"]
    with refused(MismatchError, "sample odd: image is (9, 9, 3)", "one size"):
        check_forms([odd, *others])


def test_colours_are_not_called_grey(tmp_path: Path) -> None:
    given, heard = rows(tmp_path, 3), Heard()
    write_picture(Path(given[1]["image"]), np.full((4, 4, 3), (9, 9, 8), np.uint8))
    survey_all(given, READING, 1, heard)
    assert heard.said[0].startswith("2 of 3 images are grey")
    asked = Heard()
    survey_all(given, replace(READING, channels=3), 1, asked)
    assert asked.said == []
