"""The report page: one self-contained HTML file.

It makes no requests (its content security policy forbids them), its only script is the few lines of
the template that sort tables, and all data are escaped. The page is readable without the script.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from skiptool.figures.style import TONES, figure_bytes, label_text
from skiptool.names import PictureFormat
from skiptool.records import Table
from skiptool.report.exhibit import Cell, Exhibit, group_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINKED: Final = 3  # files that a caption names; more are counted
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)
_LONG: Final = 40  # characters; a shorter cell stays on one line


@dataclass(frozen=True, slots=True)
class Origin:
    """How one artifact behind the page was made: its lineage for people."""

    name: str
    kind: str
    id: str
    command: str
    version: str
    created: str


@dataclass(frozen=True, slots=True)
class _PageCell:
    text: str
    key: str | None  # sort key of a numeric column; an empty one sorts last


def render_page(
    title: str,
    exhibits: Sequence[Exhibit],
    lineage: Sequence[Origin],
    *,
    summary: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
    caution: str = "",
) -> str:
    """Render the report as one HTML document.

    Parameters
    ----------
    title : str
    exhibits : sequence of Exhibit
        Named, grouped by heading (`skiptool.report.exhibit.name_exhibits`), and drawn; one without
        a figure is a numbered table.
    lineage : sequence of Origin
        The report itself first, then its inputs.
    summary : sequence of str
        Main findings, as paragraphs below the title.
    facts : mapping of str to str, optional
        Data behind the whole page (dataset, images, folds, bins), by name.
    caution : str
        Limit of the whole report, highlighted below the title.

    Returns
    -------
    str
        To be written as UTF-8; equal arguments give equal text.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["rows"] = _rows
    environment.filters["heads"] = _heads
    environment.filters["classes"] = _classes
    environment.filters["sha256"] = _digest
    environment.filters["sources"] = partial(_sources, lineage)
    source = files("skiptool.report").joinpath("page.html.j2").read_text("utf-8")
    sections = group_by(exhibits, lambda exhibit: exhibit.heading)
    return environment.from_string(source).render(
        title=title,
        sections=[
            {
                "anchor": f"about-{members[0].anchor}",
                "title": heading,
                "exhibits": members,
            }
            for heading, members in sections.items()
        ],
        lineage=lineage,
        summary=summary,
        facts=facts or {},
        caution=caution,
    )


def _printable(value: object) -> object:
    """Drop characters that HTML cannot hold or that reverse the direction of text."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNPRINTABLE.sub("", value)
    return value


def _digest(script: str) -> str:
    """Hash the script for the page's content security policy."""
    return b64encode(sha256(script.encode()).digest()).decode()


def _sources(lineage: Sequence[Origin], exhibit: Exhibit) -> tuple[list[tuple[str, str]], int]:
    """Return anchor and name of the first files behind an exhibit, and the number of others."""
    links = [
        (f"how-{number}", origin.name)
        for number, origin in enumerate(lineage, start=1)
        if origin.kind in exhibit.sources
    ]
    return links[:_LINKED], len(links[_LINKED:])


def _rows(table: Table) -> list[list[_PageCell]]:
    columns = [_column(cells) for cells in table.columns.values()]
    return [list(row) for row in zip(*columns, strict=True)]


def _heads(table: Table) -> list[tuple[str, bool]]:
    """Return the name of each column, and whether it holds numbers."""
    return [(name, _is_numeric(cells)) for name, cells in table.columns.items()]


def _classes(text: str, numeric: bool) -> Markup:
    """Return the attribute of a cell: numbers are right-aligned, long texts may wrap."""
    name = "number" if numeric else "long" if len(text) > _LONG else ""
    return Markup(f' class="{name}"') if name else Markup()


def _is_numeric(cells: Sequence[Cell]) -> bool:
    return all(cell is None or isinstance(cell, int | float) for cell in cells)


def _column(cells: Sequence[Cell]) -> list[_PageCell]:
    if not _is_numeric(cells):
        return [_PageCell(_text(cell), None) for cell in cells]
    return [_PageCell(_text(cell), "" if _is_missing(cell) else str(cell)) for cell in cells]


def _is_missing(value: Cell) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: Cell) -> str:
    """Format a cell, with a thousands separator, and three digits for scores.

    Examples
    --------
    >>> [_text(value) for value in (14328354, 0.9437, 0.00042, None, float("nan"), "fold 1")]
    ['14,328,354', '0.944', '0.00042', '–', '–', 'fold 1']
    """
    if value is None or _is_missing(value):
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


# Figures as SVG elements that are self-contained.
#
# Matplotlib writes an SVG file: ids that repeat in the next figure, a style rule for every element
# of the document, references to namespaces. In a page with many figures each needs ids of its own,
# a description for screen readers, and colours that are legible on a dark ground.

_SVG: Final = "http://www.w3.org/2000/svg"
_REFERENCE: Final = re.compile(r"(url\(#|^#)([^)]+)")
_UPSIDE_DOWN: Final = "scale(1 -1) translate(0 -"
_NUMBER: Final = re.compile(r"-?\d+\.\d+")
_STEP: Final = re.compile(r"([MLz])(?: (-?[\d.]+) (-?[\d.]+))?")
_STRAIGHT: Final = re.compile(r"M -?[\d.]+ -?[\d.]+(?: [ML] -?[\d.]+ -?[\d.]+)+(?: z)?")
_PLACES: Final = ("d", "x", "y", "transform")
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")


def as_svg(figure: Figure, title: str, description: str) -> Markup:
    """Turn a figure into an SVG element for an HTML page.

    Ids are made unique, style rules that would reach the rest of the page are moved to the
    root, and the tones of ink and ground become the page's CSS variables ``--figure-ink``,
    ``-soft``, ``-line``, ``-hole`` and ``-baseline``, with the printed colour as fallback.

    Parameters
    ----------
    figure : Figure
    title, description : str
        For screen readers.

    Returns
    -------
    Markup
        One ``<svg role="img">`` with its printed ``width`` in points.
    """
    raw = figure_bytes(figure, PictureFormat.SVG, ground="none")
    prefix = "f" + sha256(raw + title.encode(errors="replace")).hexdigest()[:10] + "-"
    root = ElementTree.fromstring(raw)
    values = [value for element in root.iter() for value in element.attrib.values()]
    used = {found[2] for value in values for found in _REFERENCE.finditer(value)}
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        element.tail = None
        _localise(element, prefix, used)
    _slim(root)
    _share(root, prefix)
    _describe(root, prefix, title, description)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _localise(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Make ids unique and drop unused ones, round coordinates, name the tones."""
    rules = []
    for key, value in list(element.attrib.items()):
        del element.attrib[key]
        if key in ("style", "fill"):  # only rules, not attributes, may name a variable
            rules.append(value if key == "style" else f"fill: {value}")
        elif key == "id":
            if value in used:
                element.set(key, prefix + value)
        elif value.startswith("rotate(-0 "):
            continue
        elif key in _PLACES:
            rounded = _NUMBER.sub(lambda n: _rounded(float(n[0])), " ".join(value.split()))
            element.set(key, _shortened(rounded) if key == "d" else rounded)
        else:
            name = key.rpartition("}")[2]  # href needs no namespace any more
            element.set(name, _referring(value, prefix))
    if rules:
        style = _referring("; ".join(rules), prefix)
        element.set("style", _COLOUR.sub(_variable, style))


def _referring(value: str, prefix: str) -> str:
    if value.startswith("data:"):  # the pixels of a picture, broken into lines
        return "".join(value.split())
    return _REFERENCE.sub(rf"\g<1>{prefix}\2", value)


def _rounded(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _shortened(path: str) -> str:
    """Write horizontal lines as H and vertical ones as V, as outlines of masks are made of.

    Examples
    --------
    >>> _shortened("M 1 2 L 3 2 L 3 4 L 5 6 z")
    'M 1 2H3V4 L 5 6 z'
    """
    if _STRAIGHT.fullmatch(path) is None:
        return path
    pieces, x, y = list[str](), "", ""
    for letter, to_x, to_y in _STEP.findall(path):
        if letter == "L" and to_y == y:
            pieces.append(f"H{to_x}")
        elif letter == "L" and to_x == x:
            pieces.append(f"V{to_y}")
        else:
            pieces.append(f" {letter} {to_x} {to_y}" if to_x else " z")
        x, y = to_x, to_y
    return "".join(pieces).strip()


def _variable(colour: re.Match[str]) -> str:
    tone = TONES.get(colour[0])
    return f"var(--figure-{tone}, {colour[0]})" if tone else colour[0]


def _slim(parent: ElementTree.Element) -> None:
    """Remove elements that draw nothing, and groups that only held an id."""
    kept: list[ElementTree.Element] = []
    for child in parent:
        _slim(child)
        if child.tag in ("metadata", "style") or (child.tag in ("g", "defs") and not len(child)):
            continue
        kept += list(child) if child.tag == "g" and not child.attrib else [child]
    parent[:] = kept
    if kept:
        parent.text = None


def _share(root: ElementTree.Element, prefix: str) -> None:
    """Store the pixels of a repeated picture once."""
    seen: dict[tuple[str | None, ...], tuple[str, float, float]] = {}
    for image in root.iter("image"):
        turned = image.get("transform", "")
        place = float(image.get("x", 0)), float(image.get("y", 0))
        same = (image.get("href"), turned, image.get("width"), image.get("height"))
        if same not in seen:
            seen[same] = (f"{prefix}image{len(seen)}", *place)
            image.set("id", seen[same][0])
        elif turned.startswith(_UPSIDE_DOWN):  # as Matplotlib writes all that fit the sheet's dots
            name, x, y = seen[same]
            image.tag = "use"
            image.attrib.clear()
            image.set("href", f"#{name}")
            image.set("x", _rounded(place[0] - x))
            image.set("y", _rounded(y - place[1]))


def _describe(root: ElementTree.Element, prefix: str, title: str, description: str) -> None:
    width = root.get("width")
    root.attrib.update(
        {
            "xmlns": _SVG,
            "role": "img",
            "aria-labelledby": f"{prefix}title {prefix}desc",
            "style": f"--width: {width}; stroke-linejoin: round; stroke-linecap: butt",
        }
    )
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ElementTree.Element(tag, {"id": prefix + tag})
        child.text = label_text(text, limit=2000)
        root.insert(place, child)
