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
from functools import partial
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
    label,
    largest_first,
    parse_vertices,
    point,
    polygon,
    read_record,
    record_ids,
)

if TYPE_CHECKING:
    from skiptool.records import Float64

ROOT: Final = "ASAP_Annotations"
"""Name of the root element."""

_AREAS: Final = ("Polygon", "Spline", "Rectangle")
_POINTS: Final = ("Dot", "PointSet")
_LEFT_OUT: Final = ("Measurement", "None")


def open_asap(root: Element, where: str) -> AnnotationFile:
    """Prepare reading the annotations of a file."""
    return AnnotationFile("ASAP XML", partial(_found, root, where), by_name=False)


def _found(root: Element, where: str, slide: ListedSlide | None) -> list[Parsed]:
    del slide  # the file describes one slide only
    annotations = root.findall("./Annotations/Annotation")
    ids = record_ids([one.get("Name") for one in annotations])
    return largest_first(
        found
        for record, one in zip(ids, annotations, strict=True)
        for found in read_record(partial(_shapes, one, record, f"{where}: annotation {record}"))
    )


def _shapes(annotation: Element, record: str, where: str) -> Iterator[Parsed]:
    kind, group = annotation.get("Type"), label(annotation.get("PartOfGroup"))
    name = "" if group == "None" else group
    if kind in _LEFT_OUT:
        yield Skipped(LINE if kind == "Measurement" else NO_VERTICES)
    elif kind in _POINTS:
        places = _coordinates(annotation, where)
        yield from (point(name, at[None], record) for at in places)
        if not len(places):
            yield Skipped(NO_VERTICES)
    elif kind in _AREAS:
        corners = _coordinates(annotation, where)
        two = kind == "Rectangle" and len(corners) == 2
        yield box(name, corners, record) if two else polygon(name, [corners], record)
    else:
        raise SourceError(
            f"{where}: has type {kind or 'unknown'}; expected one of "
            f"{', '.join((*_AREAS, *_POINTS, *_LEFT_OUT))}"
        )


def _coordinates(annotation: Element, where: str) -> Float64:
    rows = [
        [(one.get(key) or "").replace(",", ".") for key in ("Order", "X", "Y")]
        for one in annotation.findall("./Coordinates/Coordinate")
    ]
    pairs = parse_vertices([row[1:] for row in rows] or np.empty((0, 2)), where)
    order = [row[0] for row in rows]
    if not all(one.isdecimal() for one in order):
        return pairs  # without numbers, in the order of the file
    return pairs[np.argsort([int(one) for one in order], kind="stable")]
