from __future__ import annotations

from pathlib import Path

import pytest

from skiptool.stores.parents import parents_made


def test_folders_stay_where_something_came_of_them(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out"
    with parents_made(out):
        out.write_text("made")
    assert out.read_text() == "made"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_empty_folders_go_again(error: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        with parents_made(tmp_path / "a" / "b" / "out"):
            assert (tmp_path / "a" / "b").is_dir()
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_only_empty_folders_of_its_own_go(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with parents_made(tmp_path / "old" / "new" / "deep" / "out"):
        (tmp_path / "old" / "new" / "kept.txt").write_text("kept")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept.txt", "new", "old"]
    with parents_made(tmp_path / "old" / "x"):
        pass
    assert (tmp_path / "old").is_dir()
