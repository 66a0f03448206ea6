"""The report page: one self-contained HTML file.

The page makes no requests (its content security policy forbids them) and escapes all data. Its only
script sorts tables; the page is readable without it.
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

_MAX_LINKS: Final = 3  # files named in a caption; more are counted
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)
_LONG: Final = 40  # characters of a cell that may wrap


@dataclass(frozen=True, slots=True)
class Origin:
    """Lineage of an artifact behind the page, as displayed."""

    name: str
    kind: str
    id: str
    command: str
    version: str
    created: str


@dataclass(frozen=True, slots=True)
class _PageCell:
    text: str
    key: str | None  # sort key in a numeric column; if empty, the cell sorts last


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
    exhibits : sequence of Exhibit
        Named and grouped by heading (`skiptool.report.exhibit.name_exhibits`), and drawn. Exhibits
        without a figure are numbered as tables.
    lineage : sequence of Origin
        The report itself first, then its inputs.
    summary : sequence of str
        Main findings, as paragraphs below the title.
    facts : mapping of str to str, optional
        Data of the whole report (dataset, images, folds, bins), by name.
    caution : str
        Limitation of the whole report, highlighted below the title.

    Returns
    -------
    str
        To be encoded as UTF-8. Equal arguments give equal text.
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
    """Remove characters that HTML does not allow or that reverse the direction of text."""
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
    return links[:_MAX_LINKS], len(links[_MAX_LINKS:])


def _rows(table: Table) -> list[list[_PageCell]]:
    columns = [_column(cells) for cells in table.columns.values()]
    return [list(row) for row in zip(*columns, strict=True)]


def _heads(table: Table) -> list[tuple[str, bool]]:
    """Return the name of each column, and whether it is numeric."""
    return [(name, _is_numeric(cells)) for name, cells in table.columns.items()]


def _classes(text: str, numeric: bool) -> Markup:
    """Return the class attribute of a cell: numbers are right-aligned, long texts may wrap."""
    if numeric:
        return Markup(' class="number"')
    return Markup(' class="long"') if len(text) > _LONG else Markup()


def _is_numeric(cells: Sequence[Cell]) -> bool:
    return all(cell is None or isinstance(cell, int | float) for cell in cells)


def _column(cells: Sequence[Cell]) -> list[_PageCell]:
    if not _is_numeric(cells):
        return [_PageCell(_text(cell), None) for cell in cells]
    return [_PageCell(_text(cell), "" if _is_missing(cell) else str(cell)) for cell in cells]


def _is_missing(value: Cell) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: Cell) -> str:
    """Format a cell: integers with thousands separators, scores with three decimals.

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


# Figures as self-contained SVG elements.
#
# Matplotlib writes SVG files: ids repeat in other figures, and style rules apply to every element
# of a document. In a page of many figures, each needs unique ids, a description for screen readers,
# and colours that are legible on a dark background.

_SVG: Final = "http://www.w3.org/2000/svg"
_REFERENCE: Final = re.compile(r"(url\(#|^#)([^)]+)")
_UPSIDE_DOWN: Final = "scale(1 -1) translate(0 -"
_NUMBER: Final = re.compile(r"-?\d+\.\d+")
_STEP: Final = re.compile(r"([MLz])(?: (-?[\d.]+) (-?[\d.]+))?")
_STRAIGHT: Final = re.compile(r"M -?[\d.]+ -?[\d.]+(?: [ML] -?[\d.]+ -?[\d.]+)+(?: z)?")
_COORDINATES: Final = ("d", "x", "y", "transform")
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")


def as_svg(figure: Figure, title: str, description: str) -> Markup:
    """Turn a figure into an SVG element for an HTML page.

    Ids are made unique, style rules that would affect the rest of the page are moved to the
    root, and the tones of ink and background become the page's CSS variables ``--figure-ink``,
    ``-soft``, ``-line``, ``-hole`` and ``-baseline``, with the printed colour as fallback.

    Parameters
    ----------
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
    used = {match[2] for value in values for match in _REFERENCE.finditer(value)}
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        element.tail = None
        _localise(element, prefix, used)
    _slim(root)
    _share_images(root, prefix)
    _describe(root, prefix, title, description)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _localise(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Make ids unique, remove unused ones, round coordinates, and replace tones by variables."""
    rules = []
    for key, value in list(element.attrib.items()):
        del element.attrib[key]
        if key in ("style", "fill"):  # variables are allowed in rules, not in attributes
            rules.append(value if key == "style" else f"fill: {value}")
        elif key == "id":
            if value in used:
                element.set(key, prefix + value)
        elif value.startswith("rotate(-0 "):
            continue
        elif key in _COORDINATES:
            rounded = _NUMBER.sub(lambda n: _rounded(float(n[0])), " ".join(value.split()))
            element.set(key, _shortened(rounded) if key == "d" else rounded)
        else:
            name = key.rpartition("}")[2]  # href without its old namespace
            element.set(name, _with_prefix(value, prefix))
    if rules:
        style = _with_prefix("; ".join(rules), prefix)
        element.set("style", _COLOUR.sub(_variable, style))


def _with_prefix(value: str, prefix: str) -> str:
    """Prefix the ids that a value refers to, and join the lines of an embedded picture."""
    if value.startswith("data:"):
        return "".join(value.split())
    return _REFERENCE.sub(rf"\g<1>{prefix}\2", value)


def _rounded(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _shortened(path: str) -> str:
    """Write horizontal and vertical lines, of which outlines of masks consist, as H and V.

    Examples
    --------
    >>> _shortened("M 1 2 L 3 2 L 3 4 L 5 6 z")
    'M 1 2H3V4 L 5 6 z'
    """
    if _STRAIGHT.fullmatch(path) is None:
        return path
    pieces: list[str] = []
    x = y = ""
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
    """Remove elements that draw nothing, and groups without attributes."""
    children: list[ElementTree.Element] = []
    for child in parent:
        _slim(child)
        if child.tag in ("metadata", "style") or (child.tag in ("g", "defs") and not len(child)):
            continue
        children += list(child) if child.tag == "g" and not child.attrib else [child]
    parent[:] = children
    if children:
        parent.text = None


def _share_images(root: ElementTree.Element, prefix: str) -> None:
    """Store the pixels of repeated images once."""
    seen: dict[tuple[str | None, ...], tuple[str, float, float]] = {}
    for image in root.iter("image"):
        transform = image.get("transform", "")
        x, y = float(image.get("x", 0)), float(image.get("y", 0))
        key = (image.get("href"), transform, image.get("width"), image.get("height"))
        if key not in seen:
            seen[key] = (f"{prefix}image{len(seen)}", x, y)
            image.set("id", seen[key][0])
        elif transform.startswith(_UPSIDE_DOWN):  # as Matplotlib writes images that are not scaled
            name, first_x, first_y = seen[key]
            image.tag = "use"
            image.attrib.clear()
            image.set("href", f"#{name}")
            image.set("x", _rounded(x - first_x))
            image.set("y", _rounded(first_y - y))


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
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ElementTree.Element(tag, {"id": prefix + tag})
        child.text = label_text(text, limit=2000)
        root.insert(position, child)
