"""COCO's JSON, and the two dialects of the pathology sets: CATCH and MIDOG.

``images`` (id, file_name, width, height), ``categories`` (id, name) and ``annotations`` (id,
image_id, category_id, segmentation, bbox). The order in the file is the paint order: CATCH writes
outer polygons first and lays inner ones over them.

- ``segmentation``: a list of polygons ``[[x, y, x, y, ...], ...]``, each a shape of its own with
  the id of the record; or one polygon as a flat list ``[x, y, ...]`` (CATCH) or as pairs
  ``[[x, y], ...]``. Run-length encoded masks are refused.
- ``bbox``, where there is no segmentation: x, y, width, height as COCO says; left, top, right,
  bottom in MIDOG, which :func:`has_corners` tells apart. Both become outlines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import SourceError
from skiptool.sources.annotations.annotated import Listed, Opened, Size
from skiptool.sources.annotations.fields import (
    Fields,
    file_name,
    label,
    objects,
    records,
    size_of,
)
from skiptool.sources.annotations.outlines import box, polygon, vertices
from skiptool.sources.shapes import Shape

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["has_corners", "is_coco", "open_coco"]


def is_coco(content: object) -> bool:
    """Tell COCO's form by its lists."""
    return isinstance(content, dict) and "images" in content and "categories" in content


def open_coco(content: Fields, where: str) -> Opened:
    """Sort the annotations of a file by image.

    Raises
    ------
    SourceError
        If one of its three lists is missing.
    """
    images = objects(content, "images", where)
    annotations = objects(content, "annotations", where)
    slides = tuple(
        Listed(file_name(image.get("file_name")), size_of(image), label(image.get("id")))
        for image in images
    )
    names = {
        label(one.get("id")): label(one.get("name"))
        for one in objects(content, "categories", where)
    }
    ids = records([one.get("id") for one in annotations])
    by_image = defaultdict(list)
    for record, one in zip(ids, annotations, strict=True):
        by_image[label(one.get("image_id"))].append((record, one))
    corners = has_corners(content, {slide.key: slide.size for slide in slides})
    found = partial(_found, by_image, names, corners, where)
    return Opened("MIDOG" if corners else "COCO", found, slides)


def has_corners(content: Fields, sizes: Mapping[str, Size | None]) -> bool:
    """Tell boxes of MIDOG (left, top, right, bottom) from COCO's (x, y, width, height).

    Parameters
    ----------
    content : mapping
        The file.
    sizes : mapping
        Width and height of the images, by id.

    Returns
    -------
    bool
        True where no annotation has an outline, all boxes make sense as corners, and either they
        all have one width and height then, as no set of differing boxes read otherwise does, or
        one of them would reach out of its image as x, y, width, height and none does as corners,
        or the file says that it is MIDOG's.
    """
    annotations = content["annotations"]
    numbers = _numbers([one.get("bbox") for one in annotations])
    if any(one.get("segmentation") for one in annotations) or numbers is None:
        return False
    sides = numbers[:, 2:] - numbers[:, :2]
    if (sides <= 0).any():
        return False
    differing = len(np.unique(numbers, axis=0)) > 1
    constant = bool((sides == sides[0]).all())
    if differing and constant:
        return True
    unknown = (np.inf, np.inf)
    ends = np.array([sizes.get(label(one.get("image_id"))) or unknown for one in annotations])
    return _reach_out(numbers, ends) or "midog" in _description(content)


def _reach_out(numbers: Float64, ends: Float64) -> bool:
    """Tell whether boxes leave their images (N, 2) as sizes and stay in them as corners."""
    as_sizes = numbers[:, :2] + numbers[:, 2:]
    return bool((as_sizes > ends + 1).any() and (numbers[:, 2:] <= ends + 1).all())


def _numbers(boxes: Sequence[object]) -> Float64 | None:
    try:
        numbers = np.array(boxes, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None  # the box at fault is named when it is read
    return numbers if numbers.ndim == 2 and numbers.shape[1] == 4 else None


def _description(content: Fields) -> str:
    info = content.get("info")
    return label(info.get("description")).casefold() if isinstance(info, dict) else ""


def _found(
    by_image: Mapping[str, Sequence[tuple[str, Fields]]],
    names: Mapping[str, str],
    corners: bool,
    where: str,
    slide: Listed | None,
) -> Iterator[Shape | None]:
    for record, one in by_image.get(slide.key, ()) if slide else ():
        place = f"{where}: annotation {record}"
        category = label(one.get("category_id"))
        if category not in names:
            raise SourceError(
                f"{place}: category_id {category or 'missing'} is not among the categories; "
                "expected one of their ids"
            )
        rings = _rings(one.get("segmentation"), place)
        if rings:
            yield from (polygon(names[category], [ring], record) for ring in rings)
        else:
            yield box(names[category], _corners(one.get("bbox"), corners, place), record)


def _rings(segmentation: Any, where: str) -> list[Float64]:  # noqa: ANN401
    if isinstance(segmentation, dict):
        raise SourceError(
            f"{where}: its segmentation is run-length encoded (RLE); expected polygons; export "
            "outlines"
        )
    if not segmentation:
        return []
    nested = isinstance(segmentation, list) and all(isinstance(part, list) for part in segmentation)
    if nested and any(len(part) > 2 for part in segmentation):
        return [vertices(part, where) for part in segmentation]
    return [vertices(segmentation, where)]


def _corners(values: object, corners: bool, where: str) -> Float64:
    if not isinstance(values, list) or len(values) != 4:
        raise SourceError(
            f"{where}: has neither a segmentation nor a bbox of four numbers; expected an outline "
            "or a box"
        )
    pairs = vertices(values, where)
    return pairs if corners else np.stack([pairs[0], pairs[0] + pairs[1]])
