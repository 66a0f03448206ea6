"""Manifests: tables of inputs, CSV or TSV."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from skiptool.errors import SourceError, near
from skiptool.names import Split, composed
from skiptool.sources.regular import refuse_pipe

__all__ = [
    "EXPORTED",
    "LISTED",
    "Row",
    "guarded",
    "manifest_rows",
    "parse_manifest",
    "read_manifest",
    "split_of",
    "unguarded",
    "whole_number",
]

Row = Mapping[str, str]
"""One line of a manifest: column name to text, paths made absolute or relative to its folder."""

EXPORTED = "manifest.csv"
"""Manifest that ``--export`` leaves in a folder of pictures, by which it is taken back."""

LISTED = "classes.txt"
"""Class names beside it, one line of a CSV."""

DELIMITERS = "\t;,"

_SEPARATOR = re.compile(r'\s*"?sep=([^"\r\n])"?[ \t;,]*(?:\r\n?|\n)')
"""First line that tells Excel the delimiter."""

_ALIKE = 0.83
_LONG = 6
"""Share of letters that two names of columns have in common if one is a slip for the other, and
how long both are: of shorter names only case, blanks and a plural's "s" may differ."""

_FORMULA = ("=", "+", "-", "@")
_GUARD = "'"

MISSING = ("na", "nan", "n/a", "none", "null", "<na>", "#n/a", "nat")
"""What pandas, R and spreadsheets write where a value is missing, in lower case."""


def guarded(cell: object) -> object:
    """Put an apostrophe before text that is a formula to a spreadsheet, or a missing value.

    Examples
    --------
    >>> guarded("=1+1"), guarded("a=1"), guarded("'-5'"), guarded(-1), guarded("NA")
    ("'=1+1", 'a=1', "''-5'", -1, "'NA")
    """
    return f"{_GUARD}{cell}" if isinstance(cell, str) and _is_hot(cell) else cell


def unguarded(cell: str) -> str:
    """Take away the apostrophe that :func:`guarded`, or a spreadsheet, has put there.

    Examples
    --------
    >>> unguarded("'=1+1"), unguarded("''-5'"), unguarded("'a'"), unguarded("'NA")
    ('=1+1', "'-5'", "'a'", 'NA')
    """
    return cell[1:] if cell.startswith(_GUARD) and _is_hot(cell) else cell


def _is_hot(cell: str) -> bool:
    bare = cell.lstrip(_GUARD)
    return bare.startswith(_FORMULA) or bare.casefold() in MISSING


def read_manifest(
    path: Path, required: Sequence[str], files: Sequence[str], optional: Sequence[str] = ()
) -> list[Row]:
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
    optional : sequence of str
        Columns that have a meaning if they are there. A column that resembles one of them, which
        is not there, is refused: it would be passed over.

    Returns
    -------
    list of mapping

    Raises
    ------
    SourceError
        If it is missing, no text, empty, lacks a column, or has one whose name is misspelt.
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
    return parse_manifest(text, str(path), path.parent, required, files, optional)


def parse_manifest(
    text: str,
    where: str,
    folder: Path,
    required: Sequence[str],
    files: Sequence[str],
    optional: Sequence[str] = (),
) -> list[Row]:
    """Read a manifest's text; see :func:`read_manifest`. Lines without any value are passed over.

    An apostrophe before ``=``, ``+``, ``-`` or ``@`` guards spreadsheets and is left out. What
    programs write for a missing value (``NA``, ``nan``, ``None`` ...) is empty; a name that is
    spelled like that has an apostrophe before it. Accents are one character each (form NFC), and a
    path finds its file in either spelling; ``~`` in front is the home folder. Excel's first line
    ``sep=;`` is understood.

    Raises
    ------
    SourceError
        As :func:`read_manifest`; where a line is at fault, with its number.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise SourceError(f"{where}: holds NUL characters, so it is no table; save it as CSV")
    said = _SEPARATOR.match(text)
    text = text[said.end() :] if said else text
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = said[1] if said else max(DELIMITERS, key=first.count)
    # newline="" leaves line ends to the csv module, which knows them all
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    names: list[str] | None = None
    try:
        for line in reader:
            cells = [cell.strip() for cell in line]
            if not any(cells):
                continue
            if names is None:
                names = [composed(unguarded(cell)) for cell in cells]
                _check_header(names, where, required, optional)
            else:
                place = f"{where}, line {reader.line_num + bool(said)}"
                rows.append(_row(names, cells, place, folder, required, files))
    except csv.Error as error:
        line_number = reader.line_num + bool(said)
        raise SourceError(f"{where}, line {line_number}: {error}; mend the table") from error
    if not rows:
        raise SourceError(f"{where}: holds no rows; it needs a header and a line for each sample")
    return rows


def manifest_rows(
    manifest: Path | str,
    required: Sequence[str],
    files: Sequence[str],
    optional: Sequence[str] = (),
) -> list[Row]:
    """Read a manifest from a file, or from its text (``str``), as it is piped in.

    Raises
    ------
    SourceError
        As :func:`read_manifest`.
    """
    if isinstance(manifest, Path):
        return read_manifest(manifest, required, files, optional)
    return parse_manifest(manifest, "stdin", Path(), required, files, optional)


def split_of(row: Row, where: str) -> Split | None:
    """Return the split that a row asks for in its column ``split``, None where it does not.

    Raises
    ------
    SourceError
        If it is neither train nor test, in whatever case.
    """
    asked = row.get("split", "")
    if asked and asked.lower() not in list(Split):
        raise SourceError(f"{where}: split {asked!r}, expected train or test")
    return Split(asked.lower()) if asked else None


def whole_number(text: str) -> str:
    """Return a whole number without the ``.0`` that programs add in columns with empty cells.

    >>> whole_number("9.0"), whole_number("9.5"), whole_number("x.0")
    ('9', '9.5', 'x.0')
    """
    bare = text.removesuffix(".0")
    return bare if bare.isdecimal() else text


def _check_header(
    names: Sequence[str], where: str, required: Sequence[str], optional: Sequence[str]
) -> None:
    missing = [name for name in required if name not in names]
    if missing:
        raise SourceError(
            f"{where}: has no column {', '.join(missing)} (columns: {', '.join(names) or 'none'})"
            f"{near(missing[0], names)}"
        )
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise SourceError(f"{where}: column {twice[0]} is there twice; rename or remove one")
    absent = [name for name in optional if name not in names]
    for name in names:
        meant = [other for other in absent if name and _resemble(name, other)]
        if meant and name not in (*required, *optional):
            raise SourceError(
                f"{where}: unknown column {name!r}, which resembles {meant[0]!r}; rename it to "
                "that, or to something else if it means something else"
            )


def _resemble(one: str, other: str) -> bool:
    first, second = (re.sub(r"[\s_-]", "", name.casefold()) for name in (one, other))
    if first.removesuffix("s") == second.removesuffix("s"):
        return True
    long = min(len(first), len(second)) >= _LONG
    return long and SequenceMatcher(None, first, second).ratio() >= _ALIKE


def _row(
    names: Sequence[str],
    cells: Sequence[str],
    where: str,
    folder: Path,
    required: Sequence[str],
    files: Sequence[str],
) -> Row:
    if any(cells[len(names) :]):
        raise SourceError(
            f"{where}: {len(cells)} values in {len(names)} columns; put values that hold the "
            "delimiter in quotes"
        )
    filled = (*cells, *[""] * (len(names) - len(cells)))
    row = {name: cell for name, cell in zip(names, filled, strict=False) if name}
    for name in required:
        if row[name].casefold() in MISSING:
            raise SourceError(
                f"{where}: {name} is {row[name]!r}, which stands for a missing value; fill it in, "
                "or put an apostrophe before it if that is the name"
            )
    found = {
        name: "" if cell.casefold() in MISSING else unguarded(cell) for name, cell in row.items()
    }
    empty = [name for name in required if not found[name]]
    if empty:
        raise SourceError(f"{where}: {', '.join(empty)} is empty; fill it in")
    return {
        name: _existing(folder, value) if name in files and value else composed(value)
        for name, value in found.items()
    }


def _existing(folder: Path, value: str) -> str:
    """Return a path, in the other spelling of its accents where only that is there."""
    home = value.startswith("~") and not os.path.lexists(folder / value)
    text = str(folder / (os.path.expanduser(value) if home else value))
    if text.isascii() or os.path.lexists(text):
        return text
    spellings = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    return next((other for other in spellings if os.path.lexists(other)), text)
