"""Read an nnU-Net dataset folder (version 2) as rows of a manifest.

::

    Dataset501_Cells/
      dataset.json              channel_names, labels, file_ending
      imagesTr/CASE_0000.png    one file per channel, or one of colours
      labelsTr/CASE.png         values as in dataset.json
      imagesTs/, labelsTs/      test cases; labelsTs is not part of nnU-Net's own layout, but common
      manifest.csv              written by ``--export nnunet``: domain, subject, fold of the cases

See https://github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiptool.errors import SourceError
from skiptool.names import Split, normalise_unicode
from skiptool.sources.pictures.labels import BACKGROUND, IGNORED
from skiptool.sources.pictures.manifest import (
    EXPORT_MANIFEST,
    NamePattern,
    Row,
    parse_name,
    read_manifest,
)

if TYPE_CHECKING:
    from skiptool.sources.pictures.labels import Key

DATASET_JSON = "dataset.json"
"""The file by which such a folder is recognised."""

CHANNEL_COLUMNS = ("image", "image_0001", "image_0002")
"""Columns of a row for the files of red, green and blue if they are separate."""

_KEYS = ("channel_names", "labels", "file_ending")
_ENDINGS = (".png", ".tif")
_IDENTITY = ("domain", "subject", "id", "fold")
_PARTS = ((Split.TRAIN, "imagesTr", "labelsTr"), (Split.TEST, "imagesTs", "labelsTs"))


@dataclass(frozen=True, slots=True)
class NnunetFolder:
    """Contents of an nnU-Net dataset folder.

    Attributes
    ----------
    classes : tuple of str
        By ascending value.
    labels : dict of int to str
        Value to class, or to ``ignore``.
    rows : list of mapping
        In the order of ``manifest.csv``, then others by split and name. Columns image, mask,
        domain, subject, id, split and fold; ``image_0001`` and ``image_0002`` with one file per
        channel.
    failures, warnings : list of str
        One line for each skipped file, and notes for the user.
    """

    classes: tuple[str, ...]
    labels: dict[Key, str]
    rows: list[Row]
    failures: list[str]
    warnings: list[str]


def read_nnunet(
    folder: Path, domain: str | None = None, pattern: NamePattern | None = None
) -> NnunetFolder:
    """Read the layout without opening any picture.

    Parameters
    ----------
    folder : Path
    domain, pattern
        As for `skiptool.sources.pictures.manifest.parse_name`, applied to the names of cases; the
        folder's own ``manifest.csv`` takes precedence.

    Returns
    -------
    NnunetFolder
        Cases of ``imagesTs`` are for testing, others for training. Without ``imagesTs`` and
        ``manifest.csv``, no split is set.
    """
    description = _read_description(folder)
    classes, labels = _labels(folder, description)
    ending, channels = str(description["file_ending"]), len(description["channel_names"])
    identities = _read_identities(folder)
    dataset = NnunetFolder(classes, labels, [], [], [])
    has_test_cases = bool(_files(folder / "imagesTs"))
    for split, images, masks in _PARTS:
        cases, case_failures = _cases(folder / images, ending, channels)
        dataset.failures.extend(case_failures)
        unlabelled = split is Split.TEST and not (folder / masks).is_dir()
        if cases and unlabelled:
            dataset.warnings.append(
                f"{folder}: has imagesTs without labelsTs; its {len(cases)} cases are taken "
                "without masks (all pixels ignored)"
            )
        mask_paths = {
            normalise_unicode(path.name.removesuffix(ending)): path
            for path in _files(folder / masks)
            if path.name.endswith(ending)
        }
        for case, files in cases.items():
            try:
                if case not in mask_paths and not unlabelled:
                    raise SourceError(f"{files[0]}: no mask {case}{ending} in {folder / masks}")
                identity = identities.get(case) or parse_name(f"{case}{ending}", domain, pattern)
            except SourceError as error:
                dataset.failures.append(str(error))
                continue
            row = dict(zip(CHANNEL_COLUMNS, map(str, files), strict=False))
            row |= {"mask": str(mask_paths.get(case, "")), **identity}
            if has_test_cases or identities:
                row["split"] = split.value
            dataset.rows.append(row)
        dataset.failures.extend(
            f"{path}: no image {case}_0000{ending} in {folder / images}"
            for case, path in mask_paths.items()
            if case not in cases
        )
    if not dataset.rows:
        failures = dataset.failures
        first = f"; the first of {len(failures)} failures: {failures[0]}" if failures else ""
        raise SourceError(f"{folder}: no case CASE_0000{ending} with a mask CASE{ending}{first}")
    order = {case: index for index, case in enumerate(identities)}
    dataset.rows.sort(key=lambda row: order.get(_case(row), len(order)))
    _drop_partial_folds(folder, dataset)
    return dataset


def _drop_partial_folds(folder: Path, dataset: NnunetFolder) -> None:
    """Discard the folds if cases were added to an exported folder."""
    training = [row for row in dataset.rows if row.get("split") == Split.TRAIN]
    added = sum(not row.get("fold") for row in training)
    if 0 < added < len(training):
        dataset.rows[:] = [
            {name: value for name, value in row.items() if name != "fold"} for row in dataset.rows
        ]
        dataset.warnings.append(
            f"{folder}: {EXPORT_MANIFEST} has no fold for {added} cases; folds are assigned anew "
            "for all"
        )


def _read_description(folder: Path) -> Mapping[str, Any]:
    where = folder / DATASET_JSON
    try:
        description = json.loads(where.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{where}: is not valid JSON ({error}); copy it again") from None
    fields = description if isinstance(description, dict) else {}
    missing = [key for key in _KEYS if not fields.get(key)]
    if missing:
        hint = (
            "it seems to be of nnU-Net 1: convert it with nnUNetv2_convert_old_nnUNet_dataset"
            if "modality" in fields
            else "fill in what nnU-Net 2 needs"
        )
        raise SourceError(f"{where}: has no {', '.join(missing)}; {hint}")
    if not all(isinstance(description[key], dict) for key in _KEYS[:2]):
        raise SourceError(f"{where}: channel_names and labels must be objects {{...}}; correct it")
    ending = description["file_ending"]
    if ending not in _ENDINGS:
        raise SourceError(
            f"{where}: file_ending {ending!r}; expected {' or '.join(_ENDINGS)}: for volumes "
            "(.nii.gz) use 'skiptool extract mri', convert others first"
        )
    channels = len(description["channel_names"])
    if channels not in (1, 3):
        raise SourceError(
            f"{where}: {channels} channels; a dataset store holds images of 1 "
            "channel or of red, green and blue: leave channels out"
        )
    checked: Mapping[str, Any] = description
    return checked


def _labels(folder: Path, description: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[Key, str]]:
    where = folder / DATASET_JSON
    labels: dict[Key, str] = {}
    for name, value in description["labels"].items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise SourceError(
                f"{where}: label {name!r} is {value!r}; expected one non-negative integer "
                "(overlapping regions are not supported): name each label"
            )
        if value in labels:
            raise SourceError(f"{where}: labels {labels[value]!r} and {name!r} are both {value}")
        labels[value] = name
    if labels.get(0) is None:
        raise SourceError(f"{where}: no label is 0, which is the {BACKGROUND}; name it")
    # an export records the original class names, as nnU-Net calls label 0 'background'
    export = description.get("skiptool", {})
    names = export.get("classes", []) if isinstance(export, dict) else []
    values = sorted(value for value, name in labels.items() if name != IGNORED)
    if isinstance(names, list) and len(names) == len(values):
        labels |= dict(zip(values, map(str, names), strict=True))
    return tuple(labels[value] for value in values), labels


def _cases(folder: Path, ending: str, channels: int) -> tuple[dict[str, list[Path]], list[str]]:
    """Return the files of each case in the order of channels, and failures."""
    cases: dict[str, list[Path]] = {}
    failures = []
    for path in _files(folder):
        name = re.fullmatch(r"(.+)_(\d{4})" + re.escape(ending), path.name)
        if name is None:
            failures.append(f"{path}: is not named CASE_0000{ending}; rename it")
        else:
            cases.setdefault(normalise_unicode(name[1]), []).append(path)
    complete = {}
    for case, files in cases.items():
        numbers = [path.name.removesuffix(ending)[-4:] for path in files]
        if numbers in ([f"{n:04d}" for n in range(channels)], ["0000"]):
            complete[case] = files
        else:
            failures.append(
                f"{files[0]}: case {case} has channels {', '.join(numbers)}; expected "
                f"{channels} from 0000, or one file of colours"
            )
    return complete, failures


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]


def _read_identities(folder: Path) -> dict[str, Row]:
    """Read domain, subject, id and fold of each case from the folder's own manifest."""
    if not (folder / EXPORT_MANIFEST).is_file():
        return {}
    rows = read_manifest(
        folder / EXPORT_MANIFEST, ("image", "domain", "subject"), ("image", "mask")
    )
    return {_case(row): {name: row[name] for name in _IDENTITY if row.get(name)} for row in rows}


def _case(row: Row) -> str:
    """Return the name of a case from its first file."""
    return normalise_unicode(re.sub(r"_\d{4}$", "", Path(row["image"]).stem))
