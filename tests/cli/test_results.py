from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from skiptool.cli.results import as_given, grid, print_result
from skiptool.cli.terminal import Terminal as Progress
from skiptool.records import Outcome, Shade, Table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


TABLE = Table("A title", {"layer": ["enc1", None], "value": [0.123456789012345, float("nan")]})


@pytest.mark.parametrize(
    ("path", "out", "expected"),
    [
        ("s.zarr", "s.zarr", "s.zarr"),
        ("s.zarr", "./s.zarr", "./s.zarr"),
        ("s.zarr", "s.zarr/", "s.zarr/"),
        ("a/b.zarr", "a//b.zarr", "a//b.zarr"),
        ("runs/r/fold0", "runs", "runs/r/fold0"),
        ("runs/r/fold0", "runs/", "runs/r/fold0"),
        ("runs/r/fold0", "././runs", "././runs/r/fold0"),
        ("r/fold0", ".", "./r/fold0"),
        ("/r/fold0", "/", "/r/fold0"),
        ("with space/x", "with space", "with space/x"),
        ("elsewhere/x", "runs", "elsewhere/x"),
        ("x", None, "x"),
    ],
)
def test_paths_are_spelled_as_given(path: str, out: str | None, expected: str) -> None:
    assert as_given(Path(path), out) == expected


def test_paths_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome((Path("r/a"), Path("r/b")), (Path("side"),), {"n": 3}, tables=(TABLE,))
    print_result("train", outcome, "./r", as_json=False, seconds=1.0)
    assert capsys.readouterr() == ("./r/a\n./r/b\n", "")


def test_text_stands_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("info", Outcome(text="a\n  b: 1"), None, as_json=False, seconds=1.0)
    assert capsys.readouterr().out == "a\n  b: 1\n"


def test_nothing_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("train", Outcome(summary={"models": 2}), "runs", as_json=False, seconds=1.0)
    assert capsys.readouterr().out == ""


def test_tsv_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("hellinger", Outcome(tables=(TABLE,)), None, as_json=False, seconds=1.0)
    assert capsys.readouterr().out == "layer\tvalue\nenc1\t0.123456789012345\n\t\n"


def test_several_tables_say_which_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    other = Table("B", {"x": [1]})
    print_result("report", Outcome(tables=(TABLE, other)), None, as_json=False, seconds=1.0)
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.splitlines()[:2] == ["table\tlayer\tvalue", "A title\tenc1\t0.123456789012345"]
    assert second == "table\tx\nB\t1\n"


def test_cells_cannot_break_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("", {"a\tb": ["c\nd\te\x1b[2J"]})
    print_result("report", Outcome(tables=(table,)), None, as_json=False, seconds=1.0)
    assert capsys.readouterr().out == "a\\tb\nc\\nd\\te\\x1b[2J\n"


def test_terminal_gets_a_drawn_table(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    table = Table("[bold]A title", {"value": [0.123456789, None], "n": [3, 4]})
    print_result("hellinger", Outcome(tables=(table,)), None, as_json=False, seconds=1.0)
    shown = screen.getvalue()
    assert "[bold]A title" in shown  # names are no markup
    assert "0.1235" in shown
    assert "\t" not in shown


def test_json_is_one_object_with_all_keys(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome(
        (Path("r/a"),),
        (Path("side.png"),),
        {"mean": float("nan"), "each": {"A": (1, float("inf"))}},
        ("b.png: cut off",),
        (TABLE,),
    )
    print_result("extract images", outcome, "./r", as_json=True, seconds=1.23456)
    found = json.loads(capsys.readouterr().out)
    assert found.pop("version") == "0.1.0"
    assert found == {
        "command": "extract images",
        "outputs": ["./r/a"],
        "side_outputs": ["side.png"],
        "summary": {"mean": None, "each": {"A": [1, None]}},
        "failures": ["b.png: cut off"],
        "tables": [
            {
                "title": "A title",
                "columns": {"layer": ["enc1", None], "value": [0.123456789012345, None]},
            }
        ],
        "seconds": 1.235,
    }


def test_names_are_written_once_and_never_cut_off() -> None:
    name = "a-rather-long-name-of-a-feature-store.zarr"
    table = Table("t", {"other": [name, name, "b"], "layer": ["enc1", "enc2", "enc1"]})
    terminal = Console(width=30, record=True, file=io.StringIO())
    terminal.print(grid(table))
    lines = [
        line.split("│")[1].strip() for line in terminal.export_text().splitlines() if "│" in line
    ]
    assert "".join(lines) == f"{name}b"
    assert lines[-2:] == ["", "b"]


WIDE = Table(
    "t",
    {
        **{"metric": ["hellinger"] * 2, "other": ["b.zarr", "c.zarr"], "value": [0.5, None]},
        **{"null_mean": [0.1, 0.2], "p_value": [None, None]},
    },
    uniform=("metric", "other"),
    spare=("null_mean",),
)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (None, ["metric", "other", "value", "null_mean", "p_value"]),
        (43, ["metric", "other", "value", "null_mean"]),
        (42, ["other", "value", "null_mean"]),
        (31, ["other", "value", "null_mean"]),
        (30, ["other", "value"]),
        (5, ["other", "value"]),
    ],
)
def test_a_narrow_terminal_leaves_out_what_can_be_spared(
    width: int | None, expected: list[str]
) -> None:
    found = grid(WIDE, width)
    assert [column.header for column in found.columns] == expected
    terminal = Console(width=width or 80, record=True, file=io.StringIO())
    terminal.print(found)
    text = terminal.export_text()
    if width in (43, 31):
        assert all(len(line) <= width for line in text.splitlines())
        assert "c.zarr" in text


MATRIX = Table("IoU", {"shift": ["original"], "a": [0.5]}, shade=Shade(0.0, 1.0))


@pytest.mark.parametrize(
    ("environment", "escapes", "shaded"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, True, True),
        ({"TERM": "xterm"}, True, False),  # 16 colours are no scale
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
    ],
)
@pytest.mark.parametrize("table", [MATRIX, TABLE], ids=["matrix", "table"])
def test_escape_codes_only_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    escapes: bool,
    shaded: bool,
    table: Table,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    print_result("report", Outcome(tables=(table,)), None, as_json=False, seconds=1.0)
    text = screen.getvalue()
    assert ("\x1b" in text) == escapes
    assert ("48;" in text) == (shaded and table is MATRIX)
    assert ("0.50" if table is MATRIX else "0.1235") in text
    screen.truncate(0)
    monkeypatch.setattr(sys, "stderr", screen)
    Progress(quiet=False).show(Outcome((Path("page.html"),), tables=(table,)))
    assert ("\x1b" in screen.getvalue()) == escapes


def test_a_matrix_is_piped_like_any_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("report", Outcome(tables=(MATRIX,)), None, as_json=False, seconds=1.0)
    assert capsys.readouterr().out == "shift\ta\noriginal\t0.5\n"


def test_text_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("info", Outcome(text="a\x1b[2J\nb\u202e"), None, False, 0.0)
    assert capsys.readouterr().out == "a\\x1b[2J\nb\\u202e\n"
