"""Figures inside the report page: one SVG element each, that keeps to itself.

Matplotlib writes an SVG file: ids that repeat in the next figure, a style rule for every
element of the document, references to namespaces. A page with ten figures needs each to be
closed in itself, described for those who do not see it, and legible on a dark ground.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from markupsafe import Markup

from skiptool.figures.style import TONES, picture, readable
from skiptool.names import PictureFormat

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_svg"]

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
