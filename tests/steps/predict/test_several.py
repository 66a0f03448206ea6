"""Several datasets in one table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from predict_cases import make_dataset
from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import Kind, Precision
from skiptool.records import Shift
from skiptool.steps.predict.predict import predict_dataset
from skiptool.stores.dataset import open_dataset
from skiptool.stores.tables import open_table
from small_stores import refused, set_attributes, unseal

HOW: dict[str, Any] = {"precision": Precision.FLOAT32, "device": "cpu"}
DARK = Shift.parse("brightness=0.5")


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Return two datasets: domains A and B, and C and another A, of other sizes."""
    made = [tmp_path / "one.zarr", tmp_path / "two.zarr"]
    make_dataset(made[0], [("A", 32, 32), ("B", 40, 40)], number=5)
    make_dataset(made[1], [("C", 48, 32), ("A", 64, 64)], number=3)
    return made


@pytest.mark.long
def test_rows_are_those_of_each_store_alone(
    experiment: SimpleNamespace, stores: list[Path], tmp_path: Path
) -> None:
    out, how = tmp_path / "p.parquet", {**HOW, "shifts": [DARK]}
    found = predict_dataset([experiment.baseline], stores, out, **how)
    rows = pq.read_table(out).to_pylist()
    alone = []
    for number, store in enumerate(stores):
        predict_dataset([experiment.baseline], store, tmp_path / f"{number}", **how)
        alone += pq.read_table(tmp_path / f"{number}").to_pylist()
    assert rows == alone
    assert {row["dataset"] for row in rows} == {"one.zarr", "two.zarr"}
    header = open_table(out, Kind.PREDICTIONS).lineage
    ids = {"dataset": open_dataset(stores[0]).lineage.id}
    ids["dataset1"] = open_dataset(stores[1]).lineage.id
    assert {key: header.inputs[key] for key in ids} == ids
    assert f"--data {stores[0]} --data {stores[1]}" in header.command
    assert [table.columns["domain"] for table in found.tables] == [["A", "B"], ["A", "C"]]
    assert [table.title.partition(":")[0] for table in found.tables] == ["one.zarr", "two.zarr"]


def test_a_domain_need_not_be_in_all_stores(
    experiment: SimpleNamespace, stores: list[Path], tmp_path: Path
) -> None:
    out, how = tmp_path / "p.parquet", {**HOW, "domains": ["B", "C"]}
    predict_dataset([experiment.baseline], stores, out, **how)
    found = {(row["dataset"], row["domain"]) for row in pq.read_table(out).to_pylist()}
    assert found == {("one.zarr", "B"), ("two.zarr", "C")}
    with refused(ArgumentError, "two.zarr: has none of the domains B; leave it out"):
        predict_dataset([experiment.baseline], stores, tmp_path / "q", domains=["B"])
    with refused(ArgumentError, "--domain D", "one.zarr", "they have A, B, C"):
        predict_dataset([experiment.baseline], stores, tmp_path / "q", domains=["D", "B"])


@pytest.mark.long
def test_what_several_stores_cannot_have(
    experiment: SimpleNamespace, stores: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "p.parquet"
    for more in ({"masks": tmp_path / "m"}, {"overlays": tmp_path / "o"}, {"split": "fold"}):
        with refused(ArgumentError, "with 2 --data: give one store at a time"):
            predict_dataset([experiment.baseline], stores, out, **HOW, **more)
    with refused(ArgumentError, "holds the same as", "its pixels would count twice"):
        predict_dataset([experiment.baseline], [stores[0], stores[1], stores[0]], out, **HOW)
    with refused(ArgumentError, "no dataset store is given"):
        predict_dataset([experiment.baseline], [], out, **HOW)
    set_attributes(unseal(stores[1]), classes=["background", "nucleus"])
    with refused(MismatchError, stores[1], "has classes background, nucleus"):
        predict_dataset([experiment.baseline], stores, out, **HOW)
    assert not out.exists()


@pytest.mark.long
def test_a_resumed_run_is_of_the_same_stores(
    experiment: SimpleNamespace, stores: list[Path], tmp_path: Path
) -> None:
    out = str(tmp_path / "p.parquet")
    predict_dataset(str(experiment.baseline), [str(store) for store in stores], out, **HOW)
    found = predict_dataset(str(experiment.baseline), stores, out, resume=True, **HOW)
    assert found.outputs == (Path(out),)
    with pytest.raises(Exception, match="dataset1 was"):
        predict_dataset(str(experiment.baseline), stores[:1], out, resume=True, **HOW)
