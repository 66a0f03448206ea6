"""Export of samples in the folder layout of nnU-Net, version 2.

See https://github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md and ignore_label.md. A
colour image is one PNG of three channels, a grey image a 32-bit TIFF, so that no grey level is
lost; nnU-Net reads both as natural images. Masks are plain grey, as its reader would take a palette
for colours.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skiptool.errors import MismatchError
from skiptool.exports.folders import export_folder, write_lineage
from skiptool.exports.png import COLUMNS
from skiptool.names import IGNORE_LABEL, Split
from skiptool.records import Progress
from skiptool.sources.pictures.files import write_labels
from skiptool.sources.pictures.intensities import write_intensities
from skiptool.sources.pictures.labels import BACKGROUND, IGNORED
from skiptool.sources.pictures.manifest import EXPORT_MANIFEST, escape_formula
from skiptool.sources.pictures.nnunet import DATASET_JSON
from skiptool.stores.dataset import DatasetStore, open_dataset

SPLITS = "splits_final.json"
"""The folds, by subject, as nnU-Net expects them in its folder of preprocessed data."""

_FOLDERS = {Split.TRAIN: ("imagesTr", "labelsTr"), Split.TEST: ("imagesTs", "labelsTs")}
_CHANNELS = {3: ("R", "G", "B"), 1: ("grey",)}
_ENDINGS = {3: ".png", 1: ".tif"}


def export_nnunet(store: Path, folder: Path, progress: Progress) -> Path:
    """Export a dataset store for nnU-Net and return the folder; a complete one is left unchanged.

    Test samples go to ``imagesTs`` and ``labelsTs``. Ignored pixels get the label after the last
    class, named ``ignore``. nnU-Net requires label 0 to be called ``background``; its original
    name, domains, subjects, ids, splits and folds are kept in ``dataset.json`` and
    ``manifest.csv``, from which ``skiptool extract images FOLDER`` reads them.

    Parameters
    ----------
    store : Path
        Dataset store; all its domains become one dataset of nnU-Net.
    folder : Path
        Appears when it is complete. nnU-Net expects a name such as ``Dataset501_Cells``.

    Raises
    ------
    MismatchError
        If some domains have colour and others grey images, or a class is called ``ignore``.
    ExistsError
        If the folder holds an export of another dataset, or anything else.
    FormatError
        If the store is damaged.
    """
    data = open_dataset(store)
    domains = [domain.channels for domain in data.domains.values()]
    channels = check_nnunet(domains, data.classes, str(data.path))
    with export_folder(folder, data) as partial:
        if partial is not None:
            _write(data, partial, channels, progress)
    return folder


def check_nnunet(channels: Iterable[int], classes: Sequence[str], where: str) -> int:
    """Return the number of channels of all images; raises `MismatchError` like `export_nnunet`."""
    numbers = set(channels)
    if len(numbers) > 1:
        raise MismatchError(
            f"{where}: has domains of {' and '.join(map(str, sorted(numbers)))} channels, and "
            "nnU-Net needs one number for all; export them as png, or give --channels"
        )
    reserved = [name for name in classes[1:] if name in (BACKGROUND, IGNORED)]
    if reserved or classes[0] == IGNORED:
        raise MismatchError(
            f"{where}: has a class {', '.join(reserved) or IGNORED}, a name that nnU-Net reserves; "
            "rename it"
        )
    return numbers.pop()


def _write(data: DatasetStore, folder: Path, channels: int, progress: Progress) -> None:
    ending, ignore_label = _ENDINGS[channels], len(data.classes)
    for names in _FOLDERS.values():
        for name in names:
            (folder / name).mkdir()
    rows: list[tuple[Any, ...]] = []
    folds: dict[str, int] = {}
    ignored = False
    with progress.task("export", sum(map(len, data.domains.values()))) as task:
        for case, domain, index in _cases(data):
            columns = data.domain(domain).columns
            image, mask = data.samples(domain, [index]).read(0)
            images, masks = _FOLDERS[Split(columns["split"][index])]
            files = f"{images}/{case}_0000{ending}", f"{masks}/{case}{ending}"
            is_ignored = mask == IGNORE_LABEL
            write_intensities(folder / files[0], image)
            write_labels(folder / files[1], np.where(is_ignored, np.uint8(ignore_label), mask))
            ignored |= bool(is_ignored.any())
            values = (columns[column][index] for column in ("subject", "id", "split", "fold"))
            rows.append((*files, domain, *values))
            if columns["split"][index] == Split.TRAIN:
                folds[case] = int(columns["fold"][index])
            task.advance()
    with (folder / EXPORT_MANIFEST).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [COLUMNS, *([escape_formula(cell) for cell in row] for row in rows)]
        )
    _write_json(folder / DATASET_JSON, _description(data, channels, len(folds), ignored))
    if len(set(folds.values())) > 1:
        _write_json(folder / SPLITS, _splits(folds))
    write_lineage(folder, data)


def _cases(data: DatasetStore) -> Iterator[tuple[str, str, int]]:
    """Yield case name, domain and index of each sample; case names are safe as file names."""
    used: set[str] = set()
    for name, domain in data.domains.items():
        prefix = f"{name}_" if len(data.domains) > 1 else ""
        for index, key in enumerate(domain.columns["id"]):
            safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{prefix}{key}")
            case, number = safe, 1
            while case.casefold() in used:
                number += 1
                case = f"{safe}-{number}"
            used.add(case.casefold())
            yield case, name, index


def _description(data: DatasetStore, channels: int, training: int, ignored: bool) -> dict[str, Any]:
    labels = {BACKGROUND: 0} | {name: label for label, name in enumerate(data.classes) if label}
    return {
        "channel_names": {str(n): name for n, name in enumerate(_CHANNELS[channels])},
        "labels": labels | ({IGNORED: len(data.classes)} if ignored else {}),
        "numTraining": training,
        "file_ending": _ENDINGS[channels],
        "overwrite_image_reader_writer": "NaturalImage2DIO",
        "skiptool": {"classes": list(data.classes), "dataset": data.lineage.id},
    }


def _splits(folds: dict[str, int]) -> list[dict[str, list[str]]]:
    return [
        {
            "train": [case for case, number in folds.items() if number != fold],
            "val": [case for case, number in folds.items() if number == fold],
        }
        for fold in sorted(set(folds.values()))
    ]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
