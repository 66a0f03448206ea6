"""Manifests: tables of inputs (CSV or TSV), and folders that stand for one."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from skiptool.errors import SourceError, near

__all__ = ["Row", "pair_folders", "parse_manifest", "read_manifest"]

Row = Mapping[str, str]
"""One line of a manifest: column name to text, paths made absolute or relative to its folder."""

DELIMITERS = "\t;,"
PICTURES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg"})


def read_manifest(path: Path, required: Sequence[str], files: Sequence[str]) -> list[Row]:
    """Read a manifest file.

    Parameters
    ----------
    path : Path
        CSV or TSV, UTF-8 with or without BOM; ``;`` is taken as a delimiter too.
    required : sequence of str
        Columns that must be there.
    files : sequence of str
        Columns that hold paths, absolute or relative to the manifest.

    Returns
    -------
    list of mapping

    Raises
    ------
    SourceError
        If it is missing, no text, empty, or lacks a column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SourceError(f"{path}: no such manifest; check the path") from None
    except (UnicodeDecodeError, OSError) as error:
        raise SourceError(f"{path}: no UTF-8 text ({error}); save the manifest as CSV") from error
    return parse_manifest(text, str(path), path.parent, required, files)


def parse_manifest(
    text: str, where: str, folder: Path, required: Sequence[str], files: Sequence[str]
) -> list[Row]:
    """Read a manifest's text; see :func:`read_manifest`."""
    header = text.lstrip("\ufeff").split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), delimiter=delimiter, strict=True)
    names = [name.strip() for name in reader.fieldnames or []]
    missing = [name for name in required if name not in names]
    if missing:
        raise SourceError(
            f"{where}: has no column {', '.join(missing)} (columns: {', '.join(names) or 'none'})"
            f"{near(missing[0], names)}"
        )
    try:
        rows = [_row(found, folder, files) for found in reader]
    except csv.Error as error:
        raise SourceError(f"{where}, line {reader.line_num}: {error}; mend the table") from error
    if not rows:
        raise SourceError(f"{where}: has a header but no rows; add one a sample")
    for number, row in enumerate(rows, start=2):
        empty = [name for name in required if not row[name]]
        if empty:
            raise SourceError(f"{where}, line {number}: {', '.join(empty)} is empty; fill it in")
    return rows


def pair_folders(images: Path, masks: Path, domain: str) -> tuple[list[Row], list[str]]:
    """Match pictures in two folders by their stem.

    Parameters
    ----------
    images, masks : Path
        Folders of pictures.
    domain : str
        Domain of all of them; each image is its own subject.

    Returns
    -------
    rows : list of mapping
        Columns image, mask, domain, subject, sorted by stem.
    failures : list of str
        One line for each image without a mask of its stem.

    Raises
    ------
    SourceError
        If a folder is missing or holds no picture, or two files share a stem.
    """
    found, known = _pictures(images), _pictures(masks)
    rows: list[Row] = [
        {"image": str(path), "mask": str(known[stem]), "domain": domain, "subject": stem}
        for stem, path in found.items()
        if stem in known
    ]
    failures = [
        f"{path}: no mask named {stem}.* in {masks}"
        for stem, path in found.items()
        if stem not in known
    ]
    return rows, failures


def _row(found: Mapping[str | None, object], folder: Path, files: Sequence[str]) -> Row:
    row = {
        name.strip(): (value.strip() if isinstance(value, str) else "")
        for name, value in found.items()
        if name is not None
    }
    return {
        name: str(folder / value) if name in files and value else value
        for name, value in row.items()
    }


def _pictures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; check the path")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PICTURES:
            continue
        if path.stem in found:
            raise SourceError(f"{path}: same stem as {found[path.stem].name}; rename one")
        found[path.stem] = path
    if not found:
        raise SourceError(f"{folder}: holds no picture ({', '.join(sorted(PICTURES))})")
    return found
