"""Outlines of what is annotated by a point: discs, stained nuclei, what a model segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SkiptoolError
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.nuclei import component_at, stain_mask
from skiptool.sources.patches.painting import outlines
from skiptool.sources.patches.placement import centred
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.run import Run
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.sites import Labelled
from skiptool.steps.extract_wsi.survey import Surveyed

if TYPE_CHECKING:
    from skiptool.records import Bool, UInt8

__all__ = ["Segment", "outlined"]

Segment = Callable[["UInt8"], "Bool"]
"""From an image (H, W, 3) to the pixels of all its objects (H, W)."""

REACH = 3.0
"""Micrometres by which a point may miss the object that it means."""

CORNERS = 64
"""Vertices of a disc: its area is short of the circle's by 0.2 %."""


def outlined(
    run: Run, slide: Surveyed, shapes: Labelled, segment: Segment | None
) -> tuple[list[tuple[Shape, int | None]], list[tuple[Shape, int | None]], list[str]]:
    """Find the object at each annotation of a slide.

    Parameters
    ----------
    run : Run
    slide : Surveyed
    shapes : sequence of (Shape, int or None)
        Annotations of some class; objects of label 0 are not outlined.
    segment : callable, optional
        Of ``--mask model``.

    Returns
    -------
    kept : list of (Shape, label)
        Annotations at which there is an object, or of label 0.
    objects : list of (Shape, label)
        Areas to paint.
    failures : list of str
        Why others were left out.
    """
    find = partial(_found, slide, run.settings, segment, run.pool)
    # A network is not sent to other machines, and is as fast as this one's cores alone.
    results = map(find, shapes) if segment is not None else run.mapper(find, shapes)
    kept: list[tuple[Shape, int | None]] = []
    objects: list[tuple[Shape, int | None]] = []
    missing: list[str] = []
    with run.progress.task("outline", len(shapes)) as task:
        for (shape, label), found in zip(shapes, results, strict=True):
            task.advance()
            if isinstance(found, str):
                missing.append(found)
                continue
            kept.append((shape, label))
            objects += [(each, label) for each in found]
    failures = [
        f"{slide.row.path}: {missing.count(reason)} of {len(shapes)} annotations left out: {reason}"
        for reason in dict.fromkeys(missing)
    ]
    return kept, objects, failures


def _found(
    slide: Surveyed,
    settings: PatchSettings,
    segment: Segment | None,
    pool: SlidePool,
    annotation: tuple[Shape, int | None],
) -> Sequence[Shape] | str:
    """Return the areas of one annotation, or why there are none."""
    shape, label = annotation
    if label == 0:
        return ()
    kind = (settings.mask or "").partition(":")[0] or _fitting(shape)
    if kind == "polygons":
        return _OUTLINELESS if shape.is_point else (shape,)
    if slide.mpp is None:
        return _UNSIZED
    if settings.disc is not None:
        return (_disc(shape, settings.disc, slide.mpp),)
    try:
        return _traced(slide, settings, segment, pool, shape) or _EMPTY
    except SkiptoolError as error:
        return str(error)


_OUTLINELESS = "points have no outline; choose --mask stain, disc:UM or model:FOLDER"
_EMPTY = "no object is found there"
_UNSIZED = (
    "the size of the slide's pixels is unknown, and masks of objects need it; fill in the column "
    "mpp of the manifest"
)


def _traced(
    slide: Surveyed,
    settings: PatchSettings,
    segment: Segment | None,
    pool: SlidePool,
    shape: Shape,
) -> Sequence[Shape]:
    """Segment the patch about an annotation and return the outlines of the object at it."""
    (patch,) = centred([shape], settings.size, slide.scale)
    with pool.get(slide.row.path, slide.row.mpp) as opened:
        image = opened.read(patch.x, patch.y, (patch.size, patch.size), patch.scale)
    if (mpp := slide.patch_mpp) is None:
        return ()
    x, y = shape.centre
    point = (x - patch.x) / patch.scale[0], (y - patch.y) / patch.scale[1]
    if segment is None:
        mask = stain_mask(image, point, mpp)
    else:
        mask = component_at(segment(image), point, REACH / max(mpp))
    return outlines(mask, patch, shape.name, shape.record) if mask.any() else ()


def _fitting(shape: Shape) -> str:
    """Draw outlines as they are, but not boxes, which only say where the object is."""
    if shape.is_point:
        return "stain"
    ring = shape.rings[0]
    box = len(ring) == 4 and len(shape.rings) == 1
    box = box and all(len(np.unique(ring[:, axis])) == 2 for axis in (0, 1))
    return "stain" if box else "polygons"


def _disc(shape: Shape, radius_um: float, mpp: tuple[float, float]) -> Shape:
    angle = np.arange(CORNERS) * (2 * np.pi / CORNERS)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return replace(shape, rings=(shape.centre + circle * radius_um / np.array(mpp),))
