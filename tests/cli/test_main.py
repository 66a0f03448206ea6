from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skiptool.cli.console import _PANELS, OnceCommand
from skiptool.steps import synth

Run = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]

COMMANDS = ("synth", "extract", "train", "predict", "features", "hellinger", "report", "info")
SMALL = ("--size", "64", "--canvas", "300", "--cells", "1:4")

ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_help_names_every_subcommand(run: Run) -> None:
    for words in (["--help"], ["-h"]):
        found = run(*words)
        assert found.code == 0
        assert found.err == ""
        for name in COMMANDS:
            assert f"\n  {name} " in found.out


@pytest.mark.parametrize("words", [[], ["extract"]])
def test_missing_subcommand_prints_help(words: list[str], run: Run) -> None:
    found = run(*words)
    assert found.code == 2
    assert found.out == ""
    assert found.err.startswith("Usage: skiptool")
    assert "Commands:" in found.err


def test_version(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = ["numpy>=2", "gone[x]>=1; extra == 'y'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: requirements)
    found = run("--version")
    assert (found.code, found.err) == (0, "")
    assert found.lines[:2] == [
        f"skiptool {version('skiptool')}",
        f"Python {sys.version.split()[0]}",
    ]
    assert found.lines[2].startswith("platform ")
    assert found.lines[3:] == [f"numpy {version('numpy')}", "gone not installed"]
    told = run("--version", "--json").json
    assert (told["skiptool"], told["libraries"]) == (
        version("skiptool"),
        {"numpy": version("numpy"), "gone": None},
    )


def test_version_names_the_libraries_that_matter_and_imports_none() -> None:
    script = (
        "import sys; from skiptool.cli import main; code = main(['--version', '--json']); "
        "sys.exit(code or len({'torch', 'numpy', 'zarr', 'pyarrow'} & {*sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 0
    libraries = json.loads(found.stdout)["libraries"]
    assert {"typer", "numpy", "torch", "zarr", "pyarrow", "distributed"} <= set(libraries)
    assert not {"pytest", "ruff", "hypothesis"} & set(libraries)


def test_module_runs_the_command_line() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "skiptool", "sinth"], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1


def test_warnings_of_libraries_are_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def warns(*_: object, **__: object) -> None:
        import warnings

        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        raise synth.ArgumentError("as it was")

    monkeypatch.setattr(synth, "synthesise_dataset", warns)
    assert run("synth").line() == "skiptool synth: as it was"


@pytest.mark.parametrize("stage", ["argument", "work"])
def test_unexpected_errors_are_reported_in_one_line(
    stage: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if stage == "work":
        monkeypatch.setattr(synth, "compose", None)
    else:
        monkeypatch.setattr(synth, "SceneSettings", None)
    found = run("synth", "--n", "8", "--folds", "2", *SMALL)
    assert found.code == 1
    assert "unexpected TypeError" in found.line()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["parse_args", "invoke"])
def test_an_interrupt_outside_a_command_prints_a_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(OnceCommand, place, interrupted)
    found = run("synth", "--n", "1", "-o", tmp_path / "s.zarr")
    assert (found.code, found.line()) == (130, "skiptool: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_interrupt_explains_how_to_resume(
    run: Run,
    tmp_path: Path,
    experiment: SimpleNamespace,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compose, calls = synth.compose, []

    def interrupted(*words: Any) -> Any:  # noqa: ANN401 - stands for another function
        calls.append(words)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return compose(*words)

    words = ("synth", "--n", "24", *SMALL, "--folds", "3", "--workers", "1")
    out = tmp_path / "s.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(synth, "compose", interrupted)
        found = run(*words, "-o", out)
    assert found.code == 130
    assert found.line() == "skiptool synth: interrupted; give --resume to go on where it stopped"
    assert not out.exists()
    assert run(*words, "-o", out).code == 4
    again = run(*words, "-o", out, "--resume")
    assert (again.code, again.out) == (0, f"{out}\n")
    assert contents(out) == contents(experiment.data)


@pytest.mark.long
def test_killed_run_can_be_resumed(run: Run, tmp_path: Path, contents: Contents) -> None:
    words = ["synth", "--n", "150", *SMALL, "--workers", "1"]
    out, whole = tmp_path / "s.zarr", tmp_path / "whole.zarr"
    process = subprocess.Popen(
        [sys.executable, "-m", "skiptool", *words, "-o", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = tmp_path / ".s.zarr.partial" / "synthetic" / "images" / "c"
    while process.poll() is None and not (partial / "1").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert run(*words, "-o", out, "--resume").code == 0
    assert run(*words, "-o", whole).code == 0
    assert contents(out) == contents(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.zarr", "whole.zarr"]


@pytest.mark.slow
def test_whole_experiment_in_one_pipe(tmp_path: Path) -> None:
    line = (
        "set -o pipefail; skiptool synth --n 40 -o s.zarr | tee 1 | "
        "skiptool train - --epochs 1 --folds 2 --fold 0 --prune 0 --prune 1 "
        "--encoder-weights none -o runs | tee 2 | "
        "skiptool predict - --data s.zarr -o p.parquet | tee 3 | skiptool report -"
    )
    found = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "report.html\n"
    assert (tmp_path / "1").read_text() == "s.zarr\n"
    assert (tmp_path / "2").read_text() == "runs/resnet18-L0/fold0\nruns/resnet18-L1/fold0\n"
    assert (tmp_path / "3").read_text() == "p.parquet\n"
    assert "cell IoU" in (tmp_path / "report.html").read_text()
    names = {"1", "2", "3", "s.zarr", "runs", "p.parquet", "report.html", "report-numbers.parquet"}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.long
@pytest.mark.parametrize("debug", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_logs_of_libraries_are_not_shown(debug: bool) -> None:
    script = (
        "import logging, sys; from skiptool.cli import main; code = main(sys.argv[1:]); "
        "logging.getLogger('asyncio').error('task destroyed'); sys.exit(code)"
    )
    words = ["synth", "--n", "0", *(["--debug"] if debug else [])]
    found = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 2
    assert ("task destroyed" in found.stderr) == debug
    assert (found.stderr.count("\n") == 1) != debug


ONE_VALUE = {
    ("synth",): ("--n", "8"),
    ("train", "{data}"): ("--epochs", "3"),
    ("predict", "{baseline}", "--data", "{data}"): ("--device", "cpu"),
    ("features", "{baseline}", "--data", "{data}"): ("--split", "test"),
    ("hellinger", "{plain}", "{dark}"): ("--bins", "7"),
    ("report", "{shift}"): ("--level", "0.9"),
    ("extract", "images", "m.csv"): ("--folds", "2"),
    ("extract", "mri", "m.csv"): ("--out", "x.zarr"),
    ("extract", "wsi", "m.csv"): ("-o", "x.zarr"),
}


@pytest.mark.parametrize("words", ONE_VALUE, ids=" ".join)
def test_repeated_option_of_one_value_is_refused(
    words: tuple[str, ...], run: Run, experiment: SimpleNamespace
) -> None:
    """Of two values the last would win without a word."""
    filled = [word.format(**vars(experiment)) for word in (*words, *ONE_VALUE[words] * 2)]
    found = run(*filled)
    assert found.code == 2
    assert "is given 2 times, but takes one value" in found.line()


@pytest.mark.long
def test_flags_and_list_options_may_be_repeated(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    words = ("--data", experiment.data, "--shift", "original", "--shift", "contrast=2", "-q", "-q")
    assert run("predict", experiment.baseline, *words, "-o", tmp_path / "p").code == 0
    found = run("train", experiment.data, "--keep-last", "--no-keep-last")
    assert (found.code, "--keep-last is given 2 times" in found.line()) == (2, True)


@pytest.mark.parametrize("words", [*ONE_VALUE, ("info", "{data}")], ids=" ".join)
def test_every_command_accepts_workers_and_seed(words: tuple[str, ...], run: Run) -> None:
    name = words[:2] if words[0] == "extract" else words[:1]
    told = run(*name, "--help").out
    assert "--workers" in told
    assert "--seed" in told


@pytest.mark.long
def test_workers_and_seed_do_not_change_predictions(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    given = ("--workers", "2", "--seed", "5")
    for name in ("predict", "features"):
        outs = [tmp_path / f"{name}{number}" for number in (0, 1)]
        for out, more in zip(outs, ((), given), strict=True):
            words = (name, experiment.baseline, "--data", experiment.data, "-o", out)
            assert run(*words, *more).code == 0
        first, second = ({entry["lineage"]["id"] for entry in made(run, out)} for out in outs)
        assert first == second
    assert run("info", experiment.data, *given).code == 0
    assert run("report", experiment.shift, "-o", tmp_path / "r.html", *given).code == 0


def made(run: Run, out: Path) -> list[dict[str, Any]]:
    paths = [out] if out.is_file() else list(out.iterdir())
    return list(run("info", *paths, "--json").json["summary"].values())


EVERY = [words[:2] if words[0] == "extract" else words[:1] for words in ONE_VALUE]


@pytest.mark.parametrize("words", [*EVERY, ("study",), ("info",)], ids=" ".join)
def test_help_is_grouped_in_panels(words: tuple[str, ...], run: Run) -> None:
    lines = run(*words, "--help").lines
    order = ["Inputs", "Protocol", "Statistics", "Outputs", "Run"]
    panels: dict[str, list[str]] = {}
    for line in lines:
        if heading := re.fullmatch(r"([A-Z]\w+):", line):
            panels[heading[1]] = []
        elif panels and (option := re.match(r"  (?:-\w, )?(--[\w-]+)", line)):
            panels[[*panels][-1]].append(option[1])
    assert list(panels) == [name for name in order if name in panels]
    assert max(map(len, lines)) < 80
    options = [option for own in panels.values() for option in own]
    assert len(options) == len(set(options))
    assert {"--json", "--quiet", "--debug", "--config", "--help"} <= {*panels["Run"]}
    assert ("--command" if words == ("info",) else "--out") in panels["Outputs"]


def test_every_panel_names_options_that_exist(run: Run) -> None:
    """A renamed option would move to the default panel without notice."""
    import typer

    from skiptool.cli import create_app

    found = {"help"}
    for command in typer.main.get_command(create_app()).commands.values():
        for leaf in getattr(command, "commands", {"": command}).values():
            found |= {parameter.name for parameter in leaf.params}
    assert set().union(*_PANELS.values()) <= found
