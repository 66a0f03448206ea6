from __future__ import annotations

import os
from pathlib import Path

import pytest

from skiptool.errors import SourceError
from skiptool.sources.regular import refuse_pipe
from small_stores import refused


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/null")):
        with refused(SourceError, path, "a pipe or a device"):
            refuse_pipe(path)


def test_files_folders_and_what_is_not_there_pass(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("gone")
    for path in (tmp_path, tmp_path / "file", tmp_path / "gone", tmp_path / "dangling"):
        refuse_pipe(path)
    refuse_pipe(Path("a\0b"))


def test_what_the_shell_has_opened_passes() -> None:
    read, write = os.pipe()
    refuse_pipe(Path(f"/dev/fd/{read}"))
    os.close(read)
    os.close(write)
    with pytest.raises(FileNotFoundError):
        Path(f"/dev/fd/{read}").read_text()
