"""Tests of ``sheets``."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from skiptool.errors import ArgumentError
from skiptool.figures.masks import (
    DOTS,
    PLAIN,
    Entry,
    Pen,
    class_pens,
    compared_pens,
    line_sample,
    marker_sample,
)
from skiptool.figures.sheets import (
    KEY_SIZE,
    MARGIN,
    Sheet,
    cell_size,
    compare_masks,
    contact_sheet,
    example_sheet,
    matched_sheet,
    wrapped,
)
from skiptool.figures.style import (
    ONE_COLUMN,
    TWO_COLUMNS,
    PictureFormat,
    drawing_style,
    figure_bytes,
    shorten,
    text_width,
)

Check = Callable[[Figure], list[str]]
RNG = np.random.default_rng(0)
CLASSES = ("background", "non-tumor", "tumor")


def patches(count: int, side: int, channels: int = 3) -> np.ndarray:
    if channels == 1:
        return RNG.random((count, side, side, 1), dtype=np.float32)
    return RNG.integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def masks(count: int, side: int) -> np.ndarray:
    covers = np.zeros((count, side, side), dtype=np.uint8)
    covers[:, side // 4 : side // 2, side // 4 :] = 1
    covers[:, side // 2 :, side // 4 :] = 2
    covers[::2, :, -2:] = 255
    return covers


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 8, 9, 64])
@pytest.mark.parametrize("caption", ["7", "a slide with a long name 12345,67890\ntumor", ""])
def test_every_label_has_its_own_place_on_the_sheet(
    labels: Check, count: int, caption: str
) -> None:
    figure = contact_sheet(
        patches(count, 16), masks(count, 16), CLASSES, [caption] * count, title="t" * 90
    )
    texts = labels(figure)
    assert texts[-3:] == ["non-tumor", "tumor", "ignored"]
    assert len(texts) == 4 + count * len(caption.splitlines())


@pytest.mark.parametrize("side", [128, 256, 512])
def test_eight_in_a_row_fill_two_journal_columns(side: int) -> None:
    figure = contact_sheet(patches(9, side), None, CLASSES, [""] * 9)
    width, height = figure.get_size_inches()
    assert 0.98 * TWO_COLUMNS < width <= TWO_COLUMNS
    assert height < 2.0


def test_pixels_are_squares_of_whole_dots() -> None:
    images = patches(3, 100)
    sheet = imread(
        io.BytesIO(
            figure_bytes(
                contact_sheet(images, None, CLASSES, [""] * 3, columns=2), PictureFormat.PNG
            )
        )
    )
    seen = np.rint(255 * sheet[..., :3]).astype(np.uint8)
    for image in images:  # the first pixels of each, enlarged seven times
        row = image[0].repeat(7, axis=0)
        assert any((seen[y, x : x + 700] == row).all() for y in (18, 726) for x in (18, 726))


def test_grey_images_and_images_of_several_sizes(labels: Check) -> None:
    mixed = [patches(1, side, 1)[0] for side in (16, 30, 700)]
    covers = [masks(1, side)[0] for side in (16, 30, 700)]
    figure = contact_sheet(mixed, covers, CLASSES, ["a", "b", "c"], title="M&Ms", notes="ED")
    assert labels(figure) == ["M&Ms", "ED", "a", "b", "c", "non-tumor", "tumor", "ignored"]


def test_same_patches_same_bytes() -> None:
    images, covers = patches(4, 16), masks(4, 16)
    first, second = (
        figure_bytes(contact_sheet(images, covers, CLASSES, list("abcd")), PictureFormat.PNG)
        for _ in range(2)
    )
    assert first == second


def test_names_from_data_cannot_break_it(labels: Check) -> None:
    names = ["background", "<b>&$x_{", "nul\x00\nline"]
    texts = labels(contact_sheet(patches(1, 16), masks(1, 16), names, ["$a$b_{\x00"], title="$"))
    assert texts == ["$", "$a$b_{", "<b>&$x_{", "nul line", "ignored"]


def test_numbers_must_agree() -> None:
    images, covers = patches(2, 8), masks(2, 8)
    with pytest.raises(ArgumentError, match="found 2 images, 1 masks, 2 captions"):
        contact_sheet(images, covers[:1], CLASSES, ["a", "b"])
    with pytest.raises(ArgumentError, match="2 images, 2 masks, 1 captions"):
        contact_sheet(images, covers, CLASSES, ["a"])
    with pytest.raises(ArgumentError, match="at least one image and column"):
        contact_sheet([], None, CLASSES, [])
    with pytest.raises(ArgumentError, match="and 0 columns"):
        contact_sheet(images, None, CLASSES, ["a", "b"], columns=0)


CLASSES_EXAMPLES = ("background", "cell")
LONG = "<script>" + "x" * 192


def sheet(
    high: int,
    wide: int,
    side: int = 16,
    name: str = "L1-pruned",
    **new: Any,  # noqa: ANN401
) -> Figure:
    masks = np.zeros((wide, side, side), dtype=np.uint8)
    masks[:, side // 4 : side // 2, side // 4 :] = 1
    given: dict[str, Any] = {
        "images": RNG.integers(0, 256, (wide, side, side, 3), dtype=np.uint8),
        "truths": masks,
        "predicted": [[*masks[:, ::-1]] for _ in range(high)],
        "rows": [name] * high,
        "columns": [f"worst, original\n{name}\n{name}"] * wide,
        "told": [["IoU 0.123"] * wide for _ in range(high)],
    }
    return example_sheet(classes=CLASSES_EXAMPLES, **given | new)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (6, 4), (2, 3)])
@pytest.mark.parametrize("name", ["baseline", LONG])
def test_every_label_has_its_own_place(labels: Check, rows: int, columns: int, name: str) -> None:
    texts = labels(sheet(rows, columns, name=name))
    assert texts[-2:] == ["cell, truth", "cell, prediction"]
    assert texts.count("IoU 0.123") == rows * columns
    assert texts.count("worst, original") == columns


@pytest.mark.parametrize("side", [64, 128, 200, 256])
def test_four_columns_fit_two_journal_columns(side: int) -> None:
    width, height = sheet(6, 4, side).get_size_inches()
    assert ONE_COLUMN < width <= TWO_COLUMNS
    assert height < 9.5


def test_what_is_not_there_is_a_field_and_nothing_else_moves(labels: Check) -> None:
    mask = np.zeros((16, 16), dtype=np.uint8)
    figure = sheet(1, 2, predicted=[[mask, None]], told=[["IoU 0.5", "not predicted"]])
    assert "not predicted" in labels(figure)
    assert figure.get_size_inches().tolist() == sheet(1, 2).get_size_inches().tolist()
    assert [len(axes.images) for axes in figure.axes] == [1, 0]


def test_grey_images(labels: Check) -> None:
    assert labels(sheet(1, 2, images=RNG.random((2, 16, 16, 1), dtype=np.float32)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": []},
        {"columns": ["a"]},
        {"truths": []},
        {"predicted": [[None]]},
        {"told": [["a", "b"]] * 2},
        {"rows": [], "columns": [], "images": [], "truths": [], "predicted": [], "told": []},
    ],
)
def test_numbers_that_differ_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="examples: found"):
        sheet(1, 2, **wrong)


def patch(side: int = 16) -> np.ndarray:
    return RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)


def mask(side: int = 16) -> np.ndarray:
    cover = np.zeros((side, side), dtype=np.uint8)
    cover[4:9, 4:9] = 1
    return cover


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 6), (2, 12)])
def test_every_label_has_its_own_place_on_the_sheet_of_matched_sheet(
    labels: Check, rows: int, columns: int
) -> None:
    places = [f"canine cutaneous tumour {row}, mitotic figure {row}" for row in range(rows)]
    domains = ["Hamamatsu NanoZoomer 2.0-HT", "x"] * (columns // 2) or ["aperio"]
    images = [[patch() for _ in domains] for _ in places]
    covers = [[mask() for _ in domains] for _ in places]
    figure = matched_sheet(
        images, covers, CLASSES_EXAMPLES, places, domains, title="the same place", notes="test"
    )
    texts = labels(figure)
    assert (texts[0], texts[1], texts[-1]) == ("the same place", "test", "cell")
    lines = sum(len(wrapped(domain, KEY_SIZE, 256, lines=3)) for domain in domains)
    assert columns <= len(texts) - 3 - rows <= lines


def test_names_stand_at_their_rows_and_columns() -> None:
    images = [[patch(), patch()], [patch(), patch()]]
    figure = matched_sheet(images, None, CLASSES_EXAMPLES, ["p", "q"], ["a", "b"])
    at = {text.get_text(): text.get_position() for text in figure.findobj(Text)}
    assert at["p"][1] < at["q"][1]
    assert at["a"][0] < at["b"][0]
    assert at["a"][1] == at["b"][1] < at["p"][1]


def test_a_missing_place_is_a_hatched_field() -> None:
    images = [[patch(), None], [None, patch()]]
    figure = matched_sheet(
        images, [[mask(), None], [None, None]], CLASSES_EXAMPLES, ["p", "q"], ["a", "b"]
    )
    hatched = [field for field in figure.findobj(Rectangle) if field.get_hatch()]
    assert len(hatched) == 2


def test_numbers_must_agree_of_matched_sheet() -> None:
    with pytest.raises(ArgumentError, match="expected 1 places, 2 domains"):
        matched_sheet([[patch()]], None, CLASSES_EXAMPLES, ["p"], ["a", "b"])
    with pytest.raises(ArgumentError, match="1 rows of images and 2 of masks"):
        matched_sheet([[patch()]], [[None], [None]], CLASSES_EXAMPLES, ["p"], ["a"])
    with pytest.raises(ArgumentError, match="at least one image"):
        matched_sheet([[None]], None, CLASSES_EXAMPLES, ["p"], ["a"])
    with pytest.raises(ArgumentError, match="at least one image"):
        matched_sheet([], None, CLASSES_EXAMPLES, [], [])


CLASSES_COMPARISON = ("background", "LV", "MYO", "RV")


def masks_of_comparison(side: int) -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((side, side), dtype=np.uint8)
    truth[side // 4 : side // 2, side // 4 : side // 2] = 1
    predicted = np.zeros_like(truth)
    predicted[side // 2 : 3 * side // 4, side // 4 : side // 2] = 1
    return truth, predicted


def pixels(figure: Figure) -> np.ndarray:
    found = imread(io.BytesIO(figure_bytes(figure, PictureFormat.PNG)))
    return np.rint(255 * found[..., :3]).astype(np.uint8)


def coloured(sheet: np.ndarray, colour: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of all dots of a colour."""
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    y, x = np.nonzero((sheet == wanted).all(axis=2))
    return int(x.min()), int(y.min()), int(x.max()), int(y.max())


def test_truth_and_prediction_have_colours_of_their_own_where_they_lie() -> None:
    image = np.full((64, 64, 3), 200, dtype=np.uint8)
    truth, predicted = masks_of_comparison(64)
    figure = compare_masks(image, truth, predicted, CLASSES_COMPARISON[:2])
    sheet = pixels(figure)
    first, second = compared_pens(CLASSES_COMPARISON[1:2])["LV"]
    assert first.colour != second.colour
    body = sheet[-(1024 + 18) : -18, -(1024 + 18) : -18]  # the right image, 16 dots a pixel
    left, top, right, bottom = coloured(body, first.colour)
    assert np.abs(np.array([left, top, right, bottom]) - [256, 256, 512, 512]).max() <= 3
    left, top, right, bottom = coloured(body, second.colour)
    assert np.abs(np.array([left, top, right, bottom]) - [256, 512, 512, 768]).max() <= 3
    plain = sheet[-(1024 + 18) : -18, 18 : 18 + 1024]  # the left image has no line
    assert (plain == 200).all()


def test_where_both_agree_both_are_seen() -> None:
    image = np.full((64, 64, 3), 200, dtype=np.uint8)
    truth, _ = masks_of_comparison(64)
    body = pixels(compare_masks(image, truth, truth, CLASSES_COMPARISON[:2]))[-1042:-18, -1042:-18]
    for pen in compared_pens(CLASSES_COMPARISON[1:2])["LV"]:
        left, top, right, bottom = coloured(body, pen.colour)
        assert np.abs(np.array([left, top, right, bottom]) - [256, 256, 512, 512]).max() <= 6


@pytest.mark.long
@pytest.mark.parametrize("shape", [(192, 192, 1), (40, 300, 3), (2048, 1500, 3), (1, 1, 3)])
def test_every_label_has_its_own_place_on_the_sheet_of_comparison(
    labels: Check, shape: tuple[int, int, int]
) -> None:
    image = RNG.random(shape, dtype=np.float32)
    if shape[2] == 3:
        image = (255 * image).astype(np.uint8)
    truth = RNG.integers(0, 4, shape[:2], dtype=np.uint8) if shape[0] < 200 else None
    if truth is None:
        truth = np.zeros(shape[:2], dtype=np.uint8)
        truth[:9], truth[10:90] = 2, 255
    figure = compare_masks(
        image, truth, np.zeros_like(truth), CLASSES_COMPARISON, title="t" * 200, notes="n " * 300
    )
    texts = labels(figure)
    for label in set(np.unique(truth).tolist()) - {0, 255}:
        assert f"{CLASSES_COMPARISON[label]}, truth" in texts
        assert f"{CLASSES_COMPARISON[label]}, prediction" in texts
    assert ("ignored" in texts) == bool((truth == 255).any())


def test_the_same_input_gives_the_same_bytes() -> None:
    image = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    first, again = (
        figure_bytes(
            compare_masks(image, *masks_of_comparison(64), CLASSES_COMPARISON, title="a"),
            PictureFormat.PNG,
        )
        for _ in range(2)
    )
    assert first == again


def test_refusals() -> None:
    image, (truth, predicted) = np.zeros((64, 64, 3), dtype=np.uint8), masks_of_comparison(64)
    with pytest.raises(ArgumentError, match=r"shape \(63, 64\), expected \(64, 64\)"):
        compare_masks(image, truth[1:], predicted, CLASSES_COMPARISON)
    with pytest.raises(ArgumentError, match="label 1 in a mask, expected labels below 1"):
        compare_masks(image, truth, predicted, CLASSES_COMPARISON[:1])


TEXTS = st.text(st.characters(max_codepoint=0x17F, exclude_categories=["C"]), max_size=60)


@given(TEXTS, st.integers(60, 900), st.integers(1, 3))
def test_no_line_is_wider_than_its_room(text: str, width: int, lines: int) -> None:
    broken = wrapped(text, 6.5, width, lines)
    assert len(broken) <= lines
    assert text_width(broken, 6.5) * DOTS <= width


@given(TEXTS)
def test_what_has_room_is_left_whole(text: str) -> None:
    assert shorten(text, 6.5, 1e6) == " ".join(text.split())


def test_lines_break_where_asked_or_else_between_words() -> None:
    assert wrapped("id 7\ntumor", 6.5, 900) == ["id 7", "tumor"]
    assert wrapped("id 7\ntumor\nmore", 6.5, 900) == ["id 7", "tumor more"]
    assert wrapped("Leica GT 450", 6.5, 170) == ["Leica GT", "450"]
    assert wrapped("id 7\ntumor", 6.5, 900, lines=3) == ["id 7", "tumor"]
    assert wrapped("", 6.5, 170) == []
    assert wrapped("one two", 6.5, 900, lines=1) == ["one two"]


def test_nothing_fits_into_no_room() -> None:
    assert shorten("", 6.5, 0) == ""
    assert shorten("abc", 6.5, 0) == "…"


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(128, 128)], (256, 256)),
        ([(512, 512)], (256, 256)),
        ([(300, 300)], (300, 300)),
        ([(64, 128)], (256, 128)),
        ([(128, 128), (200, 200), (64, 64)], (256, 256)),
        ([(1, 4000)], (250, 1)),
    ],
)
def test_cells_are_whole_multiples_close_to_what_is_wanted(
    shapes: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert cell_size([np.zeros((*shape, 3), dtype=np.uint8) for shape in shapes], 256) == expected


def entries(count: int) -> list[Entry]:
    pens = class_pens(f"class {place}" for place in range(count))
    return [Entry(name, line_sample(pen, 0.8)) for name, pen in pens.items()]


@pytest.mark.parametrize("title", ["", "a title", "t" * 300])
@pytest.mark.parametrize("notes", ["", "one line", "many words " * 60])
@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_heading_ends_where_it_says(labels: Check, title: str, notes: str, count: int) -> None:
    with drawing_style():
        sheet = Sheet()
        bottom = sheet.add_head(title, notes, entries(count), 700)
        sheet.resize(700 + 2 * MARGIN, bottom)
    if not (title or notes or count):
        assert bottom == MARGIN
        return
    written = labels(sheet.figure)
    lines = len(written) - bool(title) - count
    assert (1 if notes else 0) <= lines <= (3 if notes else 0)
    for legend in sheet.figure.legends:
        assert legend.get_window_extent().y0 >= 0
        assert legend.get_window_extent().x1 <= 700 + 2 * MARGIN


def key_of(shown: list[Entry], width: int) -> list[str]:
    with drawing_style():
        sheet = Sheet()
        sheet.add_head("", "", shown, width)
    (key,) = sheet.figure.legends
    return [text.get_text() for text in key.get_texts()]


def test_too_many_entries_are_counted() -> None:
    assert key_of(entries(30), 900)[-2:] == ["class 22", "and 7 more"]
    assert key_of(entries(24), 900)[-1] == "class 23"


def test_a_name_alone_is_cut_to_the_width() -> None:
    assert "…" in key_of([Entry("x" * 200)], 400)[0]


def test_each_sample_of_a_key_shows_its_own_marks() -> None:
    pen = Pen("#ff0000", "#0000ff")
    images = []
    for sample in (
        line_sample(pen, 0.8),
        marker_sample(pen, 4.0),
        marker_sample(PLAIN, 4.0),
        (*line_sample(pen, 0.8), *marker_sample(pen, 4.0)),
        (),
    ):
        with drawing_style():
            sheet = Sheet()
            sheet.resize(160, 80)
            sheet.add_head("", "", [Entry("a", sample)], 120)
            canvas = FigureCanvasAgg(sheet.figure)
            canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba())[:, :80, :3].astype(int))
    assert (images[-1] == 255).all()
    red = [bool((image[..., 0] - image[..., 1] > 200).any()) for image in images]
    assert red == [True, True, False, True, False]
    assert len({image.tobytes() for image in images}) == 5


def test_names_that_begin_with_an_underscore_are_in_the_key() -> None:
    assert key_of([Entry("_a"), Entry("b")], 400) == ["_a", "b"]
