"""Pictures to check an extraction by eye: slides, alignments, patches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SkiptoolError
from skiptool.exports.png import draw_sheets, spread
from skiptool.figures.sheets import matched_sheet
from skiptool.figures.slide import slide_overview
from skiptool.figures.style import picture
from skiptool.names import PictureFormat
from skiptool.sources.pictures.files import write_picture
from skiptool.sources.registration.overlay import overlay
from skiptool.sources.registration.transforms import Alignment
from skiptool.steps.extract_wsi.plan import Plan
from skiptool.steps.extract_wsi.settings import Run
from skiptool.steps.extract_wsi.survey import Labelling, Scan
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.staging import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


__all__ = ["draw_pictures"]

LONGEST = 2048
"""Pixels of an overview along its longer side."""

MATCHED = 8
"""Places on the sheet of all domains."""


def draw_pictures(run: Run, folder: Path, out: Path, plan: Plan, labels: Labelling) -> Path:
    """Draw a picture a slide, one a pair of registered scans, and sheets of patches.

    A picture that cannot be drawn is a warning: the store is whole already.

    Parameters
    ----------
    run : Run
    folder : Path
        Where ``slide-*.png``, ``overlay-*.png``, ``patches-*.png`` and ``matched.png`` go.
    out : Path
        The finished store.
    plan : Plan
    labels : Labelling

    Returns
    -------
    Path
        The folder.
    """
    folder.mkdir(exist_ok=True)
    used = sorted({view.slide for site in plan.sites for view in site.views})
    pairs = [
        (group.reference, other, alignment)
        for group in plan.groups
        for other, alignment in group.others.items()
        if alignment is not None and other in used
    ]
    with run.progress.task("pictures", len(used) + len(pairs) + 1) as task:
        for place in used:
            with _told(run):
                _draw_slide(run, folder, plan, labels, place)
            task.advance()
        for first, other, alignment in pairs:
            with _told(run):
                _draw_overlay(run, folder, plan.slides[first], plan.slides[other], alignment)
            task.advance()
        data = open_dataset(out)
        draw_sheets(folder, data)
        if len(data.domains) > 1:
            _draw_matched(folder, data)
        task.advance()
    return folder


@contextmanager
def _told(run: Run) -> Iterator[None]:
    try:
        yield
    except SkiptoolError as error:
        run.progress.warn(f"a picture is left out: {error}")


def _draw_slide(run: Run, folder: Path, plan: Plan, labels: Labelling, place: int) -> None:
    scene, slide = plan.scenes[place], plan.slides[place]
    with run.pool.get(slide.row.path, slide.row.mpp) as opened:
        image, scale = opened.overview(LONGEST)
    boxes = [view.patch.box for site in plan.sites for view in site.views if view.slide == place]
    mpp = f", {slide.mpp[0]:.4g} um/px" if slide.mpp else ""
    size = f"{slide.size[0]} x {slide.size[1]} px{mpp}"
    figure = slide_overview(
        image,
        scale,
        tissue=slide.tissue.mask,
        areas=[(labels.name(label), shape.rings) for shape, label in scene.painted.shapes],
        points=[(labels.name(label), shape.centre) for shape, label in scene.points],
        patches=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        classes=labels.classes,
        mpp=slide.mpp,
        title=f"{slide.name}, {slide.row.domain}",
        notes=f"{slide.vendor}, {size}; {len(boxes)} patches",
    )
    _save(figure, folder / f"slide-{_named(slide)}.png")


def _draw_overlay(
    run: Run, folder: Path, reference: Scan, other: Scan, alignment: Alignment
) -> None:
    with (
        run.pool.get(reference.row.path, reference.row.mpp) as first,
        run.pool.get(other.row.path, other.row.mpp) as moving,
        whole_file(folder / f"overlay-{_named(other)}.png") as partial,
    ):
        write_picture(partial, overlay(first, moving, alignment))


def _draw_matched(folder: Path, data: DatasetStore) -> None:
    """Draw places that several domains share, one row each, as Figs. 4 and 5."""
    tables = [domain.columns for domain in data.domains.values()]
    places = [
        {(str(name), str(subject)): index for index, (name, subject) in enumerate(each)}
        for each in (zip(table["id"], table["subject"], strict=True) for table in tables)
    ]
    shared = [place for place in places[0] if all(place in other for other in places[1:])]
    if not shared:
        return
    chosen = [shared[i] for i in spread(len(shared), MATCHED)]
    columns = [
        [data.samples(name, [found[place]]).read(0) for place in chosen]
        for name, found in zip(data.domains, places, strict=True)
    ]
    rows = range(len(chosen))
    images = [[column[row][0] for column in columns] for row in rows]
    masks = [[column[row][1] for column in columns] for row in rows]
    notes = f"{len(chosen)} of {len(shared)} places"
    ids, domains = [name for name, _ in chosen], list(data.domains)
    figure = matched_sheet(
        images, masks, data.classes, ids, domains, title="Same places", notes=notes
    )
    _save(figure, folder / "matched.png")


def _named(slide: Scan) -> str:
    """Return a part of a file name that no other slide has."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in slide.name)
    return f"{slide.row.domain}-{safe}-{slide.key[:6]}"


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(picture(figure, PictureFormat.PNG))
