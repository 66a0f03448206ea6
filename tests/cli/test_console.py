"""Tests of ``console``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, NoReturn

import pytest
import typer

from skiptool.cli.console import Terminated, command, exit_code, terminable
from skiptool.errors import (
    ArgumentError,
    ExistsError,
    FormatError,
    MismatchError,
    SkiptoolError,
    SourceError,
)
from skiptool.records import Outcome, Progress, Table

Captured = pytest.CaptureFixture[str]


def call(step: Callable[[Progress], Outcome], *words: str) -> int:
    """Run a step as a subcommand."""

    @command
    def some_thing(
        out: Annotated[str, typer.Option("--out")] = "o", *, progress: Progress
    ) -> Outcome:
        return step(progress)

    app = typer.Typer()
    app.command()(some_thing)
    code: int = app(list(words), standalone_mode=False)
    return code


def failing(error: BaseException) -> Callable[[Progress], Outcome]:
    def step(_progress: Progress) -> Outcome:
        raise error

    return step


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ArgumentError(), 2),
        (ExistsError(), 4),
        (SourceError(), 1),
        (FormatError(), 1),
        (MismatchError(), 1),
        (SkiptoolError(), 1),
        (OSError(), 1),
        (RuntimeError(), 1),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SourceError("a.png: gone;\n  find  it"), "a.png: gone; find  it"),
        (FormatError("\x1b[2Ja"), "\\x1b[2Ja"),
        (PermissionError(13, "Permission denied", "/x/y"), "/x/y: Permission denied"),
        (OSError("odd"), "odd"),
        (MemoryError("8 GiB"), "out of memory (8 GiB); take fewer or smaller inputs at once"),
        (KeyError("b"), "unexpected KeyError: 'b'; --debug shows where it comes from"),
    ],
)
def test_every_error_is_reported_in_one_line(error: Exception, line: str, capsys: Captured) -> None:
    assert call(failing(error)) in (1, 2, 4)
    assert capsys.readouterr() == ("", f"skiptool some thing: {line}\n")


def test_debug_prints_a_traceback(capsys: Captured) -> None:
    assert call(failing(ExistsError("there already")), "--debug") == 4
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "skiptool some thing: there already"


def test_an_interrupt_prints_one_line_and_aborts(capsys: Captured) -> None:
    with pytest.raises(typer.Abort):
        call(failing(KeyboardInterrupt()))
    assert capsys.readouterr() == ("", "skiptool some thing: interrupted\n")


def outcome(progress: Progress) -> Outcome:
    progress.warn("careful [bold]now[/bold]")
    with progress.task("work", 2) as task:
        task.advance(note="a")
        task.advance()
    table = Table("Scores", {"model": ["L0"], "IoU": [0.5]})
    summary = {"n": 3, "mean": 0.123456, "each": {"A": 1}, "all": [1, 2]}
    return Outcome((Path("o"),), (Path("side [1].png"),), summary, tables=(table,))


def test_messages_go_to_stderr_and_results_to_stdout(capsys: Captured) -> None:
    assert call(outcome) == 0
    found = capsys.readouterr()
    assert found.out == "o\n"
    lines = found.err.splitlines()
    assert lines[0] == "skiptool: warning: careful [bold]now[/bold]"
    assert "wrote side [1].png" in lines
    assert {"n: 3", "mean: 0.1235", "each: A 1", "all: 1, 2"} <= set(lines)
    assert "Scores" in found.err


def test_quiet_prints_only_errors(capsys: Captured) -> None:
    assert call(outcome, "--quiet") == 0
    assert capsys.readouterr() == ("o\n", "")
    assert call(failing(SourceError("gone")), "-q") == 1
    assert capsys.readouterr() == ("", "skiptool some thing: gone\n")


def test_failures_are_listed_even_when_quiet(capsys: Captured) -> None:
    long = "x" * 300 + "\nsecond"

    def step(_progress: Progress) -> Outcome:
        return Outcome((Path("o"),), failures=("a.png: cut off", long))

    assert call(step, "--quiet") == 3
    found = capsys.readouterr()
    assert found.out == "o\n"
    expected = ["skiptool: failed: a.png: cut off", f"skiptool: failed: {'x' * 300} second"]
    assert found.err.splitlines() == expected


def test_overwrite_and_resume_exclude_each_other(run: Callable[..., Any]) -> None:
    found = run("train", "gone.zarr", "--overwrite", "--resume")
    assert found.code == 2
    assert "give only one of them" in found.line()


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash with ``skiptool`` on the path."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


MANY = "skiptool hellinger {plain} {dark} --per-channel --quiet"


@pytest.mark.long
@pytest.mark.parametrize(
    ("line", "codes"),
    [
        (f"{MANY} | head -1; echo ${{{{PIPESTATUS[@]}}}}", "0 0"),  # reader gone: quiet
        ("skiptool info {data} >&-; echo $?", "0"),  # started without stdout
        ("skiptool info {data} 2>&- >/dev/null; echo $?", "0"),
        ("skiptool info {data} gone 2> >(true) >/dev/null; echo $?", "3"),
        ("skiptool info {data} >/dev/full; echo $?", "1"),
    ],
    ids=["reader gone", "no stdout", "no stderr", "stderr gone", "disk full"],
)
def test_broken_streams_are_handled(
    line: str, codes: str, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    found = shell(line.format(**vars(experiment)), tmp_path)
    assert found.stdout.splitlines()[-1] == codes
    assert "Traceback" not in found.stderr
    assert "Exception" not in found.stderr
    expected = ["skiptool info: No space left on device"] if codes == "1" else []
    assert found.stderr.splitlines() == expected


def test_sigterm_raises_terminated() -> None:
    with pytest.raises(Terminated), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_other_signal_handlers_are_kept() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
@pytest.mark.parametrize("error", [ValueError("Invalid bounding box"), SystemExit(1)])
def test_interrupts_turned_into_other_errors_stay_interrupts(
    number: signal.Signals, kind: type[KeyboardInterrupt], error: BaseException
) -> None:
    def library() -> NoReturn:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise error from None
        raise AssertionError

    with pytest.raises(KeyboardInterrupt) as found, terminable():
        library()
    assert found.type is kind
    with pytest.raises(type(error)), terminable():
        raise error


def test_nothing_changes_in_other_threads() -> None:
    found: list[object] = []

    def work() -> None:
        with terminable():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_terminated_is_a_keyboard_interrupt() -> None:
    def interrupted() -> NoReturn:
        raise Terminated

    with pytest.raises(KeyboardInterrupt):
        interrupted()
