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
writing from any other program fails. Views are not accepted as tables, as a view may be endless.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from skiptool.errors import SourceError
from skiptool.sources.annotations.shapes import (
    DELETED,
    NO_VERTICES,
    OTHER_PLANE,
    WHOLE_IMAGE,
    AnnotationFile,
    ListedSlide,
    Parsed,
    Skipped,
    box,
    circle,
    file_name,
    largest_first,
    parse_vertices,
    point,
    polygon,
    read_records,
    size,
    to_text,
)

if TYPE_CHECKING:
    pass

MAGIC: Final = b"SQLite format 3\x00"
"""First bytes of an SQLite database."""

_HEADER_BYTES: Final = 100
"""Size of an SQLite header."""

_TABLES: Final = ("Slides", "Classes", "Annotations", "Annotations_coordinates")

_VERTICES: Final = """
    SELECT annoId, coordinateX, coordinateY, {plane} FROM Annotations_coordinates
    JOIN Annotations ON Annotations.uid = annoId
    WHERE Annotations.slide = ? ORDER BY annoId, orderIdx, Annotations_coordinates.uid
"""


def open_sliderunner(path: Path) -> AnnotationFile:
    """List the slides of a database."""
    _check_complete(path)
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
    return AnnotationFile(f"SlideRunner v{version}", partial(_read, path), slides, notes=notes)


def _read(path: Path, slide: ListedSlide | None) -> list[Parsed]:
    if slide is None:
        return []
    with _database(path) as database:
        names = {
            uid: to_text(name) for uid, name in database.execute("SELECT uid, name FROM Classes")
        }
        corners, planes = defaultdict(list), dict[object, object]()
        columns = _columns(database, "Annotations_coordinates")
        plane = "coalesce(coordinateZ, 0)" if "coordinateZ" in columns else "0"
        for uid, x, y, z in database.execute(_VERTICES.format(plane=plane), (slide.key,)):
            corners[uid].append((x, y))
            planes[uid] = z
        has_deleted = "deleted" in _columns(database, "Annotations")
        deleted = "coalesce(deleted, 0)" if has_deleted else "0"
        rows = database.execute(
            f"SELECT uid, type, agreedClass, {deleted} FROM Annotations WHERE slide = ? "
            "ORDER BY uid",
            (slide.key,),
        ).fetchall()

    def read_annotation(row: tuple[object, ...], record: str, where: str) -> list[Parsed]:
        uid, kind, class_id, is_deleted = row
        if is_deleted:
            return [Skipped(DELETED)]
        if planes.get(uid, 0) != 0:
            return [Skipped(OTHER_PLANE)]
        return [_shape(kind, names.get(class_id, ""), corners[uid], record, where)]

    records = [(str(row[0]), row) for row in rows]
    return largest_first(read_records(records, read_annotation, f"{path}: annotation"))


def _shape(
    kind: object, name: str, corners: list[tuple[object, object]], record: str, where: str
) -> Parsed:
    if kind == 6:
        return Skipped(WHOLE_IMAGE)
    if kind not in (1, 2, 3, 4, 5) or not corners:
        return Skipped(NO_VERTICES)
    vertices = parse_vertices(corners, where)
    if kind == 2:
        return box(name, vertices, record)
    if kind == 3:
        return polygon(name, [vertices], record)
    return circle(name, vertices, record) if kind == 5 else point(name, vertices, record)


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def _check_complete(path: Path) -> None:
    """Refuse a truncated file, which SQLite itself only notices on reading beyond the end."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    size = path.stat().st_size
    page_size = int.from_bytes(header[16:18]) or 1
    if page_size == 1:  # stands for 65536, which does not fit the field
        page_size = 65536
    # the page count is valid only if both change counters agree
    pages = int.from_bytes(header[28:32]) if header[24:28] == header[92:96] else 0
    expected = max(pages * page_size, _HEADER_BYTES)
    if size < expected:
        raise SourceError(
            f"{path}: is an incomplete SQLite database ({size} of {expected} bytes); copy it again"
        )


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database read-only, and convert SQLite's errors."""
    # a journal next to it means that SlideRunner is running or was killed: SQLite must read it
    busy = any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-journal"))
    address = f"{path.absolute().as_uri()}?mode=ro{'' if busy else '&immutable=1'}"
    try:
        database = sqlite3.connect(address, uri=True)
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            yield database
        finally:
            database.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: damaged bytes in a message
        reason = " ".join(str(error).split())
        raise SourceError(
            f"{path}: cannot be read as a SlideRunner database ({reason}); copy it again"
        ) from None
