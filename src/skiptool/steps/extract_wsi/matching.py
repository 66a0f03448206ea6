"""Scans of one glass slide: aligned to the reference domain's, its sites carried to all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from skiptool.errors import SkiptoolError
from skiptool.sources.patches.patch import Patch
from skiptool.sources.registration.align import align
from skiptool.sources.registration.alignment import Alignment
from skiptool.sources.registration.residual import residual
from skiptool.sources.slides.listing import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.run import Run
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.sites import Site, View
from skiptool.steps.extract_wsi.survey import Surveyed

__all__ = ["Group", "aligned_groups", "carried", "grouped", "patch_at"]

EMPTY = 0.05
"""Share of tissue below which a patch shows nothing that could be misaligned."""


AFFINE = ("xx", "xy", "x0", "yx", "yy", "y0")
"""Columns of the table ``registration`` that hold the transform, row by row."""


@dataclass(frozen=True, slots=True)
class Group:
    """Scans of one glass slide: places in the list of slides; the others with their alignments."""

    reference: int
    others: Mapping[int, Alignment | None]


def grouped(
    slides: Sequence[Surveyed], rows: Sequence[SlideRow], domain: str
) -> tuple[list[Group], list[str]]:
    """Gather the scans of each glass slide around that of the reference domain.

    Returns
    -------
    groups : list of Group
        Not aligned yet. A glass slide of which any scan is missing is left out.
    failures : list of str
        One line for each of those.
    """
    listed: dict[tuple[str, str], list[SlideRow]] = {}
    for row in rows:
        listed.setdefault((row.subject, row.slide or row.subject), []).append(row)
    found: dict[tuple[str, str], dict[str, int]] = {}
    for place, slide in enumerate(slides):
        key = slide.row.subject, slide.row.slide or slide.row.subject
        found.setdefault(key, {})[slide.row.domain] = place
    groups, failures = [], []
    for key, members in listed.items():
        domains, have = [row.domain for row in members], found.get(key, {})
        fault = _fault(key[1], domains, have, domain)
        if fault:
            failures.append(fault)
        else:
            others = {have[name]: None for name in dict.fromkeys(domains) if name != domain}
            groups.append(Group(have[domain], others))
    return groups, failures


def _fault(name: str, domains: Sequence[str], have: Mapping[str, int], domain: str) -> str | None:
    if domain not in domains:
        return (
            f"slide {name}: the manifest has no scan of it in domain {domain}, which the others "
            "are registered to; it is left out"
        )
    twice = [each for each in domains if domains.count(each) > 1]
    if twice:
        return (
            f"slide {name}: the manifest has {domains.count(twice[0])} scans of it in domain "
            f"{twice[0]}; where a subject has several slides, name them in the column slide"
        )
    missing = [each for each in domains if each not in have]
    if missing:
        return (
            f"slide {name}: its scan in domain {missing[0]} failed, and a patch is kept in all "
            "domains or in none; the slide is left out"
        )
    return None


def aligned_groups(
    run: Run, groups: Sequence[Group], slides: Sequence[Surveyed]
) -> tuple[list[Group], list[str]]:
    """Align all scans to their references; a glass slide with one that fails is left out."""
    pairs = [(group.reference, other) for group in groups for other in group.others]
    work = [(slides[first].row, slides[other].row) for first, other in pairs]
    failures: list[str] = []
    done: dict[tuple[int, int], Alignment] = {}
    with run.progress.task("register", len(pairs)) as task:
        results = run.mapper(partial(_align, run.seed, run.pool), work)
        for pair, found in zip(pairs, results, strict=True):
            task.advance(note=slides[pair[1]].row.path.name)
            if isinstance(found, str):
                failures.append(found)
            else:
                done[pair] = found
    whole = []
    for group in groups:
        alignments = {other: done.get((group.reference, other)) for other in group.others}
        if all(alignment is not None for alignment in alignments.values()):
            whole.append(Group(group.reference, alignments))
    return whole, failures


def _align(seed: int, pool: SlidePool, rows: tuple[SlideRow, SlideRow]) -> Alignment | str:
    first, other = rows
    try:
        with (
            pool.get(first.path, first.mpp) as reference,
            pool.get(other.path, other.mpp) as moving,
        ):
            return align(reference, moving, seed)
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
    scans = {place: slides[place] for place in (group.reference, *group.others)}
    work = partial(_views, group, scans, run.settings, run.pool)
    kept, rows = [], []
    with run.progress.task("measure", len(sites)) as task:
        for site, (views, found) in zip(sites, run.mapper(work, sites), strict=True):
            task.advance()
            if not any(row["reason"] for row in found):
                kept.append(Site(site.id, (*site.views, *views)))
            else:
                found = [{**row, "kept": False} for row in found]
            rows += found
    return kept, rows


def _views(
    group: Group,
    slides: Mapping[int, Surveyed],
    settings: PatchSettings,
    pool: SlidePool,
    site: Site,
) -> tuple[list[View], list[dict[str, Any]]]:
    views, rows = [], []
    reference = slides[group.reference]
    patch = site.views[0].patch
    for place, alignment in group.others.items():
        if alignment is None:
            raise RuntimeError("views of a scan that is not aligned")
        other = slides[place]
        centre = alignment.to_other(np.array([patch.centre]))[0]
        there = patch_at((float(centre[0]), float(centre[1])), patch, other)
        left, reason = _judged(reference, other, alignment, patch, there, settings, pool)
        views.append(View(place, there, left))
        rows.append(_row(reference, other, alignment, site, (patch, there), left, reason))
    return views, rows


def patch_at(centre: tuple[float, float], like: Patch, slide: Surveyed) -> Patch:
    """Return a patch of the same size and columns about a point of another slide.

    Where a pixel spans whole pixels of level 0 the corner is rounded, so that pixels are read as
    they were scanned.
    """
    corner = [at - like.size * by / 2 for at, by in zip(centre, slide.scale, strict=True)]
    if all(by == int(by) for by in slide.scale):
        corner = [float(round(at)) for at in corner]
    return Patch(corner[0], corner[1], like.size, slide.scale, like.columns)


def _judged(
    reference: Surveyed,
    other: Surveyed,
    alignment: Alignment,
    patch: Patch,
    there: Patch,
    settings: PatchSettings,
    pool: SlidePool,
) -> tuple[float | None, str]:
    """Measure what is left of the misalignment; say why the patch cannot be kept, or nothing."""
    x, y = there.centre
    if not (0 <= x < other.size[0] and 0 <= y < other.size[1]):
        return None, "outside of the scan"
    if reference.tissue.share(*patch.box) < EMPTY:
        return None, ""
    with (
        pool.get(reference.row.path, reference.row.mpp) as first,
        pool.get(other.row.path, other.row.mpp) as moving,
    ):
        found = residual(first, moving, alignment, patch.centre)
    if found is None:
        return None, "residual cannot be measured"
    if found.px > settings.max_residual:
        return found.px, f"residual above {settings.max_residual:g} px"
    return found.px, ""


def _row(
    reference: Surveyed,
    other: Surveyed,
    alignment: Alignment,
    site: Site,
    patches: tuple[Patch, Patch],
    left: float | None,
    reason: str,
) -> dict[str, Any]:
    (x, y), (x_other, y_other) = (patch.centre for patch in patches)
    um = None if left is None else left * (reference.mpp[0] + reference.mpp[1]) / 2
    affine = dict(zip(AFFINE, alignment.affine.ravel().tolist(), strict=True))
    return {
        **{"subject": reference.row.subject, "slide": reference.name},
        **{"reference_domain": reference.row.domain, "domain": other.row.domain},
        **{"sample": site.id, "x": x, "y": y, "x_other": x_other, "y_other": y_other},
        **{"residual": left, "residual_um": um, "kept": not reason, "reason": reason or None},
        **affine,
        **{"mirrored": alignment.mirrored, "inliers": alignment.inliers},
    }
