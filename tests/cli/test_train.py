from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from skiptool.model import weights
from skiptool.names import LAYERS, LoggerName, Loss, Precision
from skiptool.records import Outcome, Training
from skiptool.steps import train

Run = Callable[..., Any]

SHORT = ("--encoder-weights", "none", "--epochs", "1", "--precision", "32")
BOTH = ("--fold", "0", "--prune", "0", "--prune", "1")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the step is asked for; it is not run."""
    found: dict[str, Any] = {}

    def step(data: Path, out: Path, **settings: object) -> Outcome:
        found.update(settings, data=data, out=out)
        return Outcome()

    monkeypatch.setattr(train, "train_models", step)
    return found


def test_defaults_are_the_protocol_of_the_paper(run: Run, asked: dict[str, Any]) -> None:
    assert run("train", "s.zarr").code == 0
    assert (asked["data"], asked["out"]) == (Path("s.zarr"), Path("runs"))
    assert asked["protocol"] == Training(fold=0)
    protocol = asked["protocol"]
    assert (protocol.epochs, protocol.batch_size, protocol.lr) == (50, 8, 1e-4)
    assert (protocol.lr_step, protocol.lr_gamma) == (15, 0.1)
    assert (protocol.loss, protocol.encoder_weights) == (Loss.CE_GDICE, "imagenet")
    assert (asked["encoders"], asked["skips"]) == (("resnet18",), ((1, 2, 3, 4),))
    assert (asked["fold"], asked["folds"], asked["domain"]) == ((), None, None)
    assert (asked["repeats"], asked["repeat"]) == (1, ())
    assert (asked["keep_last"], asked["arch"]) == (True, "unet")


def test_every_option_reaches_the_step(run: Run, asked: dict[str, Any]) -> None:
    several = ("--encoder", "resnet34", "--encoder", "mit_b0", "--fold", "1", "--fold", "0")
    places = ("--domain", "A", "--folds", "4", "--device", "cpu", "--workers", "2", "--seed", "7")
    places += ("--devices", "2", "--nodes", "3", "--compile", "--deterministic")
    places += ("--logger", "wandb")
    numbers = ("--epochs", "3", "--batch-size", "2", "--lr", "1e-3", "--lr-step", "5")
    words = ("--lr-gamma", "0.5", "--loss", "ce", "--precision", "bf16", "--no-keep-last")
    numbers += ("--patience", "4", "--grad-clip", "2", "--class-weight", "cell=2.5,debris=0")
    skips = ("--prune", "1", "--skips", "none", "--encoder-weights", "w.pth", "-o", "r/")
    skips += ("--arch", "linknet", "--repeats", "5", "--repeat", "4", "--repeat", "2")
    assert run("train", "s", *several, *places, *numbers, *words, *skips, "--resume").code == 0
    progress = asked.pop("progress")
    assert callable(progress.warn)
    protocol = Training(0, 3, 2, 1e-3, 5, 0.5, Loss.CE, "w.pth", Precision.BFLOAT16, 7)
    weights = (("cell", 2.5), ("debris", 0.0))
    protocol = replace(protocol, class_weights=weights, patience=4, grad_clip=2.0)
    protocol = replace(protocol, compile=True, deterministic=True)
    assert asked == {
        "data": Path("s"),
        "out": Path("r"),
        "encoders": ["resnet34", "mit_b0"],
        "skips": ((2, 3, 4), ()),
        "fold": [1, 0],
        "folds": 4,
        "domain": "A",
        "repeats": 5,
        "repeat": [4, 2],
        "protocol": protocol,
        "device": "cpu",
        "workers": 2,
        "keep_last": False,
        "devices": 2,
        "nodes": 3,
        "loggers": (LoggerName.WANDB,),
        "arch": "linknet",
        "overwrite": False,
        "resume": True,
        "dry_run": False,
    }


def test_threads_are_set_while_the_step_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before, found = torch.get_num_threads(), []

    def step(*_: object, **__: object) -> Outcome:
        found.append(torch.get_num_threads())
        return Outcome()

    monkeypatch.setattr(train, "train_models", step)
    assert run("train", "s.zarr", "--threads", str(before + 2), "--device", "cpu").code == 0
    assert (found, torch.get_num_threads()) == ([before + 2], before)
    refused = run("train", "s.zarr", "--threads", "0")
    assert (refused.code, "--threads" in refused.line()) == (2, True)


def test_data_come_from_stdin(run: Run, asked: dict[str, Any]) -> None:
    assert run("train", "-", stdin="a b/s.zarr\n").code == 0
    assert asked["data"] == Path("a b/s.zarr")
    several = run("train", "-", stdin="a\nb\n")
    assert (several.code, "2 paths" in several.line()) == (2, True)
    empty = run("train", "-", stdin="")
    assert (empty.code, "holds no path" in empty.line()) == (2, True)


def test_terminal_on_stdin_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert "stdin is a terminal" in run("train", "-").line()


@pytest.mark.long
@pytest.mark.parametrize("slash", ["", "/"])
def test_model_folders_are_printed_as_typed(
    slash: str, run: Run, experiment: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(experiment.folder)
    found = run("train", "s.zarr", *SHORT, *BOTH, "-o", f"./runs{slash}", "--resume")
    assert found.code == 0
    assert found.lines == ["./runs/resnet18-L0/fold0", "./runs/resnet18-L1/fold0"]
    asked = run("train", "s.zarr", *SHORT, *BOTH, "-o", "runs", "--resume", "--json").json
    assert asked["outputs"] == ["runs/resnet18-L0/fold0", "runs/resnet18-L1/fold0"]
    assert asked["summary"] == {"models": 2, "trained now": 0}
    other = run("train", "s.zarr", *SHORT, *BOTH, "-o", "runs", "--resume", "--lr", "0.1")
    assert (other.code, "lr was 0.0001, now 0.1" in other.line()) == (4, True)


def test_recorded_command_has_the_same_parameters(run: Run, experiment: SimpleNamespace) -> None:
    words = shlex.split(run("info", "--command", experiment.pruned).lines[0])[1:]
    # --resume compares every parameter with those of the model that is there.
    assert run(*words, "--resume").lines == [str(experiment.pruned)]
    words[words.index("--batch-size") + 1] = "4"
    other = run(*words, "--resume")
    assert (other.code, "batch_size was 8, now 4" in other.line()) == (4, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--arch", "unet++"), "architecture 'unet++': expected one of unet, unetplusplus, link"),
        (("--arch", "linkent"), "did you mean linknet, "),
        (("--arch", "linknet", "--encoder", "mit_b0"), "no Linknet can be built on it"),
        (("--encoder", "mit_b0", "--prune", "2"), "has no feature map at level 1: "),
    ],
)
def test_networks_that_cannot_be_built_are_refused_in_one_line(
    words: tuple[str, ...], expected: str, run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    found = run("train", experiment.data, *SHORT, *words, "-o", tmp_path / "runs")
    assert found.code == 2
    assert expected in found.line()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_an_architecture_from_training_to_features(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    """A LinkNet and a U-net of one encoder stay apart in the table, its report and the stores."""
    runs, table = tmp_path / "runs", tmp_path / "p.parquet"
    words = ("--arch", "linknet", "--prune", "1", "--fold", "0", "-o", runs)
    trained = run("train", experiment.data, *SHORT, *words)
    model = runs / "linknet-resnet18-L1" / "fold0"
    assert (trained.code, trained.lines) == (0, [str(model)])
    assert "linknet" in trained.err
    again = shlex.split(run("info", "--command", model).lines[0])[1:]
    assert run(*again, "--resume").lines == [str(model)]
    both, data = (model, experiment.pruned), ("--data", experiment.data)
    predicted = run("predict", *both, *data, "-o", table)
    assert predicted.code == 0
    assert "linknet-resnet18-L1" in predicted.err
    assert set(pq.read_table(table)["arch"].to_pylist()) == {"unet", "linknet"}
    row = run("report", table).rows()[0]
    assert {"linknet resnet18 L1-pruned", "resnet18 L1-pruned"} <= set(row)
    stores = run("features", *both, *data, "-o", tmp_path / "feats").lines
    facts = run("info", "--json", *stores).json["summary"]
    assert [each["arch"] for each in facts.values()] == ["linknet", "unet"]
    assert [list(each["layers"]) for each in facts.values()] == [list(LAYERS)] * 2
    for store in stores:
        shift = run("hellinger", store, store, "--permutations", "0", "-o", f"{store}.parquet")
        assert shift.code == 0
    compared = run("report", *(f"{store}.parquet" for store in stores)).rows()[0]
    assert {"linknet resnet18 L1-pruned", "resnet18 L1-pruned"} <= set(compared)


@pytest.mark.long
def test_repeats_from_training_to_report(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    """Two trainings of one fold: each keeps its number, from the folder to the page's numbers."""
    runs, data = tmp_path / "runs", ("--data", experiment.data)
    once = (*SHORT, "--fold", "0", "-o", runs)
    words = (*once, "--repeats", "2")
    dry = run("train", experiment.data, *words, "--dry-run", "--json").json["summary"]
    folders = [runs / "resnet18-L0" / name for name in ("fold0", "fold0-r1")]
    assert (dry["models"], dry["folders"]) == (2, [*map(str, folders)])
    trained = run("train", experiment.data, *words)
    assert (trained.code, trained.lines) == (0, [*map(str, folders)])
    again = run("train", experiment.data, *words, "--resume", "--json").json
    assert (again["outputs"], again["summary"]["trained now"]) == ([*map(str, folders)], 0)
    command = shlex.split(run("info", "--command", folders[1]).lines[0])[1:]
    assert command[command.index("--repeat") + 1] == "1"
    assert run(*command, "--resume").lines == [str(folders[1])]
    told = run("info", "--json", *folders).json["summary"].values()
    assert [(each["model"], each["repeat"]) for each in told] == [
        ("resnet18-L0/fold0", 0),
        ("resnet18-L0/fold0-r1", 1),
    ]

    table = tmp_path / "p.parquet"
    predicted = run("predict", runs, *data, "--ensemble", "-o", table)
    assert (predicted.code, "mean over folds and their repeats" in predicted.err) == (0, True)
    models = pq.read_table(table, columns=["model", "fold", "repeat"]).to_pylist()
    assert {tuple(row.values()) for row in models} == {
        ("resnet18-L0/fold0", 0, 0),
        ("resnet18-L0/fold0-r1", 0, 1),
        ("resnet18-L0/ensemble", -1, None),
    }
    validation = tmp_path / "validation.parquet"
    assert run("predict", runs, *data, "--split", "fold", "-o", validation).code == 0
    samples = pq.read_table(validation, columns=["repeat", "sample"]).to_pylist()
    first, second = ({row["sample"] for row in samples if row["repeat"] == r} for r in (0, 1))
    assert first == second != set()

    shifts, stores = ("--shift", "original", "--shift", "brightness=0.5"), tmp_path / "feats"
    found = run("features", runs, *data, *shifts, "-o", stores)
    assert found.code == 0
    assert [Path(line).name.split("_")[0] for line in found.lines] == [
        *["resnet18-L0-fold0"] * 2,
        *["resnet18-L0-fold0-r1"] * 2,
    ]
    tables = [tmp_path / f"shift{repeat}.parquet" for repeat in (0, 1)]
    for repeat, pair in enumerate((found.lines[:2], found.lines[2:])):
        measured = ("hellinger", *pair, "--permutations", "0", "-o", tables[repeat])
        assert run(*measured).code == 0
        column = pq.read_table(tables[repeat], columns=["repeat"])["repeat"].to_pylist()
        assert {*column} == {repeat}

    histories = [folder / "history.parquet" for folder in folders]
    page = tmp_path / "page.html"
    made = run("report", table, *tables, *histories, "-o", page, "--json").json
    text = page.read_text()
    assert "mean over 2 repeats of one fold" in text
    assert re.search(r"<dt>Repeats</dt>\s*<dd>2</dd>", text)
    (numbers,) = (pq.read_table(path).to_pylist() for path in made["side_outputs"])
    best = [row for row in numbers if row["quantity"] == "best mIoU" and row["fold"] == 0]
    assert [row["repeat"] for row in best] == [0, 1]
    layers = [row for row in numbers if row["quantity"] == "distance" and row["layer"] == "enc1"]
    assert {row["folds"] for row in layers} == {2}


@pytest.mark.long
def test_first_repeat_equals_a_single_training(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    """Repeat 0 is bit for bit the model of the shared experiment; repeat 1 starts elsewhere."""
    words = (*SHORT, "--fold", "0", "--prune", "0", "-o", tmp_path / "runs")
    (zero,) = run("train", experiment.data, *words, "--repeat", "0").lines
    (one,) = run("train", experiment.data, *words, "--repeat", "1").lines
    known = (experiment.baseline / "model.safetensors").read_bytes()
    assert Path(zero, "model.safetensors").read_bytes() == known
    tensors, others = (load_file(Path(each, "model.safetensors")) for each in (zero, one))
    same = [name for name in tensors if (tensors[name] == others[name]).all()]
    assert all(name.endswith("num_batches_tracked") for name in same)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--repeats", "0"), "--repeats"),
        (("--repeat", "-1"), "--repeat -1: expected 0 to any number"),
        (("--repeats", "2", "--repeat", "2"), "--repeat 2: expected 0 to 1, below --repeats"),
    ],
)
def test_missing_repeats_are_refused(
    words: tuple[str, ...], expected: str, run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    found = run("train", experiment.data, *SHORT, *words, "-o", tmp_path / "runs")
    assert found.code == 2
    assert expected in found.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["unetplusplus", "manet"])
@pytest.mark.parametrize("skips", ["1,2,3,4", "1,3", "none"])
def test_every_architecture_trains_predicts_and_resumes(
    arch: str, skips: str, run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    words = ("--arch", arch, "--skips", skips, "--fold", "0", "-o", tmp_path / "runs")
    (model,) = run("train", experiment.data, *SHORT, *words).lines
    data = ("--data", experiment.data)
    assert run("predict", model, *data, "-o", tmp_path / "p.parquet").code == 0
    assert run("features", model, *data, "-o", tmp_path / "f.zarr").code == 0
    assert run("info", "--check", model, tmp_path / "f.zarr", tmp_path / "p.parquet").code == 0
    assert run("train", experiment.data, *SHORT, *words, "--resume").lines == [model]
    other = ("--arch", "linknet", *words[2:])
    assert run("train", experiment.data, *SHORT, *other, "--dry-run").code == 0


def test_dry_run(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    found = run("train", experiment.data, *SHORT, "-o", tmp_path / "runs", "--dry-run")
    assert (found.code, found.out) == (0, "")
    assert "models: 3" in found.err
    assert "training samples: 19" in found.err
    assert list(tmp_path.iterdir()) == []


def test_unreachable_hub_is_explained(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(weights.hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(weights.hub, "get_hf_file_metadata", unreachable)
    found = run("train", experiment.data, "-o", tmp_path / "runs")
    assert found.code == 1
    line = found.line()
    for words in ("no route to host", "hf download", "--encoder-weights FILE", "none"):
        assert words in line
    assert list(tmp_path.iterdir()) == []
    dry = run("train", experiment.data, "-o", tmp_path / "runs", "--dry-run")
    assert dry.code == 0  # a dry run asks nobody


@pytest.mark.long
def test_interrupt_keeps_finished_models(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    runs = tmp_path / "runs"
    shutil.copytree(experiment.baseline, runs / "resnet18-L0" / "fold0")
    monkeypatch.setattr(train, "fit", interrupt)
    found = run("train", experiment.data, *SHORT, *BOTH, "-o", runs, "--resume")
    assert found.code == 130
    assert "--resume" in found.line()
    assert [path.name for path in (runs / "resnet18-L0").iterdir()] == ["fold0"]
    assert [path.name for path in (runs / "resnet18-L1").iterdir()] == [".fold0.partial"]


@pytest.mark.long
@pytest.mark.parametrize("level", ["1", "2"])
def test_optimised_python_is_refused(tmp_path: Path, level: str) -> None:
    """Zarr changes what it has read in assertions; others add to docstrings as they are loaded."""
    found = subprocess.run(
        [sys.executable, "-m", "skiptool", "train", "none.zarr"],
        env={**os.environ, "PYTHONOPTIMIZE": level},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (1, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith(f"skiptool train: PYTHONOPTIMIZE is {level}")
    assert line.endswith("unset it")
