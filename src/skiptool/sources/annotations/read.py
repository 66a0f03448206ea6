"""Read annotation files of six formats, recognised by content, never by suffix."""

from __future__ import annotations

import gzip
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePath
from threading import Lock
from typing import Final
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError, ParserCreate

from skiptool.errors import SourceError, suggestion
from skiptool.names import normalise_unicode
from skiptool.sources.annotations.asap import ROOT, open_asap
from skiptool.sources.annotations.coco import is_coco, open_coco
from skiptool.sources.annotations.exact import is_exact, open_exact
from skiptool.sources.annotations.geojson import is_geojson, open_geojson
from skiptool.sources.annotations.shapes import (
    AnnotationFile,
    ListedSlide,
    Shape,
    Size,
    Skipped,
    SlideAnnotations,
)
from skiptool.sources.annotations.sliderunner import MAGIC, open_sliderunner
from skiptool.sources.paths import refuse_lfs_pointer, refuse_pipe

# Selecting a slide of an annotation file.


def choose_slide(
    listed: Sequence[ListedSlide], slide: str, size: Size | None, where: str
) -> ListedSlide:
    """Find a slide by its file name, then without suffix, then as the only one of this size.

    Parameters
    ----------
    listed : sequence of ListedSlide
        Slides of the file.
    slide : str
        File name of the slide, with suffix.
    size : tuple of int or None
        Its width and height at level 0, if known: distinguishes slides of the same name, and
        replaces the name if the file describes a single slide of that size.
    where : str
        The file, for the message.
    """
    exact = [entry for entry in listed if normalise_unicode(entry.name) == normalise_unicode(slide)]
    matches = exact or [entry for entry in listed if _stem(entry.name) == _stem(slide)]
    if len(matches) > 1 and size is not None:
        matches = [entry for entry in matches if entry.size == size] or matches
    if len(matches) > 1:
        raise SourceError(
            f"{where}: slide {slide} may be any of its "
            f"{', '.join(match.name for match in matches)}; rename the slide as in the file"
        )
    if matches:
        return matches[0]
    if len(listed) == 1 and size is not None and listed[0].size == size:
        return listed[0]
    names = [entry.name for entry in listed]
    examples = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    count = "1 slide" if len(listed) == 1 else f"{len(listed)} slides"
    raise SourceError(
        f"{where}: has no slide {slide} among its {count}{suggestion(slide, names) or examples}; "
        "expected the file name of the slide, with or without its suffix"
    )


def check_size(recorded: Size | None, size: Size | None, slide: str, where: str) -> None:
    """Refuse annotations made on a slide of another size, if both sizes are known."""
    if recorded is not None and size is not None and recorded != size:
        raise SourceError(
            f"{where}: annotates {slide} as {recorded[0]} x {recorded[1]} pixels, the slide has "
            f"{size[0]} x {size[1]}; expected the annotated slide, not a resized copy"
        )


def _stem(name: str) -> str:
    return PurePath(normalise_unicode(name)).stem.casefold()


KNOWN: Final = (
    "SlideRunner sqlite, MIDOG json, COCO json (CATCH), EXACT json, QuPath GeoJSON, ASAP XML"
)
"""The formats, for messages."""

_CACHED_FILES: Final = 8
"""Number of parsed files about several slides to cache: one per scanner."""

_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_ARCHIVES: Final = (
    _GZIP,
    b"PK",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"7z\xbc\xaf",
    b"Rar!",
)
"""First bytes of compressed files, the first two of which are unpacked here."""

_PROGRAMS: Final = {
    "./Annotation/Regions": "Aperio ImageScope",
    "./ndpviewstate": "Hamamatsu NDP.view",
    "./object/bndbox": "Pascal VOC",
}
"""Elements by which XML of other programs is recognised."""

_LARGEST: Final = 1 << 31
"""Largest size of an unpacked file in bytes, far beyond any annotations."""

_LOCK: Final = Lock()
"""Held while a file is parsed, so that threads that request its slides parse it once."""


def read_annotations(path: Path, slide: str, size: Size | None = None) -> SlideAnnotations:
    """Read the annotations of one slide.

    Parameters
    ----------
    path : Path
        A file of any format in ``KNOWN``.
    slide : str
        File name of the slide, with suffix. A file about several slides is searched for the name,
        then for the name without suffix in any case; a file about a single slide also matches by
        size. GeoJSON, ASAP and an EXACT export of one image describe one slide, whatever its name.
    size : tuple of int or None
        Width and height of the slide at level 0.

    Returns
    -------
    Annotated
        Without shapes if the file lists the slide without annotations.
    """
    opened = _open(path)
    listed = opened.slides[0] if opened.slides else None
    if opened.by_name:
        listed = choose_slide(opened.slides, slide, size, str(path))
    recorded = listed.size if listed else None
    check_size(recorded, size, slide, str(path))
    parts = list(opened.read(listed))
    skipped = [part for part in parts if isinstance(part, Skipped)]
    faults = tuple(part.fault for part in skipped if part.fault)
    if faults and len(faults) == len(parts):
        raise SourceError(faults[0])
    return SlideAnnotations(
        shapes=tuple(part for part in parts if isinstance(part, Shape)),
        size=recorded,
        in_bounds=opened.in_bounds,
        format=opened.format,
        dropped=Counter(part.kind for part in skipped if not part.fault),
        faults=faults,
        notes=opened.notes,
    )


def _open(path: Path) -> AnnotationFile:
    refuse_pipe(path)
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    with _LOCK:
        opened = _parse(path, status.st_mtime_ns, status.st_size)
        if not opened.by_name:
            _parse.cache_clear()  # a file about one slide is not read again
    return opened


@lru_cache(maxsize=_CACHED_FILES)
def _parse(path: Path, *_: int) -> AnnotationFile:
    """Recognise the format and list the slides; cached until time or size of the file changes."""
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
            if head == MAGIC:
                return open_sliderunner(path)
            content = _unpack(head + file.read(), path)
    except OSError as error:
        raise _unreadable(path, error) from None
    text = content.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00")
    if not text:
        raise SourceError(f"{path}: is empty; expected one of {KNOWN}; export it again")
    refuse_lfs_pointer(path, text)
    if text.startswith(b"<"):
        return _open_xml(content.lstrip(), path)
    if text.startswith((b"{", b"[")):
        return _open_json(content, path)
    raise SourceError(f"{path}: is neither XML, JSON nor SQLite; expected one of {KNOWN}")


def _unpack(content: bytes, path: Path) -> bytes:
    """Unpack gzip or zip (QuPath exports ``.geojson.gz`` and ``.zip``)."""
    try:
        if content.startswith(_GZIP):
            with gzip.open(BytesIO(content)) as packed:
                content = packed.read(_LARGEST + 1)
        elif content.startswith(_ZIP):
            content = _unzip(content, path)
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path}: cannot be unpacked ({error}); unpack it, or copy or export it again"
        ) from None
    if content.startswith((*_ARCHIVES, MAGIC)) or len(content) > _LARGEST:
        raise SourceError(f"{path}: is compressed; unpack it and give the file inside")
    return content


def _unzip(content: bytes, path: Path) -> bytes:
    """Return the only file of a zip archive."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = [
            member
            for member in archive.infolist()
            if not (member.is_dir() or member.filename.startswith("__MACOSX/"))
        ]
        if len(members) != 1:
            raise SourceError(
                f"{path}: is a ZIP archive of {len(members)} files, expected one; unpack it and "
                "give the file of this slide"
            )
        with archive.open(members[0]) as packed:
            return packed.read(_LARGEST + 1)


def _open_xml(content: bytes, path: Path) -> AnnotationFile:
    try:
        _refuse_declarations(content, path)
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ExpatError, ValueError, LookupError) as error:
        raise SourceError(f"{path}: is not valid XML ({error}); copy or export it again") from None
    if root.tag != ROOT:
        program = next((name for tag, name in _PROGRAMS.items() if root.find(tag) is not None), "")
        made = f" of {program}" if program else ""
        remedy = "; QuPath can import it and export GeoJSON" if program else ""
        raise SourceError(
            f"{path}: is XML{made} with root element {root.tag}; expected one of {KNOWN}{remedy}"
        )
    return open_asap(root, str(path))


def _refuse_declarations(content: bytes, path: Path) -> None:
    """Refuse a document type declaration before any entity is expanded."""

    def refuse(*_: object) -> None:
        raise SourceError(
            f"{path}: is XML that declares a document type, whose entities may expand without end "
            "or read other files; ASAP writes none: export it again"
        )

    parser = ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)


def _open_json(content: bytes, path: Path) -> AnnotationFile:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:  # json and unicode errors are both ValueErrors
        raise SourceError(f"{path}: is not valid JSON ({error}); copy or export it again") from None
    if is_geojson(parsed):
        return open_geojson(parsed, str(path))
    if is_exact(parsed):
        return open_exact(parsed, str(path))
    if is_coco(parsed):
        return open_coco(parsed, str(path))
    keys = ", ".join(map(repr, list(parsed)[:6])) if isinstance(parsed, dict) else "a list"
    raise SourceError(
        f"{path}: is JSON of unknown form (containing {keys or 'nothing'}); expected one of {KNOWN}"
    )


def _unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(
        f"{path}: cannot be read ({error.strerror}); expected an annotation file; check the path"
    )
