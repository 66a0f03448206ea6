"""Every function of the Python interface takes paths as text, and one where it takes several."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import skiptool
from skiptool.errors import SourceError
from skiptool.names import ExportFormat
from skiptool.records import Outcome
from skiptool.sources.pictures.files import write_mask, write_picture
from small_stores import refused

Call = Callable[[SimpleNamespace, str], Any]

CALLS: dict[str, Call] = {
    "synthesise_dataset": lambda e, out: skiptool.synthesise_dataset(
        f"{out}/s.zarr", n=8, size=32, canvas=300, cells=(1, 2), folds=2, export=f"{out}/pairs"
    ),
    "train_models": lambda e, out: skiptool.train_models(
        str(e.data), f"{out}/runs", fold=[0], dry_run=True
    ),
    "predict_dataset": lambda e, out: skiptool.predict_dataset(
        str(e.baseline), str(e.data), f"{out}/p.parquet", masks=f"{out}/m.zarr"
    ),
    "extract_features": lambda e, out: skiptool.extract_features(
        [str(e.baseline)], str(e.data), f"{out}/f.zarr", layers=["head"]
    ),
    "measure_shift": lambda e, out: skiptool.measure_shift(
        str(e.plain), str(e.dark), f"{out}/shift.parquet"
    ),
    "write_report": lambda e, out: skiptool.write_report(
        [str(e.predictions), str(e.shift)], f"{out}/r.html", figures=f"{out}/figures"
    ),
    "describe": lambda e, out: skiptool.describe(str(e.data)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:.*trained only once")
def test_paths_may_be_text(name: str, experiment: SimpleNamespace, tmp_path: Path) -> None:
    found = CALLS[name](experiment, str(tmp_path))
    assert isinstance(found, Outcome)
    assert found.outputs or found.summary
    assert all(isinstance(path, Path) for path in (*found.outputs, *found.side_outputs))
    assert all(path.exists() for path in found.outputs)


def test_model_path_may_be_text(experiment: SimpleNamespace) -> None:
    network = skiptool.load_model(str(experiment.baseline))
    assert isinstance(network, torch.nn.Module)


def test_picture_paths_may_be_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["image,mask,domain,subject"]
    for number in range(6):
        write_picture(tmp_path / f"{number}.png", rng.integers(0, 255, (16, 16, 3), np.uint8))
        mask = (np.arange(256).reshape(16, 16) % 2).astype(np.uint8)
        write_mask(tmp_path / f"{number}m.png", mask, [(0, 0, 0), (255, 255, 255)])
        rows.append(f"{number}.png,{number}m.png,A,s{number}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    how: dict[str, Any] = {"classes": ["background", "cell"], "folds": 2, "pictures": False}
    (out,) = skiptool.extract_images(
        f"{tmp_path}/d.zarr", manifest=f"{tmp_path}/m.csv", **how
    ).outputs
    whole = [row.split(",") for row in rows]
    table = "\n".join(
        ",".join([*(f"{tmp_path}/{cell}" for cell in row[:2]), *row[2:]])
        if number
        else ",".join(row)
        for number, row in enumerate(whole)
    )
    export = (ExportFormat.PNG, f"{tmp_path}/png")
    other = skiptool.extract_images(f"{tmp_path}/e.zarr", manifest=table, export=export, **how)
    ids = {
        skiptool.describe(path).summary[str(path)]["lineage"]["id"]
        for path in (out, *other.outputs)
    }
    assert len(ids) == 1
    assert (tmp_path / "png").is_dir()


@pytest.mark.parametrize("name", ["extract_images", "extract_mri", "extract_slides"])
def test_text_without_a_table_is_a_path(name: str, tmp_path: Path) -> None:
    gone, out = f"{tmp_path}/gone.csv", f"{tmp_path}/d.zarr"
    with refused(SourceError, gone):
        if name == "extract_images":
            skiptool.extract_images(out, manifest=gone)
        else:
            getattr(skiptool, name)(gone, out)


def test_every_path_argument_accepts_text() -> None:
    """No parameter of a public function is of paths alone."""
    for name in skiptool.__all__:
        for key, parameter in inspect.signature(getattr(skiptool, name)).parameters.items():
            kind = str(parameter.annotation).replace("Place", "Path | str")
            assert "Path" not in kind or "str" in kind, f"{name}: {key} is {kind}"
