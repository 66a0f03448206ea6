from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skiptool.errors import ArgumentError, ExistsError, SourceError
from skiptool.records import Sample
from skiptool.sources.pictures.files import read_mask, read_picture
from skiptool.sources.smear.resize import resize_image, resize_mask
from skiptool.sources.smear.scenes import SceneSettings, cell_count, compose, prepare
from skiptool.sources.smear.templates import load_templates
from skiptool.steps import synth
from skiptool.steps.synth import synthesise_dataset
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter

Contents = Callable[[Path], dict[str, bytes]]

SMALL: dict[str, Any] = {"n": 24, "size": 64, "canvas": 300, "cells": (1, 4), "folds": 3}
"""What the shared experiment's dataset was made with."""


def test_samples_are_composed_as_in_the_paper(experiment: SimpleNamespace) -> None:
    store = open_dataset(experiment.data)
    settings = SceneSettings(canvas=300, cells=(1, 4))
    stage = prepare(load_templates(), settings)
    reader = store.samples("synthetic", range(24))
    for index in (0, 17):
        scene = compose(stage, 0, index)
        image, mask = reader.read(index)
        assert (image == resize_image(scene.image, 64)).all()
        assert (mask == resize_mask(scene.mask, 64)).all()
    assert store.classes == ("background", "cell")
    columns = store.domain("synthetic").columns
    assert columns["cells"].tolist() == [cell_count(settings, 0, index) for index in range(24)]
    masks = np.stack([reader.read(index)[1] for index in range(24)])
    assert set(np.unique(masks)) == {0, 1}
    np.testing.assert_allclose(columns["foreground"], masks.mean(axis=(1, 2)))


def test_split_and_folds_are_even_and_balanced(tmp_path: Path) -> None:
    synthesise_dataset(tmp_path / "s.zarr", n=60, size=8, canvas=200, cells=(1, 30))
    domain = open_dataset(tmp_path / "s.zarr").domain("synthetic")
    test, fold = domain.columns["split"] == "test", domain.columns["fold"]
    assert test.sum() == 12
    assert (fold[test] == -1).all()
    assert sorted(np.bincount(fold[~test])) == [9, 9, 10, 10, 10]
    cells = domain.columns["cells"].astype(float)
    parts = [cells[test], *(cells[fold == k] for k in range(5))]
    assert max(abs(part.mean() - cells.mean()) for part in parts) < 3


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_data(
    workers: int, tmp_path: Path, experiment: SimpleNamespace, contents: Contents
) -> None:
    synthesise_dataset(tmp_path / "s.zarr", **SMALL, workers=workers)
    assert contents(tmp_path / "s.zarr") == contents(experiment.data)


def test_seed_changes_the_data(tmp_path: Path, experiment: SimpleNamespace) -> None:
    synthesise_dataset(tmp_path / "s.zarr", **SMALL, seed=1)
    assert open_dataset(tmp_path / "s.zarr").lineage.id != open_dataset(experiment.data).lineage.id


@pytest.mark.long
def test_interrupted_run_can_be_resumed(
    tmp_path: Path,
    experiment: SimpleNamespace,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, seen = tmp_path / "s.zarr", []

    class Interrupted(DatasetWriter):
        def append(self, sample: Sample) -> None:
            seen.append(sample.id)
            if len(seen) == 20:
                raise KeyboardInterrupt
            super().append(sample)

    with monkeypatch.context() as patch:
        patch.setattr(synth, "DatasetWriter", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthesise_dataset(out, **SMALL)
    assert not out.exists()
    with pytest.raises(ExistsError, match="left of an interrupted run"):
        synthesise_dataset(out, **SMALL)
    with pytest.raises(ExistsError, match="seed was 0, now 1"):
        synthesise_dataset(out, **SMALL, seed=1, resume=True)

    rendered = []
    render = synth._Renderer.render
    monkeypatch.setattr(
        synth._Renderer, "render", lambda s, i: (rendered.append(i), render(s, i))[1]
    )
    synthesise_dataset(out, **SMALL, resume=True)
    assert rendered == list(range(16, 24))  # the first shard was safe
    assert contents(out) == contents(experiment.data)
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_resume_of_a_finished_store_does_nothing(
    experiment: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synth._Renderer, "render", None)
    found = synthesise_dataset(experiment.data, **SMALL, resume=True)
    assert found.outputs == (experiment.data,)
    assert found.summary == {"images": 24, "train": 19, "test": 5, "cells": found.summary["cells"]}
    with pytest.raises(ExistsError, match="size was 64, now 32"):
        synthesise_dataset(experiment.data, **SMALL | {"size": 32}, resume=True)


def test_overwrite_replaces(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    few = {"n": 4, "size": 8, "canvas": 200, "cells": (0, 2), "folds": 2}
    synthesise_dataset(out, **few)
    with pytest.raises(ExistsError, match="exists already"):
        synthesise_dataset(out, **few)
    synthesise_dataset(out, **few | {"n": 5}, overwrite=True)
    assert len(open_dataset(out).domain("synthetic")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


@pytest.mark.long
def test_export_and_templates_have_the_same_pixels(
    tmp_path: Path, experiment: SimpleNamespace, contents: Contents
) -> None:
    out, pairs, cut = tmp_path / "s.zarr", tmp_path / "pairs", tmp_path / "cut"
    pairs.mkdir()  # an empty folder is as good as none
    found = synthesise_dataset(out, **SMALL, export=pairs, save_templates_to=cut)
    assert found.side_outputs == (cut, pairs)
    reader = open_dataset(out).samples("synthetic", range(24))
    for index in range(24):
        image, mask = reader.read(index)
        assert (read_picture(pairs / "images" / f"{index:05d}.png") == image).all()
        assert (read_mask(pairs / "masks" / f"{index:05d}.png") == mask).all()
    again = tmp_path / "again.zarr"
    synthesise_dataset(again, **SMALL, templates=cut)
    assert contents(again) == contents(experiment.data)
    # Resuming what is whole leaves alone what lies beside it, and makes it where it is gone.
    shutil.rmtree(pairs)
    synthesise_dataset(out, **SMALL, export=pairs, save_templates_to=cut, resume=True)
    assert (pairs / "images" / "00003.png").is_file()


def test_filled_folders_are_refused_before_any_work(tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("kept")
    for option in ("export", "save_templates_to"):
        with pytest.raises(ExistsError, match="used: exists already"):
            synthesise_dataset(tmp_path / "s.zarr", **SMALL, **{option: used})
        with pytest.raises(SourceError, match="gone does not exist"):
            synthesise_dataset(tmp_path / "s.zarr", **SMALL, **{option: tmp_path / "gone" / "x"})
    assert [path.name for path in tmp_path.rglob("*")] == ["used", "mine.txt"]


@pytest.mark.long
def test_templates_are_cut_from_a_real_image(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "bbbc041"
    annotations = folder / "training_subset.json"
    picture = sorted((folder / "images").iterdir())[0]
    few = {"n": 4, "size": 64, "cells": (1, 5), "folds": 2, "save_templates_to": tmp_path / "cut"}
    synthesise_dataset(tmp_path / "s.zarr", source=picture, annotations=annotations, **few)
    used = load_templates(tmp_path / "cut")
    header = open_dataset(tmp_path / "s.zarr").lineage
    assert header.inputs == {"templates": used.digest[:32]}
    assert f"--source {picture}" in header.command


def test_no_test_split(tmp_path: Path) -> None:
    few = {"n": 4, "size": 8, "canvas": 200, "cells": (0, 2), "folds": 2}
    found = synthesise_dataset(tmp_path / "s.zarr", **few, test_fraction=0.0)
    assert (found.summary["train"], found.summary["test"]) == (4, 0)
    with pytest.raises(ArgumentError, match=r"test fraction -0\.5"):
        synthesise_dataset(tmp_path / "t.zarr", **few, test_fraction=-0.5)


@pytest.mark.long
def test_artifacts_are_cut_where_boxes_say(shared_data: Path, tmp_path: Path) -> None:
    (image,) = (shared_data / "bbbc041" / "images").glob("32700bc7*.png")
    synthesise_dataset(
        tmp_path / "s.zarr",
        n=2,
        size=64,
        folds=1,
        test_fraction=0,
        source=image,
        annotations=shared_data / "bbbc041" / "training_subset.json",
        artifact_boxes=[(302, 317, 416, 422)],
        save_templates_to=tmp_path / "cut",
    )
    assert len(list((tmp_path / "cut").glob("artifact*.png"))) == 1


def test_artifact_boxes_require_a_source(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--artifact-box requires --source"):
        synthesise_dataset(tmp_path / "s.zarr", n=2, artifact_boxes=[(1, 2, 30, 40)])
