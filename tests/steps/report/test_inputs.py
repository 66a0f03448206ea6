from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from skiptool.errors import FormatError
from skiptool.names import Precision
from skiptool.steps.hellinger import measure_shift
from skiptool.steps.predict.step import predict_dataset
from skiptool.steps.report.inputs import read_inputs
from skiptool.steps.report.step import write_report


def test_every_kind_finds_its_place(experiment: SimpleNamespace, study: list[Path]) -> None:
    history = experiment.baseline / "history.parquet"
    found = read_inputs([*study, history, experiment.data])
    assert [table.path for table in found.predictions] == study[:2]
    assert [table.path for table in found.shifts] == study[2:]
    assert [table.path for table in found.histories] == [history]
    assert [store.path for store in found.datasets] == [experiment.data]
    names = [path.name for path in study]
    names += ["resnet18-L0/fold0/history.parquet", experiment.data.name]
    assert [name for name, _ in found.origins] == names


def test_what_has_the_same_id_counts_once(study: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.parquet"
    shutil.copy(study[0], copy)
    found = read_inputs([study[0], copy])
    assert len(found.predictions) == len(found.origins) == 1


def test_what_was_measured_in_two_tables_is_summed_once(study: list[Path]) -> None:
    """The second table measured the first domain as well, on fewer samples."""
    first, both = read_inputs(study[:1]).totals(), read_inputs(study[:2]).totals()
    rows = len(first["pixels"])
    assert {name: column[:rows] for name, column in both.items()} == first
    assert "Aperio CS2" not in both["domain"][rows:]
    assert len(set(both["domain"])) == 3


def test_a_kind_without_a_figure_is_refused(experiment: SimpleNamespace) -> None:
    with pytest.raises(FormatError, match="of kind model, which has no figure; give tables"):
        read_inputs([experiment.baseline])


@pytest.mark.long
def test_tables_are_sorted_by_the_domain_of_their_clean_images(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    own, other = tmp_path / "own.parquet", tmp_path / "other.parquet"
    for path, domain in ((own, None), (other, "synthetic")):
        predict_dataset(
            [experiment.baseline],
            experiment.data,
            path,
            clean_skips=["1"],
            clean_domain=domain,
            precision=Precision.FLOAT32,
        )
    found = read_inputs([experiment.predictions, own, other]).by_clean_domain()
    assert {name: [table.path for table in tables] for name, tables in found.items()} == {
        None: [experiment.predictions, own],
        "synthetic": [experiment.predictions, other],
    }


@pytest.mark.long
def test_distances_between_stores_of_others_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stores = [tmp_path / folder / "own.zarr" for folder in "abc"]
    for moved, store in enumerate(stores):
        root = zarr.open_group(store, mode="w")
        for layer, channels in (("conv_0", 3), ("down_1", 2)):
            values = rng.normal(2.0 * moved, size=(24, channels, 4)).astype(np.float32)
            root.create_array(layer, shape=values.shape, dtype="f4")[:] = values
        np.save(store.parent / "own.npy", values)
    measure_shift(stores[0], stores[1:], tmp_path / "zarr.parquet")
    arrays = [store.parent / "own.npy" for store in stores]
    measure_shift(arrays[0], arrays[1:2], tmp_path / "npy.parquet")
    tables = [tmp_path / "zarr.parquet", tmp_path / "npy.parquet"]
    write_report(tables, tmp_path / "r.html")
    numbers = pq.read_table(tmp_path / "r-numbers.parquet").to_pylist()
    drawn = {
        (row["title"].partition(": ")[2].partition(",")[0], row["layer"]): row["value"]
        for row in numbers
        if row["quantity"] == "distance"
    }
    # stores of one name in two folders are two measurements
    one, other = "own.zarr against own.zarr", "own.zarr against own.zarr (2)"
    measured = pq.read_table(tables[0]).to_pylist()
    assert len({row["other_id"] for row in measured}) == 2
    assert {drawn[name, layer] for name in (one, other) for layer in ("conv_0", "down_1")} == {
        row["corrected"] for row in measured if row["channel"] is None
    }
    assert ("own.npy against own.npy", "features") in drawn
    assert "network" in write_report(tables[1:]).tables[0].columns
    # tables of before knew no id of such stores
    old = pq.read_table(tables[0])
    for name in ("reference_id", "other_id"):
        old = old.set_column(old.column_names.index(name), name, pa.nulls(len(old), pa.string()))
    pq.write_table(old, tmp_path / "old.parquet")
    assert write_report([tmp_path / "old.parquet"]).tables
