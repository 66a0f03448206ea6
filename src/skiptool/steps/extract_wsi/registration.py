"""Patch sites: placed on a slide, then transferred to the other scans of the same glass slide.

Scans are aligned to that of the reference domain. A site is kept if its residual misalignment is
small enough on every scan. Unknown and wrong pixel sizes are derived from the alignments.
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
"""Annotations of a slide with their labels, None if they are in no class."""

MEASURED_TILE = (128, 512)
"""Smallest and largest side of the tile in which a residual is measured, in level-0 pixels."""

AFFINE_COLUMNS = ("xx", "xy", "x0", "yx", "yy", "y0")
"""Columns of the table ``registration`` that hold the transform, row by row."""

TOLERANCE: Final = 0.01
"""Relative difference above which two pixel sizes contradict each other.

The ratio of the pixel sizes of two scans is measured to far better than 1 %. If it contradicts the
manifest or the files, registration is trusted, with a warning.
"""


@dataclass(frozen=True, slots=True)
class PatchView:
    """A patch on one slide, given by its index in the list of slides, and its misalignment.

    ``residual`` is in level-0 pixels of the reference scan: 0 on that scan itself and without
    registration, None if it cannot be measured.
    """

    slide: int
    patch: Patch
    residual: float | None = 0.0


@dataclass(frozen=True, slots=True)
class PatchSite:
    """One location on the glass: a sample with the same id in the domain of each view."""

    id: str
    views: tuple[PatchView, ...]


def place_sites(
    index: int,
    slide: SurveyedSlide,
    shapes: LabelledShapes,
    fold: int,
    settings: PatchSettings,
    seed: int,
) -> list[PatchSite]:
    """Choose the patches of one slide; each becomes a site with one view.

    Parameters
    ----------
    index : int
        Index of the slide in the list of slides.
    shapes : sequence of (Shape, int or None)
        Its annotations with their labels; a centred patch is taken at each.
    fold : int
        Patches of test slides (-1) are sampled once, those of training slides ``draws`` times.
    seed : int
        Sampled patches depend only on the seed and on the content of the slide.
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
        names, patches = _sample_patches(slide, shapes, fold, settings, seed)
    seen: Counter[str] = Counter()
    sites = []
    for name, patch in zip(names, patches, strict=True):
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}-{seen[name]}"
        sites.append(PatchSite(f"{slide.name}-{unique}", (PatchView(index, patch),)))
    return sites


def _sample_patches(
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
        pair: Alignment.from_json(entry) for pair, entry in cached.items() if entry is not None
    }
    todo = [pair for pair in pairs if pair not in alignments]
    failures: list[str] = []
    with context.progress.task("register", len(pairs)) as task:
        task.advance(len(pairs) - len(todo))
        rows = [(slides[first].row, slides[other].row) for first, other in todo]
        results = context.mapper(partial(_align, context.pool), rows)
        for pair, result in zip(todo, results, strict=True):
            task.advance(note=slides[pair[1]].row.path.name)
            if isinstance(result, str):
                failures.append(result)
                continue
            cache.put(result.as_json(), *key(pair))
            alignments[pair] = result
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
    scans = {index: slides[index].scan for index in (group.reference, *group.others)}
    measure = partial(_measure_site, group, scans, context.settings, context.pool)
    key = slides[group.reference].key
    todo = [site for site in sites if cache.get("site", key, site.id) is None]
    with context.progress.task("measure", len(sites)) as task:
        task.advance(len(sites) - len(todo))
        for site, measured in zip(todo, context.mapper(measure, todo), strict=True):
            cache.put(measured, "site", key, site.id)
            task.advance()
    kept, rows = [], []
    for site in sites:
        site_rows = cache.get("site", key, site.id)
        keep = not any(row["reason"] for row in site_rows)
        default = None if keep else ELSEWHERE
        rows += [{**row, "kept": keep, "reason": row["reason"] or default} for row in site_rows]
        if keep:
            kept.append(_add_views(site, group, slides, site_rows))
    return kept, rows


def _add_views(
    site: PatchSite,
    group: ScanGroup,
    slides: Sequence[SurveyedSlide],
    rows: Sequence[Mapping[str, Any]],
) -> PatchSite:
    views = []
    for index, row in zip(group.others, rows, strict=True):
        centre = (row["x_other"], row["y_other"])
        patch = patch_at(centre, site.views[0].patch, slides[index])
        views.append(PatchView(index, patch, row["residual"]))
    return PatchSite(site.id, (*site.views, *views))


def _measure_site(
    group: ScanGroup,
    scans: Mapping[int, SlideScan],
    settings: PatchSettings,
    pool: SlidePool,
    site: PatchSite,
) -> list[dict[str, Any]]:
    """Return the rows of a site, one for each scan; ``kept`` depends on all of them."""
    rows = []
    reference, patch = scans[group.reference], site.views[0].patch
    for index, alignment in group.others.items():
        if alignment is None:
            raise RuntimeError("a site is transferred to a scan that is not aligned")
        other = scans[index]
        x, y = alignment.to_other(np.array([patch.centre]))[0].tolist()
        moved = patch_at((x, y), patch, other)
        px, reason = _measure_residual(reference, other, alignment, patch, moved, settings, pool)
        row = _registration_row(reference, other, alignment, site, px, reason)
        rows.append(row | {"x": patch.centre[0], "y": patch.centre[1], "x_other": x, "y_other": y})
    return rows


def _cache(context: ExtractionContext) -> RegistrationCache:
    if context.cache is None:
        raise RuntimeError("registration in a dry run")
    return context.cache


def patch_at(centre: tuple[float, float], like: Patch, slide: SlideScan) -> Patch:
    """Return a patch of the same size and columns centred on a point of another slide.

    Its corner is a whole number of patch pixels from that of the slide, so that a level is read
    without resampling.
    """
    x, y = (round(at / by - like.size / 2) * by for at, by in zip(centre, slide.scale, strict=True))
    return Patch(x, y, like.size, slide.scale, like.columns)


def _measure_residual(
    reference: SlideScan,
    other: SlideScan,
    alignment: Alignment,
    patch: Patch,
    moved: Patch,
    settings: PatchSettings,
    pool: SlidePool,
) -> tuple[float | None, str]:
    """Measure the residual in pixels; also return why the patch cannot be kept, "" if it can."""
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


def _registration_row(
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


# Pixel sizes by registration: unknown ones are set, wrong ones corrected.


@dataclass(frozen=True, slots=True)
class _Contradiction:
    """Pixel size of a scan relative to its reference, measured and stated, and its measured mpp."""

    measured: float
    stated: float
    mpp: float


def correct_pixel_sizes(
    slides: Sequence[SurveyedSlide],
    groups: Sequence[ScanGroup],
    settings: PatchSettings,
    progress: Progress,
) -> list[SurveyedSlide]:
    """Set pixel sizes of scans from their alignments; the groups must be aligned.

    An unknown size is derived from the other scans of the glass slide. A size that differs from the
    measured one by more than 1 % is replaced by it, and with ``--mpp`` the scan is read at that
    resolution. ``relative_mpp`` is set on all. Warn once of each domain whose sizes are
    contradicted, or differ from those of the reference if both are unknown.
    """
    sized = list(slides)
    wrong: dict[tuple[str, str], list[_Contradiction]] = defaultdict(list)
    unknown: dict[tuple[str, str], list[float]] = defaultdict(list)
    for group in groups:
        zooms = {index: _zoom(other) for index, other in group.others.items() if other is not None}
        others = [(sized[index], zoom) for index, zoom in zooms.items()]
        reference = _derive_reference_size(sized[group.reference], others)
        sized[group.reference] = reference
        for index, zoom in zooms.items():
            other, stated = sized[index], sized[index].mpp
            domains = reference.row.domain, other.row.domain
            if reference.mpp is not None:
                size = _mean(reference.mpp) / zoom
                if stated is not None and abs(size / _mean(stated) - 1) > TOLERANCE:
                    ratio = _mean(stated) / _mean(reference.mpp)
                    wrong[domains].append(_Contradiction(1 / zoom, ratio, size))
                other = _set_size(other, size, settings)
            relative = _mean(other.scale) / _mean(reference.scale) / zoom
            sized[index] = replace(other, relative_mpp=relative)
            if reference.mpp is None and abs(relative - 1) > TOLERANCE:
                unknown[domains].append(relative)
    for (first, second), ratios in unknown.items():
        progress.warn(_unknown_size_warning(first, second, float(np.median(ratios))))
    for (first, second), contradictions in wrong.items():
        progress.warn(_contradiction_warning(first, second, contradictions, settings))
    return sized


def _derive_reference_size(
    slide: SurveyedSlide, others: Sequence[tuple[SurveyedSlide, float]]
) -> SurveyedSlide:
    """Derive an unknown pixel size of a reference from that of another scan."""
    if slide.mpp is None:
        for other, zoom in others:
            if other.mpp is not None:
                size = _mean(other.mpp) * zoom
                return replace(slide, mpp=(size, size))
    return slide


def _set_size(slide: SurveyedSlide, size: float, settings: PatchSettings) -> SurveyedSlide:
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
    """Return the width of a reference pixel in pixels of the other scan."""
    return math.sqrt(abs(float(np.linalg.det(alignment.affine[:, :2]))))


def _mean(pair: tuple[float, float]) -> float:
    """Return the geometric mean."""
    return math.sqrt(pair[0] * pair[1])


def _unknown_size_warning(first: str, second: str, ratio: float) -> str:
    return (
        f"{second}: by registration, pixels of its patches are {ratio:.4g} times as wide as those "
        f"of {first}, and neither size is known. To bring them to one scale, fill in the column "
        f"mpp of the manifest, for {second} {ratio:.4g} times that of {first}, and give --mpp"
    )


def _contradiction_warning(
    first: str,
    second: str,
    contradictions: Sequence[_Contradiction],
    settings: PatchSettings,
) -> str:
    measured = float(np.median([item.measured for item in contradictions]))
    stated = float(np.median([item.stated for item in contradictions]))
    mpp = float(np.median([item.mpp for item in contradictions]))
    scans = f"{len(contradictions)} scans" if len(contradictions) > 1 else "1 scan"
    use = f" and used for --mpp {settings.mpp:g}" if settings.mpp else ""
    return (
        f"{second}: its pixels are {measured:.3g} times as large as those of {first} by "
        f"registration, {stated:.3g} times by their mpp ({scans}); registration is trusted: mpp "
        f"{mpp:.4g} is recorded{use}. If the size of {first} is wrong instead, correct its column "
        "mpp in the manifest"
    )
