from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.header import lineage
from skiptool.stores.schemas import OPTIONAL, OPTIONAL_IN_SHIFT, SCHEMAS, SHIFT
from skiptool.stores.table_writer import write_table
from skiptool.stores.tables import open_table
from small_stores import MAKING, refused

GOLDEN = {
    Kind.PREDICTIONS: (
        "model string, model_id string, arch string, encoder string, pruning string, fold "
        "int64, repeat int64, parameter_count int64, dataset string, dataset_id string, domain "
        "string, split string, shift string, factor double, clean_skips string, sample string, "
        "subject string, truth string, predicted string, pixels int64"
    ),
    Kind.SHIFT: (
        "reference string, reference_id string, other string, other_id string, model string, "
        "model_id string, arch string, encoder string, pruning string, fold int64, repeat "
        "int64, parameter_count int64, dataset string, reference_dataset string, "
        "reference_domain string, reference_split "
        "string, reference_shift string, reference_factor double, domain string, split string, "
        "shift string, factor double, layer string, layer_index int64, channel int64, metric "
        "string, bins int64, range_rule string, value double, value_live double, corrected "
        "double, ci_low double, ci_high double, tested double, null_mean double, null_high "
        "double, p_value double, p_adjusted double, input_value double, input_z double, "
        "transmission double, transmission_low double, transmission_high double, paired bool, "
        "effective_bins double, range_used double, inference_bins double, n_reference int64, "
        "n_other int64, constant_channels int64, unresolved_channels int64, unit string, "
        "units_reference int64, units_other int64, permutations int64, drawn bool, warnings "
        "string, skiptool_version string"
    ),
    Kind.HISTORY: (
        "epoch int64, split string, loss double, mIoU double, lr double, seconds double"
    ),
    Kind.REGISTRATION: (
        "subject string, slide string, reference_domain string, domain string, sample string, x "
        "double, y double, x_other double, y_other double, residual double, residual_um double, "
        "kept bool, reason string, xx double, xy double, x0 double, yx double, yy double, y0 "
        "double, mirrored bool, inliers int64"
    ),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_columns_are_those_that_are_written_down(kind: Kind) -> None:
    assert ", ".join(f"{name} {dtype}" for name, dtype in SCHEMAS[kind].items()) == GOLDEN[kind]


def without(path: Path, name: str) -> Path:
    """Write a shift table and take a column out of it."""
    write_table(path, lineage(Kind.SHIFT, MAKING, 1), {"layer": "enc1", "unit": "image"}, 2)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([name]), path)
    return path


@pytest.mark.parametrize("name", sorted(OPTIONAL_IN_SHIFT & set(SHIFT)))
def test_columns_that_came_later_are_null_where_a_table_has_none(name: str, tmp_path: Path) -> None:
    found = open_table(without(tmp_path / "t.parquet", name), Kind.SHIFT)
    assert found.columns([name]) == {name: [None, None]}
    assert found.data.schema.field(name).type == SHIFT[name]
    assert found.columns(["layer"]) == {"layer": ["enc1"] * 2}


def test_a_table_from_before_repeats_holds_first_ones(tmp_path: Path) -> None:
    """Networks that others trained have no fold, ensembles have fold -1."""
    path = tmp_path / "t.parquet"
    columns = {"fold": [0, 3, None, -1], "pixels": [1, 2, 3, 4]}
    write_table(path, lineage(Kind.PREDICTIONS, MAKING, 1), columns, 4)
    pq.write_table(pq.read_table(path).drop_columns(["repeat"]), path)
    found = open_table(path, Kind.PREDICTIONS)
    assert found.columns(["repeat", "pixels"]) == {
        **{"repeat": [0, 0, None, None], "pixels": [1, 2, 3, 4]},
    }
    assert found.data.schema.field("repeat").type == pa.int64()


@pytest.mark.parametrize("name", ["se_trainings", "trainings"])
def test_a_report_from_before_version_2_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, lineage(Kind.REPORT, MAKING, 1), {"value": [0.5, 0.25]}, 2)
    pq.write_table(pq.read_table(path).drop_columns([name]), path)
    found = open_table(path, Kind.REPORT).columns([name, "value"])
    assert found == {name: [None, None], "value": [0.5, 0.25]}


def test_repeats_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"fold": [0, 0, 1, -1], "repeat": [1, None, 2, None]}
    write_table(path, lineage(Kind.SHIFT, MAKING, 1), columns, 4)
    assert open_table(path, Kind.SHIFT).columns(["repeat"]) == {"repeat": [1, 0, 2, None]}


def test_other_columns_must_be_there(tmp_path: Path) -> None:
    with refused(FormatError, "shift table lacks value; make it again"):
        open_table(without(tmp_path / "t.parquet", "value"), Kind.SHIFT)


def test_predictions_must_say_their_split(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_table(path, lineage(Kind.PREDICTIONS, MAKING, 1), {"split": "test"}, 2)
    pq.write_table(pq.read_table(path).drop_columns(["split"]), path)
    with refused(FormatError, "predictions table lacks split; make it again"):
        open_table(path, Kind.PREDICTIONS)


def test_optional_columns_are_columns() -> None:
    known = {name for schema in SCHEMAS.values() for name in schema}
    assert known > OPTIONAL_IN_SHIFT > OPTIONAL
    assert all(isinstance(dtype, pa.DataType) for dtype in SHIFT.values())
