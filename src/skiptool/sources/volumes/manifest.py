"""Manifests of volumes, one row per file, and the folder of the M&Ms challenge.

The challenge's folder is read by file names and one table::

    Training/Labeled/<code>/<code>_sa.nii.gz          4-D, x y z t
                            <code>_sa_gt.nii.gz       labels in the frames ED and ES only
    Training/Unlabeled/, Validation/, Testing/        alike
    <table>.csv                                       External code, Vendor, Centre, ED, ES ...

Volumes of one frame (``<code>_sa_ED.nii.gz``) are accepted too, anywhere in the folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skiptool.errors import SkiptoolError, SourceError
from skiptool.names import Split
from skiptool.records import check_name
from skiptool.sources.pictures.manifest import (
    Row,
    manifest_rows,
    parse_split,
    read_manifest,
    strip_decimal_zero,
)

_REQUIRED = ("image", "domain", "subject")
_FILES = ("image", "mask")
_OPTIONAL = ("mask", "frames", "split", "centre", "id")


@dataclass(frozen=True, slots=True, order=True)
class Frame:
    """One time point of a cine.

    Attributes
    ----------
    number : int
        From 0.
    phase : str
        Its name (ED, ES), or empty.
    """

    number: int
    phase: str = ""

    def __str__(self) -> str:
        return f"{self.number} ({self.phase})" if self.phase else str(self.number)


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """A row of a manifest of volumes.

    Attributes
    ----------
    mask : Path or None
        None if unlabelled.
    frames : tuple of Frame
        Labelled frames, ascending; empty: those in which the mask has labels. For a volume of one
        frame, that frame.
    centre : str
        Hospital, or empty.
    id : str
        Prefix of the ids of its samples; empty: the name of the image file.
    """

    image: Path
    mask: Path | None
    domain: str
    subject: str
    frames: tuple[Frame, ...] = ()
    split: Split | None = None
    centre: str = ""
    id: str = ""


def volume_rows(manifest: Path | str) -> tuple[list[VolumeRow], list[str]]:
    """Read a manifest of volumes.

    Parameters
    ----------
    manifest : Path or str
        CSV or TSV file, or (``str``) its text, with columns image, domain, subject and optionally
        mask (empty: unlabelled), frames (``0;9`` or ``ED=0;ES=9``), split, centre, id.

    Returns
    -------
    rows : list of VolumeRow
        In the manifest's order.
    failures : list of str
        One line for each unusable row.
    """
    rows: list[VolumeRow] = []
    failures: list[str] = []
    for row in manifest_rows(manifest, _REQUIRED, _FILES, _OPTIONAL):
        try:
            rows.append(_parse(row))
        except SkiptoolError as error:
            failures.append(str(error))
    return rows, failures


def parse_frames(text: str, where: str) -> tuple[Frame, ...]:
    """Parse frame numbers from 0, with or without the name of the phase.

    Examples
    --------
    >>> [str(frame) for frame in parse_frames("ES=9;ED=0", "a.nii")]
    ['0 (ED)', '9 (ES)']
    >>> parse_frames("3 11.0", "a.nii")
    (Frame(number=3, phase=''), Frame(number=11, phase=''))
    """
    frames = []
    for word in filter(None, re.split(r"[;,|\s]+", text)):
        phase, _, number = word.rpartition("=")
        number = strip_decimal_zero(number)
        if not re.fullmatch(r"[0-9]{1,6}", number):
            raise SourceError(
                f"{where}: frames {text!r}, expected numbers from 0 such as 0;9 or ED=0;ES=9"
            )
        frames.append(Frame(int(number), phase))
    if len({frame.number for frame in frames}) < len(frames):
        raise SourceError(f"{where}: frames {text!r} lists a frame twice; list each once")
    return tuple(sorted(frames))


def _parse(row: Row) -> VolumeRow:
    image = row["image"]
    return VolumeRow(
        image=Path(image),
        mask=Path(row["mask"]) if row.get("mask") else None,
        domain=check_name(row["domain"], f"{image}: domain"),
        subject=row["subject"],
        frames=parse_frames(row.get("frames", ""), image),
        split=parse_split(row, image),
        centre=strip_decimal_zero(row.get("centre", "")),
        id=row.get("id", ""),
    )


# The M&Ms challenge.

_CODE: Final = "External code"
_PHASES: Final = ("ED", "ES")
_SPLITS: Final = {"training": Split.TRAIN, "testing": Split.TEST}
_UNUSED: Final = "validation"

_FILE_NAME: Final = re.compile(
    r"(?:.*_)?(?P<code>[^_]+)_sa(?:_(?P<phase>ED|ES))?(?P<mask>_gt)?\.nii(?:\.gz)?"
)


@dataclass(slots=True)
class _Volume:
    """Image and mask of one code and phase (empty: the whole cine)."""

    code: str
    phase: str
    image: Path | None = None
    mask: Path | None = None


def folder_rows(
    folder: Path, table: Path | None = None
) -> tuple[list[VolumeRow], list[str], list[str]]:
    """List the volumes of a folder.

    Parameters
    ----------
    table : Path, optional
        CSV with the columns ``External code``, ``Vendor`` (the domain), ``Centre``, ``ED`` and
        ``ES``; by default the one in the folder with the first two.

    Returns
    -------
    rows : list of VolumeRow
        By code. The challenge's training and testing folders are the splits; other folders have
        none.
    failures : list of str
        One line for each unusable volume or column.
    left_out : list of str
        Codes of the challenge's own validation set, which is in neither split.
    """
    volumes, failures = _find_volumes(folder)
    path = _find_table(folder) if table is None else table
    # tables of slices repeat each subject; the first row counts
    subjects = {row[_CODE]: row for row in reversed(read_manifest(path, (_CODE, "Vendor"), ()))}
    columns = next(iter(subjects.values()))
    failures += [
        f"{path}: has no column {phase}; frames in which masks have labels are used, without their "
        "phase"
        for phase in _PHASES
        if phase not in columns
    ]
    rows: list[VolumeRow] = []
    left_out: list[str] = []
    for volume in volumes:
        if volume.image is None:
            failures.append(f"{volume.mask}: a mask without its image; copy the image there too")
        elif _subset(volume.image, folder) == _UNUSED:
            left_out.append(volume.code)
        else:
            try:
                rows.append(_to_row(volume, volume.image, folder, subjects, path))
            except SkiptoolError as error:
                failures.append(str(error))
    return rows, failures, sorted(set(left_out))


def _find_volumes(folder: Path) -> tuple[list[_Volume], list[str]]:
    volumes: dict[tuple[str, str], _Volume] = {}
    failures: list[str] = []
    for path in sorted(folder.rglob("*.nii*")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or path.name.startswith(".") or not path.is_file():
            continue
        code, phase = match["code"], match["phase"] or ""
        volume = volumes.setdefault((code, phase), _Volume(code, phase))
        earlier = volume.mask if match["mask"] else volume.image
        if earlier is not None:
            failures.append(f"{path}: {code} is already in {earlier}; keep one of them")
        elif match["mask"]:
            volume.mask = path
        else:
            volume.image = path
    if not volumes:
        raise SourceError(
            f"{folder}: has no volume named <code>_sa.nii.gz, as in the M&Ms challenge; list other "
            "volumes in a manifest (image, mask, domain, subject)"
        )
    return [volumes[key] for key in sorted(volumes)], failures


def _find_table(folder: Path) -> Path:
    """Find the table; if several have codes and vendors, the one with the frames."""
    optional_columns: dict[Path, int] = {}
    for path in sorted(folder.glob("*.csv")):
        try:
            rows = read_manifest(path, (_CODE, "Vendor"), ())
        except SourceError:
            continue
        optional_columns[path] = sum(name in rows[0] for name in (*_PHASES, "Centre"))
    if not optional_columns:
        raise SourceError(
            f"{folder}: has no CSV with the columns {_CODE!r} and 'Vendor'; give it with --table, "
            "or list the volumes in a manifest (image, mask, domain, subject)"
        )
    return max(optional_columns, key=lambda path: optional_columns[path])


def _to_row(
    volume: _Volume, image: Path, folder: Path, subjects: Mapping[str, Row], path: Path
) -> VolumeRow:
    subject = subjects.get(volume.code)
    if subject is None:
        raise SourceError(f"{image}: {path} has no row for {volume.code}; add it")
    return VolumeRow(
        image=image,
        mask=volume.mask,
        domain=check_name(subject["Vendor"], f"{path}: {volume.code}: Vendor"),
        subject=volume.code,
        frames=_frames(subject, volume, path),
        split=_SPLITS.get(_subset(image, folder)),
        centre=strip_decimal_zero(subject.get("Centre", "")),
    )


def _frames(subject: Row, volume: _Volume, path: Path) -> tuple[Frame, ...]:
    phases = [volume.phase] if volume.phase else [name for name in _PHASES if name in subject]
    frames = []
    for phase in phases:
        number = strip_decimal_zero(subject.get(phase, ""))
        if number.isdecimal():
            frames.append(Frame(int(number), phase))
        elif phase in subject:
            raise SourceError(
                f"{path}: {volume.code}: {phase} is {subject[phase]!r}, expected the number of a "
                "frame from 0; correct the table"
            )
    if len({frame.number for frame in frames}) < len(frames):
        raise SourceError(
            f"{path}: {volume.code}: ED and ES are the same frame ({frames[0].number}); correct "
            "the table"
        )
    if volume.phase:
        return tuple(frames) or (Frame(0, volume.phase),)
    return tuple(sorted(frames)) if len(frames) == len(_PHASES) else ()


def _subset(image: Path, folder: Path) -> str:
    """Return the folder of the challenge that a file is in, in lower case, or ""."""
    names = [*image.relative_to(folder).parts[:-1], folder.name]
    return next((name.lower() for name in names if name.lower() in (*_SPLITS, _UNUSED)), "")
