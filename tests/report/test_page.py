"""Tests of ``page``."""

from __future__ import annotations

import io
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.image import imread

from skiptool.figures.heatmap import Column, Row, iou_matrix
from skiptool.figures.masks import PLAIN, show_image, stroke
from skiptool.figures.sheets import Sheet
from skiptool.figures.style import INK, PictureFormat, drawing_style, figure_bytes
from skiptool.names import Kind
from skiptool.records import Table
from skiptool.report.exhibit import Exhibit
from skiptool.report.page import Origin, as_svg, render_page

EVIL = "<script>alert('x')</script>\"&\x00\u202e\ud800"
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Collects tags, attributes and text; fails on a tag closed out of turn."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag}/> closes itself outside of a figure"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data.strip()))

    def within(self, tag: str) -> list[str]:
        return [text for inside, text in self.text if inside == tag and text]


COUNTS = Table("counts", {"architecture": ["baseline", "L1"], "resnet18": [14_328_354, None]})


def exhibit(anchor: str = "a-1", heading: str = "A", **new: Any) -> Exhibit:  # noqa: ANN401
    facts: dict[str, Any] = {"title": heading, "caption": "c", "table": COUNTS, "numbers": []}
    return Exhibit(topic="a", anchor=anchor, heading=heading, **{**facts, **new})


def matrix(anchor: str, value: float) -> Exhibit:
    drawn = iou_matrix(np.array([[value]]), [Row(EVIL, EVIL)], [Column(EVIL)])
    svg = as_svg(drawn, EVIL, EVIL)
    table = Table(EVIL, {EVIL: [EVIL], "IoU": [value]})
    facts = {"caption": f"n = 24 {EVIL}", "sentences": (EVIL,)}
    return exhibit(anchor, f"IoU {EVIL}", figure=svg, table=table, **facts)


def page() -> str:
    return render_page(
        EVIL,
        [
            matrix("iou-1", 0.25),
            matrix("iou-2", 0.75),
            exhibit("parameters-1", "Parameters", caption="Table II"),
        ],
        [Origin(EVIL, "report", "a1b2", f"skiptool report {EVIL}", "0.1.0", "2026-11-22")],
        summary=[EVIL],
        facts={EVIL: EVIL},
    )


def test_captions_link_to_the_lineage_of_their_sources() -> None:
    """The first three files of the kinds that an exhibit was made from, and how many more."""
    origins = [
        Origin(f"{kind} {n} {EVIL}", kind, "a1", f"skiptool {kind} {n}", "0.2.0", "2026-11-22")
        for kind, number in (("report", 1), ("shift", 5), ("predictions", 1))
        for n in range(number)
    ]
    parts = [
        exhibit(f"a-{n}", sources=kinds)
        for n, kinds in enumerate(
            ((Kind.SHIFT,), (Kind.SHIFT, Kind.PREDICTIONS), (Kind.MASKS,), ())
        )
    ]
    found = Reader(render_page("t", parts, origins))
    links = [attrs["href"] for tag, attrs in found.tags if tag == "a"][5:]
    first = ["#how-2", "#how-3", "#how-4", "#how"]
    assert links == ["#how", *first, *first]
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert [each for each in ids if each and each.startswith("how-")] == [
        f"how-{n}" for n in range(1, 8)
    ]
    assert [text for text in found.within("a") if "more" in text] == ["2 more", "3 more"]


def test_the_list_of_files_says_what_to_cite() -> None:
    (cite,) = [text for text in Reader(page()).within("p") if text.startswith("Please cite ")]
    assert "Rethinking U-net Skip Connections for Biomedical Image Segmentation" in cite
    assert "skiptool 0.1.0" in cite  # the version that wrote the page


def test_tags_are_balanced_and_ids_are_unique() -> None:
    ids = [attrs["id"] for _, attrs in Reader(page()).tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {"about-iou-1", "iou-2", "how", "figure-1", "figure-2", "table-1"} <= set(ids)


def test_data_are_escaped_and_encodable() -> None:
    text = page()
    text.encode()
    assert "\x00" not in text
    assert "\u202e" not in text
    assert "<script>alert" not in text
    assert [tag for tag, _ in Reader(text).tags].count("script") == 1


def test_plain_strings_are_escaped_as_figures() -> None:
    assert "<img" not in render_page("t", [exhibit(figure="<img src=x onerror=alert(1)>")], [])


@pytest.mark.long
def test_page_makes_no_requests() -> None:
    reader = Reader(page())
    links = [
        value or ""
        for _, attrs in reader.tags
        for name, value in attrs.items()
        if name in ("src", "href", "xlink:href", "srcset", "action", "data")
    ]
    assert links
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert set(re.findall(r"https?://[^\s\"'<)]*", page())) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in page()
    assert "url(http" not in page()


def test_contents_link_to_the_sections() -> None:
    reader = Reader(page())
    ids = {attrs.get("id") for _, attrs in reader.tags}
    targets = [attrs["href"] for tag, attrs in reader.tags if tag == "a"]
    assert targets == [
        *("#about-iou-1", "#iou-1", "#iou-2", "#about-parameters-1", "#how"),
    ]
    assert {str(target)[1:] for target in targets} <= ids


def test_security_policy_allows_only_the_script() -> None:
    reader = Reader(page())
    (script,) = re.findall(r"<script>(.*?)</script>", page(), flags=re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = next(str(attrs["content"]) for _, attrs in reader.tags if "http-equiv" in attrs)
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_figures_and_tables_are_numbered_separately() -> None:
    assert Reader(page()).within("b") == ["Figure 1.", "Figure 2.", "Table 1."]


def test_figures_are_described_for_screen_readers() -> None:
    reader = Reader(page())
    pictures = [attrs for tag, attrs in reader.tags if tag == "svg"]
    ids = {attrs.get("id") for _, attrs in reader.tags}
    assert len(pictures) == 2
    for attrs in pictures:
        assert attrs["role"] == "img"
        assert set(str(attrs["aria-labelledby"]).split()) <= ids


def test_numeric_cells_have_sort_keys() -> None:
    table = Table("t", {"name": ["b", "a"], "IoU": [0.94371, float("nan")], "n": [1_234_567, None]})
    text = render_page("t", [exhibit(table=table)], [])
    assert "<td>b</td>" in text
    assert '<td class="number" data-key="0.94371">0.944</td>' in text
    assert '<td class="number" data-key="1234567">1,234,567</td>' in text
    assert text.count('data-key="">–</td>') == 2
    assert '<th scope="col" class="number">IoU</th>' in text
    assert '<th scope="col">name</th>' in text


def test_page_has_styles_for_dark_print_and_small_screens() -> None:
    text = page()
    for rule in ("prefers-color-scheme: dark", "@media print", "width=device-width"):
        assert rule in text
    for tone in set(re.findall(r"var\(--figure-(\w+)", text)):
        assert text.count(f"--figure-{tone}:") == 3


def test_empty_page_is_rendered() -> None:
    assert Reader(render_page("empty", [], [])).within("h1") == ["empty"]


@pytest.mark.long
def test_page_is_deterministic() -> None:
    assert page() == page()


def test_contents_list_exhibits_of_sections_with_several() -> None:
    parts = [exhibit(f"part-{n}", "S", title=f"Part {n} {EVIL}") for n in (1, 2)]
    reader = Reader(render_page("t", [*parts, exhibit("alone-1", "Alone")], []))
    targets = [attrs["href"] for tag, attrs in reader.tags if tag == "a"]
    assert targets == [
        *("#about-part-1", "#part-1", "#part-2", "#about-alone-1", "#how"),
    ]
    assert {str(target)[1:] for target in targets} <= {attrs.get("id") for _, attrs in reader.tags}
    assert len(reader.within("h3")) == 2  # a title that says what its section says stands once


@pytest.mark.parametrize(("size", "wraps"), [(40, False), (41, True), (200, True)])
def test_long_cells_may_wrap(size: int, wraps: bool) -> None:
    table = Table("t", {"x" * size: ["y" * size, 'z"'], "n": [1, 2]})
    text = render_page("t", [exhibit(table=table)], [])
    assert text.count('class="long"') == (2 if wraps else 0)
    assert '<td class="number" data-key="1">' in text


SVG = "{http://www.w3.org/2000/svg}"


def matrix_of_inline(value: float = 0.5) -> Figure:
    values = np.array([[value, np.nan]])  # the hatched cell needs a pattern, by its id
    return iou_matrix(values, [Row("baseline", "resnet18")], [Column("original"), Column("0.5")])


def ids(svg: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', svg))


def test_svg_is_well_formed_described_and_sized() -> None:
    svg = as_svg(matrix_of_inline(), "IoU <b>&", "one 'cell'")
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


def test_svg_references_stay_within_the_figure() -> None:
    one, other = (as_svg(matrix_of_inline(value), "t", "d") for value in (0.5, 0.6))
    for svg in (one, other):
        targets = re.findall(r"url\(#([^)]+)\)", svg) + re.findall(r'href="#([^"]+)"', svg)
        assert targets
        assert set(targets) <= ids(svg)
        assert len(re.findall(r'\bid="', svg)) == len(ids(svg))
    assert not ids(one) & ids(other)


def test_svg_style_rules_stay_within_the_figure() -> None:
    svg = as_svg(matrix_of_inline(), "t", "d")
    tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(svg).iter()}
    assert not tags & {"style", "script", "metadata", "image", "a"}
    assert re.findall(r"https?:[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def test_svg_keeps_text_and_drawn_elements() -> None:
    figure = matrix_of_inline()
    svg = as_svg(figure, "t", "d")
    for text in ("baseline", "resnet18", "original", "0.50", "–"):
        assert f">{text}</text>" in svg
    whole = ElementTree.fromstring(figure_bytes(figure, PictureFormat.SVG))
    root = ElementTree.fromstring(svg)
    for tag in ("text", "path", "use", "pattern", "rect"):
        assert len(list(root.iter(SVG + tag))) == len(list(whole.iter(SVG + tag))), tag


def pictures(places: list[tuple[int, int]]) -> tuple[list[np.ndarray], Figure]:
    """Return a sheet with two images, the first of which comes at all places but one."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(2)]
    with drawing_style():
        sheet = Sheet()
        sheet.resize(300, 200)
        show_image(sheet.add_panel(250, 150, (40, 30)), images[1])
        for left, top in places:
            show_image(sheet.add_panel(left, top, (40, 30)), images[0])
    return images, sheet.figure


@pytest.mark.skipif(
    matplotlib.__version__ < "3.11", reason="earlier Matplotlib draws images a dot larger"
)
def test_svg_stores_repeated_images_once_and_unchanged() -> None:
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


def test_svg_outlines_are_shortened_and_unchanged() -> None:
    ring = np.array([(10, 10), (60, 10), (60, 40), (50, 50), (10, 50), (10, 10)], dtype=float)
    with drawing_style():
        sheet = Sheet()
        sheet.resize(300, 100)
        axes = sheet.add_panel(0, 0, (300, 100))
        axes.set(xlim=(0.0, 300.0), ylim=(100.0, 0.0))
        stroke(axes, [ring], PLAIN, 1.0)
    assert 'd="M 2.4 2.4H14.4V9.6 L 12 12H2.4V2.4"' in as_svg(sheet.figure, "t", "d")


def test_svg_tones_are_variables_with_printed_fallback() -> None:
    svg = as_svg(matrix_of_inline(), "t", "d")
    for tone in ("ink", "soft", "line", "hole"):
        assert f"var(--figure-{tone}, #" in svg
    assert f'fill="{INK}"' not in svg
    assert "#1b1b1b" in svg  # on a coloured cell black stays black


def test_svg_coordinates_are_rounded_invisibly() -> None:
    with drawing_style():
        figure = Figure(figsize=(1.0, 1.0))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set(xlim=(0.0, 1.0), ylim=(1.0, 0.0))
        axes.plot([1 / 3, 2 / 3], [1 / 3, 2 / 3])
    assert "M 24 24 L 48 48" in as_svg(figure, "t", "d")


def test_svg_is_deterministic() -> None:
    assert as_svg(matrix_of_inline(), "t", "d") == as_svg(matrix_of_inline(), "t", "d")
