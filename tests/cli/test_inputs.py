from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skiptool.cli.inputs import one_place, places, stdin_text
from skiptool.errors import ArgumentError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def read(self, _size: int | None = -1) -> str:
        raise AssertionError("must not wait for a terminal")


def test_words_are_paths() -> None:
    assert places(["a", "b/", "c d"]) == [Path("a"), Path("b"), Path("c d")]
    with pytest.raises(ArgumentError, match="empty path"):
        places(["a", ""])


def test_dash_stands_for_the_lines_of_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a b\n\n  \nruns/ä\r\nlast "))
    expected = [Path("first"), Path("a b"), Path("runs/ä"), Path("last "), Path("z")]
    assert places(["first", "-", "z"]) == expected


def test_places_may_be_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "s3://bucket/f.zarr"
    assert places(["a b", url]) == [Path("a b"), url]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{url}/\r\nb.npy\n"))
    assert places(["-", "c"]) == [f"{url}/", Path("b.npy"), Path("c")]
    with pytest.raises(ArgumentError, match="empty path"):
        places([url, ""])


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("s3:/bucket/deep/f.zarr/", "s3:/.../f.zarr: a URL has two slashes"),
        ("https:/me:secret@host/f.zarr?key=secret/x", "https:/.../f.zarr: a URL has two slashes"),
        ("https:/me:secret@host", "https:/.../host: a URL has two slashes"),
    ],
)
def test_urls_that_have_lost_a_slash_are_told_without_secrets(
    word: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArgumentError) as caught:
        places(["a", word])
    assert str(caught.value).startswith(shown)
    assert "secret" not in str(caught.value)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{word}\n"))
    with pytest.raises(ArgumentError, match="two slashes"):
        one_place("-", "dataset store")


def test_files_may_be_urls_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [tmp_path / "a.zarr"]
    for start in ("file://", "file://localhost", "file:"):
        assert places([f"{start}{tmp_path}/a.zarr"]) == expected
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "f.zarr").touch()
    assert places(["s3:/f.zarr"]) == [Path("s3:/f.zarr")]  # it is there, whatever it looks like


def test_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("s.zarr\n"))
    assert one_place("-", "dataset store") == Path("s.zarr")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\nb\n"))
    with pytest.raises(ArgumentError, match="2 paths, expected one dataset store"):
        one_place("-", "dataset store")


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (Terminal(), "is a terminal"),
        (None, "is closed"),
        (io.StringIO(""), "holds no path"),
        (io.StringIO("\n \n"), "holds no path"),
        (io.StringIO("PAR1\0\0"), "holds no text"),
        (io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x80"), encoding="utf-8"), "holds no text"),
    ],
    ids=["terminal", "closed", "empty", "blank", "binary", "no UTF-8"],
)
def test_stdin_that_names_nothing(
    stdin: io.TextIOBase | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(ArgumentError, match=reason):
        places(["-"])


def test_text_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a,b\n1,2\n"))
    assert stdin_text("the manifest") == "a,b\n1,2\n"


def test_real_terminal_and_closed_stdin() -> None:
    """In a process of its own: a pseudo-terminal is not waited for, nor is what is not there."""
    tool = [sys.executable, "-m", "skiptool", "report", "-"]
    ours, theirs = os.openpty()
    try:
        found = subprocess.run(tool, stdin=theirs, capture_output=True, text=True, timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "skiptool report: '-' reads paths from stdin, but stdin is a terminal; give it a pipe"
    ]
    closed = subprocess.run(
        ["bash", "-c", '"$@" <&-', "bash", *tool], capture_output=True, text=True, timeout=60
    )
    assert closed.returncode == 2
    assert closed.stderr.count("\n") == 1
    assert "stdin is closed" in closed.stderr
