from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skiptool.stores.features import open_features
from small_models import edit, sibling

Run = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]


def test_features_write_one_store(
    run: Run,
    experiment: SimpleNamespace,
    tmp_path: Path,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("features", experiment.baseline, "--data", experiment.data)
    found = run(*words, "--shift", "brightness=0.5")
    assert (found.code, found.out) == (0, "feats.zarr\n")
    assert contents(tmp_path / "feats.zarr") == contents(experiment.dark)
    assert run(*words, "--shift", "brightness=0.5", "--resume").lines == ["feats.zarr"]
    other = run(*words, "--resume")
    assert (other.code, "now 'original'" in other.line()) == (4, True)
    assert run(*words, "--layers", "head", "--overwrite").code == 0
    assert open_features(tmp_path / "feats.zarr").layers == ("head",)


@pytest.mark.long
def test_features_fill_a_folder(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("features", "-", "--data", experiment.data, "--layers", "enc1,head", "-o", "./f/")
    models = f"{experiment.baseline}\n{experiment.pruned}/\n"
    found = run(*words, "--shift", "original", "--shift", "contrast=2", "--json", stdin=models)
    assert found.code == 0
    names = [
        f"./f/resnet18-L{level}-fold0_synthetic_{shift}.zarr"
        for level in (0, 1)
        for shift in ("original", "contrast-2")
    ]
    assert found.json["outputs"] == names
    assert found.json["summary"] == {"stores": 4}
    for name in names:
        assert open_features(Path(name)).layers == ("enc1", "head")


@pytest.mark.long
def test_dry_run(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    words = ("features", experiment.baseline, "--data", experiment.data, "--dry-run")
    found = run(*words, "-o", tmp_path / "f", "--sweep", "paper")
    assert (found.code, found.out) == (0, "")
    assert "stores: 15" in found.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_features_of_validation_folds(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    """A model of another split of the data is refused in one line, as by predict."""
    bad = sibling(experiment.baseline, tmp_path / "m/bad", 1)
    edit(bad, {"split_hash": "0" * 64})
    sibling(experiment.baseline, tmp_path / "m/good", 2)
    words = (tmp_path / "m", "--data", experiment.data, "--split", "fold")
    layer = ("--layers", "head", "-o", tmp_path / "f")
    found = run("features", *words, *layer)
    assert found.code == 3
    assert len(found.lines) == 1
    store = open_features(Path(found.lines[0]))
    assert (store.facts["split"], store.facts["fold"]) == ("validation", 2)
    refused = [line for line in found.err.splitlines() if "trained on another split" in line]
    assert refused
    scored = run("predict", *words, "-o", tmp_path / "p.parquet")
    assert scored.code == 3
    assert refused == [line for line in scored.err.splitlines() if "trained on another" in line]
    alone = run("features", bad, *words[1:], *layer)
    assert alone.code == 1
    assert "trained on another split" in alone.line()


@pytest.mark.long
def test_recorded_command_reproduces_the_store(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    words = shlex.split(run("info", "--command", experiment.dark_pruned).lines[0])[1:]
    words[words.index("--out") + 1] = str(tmp_path / "again.zarr")
    assert run(*words).code == 0
    again, first = open_features(tmp_path / "again.zarr"), open_features(experiment.dark_pruned)
    assert again.lineage.id == first.lineage.id


@pytest.mark.long
def test_counts_stores_are_known_to_later_commands(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From counting to a table of distances; every later command knows what the stores are."""
    monkeypatch.chdir(tmp_path)
    words = ("features", experiment.baseline, "--data", experiment.data, "--layers", "enc1,head")
    counted = (*words, "--counts", "--bins", "20", "--pool-images", "2")
    found = run(*counted, "--shift", "original", "--shift", "brightness=0.5", "-o", "c")
    names = [
        f"c/resnet18-L0-fold0_synthetic_{shift}.zarr" for shift in ("original", "brightness-0.5")
    ]
    assert (found.code, found.lines) == (0, names)
    assert "synthetic: 5 images in 3 rows of up to 2 images" in found.err
    later = run(*words, "--counts", "--ranges", "c", "--shift", "contrast=2", "-o", "c")
    assert later.code == 0
    table = run("hellinger", "c", "--bins", "20", "-o", "t.parquet", "--quiet")
    assert (table.code, table.lines[0]) == (0, "t.parquet")
    told = run("hellinger", "c", "--bins", "20", "-o", "u.parquet")
    assert told.err.count("counts have the range of their reference") == 1
    assert "no p-value below 0.05 is possible with 3 and 3 pairs" in told.err
    wrong = run("hellinger", "c")
    assert wrong.code == 2
    assert "holds counts in 20 bins; give --bins 20" in wrong.line()
    info = run("info", "c", "--check", "--json")
    assert [entry["kind"] for entry in info.json["summary"].values()] == ["counts"] * 3
    again = run(*counted[:-1], "1", "-o", "c", "--resume")
    assert (again.code, "pool_images was 2, now 1" in again.line()) == (4, True)
    assert run(*words, "--bins", "20", "-o", "f").code == 2
    page = run("report", names[0], "-o", "r.html")
    assert (page.code, "of kind counts, which has no figure" in page.line()) == (1, True)


@pytest.mark.long
def test_recorded_command_reproduces_the_counts_store(
    run: Run,
    experiment: SimpleNamespace,
    tmp_path: Path,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("features", experiment.baseline, "--data", experiment.data, "--layers", "head")
    run(*words, "--counts", "--shift", "brightness=0.5", "-o", "c.zarr")
    first = contents(tmp_path / "c.zarr")
    command = shlex.split(run("info", "--command", "c.zarr").lines[0])
    assert run(*command[1:], "--overwrite").code == 0
    assert contents(tmp_path / "c.zarr") == first


@pytest.mark.long
def test_store_of_ranges_is_not_overwritten(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("features", experiment.baseline, "--data", experiment.data, "--layers", "head")
    assert run(*words, "--counts", "-o", "c.zarr").code == 0
    found = run(*words, "--counts", "--ranges", "c.zarr", "-o", "c.zarr", "--overwrite")
    assert (found.code, "is an input of this command" in found.line()) == (2, True)
