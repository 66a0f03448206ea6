"""Tests of ``output``."""

from __future__ import annotations

import errno
import io
import json
import math
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color, ColorSystem
from rich.color_triplet import ColorTriplet
from rich.console import Console

from skiptool.cli import output as module
from skiptool.cli.output import (
    Terminal,
    as_given,
    cell_style,
    error_text,
    escape_controls,
    matrix_blocks,
    print_error,
    print_result,
    rich_table,
)
from skiptool.cli.output import Terminal as Progress
from skiptool.errors import LeftoverError, OutOfMemoryError, SourceError, WorkerError
from skiptool.records import Outcome, Shade, Table, luminance


class TerminalResults(io.StringIO):
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
def test_paths_are_printed_as_typed(path: str, out: str | None, expected: str) -> None:
    assert as_given(Path(path), out) == expected


def test_paths_are_printed_one_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome((Path("r/a"), Path("r/b")), (Path("side"),), {"n": 3}, tables=(TABLE,))
    print_result("train", outcome, "./r", as_json=False, seconds=1.0)
    assert capsys.readouterr() == ("./r/a\n./r/b\n", "")


def test_text_is_printed_verbatim(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("info", Outcome(text="a\n  b: 1"), None, as_json=False, seconds=1.0)
    assert capsys.readouterr().out == "a\n  b: 1\n"


def test_outcome_without_outputs_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("train", Outcome(summary={"models": 2}), "runs", as_json=False, seconds=1.0)
    assert capsys.readouterr().out == ""


def test_tsv_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("hellinger", Outcome(tables=(TABLE,)), None, as_json=False, seconds=1.0)
    assert capsys.readouterr().out == "layer\tvalue\nenc1\t0.123456789012345\n\t\n"


def test_several_tables_have_a_title_column(capsys: pytest.CaptureFixture[str]) -> None:
    other = Table("B", {"x": [1]})
    print_result("report", Outcome(tables=(TABLE, other)), None, as_json=False, seconds=1.0)
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.splitlines()[:2] == ["table\tlayer\tvalue", "A title\tenc1\t0.123456789012345"]
    assert second == "table\tx\nB\t1\n"


def test_cells_are_escaped_in_tsv(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("", {"a\tb": ["c\nd\te\x1b[2J"]})
    print_result("report", Outcome(tables=(table,)), None, as_json=False, seconds=1.0)
    assert capsys.readouterr().out == "a\\tb\nc\\nd\\te\\x1b[2J\n"


def test_table_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = TerminalResults()
    monkeypatch.setattr(sys, "stdout", screen)
    table = Table("[bold]A title", {"value": [0.123456789, None], "n": [3, 4]})
    print_result("hellinger", Outcome(tables=(table,)), None, as_json=False, seconds=1.0)
    shown = screen.getvalue()
    assert "[bold]A title" in shown  # names are no markup
    assert "0.1235" in shown
    assert "\t" not in shown


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome(
        (Path("r/a"),),
        (Path("side.png"),),
        {"mean": float("nan"), "each": {"A": (1, float("inf"))}},
        ("b.png: cut off",),
        (TABLE,),
    )
    print_result("extract images", outcome, "./r", as_json=True, seconds=1.23456)
    found = json.loads(capsys.readouterr().out)
    assert found.pop("version") == version("skiptool")
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


def test_repeated_names_are_blank_and_long_ones_folded() -> None:
    name = "a-rather-long-name-of-a-feature-store.zarr"
    table = Table("t", {"other": [name, name, "b"], "layer": ["enc1", "enc2", "enc1"]})
    terminal = Console(width=30, record=True, file=io.StringIO())
    terminal.print(rich_table(table))
    lines = [
        line.split("│")[1].strip() for line in terminal.export_text().splitlines() if "│" in line
    ]
    assert "".join(lines) == f"{name}b"
    assert lines[-2:] == ["", "b"]


WIDE = Table(
    "t",
    {
        "metric": ["hellinger"] * 2,
        "other": ["b.zarr", "c.zarr"],
        "value": [0.5, None],
        "null_mean": [0.1, 0.2],
        "p_value": [None, None],
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
def test_narrow_terminal_omits_spare_columns(width: int | None, expected: list[str]) -> None:
    found = rich_table(WIDE, width)
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
def test_escape_codes_follow_the_terminal(
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
    screen = TerminalResults()
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


def test_piped_matrix_is_tsv(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("report", Outcome(tables=(MATRIX,)), None, as_json=False, seconds=1.0)
    assert capsys.readouterr().out == "shift\ta\noriginal\t0.5\n"


def test_text_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("info", Outcome(text="a\x1b[2J\nb\u202e"), None, False, 0.0)
    assert capsys.readouterr().out == "a\\x1b[2J\nb\\u202e\n"


PRUNINGS = ("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned")
LABELS = [f"brightness {number / 4:g}" for number in range(15)]
CODES = re.compile(r"\x1b\[[0-9;]*m")
SHADE = Shade(0.0, 1.0)


def study(groups: Sequence[str] = ("resnet18", "resnet34"), **new: object) -> Table:
    values = {
        f"{group} {pruning}": [(place + number) / 20 for number in range(15)]
        for group in groups
        for place, pruning in enumerate(PRUNINGS)
    }
    facts = {"shade": SHADE, "groups": tuple(groups), **new}
    return Table("IoU", {"shift": LABELS, **values}, **facts)  # type: ignore[arg-type]


def shown(table: Table, width: int, coloured: bool = False, system: str | None = None) -> str:
    screen = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=system)  # type: ignore[arg-type]
    for block in matrix_blocks(table, table.shade or SHADE, width, coloured):
        screen.print(block)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith("brightness ")]


def test_matrix_is_one_block_if_it_fits() -> None:
    text = shown(study(), 140)
    assert text.count("IoU") == 1
    assert rows(text)[0] == ["brightness", "0", *(f"{n / 20:.2f}" for n in range(5))] + [
        f"{n / 20:.2f}" for n in range(5)
    ]
    heads = text.splitlines()[1:3]
    assert heads[0].split() == ["resnet18"] * 5 + ["resnet34"] * 5
    assert heads[1].split() == ["shift", *PRUNINGS, *PRUNINGS]


def test_matrix_is_divided_by_encoder_at_80_columns() -> None:
    text = shown(study(), 80)
    assert [line for line in text.splitlines() if "IoU" in line] == [
        "IoU, resnet18",
        "IoU, resnet34",
    ]
    assert text.count("resnet18") == text.count("resnet34") == 1
    assert max(map(len, text.splitlines())) <= 80
    assert [row[:3] for row in rows(text)[::15]] == [["brightness", "0", "0.00"]] * 2
    assert len(rows(text)) == 30
    assert all(len(row) == 7 for row in rows(text))


def test_longest_group_name_wins() -> None:
    text = shown(study(("resnet18", "linknet resnet18", "linknet")), 80)
    titles = [line for line in text.splitlines() if "IoU" in line]
    assert titles == ["IoU, resnet18", "IoU, linknet resnet18", "IoU, linknet"]


@pytest.mark.long
@given(width=st.integers(30, 200), groups=st.integers(0, 4))
def test_every_number_is_printed_once(width: int, groups: int) -> None:
    columns = dict(study([f"encoder{number}" for number in range(groups)]).columns)
    columns["shift"] = [f"a name of {number}" for number in range(15)]
    text = shown(Table("IoU", columns, shade=SHADE), width)
    assert all(len(line) <= width for line in text.splitlines())
    found = sorted(word for word in text.split() if re.fullmatch(r"\d\.\d\d", word))
    expected = [f"{v:.2f}" for cells in [*columns.values()][1:] for v in cells]
    assert found == sorted(expected)


def test_digits_signs_and_missing_numbers() -> None:
    values = [0.12345, -0.0001, float("nan"), None, -0.2, float("inf")]
    table = Table("d", {"x": list("abcdef"), "y": values})
    for shade, expected in (
        (Shade(-1.0, 1.0, diverging=True), ["+0.12", "+0.00", "–", "–", "-0.20", "+inf"]),
        (Shade(0.0, 1.0, digits=3), ["0.123", "0.000", "–", "–", "-0.200", "inf"]),
    ):
        text = shown(Table(table.title, table.columns, shade=shade), 80)
        assert [line.split()[1] for line in text.splitlines()[3:9]] == expected


def test_repeated_first_labels_are_blank() -> None:
    columns = {
        "network": ["a", "a", "a network of many words", "a network of many words"],
        "shift": ["original", "dark"] * 2,
        "enc1": [0.1, 0.2, 0.3, 0.4],
    }
    lines = shown(Table("t", columns, shade=SHADE), 34).splitlines()
    assert [line.split() for line in lines[1:-1] if "─" not in line] == [
        ["network", "shift", "enc1"],
        ["a", "original", "0.10"],
        ["dark", "0.20"],
        ["a", "network", "original", "0.30"],
        ["of", "many"],
        ["words"],
        ["dark", "0.40"],
    ]


def test_headers_are_aligned_at_the_bottom() -> None:
    table = Table("t", {"x": ["r"], "one two": [0.1], "three": [0.2]}, shade=SHADE)
    assert [line.split() for line in shown(table, 80).splitlines()[1:3]] == [
        ["one"],
        ["x", "two", "three"],
    ]


@pytest.mark.parametrize("system", ["256", "truecolor"])
def test_shading_only_adds_colours(system: str) -> None:
    shaded, plain = shown(study(), 80, True, system), shown(study(), 80)
    assert "\x1b[" not in plain
    assert CODES.sub("", shaded) == plain
    assert shaded.count("48;") == 150


@pytest.mark.parametrize("name", ["n" * 200, "[bold]x[/bold]", "a\x1b[2Jb\nc\td", "名前" * 40, ""])
def test_unusual_names_are_escaped_and_fit(name: str) -> None:
    table = Table(name, {name: [name, "b"], f"{name} y": [0.5, None]}, shade=SHADE, groups=(name,))
    text = shown(table, 60)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    assert "0.50" in text
    assert "\\x1b[2Jb" in text or "\x1b" not in name
    assert "[bold]" in text or "[bold]" not in name


def test_matrix_without_rows_or_numbers() -> None:
    assert "shift" in shown(Table("t", {"shift": [], "a": []}, shade=SHADE), 80)
    assert "shift" in shown(Table("t", {"shift": ["x"]}, shade=SHADE), 80)


WHOLE, EITHER = Shade(0.0, 1.0), Shade(-0.5, 0.5, diverging=True)


def rgb(colour: Color | None) -> ColorTriplet:
    assert colour is not None
    assert colour.triplet is not None
    return colour.triplet


@pytest.mark.parametrize("shade", [WHOLE, EITHER])
@pytest.mark.parametrize("system", [ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT])
@given(share=st.floats(0.0, 1.0))
def test_text_is_legible_on_every_background(
    shade: Shade, system: ColorSystem, share: float
) -> None:
    """Also where a terminal has 256 colours, of which rich takes the nearest."""
    style = cell_style(shade.low + share * (shade.high - shade.low), shade)
    assert style.bgcolor is not None
    behind, letters = style.bgcolor.downgrade(system).get_truecolor(), rgb(style.color)
    dark, light = sorted(luminance(*colour.normalized) for colour in (behind, letters))
    assert (light + 0.05) / (dark + 0.05) >= (4.5 if system is ColorSystem.TRUECOLOR else 3.6)


def test_ends_and_middle_of_the_colour_scales() -> None:
    found = [rgb(cell_style(value, WHOLE).bgcolor).hex for value in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    assert found == ["#440154", "#440154", "#21918c", "#fde725", "#fde725"]
    found = [rgb(cell_style(value, EITHER).bgcolor).hex for value in (-0.5, 0.0, 0.5)]
    assert found == ["#67001f", "#f7f7f7", "#053061"]


@given(low=st.floats(0.0, 1.0), high=st.floats(0.0, 1.0))
def test_sequential_scale_gets_lighter(low: float, high: float) -> None:
    dark, light = (
        luminance(*rgb(cell_style(v, WHOLE).bgcolor).normalized) for v in sorted((low, high))
    )
    assert light >= dark - 0.003  # colours are whole numbers


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_have_no_colour(value: float) -> None:
    assert not cell_style(value, WHOLE)


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
            "out of memory (size unknown); take fewer or smaller inputs at once; give --resume",
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
def test_error_lines(error: Exception, line: str) -> None:
    assert error_text(error, GOES_ON) == line


def test_deleted_working_directory_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    line = error_text(FileNotFoundError(errno.ENOENT, "x"))
    assert line == "the current working directory no longer exists; change to another one"


def test_commands_without_resume_do_not_suggest_it() -> None:
    assert (
        error_text(LeftoverError("x: is left; give --overwrite")) == "x: is left; give --overwrite"
    )


def test_control_characters_are_escaped() -> None:
    assert escape_controls("ä b\x1b]0;\x07\u202e") == "ä b\\x1b]0;\\x07\\u202e"


Captured = pytest.CaptureFixture[str]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_lines_are_not_broken(capsys: Captured) -> None:
    Terminal(quiet=False).warn("word " * 100)
    assert capsys.readouterr().err.count("\n") == 1


def test_progress_is_logged_at_intervals(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_progress_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_error_without_a_command(capsys: Captured) -> None:
    print_error("", "a : b")
    assert capsys.readouterr().err == "skiptool: a : b\n"


def test_nested_tasks_share_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_time_left_ignores_resumed_work(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Terminal(quiet=False).task("train", 100) as task:
        task.advance(70)
        now[0] += 30
        task.advance(10)
    assert capsys.readouterr().err == "train: 80 of 100, about 0:01:00 left\n"
