"""Writers of small annotation files, for the tests of their readers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from skiptool.sources.annotations.shapes import SlideAnnotations

_SCHEMA = """
CREATE TABLE Slides (uid INTEGER PRIMARY KEY, filename TEXT, width INTEGER, height INTEGER);
CREATE TABLE Classes (uid INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE Annotations (
    uid INTEGER PRIMARY KEY, slide INTEGER, type INTEGER, agreedClass INTEGER {deleted});
CREATE TABLE Annotations_coordinates (uid INTEGER PRIMARY KEY, coordinateX INTEGER,
    coordinateY INTEGER, slide INTEGER, annoId INTEGER, orderIdx INTEGER);
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Return a function: writes JSON, text or bytes, under a suffix that says nothing."""

    def write(content: object, name: str = "annotations.dat") -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def faults() -> Callable[[SlideAnnotations], tuple[str, int]]:
    """Return a function: the only fault of what was read, and the number of shapes beside it."""

    def only(read: SlideAnnotations) -> tuple[str, int]:
        (line,) = read.faults
        assert read.left_out == 1
        assert "\n" not in line
        return line, len(read.shapes)

    return only


@pytest.fixture
def sliderunner(tmp_path: Path) -> Callable[..., Path]:
    """Return a function: writes a SlideRunner database.

    ``annotations`` are (uid, slide, type, class, vertices), vertices (x, y) or (x, y, orderIdx);
    ``deleted`` uids make it a version 3.
    """

    def write(
        annotations: Iterable[tuple[int, int, int, object, list[tuple[object, ...]]]],
        slides: Iterable[tuple[object, ...]] = ((1, "a.svs", 1000, 800),),
        classes: Iterable[tuple[int, str]] = ((1, "mitosis"), (2, "look-alike")),
        deleted: Iterable[int] | None = None,
        name: str = "a.sqlite",
    ) -> Path:
        path = tmp_path / name
        database = sqlite3.connect(path)
        column = "" if deleted is None else ", deleted INTEGER DEFAULT 0"
        database.executescript(_SCHEMA.format(deleted=column))
        database.executemany("INSERT INTO Slides VALUES (?, ?, ?, ?)", slides)
        database.executemany("INSERT INTO Classes VALUES (?, ?)", classes)
        for uid, slide, kind, class_id, vertices in annotations:
            database.execute(
                "INSERT INTO Annotations (uid, slide, type, agreedClass) VALUES (?, ?, ?, ?)",
                (uid, slide, kind, class_id),
            )
            for at, (x, y, *order) in enumerate(vertices):
                database.execute(
                    "INSERT INTO Annotations_coordinates "
                    "(coordinateX, coordinateY, slide, annoId, orderIdx) VALUES (?, ?, ?, ?, ?)",
                    (x, y, slide, uid, order[0] if order else at + 1),
                )
        if deleted is not None:
            database.execute("PRAGMA user_version = 3")
            for uid in deleted:
                database.execute("UPDATE Annotations SET deleted = 1 WHERE uid = ?", (uid,))
        database.commit()
        database.close()
        return path

    return write
