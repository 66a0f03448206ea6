"""What a user should know of the volumes, in a few lines however many there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from skiptool.records import Progress
from skiptool.steps.extract_mri.survey import Surveyed

if TYPE_CHECKING:
    from skiptool.steps.extract_mri.writing import Plan

__all__ = ["tell", "tell_cut"]

SAID = 3
"""Lines of a kind before the others are only counted."""


def tell(volumes: Sequence[Surveyed], progress: Progress) -> None:
    """Warn of what was noted of the volumes; of many notes alike, the first few and the number."""
    kinds: dict[str, list[str]] = {}
    for volume in volumes:
        for line in volume.notes:
            # notes of a kind differ in the path in front and in numbers
            kind = re.sub(r"[\d.e+-]+", "#", line.rpartition(": ")[2])
            kinds.setdefault(kind, []).append(line)
    for lines in kinds.values():
        for line in lines[:SAID]:
            progress.warn(line)
        if len(lines) > SAID:
            progress.warn(f"... and {len(lines) - SAID} more notes like the last")


def tell_cut(plan: Plan, progress: Progress) -> None:
    """Warn of labelled pixels that cropping cuts off, domain by domain."""
    classes = plan.settings.classes
    for domain, size in plan.sizes.items():
        there = [volume for volume in plan.volumes if volume.row.domain == domain]
        cut = [volume for volume in there if (volume.whole - volume.kept)[1:].any()]
        if not cut:
            continue
        lost = [
            (name, sum(int((volume.whole - volume.kept)[label]) for volume in cut))
            for label, name in enumerate(classes)
        ]
        counts = ", ".join(f"{name} {count}" for name, count in lost[1:] if count)
        progress.warn(
            f"domain {domain}: --size {size} cuts labelled pixels off ({counts}) in {len(cut)} of "
            f"{len(there)} volumes, the first: {cut[0].row.image}; take a larger size to keep them"
        )
