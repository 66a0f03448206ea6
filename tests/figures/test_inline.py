from __future__ import annotations

import io
import re
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.image import imread

from skiptool.figures.dots import dot_axes, lay
from skiptool.figures.inline import as_svg
from skiptool.figures.matrix import Column, Row, iou_matrix
from skiptool.figures.pens import PLAIN, stroke
from skiptool.figures.style import INK, PictureFormat, drawing, inch_axes, picture

SVG = "{http://www.w3.org/2000/svg}"


def matrix(value: float = 0.5) -> Figure:
    values = np.array([[value, np.nan]])  # the hatched cell needs a pattern, by its id
    return iou_matrix(values, [Row("baseline", "resnet18")], [Column("original"), Column("0.5")])


def ids(svg: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', svg))


def test_it_is_well_formed_described_and_sized() -> None:
    svg = as_svg(matrix(), "IoU <b>&", "one 'cell'")
    root = ElementTree.fromstring(svg)
    assert isinstance(svg, Markup)
    assert root.tag == SVG + "svg"
    assert root.get("role") == "img"
    named = {child.get("id"): child.text for child in root[:2]}
    assert [named[key] for key in root.get("aria-labelledby", "").split()] == [
        "IoU <b>&",
        "one 'cell'",
    ]
    assert f"--width: {root.get('width')}" in root.get("style", "")


def test_references_lead_to_ids_of_the_same_figure_and_of_no_other() -> None:
    one, other = (as_svg(matrix(value), "t", "d") for value in (0.5, 0.6))
    for svg in (one, other):
        targets = re.findall(r"url\(#([^)]+)\)", svg) + re.findall(r'href="#([^"]+)"', svg)
        assert targets
        assert set(targets) <= ids(svg)
        assert len(re.findall(r'\bid="', svg)) == len(ids(svg))
    assert not ids(one) & ids(other)


def test_nothing_reaches_out_of_the_figure() -> None:
    svg = as_svg(matrix(), "t", "d")
    tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(svg).iter()}
    assert not tags & {"style", "script", "metadata", "image", "a"}
    assert re.findall(r"https?:[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def test_text_is_text_and_nothing_drawn_is_lost() -> None:
    figure = matrix()
    svg = as_svg(figure, "t", "d")
    for text in ("baseline", "resnet18", "original", "0.50", "–"):
        assert f">{text}</text>" in svg
    whole = ElementTree.fromstring(picture(figure, PictureFormat.SVG))
    root = ElementTree.fromstring(svg)
    for tag in ("text", "path", "use", "pattern", "rect"):
        assert len(list(root.iter(SVG + tag))) == len(list(whole.iter(SVG + tag))), tag


def pictures(places: list[tuple[int, int]]) -> tuple[list[np.ndarray], Figure]:
    """Return a sheet with two images, the first of which comes at all places but one."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(2)]
    with drawing():
        figure, axes = dot_axes(300, 200)
        lay(axes, images[1], 250, 150)
        for left, top in places:
            lay(axes, images[0], left, top)
    return images, figure


def test_pictures_keep_every_pixel_and_stand_in_the_page_once() -> None:
    places = [(10, 20), (110, 20), (10, 120)]
    images, figure = pictures(places)
    root = ElementTree.fromstring(as_svg(figure, "t", "d"))
    drawn = list(root.iter(SVG + "image"))
    for image, element in zip([images[1], images[0]], drawn, strict=True):
        head, _, data = element.get("href", "").partition(",")
        assert head == "data:image/png;base64"
        seen = imread(io.BytesIO(b64decode(data, validate=True)))[::-1, :, :3]
        assert (np.rint(255 * seen) == image).all()
        assert element.get("transform", "").startswith("scale(1 -1)")
    moved = [use for use in root.iter(SVG + "use") if use.get("href") == f"#{drawn[1].get('id')}"]
    for use, (left, top) in zip(moved, places[1:], strict=True):  # 300 dots are 72 points
        assert float(use.get("x", "")) == pytest.approx(0.24 * (left - 10), abs=0.01)
        assert float(use.get("y", "")) == pytest.approx(0.24 * (top - 20), abs=0.01)


def test_outlines_are_written_short_and_stay_where_they_are() -> None:
    ring = np.array([(10, 10), (60, 10), (60, 40), (50, 50), (10, 50), (10, 10)], dtype=float)
    with drawing():
        figure, axes = dot_axes(300, 100)
        stroke(axes, [ring], PLAIN, 1.0)
    assert 'd="M 2.4 2.4H14.4V9.6 L 12 12H2.4V2.4"' in as_svg(figure, "t", "d")


def test_tones_are_variables_with_the_printed_colour_behind() -> None:
    svg = as_svg(matrix(), "t", "d")
    for tone in ("ink", "soft", "line", "hole"):
        assert f"var(--figure-{tone}, #" in svg
    assert f'fill="{INK}"' not in svg
    assert "#1b1b1b" in svg  # on a coloured cell black stays black


def test_places_are_rounded_by_less_than_can_be_seen() -> None:
    with drawing():
        figure, axes = inch_axes(1.0, 1.0)
        axes.plot([1 / 3, 2 / 3], [1 / 3, 2 / 3])
    assert "M 24 24 L 48 48" in as_svg(figure, "t", "d")


def test_same_figure_same_text() -> None:
    assert as_svg(matrix(), "t", "d") == as_svg(matrix(), "t", "d")
