"""Everything that will be read, decided before a patch is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from skiptool.errors import SkiptoolError
from skiptool.names import IGNORE, PatchMode, Split
from skiptool.records import Sample
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.nuclei import component_at, stain_mask
from skiptool.sources.patches.painting import Areas, Patch, outlines
from skiptool.sources.patches.placement import centred, grid
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.sources.slides.tissue import background
from skiptool.steps.extract_wsi.registration import (
    Labelled,
    Site,
    View,
    aligned_groups,
    carried,
    planned,
    sized,
)
from skiptool.steps.extract_wsi.settings import PatchSettings, Run
from skiptool.steps.extract_wsi.survey import Group, Labelling, Scan, Surveyed, grouped

if TYPE_CHECKING:
    from skiptool.records import Bool, UInt8

__all__ = [
    "Plan",
    "Scene",
    "Segment",
    "Work",
    "make_plan",
    "outlined",
    "painted",
    "read_work",
    "reference_sites",
    "unseen",
    "why_nothing",
]

# -------------------------------------------------------------------------------------------------
# Outlines of what is annotated by a point: discs, stained nuclei, what a model segments.


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


# -------------------------------------------------------------------------------------------------
# Sites to samples: pixels read, masks painted.


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A slide with what is painted on it, and where its samples belong.

    Attributes
    ----------
    slide : Scan
    painted : Areas
        Areas and labels in level-0 pixels of this slide, in paint order.
    points : sequence of (Shape, int or None)
        Annotations that say where, not what is painted.
    annotated : bool
        Whether anybody has annotated it; without annotations all pixels are ignored.
    split : Split
    fold : int
    """

    slide: Scan
    painted: Areas
    points: Sequence[tuple[Shape, int | None]]
    annotated: bool
    split: Split
    fold: int


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Some sites, and the scenes that they lie in, by place of the slide."""

    sites: Sequence[Site]
    scenes: Mapping[int, Scene]


def read_work(settings: PatchSettings, pool: SlidePool, work: Work) -> list[list[Sample] | str]:
    """Read sites: the samples of each, one a view, or why one of them failed."""
    found: list[list[Sample] | str] = []
    for site in work.sites:
        try:
            views = [(view, work.scenes[view.slide]) for view in site.views]
            found.append([_sample(site, view, scene, settings, pool) for view, scene in views])
        except SkiptoolError as error:
            found.append(str(error))
    return found


def _sample(
    site: Site, view: View, scene: Scene, settings: PatchSettings, pool: SlidePool
) -> Sample:
    slide, patch = scene.slide, view.patch
    with pool.get(slide.row.path, slide.row.mpp) as opened:
        image = opened.read(patch.x, patch.y, (patch.size, patch.size), patch.scale)
    mask = painted(patch, scene, _ground(image, scene, settings))
    known = mask != IGNORE
    across, down = slide.patch_mpp or (math.nan, math.nan)
    columns: dict[str, str | int | float] = {
        **{"slide": slide.name, "x": float(patch.x), "y": float(patch.y)},
        **{"mpp": across, "mpp_y": down},
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
        split=scene.split,
        fold=scene.fold,
        columns=columns,
    )


def painted(patch: Patch, scene: Scene, ground: UInt8) -> UInt8:
    """Paint what is annotated over a ground (H, W); what lies beside the slide is ignored (255)."""
    mask = scene.painted.paint(patch, ground)
    line = np.arange(patch.size) + 0.5
    for rows, start, step, extent in (
        (mask, patch.y, patch.scale[1], scene.slide.size[1]),
        (mask.T, patch.x, patch.scale[0], scene.slide.size[0]),
    ):
        middle = start + line * step
        rows[(middle < 0) | (middle >= extent)] = IGNORE
    return mask


def _ground(image: UInt8, scene: Scene, settings: PatchSettings) -> UInt8:
    """Labels before anything is painted (III.C): slide background 0, unannotated tissue ignored.

    Centred patches (III.B) are annotated everywhere: what is no object is background.
    """
    if settings.mode is PatchMode.CENTRED:
        return np.zeros(image.shape[:2], dtype=np.uint8)
    ground = np.full(image.shape[:2], IGNORE, dtype=np.uint8)
    if scene.annotated:
        ground[background(image, scene.slide.threshold, scene.slide.black)] = 0
    return ground


Label = TypeVar("Label")

_LESS: Final = (0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.0)
"""Values of --min-tissue that may be proposed."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Sites to read and the scenes they lie in, by place of the slide.

    Attributes
    ----------
    slides : sequence of Surveyed
    scenes : dict of int to Scene
    sites : list of Site
    groups : list of Group
        Aligned scans, where ``register`` is asked for.
    rows : list of dict
        Of the table ``registration``.
    failures : list of str
    """

    slides: Sequence[Surveyed]
    scenes: dict[int, Scene]
    sites: list[Site]
    groups: list[Group]
    rows: list[dict[str, Any]]
    failures: list[str]


def reference_sites(
    slides: Sequence[Surveyed],
    labels: Labelling,
    dealing: Sequence[tuple[Split, int]],
    run: Run,
) -> list[Site]:
    """Plan the sites of all slides that are not carried over from another, without any pixel."""
    found = []
    for place, slide in enumerate(slides):
        if run.settings.register in (None, slide.row.domain):
            shapes = _labelled(slide, labels, run.settings)
            found += planned(place, slide, shapes, dealing[place][0], run.settings, run.seed)
    return found


def make_plan(
    run: Run,
    slides: Sequence[Surveyed],
    rows: Sequence[SlideRow],
    labels: Labelling,
    dealing: Sequence[tuple[Split, int]],
) -> Plan:
    """Align scans, outline objects, choose sites and carry them to all domains.

    Raises
    ------
    FormatError, MismatchError
        If the model of ``--mask model`` cannot be used.
    """
    groups, failures = _groups(slides, rows, run.settings)
    if run.settings.register is not None:
        groups, failed = aligned_groups(run, groups, slides)
        failures += failed
        slides = sized(slides, groups, run.settings, run.progress)
    segment = _segmenter(run.settings)
    plan = Plan(slides, {}, [], groups, [], failures)
    for group in groups:
        shapes = _labelled(slides[group.reference], labels, run.settings)
        _add(plan, run, group, slides, shapes, dealing[group.reference], segment)
    return plan


def _add(
    plan: Plan,
    run: Run,
    group: Group,
    slides: Sequence[Surveyed],
    shapes: Labelled,
    dealing: tuple[Split, int],
    segment: Segment | None,
) -> None:
    """Add one slide with its other scans to the plan."""
    slide, painted = slides[group.reference], shapes
    if run.settings.mode is PatchMode.CENTRED:
        shapes, painted, failed = outlined(run, slide, shapes, segment)
        plan.failures.extend(failed)
    split, fold = dealing
    sites = planned(group.reference, slide, shapes, split, run.settings, run.seed)
    if not sites:
        plan.failures.append(why_nothing(slide, run.settings))
        return
    areas = [(shape, IGNORE if label is None else label) for shape, label in painted]
    points = [(shape, label) for shape, label in shapes if shape.is_point]
    annotated = bool(slide.shapes)
    plan.scenes[group.reference] = Scene(
        slide.scan, Areas.of(areas), points, annotated, split, fold
    )
    for place, alignment in group.others.items():
        there = Areas.of(_moved(areas, alignment)), _moved(points, alignment)
        plan.scenes[place] = Scene(slides[place].scan, *there, annotated, split, fold)
    if group.others:
        sites, rows = carried(run, group, sites, slides)
        plan.rows.extend(rows)
    plan.sites.extend(sites)


def _groups(
    slides: Sequence[Surveyed], rows: Sequence[SlideRow], settings: PatchSettings
) -> tuple[list[Group], list[str]]:
    if settings.register is None:
        return [Group(place, {}) for place in range(len(slides))], []
    return grouped(slides, rows, settings.register)


def _labelled(slide: Surveyed, labels: Labelling, settings: PatchSettings) -> Labelled:
    found = [(shape, labels.label(slide, shape)) for shape in slide.shapes]
    if settings.mode is PatchMode.CENTRED:
        return [(shape, label) for shape, label in found if label not in (None, IGNORE)]
    return found


def _moved(
    shapes: Sequence[tuple[Shape, Label]], alignment: Alignment | None
) -> list[tuple[Shape, Label]]:
    if alignment is None:
        raise RuntimeError("annotations of a scan that is not aligned")
    return [(shape.mapped(alignment.to_other), label) for shape, label in shapes]


def why_nothing(slide: Surveyed, settings: PatchSettings) -> str:
    """Say why a slide gives no patch, and what would give some."""
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


def _too_little_tissue(slide: Surveyed, settings: PatchSettings) -> str:
    found = grid(slide.size, slide.tissue, settings.size, slide.scale, settings.step, -1.0)
    shares = np.array([patch.columns["tissue"] for patch in found], dtype=np.float64)
    shares = shares[shares > 0]
    none = f"no patch of {settings.size} px has more tissue than {settings.min_tissue:g}"
    if not shares.size:
        return f"{none}: no tissue is found on the slide"
    gives, seen = [], 0
    for least in _LESS:
        count = int((shares > least).sum())
        if count > seen:
            gives.append(f"; --min-tissue {least:g} would give {count}")
            seen = count
    small = any(
        extent < settings.size * by for extent, by in zip(slide.size, slide.scale, strict=True)
    )
    return (
        f"{none}: of {shares.size} with any the median has {np.median(shares):.2g}, the best "
        f"{shares.max():.2g}{''.join(gives[:3])}"
        + ("; the slide is smaller than a patch, see --patch-size" if small else "")
    )


def unseen(plan: Plan, labels: Labelling, mode: PatchMode) -> list[str]:
    """Find classes that are annotated and that no mask will show, one line for each."""
    shapes: dict[int, list[Shape]] = {}
    for slide in plan.slides:
        for shape in slide.shapes:
            label = labels.label(slide, shape)
            if label not in (None, 0, IGNORE):
                shapes.setdefault(label, []).append(shape)
    wanted = set(shapes)
    for site in plan.sites:
        if not wanted:
            break
        view = site.views[0]
        scene = plan.scenes[view.slide]
        near = {scene.painted.shapes[at][1] for at in scene.painted.near(view.patch)}
        if near & wanted:
            nothing = np.zeros((view.patch.size,) * 2, dtype=np.uint8)
            wanted -= set(np.unique(painted(view.patch, scene, nothing)).tolist())
    return [_unseen(labels.name(label), shapes[label], mode) for label in sorted(wanted)]


def _unseen(name: str, shapes: Sequence[Shape], mode: PatchMode) -> str:
    points = mode is not PatchMode.CENTRED and all(shape.is_point for shape in shapes)
    why = (
        "points, which have no pixels; use --mode centred"
        if points
        else "which lie below others, beside the slide or in none of the patches"
    )
    return f"class {name} has no pixel in any mask: {len(shapes)} annotations, {why}"


def _segmenter(settings: PatchSettings) -> Segment | None:
    if settings.model is None:
        return None
    # On demand: torch takes seconds to import, and nothing else here needs it.
    predicted = import_module("skiptool.steps.extract_wsi.predicted")
    found: Segment = predicted.segmenter(settings.model)[0]
    return found
