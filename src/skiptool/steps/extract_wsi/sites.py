"""Places on glass: each becomes one sample in every domain that it was scanned in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skiptool.names import IGNORE, PatchMode, Split
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Patch
from skiptool.sources.patches.placement import centred, grid, sampled
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.survey import Surveyed

__all__ = ["Labelled", "Site", "View", "planned"]

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
