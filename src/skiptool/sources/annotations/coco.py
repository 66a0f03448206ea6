"""COCO's JSON, and the two dialects of the pathology datasets CATCH and MIDOG.

``images`` (id, file_name, width, height), ``categories`` (id, name) and ``annotations`` (id,
image_id, category_id, segmentation, bbox). COCO has no paint order: large areas come first. CATCH,
recognised by its flat outlines, lists outer polygons before the inner ones that lie over them:
there the order of the file is kept.

- ``segmentation``: a list of polygons ``[[x, y, x, y, ...], ...]``, each a shape with the id of the
  record; or one polygon as a flat list ``[x, y, ...]`` (CATCH) or as pairs ``[[x, y], ...]``.
  Run-length encoded masks are not supported.
- ``bbox``, if there is no segmentation: x, y, width, height in COCO; left, top, right, bottom in
  MIDOG, which `has_corners` recognises. Both become outlines.

An unreadable record is skipped and reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import SourceError
from skiptool.sources.annotations.shapes import (
    AnnotationFile,
    Fields,
    ListedSlide,
    Parsed,
    Size,
    box,
    file_name,
    get_list,
    get_objects,
    largest_first,
    parse_vertices,
    polygon,
    read_records,
    record_ids,
    size_of,
    to_text,
)

if TYPE_CHECKING:
    from skiptool.records import Float64


def is_coco(content: object) -> bool:
    """Recognise COCO by its lists."""
    return isinstance(content, dict) and "images" in content and "categories" in content


def open_coco(content: Fields, where: str) -> AnnotationFile:
    """Group the annotations of a file by image."""
    images = get_objects(content, "images", where)
    annotations = get_list(content, "annotations", where)
    slides = tuple(
        ListedSlide(file_name(image.get("file_name")), size_of(image), to_text(image.get("id")))
        for image in images
    )
    names = {
        to_text(category.get("id")): to_text(category.get("name"))
        for category in get_objects(content, "categories", where)
    }
    ids = record_ids([item.get("id") if isinstance(item, dict) else None for item in annotations])
    by_image = defaultdict(list)
    first = slides[0].key if slides else ""
    for record, annotation in zip(ids, annotations, strict=True):
        key = to_text(annotation.get("image_id")) if isinstance(annotation, dict) else first
        by_image[key].append((record, annotation))
    strays = sum(len(by_image[key]) for key in set(by_image) - {slide.key for slide in slides})
    notes = (f"{where}: {strays} annotations are of no image that it lists",) if strays else ()
    corners = has_corners(content, {slide.key: slide.size for slide in slides})
    in_paint_order = _is_catch(annotations)

    def read_annotation(annotation: object, record: str, where: str) -> Iterator[Parsed]:
        return _shapes(annotation, names, corners, record, where)

    def read(slide: ListedSlide | None) -> list[Parsed]:
        records = by_image.get(slide.key, ()) if slide else ()
        parts = read_records(records, read_annotation, f"{where}: annotation")
        return parts if in_paint_order else largest_first(parts)

    return AnnotationFile("MIDOG" if corners else "COCO", read, slides, notes=notes)


def has_corners(content: Fields, sizes: Mapping[str, Size | None]) -> bool:
    """Distinguish boxes of MIDOG (left, top, right, bottom) from COCO's (x, y, width, height).

    Parameters
    ----------
    content : mapping
        The parsed file.
    sizes : mapping
        Width and height of the images, by id.

    Returns
    -------
    bool
        True if no annotation has an outline, all boxes are valid as corners, and: as corners they
        all have the same width and height; or as x, y, width, height at least one leaves its image
        while as corners none does; or the file declares itself to be MIDOG.
    """
    annotations = [item for item in content["annotations"] if isinstance(item, dict)]
    if any(not _is_empty(annotation.get("segmentation")) for annotation in annotations):
        return False
    boxes = [_numbers(annotation.get("bbox")) for annotation in annotations]
    numbers = np.array([box for box in boxes if box is not None]).reshape(-1, 4)
    sides = numbers[:, 2:] - numbers[:, :2]
    if not len(numbers) or (sides <= 0).any():
        return False
    differing = len(np.unique(numbers, axis=0)) > 1
    constant = bool((sides == sides[0]).all())
    if differing and constant:
        return True
    image_sizes = np.array(
        [
            sizes.get(to_text(annotation.get("image_id"))) or (np.inf, np.inf)
            for annotation, box in zip(annotations, boxes, strict=True)
            if box is not None
        ]
    )
    leaves_as_sizes = (numbers[:, :2] + numbers[:, 2:] > image_sizes + 1).any()
    if leaves_as_sizes and (numbers[:, 2:] <= image_sizes + 1).all():
        return True
    info = content.get("info")
    return isinstance(info, dict) and "midog" in to_text(info.get("description")).casefold()


def _numbers(values: object) -> Float64 | None:
    """Return the four numbers of a box; None if invalid, which is reported when it is read."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if numbers.shape == (4,) and np.isfinite(numbers).all() else None


def _is_empty(segmentation: object) -> bool:
    """Return whether a segmentation is empty: null, ``[]``, ``{}``, ``[[]]``."""
    if isinstance(segmentation, list):
        return all(isinstance(part, list) and not part for part in segmentation)
    return segmentation is None or segmentation == {}


def _is_catch(annotations: Sequence[object]) -> bool:
    """Recognise CATCH by flat outlines."""
    outlines = [item.get("segmentation") for item in annotations if isinstance(item, dict)]
    flat = [
        isinstance(outline, list) and isinstance(outline[0], int | float)
        for outline in outlines
        if not _is_empty(outline)
    ]
    return 2 * sum(flat) > len(flat)


def _shapes(
    annotation: Any,  # noqa: ANN401
    names: Mapping[str, str],
    corners: bool,
    record: str,
    where: str,
) -> Iterator[Parsed]:
    if not isinstance(annotation, dict):
        raise SourceError(f"{where}: is not an object; export the annotations again")
    category = to_text(annotation.get("category_id"))
    if category not in names:
        raise SourceError(
            f"{where}: category_id {category or 'missing'} is not among the categories"
        )
    rings = _rings(annotation.get("segmentation"), where)
    if rings:
        yield from (polygon(names[category], [ring], record) for ring in rings)
    else:
        yield box(names[category], _corners(annotation.get("bbox"), corners, where), record)


def _rings(segmentation: Any, where: str) -> list[Float64]:  # noqa: ANN401
    if _is_empty(segmentation):
        return []
    if isinstance(segmentation, dict):
        raise SourceError(
            f"{where}: its segmentation is run-length encoded (RLE); export polygons instead"
        )
    nested = isinstance(segmentation, list) and all(isinstance(part, list) for part in segmentation)
    if nested and any(len(part) > 2 for part in segmentation):
        return [parse_vertices(part, where) for part in segmentation if part]
    return [parse_vertices(segmentation, where)]


def _corners(values: object, corners: bool, where: str) -> Float64:
    if not isinstance(values, list) or len(values) != 4:
        raise SourceError(f"{where}: has neither a segmentation nor a bbox of four numbers")
    pairs = parse_vertices(values, where)
    if corners:
        return pairs
    if (pairs[1] < 0).any():
        raise SourceError(
            f"{where}: its bbox {values} has a negative side; expected x, y, width, height"
        )
    return np.stack([pairs[0], pairs[0] + pairs[1]])
