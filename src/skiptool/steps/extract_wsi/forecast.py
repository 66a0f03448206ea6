"""``--dry-run``: what is in the slides, and what would come of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from skiptool.names import PatchMode
from skiptool.records import Outcome, Table
from skiptool.steps.extract_wsi.labels import Labelling
from skiptool.steps.extract_wsi.plan import why_nothing
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.sites import Site
from skiptool.steps.extract_wsi.survey import Surveyed

__all__ = ["forecast"]


def forecast(
    slides: Sequence[Surveyed],
    sites: Sequence[Site],
    labels: Labelling,
    settings: PatchSettings,
    failures: Sequence[str],
) -> Outcome:
    """Lay out a row a slide: vendor, size, resolution, annotations by class, patches, bytes.

    Where slides are registered, the counts are those before misaligned patches are left out. A
    slide without patches is a failure, with the reason.
    """
    patches = Counter(view.slide for site in sites for view in site.views)
    empty = [
        why_nothing(slide, settings)
        for place, slide in enumerate(slides)
        if not patches[place] and settings.register in (None, slide.row.domain)
    ]
    failures = (*failures, *empty)
    if settings.register is not None:
        patches = _in_all_domains(slides, patches)
    each = settings.size * settings.size * 4
    names = ("slide", "domain", "subject", "vendor", "width", "height", "levels", "mpp", "mpp_y")
    columns: dict[str, list[str | int | float | None]] = {name: [] for name in names}
    columns |= {name: [] for name in ("annotations", "patches", "bytes")}
    for place, slide in enumerate(slides):
        row: tuple[str | int | float | None, ...] = (
            *(slide.name, slide.row.domain, slide.row.subject, slide.vendor),
            *(*slide.size, slide.levels, *(slide.mpp or (None, None))),
            *(_annotations(slide, labels), patches[place], patches[place] * each),
        )
        for cells, value in zip(columns.values(), row, strict=True):
            cells.append(value)
    summary = {
        "slides": len(slides),
        "patches": patches.total(),
        "bytes before compression": patches.total() * each,
        "failed": len(failures),
    }
    if settings.mode is PatchMode.SAMPLED:
        summary["draws"] = settings.draws
    title = f"{settings.mode.value} patches of {settings.size} px"
    table = Table(title, columns, uniform=("subject", "domain"), spare=("bytes", "levels"))
    return Outcome(summary=summary, failures=failures, tables=(table,))


def _in_all_domains(slides: Sequence[Surveyed], patches: Counter[int]) -> Counter[int]:
    """Give all scans of a glass slide the patches of its scan in the reference domain."""
    glass = [(slide.row.subject, slide.row.slide) for slide in slides]
    of_reference = {glass[place]: count for place, count in patches.items()}
    return Counter({place: of_reference.get(key, 0) for place, key in enumerate(glass)})


def _annotations(slide: Surveyed, labels: Labelling) -> str:
    """Count by class, those in no class by name: ``tumor 12, Bone (no class) 3``."""
    counts: Counter[str] = Counter()
    for shape in slide.shapes:
        label = labels.label(slide, shape)
        unknown = f"{shape.name or 'unnamed'} (no class)"
        counts[unknown if label is None else labels.name(label)] += 1
    for what, count in slide.dropped.items():
        counts[f"left out ({what})"] += count
    counts["cannot be read"] += len(slide.faults)
    counts = +counts
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
