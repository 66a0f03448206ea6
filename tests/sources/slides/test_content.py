"""Keys of slides follow their content, not their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skiptool.errors import SourceError
from skiptool.sources.slides.content import check_file, check_tiles, content_key
from small_stores import refused


def test_a_copy_has_the_same_key_whatever_its_name_and_times(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    for name in ("a.svs", "b.ndpi"):
        (tmp_path / name).write_bytes(data)
    os.utime(tmp_path / "b.ndpi", (0, 0))
    key = content_key(tmp_path / "a.svs")
    assert key == content_key(tmp_path / "b.ndpi")
    assert len(key) == 32
    assert int(key, 16)


@pytest.mark.parametrize("position", [0, (1 << 20) - 1, (3 << 20) - 1])
def test_first_and_last_megabyte_matter(tmp_path: Path, position: int) -> None:
    data = bytearray(3 << 20)
    (tmp_path / "a.svs").write_bytes(data)
    data[position] = 1
    (tmp_path / "b.svs").write_bytes(data)
    assert content_key(tmp_path / "a.svs") != content_key(tmp_path / "b.svs")


def test_size_matters(tmp_path: Path) -> None:
    keys = set()
    for number, size in enumerate((1, 2, 5 << 20, (5 << 20) + 1)):
        path = tmp_path / f"{number}.svs"
        path.write_bytes(bytes(size))
        keys.add(content_key(path))
    assert len(keys) == 4


def test_the_folder_beside_mrxs_matters(tmp_path: Path) -> None:
    keys = []
    for name, files in (("a", {"Data0.dat": 3}), ("b", {"Data0.dat": 3}), ("c", {"Data0.dat": 4})):
        (tmp_path / f"{name}.mrxs").write_bytes(b"picture of the slide")
        (tmp_path / name).mkdir()
        for file, size in files.items():
            (tmp_path / name / file).write_bytes(bytes(size))
        keys.append(content_key(tmp_path / f"{name}.mrxs"))
    assert keys[0] == keys[1] != keys[2]


def test_a_folder_of_that_name_beside_other_slides_does_not(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"x")
    before = content_key(tmp_path / "a.svs")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_bytes(b"x")
    assert content_key(tmp_path / "a.svs") == before


def test_what_cannot_be_a_slide_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").touch()
    (tmp_path / "whole.svs").write_bytes(b"x")
    check_file(tmp_path / "whole.svs")
    with refused(SourceError, "none.svs", "no such slide"):
        check_file(tmp_path / "none.svs")
    with refused(SourceError, "empty.svs", "no bytes", "copy it again"):
        check_file(tmp_path / "empty.svs")
    with refused(SourceError, tmp_path, "a folder"):
        check_file(tmp_path)
    with refused(SourceError, "cannot be read"):
        check_file(tmp_path / ("x" * 300))
    with refused(SourceError, tmp_path, "cannot be read"):
        content_key(tmp_path)


def test_tiles_that_no_memory_holds_are_refused(tmp_path: Path) -> None:
    def tiles(side: int) -> dict[str, str]:
        return {f"openslide.level[1].tile-{axis}": str(side) for axis in ("width", "height")}

    check_tiles(tiles(8192), 2, tmp_path)
    check_tiles({}, 3, tmp_path)
    with pytest.raises(SourceError, match="tiles of 8,193 x 8,193 pixels"):
        check_tiles(tiles(8193), 2, tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.svs")
    for look in (check_file, content_key):
        with pytest.raises(SourceError, match="a pipe or a device"):
            look(tmp_path / "s.svs")
