from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skiptool.stores.dataset import open_dataset

Run = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]

SMALL = ("--n", "24", "--size", "64", "--canvas", "300", "--cells", "1:4", "--folds", "3")
FEW = ("--n", "4", "--size", "8", "--canvas", "200", "--cells", "0:2", "--folds", "2")


@pytest.mark.parametrize("out", ["./s.zarr", "s.zarr/", "with space/ä.zarr", "{tmp}/s.zarr"])
def test_stdout_has_the_path_as_typed(
    out: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "with space").mkdir()
    monkeypatch.chdir(tmp_path)
    word = out.format(tmp=tmp_path)
    found = run("synth", *FEW, "-o", word)
    assert (found.code, found.out) == (0, f"{word}\n")
    assert "images: 4" in found.err
    assert len(open_dataset(Path(word)).domain("synthetic")) == 4


def test_default_output(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("synth", *FEW, "--quiet") == run("synth", *FEW, "--quiet", "--overwrite")
    assert run("synth", *FEW, "--quiet", "--resume").lines == ["synth.zarr"]
    assert [path.name for path in tmp_path.iterdir()] == ["synth.zarr"]


def test_json(run: Run, tmp_path: Path) -> None:
    out, pairs, cut = (tmp_path / name for name in ("s.zarr", "pairs", "cut"))
    side = ("--export", "png", pairs, "--save-templates", cut)
    found = run("synth", *FEW, "-o", out, *side, "--json")
    assert found.code == 0
    assert {"command", "version", "outputs", "side_outputs", "summary", "seconds"} <= set(
        found.json
    )
    assert found.json["command"] == "synth"
    assert found.json["outputs"] == [str(out)]
    assert found.json["side_outputs"] == [str(cut), str(pairs)]
    assert found.json["summary"]["images"] == 4
    assert f"wrote {pairs}\n" in found.err
    assert len(list((pairs / "images").iterdir())) == len(list((pairs / "masks").iterdir())) == 4


def test_same_bytes_as_the_function(
    run: Run, tmp_path: Path, experiment: SimpleNamespace, contents: Contents
) -> None:
    run("synth", *SMALL, "-o", tmp_path / "s.zarr")
    assert contents(tmp_path / "s.zarr") == contents(experiment.data)


def test_recorded_command_reproduces_the_store(
    run: Run, tmp_path: Path, experiment: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = run("info", "--command", experiment.data).lines
    assert len(printed) == 1
    words = shlex.split(printed[0])
    assert words.pop(0) == "skiptool"
    words[words.index("--out") + 1] = str(tmp_path / "again.zarr")
    assert run(*words).code == 0
    again, first = open_dataset(tmp_path / "again.zarr"), open_dataset(experiment.data)
    assert again.lineage.id == first.lineage.id


def test_resume_with_other_options_shows_the_difference(
    run: Run, experiment: SimpleNamespace
) -> None:
    found = run("synth", *SMALL, "--seed", "5", "-o", experiment.data, "--resume")
    assert found.code == 4
    assert "seed was 0, now 5" in found.line()
    same = run("synth", *SMALL, "-o", experiment.data, "--resume", "--workers", "2")
    assert (same.code, same.out) == (0, f"{experiment.data}\n")


def test_full_export_folder_is_refused_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "mine.txt").write_text("kept")
    found = run("synth", *FEW, "-o", tmp_path / "s.zarr", "--export", "png", tmp_path / "pairs")
    assert found.code == 4
    assert "pairs: exists already" in found.line()
    assert not (tmp_path / "s.zarr").exists()
