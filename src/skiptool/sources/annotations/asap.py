"""ASAP's XML: ``ASAP_Annotations`` with ``Annotations`` and ``AnnotationGroups``.

An ``Annotation`` has a ``Type`` and ``Coordinates`` of ``Coordinate`` (``Order``, ``X``, ``Y``;
pixels of level 0, never cropped; decimal commas are accepted). Its class is its ``PartOfGroup``;
"None" is no class. Polygon, Spline (vertices joined by straight lines, as in ASAP's own masks) and
Rectangle are areas, Dot and PointSet points, one shape per vertex; Measurement is skipped. Groups
may be declared and unused. The file has no paint order (ASAP asks for one when it makes masks):
large areas come first, so that exclusions (CAMELYON's group ``_2``) are cut out of the tumour that
contains them. The file describes one slide.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element

import numpy as np

from skiptool.errors import SourceError
from skiptool.sources.annotations.shapes import (
    LINE,
    NO_VERTICES,
    AnnotationFile,
    ListedSlide,
    Parsed,
    Skipped,
    box,
    largest_first,
    parse_vertices,
    point,
    polygon,
    read_records,
    record_ids,
    to_text,
)

if TYPE_CHECKING:
    from skiptool.records import Float64

ROOT: Final = "ASAP_Annotations"
"""Name of the root element."""

_AREAS: Final = ("Polygon", "Spline", "Rectangle")
_POINTS: Final = ("Dot", "PointSet")
_SKIPPED: Final = ("Measurement", "None")


def open_asap(root: Element, where: str) -> AnnotationFile:
    """Prepare reading the annotations of a file."""
    annotations = root.findall("./Annotations/Annotation")
    ids = record_ids([annotation.get("Name") for annotation in annotations])
    records = list(zip(ids, annotations, strict=True))

    def read(_: ListedSlide | None) -> list[Parsed]:
        return largest_first(read_records(records, _shapes, f"{where}: annotation"))

    return AnnotationFile("ASAP XML", read, by_name=False)


def _shapes(annotation: Element, record: str, where: str) -> Iterator[Parsed]:
    kind, group = annotation.get("Type"), to_text(annotation.get("PartOfGroup"))
    name = "" if group == "None" else group
    if kind in _SKIPPED:
        yield Skipped(LINE if kind == "Measurement" else NO_VERTICES)
    elif kind in _POINTS:
        points = _coordinates(annotation, where)
        yield from (point(name, vertex[None], record) for vertex in points)
        if not len(points):
            yield Skipped(NO_VERTICES)
    elif kind in _AREAS:
        corners = _coordinates(annotation, where)
        if kind == "Rectangle" and len(corners) == 2:
            yield box(name, corners, record)
        else:
            yield polygon(name, [corners], record)
    else:
        raise SourceError(
            f"{where}: has type {kind or 'unknown'}; expected one of "
            f"{', '.join((*_AREAS, *_POINTS, *_SKIPPED))}"
        )


def _coordinates(annotation: Element, where: str) -> Float64:
    rows = [
        [(coordinate.get(key) or "").replace(",", ".") for key in ("Order", "X", "Y")]
        for coordinate in annotation.findall("./Coordinates/Coordinate")
    ]
    corners = parse_vertices([row[1:] for row in rows] or np.empty((0, 2)), where)
    order = [row[0] for row in rows]
    if not all(number.isdecimal() for number in order):
        return corners  # in the order of the file
    return corners[np.argsort([int(number) for number in order], kind="stable")]
