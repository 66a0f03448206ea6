from __future__ import annotations

from pathlib import Path

import pytest

from skiptool.cli import options
from skiptool.errors import ArgumentError
from skiptool.names import ExportFormat, PictureFormat
from skiptool.records import ORIGINAL, Shift


@pytest.mark.parametrize(
    ("text", "expected"), [("1:100", (1, 100)), ("0:0", (0, 0)), ("7", (7, 7)), (" 1 : 2 ", (1, 2))]
)
def test_span(text: str, expected: tuple[int, int]) -> None:
    assert options.span(text, "--cells") == expected


@pytest.mark.parametrize("text", ["", ":", "a:b", "1:2:3", "1.5:2"])
def test_span_of_another_form(text: str) -> None:
    with pytest.raises(ArgumentError, match="expected LOW:HIGH"):
        options.span(text, "--cells")


def test_listed() -> None:
    assert options.listed(None) == ()
    assert options.listed(["a, b", "c,,", ""]) == ("a", "b", "c")


def test_shifts() -> None:
    half = Shift.parse("brightness=0.5")
    assert options.shifts(None) == ()
    assert options.shifts(["brightness=0.5"]) == (half,)
    assert options.shifts(["original,brightness=0.5"]) == (ORIGINAL, half)


def test_skips() -> None:
    assert options.skips(None, None) == ((1, 2, 3, 4),)
    assert options.skips([0, 1, 2, 3, 4], None) == (*((1, 2, 3, 4), (2, 3, 4), (3, 4), (4,), ()),)
    assert options.skips(None, ["3,1", "none"]) == ((1, 3), ())
    assert options.skips([1], ["2,3,4", "1"]) == ((2, 3, 4), (1,))  # one network, once


@pytest.mark.parametrize("count", [-1, 5])
def test_prune_out_of_range(count: int) -> None:
    with pytest.raises(ArgumentError, match=rf"--prune {count}: expected 0"):
        options.skips([count], None)


@pytest.mark.parametrize("word", ["", "0", "5", "1+3", "1,", "all"])
def test_skips_of_another_form(word: str) -> None:
    with pytest.raises(ArgumentError, match="expected levels out of 1,2,3,4"):
        options.skips(None, [word])


def test_export_form() -> None:
    assert options.export_form(None) is None
    for form in ExportFormat:
        assert options.export_form((form.value, Path("d"))) == (form, Path("d"))
    with pytest.raises(ArgumentError, match=r"--export coco: .*png DIR or --export nnunet DIR"):
        options.export_form(("coco", Path("d")))
    with pytest.raises(ArgumentError, match="--export nnunet: unknown format; write --export png"):
        options.export_folder(("nnunet", Path("d")))


def test_export_folder() -> None:
    assert options.export_folder(None) is None
    assert options.export_folder(("png", Path("d"))) == Path("d")
    with pytest.raises(ArgumentError, match="--export tiff: unknown format"):
        options.export_folder(("tiff", Path("d")))


def test_choices() -> None:
    found = options.choices("pdf, png,pdf", PictureFormat, "--format")
    assert found == (PictureFormat.PDF, PictureFormat.PNG)
    for text in ("", "gif", "pdf,gif"):
        with pytest.raises(ArgumentError, match="expected some of pdf, svg, png"):
            options.choices(text, PictureFormat, "--format")


@pytest.mark.parametrize("word", ["", "1,2,3", "1,2,3,x", "5,2,5,9", "1,9,5,9", "-1,2,3,4"])
def test_boxes_that_are_none(word: str) -> None:
    with pytest.raises(ArgumentError, match="expected TOP,LEFT,BOTTOM,RIGHT"):
        options.boxes([word], "--artifact-box")


@pytest.mark.parametrize("text", ["", "8", "8x", "x8", "0x8", "8x8x8", "-1x2", "a x b"])
def test_grid_of_another_form(text: str) -> None:
    with pytest.raises(ArgumentError, match="expected ROWSxCOLUMNS"):
        options.grid(text)
