"""Manifests of volumes: one row a file, parsed once into what the rest of the code can trust."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from skiptool.errors import SkiptoolError, SourceError
from skiptool.names import Split
from skiptool.records import check_name
from skiptool.sources.manifest import Row, manifest_rows, split_of, whole_number

__all__ = ["Frame", "VolumeRow", "parse_frames", "volume_rows"]

_REQUIRED = ("image", "domain", "subject")
_FILES = ("image", "mask")
_OPTIONAL = ("mask", "frames", "split", "centre", "id")


@dataclass(frozen=True, slots=True, order=True)
class Frame:
    """One moment of a cine.

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
    image : Path
    mask : Path or None
        None where nobody has labelled it.
    domain, subject : str
    frames : tuple of Frame
        Labelled frames, ascending; empty: those in which the mask holds labels. For a volume of
        one frame, the frame that it is.
    split : Split or None
    centre : str
        Hospital, or empty.
    id : str
        Start of the ids of its samples; empty: the name of the image file.
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
        CSV or TSV file, or (``str``) its text, with columns image, domain, subject and, if wanted,
        mask (empty: unlabelled), frames (``0;9`` or ``ED=0;ES=9``), split, centre, id.

    Returns
    -------
    rows : list of VolumeRow
        In the manifest's order.
    failures : list of str
        One line for each row that cannot be used.

    Raises
    ------
    SourceError
        If the manifest itself is unusable.
    """
    found = manifest_rows(manifest, _REQUIRED, _FILES, _OPTIONAL)
    rows: list[VolumeRow] = []
    failures: list[str] = []
    for row in found:
        try:
            rows.append(_parsed(row))
        except SkiptoolError as error:
            failures.append(str(error))
    return rows, failures


def parse_frames(text: str, where: str) -> tuple[Frame, ...]:
    """Read frames: numbers from 0, with or without a name in front.

    Raises
    ------
    SourceError
        If one is no number, or there twice.

    Examples
    --------
    >>> [str(frame) for frame in parse_frames("ES=9;ED=0", "a.nii")]
    ['0 (ED)', '9 (ES)']
    >>> parse_frames("3 11", "a.nii")
    (Frame(number=3, phase=''), Frame(number=11, phase=''))
    >>> parse_frames("7.0", "a.nii")
    (Frame(number=7, phase=''),)
    """
    found = []
    for word in filter(None, re.split(r"[;,|\s]+", text)):
        phase, _, number = word.rpartition("=")
        number = whole_number(number)
        if not re.fullmatch(r"[0-9]{1,6}", number):
            raise SourceError(
                f"{where}: frames {text!r}, expected numbers from 0 such as 0;9 or ED=0;ES=9"
            )
        found.append(Frame(int(number), phase))
    numbers = [frame.number for frame in found]
    if len(set(numbers)) < len(numbers):
        raise SourceError(f"{where}: frames {text!r} names a frame twice; name each once")
    return tuple(sorted(found))


def _parsed(row: Row) -> VolumeRow:
    image = row["image"]
    return VolumeRow(
        image=Path(image),
        mask=Path(row["mask"]) if row.get("mask") else None,
        domain=check_name(row["domain"], f"{image}: domain"),
        subject=row["subject"],
        frames=parse_frames(row.get("frames", ""), image),
        split=split_of(row, image),
        centre=whole_number(row.get("centre", "")),
        id=row.get("id", ""),
    )
