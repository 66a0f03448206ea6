"""Volumes in numbers: the table of ``--dry-run``, and the summary of what was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skiptool.records import Outcome, Table
from skiptool.steps.extract_mri.survey import Surveyed
from skiptool.steps.extract_mri.writing import Plan

if TYPE_CHECKING:
    from skiptool.records import Int64

__all__ = ["forecast", "summed"]

BYTES = 5
"""Of a pixel: float32 in the image, uint8 in the mask."""


def forecast(plan: Plan, left: Mapping[str, Any], failures: Sequence[str]) -> Outcome:
    """Lay out a row a domain: subjects, frames, slices, sizes, spacings, labels, bytes."""
    columns: dict[str, list[str | int | float | None]] = {}
    total = 0
    for domain, size in plan.sizes.items():
        volumes = [volume for volume in plan.volumes if volume.row.domain == domain]
        if not volumes:
            continue
        slices = sum(len(volume.ids) for volume in volumes)
        written = slices * size * size * BYTES
        total += written
        row: dict[str, str | int] = {
            "domain": domain,
            "subjects": len({volume.row.subject for volume in volumes}),
            "training": len(_training(plan, volumes)),
            "frames": sum(len(volume.frames) for volume in volumes),
            "slices": slices,
            "found": _listed("{} x {}".format(*volume.grid[:0:-1]) for volume in volumes),
            "size": size,
            "spacing": _span(volume.pixel[1] for volume in volumes),
            "slice_spacing": _span(volume.spacing[0] for volume in volumes),
            "orientation": _listed(volume.view.codes or "unknown" for volume in volumes),
            "labels": _counted(plan, volumes, lambda volume: volume.voxels),
            "cut off": _counted(plan, volumes, lambda volume: volume.whole - volume.kept),
            "bytes": written,
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    summary = summed(plan, plan.volumes, left, failures) | {"bytes before compression": total}
    table = Table("slices", columns, spare=("bytes", "slice_spacing", "training", "cut off"))
    return Outcome(summary=summary, failures=tuple(failures), tables=(table,))


def summed(
    plan: Plan, written: Sequence[Surveyed], left: Mapping[str, Any], failures: Sequence[str]
) -> dict[str, Any]:
    """Return numbers of what was written: slices by domain and split, labels before and after."""
    samples, sides = Counter[str](), Counter[str]()
    for volume in written:
        samples[volume.row.domain] += len(volume.ids)
        sides["test" if plan.folds[volume.row.subject] < 0 else "train"] += len(volume.ids)
    found: dict[str, Any] = {
        "samples": dict(samples),
        "subjects": len({volume.row.subject for volume in written}),
        **{side: sides[side] for side in ("train", "test")},
        "size": {domain: plan.sizes[domain] for domain in samples},
        "voxels in masks": _counts(plan, written, lambda volume: volume.voxels),
    }
    if plan.settings.spacing is not None:
        found["pixels resampled"] = _counts(plan, written, lambda volume: volume.whole)
    found["pixels in the store"] = _counts(plan, written, lambda volume: volume.kept)
    lost = sum(int((volume.whole - volume.kept)[1:].sum()) for volume in written)
    return found | {"labelled pixels cut off": lost} | dict(left) | {"failed": len(failures)}


def _training(plan: Plan, volumes: Iterable[Surveyed]) -> set[str]:
    subjects = {volume.row.subject for volume in volumes}
    return {subject for subject in subjects if plan.folds[subject] >= 0}


def _counts(
    plan: Plan, volumes: Iterable[Surveyed], of: Callable[[Surveyed], Int64]
) -> dict[str, int]:
    """Sum counts by class, without the background."""
    totals = Counter[str]()
    for volume in volumes:
        for name, count in list(zip(plan.settings.classes, of(volume).tolist(), strict=True))[1:]:
            totals[name] += count
    return dict(totals)


def _counted(plan: Plan, volumes: Iterable[Surveyed], of: Callable[[Surveyed], Int64]) -> str:
    counts = _counts(plan, volumes, of)
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none"


def _listed(words: Iterable[str]) -> str:
    """Join different words, the most frequent first."""
    return ", ".join(word for word, _ in Counter(words).most_common())


def _span(numbers: Iterable[float]) -> str:
    found = sorted(numbers)
    low, high = f"{found[0]:.4g}", f"{found[-1]:.4g}"
    return low if low == high else f"{low} to {high}"
