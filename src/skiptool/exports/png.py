"""Export of samples as pairs of PNG files with a manifest."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from skiptool.exports.folders import export_folder, write_lineage
from skiptool.records import Progress
from skiptool.sources.pictures.files import write_mask
from skiptool.sources.pictures.intensities import write_intensities
from skiptool.sources.pictures.manifest import EXPORT_CLASSES, EXPORT_MANIFEST, escape_formula
from skiptool.stores.dataset import DatasetStore, open_dataset

COLUMNS = ("image", "mask", "domain", "subject", "id", "split", "fold")
"""Columns of the manifest."""

PARTS = ("images", "masks")


def export_pairs(store: Path, folder: Path, progress: Progress) -> Path:
    """Export each sample as two PNG files and return the folder; a complete one is left unchanged.

    ``skiptool extract images FOLDER`` imports corrected masks with the same ids, subjects, domains,
    splits and folds.

    Parameters
    ----------
    store : Path
        Dataset store.
    folder : Path
        Appears when it is complete.

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
            subfolder = "" if by_id else f"{name}/"
            for part in PARTS:
                (folder / part / subfolder).mkdir(parents=True, exist_ok=True)
            reader = data.samples(name, range(len(domain)))
            for index, key in enumerate(columns["id"]):
                image, mask = reader.read(index)
                stem = key if by_id else f"{index:06d}"
                files = [f"{part}/{subfolder}{stem}.png" for part in PARTS]
                write_intensities(folder / files[0], image)
                write_mask(folder / files[1], mask, colours)
                values = (columns[column][index] for column in ("subject", "id", "split", "fold"))
                rows.append((*files, name, *values))
                task.advance()
    with (folder / EXPORT_MANIFEST).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [COLUMNS, *([escape_formula(cell) for cell in row] for row in rows)]
        )
    with (folder / EXPORT_CLASSES).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(map(escape_formula, data.classes))
    write_lineage(folder, data)
