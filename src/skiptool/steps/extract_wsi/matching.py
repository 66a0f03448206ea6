"""Scans of one glass slide: aligned to the reference domain's, its sites carried to all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from skiptool.analysis.registration import ELSEWHERE
from skiptool.errors import SkiptoolError
from skiptool.sources.patches.painting import Patch
from skiptool.sources.registration.align import align
from skiptool.sources.registration.tiles import residual
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.grouping import Group
from skiptool.steps.extract_wsi.notes import Notes
from skiptool.steps.extract_wsi.run import Run
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.sites import Site, View
from skiptool.steps.extract_wsi.survey import Scan, Surveyed

__all__ = ["aligned_groups", "carried", "patch_at"]

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
