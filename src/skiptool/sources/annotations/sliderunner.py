"""Databases of SlideRunner (SQLite, ``user_version`` 0 to 3).

Tables: ``Slides(uid, filename, width, height)``, ``Classes(uid, name)``, ``Annotations(uid, slide,
type, agreedClass, deleted)`` (``deleted`` in later versions only) and
``Annotations_coordinates(uid, coordinateX, coordinateY, annoId, orderIdx)``, pixels of level 0.
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
from skiptool.sources.annotations.annotated import Listed, Opened
from skiptool.sources.annotations.fields import file_name, label, size
from skiptool.sources.annotations.outlines import (
    box,
    circle,
    outer_first,
    point,
    polygon,
    vertices,
)
from skiptool.sources.shapes import Shape

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["MAGIC", "open_sliderunner"]

MAGIC: Final = b"SQLite format 3\x00"
"""First bytes of every SQLite database."""

_HEAD: Final = 100
"""Bytes of the header of a database."""

_TABLES: Final = ("Slides", "Classes", "Annotations", "Annotations_coordinates")

_VERTICES: Final = """
    SELECT annoId, coordinateX, coordinateY FROM Annotations_coordinates
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
    return Opened(f"SlideRunner v{version}", partial(_found, path), slides)


def _found(path: Path, slide: Listed | None) -> list[Shape | None]:
    if slide is None:
        return []
    with _database(path) as database:
        names = {
            uid: label(name) for uid, name in database.execute("SELECT uid, name FROM Classes")
        }
        corners = defaultdict(list)
        for uid, x, y in database.execute(_VERTICES, (slide.key,)):
            corners[uid].append((x, y))
        kept = "AND coalesce(deleted, 0) = 0" if _marks_deleted(database) else ""
        rows = database.execute(
            f"SELECT uid, type, agreedClass FROM Annotations WHERE slide = ? {kept} ORDER BY uid",
            (slide.key,),
        )
        return outer_first(
            _shape(kind, names.get(class_id, ""), corners[uid], str(uid), path)
            for uid, kind, class_id in rows.fetchall()
        )


def _shape(
    kind: object, name: str, corners: list[tuple[object, object]], uid: str, path: Path
) -> Shape | None:
    make = _MAKERS.get(kind)
    if make is None or not corners:
        return None
    return make(name, vertices(corners, f"{path}: annotation {uid}"), uid)


def _outline(name: str, corners: Float64, record: str) -> Shape | None:
    return polygon(name, [corners], record)


_MAKERS: Final[Mapping[object, Callable[[str, Float64, str], Shape | None]]] = {
    1: point,
    2: box,
    3: _outline,
    4: point,
    5: circle,
}
"""How each type is made; labels of the whole image (6) are left out."""


def _marks_deleted(database: sqlite3.Connection) -> bool:
    return any(row[1] == "deleted" for row in database.execute("PRAGMA table_info(Annotations)"))


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
