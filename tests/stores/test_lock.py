from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skiptool.errors import ExistsError
from skiptool.stores.lock import held

HOLD = """
import sys, time
from pathlib import Path
from skiptool.stores.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_it_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    for _ in range(2):
        with held(out):
            assert [path.name for path in tmp_path.iterdir()] == [".d.zarr.lock"]
        assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), held(out):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_second_process_is_told_and_a_killed_one_is_in_nobodys_way(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ExistsError, match=r"d\.zarr: another process is making it now"):
            held(out).__enter__()
        other.kill()
        other.wait()
    assert (tmp_path / ".d.zarr.lock").exists()
    with held(out):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_deleted_before_it_was_locked_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "d.zarr", fcntl.flock
    taken: list[int] = []

    def late(file: int, how: int) -> None:
        if not taken:
            (tmp_path / ".d.zarr.lock").unlink()
        taken.append(os.fstat(file).st_nlink)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with held(out):
        assert taken == [0, 1]


def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    number = errno.ENOLCK
    with held(tmp_path / "d.zarr"):
        pass
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"), held(tmp_path / "d.zarr"):
        pass


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".s.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), held(tmp_path / "s"):
        raise AssertionError
    assert not (tmp_path / "elsewhere").exists()
