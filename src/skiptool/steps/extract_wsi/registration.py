"""Patch sites: placed on a slide, then transferred to the other scans of the same glass slide.

Scans are aligned to that of the reference domain. A site is kept if its residual misalignment is
small enough on every scan. Pixel sizes that are unknown or wrong follow from the alignments.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from skiptool.analysis.registration import ELSEWHERE
from skiptool.errors import SkiptoolError
from skiptool.names import IGNORE_LABEL, PatchMode, Split
from skiptool.records import Progress
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Patch
from skiptool.sources.patches.placement import centre_patches, grid_patches, sample_patches
from skiptool.sources.registration.align import align
from skiptool.sources.registration.tiles import residual
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.splits import split_of
from skiptool.steps.extract_wsi.settings import (
    ExtractionContext,
    PatchSettings,
    RegistrationCache,
)
from skiptool.steps.extract_wsi.survey import ScanGroup, SlideScan, SurveyedSlide

LabelledShapes = Sequence[tuple[Shape, int | None]]
"""Annotations of a slide with their labels, None for names in no class."""

MEASURED_TILE = (128, 512)
"""Least and most level-0 pixels of the tile in which a residual is measured."""

AFFINE_COLUMNS = ("xx", "xy", "x0", "yx", "yy", "y0")
"""Columns of the table ``registration`` that hold the transform, row by row."""

TOLERANCE: Final = 0.01
"""Relative difference above which two pixel sizes contradict each other.

How many pixels of one scan cover a pixel of another is measured to far better than 1 %. Where that
contradicts the manifest and files, registration is trusted, with a warning.
"""


@dataclass(frozen=True, slots=True)
class PatchView:
    """A patch on one slide (its position in the list of slides), and its residual misalignment.

    ``residual`` is in level-0 pixels of the reference: 0 on the reference itself and where nothing
    is registered, None if it cannot be measured.
    """

    slide: int
    patch: Patch
    residual: float | None = 0.0


@dataclass(frozen=True, slots=True)
class PatchSite:
    """One place on the glass: a sample of the same id in the domain of each view."""

    id: str
    views: tuple[PatchView, ...]


def place_sites(
    place: int,
    slide: SurveyedSlide,
    shapes: LabelledShapes,
    fold: int,
    settings: PatchSettings,
    seed: int,
) -> list[PatchSite]:
    """Choose the patches of one slide; each becomes a site with one view.

    Parameters
    ----------
    place : int
        Position of the slide in the list of all.
    slide : SurveyedSlide
    shapes : sequence of (Shape, int or None)
        Its annotations with their labels; a centred patch is taken at each.
    fold : int
        Sampled patches of test slides (-1) are drawn once, those of training slides ``draws``
        times.
    settings : PatchSettings
    seed : int
        Sampled patches depend only on it and on the content of the slide.
    """
    size, scale = settings.size, slide.scale
    if settings.mode is PatchMode.CENTRED:
        patches = centre_patches([shape for shape, _ in shapes], size, scale)
        names = [str(patch.columns["record"]) for patch in patches]
    elif settings.mode is PatchMode.GRID:
        patches = grid_patches(
            slide.size, slide.tissue, size, scale, settings.step, settings.min_tissue
        )
        names = [f"x{patch.x:.0f}-y{patch.y:.0f}" for patch in patches]
    else:
        names, patches = _sampled_patches(slide, shapes, fold, settings, seed)
    seen: Counter[str] = Counter()
    sites = []
    for name, patch in zip(names, patches, strict=True):
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}-{seen[name]}"
        sites.append(PatchSite(f"{slide.name}-{unique}", (PatchView(place, patch),)))
    return sites


def _sampled_patches(
    slide: SurveyedSlide, shapes: LabelledShapes, fold: int, settings: PatchSettings, seed: int
) -> tuple[list[str], list[Patch]]:
    names: list[str] = []
    patches: list[Patch] = []
    for draw in range(settings.draws if split_of(fold) is Split.TRAIN else 1):
        drawn = sample_patches(
            [shape for shape, _ in shapes],
            [None if label == IGNORE_LABEL else label for _, label in shapes],
            slide.tissue,
            slide.size,
            settings.size,
            slide.scale,
            settings.patches,
            draw,
            np.random.default_rng([seed, int(slide.key[:16], 16), draw]),
            settings.background,
        )
        names += [f"draw{draw}-{number:03d}" for number in range(len(drawn))]
        patches += drawn
    return names, patches


def align_groups(
    context: ExtractionContext, groups: Sequence[ScanGroup], slides: Sequence[SurveyedSlide]
) -> tuple[list[ScanGroup], list[str]]:
    """Align all scans to their references; a glass slide with a scan that fails is left out."""
    cache = _cache(context)

    def key(pair: tuple[int, int]) -> tuple[str, str, str]:
        return "align", slides[pair[0]].key, slides[pair[1]].key

    pairs = [(group.reference, other) for group in groups for other in group.others]
    cached = {pair: cache.get(*key(pair)) for pair in pairs}
    alignments = {
        pair: Alignment.from_json(noted) for pair, noted in cached.items() if noted is not None
    }
    todo = [pair for pair in pairs if pair not in alignments]
    failures: list[str] = []
    with context.progress.task("register", len(pairs)) as task:
        task.advance(len(pairs) - len(todo))
        rows = [(slides[first].row, slides[other].row) for first, other in todo]
        results = context.mapper(partial(_align, context.pool), rows)
        for pair, aligned in zip(todo, results, strict=True):
            task.advance(note=slides[pair[1]].row.path.name)
            if isinstance(aligned, str):
                failures.append(aligned)
                continue
            cache.put(aligned.as_json(), *key(pair))
            alignments[pair] = aligned
    complete = []
    for group in groups:
        others = {other: alignments.get((group.reference, other)) for other in group.others}
        if all(alignment is not None for alignment in others.values()):
            complete.append(ScanGroup(group.reference, others))
    return complete, failures


def _align(pool: SlidePool, rows: tuple[SlideRow, SlideRow]) -> Alignment | str:
    first, other = rows
    try:
        with (
            pool.get(first.path, first.mpp) as reference,
            pool.get(other.path, other.mpp) as moving,
        ):
            return align(reference, moving)
    except SkiptoolError as error:
        return f"{other.path}: not registered to {first.path}, its slide is left out ({error})"


def transfer_sites(
    context: ExtractionContext,
    group: ScanGroup,
    sites: Sequence[PatchSite],
    slides: Sequence[SurveyedSlide],
) -> tuple[list[PatchSite], list[dict[str, Any]]]:
    """Add the views on all other scans to the sites of a reference slide.

    Returns
    -------
    sites : list of PatchSite
        Those with a small enough residual on every scan.
    rows : list of dict
        Of the table ``registration``: one for each site and scan.
    """
    cache = _cache(context)
    scans = {place: slides[place].scan for place in (group.reference, *group.others)}
    measure = partial(_measured, group, scans, context.settings, context.pool)
    key = slides[group.reference].key
    todo = [site for site in sites if cache.get("site", key, site.id) is None]
    with context.progress.task("measure", len(sites)) as task:
        task.advance(len(sites) - len(todo))
        for site, measured in zip(todo, context.mapper(measure, todo), strict=True):
            cache.put(measured, "site", key, site.id)
            task.advance()
    kept, rows = [], []
    for site in sites:
        own = cache.get("site", key, site.id)
        lost = any(row["reason"] for row in own)
        elsewhere = ELSEWHERE if lost else None
        rows += [{**row, "kept": not lost, "reason": row["reason"] or elsewhere} for row in own]
        if not lost:
            kept.append(_with_views(site, group, slides, own))
    return kept, rows


def _with_views(
    site: PatchSite,
    group: ScanGroup,
    slides: Sequence[SurveyedSlide],
    rows: Sequence[Mapping[str, Any]],
) -> PatchSite:
    views = []
    for place, row in zip(group.others, rows, strict=True):
        centre = (row["x_other"], row["y_other"])
        patch = patch_at(centre, site.views[0].patch, slides[place])
        views.append(PatchView(place, patch, row["residual"]))
    return PatchSite(site.id, (*site.views, *views))


def _measured(
    group: ScanGroup,
    scans: Mapping[int, SlideScan],
    settings: PatchSettings,
    pool: SlidePool,
    site: PatchSite,
) -> list[dict[str, Any]]:
    """Return the rows of a site, one for each scan; ``kept`` depends on all of them."""
    rows = []
    reference, patch = scans[group.reference], site.views[0].patch
    for place, alignment in group.others.items():
        if alignment is None:
            raise RuntimeError("a site is transferred to a scan that is not aligned")
        x, y = alignment.to_other(np.array([patch.centre]))[0].tolist()
        moved = patch_at((x, y), patch, scans[place])
        px, reason = _judged(reference, scans[place], alignment, patch, moved, settings, pool)
        row = _row(reference, scans[place], alignment, site, px, reason)
        rows.append(row | {"x": patch.centre[0], "y": patch.centre[1], "x_other": x, "y_other": y})
    return rows


def _cache(context: ExtractionContext) -> RegistrationCache:
    if context.cache is None:
        raise RuntimeError("registration in a dry run")
    return context.cache


def patch_at(centre: tuple[float, float], like: Patch, slide: SlideScan) -> Patch:
    """Return a patch of the same size and columns centred on a point of another slide.

    Its corner is a whole number of the patch's pixels from that of the slide, so that a level is
    read without resampling.
    """
    x, y = (round(at / by - like.size / 2) * by for at, by in zip(centre, slide.scale, strict=True))
    return Patch(x, y, like.size, slide.scale, like.columns)


def _judged(
    reference: SlideScan,
    other: SlideScan,
    alignment: Alignment,
    patch: Patch,
    moved: Patch,
    settings: PatchSettings,
    pool: SlidePool,
) -> tuple[float | None, str]:
    """Measure the residual in pixels; also return why the patch cannot be kept, or nothing."""
    x, y = moved.centre
    if not (0 <= x < other.size[0] and 0 <= y < other.size[1]):
        return None, "outside of the scan"
    least, most = MEASURED_TILE
    tile = int(min(max(round(patch.size * max(patch.scale)), least), most))
    with (
        pool.get(reference.row.path, reference.row.mpp) as first,
        pool.get(other.row.path, other.row.mpp) as second,
    ):
        measured = residual(first, second, alignment, patch.centre, tile)
    if measured.px is None:
        return None, "" if measured.empty else "residual cannot be measured"
    if measured.px > settings.max_residual:
        return measured.px, f"residual above {settings.max_residual:g} px"
    return measured.px, ""


def _row(
    reference: SlideScan,
    other: SlideScan,
    alignment: Alignment,
    site: PatchSite,
    px: float | None,
    reason: str,
) -> dict[str, Any]:
    um = None if px is None or reference.mpp is None else px * sum(reference.mpp) / 2
    return {
        "subject": reference.row.subject,
        "slide": reference.name,
        "reference_domain": reference.row.domain,
        "domain": other.row.domain,
        "sample": site.id,
        "residual": px,
        "residual_um": um,
        "reason": reason or None,
        **dict(zip(AFFINE_COLUMNS, alignment.affine.ravel().tolist(), strict=True)),
        "mirrored": alignment.mirrored,
        "inliers": alignment.inliers,
    }


# Pixel sizes by registration: those that are unknown, and those that are wrong.


def with_measured_mpp(
    slides: Sequence[SurveyedSlide],
    groups: Sequence[ScanGroup],
    settings: PatchSettings,
    progress: Progress,
) -> list[SurveyedSlide]:
    """Set pixel sizes of scans from their alignments; the groups must be aligned.

    An unknown size is taken from the other scans of the glass slide. A size that differs from the
    measured one by more than 1 % is replaced by it, and with ``--mpp`` the scan is read at that
    resolution. ``relative_mpp`` is set on all. Warn once of each domain whose sizes are
    contradicted, or differ from the reference's and are unknown in both.
    """
    sized = list(slides)
    wrong: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    unknown: dict[tuple[str, str], list[float]] = defaultdict(list)
    for group in groups:
        zooms = {place: _zoom(other) for place, other in group.others.items() if other is not None}
        others = [(sized[place], zoom) for place, zoom in zooms.items()]
        reference = _reference(sized[group.reference], others)
        sized[group.reference] = reference
        for place, zoom in zooms.items():
            other, stated = sized[place], sized[place].mpp
            if reference.mpp is not None:
                size = _mean(reference.mpp) / zoom
                if stated is not None and abs(size / _mean(stated) - 1) > TOLERANCE:
                    facts = 1 / zoom, _mean(stated) / _mean(reference.mpp), size
                    wrong[reference.row.domain, other.row.domain].append(facts)
                other = _with_size(other, size, settings)
            relative = _mean(other.scale) / _mean(reference.scale) / zoom
            sized[place] = replace(other, relative_mpp=relative)
            if reference.mpp is None and abs(relative - 1) > TOLERANCE:
                unknown[reference.row.domain, other.row.domain].append(relative)
    for (first, second), relatives in unknown.items():
        progress.warn(_unknown(first, second, float(np.median(relatives))))
    for (first, second), ratios in wrong.items():
        progress.warn(_contradiction(first, second, ratios, settings))
    return sized


def _reference(
    slide: SurveyedSlide, others: Sequence[tuple[SurveyedSlide, float]]
) -> SurveyedSlide:
    """Take the size of a reference of unknown size from another scan."""
    sizes = (_mean(other.mpp) * zoom for other, zoom in others if other.mpp is not None)
    size = None if slide.mpp is not None else next(sizes, None)
    return slide if size is None else replace(slide, mpp=(size, size))


def _with_size(slide: SurveyedSlide, size: float, settings: PatchSettings) -> SurveyedSlide:
    """Set the pixel size of a scan (mean of both axes), unless its own is close enough."""
    if slide.mpp is None:
        mpp = size, size
    else:
        factor = size / _mean(slide.mpp)
        if abs(factor - 1) <= TOLERANCE:
            return slide
        mpp = slide.mpp[0] * factor, slide.mpp[1] * factor
    if settings.mpp is None:
        return replace(slide, mpp=mpp)
    return replace(slide, mpp=mpp, scale=(settings.mpp / mpp[0], settings.mpp / mpp[1]))


def _zoom(alignment: Alignment) -> float:
    """Return how many pixels of the other scan a pixel of the reference spans."""
    return math.sqrt(abs(float(np.linalg.det(alignment.affine[:, :2]))))


def _mean(pair: tuple[float, float]) -> float:
    return math.sqrt(pair[0] * pair[1])


def _unknown(first: str, second: str, relative: float) -> str:
    return (
        f"{second}: a pixel of its patches shows {relative:.4g} times the width of one of {first} "
        "by registration, and neither size is known. To bring them to one scale fill in the column "
        f"mpp of the manifest, for {second} {relative:.4g} times that of {first}, and give --mpp"
    )


def _contradiction(
    first: str,
    second: str,
    ratios: Sequence[tuple[float, float, float]],
    settings: PatchSettings,
) -> str:
    measured, stated, size = (float(np.median(column)) for column in zip(*ratios, strict=True))
    scans = f"{len(ratios)} scans" if len(ratios) > 1 else "1 scan"
    read = f" and used for --mpp {settings.mpp:g}" if settings.mpp else ""
    return (
        f"{second}: its pixels are {measured:.3g} times as large as those of {first} by "
        f"registration, {stated:.3g} times by their mpp ({scans}); registration is trusted: mpp "
        f"{size:.4g} is recorded{read}. If {first} is the one that is wrong, correct its column "
        "mpp in the manifest"
    )
