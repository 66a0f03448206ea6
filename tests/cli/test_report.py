from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

Run = Callable[..., Any]


def blocks_of(text: str) -> list[list[dict[str, str]]]:
    """Read the tables of stdout, an empty line between two of them."""
    found = []
    for block in text.rstrip("\n").split("\n\n"):
        head, *rows = (line.split("\t") for line in block.split("\n"))
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def test_numbers_are_printed_without_out(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("report", experiment.predictions)
    assert found.code == 0
    scores, differences = (blocks_of(found.out)[k] for k in (0, 1))
    assert list(scores[0]) == ["table", "shift", "resnet18 baseline", "resnet18 L1-pruned"]
    assert len(scores) == 2
    assert all(0 <= float(row["resnet18 baseline"]) <= 1 for row in scores)
    for row, change in zip(scores, differences, strict=True):
        lost = float(row["resnet18 L1-pruned"]) - float(row["resnet18 baseline"])
        assert float(change["resnet18 L1-pruned"]) == pytest.approx(lost)
    means = pq.read_table(experiment.shift).to_pylist()
    distances = run("report", experiment.shift).rows()
    assert [float(row["resnet18 baseline"]) for row in distances] == pytest.approx(
        [row["corrected"] for row in means if row["channel"] is None]
    )
    blocks = blocks_of(run("report", experiment.predictions, experiment.shift).out)
    assert [list(block[0])[:2] for block in blocks] == [
        ["table", "shift"],
        ["table", "shift"],
        ["table", "layer"],
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_page_and_figures(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    out, figures = tmp_path / "r.html", tmp_path / "figures"
    words = ("report", experiment.predictions, experiment.shift, "-o", out, "--title", "A & B")
    found = run(*words, "--figures", figures, "--format", "png,svg", "--json")
    assert found.code == 0
    assert found.json["outputs"] == [str(out)]
    drawn = (
        "iou-1",
        "difference-1",
        "paired-1",
        "distance-brightness-0.5",
        "layers-brightness-0.5",
    )
    names = [str(figures / f"{name}.{kind}") for name in drawn for kind in ("png", "svg")]
    names.append(str(tmp_path / "r-numbers.parquet"))
    assert sorted(found.json["side_outputs"]) == sorted(names)
    for name in names:
        assert f"wrote {name}\n" in found.err
        assert Path(name).stat().st_size > 1000
    assert "A &amp; B" in out.read_text()
    assert run(*words).code == 4
    assert run(*words, "--overwrite").lines == [str(out)]


@pytest.mark.long
def test_end_of_a_pipe_writes_the_page(
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
    drawn = sorted(path.name for path in (tmp_path / "f").iterdir())
    names = [f"{topic}-brightness-0.5.pdf" for topic in ("distance", "layers")]
    assert drawn == sorted([*names, "report.parquet"])
    assert run("report", "-", "-o", "other.html", stdin=stdin).lines == ["other.html"]


def test_empty_stdin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("report", "-", stdin="")
    assert (found.code, "holds no path" in found.line()) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_forecast_on_request(
    run: Run, study: list[Path], experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "r.html"
    found = run("report", *study, "--forecast", "-o", out)
    assert found.code == 0
    text = out.read_text()
    assert "Forecast without labels" in text
    rows = pq.read_table(tmp_path / "r-numbers.parquet").to_pylist()
    errors = [row for row in rows if row["quantity"] == "cross-validated error"]
    assert {row["shift"] for row in errors} == {"brightness", "contrast", "saturation", None}
    assert run("report", *study, "-o", out, "--overwrite").code == 0
    assert "Forecast without labels" not in out.read_text()
    # One kind of shift, or tables of one sort, are too little to fit.
    little = run("report", experiment.predictions, "--forecast")
    assert little.code == 0
    assert "--forecast: nothing to fit; give scores" in little.err
