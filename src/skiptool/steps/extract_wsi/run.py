"""What every part of one extraction shares."""

from __future__ import annotations

from dataclasses import dataclass

from skiptool.comparison.reading import Mapper
from skiptool.records import Progress
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.settings import PatchSettings

__all__ = ["Run"]


@dataclass(frozen=True, slots=True)
class Run:
    """One extraction.

    Attributes
    ----------
    settings : PatchSettings
    seed : int
    pool : SlidePool
        Open slides; on another machine it opens its own.
    mapper : Mapper
        How work is spread: threads of this process, or a cluster.
    progress : Progress
    """

    settings: PatchSettings
    seed: int
    pool: SlidePool
    mapper: Mapper
    progress: Progress
