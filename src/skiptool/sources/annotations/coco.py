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
from functools import partial
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
    label,
    largest_first,
    parse_vertices,
    polygon,
    read_record,
    record_ids,
    size_of,
)

if TYPE_CHECKING:
    from skiptool.records import Float64


def is_coco(content: object) -> bool:
    """Recognise COCO by its lists."""
    return isinstance(content, dict) and "images" in content and "categories" in content


def open_coco(content: Fields, where: str) -> AnnotationFile:
    """Group the annotations of a file by image.

    Raises
    ------
    SourceError
        If one of its three lists is missing.
    """
    images = get_objects(content, "images", where)
    annotations = get_list(content, "annotations", where)
    slides = tuple(
        ListedSlide(file_name(image.get("file_name")), size_of(image), label(image.get("id")))
        for image in images
    )
    names = {
        label(one.get("id")): label(one.get("name"))
        for one in get_objects(content, "categories", where)
    }
    ids = record_ids([one.get("id") if isinstance(one, dict) else None for one in annotations])
    by_image = defaultdict(list)
    first = slides[0].key if slides else ""
    for record, one in zip(ids, annotations, strict=True):
        key = label(one.get("image_id")) if isinstance(one, dict) else first
        by_image[key].append((record, one))
    strays = sum(len(by_image[key]) for key in set(by_image) - {slide.key for slide in slides})
    notes = (f"{where}: {strays} annotations are of no image that it lists",) if strays else ()
    corners = has_corners(content, {slide.key: slide.size for slide in slides})
    found = partial(_found, by_image, names, corners, _is_catch(annotations), where)
    return AnnotationFile("MIDOG" if corners else "COCO", found, slides, notes=notes)


def has_corners(content: Fields, sizes: Mapping[str, Size | None]) -> bool:
    """Distinguish boxes of MIDOG (left, top, right, bottom) from COCO's (x, y, width, height).

    Parameters
    ----------
    content : mapping
        The file.
    sizes : mapping
        Width and height of the images, by id.

    Returns
    -------
    bool
        True if no annotation has an outline, all boxes are valid as corners, and: as corners they
        all have the same width and height; or as x, y, width, height at least one leaves its image
        while as corners none does; or the file declares itself to be MIDOG.
    """
    annotations = [one for one in content["annotations"] if isinstance(one, dict)]
    if any(not _is_empty(one.get("segmentation")) for one in annotations):
        return False
    sound = [(one, box) for one in annotations if (box := _numbers(one.get("bbox"))) is not None]
    if not sound:
        return False
    numbers = np.stack([box for _, box in sound])
    sides = numbers[:, 2:] - numbers[:, :2]
    if (sides <= 0).any():
        return False
    differing = len(np.unique(numbers, axis=0)) > 1
    constant = bool((sides == sides[0]).all())
    if differing and constant:
        return True
    unknown = (np.inf, np.inf)
    ends = np.array([sizes.get(label(one.get("image_id"))) or unknown for one, _ in sound])
    return _reach_out(numbers, ends) or "midog" in _description(content)


def _reach_out(numbers: Float64, ends: Float64) -> bool:
    """Return whether boxes leave their images (N, 2) as sizes and stay inside as corners."""
    as_sizes = numbers[:, :2] + numbers[:, 2:]
    return bool((as_sizes > ends + 1).any() and (numbers[:, 2:] <= ends + 1).all())


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
    all_ = [one.get("segmentation") for one in annotations if isinstance(one, dict)]
    outlines = [one for one in all_ if not _is_empty(one)]
    flat = [isinstance(one, list) and isinstance(one[0], int | float) for one in outlines]
    return 2 * sum(flat) > len(flat)


def _description(content: Fields) -> str:
    info = content.get("info")
    return label(info.get("description")).casefold() if isinstance(info, dict) else ""


def _found(
    by_image: Mapping[str, Sequence[tuple[str, Any]]],
    names: Mapping[str, str],
    corners: bool,
    in_order: bool,
    where: str,
    slide: ListedSlide | None,
) -> list[Parsed]:
    found = [
        part
        for record, one in (by_image.get(slide.key, ()) if slide else ())
        for part in read_record(
            partial(_shapes, one, names, corners, record, f"{where}: annotation {record}")
        )
    ]
    return found if in_order else largest_first(found)


def _shapes(
    annotation: Any,  # noqa: ANN401
    names: Mapping[str, str],
    corners: bool,
    record: str,
    where: str,
) -> Iterator[Parsed]:
    if not isinstance(annotation, dict):
        raise SourceError(f"{where}: is not an object; export the annotations again")
    category = label(annotation.get("category_id"))
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
