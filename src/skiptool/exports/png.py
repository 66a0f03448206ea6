"""Export of samples as pairs of PNG files with a manifest, and contact sheets of domains."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.exports.folders import export_folder, write_lineage
from skiptool.figures.sheets import contact_sheet
from skiptool.figures.style import figure_bytes
from skiptool.names import IGNORE_LABEL, PictureFormat
from skiptool.records import Progress
from skiptool.sources.pictures.files import write_mask
from skiptool.sources.pictures.intensities import write_intensities
from skiptool.sources.pictures.manifest import EXPORT_CLASSES, EXPORT_MANIFEST, escape_formula
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.staging import whole_file

if TYPE_CHECKING:
    from skiptool.records import Int64

COLUMNS = ("image", "mask", "domain", "subject", "id", "split", "fold")
"""Columns of the manifest."""

PARTS = ("images", "masks")


def export_pairs(store: Path, folder: Path, progress: Progress) -> Path:
    """Export each sample as two PNG files and return the folder; a complete one is left as it is.

    ``skiptool extract images FOLDER`` reads corrected masks with the same ids, subjects, domains,
    splits and folds.

    Parameters
    ----------
    store : Path
        Dataset store.
    folder : Path
        Created when it is complete.
    progress : Progress

    Raises
    ------
    ExistsError
        If the folder holds pairs of another dataset, or anything else.
    FormatError
        If the store is damaged.
    """
    data = open_dataset(store)
    with export_folder(folder, data) as partial:
        if partial is not None:
            write_pairs(data, partial, progress)
    return folder


def write_pairs(
    data: DatasetStore,
    folder: Path,
    progress: Progress,
    *,
    by_id: bool = False,
    colours: Sequence[tuple[int, int, int]] = (),
) -> None:
    """Write pairs into an existing folder.

    Parameters
    ----------
    data : DatasetStore
    folder : Path
    progress : Progress
    by_id : bool
        Name files after ids, all in one folder; by default they are numbered in a folder for each
        domain, as an id may be any text.
    colours : sequence of (red, green, blue)
        Palette of labels 0, 1, ...; greys by default.
    """
    rows = []
    with progress.task("export", sum(map(len, data.domains.values()))) as task:
        for name, domain in data.domains.items():
            columns = domain.columns
            below = "" if by_id else f"{name}/"
            for part in PARTS:
                (folder / part / below).mkdir(parents=True, exist_ok=True)
            reader = data.samples(name, range(len(domain)))
            for index, key in enumerate(columns["id"]):
                image, mask = reader.read(index)
                stem = key if by_id else f"{index:06d}"
                files = [f"{part}/{below}{stem}.png" for part in PARTS]
                write_intensities(folder / files[0], image)
                write_mask(folder / files[1], mask, colours)
                facts = (columns[column][index] for column in ("subject", "id", "split", "fold"))
                rows.append((*files, name, *facts))
                task.advance()
    with (folder / EXPORT_MANIFEST).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [COLUMNS, *([escape_formula(cell) for cell in row] for row in rows)]
        )
    with (folder / EXPORT_CLASSES).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(map(escape_formula, data.classes))
    write_lineage(folder, data)


# Contact sheets: samples of each domain with the outlines of their masks.

SHOWN = 48
"""Samples on the sheet of a domain, evenly spread."""

PIXELS = 50_000_000
"""Limit on the pixels of a sheet: fewer samples are shown if they are large."""


def draw_sheets(folder: Path, data: DatasetStore, what: str = "patches") -> None:
    """Draw a sheet ``patches-DOMAIN.png`` for each domain into an existing folder.

    ``what`` is the word for samples on the sheet.
    """
    for name, domain in data.domains.items():
        ids = domain.columns["id"]
        most = min(SHOWN, max(1, PIXELS // (domain.height * domain.width)))
        chosen = evenly_spaced(len(ids), most)
        reader = data.samples(name, chosen.tolist())
        images, masks = zip(*(reader.read(i) for i in range(len(chosen))), strict=True)
        side = f"{domain.width} px"
        if domain.width != domain.height:
            side = f"{domain.width} x {domain.height} px"
        labelled = any((mask != IGNORE_LABEL).any() for mask in masks)
        figure = contact_sheet(
            images,
            masks if labelled else None,
            data.classes,
            [str(ids[i]) for i in chosen],
            title=name,
            notes=f"{len(chosen)} of {len(ids)} {what} of {side}",
        )
        with whole_file(sheet_of(folder, name)) as partial:
            partial.write_bytes(figure_bytes(figure, PictureFormat.PNG))


def sheet_of(folder: Path, domain: str) -> Path:
    """Return the path of the sheet of a domain."""
    return folder / f"patches-{domain}.png"


def evenly_spaced(number: int, most: int) -> Int64:
    """Return at most ``most`` indices, evenly spread from first to last.

    >>> spread(10, 3).tolist(), evenly_spaced(2, 48).tolist()
    ([0, 4, 9], [0, 1])
    """
    indices: Int64 = np.unique(np.linspace(0, number - 1, min(number, most)).round().astype("i8"))
    return indices
