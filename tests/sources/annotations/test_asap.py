"""ASAP's XML: types, groups, order, and numbers as some systems write them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from skiptool.errors import SourceError
from skiptool.sources.annotations.asap import open_asap
from skiptool.sources.annotations.read import read_annotations
from skiptool.sources.annotations.shapes import (
    LINE,
    NO_VERTICES,
    TOO_FEW_VERTICES,
    SlideAnnotations,
)

Writer = Callable[..., Path]
Faults = Callable[[SlideAnnotations], tuple[str, int]]

CORNERS = [("0", "1", "2"), ("1", "11", "2"), ("2", "11", "12"), ("3", "1", "12")]


def annotation(
    kind: str = "Polygon",
    rows: list[tuple[str, str, str]] = CORNERS,
    group: str = "tissue",
    name: str = "Annotation 0",
) -> str:
    inner = "".join(f'<Coordinate Order="{at}" X="{x}" Y="{y}" />' for at, x, y in rows)
    return (
        f'<Annotation Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{inner}</Coordinates></Annotation>"
    )


def asap(*annotations: str) -> str:
    inner = "".join(annotations)
    return (
        f'<?xml version="1.0"?>\n<ASAP_Annotations><Annotations>{inner}</Annotations>'
        '<AnnotationGroups><Group Name="unused" PartOfGroup="None" /></AnnotationGroups>'
        "</ASAP_Annotations>"
    )


@pytest.mark.parametrize(
    ("kind", "count", "points", "areas"),
    [
        ("Polygon", 4, 0, [100]),
        ("Spline", 4, 0, [100]),
        ("Rectangle", 4, 0, [100]),
        ("Rectangle", 2, 0, [0]),
        ("Dot", 1, 1, [0]),
        ("PointSet", 3, 3, [0, 0, 0]),
        ("Measurement", 2, 0, []),
        ("None", 1, 0, []),
        ("Polygon", 2, 0, []),
        ("Polygon", 0, 0, []),
        ("Dot", 0, 0, []),
    ],
)
def test_every_type_is_read(
    written: Writer, kind: str, count: int, points: int, areas: list[float]
) -> None:
    path = written(asap(annotation(kind, CORNERS[:count])))
    read = read_annotations(path, "any.svs", (9, 9))
    assert (read.format, read.size, read.in_bounds) == ("ASAP XML", None, False)
    assert [shape.area for shape in read.shapes] == areas
    assert sum(shape.is_point for shape in read.shapes) == points
    assert {(shape.name, shape.record) for shape in read.shapes} <= {("tissue", "Annotation 0")}


def test_class_is_read_from_the_group(written: Writer) -> None:
    groups = ["tissue", "None", "", "a &amp; b"]
    path = written(asap(*(annotation(group=group) for group in groups)))
    shapes = read_annotations(path, "a").shapes
    assert [shape.name for shape in shapes] == ["tissue", "", "", "a & b"]
    assert [shape.record for shape in shapes] == ["#0", "#1", "#2", "#3"]


@pytest.mark.parametrize("order", ["3012", "0000", ["", "", "", ""], ["a", "1", "0", "2"]])
def test_vertices_are_sorted_by_their_number(written: Writer, order: str | list[str]) -> None:
    rows = [(at, x, y) for at, (_, x, y) in zip(order, CORNERS, strict=True)]
    corners = [[1, 2], [11, 2], [11, 12], [1, 12]]
    expected = [*corners[1:], corners[0]] if order == "3012" else corners
    shape = read_annotations(written(asap(annotation(rows=rows))), "a").shapes[0]
    assert shape.rings[0].tolist() == expected


def test_decimal_commas_and_byte_order_marks_are_read(written: Writer) -> None:
    text = asap(annotation("Dot", [("0", "44024,9141", "41109.6641")]))
    for content in (b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16"), b"\n " + text.encode()):
        shape = read_annotations(written(content), "a").shapes[0]
        assert shape.centre == (44024.9141, 41109.6641)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (annotation("Ellipse", name="n7"), "has type Ellipse; expected one of Polygon, Spline"),
        (annotation("", name="n7"), "has type unknown"),
        (annotation(rows=[("0", "a", "2")], name="n7"), "not pairs of numbers"),
        (annotation(rows=[("0", "", "2")], name="n7"), "not pairs of numbers"),
        (annotation(rows=[("0", "nan", "2")], name="n7"), r"vertex 1 is \(nan, 2\)"),
        (annotation(rows=[("0", "1", "1e40")], name="n7"), r"vertex 1 is \(1, 1e\+40\)"),
    ],
)
def test_damaged_record_is_reported_and_skipped(
    written: Writer, faults: Faults, damaged: str, message: str
) -> None:
    path = written(asap(annotation(), damaged))
    line, shapes = faults(read_annotations(path, "a"))
    assert re.match(rf"{path}: annotation n7: .*{message}", line)
    assert shapes == 1
    with pytest.raises(SourceError, match=rf"^{path}: annotation n7: .*{message}"):
        read_annotations(written(asap(damaged)), "a")


@pytest.mark.parametrize("inner_first", [True, False])
def test_exclusions_are_painted_over_the_enclosing_area(written: Writer, inner_first: bool) -> None:
    corners = [(str(at), x, y) for at, (x, y) in enumerate([("0", "0"), ("90", "0"), ("90", "90")])]
    outer, inner = annotation(rows=corners, group="_0"), annotation(group="_2")
    path = written(asap(*((inner, outer) if inner_first else (outer, inner))))
    assert [shape.name for shape in read_annotations(path, "a").shapes] == ["_0", "_2"]


def test_records_without_shape_are_counted_by_kind(written: Writer) -> None:
    kinds = [("Measurement", 2), ("Measurement", 2), ("None", 0), ("Polygon", 2), ("PointSet", 0)]
    path = written(asap(annotation(), *(annotation(kind, CORNERS[:n]) for kind, n in kinds)))
    read = read_annotations(path, "a")
    assert read.dropped == {LINE: 2, NO_VERTICES: 2, TOO_FEW_VERTICES: 1}
    assert (len(read.shapes), read.left_out, read.faults) == (1, 5, ())


@pytest.mark.parametrize(
    ("name", "types", "groups"),
    [
        ("normal_042.xml", 5, {"tissue": 5}),
        ("tumor_001.xml", 12, {"tissue": 4, "artifact": 6, "background": 2}),
        ("xml_example.xml", 2, {"aberrant_positive_columnar": 1, "unsure": 1}),
    ],
)
def test_real_files(shared_data: Path, name: str, types: int, groups: dict[str, int]) -> None:
    path = shared_data / "annotations" / name
    read = read_annotations(path, "a.svs")
    assert (len(read.shapes), read.left_out) == (types, 0)
    assert Counter(shape.name for shape in read.shapes) == groups
    vertices = path.read_text().count("<Coordinate ")
    assert sum(len(shape.rings[0]) for shape in read.shapes) == vertices


def test_file_without_annotations_is_accepted(written: Writer) -> None:
    assert read_annotations(written("<ASAP_Annotations/>"), "a").shapes == ()
    assert callable(open_asap)
