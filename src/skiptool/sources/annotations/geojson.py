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
from itertools import product
from typing import Any, Final

from skiptool.errors import SourceError
from skiptool.sources.annotations.shapes import (
    LINE,
    NO_VERTICES,
    NUCLEUS,
    OTHER_PLANE,
    AnnotationFile,
    Fields,
    ListedSlide,
    Parsed,
    Skipped,
    get_list,
    get_objects,
    largest_first,
    parse_vertices,
    point,
    polygon,
    read_records,
    record_ids,
    to_text,
)

_AREAS_AND_POINTS: Final = ("Polygon", "MultiPolygon", "Point", "MultiPoint")
_LINES: Final = ("LineString", "MultiLineString")


def is_geojson(content: object) -> bool:
    """Recognise GeoJSON by ``type``; an empty list is one without features."""
    if isinstance(content, list):
        return all(isinstance(item, dict) and item.get("type") == "Feature" for item in content)
    return isinstance(content, dict) and content.get("type") in ("FeatureCollection", "Feature")


def open_geojson(content: Any, where: str) -> AnnotationFile:  # noqa: ANN401
    """Collect the features of a file."""
    if isinstance(content, dict):
        single = content["type"] == "Feature"
        content = [content] if single else get_list(content, "features", where)
    features = list(_flatten(content))
    ids = record_ids([item.get("id") if isinstance(item, dict) else None for item in features])
    records = list(zip(ids, features, strict=True))

    def read(_: ListedSlide | None) -> list[Parsed]:
        return largest_first(read_records(records, _read_feature, f"{where}: feature"))

    return AnnotationFile("QuPath GeoJSON", read, by_name=False, in_bounds=True)


def _flatten(features: Sequence[object]) -> Iterator[object]:
    """Yield features and those nested in them, each after its parent."""
    pending = list(reversed(features))
    while pending:
        feature = pending.pop()
        children: list[object] = []
        if isinstance(feature, dict):
            properties = feature.get("properties")
            parents = (feature, properties if isinstance(properties, dict) else {})
            for parent, key in product(parents, ("childObjects", "features")):
                children += parent[key] if isinstance(parent.get(key), list) else []
        pending += reversed(children)
        if not (isinstance(feature, dict) and feature.get("type") == "FeatureCollection"):
            yield feature


def _read_feature(feature: object, record: str, where: str) -> Iterator[Parsed]:
    if not isinstance(feature, dict):
        raise SourceError(f"{where}: is not an object; export the annotations again")
    if _is_on_other_plane(feature) or _is_on_other_plane(feature.get("properties")):
        yield Skipped(OTHER_PLANE)
        return
    yield from _shapes(feature.get("geometry"), _class(feature), record, where)
    if feature.get("nucleusGeometry"):
        yield Skipped(NUCLEUS)


def _is_on_other_plane(fields: object) -> bool:
    """Return whether an object lies on a plane other than the first."""
    plane = fields.get("plane") if isinstance(fields, dict) else None
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
        joined = ": ".join(map(to_text, parts)) if isinstance(parts, list) else ""
        return to_text(classification.get("name")) or joined
    return to_text(classification) or to_text(properties.get("name"))


def _shapes(geometry: Any, name: str, record: str, where: str) -> Iterator[Parsed]:  # noqa: ANN401
    if geometry is None:
        yield Skipped(NO_VERTICES)
        return
    if _is_on_other_plane(geometry):
        yield Skipped(OTHER_PLANE)
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
