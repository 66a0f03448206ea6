from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import segmentation_models_pytorch as smp
import torch

from skiptool.names import Kind
from skiptool.records import PAPER_SWEEP
from skiptool.stores.tables import open_table
from small_models import sibling

Run = Callable[..., Any]


@pytest.mark.long
def test_stdout_has_the_table_and_stderr_the_iou(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("predict", f"{experiment.baseline}/", experiment.pruned, "--data", experiment.data)
    shifts = ("--shift", "original", "--shift", "brightness=0.5", "--precision", "32")
    found = run(*words, *shifts, "--masks", "m.zarr")
    assert (found.code, found.out) == (0, "predictions.parquet\n")
    for word in ("wrote m.zarr", "precision: 32", "IoU of cell", "brightness=0.5", "resnet18-L1"):
        assert word in found.err
    ours, first = pq.read_table("predictions.parquet"), pq.read_table(experiment.predictions)
    assert ours.equals(first)
    ids = {
        open_table(Path(path), Kind.PREDICTIONS).lineage.id
        for path in (experiment.predictions, "predictions.parquet")
    }
    assert len(ids) == 1


def test_models_come_from_stdin(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    models = f"{experiment.baseline}\n{experiment.pruned}\n"
    words = ("predict", "-", "--data", experiment.data, "-o", out, "--json")
    found = run(*words, stdin=models)
    assert found.code == 0
    assert (found.json["outputs"], found.json["side_outputs"]) == ([str(out)], [])
    (table,) = found.json["tables"]
    assert set(table["columns"]) == {"domain", "shift", "resnet18-L0", "resnet18-L1"}
    assert set(pq.read_table(out)["model"].to_pylist()) == {
        "resnet18-L0/fold0",
        "resnet18-L1/fold0",
    }
    empty = run(*words, stdin="\n")
    assert (empty.code, "holds no path" in empty.line()) == (2, True)


@pytest.mark.long
def test_sweep_of_the_paper(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    words = ("predict", experiment.baseline, "--data", experiment.data, "--sweep", "paper")
    assert run(*words, "-o", out).code == 0
    rows = pq.read_table(out).select(["shift", "factor"]).to_pylist()
    found = list(dict.fromkeys((row["shift"], row["factor"]) for row in rows))
    assert found == [(shift.kind.value, shift.factor) for shift in PAPER_SWEEP]


@pytest.mark.long
def test_resume_overwrite_and_dry_run(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "p.parquet"
    words = ("predict", experiment.baseline, "--data", experiment.data, "-o", out)
    dry = run(*words, "--masks", tmp_path / "m.zarr", "--dry-run")
    assert (dry.code, dry.out) == (0, "")
    assert "images: 5" in dry.err
    assert list(tmp_path.iterdir()) == []
    assert run(*words, "--quiet") == run(*words, "--quiet", "--resume")
    assert run(*words).code == 4
    other = run(*words, "--shift", "contrast=2", "--resume")
    assert (other.code, "now ['contrast=2']" in other.line()) == (4, True)
    assert run(*words, "--shift", "contrast=2", "--overwrite").code == 0
    assert set(pq.read_table(out)["factor"].to_pylist()) == {2.0}


@pytest.mark.long
def test_train_split_and_domain(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    words = ("predict", experiment.baseline, "--data", experiment.data, "-o", out)
    assert run(*words, "--split", "all", "--domain", "synthetic").code == 0
    table = pq.read_table(out)
    assert table.num_rows == 24 * 4
    assert table["split"].to_pylist().count("train") == 19 * 4


@pytest.mark.long
def test_a_folder_of_runs_ensemble_and_overlays(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    sibling(experiment.baseline, tmp_path / "runs/fold1", 1)
    (tmp_path / "runs/fold0").symlink_to(experiment.baseline)
    out, drawn = tmp_path / "p.parquet", tmp_path / "o"
    words = ("predict", tmp_path / "runs", "--data", experiment.data, "--precision", "32")
    found = run(*words, "--ensemble", "--overlays", drawn, "--overlay-count", 1, "-o", out)
    assert (found.code, found.out) == (0, f"{out}\n")
    assert f"wrote {drawn}" in found.err
    assert "resnet18-L0/ensemble" in found.err
    assert set(pq.read_table(out)["fold"].to_pylist()) == {0, 1, -1}
    assert len(list(drawn.glob("*/*.png"))) == 3
    shown = run("info", drawn, "--check", "--json").json["summary"][str(drawn)]
    assert (shown["kind"], shown["pictures"]) == ("overlays", 3)
    made = run("info", drawn, "--command").out
    assert "--ensemble" in made
    assert "--overlay-count 1" in made


@pytest.mark.long
def test_damaged_model_is_listed_and_others_are_used(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    bad, out = Path(shutil.copytree(experiment.pruned, tmp_path / "bad")), tmp_path / "p.parquet"
    (bad / "model.safetensors").write_bytes(b"cut")
    words = ("predict", experiment.baseline, bad, "--data", experiment.data, "-o", out)
    found = run(*words, "--quiet")
    assert (found.code, found.out) == (3, f"{out}\n")
    assert found.err.count("\n") == 1
    assert f"failed: {bad}/model.safetensors: cannot be read" in found.err
    assert "failures" in run("info", out).out
    alone = run("predict", bad, "--data", experiment.data, "-o", tmp_path / "q")
    assert (alone.code, "cannot be read" in alone.line()) == (1, True)


def test_device_out_of_memory_is_reported_in_one_line(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any, **__: Any) -> Any:  # noqa: ANN401 - stands for another function
        raise torch.OutOfMemoryError("tried to allocate 20 GiB\nGPU 0 has 8 GiB")

    monkeypatch.setattr(smp.Unet, "forward", greedy)
    words = ("predict", experiment.baseline, "--data", experiment.data)
    found = run(*words, "-o", tmp_path / "p")
    assert found.code == 1
    assert "out of memory (device cpu has not enough memory for 1 networks" in found.line()
