"""What every part of one extraction shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skiptool.records import Progress
from skiptool.sources.slides.pool import SlidePool
from skiptool.steps.extract_wsi.notes import Notes
from skiptool.steps.extract_wsi.settings import PatchSettings

if TYPE_CHECKING:
    from skiptool.comparison.activations import Mapper

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
    notes : Notes or None
        What registration has found already; None where nothing is made.
    """

    settings: PatchSettings
    seed: int
    pool: SlidePool
    mapper: Mapper
    progress: Progress
    notes: Notes | None = None
