"""Sites to samples: pixels read, masks painted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SkiptoolError
from skiptool.names import IGNORE, PatchMode, Split
from skiptool.records import Sample
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Areas, Patch
from skiptool.sources.slides.pool import SlidePool
from skiptool.sources.slides.tissue import background
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.sites import Site, View
from skiptool.steps.extract_wsi.survey import Scan

if TYPE_CHECKING:
    from skiptool.records import UInt8

__all__ = ["Scene", "Work", "painted", "read_work"]


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
