"""Tables as they should not be: drawn, or refused in one line; whatever names say is text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import pytest

from skiptool.cli import main
from skiptool.names import Kind
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.tables import SCHEMAS, write_table

Row = Mapping[str, Any]

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"><img src=x onerror=alert('2')>",
    "closing": "</title></svg></table></details></style><h1>y",
    "entity": "&lt;b&gt; &amp;#60; ]]> <!-- -->",
    "template": "{{ 7 * 7 }} {% raw %}",
    "long": "slide_" + "x" * 194,
    "direction": "a\u202egnp.exe\u2066b\u200fc",
    "terminal": "a\x1b[2Jb\x1b]0;title\x07\x9b31m",
    "lines": "a\nb\r\nc\td\x0be\u2028f\x00g",
    "wide": "細胞核" * 12,
    "maths": "$\\frac{1}{0}$ %s {0} \\n",
    "blank": " ",
    "empty": "",
    "formula": "=1+1|' /C calc'!A0",
}
HATCHED = {"use", "defs", "pattern"}
"""What a figure needs for cells without a value."""

VOID = {"meta", "link", "br", "hr", "img", "input"}
PLAIN = "a"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a call left behind."""

    code: int
    out: str
    err: str


class Reader(HTMLParser):
    """Collects what a page is made of: elements outside of figures, and every attribute."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.inside: list[str] = []
        self.outline: list[str] = []
        self.known: set[tuple[str, str]] = set()
        self.links: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "svg" not in self.inside:
            self.outline.append(tag)
        self.known |= {(tag, name) for name, _ in attrs} | {(tag, "")}
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.known |= {(tag, name) for name, _ in attrs} | {(tag, "")}
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] not in ("script", "style"):
            self.text.append(data)


def predicted(name: str, **new: object) -> list[Row]:
    """Rows of a prediction table: two models, two shifts, two samples, all called ``name``."""
    rows = []
    dark = ("brightness", 0.5)
    shifts = (("original", None, None), (*dark, None), (*dark, name), (*dark, f"1+{name}"))
    for fold, (shift, factor, clean), sample in product((0, 1), shifts, "st"):
        for place, (truth, other) in enumerate(product(("background", f"class {name}"), repeat=2)):
            row: dict[str, Any] = {
                **dict.fromkeys(("model", "dataset", "domain", "arch", "encoder", "pruning"), name),
                "model_id": f"m{fold}",
                "fold": fold,
                "parameter_count": 7,
                "split": "test",
                "dataset_id": "d",
                "shift": shift,
                "factor": factor,
                "truth": truth,
                "clean_skips": clean,
                "sample": name + sample,
                "subject": name + sample,
                "predicted": other,
                "pixels": (90, 1, 2, 10)[place] + fold,
            }
            rows.append(row | new)
    return rows


def compared(name: str, **new: object) -> list[Row]:
    """Rows of a shift table: two layers of two channels, all called ``name``."""
    return [
        {
            **dict.fromkeys(("model", "dataset", "arch", "encoder", "pruning", "unit"), name),
            **dict.fromkeys(("reference", "other", "domain", "reference_domain"), name),
            "reference_id": "r",
            "other_id": "o",
            "model_id": "m0",
            "fold": 0,
            "reference_shift": "original",
            "shift": "brightness",
            "factor": 0.5,
            "layer": layer,
            "layer_index": index,
            "channel": channel,
            "value": value,
            "metric": "hellinger",
            "bins": 100,
            "range_rule": "minmax",
            "n_reference": 3,
            "n_other": 3,
            "parameter_count": 7,
            "skiptool_version": name,
            **new,
        }
        for index, layer in ((1, "enc1"), (11, "head"))
        for channel, value in ((None, 0.3), (0, 0.2), (1, 0.4))
    ]


def saved(path: Path, kind: Kind, rows: Sequence[Row]) -> Path:
    header = create_lineage(kind, Invocation("predict", (path,), {}, {}), [path.name, len(rows)])
    columns = {name: [row.get(name) for row in rows] for name in SCHEMAS[kind]}
    write_table(path, header, columns, len(rows))
    return path


def both(folder: Path, name: str, **new: object) -> list[Path]:
    """Save a prediction table and a shift table."""
    columns = {key: value for key, value in new.items() if key in SCHEMAS[Kind.SHIFT]}
    return [
        saved(folder / "p.parquet", Kind.PREDICTIONS, predicted(name, **new)),
        saved(folder / "s.parquet", Kind.SHIFT, compared(name, **columns)),
    ]


def report(capsys: pytest.CaptureFixture[str], *words: object) -> Ran:
    capsys.readouterr()
    code = main(["report", *map(str, words)])
    return Ran(code, *capsys.readouterr())


def refused(found: Ran) -> bool:
    """Say whether it was refused, and check that this took one line of printable text."""
    if found.code == 0:
        return False
    assert found.out == ""
    assert found.err.count("\n") == 1, found.err
    assert found.err.rstrip("\n").isprintable(), found.err
    assert "unexpected" not in found.err, found.err
    return True


def constant(word: str) -> NoReturn:
    pytest.fail(f"JSON holds {word}")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Return the page of the same tables with names that do no harm."""
    folder = tmp_path_factory.mktemp("plain")
    assert main(["report", *map(str, both(folder, PLAIN)), "-o", str(folder / "r.html"), "-q"]) == 0
    return Reader((folder / "r.html").read_text())


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_are_escaped_in_the_page(
    name: str, plain: Reader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.html"
    found = report(capsys, *both(tmp_path, name), "-o", out, "--title", f"t {name}")
    if refused(found):
        return
    reader = Reader(out.read_text("utf-8"))
    if name:  # a fact without a name is left out
        assert reader.outline == plain.outline
    assert reader.known - plain.known <= {("td", "class"), ("text", "transform")}
    assert all(link.startswith("#") or link == "data:," for link in reader.links)
    shown = "".join(reader.text)
    assert not [c for c in shown if not c.isprintable() and c not in "\n\u200f\u2028\x0b\t"]
    if name in (HOSTILE["script"], HOSTILE["attribute"], HOSTILE["entity"], HOSTILE["template"]):
        assert name in shown


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_are_escaped_in_printed_tables(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = both(tmp_path, name)
    found = report(capsys, *tables)
    if refused(found):
        return
    assert all(c.isprintable() or c in "\t\n" for c in found.out)
    assert found.out.strip()
    for block in found.out.rstrip("\n").split("\n\n"):
        assert len({line.count("\t") for line in block.split("\n")}) == 1, block
    whole = json.loads(report(capsys, *tables, "--json").out, parse_constant=constant)
    assert len(whole["tables"]) == found.out.count("\n\n") + 1


ODD: dict[str, dict[str, object]] = {
    "without folds": {"fold": None},
    "without original": {"shift": "contrast", "factor": 0.5},
    "one model": {"model_id": "m", "fold": 0},
    "one subject": {"subject": "s", "sample": "s"},
    "without counts of parameters": {"parameter_count": None},
    "without names": dict.fromkeys(("model", "dataset", "domain", "subject"), PLAIN),
    "clean skips alone": {"clean_skips": "l1"},
    "no pixel": {"pixels": 0},
    "a shift nobody knows": {"shift": "rotation"},
    "an empty shift": {"shift": ""},
    "not finite": {"value": math.inf},
    "not a number": {"value": math.nan},
    "without bins": {"bins": None, "range_rule": None},
    "a metric nobody knows": {"metric": "<b>"},
    "a layer nobody knows": {"layer": "<b>"},
}


@pytest.mark.long
@pytest.mark.parametrize("new", ODD.values(), ids=ODD)
def test_unusual_tables_are_drawn_or_refused(
    new: dict[str, object], plain: Reader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {key: value for key, value in new.items() if key in SCHEMAS[Kind.PREDICTIONS]}
    shift = {key: value for key, value in new.items() if key in SCHEMAS[Kind.SHIFT]}
    tables = [
        saved(tmp_path / "p.parquet", Kind.PREDICTIONS, predicted(PLAIN, **columns)),
        saved(tmp_path / "s.parquet", Kind.SHIFT, compared(PLAIN, **shift)),
    ]
    out = tmp_path / "r.html"
    if not refused(report(capsys, *tables, "-o", out)):
        reader = Reader(out.read_text("utf-8"))
        assert {tag for tag, _ in reader.known} <= {tag for tag, _ in plain.known} | HATCHED
        assert "nan" not in "".join(reader.text).lower().split()
    found = report(capsys, *tables, "--json")
    if not refused(found):
        json.loads(found.out, parse_constant=constant)
    refused(report(capsys, *tables))


def test_features_of_an_unknown_model_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stores of other programs say nothing of a model, nor of a shift."""
    told = ("model", "model_id", "arch", "encoder", "pruning", "fold", "dataset", "domain")
    rows = compared(PLAIN, **dict.fromkeys((*told, "reference_domain", "shift", "factor")))
    table = saved(tmp_path / "s.parquet", Kind.SHIFT, rows)
    found = report(capsys, table, "-o", tmp_path / "r.html")
    assert found.code == 0
    assert "None" not in "".join(Reader((tmp_path / "r.html").read_text()).text)
    assert "None" not in report(capsys, table).out


@pytest.mark.long
def test_absent_class_has_no_iou(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in the truth nor predicted: NaN, an empty cell, null in JSON, a dash in the page."""
    rows = [dict(row) for row in predicted(PLAIN)]
    for row in rows:
        if "class" in row["truth"] or "class" in row["predicted"]:
            row["pixels"] = 0
    table = saved(tmp_path / "p.parquet", Kind.PREDICTIONS, rows)
    first = report(capsys, table).out.split("\n\n")[0].rstrip("\n").split("\n")
    assert [line.split("\t")[-1] for line in first[1:]] == ["", ""]
    whole = json.loads(report(capsys, table, "--json").out, parse_constant=constant)
    assert [*whole["tables"][0]["columns"].values()][-1] == [None, None]
    assert report(capsys, table, "-o", tmp_path / "r.html").code == 0
    reader = Reader((tmp_path / "r.html").read_text())
    assert "–" in reader.text


@pytest.mark.parametrize("kind", [Kind.PREDICTIONS, Kind.SHIFT, Kind.HISTORY, Kind.REGISTRATION])
def test_tables_without_rows(
    kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = saved(tmp_path / "t.parquet", kind, [])
    refused(report(capsys, table))
    if not refused(report(capsys, table, "-o", tmp_path / "r.html")):
        Reader((tmp_path / "r.html").read_text())


@pytest.mark.long
def test_file_names_and_titles_are_escaped(
    plain: Reader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["<img src=x onerror=alert(1)>", "\"'><script>alert(1)<", "a\x1b[2J\nb\u202ec"]
    kinds = [Kind.PREDICTIONS, Kind.SHIFT]
    tables = [
        saved(tmp_path / f"{name}.parquet", kind, rows)
        for name, kind, rows in zip(names, kinds, (predicted(PLAIN), compared(PLAIN)), strict=False)
    ]
    out = tmp_path / f"{names[2]}.html"
    found = report(capsys, *tables, "-o", out, "--title", "".join(names))
    assert found.code == 0
    assert all(c.isprintable() or c == "\n" for c in found.err)
    reader = Reader(out.read_text("utf-8"))
    assert reader.outline == plain.outline
    assert reader.known == plain.known
    assert names[0] in "".join(reader.text)
