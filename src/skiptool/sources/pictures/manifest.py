"""Manifests of inputs (CSV or TSV), and folders of pictures that stand in for one."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path, PurePosixPath

from skiptool.errors import ArgumentError, SourceError, suggestion
from skiptool.names import Split, normalise_unicode
from skiptool.sources.paths import refuse_pipe
from skiptool.sources.pictures.files import PICTURE_SUFFIXES

Row = Mapping[str, str]
"""A line of a manifest: column name to text, paths absolute or relative to the working
directory."""

EXPORT_MANIFEST = "manifest.csv"
"""Manifest that ``--export`` writes into a folder of pictures, so that it can be read back."""

EXPORT_CLASSES = "classes.txt"
"""Class names next to `EXPORT_MANIFEST`, one CSV line."""

DELIMITERS = "\t;,"

_SEPARATOR = re.compile(r'\s*"?sep=([^"\r\n])"?[ \t;,]*(?:\r\n?|\n)')
"""First line that tells Excel the delimiter."""

_MIN_SIMILARITY = 0.83
"""Similarity at which an unknown column is taken for a misspelling."""

_MIN_LENGTH = 6
"""Shorter column names are misspelt only if they differ in case, blanks or a plural "s"."""

_FORMULA_STARTS = ("=", "+", "-", "@")
_GUARD = "'"

MISSING = ("na", "nan", "n/a", "none", "null", "<na>", "#n/a", "nat")
"""Spellings of a missing value in pandas, R and spreadsheets, in lower case."""


def escape_formula(cell: object) -> object:
    """Prefix text that looks like a formula or a missing value to a spreadsheet with an apostrophe.

    Examples
    --------
    >>> [escape_formula(cell) for cell in ("=1+1", "a=1", "'-5'", -1, "NA")]
    ["'=1+1", 'a=1', "''-5'", -1, "'NA"]
    """
    return f"{_GUARD}{cell}" if isinstance(cell, str) and _needs_guard(cell) else cell


def unescape_formula(cell: str) -> str:
    """Remove the apostrophe added by `escape_formula` or by a spreadsheet.

    Examples
    --------
    >>> [unescape_formula(cell) for cell in ("'=1+1", "''-5'", "'a'", "'NA")]
    ['=1+1', "'-5'", "'a'", 'NA']
    """
    return cell[1:] if cell.startswith(_GUARD) and _needs_guard(cell) else cell


def _needs_guard(cell: str) -> bool:
    bare = cell.lstrip(_GUARD)
    return bare.startswith(_FORMULA_STARTS) or bare.casefold() in MISSING


def read_manifest(
    path: Path, required: Sequence[str], files: Sequence[str], optional: Sequence[str] = ()
) -> list[Row]:
    """Read a manifest file.

    Parameters
    ----------
    path : Path
        CSV or TSV, in UTF-8 with or without BOM or UTF-16 with BOM; the delimiter may also be
        ``;``.
    required : sequence of str
        Required columns.
    files : sequence of str
        Columns of paths, absolute or relative to the manifest.
    optional : sequence of str
        Known optional columns. An unknown column that resembles a missing one of these is refused,
        because it would be ignored.
    """
    refuse_pipe(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path}: no such manifest; check the path") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error}); give a table as CSV") from error
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SourceError(
            f"{path}, line {line}: not valid {error.encoding.upper()} "
            f"(byte 0x{content[error.start]:02x}); save the table again, in Excel as 'CSV UTF-8', "
            "elsewhere with the encoding UTF-8"
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
    """Parse the text of a manifest, see `read_manifest`. Empty lines are skipped.

    An apostrophe before ``=``, ``+``, ``-`` or ``@`` guards against spreadsheets and is removed.
    Common spellings of a missing value (``NA``, ``nan``, ``None`` ...) become empty; a name spelt
    like one is prefixed with an apostrophe. Text is normalised to NFC, while paths find their files
    in either normalisation; a leading ``~`` is the home folder. Excel's first line ``sep=;`` is
    understood.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise SourceError(f"{where}: contains NUL characters, so not a table; save it as CSV")
    separator = _SEPARATOR.match(text)
    text = text[separator.end() :] if separator else text
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = separator[1] if separator else max(DELIMITERS, key=first.count)
    # newline="" leaves line endings to the csv module
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    skipped_lines = 1 if separator else 0
    rows: list[Row] = []
    names: list[str] | None = None
    try:
        for line in reader:
            cells = [cell.strip() for cell in line]
            if not any(cells):
                continue
            if names is None:
                names = [normalise_unicode(unescape_formula(cell)) for cell in cells]
                _check_header(names, where, required, optional)
            else:
                line_in_file = f"{where}, line {reader.line_num + skipped_lines}"
                rows.append(_parse_row(names, cells, line_in_file, folder, required, files))
    except csv.Error as error:
        raise SourceError(
            f"{where}, line {reader.line_num + skipped_lines}: {error}; correct the table"
        ) from error
    if not rows:
        raise SourceError(f"{where}: has no rows; it needs a header and a line for each sample")
    return rows


def manifest_rows(
    manifest: Path | str,
    required: Sequence[str],
    files: Sequence[str],
    optional: Sequence[str] = (),
) -> list[Row]:
    """Read a manifest from a file, or from its text (``str``) if piped in; see `read_manifest`."""
    if isinstance(manifest, Path):
        return read_manifest(manifest, required, files, optional)
    return parse_manifest(manifest, "stdin", Path(), required, files, optional)


def parse_split(row: Row, where: str) -> Split | None:
    """Parse a row's column ``split``, ignoring case; None if it is empty."""
    text = row.get("split", "")
    if not text:
        return None
    try:
        return Split(text.lower())
    except ValueError:
        raise SourceError(f"{where}: split {text!r}, expected train or test") from None


def strip_decimal_zero(text: str) -> str:
    """Strip the ``.0`` that pandas and spreadsheets add to integers in columns with empty cells.

    >>> strip_decimal_zero("9.0"), strip_decimal_zero("9.5"), strip_decimal_zero("x.0")
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
            f"{suggestion(missing[0], names)}"
        )
    duplicates = [name for name in names if name and names.count(name) > 1]
    if duplicates:
        raise SourceError(f"{where}: column {duplicates[0]} occurs twice; rename or remove one")
    absent = [name for name in optional if name not in names]
    for name in names:
        similar = [other for other in absent if name and _resemble(name, other)]
        if similar and name not in (*required, *optional):
            raise SourceError(
                f"{where}: unknown column {name!r} resembles {similar[0]!r}; rename it to that, or "
                "to something less similar if it means something else"
            )


def _resemble(name: str, other: str) -> bool:
    first, second = (re.sub(r"[\s_-]", "", text.casefold()) for text in (name, other))
    if first.removesuffix("s") == second.removesuffix("s"):
        return True
    if min(len(first), len(second)) < _MIN_LENGTH:
        return False
    return SequenceMatcher(None, first, second).ratio() >= _MIN_SIMILARITY


def _parse_row(
    names: Sequence[str],
    cells: Sequence[str],
    where: str,
    folder: Path,
    required: Sequence[str],
    files: Sequence[str],
) -> Row:
    if any(cells[len(names) :]):
        raise SourceError(
            f"{where}: {len(cells)} values in {len(names)} columns; quote values that contain the "
            "delimiter"
        )
    filled = (*cells, *[""] * (len(names) - len(cells)))
    row = {name: cell for name, cell in zip(names, filled, strict=False) if name}
    for name in required:
        if row[name].casefold() in MISSING:
            raise SourceError(
                f"{where}: {name} is {row[name]!r}, which means a missing value; fill it in, or "
                "prefix it with an apostrophe if that is the name"
            )
    values = {
        name: "" if cell.casefold() in MISSING else unescape_formula(cell)
        for name, cell in row.items()
    }
    empty = [name for name in required if not values[name]]
    if empty:
        raise SourceError(f"{where}: {', '.join(empty)} is empty; fill it in")
    return {
        name: _resolve(folder, value) if name in files and value else normalise_unicode(value)
        for name, value in values.items()
    }


def _resolve(folder: Path, value: str) -> str:
    """Return a path, in the other Unicode normalisation if only that exists."""
    if value.startswith("~") and not os.path.lexists(folder / value):
        value = os.path.expanduser(value)
    path = str(folder / value)
    if path.isascii() or os.path.lexists(path):
        return path
    spellings = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    return next((spelling for spelling in spellings if os.path.lexists(spelling)), path)


# Patterns of file names.

_FIELDS = ("domain", "subject", "split", "id")

_BRACE = re.compile(r"[{}]")
_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A pattern such as ``{domain}/{subject}_{}.png``.

    ``{}`` matches anything. No field extends beyond a ``/``, and each is greedy, from the left: in
    ``{subject}_{}`` the last ``_`` separates. A pattern that does not end in the suffix of a
    picture matches all of them.

    Attributes
    ----------
    suffixed : bool
        Whether the pattern includes the suffix.
    """

    text: str
    regex: re.Pattern[str]
    suffixed: bool

    @classmethod
    def parse(cls, text: str) -> NamePattern:
        """Parse the value of ``--pattern``.

        Examples
        --------
        >>> NamePattern.parse("{domain}/{subject}_{}.png").read("A/patient_7_01.png")
        {'domain': 'A', 'subject': 'patient_7'}
        """
        text = normalise_unicode(text)
        fields = _FIELD.findall(text)
        unknown = [name for name in fields if name not in (*_FIELDS, "")]
        if unknown or not any(fields) or _BRACE.search(_FIELD.sub("", text)):
            raise ArgumentError(
                f"--pattern {text}: expected some of {{domain}}, {{subject}}, {{split}}, {{id}} "
                "and {}, which matches anything, such as {domain}/{subject}_{}.png"
            )
        parts: list[str] = []
        seen: set[str] = set()
        for index, part in enumerate(_FIELD.split(text)):
            if index % 2 == 0:  # the text between fields
                parts.append(re.escape(part))
            elif not part:
                parts.append("[^/]+")
            elif part in seen:
                parts.append(f"(?P={part})")
            else:
                parts.append(f"(?P<{part}>[^/]+)")
                seen.add(part)
        suffixed = text.lower().endswith(PICTURE_SUFFIXES)
        return cls(text, re.compile("".join(parts)), suffixed)

    def read(self, name: str) -> dict[str, str]:
        """Return the fields of a ``/``-separated name relative to the folder of images."""
        whole = name if self.suffixed else str(PurePosixPath(name).with_suffix(""))
        match = self.regex.fullmatch(whole)
        if match is None:
            raise SourceError(
                f"{name}: does not match --pattern {self.text}; rename it, or leave it out"
            )
        return dict(match.groupdict())


@dataclass(frozen=True, slots=True)
class MaskPattern:
    """A pattern of mask names, such as ``{}_mask``, where ``{}`` is the name of the image.

    In ``{}_img={}_mask``, ``{}`` is the part that both names have in common.

    Attributes
    ----------
    image, mask : (str, str)
        Prefix and suffix of the name.
    """

    text: str
    image: tuple[str, str]
    mask: tuple[str, str]

    @classmethod
    def parse(cls, text: str) -> MaskPattern:
        """Parse the value of ``--mask-pattern``.

        Examples
        --------
        >>> pattern = MaskPattern.parse("{}_img={}_mask.png")
        >>> pattern.mask_of("A/7_img"), pattern.mask_of("A/7")
        ('A/7_mask', None)
        >>> MaskPattern.parse("gt_{}").mask_of("7")
        'gt_7'
        """
        text = normalise_unicode(text)
        image, equals, mask = text.rpartition("=")
        sides = [side.split("{}") for side in (image if equals else "{}", mask)]
        if "/" in image or any(len(side) != 2 or _BRACE.search("".join(side)) for side in sides):
            raise ArgumentError(
                f"--mask-pattern {text}: expected the name of a mask in which {{}} is the name of "
                "its image, such as {}_mask, or IMAGE=MASK such as {}_img={}_mask"
            )
        (image_prefix, image_suffix), (mask_prefix, mask_suffix) = sides
        return cls(
            text,
            (image_prefix, _strip_picture_suffix(image_suffix)),
            (mask_prefix, _strip_picture_suffix(mask_suffix)),
        )

    def mask_of(self, name: str) -> str | None:
        """Return the relative path without suffix of an image's mask; None if it does not match."""
        folder, slash, last = name.rpartition("/")
        prefix, suffix = self.image
        if not (last.startswith(prefix) and last.endswith(suffix)):
            return None
        stem = last[len(prefix) : len(last) - len(suffix)]
        return f"{folder}{slash}{self.mask[0]}{stem}{self.mask[1]}" if stem else None

    @classmethod
    def guess(cls, images: Sequence[str], masks: Collection[str]) -> MaskPattern | None:
        """Find a pattern by which every image has a mask; None if there is none.

        Examples
        --------
        >>> MaskPattern.guess(["1", "2"], ["1_gt", "2_gt"]).text
        '{}_gt'
        """
        if not images:
            return None
        image, mask_names = images[0].rpartition("/")[2], set(masks)
        for mask_name in masks:
            mask = mask_name.rpartition("/")[2]
            head = _common_length(image, mask)
            tail = _common_length(image[::-1], mask[::-1])
            for text in (
                f"{{}}{image[head:]}={{}}{mask[head:]}",
                f"{image[: len(image) - tail]}{{}}={mask[: len(mask) - tail]}{{}}",
            ):
                if _BRACE.search(text.replace("{}", "")) or text.count("=") > 1:
                    continue
                pattern = cls.parse(text.removeprefix("{}="))
                if all(pattern.mask_of(name) in mask_names for name in images):
                    return pattern
        return None


def _common_length(name: str, other: str) -> int:
    """Return the length of the common prefix of two names."""
    length = 0
    while length < min(len(name), len(other)) and name[length] == other[length]:
        length += 1
    return length


def _strip_picture_suffix(name: str) -> str:
    suffix = next((suffix for suffix in PICTURE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def identity_from_folders(name: str, domain: str | None) -> Mapping[str, str]:
    """Derive domain and subject from the folders that a picture lies in.

    Parameters
    ----------
    name : str
        ``/``-separated path relative to the folder of images.
    domain : str, optional
        Domain of all images; otherwise the first folder is the domain.

    Returns
    -------
    mapping
        The next folder is the subject; without one, each image is its own. ``domain`` is missing if
        unknown.

    Examples
    --------
    >>> identity_from_folders("A/p1/07.png", None)
    {'domain': 'A', 'subject': 'p1'}
    >>> identity_from_folders("A/07.png", None), identity_from_folders("07.png", None)
    ({'domain': 'A', 'subject': '07'}, {'subject': '07'})
    """
    path = PurePosixPath(name)
    folders = list(path.parts[:-1])
    fields = {} if domain is None else {"domain": domain}
    if folders and domain is None:
        fields["domain"] = folders.pop(0)
    return fields | {"subject": folders[0] if folders else path.stem}


# Folders of images and of masks with matching names.

DEFAULT_DOMAIN = "images"

_SYSTEM_FILES = ("thumbs.db", "desktop.ini")
"""Files left behind by operating systems; hidden files are skipped too."""

_SYSTEM_FOLDERS = ("@eadir", "__macosx")
"""Folders left behind by Synology NAS, and by macOS in archives."""


def pair_folders(
    images: Path,
    masks: Path,
    domain: str | None = None,
    pattern: NamePattern | None = None,
    mask_pattern: MaskPattern | None = None,
) -> tuple[list[Row], list[str]]:
    """Match pictures in two folders and their subfolders by names without suffix.

    Parameters
    ----------
    images, masks : Path
        Folders of pictures; a mask has the relative path of its image, with any suffix. Both may be
        the same folder.
    domain : str, optional
        Domain of all images.
    pattern : NamePattern, optional
        Pattern of image names; by default the folders decide, see `identity_from_folders`.
    mask_pattern : MaskPattern, optional
        Names of masks if they differ from those of the images.

    Returns
    -------
    rows : list of mapping
        Columns image, mask, domain, subject, id and, if the pattern has it, split; by name.
    failures : list of str
        One line for each skipped file: an image without mask or a mask without image, two files of
        one name, unknown suffix, or a name that does not match a pattern.
    """
    pictures, failures = _list_pictures(images, masks)
    one_folder = os.path.isdir(masks) and os.path.samefile(images, masks)
    if one_folder and mask_pattern is None:
        raise SourceError(
            f"{images}: is the folder of images and of masks; distinguish them by --mask-pattern, "
            'such as "{}_mask"'
        )
    candidates, mask_failures = _list_pictures(masks, images)
    failures += [line for line in mask_failures if line not in failures]  # if both are one folder
    mask_names = {
        name: name if mask_pattern is None else mask_pattern.mask_of(name) for name in pictures
    }
    if one_folder:
        own = set(mask_names.values())  # no file is both image and mask
        pictures = {name: paths for name, paths in pictures.items() if name not in own}
        candidates = {name: paths for name, paths in candidates.items() if name not in pictures}
    rows: list[Row] = []
    for name, paths in pictures.items():
        mask_name = mask_names[name]
        matching = candidates.get(mask_name or "", [])
        try:
            image, mask = _single(paths), _single(matching)
            if mask_name is None and mask_pattern is not None:
                raise SourceError(f"{image}: does not match --mask-pattern {mask_pattern.text}")
            if not matching:
                hint = (
                    '; if masks have other names, give --mask-pattern, such as "{}_mask"'
                    if mask_pattern is None
                    else ""
                )
                raise SourceError(f"{image}: no mask named {mask_name}.* in {masks}{hint}")
            relative = normalise_unicode(image.relative_to(images).as_posix())
            identity = parse_name(relative, domain, pattern)
        except SourceError as error:
            failures.append(str(error))
        else:
            rows.append({"image": str(image), "mask": str(mask), **identity})
    matched = {mask_names[name] for name in pictures}
    failures += [
        f"{paths[0]}: no image {'for it' if mask_pattern else f'named {name}.*'} in {images}"
        for name, paths in candidates.items()
        if name not in matched
    ]
    if not matched & set(candidates):
        fitting_pattern = MaskPattern.guess(list(pictures), list(candidates))
        if fitting_pattern is not None:
            raise SourceError(
                f"{masks}: no mask has the expected name, but all {len(pictures)} images have one "
                f'by another pattern; give --mask-pattern "{fitting_pattern.text}"'
            )
    return rows, failures


def parse_name(name: str, domain: str | None, pattern: NamePattern | None) -> Mapping[str, str]:
    """Return domain, subject, id and, if the pattern has it, split of a relative path.

    The id is the path without the folder that names the domain, so that pictures of the same name
    in two domains are paired.

    Examples
    --------
    >>> parse_name("A/p1/07.png", None, None)
    {'domain': 'A', 'subject': 'p1', 'id': 'p1-07'}
    """
    fields = identity_from_folders(name, domain) if pattern is None else pattern.read(name)
    parts = list(PurePosixPath(name).with_suffix("").parts)
    if fields.get("domain") in parts[:-1]:
        parts.remove(fields["domain"])
    defaults = {"domain": domain or DEFAULT_DOMAIN, "subject": parts[-1], "id": "-".join(parts)}
    return defaults | dict(fields)


def _list_pictures(folder: Path, other: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """List the pictures in a folder by relative name without suffix (NFC), and failures.

    If the other folder lies in this one, its contents are skipped.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; check the path")
    pictures: dict[str, list[Path]] = {}
    failures: list[str] = []
    for path in sorted(_files(folder)):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        hidden |= any(part.lower() in _SYSTEM_FOLDERS for part in relative.parts[:-1])
        if hidden or (folder in other.parents and other in path.parents):
            continue
        if not path.exists():
            failures.append(
                f"{path}: a broken link to {os.readlink(path)}; if git-annex or DVC manages these "
                "files, fetch them first"
            )
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            name = normalise_unicode(relative.with_suffix("").as_posix())
            pictures.setdefault(name, []).append(path)
        elif path.name.endswith((".nii", ".nii.gz")):
            failures.append(f"{path}: a volume; use 'skiptool extract mri' for these")
        elif path.name.lower() not in _SYSTEM_FILES:
            failures.append(
                f"{path}: suffix {path.suffix or '(none)'} is not one of "
                f"{', '.join(PICTURE_SUFFIXES)}; convert it, or remove it from the folder"
            )
    if not pictures:
        first = f"; {failures[0]}" if failures else ""
        raise SourceError(f"{folder}: has no picture ({', '.join(PICTURE_SUFFIXES)}){first}")
    return dict(sorted(pictures.items())), failures


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files and links below a folder, following linked folders, each folder once."""
    seen = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        real_parent = os.path.realpath(parent)
        if real_parent in seen:  # a circular link
            subfolders.clear()
            continue
        seen.add(real_parent)
        paths = (Path(parent, name) for name in names)
        yield from (path for path in paths if path.is_file() or path.is_symlink())


def _single(paths: list[Path]) -> Path:
    if len(paths) > 1:
        raise SourceError(
            f"{', '.join(map(str, paths))}: {len(paths)} pictures of the same name; rename or "
            "remove all but one"
        )
    return paths[0] if paths else Path()
