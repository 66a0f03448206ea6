"""Databases of SlideRunner (SQLite, ``user_version`` 0 to 3).

Tables: ``Slides(uid, filename, width, height)``, ``Classes(uid, name)``, ``Annotations(uid, slide,
type, agreedClass, deleted)`` (``deleted`` in later versions only) and
``Annotations_coordinates(uid, coordinateX, coordinateY, annoId, orderIdx)``, pixels of level 0;
later versions have ``coordinateZ``, the plane: what lies on another one than 0 is left out.
Types: 1 spot, 2 rectangle, 3 polygon, 4 special spot, 5 circle (its box), 6 label of the whole
image. ``agreedClass`` 0 says that the experts did not agree; its name is empty here, as is that of
a class that is not in ``Classes``.
Vertices stand in the order of ``orderIdx``, which some programs left equal for all: then in the
order of their making. The database knows no paint order: large areas come first.

Databases are opened to be read only. Later versions hold triggers that call functions of
SlideRunner, so any other program that writes fails. Views are no tables: one need never end.
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
    NOWHERE,
    PLANE,
    WHOLE,
    Found,
    LeftOut,
    Listed,
    Opened,
    box,
    circle,
    file_name,
    label,
    outer_first,
    point,
    polygon,
    size,
    told,
    vertices,
)

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["MAGIC", "open_sliderunner"]

MAGIC: Final = b"SQLite format 3\x00"
"""First bytes of every SQLite database."""

_HEAD: Final = 100
"""Bytes of the header of a database."""

_TABLES: Final = ("Slides", "Classes", "Annotations", "Annotations_coordinates")

_VERTICES: Final = """
    SELECT annoId, coordinateX, coordinateY, {plane} FROM Annotations_coordinates
    JOIN Annotations ON Annotations.uid = annoId
    WHERE Annotations.slide = ? ORDER BY annoId, orderIdx, Annotations_coordinates.uid
"""


def open_sliderunner(path: Path) -> Opened:
    """Read which slides a database is about.

    Raises
    ------
    SourceError
        If the file is damaged or lacks a table of SlideRunner's.
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
                f"{path}: is an SQLite database without table {missing[0]}; expected one that "
                "SlideRunner made"
            )
        (version,) = database.execute("PRAGMA user_version").fetchone()
        rows = database.execute("SELECT uid, filename, width, height FROM Slides ORDER BY uid")
        slides = tuple(
            Listed(file_name(name), size(width, height), str(uid))
            for uid, name, width, height in rows
        )
        (strays,) = database.execute(
            "SELECT count(*) FROM Annotations WHERE slide NOT IN (SELECT uid FROM Slides)"
        ).fetchone()
    notes = (f"{path}: {strays} annotations are of no slide that it lists",) if strays else ()
    return Opened(f"SlideRunner v{version}", partial(_found, path), slides, notes=notes)


def _found(path: Path, slide: Listed | None) -> list[Found]:
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
    found: list[Found] = []
    for uid, kind, class_id, gone in rows:
        if gone or planes.get(uid, 0) != 0:
            found.append(LeftOut(DELETED if gone else PLANE))
        else:
            found.append(_shape(kind, names.get(class_id, ""), corners[uid], str(uid), path))
    return outer_first(found)


def _shape(
    kind: object, name: str, corners: list[tuple[object, object]], uid: str, path: Path
) -> Found:
    make = _MAKERS.get(kind)
    if make is None or not corners:
        return LeftOut(WHOLE if kind == _WHOLE else NOWHERE)
    (found,) = told(lambda: [make(name, vertices(corners, f"{path}: annotation {uid}"), uid)])
    return found


def _outline(name: str, corners: Float64, record: str) -> Found:
    return polygon(name, [corners], record)


_MAKERS: Final[Mapping[object, Callable[[str, Float64, str], Found]]] = {
    1: point,
    2: box,
    3: _outline,
    4: point,
    5: circle,
}
"""How each type is made."""

_WHOLE: Final = 6
"""Type of a label of the whole image."""


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def _check_whole(path: Path) -> None:
    """Refuse a file that was cut off: SQLite itself only finds out where it reads."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    there = path.stat().st_size
    wide = int.from_bytes(head[16:18]) or 1
    # the count of pages is right where the last writer knew of it: then both counters agree
    pages = int.from_bytes(head[28:32]) if head[24:28] == head[92:96] else 0
    expected = max(pages * (65536 if wide == 1 else wide), _HEAD)
    if there < expected:
        raise SourceError(
            f"{path}: is no whole SQLite database ({there} of {expected} bytes); copy it again"
        )


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open to be read only, and turn what SQLite finds wrong into one line."""
    # a journal beside it means that SlideRunner is at work or was stopped: SQLite has to look at it
    busy = any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal"))
    address = f"{path.absolute().as_uri()}?mode=ro{'' if busy else '&immutable=1'}"
    try:
        database = sqlite3.connect(address, uri=True)
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            yield database
        finally:
            database.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: damage quoted by SQLite
        found = " ".join(str(error).split())
        raise SourceError(
            f"{path}: cannot be read as a database of SlideRunner ({found}); copy it again"
        ) from None
