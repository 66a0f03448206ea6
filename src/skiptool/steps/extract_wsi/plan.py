"""Everything that will be read, decided before a patch is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeVar

import numpy as np

from skiptool.names import IGNORE, PatchMode, Split
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Areas
from skiptool.sources.patches.placement import grid
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.steps.extract_wsi.grouping import Group, grouped
from skiptool.steps.extract_wsi.labels import Labelling
from skiptool.steps.extract_wsi.matching import aligned_groups, carried
from skiptool.steps.extract_wsi.objects import Segment, outlined
from skiptool.steps.extract_wsi.pixel_sizes import sized
from skiptool.steps.extract_wsi.pixels import Scene, painted
from skiptool.steps.extract_wsi.run import Run
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.sites import Labelled, Site, planned
from skiptool.steps.extract_wsi.survey import Surveyed

__all__ = ["Plan", "make_plan", "reference_sites", "unseen", "why_nothing"]

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
