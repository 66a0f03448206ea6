"""Sheets of slices to check an extraction by eye: one a domain."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.figures.sheets import contact_sheet
from skiptool.figures.style import picture
from skiptool.names import IGNORE, PictureFormat
from skiptool.records import Progress
from skiptool.stores.dataset import Domain, open_dataset
from skiptool.stores.staging import whole_file

if TYPE_CHECKING:
    from skiptool.records import Int64

__all__ = ["draw_sheets", "sheets_drawn"]

SHOWN = 48
"""Slices on the sheet of a domain, from all parts of it."""


def draw_sheets(folder: Path, out: Path, progress: Progress) -> Path:
    """Draw ``slices-DOMAIN.png`` for each domain: slices with outlines of their labels.

    Parameters
    ----------
    folder : Path
    out : Path
        The finished store.
    progress : Progress

    Returns
    -------
    Path
        The folder.
    """
    folder.mkdir(exist_ok=True)
    data = open_dataset(out)
    with progress.task("pictures", len(data.domains)) as task:
        for name, domain in data.domains.items():
            chosen = _chosen(domain)
            reader = data.samples(name, chosen.tolist())
            images, masks = zip(*(reader.read(i) for i in range(len(chosen))), strict=True)
            known = any((mask != IGNORE).any() for mask in masks)
            captions = _captions(domain)
            figure = contact_sheet(
                images,
                masks if known else None,
                data.classes,
                [captions[i] for i in chosen.tolist()],
                title=name,
                notes=f"{len(chosen)} of {len(domain)} slices of {images[0].shape[0]} px",
            )
            with whole_file(_sheet(folder, name)) as partial:
                partial.write_bytes(picture(figure, PictureFormat.PNG))
            task.advance()
    return folder


def sheets_drawn(folder: Path, out: Path) -> bool:
    """Say whether every domain of the finished store has its sheet."""
    return all(_sheet(folder, name).is_file() for name in open_dataset(out).domains)


def _sheet(folder: Path, domain: str) -> Path:
    return folder / f"slices-{domain}.png"


def _captions(domain: Domain) -> list[str]:
    """Say whose slice each is; ids begin alike and are too long for a small picture.

    Of slices that would read alike, of two volumes of one subject, the volume is said too.
    """
    named = ("subject", "phase", "frame", "slice", "volume")
    found = [
        (f"{subject} {phase or frame} {number}", str(volume))
        for subject, phase, frame, number, volume in zip(
            *(domain.columns[name] for name in named), strict=True
        )
    ]
    alike = Counter(caption for caption, _ in found)
    return [f"{line}\n{volume}" if alike[line] > 1 else line for line, volume in found]


def _chosen(domain: Domain) -> Int64:
    """Choose slices evenly from first to last, of those that show anything labelled."""
    places = np.flatnonzero(np.asarray(domain.columns["foreground"]) > 0)
    if not len(places):
        places = np.arange(len(domain))
    spread = np.linspace(0, len(places) - 1, min(len(places), SHOWN)).round().astype(np.int64)
    found: Int64 = places[np.unique(spread)]
    return found
