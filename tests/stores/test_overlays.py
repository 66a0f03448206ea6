from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.artifacts import kind_of, lineage_of
from skiptool.stores.lineage import create_lineage
from skiptool.stores.overlays import (
    INDEX,
    damaged_pictures,
    open_overlays,
    safe_name,
    write_index,
)
from small_stores import HOSTILE_JSON, MAKING, flip, refused, set_json

PICTURES: list[dict[str, Any]] = [
    {"file": "m_a/1.png", "model": "m", "mIoU": None, "rank": 1, "sample": "pätient 1"}
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "o/m_a").mkdir(parents=True)
    (tmp_path / "o/m_a/1.png").write_bytes(b"a picture")
    write_index(tmp_path / "o", create_lineage(Kind.OVERLAYS, MAKING, 1), PICTURES)
    return tmp_path / "o"


def test_index_round_trip(folder: Path) -> None:
    header, pictures = open_overlays(folder)
    assert [{**each, "digest": None} for each in pictures] == [
        {**each, "digest": None} for each in PICTURES
    ]
    assert damaged_pictures(folder, pictures) == []
    flip(folder / "m_a/1.png")
    assert damaged_pictures(folder, pictures) == ["m_a/1.png"]
    assert header.command == MAKING.command
    assert kind_of(folder) is Kind.OVERLAYS
    assert lineage_of(folder) == header


def test_missing_picture_is_named(folder: Path) -> None:
    (folder / "m_a/1.png").unlink()
    with refused(FormatError, folder, "m_a/1.png is missing"):
        open_overlays(folder)


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_damaged_index_is_reported_in_one_line(folder: Path, text: bytes) -> None:
    (folder / INDEX).write_bytes(text)
    with refused(FormatError, folder / INDEX):
        open_overlays(folder)


@pytest.mark.parametrize("pictures", [{}, [1], "x"])
def test_index_without_pictures_is_refused(folder: Path, pictures: object) -> None:
    set_json(folder / INDEX, pictures=pictures)
    with refused(FormatError, folder / INDEX, "lists no pictures"):
        open_overlays(folder)


@pytest.mark.parametrize(
    "name", ["../../etc", "a\\b", "a:b", "..", ".hidden", "x" * 300, "a\nb", "  ", "pätient 1"]
)
def test_safe_names_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    safe = safe_name(name)
    assert Path(safe).name == safe
    assert not safe.startswith(".")
    (tmp_path / f"{safe}.png").write_bytes(b"")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("file", ["/etc/passwd", "../x.png", "m_a/../../x.png"])
def test_picture_outside_the_folder_is_refused(folder: Path, file: str) -> None:
    set_json(folder / INDEX, pictures=[{"file": file}])
    with refused(FormatError, folder / INDEX, "is outside this folder"):
        open_overlays(folder)
