from __future__ import annotations

import errno
from pathlib import Path

import pytest

from skiptool.cli.wording import explain, visible
from skiptool.errors import LeftoverError, OutOfMemoryError, SourceError, WorkerError

GOES_ON = "; give --resume"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SourceError("a.png: gone"), "a.png: gone"),
        (OutOfMemoryError("lower --batch-size"), "lower --batch-size"),
        (WorkerError("take fewer"), "take fewer"),
        (PermissionError(errno.EACCES, "x", "/x/y"), "/x/y: Permission denied"),
        (
            OSError(errno.ENOSPC, "x", "a.zarr"),
            "a.zarr: No space left on device; free space there; give --resume",
        ),
        (
            OSError(errno.EFBIG, "x", "a"),
            "a: File too large; raise the limit of the size of files (ulimit -f); give --resume",
        ),
        (OSError(errno.ENOSPC, "x"), "No space left on device"),
        (OSError("odd"), "odd"),
        (
            LeftoverError("x: is left; give --overwrite"),
            "x: is left; give --overwrite, or --resume to go on with it",
        ),
        (
            MemoryError("8 GiB"),
            "out of memory (8 GiB); take fewer or smaller inputs at once; give --resume",
        ),
        (
            MemoryError(),
            "out of memory (no size known); take fewer or smaller inputs at once; give --resume",
        ),
        (
            UnicodeEncodeError("ascii", "M\xfcller", 1, 2, "no"),
            "a name contains '\\xfc', which the encoding of this system (ascii) cannot represent; "
            "set LC_ALL=C.UTF-8 or PYTHONUTF8=1",
        ),
        (FileNotFoundError(errno.ENOENT, "x"), "No such file or directory"),
        (KeyError("b"), "unexpected KeyError: 'b'; --debug shows where it comes from"),
    ],
)
def test_lines(error: Exception, line: str) -> None:
    assert explain(error, GOES_ON) == line


def test_a_working_directory_that_was_deleted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    line = explain(FileNotFoundError(errno.ENOENT, "x"))
    assert line == "the current working directory no longer exists; change to another one"


def test_a_command_that_cannot_go_on_does_not_offer_to() -> None:
    assert explain(LeftoverError("x: is left; give --overwrite")) == "x: is left; give --overwrite"


def test_control_characters_are_spelled_out() -> None:
    assert visible("ä b\x1b]0;\x07\u202e") == "ä b\\x1b]0;\\x07\\u202e"
