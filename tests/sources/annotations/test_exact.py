"""EXACT's answers, in each of the shapes that people save them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skiptool.errors import SourceError
from skiptool.sources.annotations.exact import is_exact, open_exact
from skiptool.sources.annotations.read import read_annotations
from skiptool.sources.annotations.shapes import (
    DELETED,
    LINE,
    NO_VERTICES,
    OTHER_PLANE,
    WHOLE_IMAGE,
    SlideAnnotations,
)

Writer = Callable[..., Path]
Faults = Callable[[SlideAnnotations], tuple[str, int]]

TYPE = {"id": 13, "name": "mitotic figure", "vector_type": 6}
IMAGE = {"id": 4, "name": "a", "filename": "a.tif", "width": 900, "height": 800}
BOX = {"x1": 10, "y1": 20, "x2": 60, "y2": 70}


def annotation(vector: object, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"id": 1, "annotation_type": TYPE, "image": IMAGE, "vector": vector, **fields}


def vector(*flat: float) -> dict[str, float]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {k: v for at, (x, y) in enumerate(pairs, 1) for k, v in ((f"x{at}", x), (f"y{at}", y))}


ONE = annotation(BOX)


@pytest.mark.parametrize(
    "content",
    [
        [ONE],
        ONE,
        {"count": 1, "next": None, "results": [ONE]},
        {"annotations": [ONE]},
        {
            "results": [{**ONE, "annotation_type": 13, "image": 4}],
            "annotation_types": [TYPE],
            "images": [IMAGE],
        },
        [{**IMAGE, "annotations": [{"id": 1, "vector": BOX, "annotation_type": TYPE}]}],
        {
            "images": [{**IMAGE, "annotations": [{"id": 1, "vector": BOX, "annotation_type": 13}]}],
            "products": [{"id": 1, "annotation_types": [TYPE]}],
        },
        {"annotations": [{**ONE, "image": 4}], "images": [{**IMAGE, "annotations": [1]}]},
    ],
)
def test_every_form_is_read(written: Writer, content: object) -> None:
    path = written(content)
    read = read_annotations(path, "another name.svs", (900, 800))
    (shape,) = read.shapes
    assert (read.format, read.size, read.in_bounds) == ("EXACT", (900, 800), False)
    assert (shape.name, shape.record, shape.bounds) == ("mitotic figure", "1", (10, 20, 60, 70))


@pytest.mark.parametrize(
    ("kind", "numbers", "made"),
    [
        (1, (10, 20, 60, 70), "area"),
        (6, (60, 70, 10, 20), "area"),
        (2, (10, 20, 60, 70), "point"),
        (2, (35, 45), "point"),
        (5, (10, 20, 60, 20, 60, 70, 10, 70), "area"),
        (5, (10, 20, 60, 20), None),
        (3, (10, 20, 60, 70), None),
        (4, (10, 20, 60, 70, 10, 70), None),
        (7, (10, 20, 60, 70), None),
        (None, (35, 45), "point"),
        (None, (10, 20, 60, 70), "area"),
        (None, (10, 20, 60, 20, 60, 70, 10, 70), "area"),
        (None, (), None),
    ],
)
def test_vector_type_determines_the_shape(
    written: Writer, kind: int | None, numbers: tuple[float, ...], made: str | None
) -> None:
    entry = annotation(vector(*numbers), annotation_type={**TYPE, "vector_type": kind})
    read = read_annotations(written([entry]), "a.tif")
    assert read.left_out == (made is None)
    for shape in read.shapes:
        assert (shape.centre, shape.is_point) == ((35, 45), made == "point")
    assert len(read.shapes) == (made is not None)


def test_deleted_annotations_and_those_without_vector_are_skipped(written: Writer) -> None:
    entries = [annotation(BOX, id=1, deleted=True), annotation(None, id=2), annotation(BOX, id=3)]
    read = read_annotations(written(entries), "a.tif")
    assert [shape.record for shape in read.shapes] == ["3"]
    assert read.dropped == {DELETED: 1, NO_VERTICES: 1}


def test_unnamed_type_is_called_by_its_id(written: Writer) -> None:
    entries = [annotation(BOX, annotation_type=13), annotation(BOX, annotation_type="SCC")]
    shapes = read_annotations(written(entries), "a.tif").shapes
    assert [shape.name for shape in shapes] == ["13", "SCC"]


def test_vertices_are_sorted_and_inner_areas_come_later(written: Writer) -> None:
    numbers = [value for at in range(12) for value in (at, at * at)]
    shuffled = dict(sorted(vector(*numbers).items()))  # x1, x10, x11, x12, x2 ...
    polygon = annotation(shuffled, id=8, annotation_type={"name": "SCC", "vector_type": 5})
    whole = annotation(vector(0, 0, 500, 500), id=9)
    shapes = read_annotations(written([polygon, whole]), "a.tif").shapes
    assert [shape.record for shape in shapes] == ["9", "8"]
    assert shapes[1].rings[0].ravel().tolist() == numbers


def test_several_images_are_distinguished_by_name(written: Writer) -> None:
    other = {"id": 5, "name": "b.svs"}
    entries = [ONE, annotation(vector(1, 2), id=2, image=other)]
    path = written({"results": entries, "images": [{"id": 6, "name": "c.svs"}]})
    assert read_annotations(path, "b.svs").shapes[0].centre == (1, 2)
    assert read_annotations(path, "c.svs").shapes == ()
    with pytest.raises(SourceError, match=r"has no slide d\.svs among its 3 slides"):
        read_annotations(path, "d.svs")


def test_several_images_without_names_are_refused(written: Writer) -> None:
    entries = [annotation(BOX, image=4), annotation(BOX, image=5)]
    with pytest.raises(SourceError, match=r"2 images, some without a name; .*expand=image"):
        read_annotations(written(entries), "a.tif")


def test_empty_page_is_accepted(written: Writer) -> None:
    read = read_annotations(written({"count": 0, "results": []}), "a.tif", (9, 9))
    assert (read.shapes, read.size, read.format) == ((), None, "EXACT")


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ([1, 2], "its vector is not an object"),
        ({"x1": 1}, "its vector lacks the last y"),
        ({"x1": 1, "y1": 2, "x2": 3, "z2": 4}, "its vector lacks y2"),
        ({"x1": 1, "y1": "a"}, "not pairs of numbers"),
        ({"x1": 1, "y1": float("nan")}, r"vertex 1 is \(1, nan\)"),
    ],
)
def test_damaged_vector_is_reported_and_skipped(
    written: Writer, faults: Faults, damaged: object, message: str
) -> None:
    path = written([annotation(BOX), annotation(damaged, id=77)])
    line, shapes = faults(read_annotations(path, "a.tif"))
    assert re.match(rf"{path}: annotation 77: .*{message}", line)
    assert shapes == 1
    with pytest.raises(SourceError, match=rf"^{path}: annotation 77: .*{message}"):
        read_annotations(written([annotation(damaged, id=77)]), "a.tif")


def test_annotations_on_other_planes_are_counted(written: Writer) -> None:
    """A vector may say its frame, counted from 1."""
    frames = {"11": 1, "12": 2, "13": None, "14": "3"}
    entries = [annotation({**BOX, "frame": frame}, id=key) for key, frame in frames.items()]
    read = read_annotations(written([*entries, ONE]), "a.tif")
    assert sorted(shape.record for shape in read.shapes) == [str(ONE["id"]), "11", "13"]
    assert read.dropped == {OTHER_PLANE: 2}


def test_records_without_shape_are_counted_by_kind(written: Writer) -> None:
    kinds = [(3, LINE), (4, LINE), (7, WHOLE_IMAGE)]
    entries = [
        annotation(BOX, id=kind, annotation_type={**TYPE, "vector_type": kind}) for kind, _ in kinds
    ]
    entries += [annotation(BOX, id=9, deleted=True), {"id": 10, "annotation_type": 3, "image": 4}]
    read = read_annotations(written([*entries, annotation(BOX, id=11)]), "a.tif")
    assert read.dropped == {LINE: 2, WHOLE_IMAGE: 1, DELETED: 1, NO_VERTICES: 1}


def test_exact_is_recognised_by_vectors() -> None:
    assert is_exact([ONE])
    assert not any(is_exact(other) for other in ([], {}, [1], 3, {"annotations": [{"id": 1}]}))
    assert open_exact([ONE], "f").by_name is False
