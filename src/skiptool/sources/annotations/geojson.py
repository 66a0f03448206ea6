"""GeoJSON as written by QuPath: a FeatureCollection, a list of Features, or one Feature.

``geometry``: Polygon (rings after the first are holes), MultiPolygon, Point, MultiPoint,
GeometryCollection; each part is a shape with the id of the record. Lines are skipped, and so is
everything on a plane (``plane`` of the geometry: ``z`` or ``t`` above 0) other than the one that
OpenSlide reads. Features may contain others (``childObjects``), and cells the outline of their
nucleus (``nucleusGeometry``), which is skipped.
``properties.classification``: an object with ``name`` (or ``names``, of a derived class, joined by
": " as QuPath displays them), or a text; without it ``properties.name``. QuPath writes features in
the order in which they were drawn or selected: large areas come first.

The file describes one slide. QuPath opens slides of some scanners (notably MIRAX) cropped to
OpenSlide's bounds and counts pixels from there, so ``in_bounds`` is always set; slides without
bounds have their corner at (0, 0). For files made with QuPath's ``--no-crop``, the offsets of the
manifest undo this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, Final

from skiptool.errors import SourceError
from skiptool.sources.annotations.shapes import (
    LINE,
    NO_VERTICES,
    NUCLEUS,
    PLANE,
    AnnotationFile,
    Fields,
    ListedSlide,
    Parsed,
    Skipped,
    get_list,
    get_objects,
    label,
    largest_first,
    parse_vertices,
    point,
    polygon,
    read_record,
    record_ids,
)

_AREAS_AND_POINTS: Final = ("Polygon", "MultiPolygon", "Point", "MultiPoint")
_LINES: Final = ("LineString", "MultiLineString")


def is_geojson(content: object) -> bool:
    """Recognise GeoJSON by ``type``; an empty list is one without features."""
    if isinstance(content, list):
        return all(isinstance(one, dict) and one.get("type") == "Feature" for one in content)
    return isinstance(content, dict) and content.get("type") in ("FeatureCollection", "Feature")


def open_geojson(content: Any, where: str) -> AnnotationFile:  # noqa: ANN401
    """Collect the features of a file.

    Raises
    ------
    SourceError
        If a collection has no list of features.
    """
    if isinstance(content, dict):
        single = content["type"] == "Feature"
        content = [content] if single else get_list(content, "features", where)
    found = partial(_found, content, where)
    return AnnotationFile("QuPath GeoJSON", found, by_name=False, in_bounds=True)


def _found(features: Sequence[object], where: str, slide: ListedSlide | None) -> list[Parsed]:
    del slide  # the file describes one slide only
    every = list(_flattened(features))
    ids = record_ids([one.get("id") if isinstance(one, dict) else None for one in every])
    return largest_first(
        found
        for record, one in zip(ids, every, strict=True)
        for found in read_record(partial(_feature, one, record, f"{where}: feature {record}"))
    )


def _flattened(features: Sequence[object]) -> Iterator[object]:
    """Yield features and those nested in them, each after its parent."""
    waiting = list(reversed(features))
    while waiting:
        one = waiting.pop()
        inner: list[object] = []
        if isinstance(one, dict):
            properties = one.get("properties")
            holders = (one, properties if isinstance(properties, dict) else {})
            for holder, key in product(holders, ("childObjects", "features")):
                inner += holder[key] if isinstance(holder.get(key), list) else []
        waiting += reversed(inner)
        if not (isinstance(one, dict) and one.get("type") == "FeatureCollection"):
            yield one


def _feature(feature: object, record: str, where: str) -> Iterator[Parsed]:
    if not isinstance(feature, dict):
        raise SourceError(f"{where}: is not an object; export the annotations again")
    if _is_elsewhere(feature) or _is_elsewhere(feature.get("properties")):
        yield Skipped(PLANE)
        return
    yield from _shapes(feature.get("geometry"), _class(feature), record, where)
    if feature.get("nucleusGeometry"):
        yield Skipped(NUCLEUS)


def _is_elsewhere(holder: object) -> bool:
    """Return whether an object lies on a plane other than the first."""
    plane = holder.get("plane") if isinstance(holder, dict) else None
    return isinstance(plane, dict) and any(
        isinstance(plane.get(axis), int | float) and plane[axis] > 0 for axis in ("z", "t")
    )


def _class(feature: Fields) -> str:
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        return ""
    classification = properties.get("classification")
    if isinstance(classification, dict):
        parts = classification.get("names")
        joined = ": ".join(map(label, parts)) if isinstance(parts, list) else ""
        return label(classification.get("name")) or joined
    return label(classification) or label(properties.get("name"))


def _shapes(geometry: Any, name: str, record: str, where: str) -> Iterator[Parsed]:  # noqa: ANN401
    if geometry is None or _is_elsewhere(geometry):
        yield Skipped(NO_VERTICES if geometry is None else PLANE)
        return
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "GeometryCollection":
        for part in get_objects(geometry, "geometries", where):
            yield from _shapes(part, name, record, where)
    elif kind in _LINES:
        yield Skipped(LINE)
    elif kind in _AREAS_AND_POINTS:
        yield from _parts(kind, geometry.get("coordinates"), name, record, where)
    else:
        raise SourceError(
            f"{where}: its geometry has type {kind or 'unknown'}; expected "
            f"{', '.join(_AREAS_AND_POINTS)} or a line"
        )


def _parts(kind: str, coordinates: object, name: str, record: str, where: str) -> Iterator[Parsed]:
    parts = coordinates if kind.startswith("Multi") else [coordinates]
    if not isinstance(parts, list) or not all(isinstance(part, list) for part in parts):
        raise SourceError(f"{where}: its geometry has no list of coordinates; export it again")
    for part in parts:
        if kind.endswith("Point"):
            yield point(name, parse_vertices([part] if part else [], where), record)
        else:
            yield polygon(name, [parse_vertices(ring, where) for ring in part], record)
