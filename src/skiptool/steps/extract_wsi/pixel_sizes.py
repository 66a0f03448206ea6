"""What registration tells of the sizes of pixels: those that nobody knew, and those that are wrong.

How many pixels of one scan cover a pixel of another is measured to far better than 1 %. So where
that contradicts what manifest and files say, registration is believed, and a warning says so.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from skiptool.records import Progress
from skiptool.sources.registration.transforms import Alignment
from skiptool.steps.extract_wsi.grouping import Group
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.survey import Surveyed

__all__ = ["sized"]

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
