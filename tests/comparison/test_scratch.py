from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from skiptool.comparison.scratch import Scratch
from skiptool.errors import SourceError
from small_stores import refused


def test_what_is_read_is_what_was_written() -> None:
    first, second = np.arange(6, dtype=np.uint16).reshape(2, 3), np.linspace(0, 1, 5)
    with Scratch() as scratch:
        scratch.write(100, second)
        scratch.write(0, first)
        for offset, given in ((0, first), (100, second)):
            found = np.empty_like(given)
            scratch.read(offset, found)
            np.testing.assert_array_equal(found, given)


def test_writes_that_fall_short_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real, given = os.pwrite, np.arange(1000, dtype=np.int64)
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[:777], at))
    with Scratch() as scratch:
        scratch.write(3, given)
        found = np.empty_like(given)
        scratch.read(3, found)
    np.testing.assert_array_equal(found, given)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "pwrite", full)
    with refused(SourceError, tmp_path, "No space left", "TMPDIR", "--memory"), Scratch() as file:
        file.write(0, np.ones(4))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_device_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    device = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed by the scratch
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: device)
    with refused(SourceError, "No space left", "TMPDIR"), Scratch() as scratch:
        scratch.write(0, np.ones(4))


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with refused(SourceError, tmp_path / "gone", "No such file", "TMPDIR"):
        Scratch()


def test_the_file_has_no_name_and_goes_with_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Scratch() as scratch:
        scratch.write(0, np.ones(3))
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="closed"):
        scratch.write(0, np.ones(3))
