from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.steps.report.checks import check_table
from skiptool.stores.tables import open_table


@pytest.mark.parametrize(
    ("kind", "column", "value", "message"),
    [
        (Kind.PREDICTIONS, "shift", "rotation", r"p\.parquet: shift 'rotation', expected one of"),
        (Kind.PREDICTIONS, "shift", None, "column shift is empty in some rows"),
        (Kind.PREDICTIONS, "pixels", None, "column pixels is empty in some rows"),
        (Kind.PREDICTIONS, "pruning", None, "column pruning is empty in some rows"),
        (Kind.SHIFT, "value", None, "column value is empty in some rows"),
        (Kind.SHIFT, "value", math.inf, "a distance is infinite"),
        (Kind.SHIFT, "reference_shift", "", "reference_shift '', expected one of original"),
    ],
)
def test_what_was_never_measured_is_refused(
    experiment: SimpleNamespace,
    tmp_path: Path,
    kind: Kind,
    column: str,
    value: object,
    message: str,
) -> None:
    path = tmp_path / "p.parquet"
    shutil.copy(experiment.predictions if kind is Kind.PREDICTIONS else experiment.shift, path)
    check_table(open_table(path, kind))
    data = pq.read_table(path)
    place = data.column_names.index(column)
    cells = [*data.column(column).to_pylist()[:-1], value]
    dtype = data.schema.field(place).type
    pq.write_table(data.set_column(place, column, pa.array(cells, dtype)), path)
    with pytest.raises(FormatError, match=message):
        check_table(open_table(path, kind))


def test_a_distance_may_be_unknown_and_a_shift_too(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    """A channel that does not vary has no distance; stores of other programs name no shift."""
    path = tmp_path / "s.parquet"
    data = pq.read_table(experiment.shift)
    for column, value in (("value", math.nan), ("shift", None), ("pruning", None)):
        place = data.column_names.index(column)
        cells = [*data.column(column).to_pylist()[:-1], value]
        data = data.set_column(place, column, pa.array(cells, data.schema.field(place).type))
    pq.write_table(data, path)
    check_table(open_table(path, Kind.SHIFT))
