from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skiptool.cli.inputs import one_path, paths, places, stdin_text
from skiptool.errors import ArgumentError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def read(self, _size: int | None = -1) -> str:
        raise AssertionError("must not wait for a terminal")


def test_words_are_paths() -> None:
    assert paths(["a", "b/", "c d"]) == [Path("a"), Path("b"), Path("c d")]
    with pytest.raises(ArgumentError, match="empty path"):
        paths(["a", ""])


def test_dash_stands_for_the_lines_of_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a b\n\n  \nruns/ä\r\nlast "))
    expected = [Path("first"), Path("a b"), Path("runs/ä"), Path("last "), Path("z")]
    assert paths(["first", "-", "z"]) == expected


def test_places_may_be_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "s3://bucket/f.zarr"
    assert places(["a b", url]) == [Path("a b"), url]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{url}/\r\nb.npy\n"))
    assert places(["-", "c"]) == [f"{url}/", Path("b.npy"), Path("c")]
    with pytest.raises(ArgumentError, match="empty path"):
        places([url, ""])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/deep/f.zarr/", "s3://.../f.zarr: only hellinger, report and info read URLs"),
        ("https://me:secret@host/f.zarr?key=secret/x", "https://.../f.zarr: only"),
        ("https://me:secret@host", "https://.../host: only"),
    ],
)
def test_paths_are_no_urls_and_tell_no_secrets(
    url: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArgumentError) as caught:
        paths(["a", url])
    assert str(caught.value).startswith(shown)
    assert "secret" not in str(caught.value)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{url}\n"))
    with pytest.raises(ArgumentError, match="copy it here first"):
        one_path("-", "dataset store")


def test_one_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("s.zarr\n"))
    assert one_path("-", "dataset store") == Path("s.zarr")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\nb\n"))
    with pytest.raises(ArgumentError, match="2 paths, expected one dataset store"):
        one_path("-", "dataset store")


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
        paths(["-"])


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
