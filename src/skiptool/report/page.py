"""The report page: one HTML file that needs nothing but itself.

No request leaves it (its content security policy forbids them), its only script is the few
lines of the template that sort tables, and whatever comes from data is escaped. It is read
without that script as well.
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
from typing import TYPE_CHECKING, Final, TypeAlias
from xml.etree import ElementTree

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from skiptool.errors import ArgumentError
from skiptool.figures.style import TONES, picture, readable
from skiptool.names import PictureFormat
from skiptool.records import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Exhibit", "Origin", "Section", "as_svg", "render_page"]

_ANCHOR: Final = re.compile(r"[a-z][a-z0-9.-]*")
_RESERVED: Final = ("contents", "how")
_OF_ORIGIN: Final = re.compile(r"how-\d+")  # anchors of the files that the page was made from
_LINKED: Final = 3  # files that a caption names; more are counted
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)
_LONG: Final = 40  # characters; a shorter cell stands on one line
_Value: TypeAlias = str | int | float | None


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A numbered figure or table with its caption.

    Attributes
    ----------
    caption : str
        What is seen, with n, folds, shift, B and units.
    figure : Markup, optional
        What :func:`skiptool.report.page.as_svg` returned; a plain string would be escaped.
    table : Table, optional
        Alone it is a numbered table; beside a figure it holds the figure's numbers, folded.
    anchor : str
        What links to it and the table of numbers call it; by default its number on the page.
    title : str
        Stands above it, and in the contents where its section has several.
    sentences : tuple of str
        What is to be seen, below the title; those after the third are folded.
    kinds : tuple of str
        Kinds of the files that it was made from: its caption leads to them and their commands.
    """

    caption: str
    figure: Markup | None = None
    table: Table | None = None
    anchor: str = ""
    title: str = ""
    sentences: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under its own heading.

    Attributes
    ----------
    anchor : str
        Where the contents lead: small letters, digits and hyphens, once a page.
    title : str
    paragraphs : tuple of str
        Plain text before the exhibits.
    exhibits : tuple of Exhibit
    """

    anchor: str
    title: str
    paragraphs: tuple[str, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """How one artifact behind the page was made: its lineage, in words for people."""

    name: str
    kind: str
    id: str
    command: str
    version: str
    created: str


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    key: str | None  # what a numeric column is sorted by; None sorts last


def render_page(
    title: str,
    sections: Sequence[Section],
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
    sections : sequence of Section
    lineage : sequence of Origin
        The report itself first, then what it was made from.
    summary : sequence of str
        Paragraphs below the title: the outcome in words.
    facts : mapping of str to str, optional
        What the whole page rests on (dataset, images, folds, bins), by name.
    caution : str
        What limits all of it; stands out below the title.

    Returns
    -------
    str
        To be written as UTF-8; the same arguments give the same text.

    Raises
    ------
    ArgumentError
        If an anchor is used twice, is taken by the page or could not stand in a link.
    """
    named = [each.anchor for part in sections for each in part.exhibits if each.anchor]
    _check([section.anchor for section in sections] + named)
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
    source = files("skiptool.figures").joinpath("page.html.j2").read_text("utf-8")
    return environment.from_string(source).render(
        title=title,
        sections=sections,
        lineage=lineage,
        summary=summary,
        facts=facts or {},
        caution=caution,
    )


def _check(anchors: list[str]) -> None:
    for place, anchor in enumerate(anchors):
        taken = anchor in (*_RESERVED, *anchors[:place]) or _OF_ORIGIN.fullmatch(anchor)
        if not _ANCHOR.fullmatch(anchor) or taken:
            raise ArgumentError(
                f"part {anchor!r}: expected an anchor of small letters, digits, dots and hyphens, "
                f"none of {', '.join(_RESERVED)}, each once a page; choose another"
            )


def _printable(value: object) -> object:
    """Drop what HTML cannot hold and what turns the direction of the text around it."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNPRINTABLE.sub("", value)
    return value


def _digest(script: str) -> str:
    """Hash by which the page's security policy knows its own script."""
    return b64encode(sha256(script.encode()).digest()).decode()


def _sources(lineage: Sequence[Origin], exhibit: Exhibit) -> tuple[list[tuple[str, str]], int]:
    """Return anchor and name of the files that an exhibit was made from, and how many more."""
    found = [
        (f"how-{number}", origin.name)
        for number, origin in enumerate(lineage, start=1)
        if origin.kind in exhibit.kinds
    ]
    return found[:_LINKED], len(found[_LINKED:])


def _rows(table: Table) -> list[list[_Cell]]:
    columns = [_column(cells) for cells in table.columns.values()]
    return [list(row) for row in zip(*columns, strict=True)]


def _heads(table: Table) -> list[tuple[str, bool]]:
    """Name of each column, and whether it holds numbers."""
    return [(name, _numeric(cells)) for name, cells in table.columns.items()]


def _classes(text: str, numeric: bool) -> Markup:
    """Attribute of a cell: numbers stand right, a long name may take several lines."""
    found = "number" if numeric else "long" if len(text) > _LONG else ""
    return Markup(f' class="{found}"') if found else Markup()


def _numeric(cells: Sequence[_Value]) -> bool:
    return all(cell is None or isinstance(cell, int | float) for cell in cells)


def _column(cells: Sequence[_Value]) -> list[_Cell]:
    keyed = _numeric(cells)
    return [_Cell(_text(cell), _key(cell) if keyed else None) for cell in cells]


def _missing(value: _Value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: _Value) -> str:
    """Write a cell: thousands apart, three digits where a score needs them.

    Examples
    --------
    >>> [_text(value) for value in (14328354, 0.9437, 0.00042, None, float("nan"), "fold 1")]
    ['14,328,354', '0.944', '0.00042', '–', '–', 'fold 1']
    """
    if value is None or _missing(value):
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def _key(value: _Value) -> str:
    return "" if _missing(value) else str(value)


# -------------------------------------------------------------------------------------------------
# Figures inside the report page: one SVG element each, that keeps to itself.
#
# Matplotlib writes an SVG file: ids that repeat in the next figure, a style rule for every
# element of the document, references to namespaces. A page with ten figures needs each to be
# closed in itself, described for those who do not see it, and legible on a dark ground.


_SVG: Final = "http://www.w3.org/2000/svg"
_REFERENCE: Final = re.compile(r"(url\(#|^#)([^)]+)")
_UPSIDE_DOWN: Final = "scale(1 -1) translate(0 -"
_NUMBER: Final = re.compile(r"-?\d+\.\d+")
_STEP: Final = re.compile(r"([MLz])(?: (-?[\d.]+) (-?[\d.]+))?")
_STRAIGHT: Final = re.compile(r"M -?[\d.]+ -?[\d.]+(?: [ML] -?[\d.]+ -?[\d.]+)+(?: z)?")
_PLACES: Final = ("d", "x", "y", "transform")
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")


def as_svg(figure: Figure, title: str, description: str) -> Markup:
    """Turn a figure into an SVG element that stands inside an HTML page beside others.

    Ids are made unique, style rules that would reach the rest of the page are moved to the
    root, and the tones of ink and ground become the page's CSS variables ``--figure-ink``,
    ``-soft``, ``-line``, ``-hole`` and ``-baseline``, with the printed colour to fall back on.

    Parameters
    ----------
    figure : Figure
    title, description : str
        Read aloud in place of the picture: what it is, and what is to be seen in it.

    Returns
    -------
    Markup
        One ``<svg role="img">``; its ``width`` is in points as it would be printed.
    """
    raw = picture(figure, PictureFormat.SVG, ground="none")
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
    """Make ids unique and drop those to which nothing refers; round places; name the tones."""
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
            rounded = _NUMBER.sub(_rounded, " ".join(value.split()))
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


def _rounded(number: re.Match[str]) -> str:
    return _rounded_value(float(number[0]))


def _rounded_value(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _shortened(path: str) -> str:
    """Write lines to the side as H and those up and down as V: outlines of masks have no other.

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
    """Leave out what draws nothing, and groups that only held an id."""
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
    """Keep the pixels of a picture that stands in several places once."""
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
            image.set("x", _rounded_value(place[0] - x))
            image.set("y", _rounded_value(y - place[1]))


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
        child.text = readable(text, limit=2000)
        root.insert(place, child)
