"""Tests of ``slide``."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from skiptool.errors import ArgumentError
from skiptool.figures.slide import box_lines, gather_marks, slide_overview
from skiptool.figures.style import PictureFormat, figure_bytes

Check = Callable[[Figure], list[str]]
RNG = np.random.default_rng(0)


def thumbnail(height: int, width: int) -> np.ndarray:
    return RNG.integers(200, 256, (height, width, 3), dtype=np.uint8)


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], dtype=np.float64)


def boxes(count: int, size: float, side: float) -> np.ndarray:
    corners = RNG.random((count, 2)) * size
    return np.concatenate([corners, corners + side], axis=1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (300, 400), (60, 2048), (2048, 60), (1200, 700), (3000, 2500)]
)
@pytest.mark.parametrize("full", [False, True])
def test_every_label_has_its_own_place_on_the_sheet(
    labels: Check, height: int, width: int, full: bool
) -> None:
    image = thumbnail(height, width)
    if not full:
        assert labels(slide_overview(image, (4.0, 4.0), title="slide.svs")) == ["slide.svs"]
        return
    figure = slide_overview(
        image,
        (4.0, 4.0),
        tissue=RNG.random((height // 2, width // 2)) > 0.5,
        areas=[(f"a name of some length, {place}", [square(0, 0, 90)]) for place in range(30)],
        points=[("point", (4.0, 4.0))],
        patches=boxes(3, 100.0, 128.0),
        classes=["point"],
        mpp=(0.25, 0.25),
        title="a slide with a long name " * 8,
        notes="aperio, 2220 x 2967 px, 0.499 um/px; 32 patches " * 8,
    )
    texts = labels(figure)
    assert {"tissue", "patches (3)", "point (1)"} <= set(texts)
    assert any(text.startswith("and ") for text in texts)
    assert any(text.endswith(("µm", "mm")) for text in texts)


@pytest.mark.parametrize(
    ("mpp", "label"), [(0.25, "500 µm"), (0.5, "1 mm"), (1e-5, "0.02 µm"), (20.0, "20 mm")]
)
def test_the_scale_bar_has_a_round_length(labels: Check, mpp: float, label: str) -> None:
    figure = slide_overview(thumbnail(800, 1000), (8.0, 8.0), mpp=(mpp, mpp))
    assert labels(figure) == [label]
    bar = figure.axes[0].lines[0].get_xdata()
    value, unit = label.split()
    length = float(value) * {"µm": 1, "mm": 1000}[unit]
    assert np.ptp(bar) == pytest.approx(length / mpp / 8.0)


def changed(**drawn: object) -> np.ndarray:
    """Where a thumbnail of 1100 x 1100 pixels, each of 2 x 2 level-0 pixels, is drawn upon."""
    image = np.full((1100, 1100, 3), 240, dtype=np.uint8)
    figure = slide_overview(image, (2.0, 2.0), **drawn)  # type: ignore[arg-type]
    sheet = imread(io.BytesIO(figure_bytes(figure, PictureFormat.PNG)))
    seen = np.rint(255 * sheet[-1118:-18, 18:1118, :3]).astype(int)
    return (np.abs(seen - 240) > 30).any(axis=2)


def extent(drawn: np.ndarray) -> tuple[int, ...]:
    y, x = np.nonzero(drawn)
    return x.min(), y.min(), x.max(), y.max()


@pytest.mark.long
def test_all_lies_where_level_0_says() -> None:
    around = (199, 399, 600, 800)
    for drawn in (
        changed(areas=[("a", [square(400, 800, 800)])]),
        changed(patches=np.array([[400.0, 800.0, 1200.0, 1600.0]])),
    ):
        assert extent(drawn) == pytest.approx(around, abs=3)
        assert not drawn[500:700, 300:500].any()
    y, x = np.nonzero(changed(points=[("a", (400.0, 800.0))]))
    assert (x.mean(), y.mean()) == pytest.approx((199.5, 399.5), abs=1)


def test_the_tissue_is_outlined_without_fine_detail() -> None:
    tissue = np.zeros((550, 550), dtype=bool)
    tissue[100:200, 300:400] = True
    tissue[150:155, 350:355] = False  # a hole not much wider than the lines
    tissue[400:405, 400:405] = True  # and such a speck
    drawn = changed(tissue=tissue)
    assert extent(drawn) == pytest.approx((600, 200, 800, 400), abs=3)
    assert not drawn[220:380, 620:780].any()
    assert not changed(tissue=np.zeros((550, 550), dtype=bool)).any()


def test_what_reaches_beyond_the_slide_is_cut_off() -> None:
    image = thumbnail(400, 1200)
    far = [("a", [square(-5000, -5000, 5100)])]
    plain = slide_overview(image, (1.0, 1.0), title=" ", notes="n")
    drawn = slide_overview(image, (1.0, 1.0), areas=far, title=" ", notes="n")
    first, second = (
        imread(io.BytesIO(figure_bytes(figure, PictureFormat.PNG))) for figure in (plain, drawn)
    )
    assert (first[-17:] == second[-17:]).all()
    assert (first[-418:, :17] == second[-418:, :17]).all()
    assert (first[-418:, 18:1218] != second[-418:, 18:1218]).any()


def test_an_area_too_small_to_be_seen_is_a_point() -> None:
    drawn = changed(areas=[("mitotic figure", [square(400, 800, 3)])])
    assert drawn.sum() > 100


@pytest.mark.long
def test_thousands_are_drawn_in_seconds() -> None:
    areas = [("tumor", [square(x, y, 300)]) for x, y in RNG.random((3000, 2)) * 8000]
    points = [("cell", (x, y)) for x, y in RNG.random((3000, 2)) * 8000]
    start = time.process_time()
    figure = slide_overview(
        thumbnail(1000, 1000), (8.0, 8.0), areas=areas, points=points,
        patches=boxes(5000, 8000.0, 128.0),
    )  # fmt: skip
    first = figure_bytes(figure, PictureFormat.PNG)
    assert time.process_time() - start < 10.0
    assert first == figure_bytes(figure, PictureFormat.PNG)


def test_boxes_of_another_shape_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"patches to draw: found shape \(2, 3\)"):
        slide_overview(thumbnail(20, 20), (1.0, 1.0), patches=np.zeros((2, 3)))


SQUARE = np.array([(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)])


def test_annotations_are_sorted_by_name_and_scaled() -> None:
    marks = gather_marks(
        [("tumor", (SQUARE, SQUARE / 2)), ("cell", (SQUARE / 50,))],
        [("cell", (10.0, 20.0)), ("other", (0.0, 0.0))],
        (1.0, 0.5),
    )
    assert list(marks) == ["tumor", "cell", "other"]
    assert marks["tumor"].lines[0].tolist() == [[0, 0], [100, 0], [100, 50], [0, 50], [0, 0]]
    assert len(marks["tumor"].lines) == 2
    assert [point.tolist() for point in marks["cell"].points] == [[1.0, 0.5], [10.0, 10.0]]
    assert marks["cell"].label("cell") == "cell (areas 1, points 1)"
    assert marks["other"].label("other") == "other (1)"


def test_vertices_that_cannot_be_told_apart_are_left_out() -> None:
    angles = np.linspace(0.0, 2 * np.pi, 100_000)
    circle = 1000 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    (line,) = gather_marks([("a", (circle,))], [], (0.02, 0.02))["a"].lines
    assert len(line) < 500
    assert np.hypot(*line.T) == pytest.approx(20.0)


def test_boxes_become_closed_rings() -> None:
    lines = box_lines(np.array([[2.0, 4.0, 6.0, 8.0]]), (0.5, 0.25))
    assert lines.tolist() == [[[1, 1], [3, 1], [3, 2], [1, 2], [1, 1]]]
    assert box_lines(np.zeros((0, 4)), (1.0, 1.0)).shape == (0, 5, 2)


@pytest.mark.parametrize("shape", [(4,), (3, 5)])
def test_other_boxes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"expected \(N, 4\)"):
        box_lines(np.zeros(shape), (1.0, 1.0))
