"""GeoJSON as QuPath and its kin write it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skiptool.errors import SourceError
from skiptool.sources.annotations.geojson import is_geojson, open_geojson
from skiptool.sources.annotations.read import read_annotations
from skiptool.sources.annotations.shapes import (
    LINE,
    NO_VERTICES,
    NUCLEUS,
    OTHER_PLANE,
    TOO_FEW_VERTICES,
    SlideAnnotations,
)

Writer = Callable[..., Path]
Faults = Callable[[SlideAnnotations], tuple[str, int]]

OUTLINE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
HOLE = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]


def feature(
    kind: str = "Polygon",
    coordinates: object = (OUTLINE,),
    **fields: Any,  # noqa: ANN401
) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    properties = {"classification": {"name": "Tumor", "color": [200, 0, 0]}}
    return {
        "type": "Feature",
        "id": "5f-1",
        "geometry": geometry,
        "properties": properties,
        **fields,
    }


@pytest.mark.parametrize(
    "content",
    [
        feature(),
        [feature()],
        {"type": "FeatureCollection", "features": [feature()]},
        {"features": [feature()], "crs": None, "type": "FeatureCollection"},
    ],
)
def test_every_form_is_read(written: Writer, content: object) -> None:
    path = written(content)
    read = read_annotations(path, "any.mrxs", (50, 40))
    (shape,) = read.shapes
    assert (read.format, read.size, read.in_bounds) == ("QuPath GeoJSON", None, True)
    assert (shape.name, shape.record, shape.area) == ("Tumor", "5f-1", 100)
    assert len(shape.rings[0]) == 4


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"classification": {"name": "Tumor"}}, "Tumor"),
        ({"classification": {"names": ["Tumor", "Positive"]}}, "Tumor: Positive"),
        ({"classification": "Stroma", "name": "ROI 3"}, "Stroma"),
        ({"name": "UT", "color": [255, 0, 0]}, "UT"),
        ({"classification": None, "name": "UT"}, "UT"),
        ({"classification": {}}, ""),
        ({"objectType": "annotation"}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_class_is_found(written: Writer, properties: object, name: str) -> None:
    path = written([feature(properties=properties)])
    assert [shape.name for shape in read_annotations(path, "a").shapes] == [name]


@pytest.mark.parametrize(
    ("kind", "coordinates", "areas"),
    [
        ("Polygon", [OUTLINE, HOLE], [96]),
        ("MultiPolygon", [[OUTLINE, HOLE], [HOLE]], [96, 4]),
        ("Point", [3, 4], [0]),
        ("Point", [3, 4, 1], [0]),
        ("MultiPoint", [[3, 4], [5, 6]], [0, 0]),
        ("MultiPoint", [], []),
    ],
)
def test_every_part_is_a_shape(
    written: Writer, kind: str, coordinates: object, areas: list[float]
) -> None:
    read = read_annotations(written([feature(kind, coordinates)]), "a")
    assert [shape.area for shape in read.shapes] == areas
    assert all(shape.is_point == (shape.area == 0) for shape in read.shapes)
    assert {shape.record for shape in read.shapes} <= {"5f-1"}


def test_lines_and_short_outlines_are_skipped(written: Writer) -> None:
    features = [
        feature("LineString", [[0, 0], [1, 1]]),
        feature("MultiLineString", [[[0, 0], [1, 1]]]),
        feature("Polygon", [[[0, 0], [1, 1], [0, 0]]]),
        feature("Polygon", []),
        feature("Point", []),
        feature(geometry=None),
        feature(),
    ]
    read = read_annotations(written(features), "a")
    assert (len(read.shapes), read.left_out) == (1, 6)
    assert read.dropped == {LINE: 2, TOO_FEW_VERTICES: 2, NO_VERTICES: 2}


def test_collections_of_geometries_are_one_record(written: Writer) -> None:
    parts = [
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "Polygon", "coordinates": [OUTLINE]},
    ]
    geometry = {"type": "GeometryCollection", "geometries": parts}
    shapes = read_annotations(written([feature(geometry=geometry)]), "a").shapes
    assert [(shape.is_point, shape.record) for shape in shapes] == [(False, "5f-1"), (True, "5f-1")]


def test_ids_naming_object_types_are_replaced(written: Writer) -> None:
    features = [feature(id="PathAnnotationObject"), feature(id="PathAnnotationObject"), feature()]
    shapes = read_annotations(written(features), "a").shapes
    assert [shape.record for shape in shapes] == ["#0", "#1", "5f-1"]


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"type": "Circle", "coordinates": []}, "its geometry has type Circle; expected Polygon"),
        ({"coordinates": []}, "its geometry has type unknown"),
        ([], "its geometry has type unknown"),
        ({"type": "Polygon"}, "no list of coordinates"),
        ({"type": "MultiPolygon", "coordinates": [3]}, "no list of coordinates"),
        ({"type": "Polygon", "coordinates": [[1, 2], 3]}, "not pairs of numbers"),
        ({"type": "Polygon", "coordinates": OUTLINE}, None),
        ({"type": "Point", "coordinates": ["a", 3]}, "not pairs of numbers"),
        ({"type": "Point", "coordinates": [1, float("inf")]}, r"vertex 1 is \(1, inf\)"),
        ({"type": "GeometryCollection"}, "has no list 'geometries'"),
    ],
)
def test_damaged_geometry_is_reported_and_skipped(
    written: Writer, faults: Faults, geometry: object, message: str | None
) -> None:
    path = written([feature(), feature(id="x7", geometry=geometry)])
    if message is None:  # rings of two numbers are no outline
        assert len(read_annotations(path, "a").shapes) == 1
        return
    line, shapes = faults(read_annotations(path, "a"))
    assert re.match(rf"{path}: feature x7: .*{message}", line)
    assert shapes == 1
    with pytest.raises(SourceError, match=rf"^{path}: feature x7: .*{message}"):
        read_annotations(written([feature(id="x7", geometry=geometry)]), "a")


def test_features_that_are_not_objects_are_skipped(written: Writer, faults: Faults) -> None:
    path = written({"type": "FeatureCollection", "features": [feature(), None]})
    line, shapes = faults(read_annotations(path, "a"))
    assert line.startswith(f"{path}: feature #1: is not an object")
    assert shapes == 1


@pytest.mark.parametrize("inner_first", [True, False])
@pytest.mark.parametrize("kind", ["Polygon", "MultiPolygon"])
def test_nested_areas_stay_on_top_in_any_order(
    written: Writer, kind: str, inner_first: bool
) -> None:
    many = kind == "MultiPolygon"
    outer = feature(kind, [[OUTLINE]] if many else [OUTLINE], id="outer")
    inner = feature(kind, [[HOLE]] if many else [HOLE], id="inner")
    spot = feature("Point", [3, 3], id="spot")
    features = [spot, inner, outer] if inner_first else [outer, inner, spot]
    shapes = read_annotations(written(features), "a").shapes
    assert [shape.record for shape in shapes] == ["outer", "inner", "spot"]


@pytest.mark.parametrize(
    ("plane", "kept"),
    [
        ({"c": -1, "z": 0, "t": 0}, True),
        ({"c": 2, "z": 0, "t": 0}, True),
        ({}, True),
        (None, True),
        ("4", True),
        ({"c": -1, "z": 4, "t": 0}, False),
        ({"z": 0, "t": 1}, False),
        ({"z": 2.0}, False),
    ],
)
@pytest.mark.parametrize("where", ["geometry", "feature", "properties"])
def test_annotations_on_other_planes_are_counted(
    written: Writer, plane: object, kept: bool, where: str
) -> None:
    odd = feature(id="odd")
    (odd if where == "feature" else odd[where])["plane"] = plane
    read = read_annotations(written([feature(), odd]), "a")
    assert [shape.record for shape in read.shapes] == ["5f-1", "odd"][: 1 + kept]
    assert read.dropped == ({} if kept else {OTHER_PLANE: 1})


@pytest.mark.parametrize("where", ["feature", "properties", "collection"])
def test_nested_features_are_read(written: Writer, where: str) -> None:
    inner = [feature("Polygon", [HOLE], id="in-1"), feature("LineString", [[0, 0]], id="in-2")]
    outer = feature(id="out")
    if where == "collection":
        content = [outer, {"type": "FeatureCollection", "features": inner}]
    else:
        (outer if where == "feature" else outer["properties"])["childObjects"] = inner
        content = [outer]
    whole = {"type": "FeatureCollection", "features": content}
    read = read_annotations(written(whole), "a")
    assert [shape.record for shape in read.shapes] == ["out", "in-1"]
    assert read.dropped == {LINE: 1}


def test_skipped_nuclei_of_cells_are_counted(written: Writer) -> None:
    nucleus = {"type": "Polygon", "coordinates": [HOLE]}
    read = read_annotations(written([feature(nucleusGeometry=nucleus)]), "a")
    assert [shape.area for shape in read.shapes] == [100]
    assert read.dropped == {NUCLEUS: 1}


def test_collection_without_features_is_refused() -> None:
    with pytest.raises(SourceError, match=r"^f: has no list 'features'"):
        open_geojson({"type": "FeatureCollection"}, "f")


def test_geojson_is_recognised_by_its_type() -> None:
    assert is_geojson([])
    assert not any(is_geojson(other) for other in ({}, [{}], [feature(), 3], 3, {"type": "Point"}))


@pytest.mark.parametrize(
    ("name", "names", "vertices"),
    [
        ("geojson_example.geojson", ["artifact", "unsure"], 8),
        ("qupath05.geojson", ["UT", "I", "I"], 396),
    ],
)
def test_real_files(shared_data: Path, name: str, names: list[str], vertices: int) -> None:
    shapes = read_annotations(shared_data / "annotations" / name, "a.svs").shapes
    assert sorted(shape.name for shape in shapes) == sorted(names)
    assert sum(len(ring) for shape in shapes for ring in shape.rings) == vertices
    assert len({shape.record for shape in shapes}) == len(shapes)
