from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool.names import LAYERS, Kind
from skiptool.stores.tables import open_table

Run = Callable[..., Any]


def means(path: Path) -> list[float]:
    rows = pq.read_table(path).to_pylist()
    return [row["value"] for row in rows if row["channel"] is None]


@pytest.mark.long
def test_table_is_tsv_unless_stdout_is_a_terminal(run: Run, experiment: SimpleNamespace) -> None:
    found = run("hellinger", experiment.plain, experiment.dark)
    assert found.code == 0
    header = [
        "reference",
        "other",
        "layer",
        "metric",
        "bins",
        "value",
        "corrected",
        "ci_low",
        "ci_high",
        "null_mean",
        "p_value",
        "p_adjusted",
        "input_value",
        "transmission",
        "transmission_low",
        "transmission_high",
        "value_live",
        "constant_channels",
    ]
    assert found.lines[0].split("\t") == header
    rows = found.rows()
    assert tuple(row["layer"] for row in rows) == LAYERS
    assert [float(row["value"]) for row in rows] == means(experiment.shift)  # exact
    assert {row["other"] for row in rows} == {experiment.dark.name}
    assert "bins: 100" in found.err
    assert run("hellinger", experiment.plain, experiment.dark, "--quiet").err == ""


@pytest.mark.long
def test_table_has_every_channel_and_its_path_is_printed(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "t.parquet"
    found = run("hellinger", experiment.plain, experiment.dark, "-o", out)
    assert (found.code, found.out) == (0, f"{out}\n")
    assert "Distance by layer (minmax, B = 100)" in found.err
    assert pq.read_table(out).equals(pq.read_table(experiment.shift))
    assert run("hellinger", experiment.plain, experiment.dark, "-o", out).code == 4
    words = ("hellinger", experiment.plain, experiment.dark, "-o", out, "--bins", "5")
    assert run(*words, "--overwrite").code == 0
    assert set(pq.read_table(out)["bins"].to_pylist()) == {5}


def test_json_has_the_table(run: Run, experiment: SimpleNamespace) -> None:
    found = run("hellinger", experiment.plain, experiment.dark, "--json").json
    assert found["outputs"] == []
    (table,) = found["tables"]
    assert table["columns"]["value"] == means(experiment.shift)
    assert found["summary"]["bins"] == [100]
    assert found["summary"]["paired"] == [True]


def test_per_channel_prints_every_channel(run: Run, experiment: SimpleNamespace) -> None:
    words = ("hellinger", experiment.plain, experiment.dark, "--per-channel")
    rows = run(*words).rows()
    (printed,) = json.loads(run(*words, "--json").out)["tables"]
    assert len(printed["columns"]["channel"]) == len(rows)
    table = pq.read_table(experiment.shift)
    assert len(rows) == table.num_rows
    for name in ("value", "corrected", "p_value"):
        found = [float(row[name]) if row[name] else None for row in rows]
        assert found == table[name].to_pylist()
    channels = ["" if c is None else str(c) for c in table["channel"].to_pylist()]
    assert [row["channel"] for row in rows] == channels


def test_several_stores_from_stdin(run: Run, experiment: SimpleNamespace) -> None:
    stdin = f"{experiment.plain}\n{experiment.dark}\n{experiment.plain}\n"
    found = run("hellinger", "-", stdin=stdin)
    assert [row["other"] for row in found.rows()] == [experiment.dark.name] * 12
    assert f"{experiment.plain}: is given twice; the second is ignored" in found.err
    one = run("hellinger", "-", stdin=f"{experiment.plain}\n")
    assert (one.code, "one feature store" in one.line()) == (2, True)


def test_literal_eq5_differs(run: Run, experiment: SimpleNamespace) -> None:
    words = ("hellinger", experiment.plain, experiment.plain, "--literal-eq5")
    # Equal sets are apart by the share of the joint maximum, and dead channels are at 1.
    assert all(float(row["value"]) > 0 for row in run(*words).rows())


MORE: tuple[tuple[str, ...], ...] = (
    (),
    ("--bins", "7", "--literal-eq5"),
    ("--bins", "quantile:20", "--metric", "kl", "--metric", "jensen-shannon"),
    ("--sweep-bins", "10..30", "--range", "p0.1", "--unpaired", "--seed", "3"),
    ("--group", "subject", "--permutations", "9", "--all-pairs", "--paired"),
)


@pytest.mark.long
@pytest.mark.parametrize(
    "more",
    [
        pytest.param(each, marks=pytest.mark.slow if 0 < place < 4 else (), id=" ".join(each))
        for place, each in enumerate(MORE)
    ],
)
def test_recorded_command_reproduces_the_table(
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


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "columns"),
    [
        (("--metric", "kl", "--metric", "hellinger"), {"metric": {"kl", "hellinger"}}),
        (("--metric", "kl,wasserstein"), {"metric": {"kl", "wasserstein"}}),
        (("--sweep-bins", "10..30"), {"bins": {"10", "20", "30"}}),
        (("--permutations", "0"), {"p_value": {""}, "null_mean": {""}, "layer": set(LAYERS)}),
        (("--permutations", "9", "--unpaired"), {"layer": set(LAYERS)}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_options_reach_the_table(
    words: tuple[str, ...], columns: dict[str, Any], run: Run, experiment: SimpleNamespace
) -> None:
    rows = run("hellinger", experiment.plain, experiment.dark, *words).rows()
    for name, values in columns.items():
        assert ({row[name] for row in rows} if name in rows[0] else None) == values, name


@pytest.mark.long
def test_pairing_and_units_are_printed(run: Run, experiment: SimpleNamespace) -> None:
    both = experiment.plain, experiment.dark
    assert "paired: True" in run("hellinger", *both, "--permutations", "9").err
    assert "paired: False" in run("hellinger", *both, "--permutations", "9", "--unpaired").err


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (2, ("--bins", "many"), ("--bins 'many'", "quantile:50")),
        (2, ("--bins", "4097"), ("--bins 4097", "1 to 4096")),
        (
            2,
            ("--bins", "quantile:50", "--range", "p0.1"),
            ("--bins quantile", "cannot be combined"),
        ),
        (2, ("--sweep-bins", "110..10"), ("--sweep-bins '110..10'", "10..110")),
        (2, ("--sweep-bins", "10..30", "--bins", "7"), ("--bins, --sweep-bins", "one of them")),
        (2, ("--sweep-bins", "997,991,983"), ("least common multiple", "fewer")),
        (2, ("--metric", "helinger"), ("--metric 'helinger'", "hellinger")),
        (2, ("--literal-eq5", "--metric", "kl"), ("--literal-eq5", "drop --metric")),
        (2, ("--literal-eq5", "--range", "p0.1"), ("--literal-eq5", "cannot be combined")),
        (2, ("--range", "max"), ("--range 'max'", "p0.1")),
        (2, ("--permutations", "-1"), ("--permutations -1",)),
        (2, ("--memory", "100"), ("--memory 100", "250")),
        (2, ("--group", "patient"), ("no column 'patient'", "it has")),
        (2, ("--dask", "nowhere"), ("--dask nowhere", "tcp://host:8786")),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else str(each),
)
def test_invalid_arguments_are_reported_in_one_line(
    code: int,
    words: tuple[str, ...],
    said: tuple[str, ...],
    run: Run,
    experiment: SimpleNamespace,
    tmp_path: Path,
) -> None:
    if "--dask" in words:
        pytest.importorskip("distributed", reason="needs Dask (extra dask)")
    out = tmp_path / "t.parquet"
    found = run("hellinger", experiment.plain, experiment.dark, "-o", out, *words)
    assert found.code == code, found
    for word in said:
        assert word in found.line()
    assert list(tmp_path.iterdir()) == []


def test_plain_arrays(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(30, 4)).astype(np.float32))
    found = run("hellinger", tmp_path / "a.npy", tmp_path / "b.npy", "--bins", "5")
    (row,) = found.rows()
    assert (row["other"], row["layer"], found.code) == ("b.npy", "features", 0)
    other = tmp_path / "c.npy"
    np.save(other, rng.normal(size=(30, 5)).astype(np.float32))
    failed = run("hellinger", tmp_path / "a.npy", other)
    assert (failed.code, "5 channels, the reference 4" in failed.line()) == (1, True)


def test_warnings_are_printed_and_in_json(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, vectors in (("a", 4), ("b", 9)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(3, 2, vectors)).astype("f4"))
    words = ("hellinger", tmp_path / "a.npy", tmp_path / "b.npy")
    few = "no p-value below 0.05 is possible with 3 and 3 units, so none is given"
    found = run(*words)
    assert found.code == 0
    assert f"b.npy against a.npy: {few}" in found.err
    assert "the test draws 4 of the vectors of each image" in found.err
    (told,) = json.loads(run(*words, "--json").out)["summary"]["warnings"]
    assert told[0] == few


@pytest.mark.long
def test_hellinger_accepts_a_folder(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    found = run("hellinger", experiment.features, "-o", out, "--permutations", "0")
    assert (found.code, found.out) == (0, f"{out}\n")
    assert {
        (row["model"], row["reference"], row["other"]) for row in pq.read_table(out).to_pylist()
    } == {
        ("resnet18-L0/fold0", experiment.plain.name, experiment.dark.name),
        ("resnet18-L1/fold0", experiment.plain_pruned.name, experiment.dark_pruned.name),
    }
    assert "models: 2" in found.err
    by_name = run("hellinger", experiment.dark, "--reference", experiment.plain, "--quiet")
    assert {row["reference"] for row in by_name.rows()} == {experiment.plain.name}
    onto = run(
        "hellinger", experiment.features, "-o", experiment.plain / "zarr.json", "--overwrite"
    )
    assert onto.code == 2


def test_tested_value_is_printed_if_it_differs(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, vectors in (("a", 9), ("b", 25), ("c", 9)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(8, 2, vectors)).astype("f4"))
    (row,) = run("hellinger", tmp_path / "a.npy", tmp_path / "b.npy").rows()
    assert float(row["tested"]) > float(row["value"]) > 0  # of fewer vectors, so of more noise
    (row,) = run("hellinger", tmp_path / "a.npy", tmp_path / "c.npy").rows()
    assert "tested" not in row
