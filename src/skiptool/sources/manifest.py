"""Manifests: tables of inputs, CSV or TSV."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from skiptool.errors import SourceError, near
from skiptool.sources.regular import refuse_pipe

__all__ = [
    "EXPORTED",
    "LISTED",
    "Row",
    "guarded",
    "manifest_rows",
    "parse_manifest",
    "read_manifest",
    "unguarded",
]

Row = Mapping[str, str]
"""One line of a manifest: column name to text, paths made absolute or relative to its folder."""

EXPORTED = "manifest.csv"
"""Manifest that ``--export`` leaves in a folder of pictures, by which it is taken back."""

LISTED = "classes.txt"
"""Class names beside it, one line of a CSV."""

DELIMITERS = "\t;,"

_FORMULA = ("=", "+", "-", "@")
_GUARD = "'"


def guarded(cell: object) -> object:
    """Put an apostrophe before text that a spreadsheet would run as a formula.

    Examples
    --------
    >>> guarded("=1+1"), guarded("a=1"), guarded("'-5'"), guarded(-1)
    ("'=1+1", 'a=1', "''-5'", -1)
    """
    hot = isinstance(cell, str) and cell.lstrip(_GUARD).startswith(_FORMULA)
    return f"{_GUARD}{cell}" if hot else cell


def unguarded(cell: str) -> str:
    """Take away the apostrophe that :func:`guarded`, or a spreadsheet, has put there.

    Examples
    --------
    >>> unguarded("'=1+1"), unguarded("''-5'"), unguarded("'a'")
    ('=1+1', "'-5'", "'a'")
    """
    hot = cell.startswith(_GUARD) and cell.lstrip(_GUARD).startswith(_FORMULA)
    return cell[1:] if hot else cell


def read_manifest(path: Path, required: Sequence[str], files: Sequence[str]) -> list[Row]:
    """Read a manifest file.

    Parameters
    ----------
    path : Path
        CSV or TSV, UTF-8 with or without BOM, or UTF-16 with it; ``;`` is taken as a delimiter
        too.
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
    refuse_pipe(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path}: no such manifest; check the path") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error}); give a table as CSV") from error
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        wrong = f"{error.encoding.upper()} (byte 0x{content[error.start]:02x})"
        raise SourceError(
            f"{path}, line {line}: a letter that is not in {wrong}; save the table anew, in "
            "Excel as 'CSV UTF-8', elsewhere with the encoding UTF-8"
        ) from None
    return parse_manifest(text, str(path), path.parent, required, files)


def parse_manifest(
    text: str, where: str, folder: Path, required: Sequence[str], files: Sequence[str]
) -> list[Row]:
    """Read a manifest's text; see :func:`read_manifest`. Lines without any value are passed over.

    An apostrophe before ``=``, ``+``, ``-`` or ``@`` guards spreadsheets and is left out.

    Raises
    ------
    SourceError
        As :func:`read_manifest`; where a line is at fault, with its number.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise SourceError(f"{where}: holds NUL characters, so it is no table; save it as CSV")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    # newline="" leaves line ends to the csv module, which knows them all
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    names: list[str] | None = None
    try:
        for values in ([unguarded(value.strip()) for value in line] for line in reader):
            if not any(values):
                continue
            if names is None:
                names = _header(values, where, required)
            else:
                place = f"{where}, line {reader.line_num}"
                rows.append(_row(names, values, place, folder, required, files))
    except csv.Error as error:
        raise SourceError(f"{where}, line {reader.line_num}: {error}; mend the table") from error
    if not rows:
        raise SourceError(f"{where}: holds no rows; it needs a header and a line for each sample")
    return rows


def manifest_rows(manifest: Path | str, required: Sequence[str], files: Sequence[str]) -> list[Row]:
    """Read a manifest from a file, or from its text (``str``), as it is piped in.

    Raises
    ------
    SourceError
        As :func:`read_manifest`.
    """
    if isinstance(manifest, Path):
        return read_manifest(manifest, required, files)
    return parse_manifest(manifest, "stdin", Path(), required, files)


def _header(names: list[str], where: str, required: Sequence[str]) -> list[str]:
    missing = [name for name in required if name not in names]
    if missing:
        raise SourceError(
            f"{where}: has no column {', '.join(missing)} (columns: {', '.join(names) or 'none'})"
            f"{near(missing[0], names)}"
        )
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise SourceError(f"{where}: column {twice[0]} is there twice; rename or remove one")
    return names


def _row(
    names: Sequence[str],
    values: Sequence[str],
    where: str,
    folder: Path,
    required: Sequence[str],
    files: Sequence[str],
) -> Row:
    if any(values[len(names) :]):
        raise SourceError(
            f"{where}: {len(values)} values in {len(names)} columns; put values that hold the "
            "delimiter in quotes"
        )
    filled = (*values, *[""] * (len(names) - len(values)))
    row = {name: value for name, value in zip(names, filled, strict=False) if name}
    empty = [name for name in required if not row[name]]
    if empty:
        raise SourceError(f"{where}: {', '.join(empty)} is empty; fill it in")
    return {
        name: str(folder / value) if name in files and value else value
        for name, value in row.items()
    }
