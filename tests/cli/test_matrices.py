from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from skiptool.cli.matrices import matrices
from skiptool.records import Shade, Table

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
    for block in matrices(table, table.shade or SHADE, width, coloured):
        screen.print(block)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith("brightness ")]


def test_all_stands_side_by_side_where_there_is_room() -> None:
    text = shown(study(), 140)
    assert text.count("IoU") == 1
    assert rows(text)[0] == ["brightness", "0", *(f"{n / 20:.2f}" for n in range(5))] + [
        f"{n / 20:.2f}" for n in range(5)
    ]
    heads = text.splitlines()[1:3]
    assert heads[0].split() == ["resnet18"] * 5 + ["resnet34"] * 5
    assert heads[1].split() == ["shift", *PRUNINGS, *PRUNINGS]


def test_a_paper_s_matrix_takes_80_columns_an_encoder() -> None:
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


def test_longer_groups_are_told_from_shorter_ones() -> None:
    text = shown(study(("resnet18", "linknet resnet18", "linknet")), 80)
    titles = [line for line in text.splitlines() if "IoU" in line]
    assert titles == ["IoU, resnet18", "IoU, linknet resnet18", "IoU, linknet"]


@pytest.mark.long
@given(width=st.integers(30, 200), groups=st.integers(0, 4))
def test_no_number_is_folded_lost_or_doubled(width: int, groups: int) -> None:
    columns = dict(study([f"encoder{number}" for number in range(groups)]).columns)
    columns["shift"] = [f"a name of {number}" for number in range(15)]
    text = shown(Table("IoU", columns, shade=SHADE), width)
    assert all(len(line) <= width for line in text.splitlines())
    found = sorted(word for word in text.split() if re.fullmatch(r"\d\.\d\d", word))
    expected = [f"{v:.2f}" for cells in [*columns.values()][1:] for v in cells]
    assert found == sorted(expected)


def test_digits_signs_and_what_is_not_there() -> None:
    values = [0.12345, -0.0001, float("nan"), None, -0.2, float("inf")]
    table = Table("d", {"x": list("abcdef"), "y": values})
    for shade, expected in (
        (Shade(-1.0, 1.0, diverging=True), ["+0.12", "+0.00", "–", "–", "-0.20", "+inf"]),
        (Shade(0.0, 1.0, digits=3), ["0.123", "0.000", "–", "–", "-0.200", "inf"]),
    ):
        text = shown(Table(table.title, table.columns, shade=shade), 80)
        assert [line.split()[1] for line in text.splitlines()[3:9]] == expected


def test_rows_may_have_two_labels_of_which_shared_ones_are_written_once() -> None:
    columns = {
        "network": ["a", "a", "a network of many words", "a network of many words"],
        **{"shift": ["original", "dark"] * 2, "enc1": [0.1, 0.2, 0.3, 0.4]},
    }
    lines = shown(Table("t", columns, shade=SHADE), 34).splitlines()
    assert [line.split() for line in lines[1:-1] if "─" not in line] == [
        ["network", "shift", "enc1"],
        *(["a", "original", "0.10"], ["dark", "0.20"]),
        *(["a", "network", "original", "0.30"], ["of", "many"], ["words"], ["dark", "0.40"]),
    ]


def test_no_title_of_a_column_hangs_above_its_place() -> None:
    table = Table("t", {"x": ["r"], "one two": [0.1], "three": [0.2]}, shade=SHADE)
    assert [line.split() for line in shown(table, 80).splitlines()[1:3]] == [
        ["one"],
        ["x", "two", "three"],
    ]


@pytest.mark.parametrize("system", ["256", "truecolor"])
def test_shading_changes_nothing_but_colours(system: str) -> None:
    shaded, plain = shown(study(), 80, True, system), shown(study(), 80)
    assert "\x1b[" not in plain
    assert CODES.sub("", shaded) == plain
    assert shaded.count("48;") == 150


@pytest.mark.parametrize("name", ["n" * 200, "[bold]x[/bold]", "a\x1b[2Jb\nc\td", "名前" * 40, ""])
def test_odd_names_are_spelled_out_within_the_terminal(name: str) -> None:
    table = Table(name, {name: [name, "b"], f"{name} y": [0.5, None]}, shade=SHADE, groups=(name,))
    text = shown(table, 60)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    assert "0.50" in text
    assert "\\x1b[2Jb" in text or "\x1b" not in name
    assert "[bold]" in text or "[bold]" not in name


def test_a_matrix_without_rows_or_numbers_is_its_header() -> None:
    assert "shift" in shown(Table("t", {"shift": [], "a": []}, shade=SHADE), 80)
    assert "shift" in shown(Table("t", {"shift": ["x"]}, shade=SHADE), 80)
