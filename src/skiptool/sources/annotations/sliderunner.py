"""SlideRunner databases (SQLite, ``user_version`` 0 to 3).

Tables: ``Slides(uid, filename, width, height)``, ``Classes(uid, name)``, ``Annotations(uid, slide,
type, agreedClass, deleted)`` (``deleted`` in later versions only) and
``Annotations_coordinates(uid, coordinateX, coordinateY, annoId, orderIdx)``, pixels of level 0;
later versions have ``coordinateZ``, the plane: annotations on planes other than 0 are skipped.
Types: 1 spot, 2 rectangle, 3 polygon, 4 special spot, 5 circle (its box), 6 label of the whole
image. ``agreedClass`` 0 means that the experts disagreed; its name is empty here, as is that of a
class that is not in ``Classes``.
Vertices are in the order of ``orderIdx``, which some programs leave equal for all: then in order of
creation. The database has no paint order: large areas come first.

Databases are opened read-only. Later versions have triggers that call functions of SlideRunner, so
writing from any other program fails. Views are not accepted as tables, as one may never end.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from skiptool.errors import SourceError
from skiptool.sources.annotations.shapes import (
    DELETED,
    NO_VERTICES,
    PLANE,
    WHOLE_IMAGE,
    AnnotationFile,
    ListedSlide,
    Parsed,
    Skipped,
    box,
    circle,
    file_name,
    label,
    largest_first,
    parse_vertices,
    point,
    polygon,
    read_record,
    size,
)

if TYPE_CHECKING:
    from skiptool.records import Float64

MAGIC: Final = b"SQLite format 3\x00"
"""First bytes of an SQLite database."""

_HEAD: Final = 100
"""Bytes of an SQLite header."""

_TABLES: Final = ("Slides", "Classes", "Annotations", "Annotations_coordinates")

_VERTICES: Final = """
    SELECT annoId, coordinateX, coordinateY, {plane} FROM Annotations_coordinates
    JOIN Annotations ON Annotations.uid = annoId
    WHERE Annotations.slide = ? ORDER BY annoId, orderIdx, Annotations_coordinates.uid
"""


def open_sliderunner(path: Path) -> AnnotationFile:
    """List the slides of a database.

    Raises
    ------
    SourceError
        If the file is damaged or lacks one of SlideRunner's tables.
    """
    _check_whole(path)
    with _database(path) as database:
        tables = {
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        missing = [name for name in _TABLES if name not in tables]
        if missing:
            raise SourceError(
                f"{path}: is an SQLite database without table {missing[0]}; expected one made by "
                "SlideRunner"
            )
        (version,) = database.execute("PRAGMA user_version").fetchone()
        rows = database.execute("SELECT uid, filename, width, height FROM Slides ORDER BY uid")
        slides = tuple(
            ListedSlide(file_name(name), size(width, height), str(uid))
            for uid, name, width, height in rows
        )
        (strays,) = database.execute(
            "SELECT count(*) FROM Annotations WHERE slide NOT IN (SELECT uid FROM Slides)"
        ).fetchone()
    notes = (f"{path}: {strays} annotations are of no slide that it lists",) if strays else ()
    return AnnotationFile(f"SlideRunner v{version}", partial(_found, path), slides, notes=notes)


def _found(path: Path, slide: ListedSlide | None) -> list[Parsed]:
    if slide is None:
        return []
    with _database(path) as database:
        names = {
            uid: label(name) for uid, name in database.execute("SELECT uid, name FROM Classes")
        }
        corners, planes = defaultdict(list), dict[object, object]()
        columns = _columns(database, "Annotations_coordinates")
        plane = "coalesce(coordinateZ, 0)" if "coordinateZ" in columns else "0"
        for uid, x, y, z in database.execute(_VERTICES.format(plane=plane), (slide.key,)):
            corners[uid].append((x, y))
            planes[uid] = z
        marks = "deleted" in _columns(database, "Annotations")
        deleted = "coalesce(deleted, 0)" if marks else "0"
        rows = database.execute(
            f"SELECT uid, type, agreedClass, {deleted} FROM Annotations WHERE slide = ? "
            "ORDER BY uid",
            (slide.key,),
        ).fetchall()
    found: list[Parsed] = []
    for uid, kind, class_id, gone in rows:
        if gone or planes.get(uid, 0) != 0:
            found.append(Skipped(DELETED if gone else PLANE))
        else:
            found.append(_shape(kind, names.get(class_id, ""), corners[uid], str(uid), path))
    return largest_first(found)


def _shape(
    kind: object, name: str, corners: list[tuple[object, object]], uid: str, path: Path
) -> Parsed:
    make = _MAKERS.get(kind)
    if make is None or not corners:
        return Skipped(WHOLE_IMAGE if kind == _WHOLE else NO_VERTICES)
    (found,) = read_record(
        lambda: [make(name, parse_vertices(corners, f"{path}: annotation {uid}"), uid)]
    )
    return found


def _outline(name: str, corners: Float64, record: str) -> Parsed:
    return polygon(name, [corners], record)


_MAKERS: Final[Mapping[object, Callable[[str, Float64, str], Parsed]]] = {
    1: point,
    2: box,
    3: _outline,
    4: point,
    5: circle,
}
"""Constructor of each type."""

_WHOLE: Final = 6
"""Type of a label of the whole image."""


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def _check_whole(path: Path) -> None:
    """Refuse a truncated file, which SQLite itself only notices on reading beyond the end."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    there = path.stat().st_size
    wide = int.from_bytes(head[16:18]) or 1
    # the page count is valid only if both change counters agree
    pages = int.from_bytes(head[28:32]) if head[24:28] == head[92:96] else 0
    expected = max(pages * (65536 if wide == 1 else wide), _HEAD)
    if there < expected:
        raise SourceError(
            f"{path}: is an incomplete SQLite database ({there} of {expected} bytes); copy it again"
        )


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open read-only, and convert SQLite's errors."""
    # a journal next to it means that SlideRunner is running or was killed: SQLite must read it
    busy = any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal"))
    address = f"{path.absolute().as_uri()}?mode=ro{'' if busy else '&immutable=1'}"
    try:
        database = sqlite3.connect(address, uri=True)
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            yield database
        finally:
            database.close()
    except (
        sqlite3.Error,
        UnicodeDecodeError,
    ) as error:  # the latter from damaged bytes in a message
        reason = " ".join(str(error).split())
        raise SourceError(
            f"{path}: cannot be read as a SlideRunner database ({reason}); copy it again"
        ) from None
