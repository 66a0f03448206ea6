from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from skiptool.names import LAYERS, Kind
from skiptool.stores.tables import open_table

Run = Callable[..., Any]


def means(path: Path) -> list[float]:
    rows = pq.read_table(path).to_pylist()
    return [row["value"] for row in rows if row["channel"] is None]


def test_table_is_tsv_where_stdout_is_no_terminal(run: Run, experiment: SimpleNamespace) -> None:
    found = run("hellinger", experiment.plain, experiment.dark)
    assert found.code == 0
    header = ["other", "layer", "value", "value_live", "constant_channels", "channels"]
    assert found.lines[0].split("\t") == header
    rows = found.rows()
    assert tuple(row["layer"] for row in rows) == LAYERS
    assert [float(row["value"]) for row in rows] == means(experiment.shift)  # exact
    assert {row["other"] for row in rows} == {experiment.dark.name}
    assert "bins: 100" in found.err
    assert run("hellinger", experiment.plain, experiment.dark, "--quiet").err == ""


def test_out_is_printed_and_holds_every_channel(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "t.parquet"
    found = run("hellinger", experiment.plain, experiment.dark, "-o", out)
    assert (found.code, found.out) == (0, f"{out}\n")
    assert "Hellinger distance by layer, B = 100" in found.err
    assert pq.read_table(out).equals(pq.read_table(experiment.shift))
    assert run("hellinger", experiment.plain, experiment.dark, "-o", out).code == 4
    words = ("hellinger", experiment.plain, experiment.dark, "-o", out, "--bins", "5")
    assert run(*words, "--overwrite").code == 0
    assert set(pq.read_table(out)["bins"].to_pylist()) == {5}


def test_json_holds_the_table(run: Run, experiment: SimpleNamespace) -> None:
    found = run("hellinger", experiment.plain, experiment.dark, "--json").json
    assert found["outputs"] == []
    (table,) = found["tables"]
    assert table["columns"]["value"] == means(experiment.shift)
    assert found["summary"]["bins"] == 100


def test_per_channel(run: Run, experiment: SimpleNamespace) -> None:
    rows = run("hellinger", experiment.plain, experiment.dark, "--per-channel").rows()
    table = pq.read_table(experiment.shift)
    assert len(rows) == table.num_rows
    assert [float(row["value"]) for row in rows] == table["value"].to_pylist()
    channels = ["" if c is None else str(c) for c in table["channel"].to_pylist()]
    assert [row["channel"] for row in rows] == channels


def test_several_others_from_stdin(run: Run, experiment: SimpleNamespace) -> None:
    stdin = f"{experiment.plain}\n{experiment.dark}\n{experiment.plain}\n"
    rows = run("hellinger", "-", stdin=stdin).rows()
    assert [row["other"] for row in rows] == [experiment.dark.name] * 12 + [
        experiment.plain.name
    ] * 12
    assert {float(row["value"]) for row in rows[12:]} == {0.0}
    one = run("hellinger", "-", stdin=f"{experiment.plain}\n")
    assert (one.code, "one feature store" in one.line()) == (2, True)


def test_literal_eq5_differs(run: Run, experiment: SimpleNamespace) -> None:
    words = ("hellinger", experiment.plain, experiment.plain, "--literal-eq5")
    # Equal sets are apart by the share of the joint maximum, and dead channels are at 1.
    assert all(float(row["value"]) > 0 for row in run(*words).rows())


@pytest.mark.parametrize("more", [(), ("--bins", "7", "--literal-eq5")])
def test_command_of_a_table_makes_it_again(
    more: tuple[str, ...], run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    first = tmp_path / "a b.parquet"
    run("hellinger", experiment.plain, experiment.dark, *more, "-o", first)
    words = shlex.split(run("info", "--command", first).lines[0])[1:]
    words[words.index("--out") + 1] = str(tmp_path / "again.parquet")
    assert run(*words).code == 0
    tables = [open_table(tmp_path / name, Kind.SHIFT) for name in ("a b.parquet", "again.parquet")]
    assert tables[0].lineage.id == tables[1].lineage.id
    assert tables[0].data.equals(tables[1].data)
