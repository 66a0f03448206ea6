"""Contact sheets: samples of each domain of a dataset with the outlines of their masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.figures.sheets import contact_sheet
from skiptool.figures.style import figure_bytes
from skiptool.names import IGNORE_LABEL, PictureFormat
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.staging import atomic_file

if TYPE_CHECKING:
    from skiptool.records import Int64

SHOWN = 48
"""Samples on the sheet of a domain, evenly spread."""

PIXELS = 50_000_000
"""Limit on the pixels of a sheet: fewer samples are shown if they are large."""


def draw_sheets(folder: Path, data: DatasetStore, unit: str = "patches") -> None:
    """Draw a sheet ``patches-DOMAIN.png`` for each domain into an existing folder.

    ``unit`` is the word for samples on the sheet.
    """
    for name, domain in data.domains.items():
        ids = domain.columns["id"]
        most = min(SHOWN, max(1, PIXELS // (domain.height * domain.width)))
        chosen = evenly_spaced(len(ids), most)
        size = f"{domain.width} px"
        if domain.width != domain.height:
            size = f"{domain.width} x {domain.height} px"
        notes = f"{len(chosen)} of {len(ids)} {unit} of {size}"
        draw_sheet(sheet_of(folder, name), data, name, chosen, [str(ids[i]) for i in chosen], notes)


def draw_sheet(
    path: Path,
    data: DatasetStore,
    domain: str,
    indices: Int64,
    captions: Sequence[str],
    notes: str,
) -> None:
    """Draw samples of a domain, with the outlines of their masks if any pixel is labelled."""
    reader = data.samples(domain, indices.tolist())
    images, masks = zip(*(reader.read(i) for i in range(len(indices))), strict=True)
    labelled = any((mask != IGNORE_LABEL).any() for mask in masks)
    figure = contact_sheet(
        images,
        masks if labelled else None,
        data.classes,
        captions,
        title=domain,
        notes=notes,
    )
    with atomic_file(path) as partial:
        partial.write_bytes(figure_bytes(figure, PictureFormat.PNG))


def sheet_of(folder: Path, domain: str) -> Path:
    """Return the path of the sheet of a domain."""
    return folder / f"patches-{domain}.png"


def evenly_spaced(number: int, most: int) -> Int64:
    """Return at most ``most`` indices, evenly spread from first to last.

    >>> evenly_spaced(10, 3).tolist(), evenly_spaced(2, 48).tolist()
    ([0, 4, 9], [0, 1])
    """
    indices: Int64 = np.unique(np.linspace(0, number - 1, min(number, most)).round().astype("i8"))
    return indices
