from __future__ import annotations

import io
import sys

import pytest

from skiptool.cli import terminal as module
from skiptool.cli.terminal import Terminal, complain

Captured = pytest.CaptureFixture[str]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_lines_are_not_broken(capsys: Captured) -> None:
    Terminal(quiet=False).warn("word " * 100)
    assert capsys.readouterr().err.count("\n") == 1


def test_log_gets_a_line_now_and_then(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Terminal(quiet=False).task("train", 100) as task:
        for _ in range(100):
            now[0] += 1.0
            task.advance(note="[b]loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"train: {done} of 100, about 0:{left} left [b]loss 0.5"
        for done, left in ((30, "01:10"), (60, "00:40"), (90, "00:10"))
    ]


def test_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(quiet=False)
    with terminal.task("train [x]", 2) as task:
        task.advance(2, note="[y]")
        terminal.warn("beside it")
    assert "train [x]" in screen.getvalue()
    assert "2/2" in screen.getvalue()
    assert "beside it" in screen.getvalue()
    screen.truncate(0)
    with Terminal(quiet=True).task("train", 2) as task:
        task.advance()
    assert "train" not in screen.getvalue()


def test_complaint_without_a_name(capsys: Captured) -> None:
    complain("", "a : b")
    assert capsys.readouterr().err == "skiptool: a : b\n"


def test_a_task_in_a_task_is_on_the_same_display(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(quiet=False)
    with terminal.task("all", 4) as whole:
        for name in ("first", "second"):
            with terminal.task(name, 2) as task:
                task.advance(2)
                whole.advance(2)
    shown = screen.getvalue()
    assert all(word in shown for word in ("all", "first", "second", "4/4"))
    with terminal.task("later", 1) as task:
        task.advance()
    assert "later" in screen.getvalue()


def test_what_a_resumed_run_had_done_does_not_shorten_the_time_left(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Terminal(quiet=False).task("train", 100) as task:
        task.advance(70)
        now[0] += 30
        task.advance(10)
    assert capsys.readouterr().err == "train: 80 of 100, about 0:01:00 left\n"
