"""Manifests of slides, one row per scan, and checks of slide files before OpenSlide opens them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final

from skiptool.errors import SkiptoolError, SourceError
from skiptool.names import Split
from skiptool.records import check_name
from skiptool.sources.paths import refuse_lfs_pointer, refuse_pipe
from skiptool.sources.pictures.manifest import Row, manifest_rows, parse_split

_REQUIRED = ("path", "domain", "subject")
_FILES = ("path", "annotations")
_OPTIONAL = (
    "slide",
    "annotations",
    "annotated_as",
    "split",
    "mpp",
    "mpp_y",
    "level",
    "x_offset",
    "y_offset",
    "label_map",
)


@dataclass(frozen=True, slots=True)
class SlideRow:
    """A row of a manifest of slides.

    Attributes
    ----------
    slide : str
        Name of the glass slide if a subject has several in one domain, else empty.
    annotated_as : str
        Name of the slide in its annotation file if it differs from the file name.
    mpp : tuple of float or None
        µm per pixel of level 0, x and y; overrides the slide's own.
    level : int
        Pyramid level that is read unless a resolution is requested.
    offset : tuple of float
        Level-0 pixels to add to the coordinates of the annotations, x and y.
    label_map : str
        Classes of this slide's annotations; overrides ``--classes``.
    """

    path: Path
    domain: str
    subject: str
    slide: str = ""
    annotations: Path | None = None
    annotated_as: str = ""
    split: Split | None = None
    mpp: tuple[float | None, float | None] = (None, None)
    level: int = 0
    offset: tuple[float, float] = (0.0, 0.0)
    label_map: str = ""


def slide_rows(manifest: Path | str) -> tuple[list[SlideRow], list[SlideRow], list[str]]:
    """Read a manifest of slides.

    Parameters
    ----------
    manifest : Path or str
        CSV or TSV file, or (``str``) its text, with columns path, domain, subject and optionally
        slide, annotations, annotated_as, split, mpp, mpp_y, level, x_offset, y_offset, label_map.

    Returns
    -------
    rows : list of SlideRow
        In the manifest's order.
    rejected : list of SlideRow
        Path, domain, subject and slide of unusable rows.
    failures : list of str
        One line for each of those.
    """
    rows: list[SlideRow] = []
    rejected: list[SlideRow] = []
    failures: list[str] = []
    for row in manifest_rows(manifest, _REQUIRED, _FILES, _OPTIONAL):
        try:
            rows.append(_parse(row))
        except SkiptoolError as error:
            failures.append(str(error))
            path = Path(row["path"])
            rejected.append(SlideRow(path, row["domain"], row["subject"], row.get("slide", "")))
    return rows, rejected, failures


def _parse(row: Row) -> SlideRow:
    path = Path(row["path"])
    annotations = row.get("annotations", "")
    mpp_x, mpp_y = _number(row, "mpp"), _number(row, "mpp_y")
    if mpp_x is None and mpp_y is not None:
        raise SourceError(f"{path}: mpp_y is given, mpp is empty; fill in both, or mpp for both")
    level = _number(row, "level") or 0.0
    if level != int(level) or level < 0:
        raise SourceError(f"{path}: level {row['level']!r}, expected a non-negative integer")
    return SlideRow(
        path=path,
        domain=check_name(row["domain"], f"{path}: domain"),
        subject=row["subject"],
        slide=row.get("slide", ""),
        annotations=Path(annotations) if annotations else None,
        annotated_as=row.get("annotated_as", ""),
        split=parse_split(row, str(path)),
        mpp=(mpp_x, mpp_x if mpp_y is None else mpp_y),
        level=int(level),
        offset=(_number(row, "x_offset") or 0.0, _number(row, "y_offset") or 0.0),
        label_map=row.get("label_map", ""),
    )


def _number(row: Row, column: str) -> float | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise SourceError(
            f"{row['path']}: {column} {text!r} is not a number (decimal point, no unit); correct "
            "the manifest"
        )
    return number


# Slide files.

COPY_AGAIN: Final = "copy it again from its source, or leave the slide out"
"""Remedy for a damaged file."""

_POINTER_BYTES: Final = 64
"""Bytes read to recognise a Git LFS pointer."""

_HASHED_BYTES: Final = 1 << 20
"""Bytes hashed at either end of a file."""

_MAX_TILE: Final = 1 << 26
"""Largest tile in pixels that OpenSlide may decode: 256 MB."""


def check_file(path: Path) -> None:
    """Refuse a missing, unreadable or empty file, which OpenSlide calls "unsupported"."""
    refuse_pipe(path)
    try:
        with path.open("rb") as file:
            start = file.read(_POINTER_BYTES)
    except FileNotFoundError:
        raise SourceError(f"{path}: no such slide; check the path") from None
    except IsADirectoryError:
        raise SourceError(
            f"{path}: a folder; expected a slide file (for MRXS, the file next to the folder)"
        ) from None
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not start:
        raise SourceError(f"{path}: is empty; {COPY_AGAIN}")
    refuse_lfs_pointer(path, start)


def content_key(path: Path) -> str:
    """Hash a slide's size and its first and last MB.

    Parameters
    ----------
    path : Path
        The slide file. For ``.mrxs``, whose pixels lie in a folder next to it, names and sizes of
        the files in the folder are hashed too.

    Returns
    -------
    str
        32 hexadecimal digits, independent of name, folder and timestamps.
    """
    refuse_pipe(path)
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for start in (0, max(size - _HASHED_BYTES, 0)):
                file.seek(start)
                digest.update(file.read(_HASHED_BYTES))
        for name, length in _mirax_files(path):
            digest.update(f"\0{name}\0{length}".encode())
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read ({error.strerror}); check that it is still there"
        ) from error
    return digest.hexdigest()


def check_tiles(properties: Mapping[str, str], levels: int, path: Path) -> None:
    """Refuse tiles for which OpenSlide would run out of memory, which ends the process."""
    for level in range(levels):
        width = int(properties.get(f"openslide.level[{level}].tile-width", 0))
        height = int(properties.get(f"openslide.level[{level}].tile-height", 0))
        if width * height > _MAX_TILE:
            raise SourceError(
                f"{path}: has tiles of {width:,} x {height:,} pixels, expected at most "
                f"{_MAX_TILE:,} pixels a tile; convert it to a tiled, pyramidal TIFF"
            )


def _mirax_files(path: Path) -> list[tuple[str, int]]:
    """List names and sizes of the files in the folder of an MRXS slide."""
    folder = path.with_suffix("")
    if path.suffix.lower() != ".mrxs" or not folder.is_dir():
        return []
    return sorted(
        (file.relative_to(folder).as_posix(), file.stat().st_size)
        for file in folder.rglob("*")
        if file.is_file()
    )
