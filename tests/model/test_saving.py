from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from limits import files_below
from skiptool.errors import FormatError
from skiptool.model.saving import WholeFiles
from small_stores import refused

OLD, NEW = ({"tensor": torch.full((1000, 100), value), "epoch": value} for value in (1.0, 2.0))


@pytest.fixture
def last(tmp_path: Path) -> Path:
    WholeFiles().save_checkpoint(OLD, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def holds(path: Path, expected: dict[str, Any]) -> bool:
    found = WholeFiles().load_checkpoint(path, weights_only=True)
    same = torch.equal(found["tensor"], expected["tensor"]) and found["epoch"] == expected["epoch"]
    return same and [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_comes_back_and_is_replaced(last: Path) -> None:
    assert holds(last, OLD)
    WholeFiles().save_checkpoint(NEW, last)
    assert holds(last, NEW)


@pytest.mark.parametrize("size", [0, 10_000, 390_000])
def test_where_there_is_no_space_the_one_before_stays(last: Path, size: int) -> None:
    with files_below(size), pytest.raises(OSError, match="File too large") as told:
        WholeFiles().save_checkpoint(NEW, last)
    assert (told.value.errno, told.value.filename) == (errno.EFBIG, str(last))
    assert holds(last, OLD)


def test_what_a_kill_left_is_replaced(last: Path) -> None:
    last.with_name(f".{last.name}.part").write_bytes(b"torn")
    WholeFiles().save_checkpoint(NEW, last)
    assert holds(last, NEW)


def test_other_errors_are_told_as_they_are(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        WholeFiles().save_checkpoint(NEW, last)
    assert holds(last, OLD)


@pytest.mark.parametrize("size", [0, 40, 3000, -1])
def test_a_damaged_checkpoint_is_one_line(last: Path, size: int) -> None:
    data = last.read_bytes()
    last.write_bytes(data[:size])
    with refused(FormatError, last, "cannot be read as a checkpoint", "--overwrite"):
        WholeFiles().load_checkpoint(last, weights_only=True)
