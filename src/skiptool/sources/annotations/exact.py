"""Exports of the annotation server EXACT: responses of its REST interface, saved as JSON.

A list of annotations, or an object with ``results`` or ``annotations``, or a list of images with
their ``annotations``; next to them ``images`` and ``annotation_types`` (also within ``products``)
may explain ids. An annotation has ``id``, ``vector`` (``{"x1": ..., "y1": ..., "x2": ...}``, pixels
of level 0, or null), ``annotation_type`` and ``image`` (an id, or the object itself if requested by
``expand=annotation_type,image``), ``deleted``. Deleted ones are skipped, and so are those whose
vector has a ``frame`` other than 1, which are on another plane.

Vector kinds (``vector_type`` of the type): 1 and 6 box, 2 point (saved as the box of the small
ellipse that the viewer draws; its centre is the point), 3 line, 4 polyline, 5 polygon, 7 whole
image; lines and the whole image are skipped. Without a kind, one vertex is a point, two are a box,
more are a polygon. A type without name is called by its id. The server has no paint order: large
areas come first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import SourceError
from skiptool.sources.annotations.shapes import (
    DELETED,
    LINE,
    NO_VERTICES,
    OTHER_PLANE,
    WHOLE_IMAGE,
    AnnotationFile,
    Fields,
    ListedSlide,
    Parsed,
    Skipped,
    box,
    file_name,
    largest_first,
    parse_vertices,
    point,
    polygon,
    read_records,
    record_ids,
    size_of,
    to_text,
)

if TYPE_CHECKING:
    from skiptool.records import Float64

_SKIPPED_TYPES: Final = {"3": LINE, "4": LINE, "7": WHOLE_IMAGE}
"""Vector types without area: line, polyline, whole image."""

_POINT: Final = "2"
_POLYGON: Final = "5"


def is_exact(content: object) -> bool:
    """Recognise EXACT by the vectors of annotations, or by an empty page of results."""
    annotations = [annotation for annotation, _ in _annotations(content)]
    if annotations:
        return any("vector" in annotation for annotation in annotations)
    return isinstance(content, dict) and content.get("results") == []


def open_exact(content: object, where: str) -> AnnotationFile:
    """Group the annotations of an export by image; a single image is taken for the slide."""
    pairs = list(_annotations(content))
    ids = record_ids([annotation.get("id") for annotation, _ in pairs])
    listed_images = _by_id(content, "images")
    images: dict[str, Fields] = {}
    by_image = defaultdict(list)
    for record, (annotation, enclosing) in zip(ids, pairs, strict=True):
        image = enclosing or _look_up(annotation.get("image"), listed_images)
        key = to_text(image.get("id"))
        images[key] = image
        by_image[key].append((record, annotation))
    images = listed_images | images  # those without annotations too
    slides = tuple(
        ListedSlide(
            file_name(image.get("filename")) or file_name(image.get("name")), size_of(image), key
        )
        for key, image in images.items()
    )
    if len(slides) > 1 and not all(slide.name for slide in slides):
        raise SourceError(
            f"{where}: has annotations of {len(slides)} images, some without a name; export one "
            "image, or request expand=image,annotation_type"
        )
    types = _by_id(content, "annotation_types")

    def read_annotation(annotation: Fields, record: str, where: str) -> list[Parsed]:
        if annotation.get("deleted"):
            return [Skipped(DELETED)]
        return [_shape(annotation, types, record, where)]

    def read(slide: ListedSlide | None) -> list[Parsed]:
        records = by_image.get(slide.key, ()) if slide else ()
        return largest_first(read_records(records, read_annotation, f"{where}: annotation"))

    return AnnotationFile("EXACT", read, slides, by_name=len(slides) > 1)


def _annotations(content: object) -> Iterator[tuple[Fields, Fields | None]]:
    """Yield annotations, each with its enclosing image if there is one."""
    if isinstance(content, dict):
        if _is_annotation(content):
            yield content, None
        for key in ("results", "annotations", "images"):
            yield from _annotations_in_list(content.get(key))
    else:
        yield from _annotations_in_list(content)


def _annotations_in_list(entries: object) -> Iterator[tuple[Fields, Fields | None]]:
    for entry in _objects(entries):
        if _is_annotation(entry):
            yield entry, None
        for inner in _objects(entry.get("annotations")):
            yield inner, entry


def _is_annotation(entry: Fields) -> bool:
    return "vector" in entry or "annotation_type" in entry


def _objects(entries: object) -> list[Fields]:
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


def _by_id(content: object, key: str) -> dict[str, Fields]:
    """Collect the objects of a list by id, at the top level or within products."""
    if not isinstance(content, dict):
        return {}
    parents = [content, *_objects(content.get("products")), *_objects(content.get("product_set"))]
    return {
        to_text(entry.get("id")): entry for parent in parents for entry in _objects(parent.get(key))
    }


def _look_up(value: object, by_id: Mapping[str, Fields]) -> Fields:
    """Return the object that an id refers to; a bare text is its own name."""
    if isinstance(value, dict):
        return {**by_id.get(to_text(value.get("id")), {}), **value}
    return by_id.get(to_text(value)) or {
        "id": value,
        "name": value if isinstance(value, str) else "",
    }


def _shape(annotation: Fields, types: Mapping[str, Fields], record: str, where: str) -> Parsed:
    annotation_type = _look_up(annotation.get("annotation_type"), types)
    name = to_text(annotation_type.get("name")) or to_text(annotation_type.get("id"))
    vector_type = to_text(annotation_type.get("vector_type"))
    frame, corners = _corners(annotation.get("vector"), where)
    if frame not in ("", "0", "1"):
        return Skipped(OTHER_PLANE)
    if vector_type in _SKIPPED_TYPES or not len(corners):
        return Skipped(_SKIPPED_TYPES.get(vector_type, NO_VERTICES))
    if vector_type == _POINT:
        middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
        return point(name, middle[None], record)
    if vector_type == _POLYGON or len(corners) > 2:
        return polygon(name, [corners], record)
    return point(name, corners, record) if len(corners) == 1 else box(name, corners, record)


def _corners(vector: object, where: str) -> tuple[str, Float64]:
    """Return the frame (from 1, empty if there is none) and the vertices (V, 2)."""
    if not isinstance(vector, dict | None):
        raise SourceError(f"{where}: its vector is not an object; expected x1, y1, x2, y2 ...")
    numbers = dict(vector or {})
    frame = to_text(numbers.pop("frame", None))
    pairs = [(f"x{index}", f"y{index}") for index in range(1, len(numbers) // 2 + 1)]
    missing = next((key for pair in pairs for key in pair if key not in numbers), None)
    if missing or len(numbers) % 2:
        raise SourceError(
            f"{where}: its vector lacks {missing or 'the last y'}; expected x1, y1, x2, y2 ..."
        )
    corners = [[numbers[x], numbers[y]] for x, y in pairs] or np.empty((0, 2))
    return frame, parse_vertices(corners, where)
