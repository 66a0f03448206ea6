"""Scans of one glass slide: aligned to the reference domain's, its sites carried to all others."""

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
from skiptool.names import IGNORE, PatchMode, Split
from skiptool.records import Progress
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Patch
from skiptool.sources.patches.placement import centred, grid, sampled
from skiptool.sources.registration.align import align
from skiptool.sources.registration.tiles import residual
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.settings import Notes, PatchSettings, Run
from skiptool.steps.extract_wsi.survey import Group, Scan, Surveyed

__all__ = ["Labelled", "Site", "View", "aligned_groups", "carried", "patch_at", "planned", "sized"]

# -------------------------------------------------------------------------------------------------
# Places on glass: each becomes one sample in every domain that it was scanned in.


Labelled = Sequence[tuple[Shape, int | None]]
"""Annotations of a slide with their labels, None for names in no class."""


@dataclass(frozen=True, slots=True)
class View:
    """A patch on one slide: its place in the list of slides, and what is left of misalignment.

    ``residual`` is in level-0 pixels of the reference: 0 on the reference itself and where nothing
    is registered, None where it cannot be measured.
    """

    slide: int
    patch: Patch
    residual: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Site:
    """One place: a sample of the same id in the domain of each view."""

    id: str
    views: tuple[View, ...]


def planned(
    place: int, slide: Surveyed, shapes: Labelled, split: Split, settings: PatchSettings, seed: int
) -> list[Site]:
    """Choose the patches of one slide.

    Parameters
    ----------
    place : int
        Of the slide in the list of all.
    slide : Surveyed
    shapes : sequence of (Shape, int or None)
        Its annotations with their labels; centred patches are taken at all that are given.
    split : Split
        Sampled patches of test slides are drawn once, those of training slides ``draws`` times.
    settings : PatchSettings
    seed : int
        What is drawn depends on it, on the slide's content and on nothing else.

    Returns
    -------
    list of Site
        With one view each.
    """
    names, patches = _patches(slide, shapes, split, settings, seed)
    sites = []
    for name, patch in zip(_unique(names), patches, strict=True):
        sites.append(Site(f"{slide.name}-{name}", (View(place, patch),)))
    return sites


def _patches(
    slide: Surveyed, shapes: Labelled, split: Split, settings: PatchSettings, seed: int
) -> tuple[list[str], list[Patch]]:
    size, scale = settings.size, slide.scale
    if settings.mode is PatchMode.CENTRED:
        found = centred([shape for shape, _ in shapes], size, scale)
        return [str(patch.columns["record"]) for patch in found], found
    if settings.mode is PatchMode.GRID:
        found = grid(slide.size, slide.tissue, size, scale, settings.step, settings.min_tissue)
        return [f"x{patch.x:.0f}-y{patch.y:.0f}" for patch in found], found
    found = []
    for draw in range(settings.draws if split is Split.TRAIN else 1):
        found += sampled(
            [shape for shape, _ in shapes],
            [None if label == IGNORE else label for _, label in shapes],
            slide.tissue,
            slide.size,
            size,
            scale,
            settings.patches,
            draw,
            np.random.default_rng([seed, int(slide.key[:16], 16), draw]),
            settings.background,
        )
    numbers: Counter[object] = Counter()
    names = []
    for patch in found:
        draw_of = patch.columns["draw"]
        names.append(f"draw{draw_of}-{numbers[draw_of]:03d}")
        numbers[draw_of] += 1
    return names, found


def _unique(names: Sequence[str]) -> list[str]:
    """Put a number behind the later ones of equal names."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return found


TILES = (128, 512)
"""Least and most level-0 pixels of the tile by which a residual is measured."""

AFFINE = ("xx", "xy", "x0", "yx", "yy", "y0")
"""Columns of the table ``registration`` that hold the transform, row by row."""


def aligned_groups(
    run: Run, groups: Sequence[Group], slides: Sequence[Surveyed]
) -> tuple[list[Group], list[str]]:
    """Align all scans to their references; a glass slide with one that fails is left out."""
    pairs = [(group.reference, other) for group in groups for other in group.others]
    failures: list[str] = []
    done: dict[tuple[int, int], Alignment] = {}
    with run.progress.task("register", len(pairs)) as task:
        for pair in list(pairs):
            noted = _notes(run).known("align", *(slides[place].key for place in pair))
            if noted is not None:
                done[pair] = Alignment.from_json(noted)
                pairs.remove(pair)
                task.advance()
        work = [(slides[first].row, slides[other].row) for first, other in pairs]
        results = run.mapper(partial(_align, run.pool), work)
        for pair, found in zip(pairs, results, strict=True):
            task.advance(note=slides[pair[1]].row.path.name)
            if isinstance(found, str):
                failures.append(found)
                continue
            _notes(run).keep(found.as_json(), "align", *(slides[place].key for place in pair))
            done[pair] = found
    whole = []
    for group in groups:
        alignments = {other: done.get((group.reference, other)) for other in group.others}
        if all(alignment is not None for alignment in alignments.values()):
            whole.append(Group(group.reference, alignments))
    return whole, failures


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


def carried(
    run: Run, group: Group, sites: Sequence[Site], slides: Sequence[Surveyed]
) -> tuple[list[Site], list[dict[str, Any]]]:
    """Give the sites of a reference slide their views on all other scans.

    Returns
    -------
    sites : list of Site
        Those whose misalignment is small enough on every scan.
    rows : list of dict
        Of the table ``registration``: one for each site and scan.
    """
    scans = {place: slides[place].scan for place in (group.reference, *group.others)}
    measure = partial(_measured, group, scans, run.settings, run.pool)
    key = slides[group.reference].key
    todo = [site for site in sites if _notes(run).known("site", key, site.id) is None]
    with run.progress.task("measure", len(sites)) as task:
        task.advance(len(sites) - len(todo))
        for site, measured in zip(todo, run.mapper(measure, todo), strict=True):
            _notes(run).keep(measured, "site", key, site.id)
            task.advance()
    kept, rows = [], []
    for site in sites:
        found = _notes(run).known("site", key, site.id)
        whole = not any(row["reason"] for row in found)
        rows += [{**row, "kept": whole, "reason": _reason(row, found)} for row in found]
        if whole:
            kept.append(_with_views(site, group, slides, found))
    return kept, rows


def _reason(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Say why a patch is left out: for what this scan shows, or because another one is at fault."""
    lost = any(each["reason"] for each in rows)
    return row["reason"] or (ELSEWHERE if lost else None)


def _with_views(
    site: Site, group: Group, slides: Sequence[Surveyed], rows: Sequence[Mapping[str, Any]]
) -> Site:
    views = []
    for place, row in zip(group.others, rows, strict=True):
        centre = (row["x_other"], row["y_other"])
        patch = patch_at(centre, site.views[0].patch, slides[place])
        views.append(View(place, patch, row["residual"]))
    return Site(site.id, (*site.views, *views))


def _measured(
    group: Group,
    slides: Mapping[int, Scan],
    settings: PatchSettings,
    pool: SlidePool,
    site: Site,
) -> list[dict[str, Any]]:
    """Return the rows of a site, one a scan; ``kept`` is decided over all of them later."""
    rows = []
    reference, patch = slides[group.reference], site.views[0].patch
    for place, alignment in group.others.items():
        if alignment is None:
            raise RuntimeError("a site is carried to a scan that is not aligned")
        x, y = alignment.to_other(np.array([patch.centre]))[0].tolist()
        there = patch_at((x, y), patch, slides[place])
        scans = reference, slides[place]
        left, reason = _judged(scans, alignment, patch, there, settings, pool)
        row = _row(reference, slides[place], alignment, site, left, reason)
        here = dict(zip(("x", "y"), patch.centre, strict=True))
        rows.append(row | here | {"x_other": x, "y_other": y})
    return rows


def _notes(run: Run) -> Notes:
    if run.notes is None:
        raise RuntimeError("registration of what is not made")
    return run.notes


def patch_at(centre: tuple[float, float], like: Patch, slide: Scan) -> Patch:
    """Return a patch of the same size and columns about a point of another slide.

    The corner is a whole number of the patch's pixels from that of the slide, so that a level is
    read as it was scanned.
    """
    x, y = (round(at / by - like.size / 2) * by for at, by in zip(centre, slide.scale, strict=True))
    return Patch(x, y, like.size, slide.scale, like.columns)


def _judged(
    scans: tuple[Scan, Scan],
    alignment: Alignment,
    patch: Patch,
    there: Patch,
    settings: PatchSettings,
    pool: SlidePool,
) -> tuple[float | None, str]:
    """Measure what is left of the misalignment; say why the patch cannot be kept, or nothing."""
    reference, other = scans
    x, y = there.centre
    if not (0 <= x < other.size[0] and 0 <= y < other.size[1]):
        return None, "outside of the scan"
    with (
        pool.get(reference.row.path, reference.row.mpp) as first,
        pool.get(other.row.path, other.row.mpp) as moving,
    ):
        found = residual(first, moving, alignment, patch.centre, _tile(patch))
    if found.px is None:
        return None, "" if found.empty else "residual cannot be measured"
    if found.px > settings.max_residual:
        return found.px, f"residual above {settings.max_residual:g} px"
    return found.px, ""


def _tile(patch: Patch) -> int:
    """Return the side of what is measured: the patch, within what can be measured well."""
    return int(min(max(round(patch.size * max(patch.scale)), TILES[0]), TILES[1]))


def _row(
    reference: Scan,
    other: Scan,
    alignment: Alignment,
    site: Site,
    left: float | None,
    reason: str,
) -> dict[str, Any]:
    um = None if left is None or reference.mpp is None else left * sum(reference.mpp) / 2
    return {
        **{"subject": reference.row.subject, "slide": reference.name},
        **{"reference_domain": reference.row.domain, "domain": other.row.domain},
        **{"sample": site.id, "residual": left, "residual_um": um, "reason": reason or None},
        **dict(zip(AFFINE, alignment.affine.ravel().tolist(), strict=True)),
        **{"mirrored": alignment.mirrored, "inliers": alignment.inliers},
    }


# -------------------------------------------------------------------------------------------------
# What registration tells of the sizes of pixels: those that nobody knew, and those that are wrong.
#
# How many pixels of one scan cover a pixel of another is measured to far better than 1 %. So where
# that contradicts what manifest and files say, registration is believed, and a warning says so.


TOLERANCE: Final = 0.01
"""Relative difference from which on sizes of pixels contradict each other."""


def sized(
    slides: Sequence[Surveyed],
    groups: Sequence[Group],
    settings: PatchSettings,
    progress: Progress,
) -> list[Surveyed]:
    """Give scans the sizes of pixels that their alignments tell.

    Parameters
    ----------
    slides : sequence of Surveyed
    groups : sequence of Group
        Aligned.
    settings : PatchSettings
    progress : Progress
        Is told of each domain whose sizes are contradicted, or unknown and another's.

    Returns
    -------
    list of Surveyed
        The same slides. An unknown size is taken from the other scans of the glass slide. A size
        that differs from the measured one by more than 1 % is replaced by it, and with ``--mpp``
        the scan is read at that resolution. ``relative_mpp`` is set on all.
    """
    found = list(slides)
    wrong: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    unknown: dict[tuple[str, str], list[float]] = defaultdict(list)
    for group in groups:
        zooms = {place: _zoom(each) for place, each in group.others.items() if each is not None}
        others = [(found[place], zoom) for place, zoom in zooms.items()]
        reference = _reference(found[group.reference], others)
        found[group.reference] = reference
        for place, zoom in zooms.items():
            other, said = found[place], found[place].mpp
            if reference.mpp is not None:
                size = _mean(reference.mpp) / zoom
                if said is not None and abs(size / _mean(said) - 1) > TOLERANCE:
                    facts = 1 / zoom, _mean(said) / _mean(reference.mpp), size
                    wrong[reference.row.domain, other.row.domain].append(facts)
                other = _with_size(other, size, settings)
            relative = _mean(other.scale) / _mean(reference.scale) / zoom
            found[place] = replace(other, relative_mpp=relative)
            if reference.mpp is None and abs(relative - 1) > TOLERANCE:
                unknown[reference.row.domain, other.row.domain].append(relative)
    for (first, second), relatives in unknown.items():
        progress.warn(_unknown(first, second, float(np.median(relatives))))
    for (first, second), ratios in wrong.items():
        progress.warn(_contradiction(first, second, ratios, settings))
    return found


def _reference(slide: Surveyed, others: Sequence[tuple[Surveyed, float]]) -> Surveyed:
    """Give a reference of unknown size that which another scan tells."""
    told = (_mean(other.mpp) * zoom for other, zoom in others if other.mpp is not None)
    size = None if slide.mpp is not None else next(told, None)
    return slide if size is None else replace(slide, mpp=(size, size))


def _with_size(slide: Surveyed, size: float, settings: PatchSettings) -> Surveyed:
    """Give a scan a size of pixels (mean of both axes), unless its own is near enough."""
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
    measured, said, size = (float(np.median(column)) for column in zip(*ratios, strict=True))
    scans = f"{len(ratios)} scans" if len(ratios) > 1 else "1 scan"
    read = f" and used for --mpp {settings.mpp:g}" if settings.mpp else ""
    return (
        f"{second}: its pixels are {measured:.3g} times as large as those of {first} by "
        f"registration, {said:.3g} times by their mpp ({scans}); registration is believed: mpp "
        f"{size:.4g} is recorded{read}. If {first} is the one that is wrong, correct its column "
        "mpp in the manifest"
    )
