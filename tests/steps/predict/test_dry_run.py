from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from predict_cases import make_dataset
from skiptool.names import Precision
from skiptool.records import ORIGINAL, Shift
from skiptool.steps.predict import dry_run
from skiptool.steps.predict.predict import predict_dataset

DARK = Shift.parse("brightness=0.5")
HOW: dict[str, Any] = {"precision": Precision.FLOAT32, "device": "cpu"}


def size(path: Path) -> int:
    whole = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(each.stat().st_size for each in whole if each.is_file())


def told_and_written(
    models: list[Path],
    data: Path | list[Path],
    out: Path,
    **how: Any,  # noqa: ANN401
) -> tuple[dict[str, int], int]:
    told = predict_dataset(models, data, out, dry_run=True, **how, **HOW).summary
    assert not out.exists()
    predict_dataset(models, data, out, **how, **HOW)
    assert told["rows"] == pq.read_metadata(out).num_rows
    return dict(told), size(out) + (size(how["masks"]) if "masks" in how else 0)


@pytest.mark.long
@pytest.mark.parametrize(
    "how",
    [
        {},
        pytest.param({"split": "all", "sweep": "paper"}, marks=pytest.mark.slow),
        {"split": "all", "shifts": [ORIGINAL, DARK], "masks": "m.zarr"},
        pytest.param(
            {"split": "all", "shifts": [DARK], "clean_skips": ["each"]}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_estimated_bytes_are_close_to_the_written_ones(
    how: dict[str, Any], experiment: SimpleNamespace, tmp_path: Path
) -> None:
    given = how | ({"masks": tmp_path / how["masks"]} if "masks" in how else {})
    both = [experiment.baseline, experiment.pruned]
    told, written = told_and_written(both, experiment.data, tmp_path / "p.parquet", **given)
    assert told["bytes"] == pytest.approx(written, rel=0.2)
    assert told["models"] == 2


@pytest.mark.long
def test_folds_ensembles_and_several_stores(
    experiment: SimpleNamespace, runs: Path, tmp_path: Path
) -> None:
    make_dataset(tmp_path / "d.zarr", [("A", 32, 64), ("B", 40, 40)], number=30)
    data, shifts = [experiment.data, tmp_path / "d.zarr"], [ORIGINAL, DARK]
    how: dict[str, Any] = {"shifts": shifts, "ensemble": True}
    told, written = told_and_written([runs], data, tmp_path / "p.parquet", **how)
    assert (told["ensembles"], told["images"]) == (1, 5 + 60)
    assert told["bytes"] == pytest.approx(written, rel=0.2)
    told, written = told_and_written(
        [runs], experiment.data, tmp_path / "f.parquet", shifts=shifts, split="fold"
    )
    assert told["bytes"] == pytest.approx(written, rel=0.2)


@pytest.mark.long
def test_long_tables_are_extrapolated(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_dataset(tmp_path / "d.zarr", [("A", 32, 32)], number=120)
    out, shifts = tmp_path / "p.parquet", [ORIGINAL, DARK, *map(Shift.parse, KINDS)]
    monkeypatch.setattr(dry_run, "ROWS", 1500)
    told, written = told_and_written([experiment.baseline], tmp_path / "d.zarr", out, shifts=shifts)
    assert told["rows"] == 120 * 5 * 4
    assert told["bytes"] == pytest.approx(written, rel=0.2)


KINDS = ("contrast=0.5", "contrast=1.5", "saturation=0")
