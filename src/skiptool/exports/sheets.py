"""Contact sheets of a dataset store: samples of each domain with the outlines of their masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.figures.contact_sheet import contact_sheet
from skiptool.figures.style import picture
from skiptool.names import IGNORE, PictureFormat
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.staging import whole_file

if TYPE_CHECKING:
    from skiptool.records import Int64

__all__ = ["draw_sheets", "sheet_of", "spread"]

SHOWN = 48
"""Samples on the sheet of a domain, from all parts of it."""

PIXELS = 50_000_000
"""Pixels on a sheet before it is drawn: fewer samples are shown where they are large."""


def draw_sheets(folder: Path, data: DatasetStore, what: str = "patches") -> None:
    """Draw a sheet for each domain.

    Parameters
    ----------
    folder : Path
        Is there; gets ``patches-DOMAIN.png``.
    data : DatasetStore
    what : str
        What a sample is called on the sheet.
    """
    for name, domain in data.domains.items():
        ids = domain.columns["id"]
        most = min(SHOWN, max(1, PIXELS // (domain.height * domain.width)))
        chosen = spread(len(ids), most)
        reader = data.samples(name, chosen.tolist())
        images, masks = zip(*(reader.read(i) for i in range(len(chosen))), strict=True)
        side = f"{domain.width} px"
        if domain.width != domain.height:
            side = f"{domain.width} x {domain.height} px"
        known = any((mask != IGNORE).any() for mask in masks)
        figure = contact_sheet(
            images,
            masks if known else None,
            data.classes,
            [str(ids[i]) for i in chosen],
            title=name,
            notes=f"{len(chosen)} of {len(ids)} {what} of {side}",
        )
        with whole_file(sheet_of(folder, name)) as partial:
            partial.write_bytes(picture(figure, PictureFormat.PNG))


def sheet_of(folder: Path, domain: str) -> Path:
    """Return where the sheet of a domain lies."""
    return folder / f"patches-{domain}.png"


def spread(number: int, most: int) -> Int64:
    """Return at most so many places, evenly from first to last.

    >>> spread(10, 3).tolist(), spread(2, 48).tolist()
    ([0, 4, 9], [0, 1])
    """
    found: Int64 = np.unique(np.linspace(0, number - 1, min(number, most)).round().astype(np.int64))
    return found
