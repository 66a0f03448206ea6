"""Samples as pairs of PNG files, and the manifest by which they are taken back."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from skiptool.exports.places import exported, keep_lineage
from skiptool.records import Progress
from skiptool.sources.intensities import write_intensities
from skiptool.sources.manifest import EXPORTED, LISTED, guarded
from skiptool.sources.pictures import write_mask
from skiptool.stores.dataset import DatasetStore, open_dataset

__all__ = ["COLUMNS", "export_pairs", "write_pairs"]

COLUMNS = ("image", "mask", "domain", "subject", "id", "split", "fold")
"""Of the manifest."""

PARTS = ("images", "masks")


def export_pairs(store: Path, folder: Path, progress: Progress) -> Path:
    """Write every sample as two PNG files; nothing happens where they are there already.

    ``skiptool extract images FOLDER`` reads the corrected masks under the same ids, subjects,
    domains, splits and folds.

    Parameters
    ----------
    store : Path
        Dataset store.
    folder : Path
        Appears when it is whole.
    progress : Progress

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ExistsError
        If the folder holds pairs of another dataset, or anything else.
    FormatError
        If the store is damaged.
    """
    data = open_dataset(store)
    with exported(folder, data) as partial:
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
    """Write pairs into a folder that is there.

    Parameters
    ----------
    data : DatasetStore
    folder : Path
    progress : Progress
    by_id : bool
        Name files after ids, all in one folder; by default they are numbered in a folder a domain,
        as any text may be an id.
    colours : sequence of (red, green, blue)
        How labels 0, 1, ... are shown; greys by default.
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
    with (folder / EXPORTED).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *([guarded(cell) for cell in row] for row in rows)])
    with (folder / LISTED).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(map(guarded, data.classes))
    keep_lineage(folder, data)
