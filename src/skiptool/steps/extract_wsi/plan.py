"""Plan of all patches, made before any is written, and reading of their samples.

The masks of a slide are painted from its annotations; objects at points and boxes are outlined
first. Sites are placed on each slide, and with ``--register`` transferred to its other scans.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from skiptool.errors import SkiptoolError
from skiptool.extraction import attempt
from skiptool.names import IGNORE_LABEL, PatchMode, Split
from skiptool.records import Sample
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.nuclei import component_at, stain_mask
from skiptool.sources.patches.painting import Areas, Patch, outlines
from skiptool.sources.patches.placement import centre_patches, grid_patches
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.sources.slides.tissue import background
from skiptool.splits import split_of
from skiptool.steps.extract_wsi.registration import (
    LabelledShapes,
    PatchSite,
    PatchView,
    align_groups,
    correct_pixel_sizes,
    place_sites,
    transfer_sites,
)
from skiptool.steps.extract_wsi.settings import ExtractionContext, PatchSettings, Segmenter
from skiptool.steps.extract_wsi.survey import (
    Labelling,
    ScanGroup,
    SlideScan,
    SurveyedSlide,
    group_scans,
)

if TYPE_CHECKING:
    from skiptool.records import UInt8

Label = TypeVar("Label")

REACH = 3.0
"""Largest distance of a point from its object in micrometres."""

CORNERS = 64
"""Vertices of a disc: its area is 0.2 % below the circle's."""

_PROPOSED_SHARES: Final = (0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.0)
"""Values of --min-tissue to propose."""

_NO_OUTLINE = "points have no outline; choose --mask stain, disc:UM or model:FOLDER"
_NO_OBJECT = "no object is found there"
_NO_PIXEL_SIZE = (
    "the size of the slide's pixels is unknown, and masks of objects need it; fill in the column "
    "mpp of the manifest"
)


@dataclass(frozen=True, slots=True, eq=False)
class PaintedSlide:
    """A slide with the areas to paint on its masks, and the fold of its samples.

    Attributes
    ----------
    areas : Areas
        Areas and labels in level-0 pixels of this slide, in paint order.
    points : sequence of (Shape, int or None)
        Annotations that only mark positions and are not painted.
    annotated : bool
        If False, all pixels are ignored.
    fold : int
        -1 for testing.
    """

    slide: SlideScan
    areas: Areas
    points: Sequence[tuple[Shape, int | None]]
    annotated: bool
    fold: int

    @property
    def split(self) -> Split:
        """Split of the fold."""
        return split_of(self.fold)


@dataclass(frozen=True, slots=True, eq=False)
class PatchBatch:
    """Sites that are read together, and the slides they lie on, by index of the slide."""

    sites: Sequence[PatchSite]
    painted: Mapping[int, PaintedSlide]


@dataclass(frozen=True, slots=True, eq=False)
class PatchPlan:
    """Sites to read, and the slides they lie on.

    Attributes
    ----------
    painted : dict of int to PaintedSlide
        Slides with sites, by index in ``slides``.
    groups : list of ScanGroup
        Aligned if scans are registered.
    rows : list of dict
        Of the table ``registration``.
    """

    slides: Sequence[SurveyedSlide]
    painted: dict[int, PaintedSlide]
    sites: list[PatchSite]
    groups: list[ScanGroup]
    rows: list[dict[str, Any]]
    failures: list[str]


def reference_sites(
    slides: Sequence[SurveyedSlide],
    labels: Labelling,
    folds: Sequence[int],
    context: ExtractionContext,
) -> list[PatchSite]:
    """Place the sites of all slides except those to be registered, without reading any pixel."""
    settings = context.settings
    sites = []
    for index, slide in enumerate(slides):
        if settings.register in (None, slide.row.domain):
            shapes = _label_shapes(slide, labels, settings)
            sites += place_sites(index, slide, shapes, folds[index], settings, context.seed)
    return sites


def make_plan(
    context: ExtractionContext,
    slides: Sequence[SurveyedSlide],
    rows: Sequence[SlideRow],
    labels: Labelling,
    folds: Sequence[int],
) -> PatchPlan:
    """Align scans, outline objects, place sites and transfer them to all domains."""
    settings = context.settings
    groups = [ScanGroup(index, {}) for index in range(len(slides))]
    failures: list[str] = []
    if settings.register is not None:
        groups, failures = group_scans(slides, rows, settings.register)
        groups, failed = align_groups(context, groups, slides)
        failures += failed
        slides = correct_pixel_sizes(slides, groups, settings, context.progress)
    segment: Segmenter | None = None
    if settings.model is not None:
        # on demand: importing torch takes seconds
        from skiptool.steps.extract_wsi.predicted import load_segmenter

        segment = load_segmenter(settings.model)
    plan = PatchPlan(slides, {}, [], groups, [], failures)
    for group in groups:
        shapes = _label_shapes(slides[group.reference], labels, settings)
        _add_group(plan, context, group, shapes, folds[group.reference], segment)
    return plan


def _add_group(
    plan: PatchPlan,
    context: ExtractionContext,
    group: ScanGroup,
    shapes: LabelledShapes,
    fold: int,
    segment: Segmenter | None,
) -> None:
    """Add a slide and its other scans to the plan."""
    settings, slides = context.settings, plan.slides
    slide, objects = slides[group.reference], shapes
    if settings.mode is PatchMode.CENTRED:
        shapes, objects, failed = outline_objects(context, slide, shapes, segment)
        plan.failures.extend(failed)
    sites = place_sites(group.reference, slide, shapes, fold, settings, context.seed)
    if not sites:
        plan.failures.append(reason_for_no_patches(slide, settings))
        return
    areas = [(shape, IGNORE_LABEL if label is None else label) for shape, label in objects]
    points = [(shape, label) for shape, label in shapes if shape.is_point]
    annotated = bool(slide.shapes)
    plan.painted[group.reference] = PaintedSlide(
        slide.scan, Areas.of(areas), points, annotated, fold
    )
    for index, alignment in group.others.items():
        plan.painted[index] = PaintedSlide(
            slides[index].scan,
            Areas.of(_transfer(areas, alignment)),
            _transfer(points, alignment),
            annotated,
            fold,
        )
    if group.others:
        sites, rows = transfer_sites(context, group, sites, slides)
        plan.rows.extend(rows)
    plan.sites.extend(sites)


def _label_shapes(
    slide: SurveyedSlide, labels: Labelling, settings: PatchSettings
) -> LabelledShapes:
    labelled = [(shape, labels.label(slide, shape)) for shape in slide.shapes]
    if settings.mode is PatchMode.CENTRED:
        return [(shape, label) for shape, label in labelled if label not in (None, IGNORE_LABEL)]
    return labelled


def _transfer(
    shapes: Sequence[tuple[Shape, Label]], alignment: Alignment | None
) -> list[tuple[Shape, Label]]:
    if alignment is None:
        raise RuntimeError("annotations are transferred to a scan that is not aligned")
    return [(shape.mapped(alignment.to_other), label) for shape, label in shapes]


def reason_for_no_patches(slide: SurveyedSlide, settings: PatchSettings) -> str:
    """Explain why a slide gives no patches, and which options would give some."""
    where = slide.row.path
    if settings.mode is PatchMode.GRID:
        return f"{where}: {_too_little_tissue(slide, settings)}"
    if slide.row.annotations is None:
        return f"{where}: has no annotations; fill in the column annotations, or use --mode grid"
    if settings.mode is PatchMode.SAMPLED and all(shape.is_point for shape in slide.shapes):
        return (
            f"{where}: {slide.row.annotations} has {len(slide.shapes)} annotations of this slide, "
            "points without an area to draw patches from; use --mode centred"
        )
    return (
        f"{where}: {slide.row.annotations} has {len(slide.shapes)} annotations of this slide, none "
        "of which gives a patch; see --classes"
    )


def _too_little_tissue(slide: SurveyedSlide, settings: PatchSettings) -> str:
    patches = grid_patches(
        slide.size, slide.tissue, settings.size, slide.scale, settings.step, -1.0
    )
    shares = np.array([patch.columns["tissue"] for patch in patches], dtype=np.float64)
    shares = shares[shares > 0]
    none = f"no patch of {settings.size} px has more tissue than {settings.min_tissue:g}"
    if not shares.size:
        return f"{none}: no tissue is found on the slide"
    proposals, count = [], 0
    for share in _PROPOSED_SHARES:
        if (more := int((shares > share).sum())) > count:
            proposals.append(f"; --min-tissue {share:g} would give {more}")
            count = more
    hint = ""
    if any(
        extent < settings.size * scale
        for extent, scale in zip(slide.size, slide.scale, strict=True)
    ):
        hint = "; the slide is smaller than a patch, see --patch-size"
    return (
        f"{none}: of {shares.size} with any the median has {np.median(shares):.2g}, the best "
        f"{shares.max():.2g}{''.join(proposals[:3])}{hint}"
    )


def unseen_classes(plan: PatchPlan, labels: Labelling, mode: PatchMode) -> list[str]:
    """Return a warning for each annotated class that appears in no mask."""
    shapes: dict[int, list[Shape]] = {}
    for slide in plan.slides:
        for shape in slide.shapes:
            label = labels.label(slide, shape)
            if label not in (None, 0, IGNORE_LABEL):
                shapes.setdefault(label, []).append(shape)
    unseen = set(shapes)
    for site in plan.sites:
        if not unseen:
            break
        patch, painted = site.views[0].patch, plan.painted[site.views[0].slide]
        near = {painted.areas.shapes[index][1] for index in painted.areas.near(patch)}
        if near & unseen:
            zeros = np.zeros((patch.size, patch.size), dtype=np.uint8)
            unseen -= set(np.unique(paint_mask(patch, painted, zeros)).tolist())
    return [
        _unseen_class_warning(labels.name(label), shapes[label], mode) for label in sorted(unseen)
    ]


def _unseen_class_warning(name: str, shapes: Sequence[Shape], mode: PatchMode) -> str:
    if mode is not PatchMode.CENTRED and all(shape.is_point for shape in shapes):
        reason = "points, which have no pixels; use --mode centred"
    else:
        reason = "which lie below others, outside the slide or in none of the patches"
    return f"class {name} has no pixel in any mask: {len(shapes)} annotations, {reason}"


# Objects at annotations: annotated outlines, discs, stained nuclei, or objects found by a model.


def outline_objects(
    context: ExtractionContext,
    slide: SurveyedSlide,
    shapes: LabelledShapes,
    segment: Segmenter | None,
) -> tuple[list[tuple[Shape, int | None]], list[tuple[Shape, int | None]], list[str]]:
    """Find the object at each annotation of a slide, except for label 0.

    Returns
    -------
    kept : list of (Shape, label)
        Annotations with an object, or of label 0.
    objects : list of (Shape, label)
        Areas to paint.
    failures : list of str
        Reasons for which the others are left out.
    """
    find = partial(_outline_object, slide, context.settings, segment, context.pool)
    # a network is not sent to other machines, and uses all cores of this one anyway
    results = map(find, shapes) if segment is not None else context.mapper(find, shapes)
    kept: list[tuple[Shape, int | None]] = []
    objects: list[tuple[Shape, int | None]] = []
    reasons: list[str] = []
    with context.progress.task("outline", len(shapes)) as task:
        for (shape, label), areas in zip(shapes, results, strict=True):
            task.advance()
            if isinstance(areas, str):
                reasons.append(areas)
                continue
            kept.append((shape, label))
            objects += [(area, label) for area in areas]
    failures = [
        f"{slide.row.path}: {count} of {len(shapes)} annotations left out: {reason}"
        for reason, count in Counter(reasons).items()
    ]
    return kept, objects, failures


def _outline_object(
    slide: SurveyedSlide,
    settings: PatchSettings,
    segment: Segmenter | None,
    pool: SlidePool,
    annotation: tuple[Shape, int | None],
) -> Sequence[Shape] | str:
    """Return the areas of one annotation, or the reason why there are none."""
    shape, label = annotation
    if label == 0:
        return ()
    kind = (settings.mask or "").partition(":")[0]
    if kind == "polygons" or (not kind and _is_outline(shape)):
        return _NO_OUTLINE if shape.is_point else (shape,)
    if slide.mpp is None:
        return _NO_PIXEL_SIZE
    if settings.disc is not None:
        return (_disc(shape, settings.disc, slide.mpp),)
    try:
        return _segment_object(slide, settings, segment, pool, shape) or _NO_OBJECT
    except SkiptoolError as error:
        return str(error)


def _segment_object(
    slide: SurveyedSlide,
    settings: PatchSettings,
    segment: Segmenter | None,
    pool: SlidePool,
    shape: Shape,
) -> Sequence[Shape]:
    """Segment the patch around an annotation and outline the object at its centre."""
    (patch,) = centre_patches([shape], settings.size, slide.scale)
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


def _is_outline(shape: Shape) -> bool:
    """Return whether a shape outlines its object; points and boxes only locate it."""
    if shape.is_point:
        return False
    ring = shape.rings[0]
    box = len(ring) == 4 and len(shape.rings) == 1
    return not (box and all(len(np.unique(ring[:, axis])) == 2 for axis in (0, 1)))


def _disc(shape: Shape, radius_um: float, mpp: tuple[float, float]) -> Shape:
    angle = np.arange(CORNERS) * (2 * np.pi / CORNERS)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return replace(shape, rings=(shape.centre + circle * radius_um / np.array(mpp),))


# Samples: pixels read and masks painted.


def read_batch(
    settings: PatchSettings, pool: SlidePool, batch: PatchBatch
) -> list[list[Sample] | str]:
    """Read the samples of each site, one for each view, or return the error of the site."""

    def read(site: PatchSite) -> list[Sample]:
        return [
            _read_sample(site, view, batch.painted[view.slide], settings, pool)
            for view in site.views
        ]

    return [attempt(read, site) for site in batch.sites]


def _read_sample(
    site: PatchSite,
    view: PatchView,
    painted: PaintedSlide,
    settings: PatchSettings,
    pool: SlidePool,
) -> Sample:
    slide, patch = painted.slide, view.patch
    with pool.get(slide.row.path, slide.row.mpp) as opened:
        image = opened.read(patch.x, patch.y, (patch.size, patch.size), patch.scale)
    mask = paint_mask(patch, painted, _background_labels(image, painted, settings))
    known = mask != IGNORE_LABEL
    mpp, mpp_y = slide.patch_mpp or (math.nan, math.nan)
    columns: dict[str, str | int | float] = {
        "slide": slide.name,
        "x": float(patch.x),
        "y": float(patch.y),
        "mpp": mpp,
        "mpp_y": mpp_y,
        "level": slide.row.level if settings.mpp is None else -1,
        **patch.columns,
        "foreground": float((mask[known] > 0).mean()) if known.any() else 0.0,
    }
    if settings.register is not None:
        columns["residual"] = math.nan if view.residual is None else view.residual
        columns["relative_mpp"] = slide.relative_mpp
    return Sample(
        id=site.id,
        image=image,
        mask=mask,
        subject=slide.row.subject,
        domain=slide.row.domain,
        split=painted.split,
        fold=painted.fold,
        columns=columns,
    )


def paint_mask(patch: Patch, painted: PaintedSlide, ground: UInt8) -> UInt8:
    """Paint the annotations over a ground (H, W); pixels outside the slide are ignored (255)."""
    mask = painted.areas.paint(patch, ground)
    offsets = np.arange(patch.size) + 0.5
    x = patch.x + offsets * patch.scale[0]
    y = patch.y + offsets * patch.scale[1]
    width, height = painted.slide.size
    mask[(y < 0) | (y >= height)] = IGNORE_LABEL
    mask[:, (x < 0) | (x >= width)] = IGNORE_LABEL
    return mask


def _background_labels(image: UInt8, painted: PaintedSlide, settings: PatchSettings) -> UInt8:
    """Return labels before painting (III.C): slide background 0, unannotated tissue ignored.

    Centred patches (III.B) are annotated everywhere: all pixels outside objects are background.
    """
    if settings.mode is PatchMode.CENTRED:
        return np.zeros(image.shape[:2], dtype=np.uint8)
    labels = np.full(image.shape[:2], IGNORE_LABEL, dtype=np.uint8)
    if painted.annotated:
        labels[background(image, painted.slide.threshold, painted.slide.black)] = 0
    return labels
