from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

Run = Callable[..., Any]


def test_numbers_are_printed_without_out(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("report", experiment.predictions)
    assert found.code == 0
    rows = found.rows()
    assert list(rows[0]) == ["shift", "resnet18 baseline", "resnet18 L1-pruned"]
    assert len(rows) == 2
    assert all(0 <= float(row["resnet18 baseline"]) <= 1 for row in rows)
    means = pq.read_table(experiment.shift).to_pylist()
    distances = run("report", experiment.shift).rows()
    assert [float(row["resnet18 baseline"]) for row in distances] == pytest.approx(
        [row["value"] for row in means if row["channel"] is None]
    )
    blocks = run("report", experiment.predictions, experiment.shift).out.split("\n\n")
    assert [block.split("\t", 1)[0] for block in blocks] == ["table", "table"]
    assert list(tmp_path.iterdir()) == []


def test_page_and_figures(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    out, figures = tmp_path / "r.html", tmp_path / "figures"
    words = ("report", experiment.predictions, experiment.shift, "-o", out, "--title", "A & B")
    found = run(*words, "--figures", figures, "--format", "png,svg", "--json")
    assert found.code == 0
    assert found.json["outputs"] == [str(out)]
    names = [
        str(figures / f"{name}.{kind}")
        for name in ("iou-1", "distance-1")
        for kind in ("png", "svg")
    ]
    assert sorted(found.json["side_outputs"]) == sorted(names)
    for name in names:
        assert f"wrote {name}\n" in found.err
        assert Path(name).stat().st_size > 1000
    assert "A &amp; B" in out.read_text()
    assert run(*words).code == 4
    assert run(*words, "--overwrite").lines == [str(out)]


def test_end_of_a_pipe_leaves_the_page(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stdin = f"{experiment.predictions}\n{experiment.shift}\n"
    found = run("report", "-", stdin=stdin)
    assert (found.code, found.out) == (0, "report.html\n")
    assert "cell IoU" in (tmp_path / "report.html").read_text()
    again = run("report", "-", stdin=stdin)
    assert (again.code, "report.html: exists already" in again.line()) == (4, True)
    assert run("report", "-", "--overwrite", stdin=stdin).lines == ["report.html"]
    # Where the figures are asked for, the numbers are printed as ever.
    figures = run("report", "-", "--figures", "f", stdin=f"{experiment.shift}\n")
    assert figures.lines[0].startswith("layer\t")
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["distance-1.pdf"]
    assert run("report", "-", "-o", "other.html", stdin=stdin).lines == ["other.html"]


def test_empty_stdin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("report", "-", stdin="")
    assert (found.code, "holds no path" in found.line()) == (2, True)
    assert list(tmp_path.iterdir()) == []
