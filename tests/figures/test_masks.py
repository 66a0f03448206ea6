"""Tests of ``masks``."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.path import Path

from skiptool.errors import ArgumentError
from skiptool.figures.masks import (
    DOTS,
    MARGIN,
    PLAIN,
    WIDTHS,
    Cells,
    ComparedCells,
    Entry,
    Pen,
    as_rgb,
    block_note,
    block_side,
    block_sums,
    cell_size,
    class_pens,
    compared_entries,
    compared_pens,
    dot_axes,
    lay,
    mask_entries,
    multiple,
    outlines,
    plan_heading,
    plan_key,
    resized,
    small_image,
    small_mask,
    stamp,
    stroke,
    wrapped,
)
from skiptool.figures.style import (
    TONES,
    PictureFormat,
    architecture_colours,
    drawing_style,
    figure_bytes,
    shorten,
    text_width,
)

RNG = np.random.default_rng(0)


@given(st.integers(1, 4000), st.integers(1, 3000))
def test_a_multiple_fits_and_no_larger_one_would(length: int, room: int) -> None:
    factor = multiple(length, room)
    assert factor.numerator == 1 or factor.denominator == 1
    assert -(-length * factor.numerator // factor.denominator) <= room
    larger = factor + 1 if factor >= 1 else Fraction(1, factor.denominator - 1)
    assert length * larger > room


@pytest.mark.parametrize(("width", "height"), [(301, 177), (2140, 33), (33, 1999)])
def test_every_pixel_of_a_picture_is_a_dot_of_the_file(width: int, height: int) -> None:
    image = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    figure, axes = dot_axes(width + 18, height + 27)
    lay(axes, image, 5, 20)
    written = imread(io.BytesIO(figure_bytes(figure, PictureFormat.PNG)))
    assert written.shape[:2] == (height + 27, width + 18)
    seen = np.rint(255 * written[20 : 20 + height, 5 : 5 + width, :3]).astype(np.uint8)
    assert (seen == image).all()


def test_larger_repeats_pixels_and_smaller_takes_means_of_blocks() -> None:
    image = np.array([[0, 10, 20], [30, 40, 50], [60, 70, 81]], dtype=np.uint8)[..., None]
    assert resized(image, Fraction(2))[..., 0][:2].tolist() == [[0, 0, 10, 10, 20, 20]] * 2
    assert resized(image, Fraction(1, 2))[..., 0].tolist() == [[20, 35], [65, 81]]
    assert resized(image, Fraction(1, 5))[..., 0].tolist() == [[40]]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 50])
def test_sums_of_blocks_are_exact(block: int) -> None:
    values = RNG.integers(0, 256, (21, 13, 3), dtype=np.uint8)
    sums, counts = block_sums(values, block)
    for y, x in np.ndindex(counts.shape):
        part = values[y * block : (y + 1) * block, x * block : (x + 1) * block]
        assert counts[y, x] == part.shape[0] * part.shape[1]
        assert (sums[y, x] == part.astype(int).sum(axis=(0, 1))).all()
    assert counts.sum() == 21 * 13


def test_grey_images_become_colour() -> None:
    grey = np.array([[0.0, 0.5, 1.0, 2.0, np.nan]], dtype=np.float32)[..., None]
    assert as_rgb(grey)[0, :, 1].tolist() == [0, 128, 255, 255, 0]
    assert as_rgb(np.full((2, 3, 1), 7, dtype=np.uint8)).shape == (2, 3, 3)
    colour = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    assert (as_rgb(colour) == colour).all()


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 2), (2, 4, 5, 3), (0, 5, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"picture to draw: found shape \("):
        as_rgb(np.zeros(shape, dtype=np.uint8))


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


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(SIZES, st.integers(1, 12), st.integers(0, 99), st.sampled_from([1, 3]))
def test_images_are_means_over_blocks(
    size: tuple[int, int], block: int, seed: int, channels: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    if channels == 1:
        image = rng.random((*size, 1), dtype=np.float32)
    small, seen = small_image(image, block), as_rgb(image).astype(float)
    assert small.shape == (-(-size[0] // block), -(-size[1] // block), 3)
    for y, x in np.ndindex(small.shape[:2]):
        part = seen[y * block : (y + 1) * block, x * block : (x + 1) * block]
        assert np.abs(small[y, x] - part.mean(axis=(0, 1))).max() <= 0.5 + 1e-9


@given(SIZES, st.integers(1, 12), st.integers(0, 99))
def test_masks_take_the_most_frequent_label_the_lowest_of_equals(
    size: tuple[int, int], block: int, seed: int
) -> None:
    labels = np.array([0, 1, 2, 255], dtype=np.uint8)
    mask = np.random.default_rng(seed).choice(labels, size)
    small = small_mask(mask, block)
    assert small.shape == (-(-size[0] // block), -(-size[1] // block))
    for y, x in np.ndindex(small.shape):
        part = mask[y * block : (y + 1) * block, x * block : (x + 1) * block].ravel().tolist()
        assert small[y, x] == min(set(part), key=lambda label: (-part.count(label), label))


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 300))
def test_blocks_are_as_small_as_the_room_allows(height: int, width: int, most: int) -> None:
    block = block_side(height, width, most)
    assert -(-max(height, width) // block) <= most
    assert block == 1 or -(-max(height, width) // (block - 1)) > most


@pytest.mark.parametrize(("block", "told"), [(1, ""), (4, "blocks of 4 x 4 px")])
def test_a_caption_says_so(block: int, told: str) -> None:
    assert told in block_note(block)
    assert (block_note(block) == "") == (block == 1)


MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans())


def signed_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


@given(MASKS)
def test_filling_the_rings_gives_the_mask_back(mask: np.ndarray) -> None:
    y, x = np.indices(mask.shape)
    middles = np.stack([x.ravel(), y.ravel()], axis=1) + 0.5
    crossings = np.zeros(mask.size, dtype=np.int64)
    for ring in outlines(mask):
        crossings += Path(ring).contains_points(middles)
    assert (crossings.reshape(mask.shape) % 2 == mask).all()
    assert sum(map(signed_area, outlines(mask))) == mask.sum()  # holes run the other way


@given(MASKS)
def test_rings_are_closed_and_turn_at_every_vertex(mask: np.ndarray) -> None:
    for ring in outlines(mask):
        assert (ring[0] == ring[-1]).all()
        steps = np.diff(ring, axis=0)
        assert (steps[::2, 1] == 0).all()
        assert (steps[1::2, 0] == 0).all()
        assert (np.abs(steps).sum(axis=1) >= 1).all()


def test_pixels_that_touch_at_a_corner_stay_apart() -> None:
    assert sorted(map(signed_area, outlines(np.eye(3, dtype=bool)))) == [1.0, 1.0, 1.0]
    ring = np.ones((3, 3), dtype=bool)
    ring[1, 1] = False
    assert sorted(map(signed_area, outlines(ring))) == [-1.0, 9.0]


def test_nothing_has_no_outline() -> None:
    assert outlines(np.zeros((3, 4), dtype=bool)) == []


FIVE = ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]
SQUARE = np.array([(10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0), (10.0, 10.0)])


def test_twenty_classes_differ_and_neighbours_in_more_than_colour() -> None:
    pens = list(class_pens(f"class {place}" for place in range(20)).values())
    assert len({(pen.colour, pen.dashes) for pen in pens}) == 20
    for pen, following in pairwise(pens):
        assert pen.colour != following.colour
        assert pen.dashes != following.dashes
        assert pen.marker != following.marker


def test_colours_are_those_told_apart_by_every_sight() -> None:
    colours = {pen.colour for pen in class_pens(map(str, range(5))).values()}
    assert len(colours) == 5
    assert colours > {architecture_colours(FIVE)[name] for name in FIVE if name != "baseline"}
    assert not colours & set(TONES)  # a dark page leaves pictures as they are


@pytest.mark.parametrize("corners", [50_000, 70_000])
def test_noise_becomes_dots_and_outlines_stay_lines(corners: int) -> None:
    _, axes = dot_axes(40, 40)
    stroke(axes, [np.zeros((corners, 2))], PLAIN, 0.96)
    assert {drawn.get_rasterized() for drawn in axes.collections} == {corners > 60_000}


def test_the_background_takes_no_colour_from_the_others() -> None:
    with_background = class_pens(["background", "tumor", "tumor", "cell"])
    assert list(with_background) == ["background", "tumor", "cell"]
    assert with_background.pop("background") is PLAIN
    assert with_background == class_pens(["tumor", "cell"])


def painted(inside: bool) -> np.ndarray:
    figure, axes = dot_axes(40, 40)
    stroke(axes, [SQUARE], Pen("#ff0000", "#0000ff"), 0.96, inside=inside)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_a_line_lies_on_its_casing() -> None:
    row = painted(inside=False)[20]
    assert row[10].tolist() == [255, 0, 0]
    assert row[7, 2] > row[7, 0]  # blue on either side
    assert row[12, 2] > row[12, 0]


def test_inside_nothing_is_drawn_beyond_the_edge() -> None:
    sheet = painted(inside=True)
    outside = np.ones((40, 40), dtype=bool)
    outside[10:30, 10:30] = False
    assert (sheet[outside] == 255).all()
    assert sheet[20, 11].tolist() == [255, 0, 0]
    assert sheet[20, 14, 2] > sheet[20, 14, 0]


def test_markers_with_and_without_a_face() -> None:
    figure, axes = dot_axes(60, 60)
    stamp(axes, np.array([(20.0, 20.0)]), Pen("#ff0000", "#0000ff"), 4.0)
    stamp(axes, np.array([(45.0, 45.0)]), PLAIN, 4.0)
    stamp(axes, np.zeros((0, 2)), PLAIN, 4.0)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    sheet = np.asarray(canvas.buffer_rgba())
    assert sheet[20, 20, :3].tolist() == [255, 0, 0]
    assert sheet[45, 45, :3].max() < 100


def test_truth_and_prediction_differ_in_colour_classes_in_dashes() -> None:
    pens = compared_pens(["LV", "MYO", "RV", "other"])
    assert len({truth.colour for truth, _ in pens.values()}) == 1
    assert len({predicted.colour for _, predicted in pens.values()}) == 1
    assert len({truth.dashes for truth, _ in pens.values()}) == 4
    for truth, predicted in pens.values():
        assert truth.colour != predicted.colour
        assert truth.dashes == predicted.dashes


Check = Callable[[Figure], list[str]]


def entries(count: int) -> list[Entry]:
    names = [f"class {place}" for place in range(count)]
    return [Entry(name, pen, 0.8, 4.0) for name, pen in class_pens(names).items()]


def test_entries_stand_in_rows_within_the_width(labels: Check) -> None:
    key = plan_key(entries(12), 900)
    assert key.width <= 900
    assert len({y for _, y in key.places}) > 1
    with drawing_style():
        figure, axes = dot_axes(900, key.height)
        key.draw(axes, 0, 0)
    assert labels(figure) == [f"class {place}" for place in range(12)]


def test_too_many_are_counted() -> None:
    key = plan_key(entries(30), 900, limit=5)
    assert [entry.name for entry in key.entries][-2:] == ["class 3", "and 26 more"]
    assert key.entries[-1].pen is None
    assert len(plan_key(entries(5), 900, limit=5).entries) == 5


def test_a_name_alone_is_cut_to_the_width() -> None:
    key = plan_key([Entry("x" * 200)], 400)
    assert key.width <= 400
    assert "…" in key.entries[0].name


def test_no_entry_takes_no_room() -> None:
    assert (plan_key([], 400).width, plan_key([], 400).height) == (0, 0)


def test_each_sample_shows_what_it_stands_for() -> None:
    pen = Pen("#ff0000", "#0000ff")
    shown = [
        Entry("a", pen, 0.8),
        Entry("a", pen, marker=4.0),
        Entry("a", pen, 0.8, boxed=True),
        Entry("a", striped=True),
        Entry("a"),
    ]
    images = []
    for entry in shown:
        with drawing_style():
            figure, axes = dot_axes(120, 40)
            plan_key([entry], 120).draw(axes, 0, 0)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba())[:, :70, :3].astype(int))
    assert (images[-1] == 255).all()
    assert [bool((image[..., 0] - image[..., 1] > 200).any()) for image in images] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert len({image.tobytes() for image in images}) == 5


@pytest.mark.parametrize("title", ["", "a title", "t" * 300])
@pytest.mark.parametrize("notes", ["", "one line", "many words " * 60])
@pytest.mark.parametrize("count", [0, 1, 9])
def test_it_ends_where_it_says(labels: Check, title: str, notes: str, count: int) -> None:
    heading = plan_heading(title, notes, [Entry(f"class {place}") for place in range(count)], 700)
    with drawing_style():
        figure, axes = dot_axes(700 + 2 * MARGIN, heading.bottom)
        heading.draw(axes)
    if not (title or notes or count):
        assert heading.bottom == MARGIN
        return
    written = labels(figure)
    assert len(written) == bool(title) + len(heading.notes) + count
    assert len(heading.notes) <= 3


CLASSES = ("background", "cell", "artefact")


def image(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, dtype=np.uint8)


def drawn(picture: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """One cell of 60 dots at (10, 10) on a sheet of 80."""
    figure, axes = dot_axes(80, 80)
    cells = Cells(axes, (60, 60), CLASSES)
    cells.add(picture, mask, 10, 10)
    cells.outline()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


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
    assert cell_size([image(*shape) for shape in shapes], 256) == expected


def test_the_key_names_what_occurs() -> None:
    masks = [np.array([[0, 2]], dtype=np.uint8), None, np.array([[255]], dtype=np.uint8)]
    entries = mask_entries(masks, CLASSES)
    assert [entry.name for entry in entries] == ["artefact", "ignored"]
    assert [entry.striped for entry in entries] == [False, True]
    assert mask_entries([None, np.zeros((2, 2), dtype=np.uint8)], CLASSES) == []


def test_a_label_without_a_class_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"found label 3 in a mask, expected labels below 3"):
        mask_entries([np.array([[0, 3]], dtype=np.uint8)], CLASSES)


def test_the_outline_lies_at_the_edge_of_the_pixels_and_inside() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[5:15, 5:15] = 1
    changed = (drawn(image(20, 20), mask) != drawn(image(20, 20), None)).any(axis=2)
    y, x = np.nonzero(changed)
    assert (x.min(), y.min(), x.max(), y.max()) == (25, 25, 54, 54)  # three dots a pixel
    assert not changed[32:48, 32:48].any()


def test_neighbours_do_not_cover_one_another() -> None:
    mask = np.ones((20, 20), dtype=np.uint8)
    mask[:, 10:] = 2
    row = drawn(image(20, 20), mask)[40]
    assert row[39, 1] > row[39, 0]  # green to the left of the edge
    assert row[40, 0] > row[40, 2] or row[40].max() < 60  # amber or its casing to the right


def test_what_is_ignored_is_lighter_and_striped_and_the_rest_is_untouched() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[:, 10:] = 255
    sheet = drawn(image(20, 20), mask)[10:70, 10:70]
    assert (sheet[:, :30] == 90).all()
    assert len(np.unique(sheet[:, 30:])) == 2
    assert sheet[:, 30:].min() > 120


def test_a_smaller_image_stands_in_the_middle() -> None:
    sheet = drawn(image(20, 40), None)
    inside = (sheet == 90).all(axis=2)
    y, x = np.nonzero(inside)
    assert (x.min(), y.min(), x.max(), y.max()) == (20, 30, 59, 49)


def test_a_hole_is_seen() -> None:
    figure, axes = dot_axes(80, 80)
    Cells(axes, (60, 60), CLASSES).add_hole(10, 10)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert (np.asarray(canvas.buffer_rgba())[12:68, 12:68, :3] < 255).any(axis=2).all()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"mask of shape \(4, 5\), expected \(20, 20\)"):
        drawn(image(20, 20), np.zeros((4, 5), dtype=np.uint8))


CLASSES_COMPARED = ("background", "LV", "MYO")
IMAGE = np.zeros((8, 8, 3), dtype=np.uint8)


def mask_of_compared(*labels: int) -> np.ndarray:
    """Return a mask with one pixel of each label."""
    found = np.zeros((8, 8), dtype=np.uint8)
    for place, label in enumerate(labels):
        found[2, 2 * place] = label
    return found


def test_the_key_names_truth_and_prediction_of_what_occurs() -> None:
    entries = compared_entries(
        [mask_of_compared(2), mask_of_compared(255)],
        [mask_of_compared(), mask_of_compared(2)],
        CLASSES_COMPARED,
        (0.7, 0.3),
    )
    assert [entry.name for entry in entries] == ["MYO, truth", "MYO, prediction", "ignored"]
    assert [entry.width for entry in entries] == [0.7, 0.3, 0.0]
    assert (entries[0].pen, entries[1].pen) == compared_pens(CLASSES_COMPARED[1:])["MYO"]
    assert compared_entries([], [], CLASSES_COMPARED) == []
    assert [
        entry.name for entry in compared_entries([], [mask_of_compared(255)], CLASSES_COMPARED)
    ] == []


def test_labels_without_a_class_and_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ArgumentError, match="found label 3, expected labels below 3"):
        compared_entries([mask_of_compared(1)], [mask_of_compared(3)], CLASSES_COMPARED)
    cells = ComparedCells(dot_axes(50, 50)[1], (16, 16), CLASSES_COMPARED)
    for truth, predicted in (
        (mask_of_compared()[1:], mask_of_compared()),
        (mask_of_compared(), mask_of_compared()[:, 1:]),
    ):
        with pytest.raises(ArgumentError, match=r"found one of shape \(.*expected \(8, 8\)"):
            cells.add(IMAGE, truth, predicted, 0, 0)


def test_lines_follow_the_pixels_the_prediction_above_the_truth() -> None:
    _, axes = dot_axes(80, 40)
    cells = ComparedCells(axes, (16, 16), CLASSES_COMPARED)
    cells.add(IMAGE, mask_of_compared(1), mask_of_compared(0, 1), 10, 5)  # two dots a pixel
    cells.add(IMAGE, mask_of_compared(), mask_of_compared(1), 50, 5)
    cells.add_hole(30, 5)
    assert len(axes.images) == 2
    cells.outline()
    truth, predicted = compared_pens(CLASSES_COMPARED[1:])["LV"]
    lines = {each.get_colors()[0][:3].tobytes(): each for each in axes.collections}
    assert len(axes.collections) == 4  # each with its casing
    colours = [pen.colour for pen in (truth, predicted)]
    drawn = [axes.collections[1], axes.collections[3]]
    for each, colour, width in zip(drawn, colours, WIDTHS, strict=True):
        rgb = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        np.testing.assert_allclose(each.get_colors()[0][:3], rgb)
        assert each.get_linewidths()[0] == pytest.approx(2 * width)  # half of it is cut off
    corners = [path.vertices.min(axis=0).tolist() for path in drawn[1].get_paths()]
    assert corners == [[14.0, 9.0], [50.0, 9.0]]
    assert [path.vertices.min(axis=0).tolist() for path in drawn[0].get_paths()] == [[10.0, 9.0]]
    assert len(lines) == 3
