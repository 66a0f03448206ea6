"""Pictures for visual checks of an extraction: slides, registered scans, patches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SkiptoolError
from skiptool.exports.sheets import draw_sheets, evenly_spaced
from skiptool.figures.sheets import matched_sheet
from skiptool.figures.slide import slide_overview
from skiptool.figures.style import figure_bytes
from skiptool.names import PictureFormat
from skiptool.sources.pictures.files import write_picture
from skiptool.sources.registration.align import overlay
from skiptool.sources.registration.transforms import Alignment
from skiptool.steps.extract_wsi.plan import PatchPlan
from skiptool.steps.extract_wsi.settings import ExtractionContext
from skiptool.steps.extract_wsi.survey import Labelling, SlideScan
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.staging import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OVERVIEW_SIZE = 2048
"""Pixels of an overview along its longer side."""

MATCHED_SITES = 8
"""Sites on the sheet of all domains."""


def draw_pictures(
    context: ExtractionContext, folder: Path, out: Path, plan: PatchPlan, labels: Labelling
) -> Path:
    """Draw each slide, each pair of registered scans, and sheets of patches; return the folder.

    Files are ``slide-*.png``, ``overlay-*.png``, ``patches-*.png`` and ``matched.png``. The store
    is complete by then, so a picture that cannot be drawn is only a warning.
    """
    folder.mkdir(exist_ok=True)
    used = sorted({view.slide for site in plan.sites for view in site.views})
    pairs = [
        (group.reference, other, alignment)
        for group in plan.groups
        for other, alignment in group.others.items()
        if alignment is not None and other in used
    ]
    with context.progress.task("pictures", len(used) + len(pairs) + 1) as task:
        for index in used:
            with _errors_as_warnings(context):
                _draw_slide(context, folder, plan, labels, index)
            task.advance()
        for first, other, alignment in pairs:
            with _errors_as_warnings(context):
                _draw_overlay(context, folder, plan.slides[first], plan.slides[other], alignment)
            task.advance()
        data = open_dataset(out)
        draw_sheets(folder, data)
        if len(data.domains) > 1:
            _draw_matched(folder, data)
        task.advance()
    return folder


@contextmanager
def _errors_as_warnings(context: ExtractionContext) -> Iterator[None]:
    try:
        yield
    except SkiptoolError as error:
        context.progress.warn(f"a picture is left out: {error}")


def _draw_slide(
    context: ExtractionContext, folder: Path, plan: PatchPlan, labels: Labelling, index: int
) -> None:
    painted, slide = plan.painted[index], plan.slides[index]
    with context.pool.get(slide.row.path, slide.row.mpp) as opened:
        image, scale = opened.overview(OVERVIEW_SIZE)
    boxes = [view.patch.box for site in plan.sites for view in site.views if view.slide == index]
    mpp = f", {slide.mpp[0]:.4g} um/px" if slide.mpp else ""
    size = f"{slide.size[0]} x {slide.size[1]} px{mpp}"
    figure = slide_overview(
        image,
        scale,
        tissue=slide.tissue.mask,
        areas=[(labels.name(label), shape.rings) for shape, label in painted.areas.shapes],
        points=[(labels.name(label), shape.centre) for shape, label in painted.points],
        patches=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        classes=labels.classes,
        mpp=slide.mpp,
        title=f"{slide.name}, {slide.row.domain}",
        notes=f"{slide.vendor}, {size}; {len(boxes)} patches",
    )
    _save(figure, folder / f"slide-{_file_name(slide)}.png")


def _draw_overlay(
    context: ExtractionContext,
    folder: Path,
    reference: SlideScan,
    other: SlideScan,
    alignment: Alignment,
) -> None:
    with (
        context.pool.get(reference.row.path, reference.row.mpp) as first,
        context.pool.get(other.row.path, other.row.mpp) as moving,
        atomic_file(folder / f"overlay-{_file_name(other)}.png") as partial,
    ):
        write_picture(partial, overlay(first, moving, alignment))


def _draw_matched(folder: Path, data: DatasetStore) -> None:
    """Draw sites that all domains share, one row each, as in Figs. 4 and 5."""
    indices = []
    for domain in data.domains.values():
        keys = zip(map(str, domain.columns["id"]), map(str, domain.columns["subject"]), strict=True)
        indices.append({key: index for index, key in enumerate(keys)})
    shared = [key for key in indices[0] if all(key in others for others in indices[1:])]
    if not shared:
        return
    chosen = [shared[i] for i in evenly_spaced(len(shared), MATCHED_SITES)]
    columns = [
        [data.samples(name, [index_of[key]]).read(0) for key in chosen]
        for name, index_of in zip(data.domains, indices, strict=True)
    ]
    rows = range(len(chosen))
    figure = matched_sheet(
        [[column[row][0] for column in columns] for row in rows],
        [[column[row][1] for column in columns] for row in rows],
        data.classes,
        [name for name, _ in chosen],
        list(data.domains),
        title="Same places",
        notes=f"{len(chosen)} of {len(shared)} places",
    )
    _save(figure, folder / "matched.png")


def _file_name(slide: SlideScan) -> str:
    """Return a part of a file name that is unique to the slide."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in slide.name)
    return f"{slide.row.domain}-{safe}-{slide.key[:6]}"


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as partial:
        partial.write_bytes(figure_bytes(figure, PictureFormat.PNG))
