"""Tests of ``masks``."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from skiptool.errors import ArgumentError
from skiptool.figures.masks import (
    PLAIN,
    Pen,
    as_rgb,
    block_note,
    block_side,
    block_sums,
    class_pens,
    compared_entries,
    compared_pens,
    draw_comparison,
    draw_missing,
    draw_patch,
    mask_entries,
    multiple,
    resized,
    show_image,
    small_image,
    small_mask,
    stamp,
    stroke,
)
from skiptool.figures.sheets import Sheet
from skiptool.figures.style import (
    TONES,
    PictureFormat,
    architecture_colours,
    drawing_style,
    figure_bytes,
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
    sheet = Sheet()
    sheet.resize(width + 18, height + 27)
    show_image(sheet.add_panel(5, 20, (width, height)), image)
    written = imread(io.BytesIO(figure_bytes(sheet.figure, PictureFormat.PNG)))
    assert written.shape[:2] == (height + 27, width + 18)
    seen = np.rint(255 * written[20 : 20 + height, 5 : 5 + width, :3]).astype(np.uint8)
    assert (seen == image).all()


@pytest.mark.parametrize("dpi", [100, 300])
def test_a_patch_can_be_drawn_into_own_axes(dpi: int) -> None:
    figure = Figure((2.0, 1.0), dpi=dpi)
    whole = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0}
    left, right = figure.subplots(1, 2, gridspec_kw=whole)
    patch = RNG.integers(0, 256, (50, 50, 3), dtype=np.uint8)
    mask = np.zeros((50, 50), dtype=np.uint8)
    mask[10:20, 30:40] = 1
    with drawing_style():
        draw_patch(left, patch, mask, CLASSES)
        draw_comparison(right, patch, mask, mask, CLASSES)
        figure.savefig(file := io.BytesIO(), dpi=300)
    seen = np.rint(255 * imread(io.BytesIO(file.getvalue()))[..., :3]).astype(np.uint8)
    expected = patch[:10].repeat(6, axis=0).repeat(6, axis=1)  # 300 dots
    assert (seen[:60, :299] == expected[:, :-1]).all()  # the last dot is the edge of the other
    assert (seen[:60, 300:] == expected).all()
    for axes in (left, right):
        for drawn in axes.collections:
            (ring,) = drawn.get_paths()
            assert np.ptp(ring.vertices, axis=0).tolist() == [10, 10]  # in pixels of the patch


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


FIVE = ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]
SQUARE = np.array([(10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0), (10.0, 10.0)])


def dots(side: int) -> tuple[Figure, Axes]:
    """Return Axes over a whole sheet, in dots from its upper left corner."""
    sheet = Sheet()
    sheet.resize(side, side)
    axes = sheet.add_panel(0, 0, (side, side))
    axes.set(xlim=(0.0, side), ylim=(side, 0.0))
    return sheet.figure, axes


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


@pytest.mark.parametrize("corners", [3_000, 5_000])
def test_noise_becomes_dots_and_outlines_stay_lines(corners: int) -> None:
    _, axes = dots(40)
    stroke(axes, [np.zeros((corners, 2))], PLAIN, 0.96)
    assert {drawn.get_rasterized() for drawn in axes.collections} == {corners > 4_000}


def test_the_background_takes_no_colour_from_the_others() -> None:
    with_background = class_pens(["background", "tumor", "tumor", "cell"])
    assert list(with_background) == ["background", "tumor", "cell"]
    assert with_background.pop("background") is PLAIN
    assert with_background == class_pens(["tumor", "cell"])


def painted(inside: bool) -> np.ndarray:
    figure, axes = dots(40)
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
    figure, axes = dots(60)
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


CLASSES = ("background", "cell", "artefact")


def image(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, dtype=np.uint8)


def panel() -> tuple[Figure, Axes]:
    """Return Axes of 60 x 60 dots at (10, 10) on a sheet of 80 x 80."""
    sheet = Sheet()
    sheet.resize(80, 80)
    return sheet.figure, sheet.add_panel(10, 10, (60, 60))


def rendered(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def drawn(picture: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    figure, axes = panel()
    draw_patch(axes, picture, mask, CLASSES)
    return rendered(figure)


def test_the_key_names_what_occurs() -> None:
    masks = [np.array([[0, 2]], dtype=np.uint8), None, np.array([[255]], dtype=np.uint8)]
    entries = mask_entries(masks, CLASSES)
    assert [entry.name for entry in entries] == ["artefact", "ignored"]
    assert [type(entry.sample[0]) for entry in entries] == [Line2D, Rectangle]
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
    figure, axes = panel()
    draw_missing(axes)
    assert (rendered(figure)[12:68, 12:68] < 255).any(axis=2).all()


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
        0.7,
    )
    assert [entry.name for entry in entries] == ["MYO, truth", "MYO, prediction", "ignored"]
    lines = [entry.sample[-1] for entry in entries[:2]]
    assert [line.get_linewidth() for line in lines] == pytest.approx([0.7, 0.28])
    pens = compared_pens(CLASSES_COMPARED[1:])["MYO"]
    assert [line.get_color() for line in lines] == [pen.colour for pen in pens]
    assert compared_entries([], [], CLASSES_COMPARED) == []
    ignored = compared_entries([], [mask_of_compared(255)], CLASSES_COMPARED)
    assert [entry.name for entry in ignored] == []


def test_labels_without_a_class_and_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ArgumentError, match="found label 3 in a mask, expected labels below 3"):
        compared_entries([mask_of_compared(1)], [mask_of_compared(3)], CLASSES_COMPARED)
    _, axes = panel()
    for truth, predicted in (
        (mask_of_compared()[1:], mask_of_compared()),
        (mask_of_compared(), mask_of_compared()[:, 1:]),
    ):
        with pytest.raises(ArgumentError, match=r"a mask of shape \(.*expected \(8, 8\)"):
            draw_comparison(axes, IMAGE, truth, predicted, CLASSES_COMPARED)


def test_lines_follow_the_pixels_the_prediction_above_the_truth() -> None:
    _, axes = panel()
    draw_comparison(axes, IMAGE, mask_of_compared(1), mask_of_compared(0, 1), CLASSES_COMPARED)
    assert len(axes.images) == 1
    assert len(axes.collections) == 4  # each with its casing
    drawn = [axes.collections[1], axes.collections[3]]
    pens = compared_pens(CLASSES_COMPARED[1:])["LV"]
    for each, pen, width in zip(drawn, pens, (1.0, 0.4), strict=True):
        assert to_hex(each.get_colors()[0]) == pen.colour
        assert each.get_linewidths()[0] == pytest.approx(2 * width)  # half of it is clipped
    corners = [path.vertices.min(axis=0).tolist() for each in drawn for path in each.get_paths()]
    assert corners == [[0.0, 2.0], [2.0, 2.0]]
