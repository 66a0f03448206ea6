from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from skiptool.errors import FormatError
from skiptool.names import Precision
from skiptool.steps.predict.step import predict_dataset
from skiptool.steps.report.inputs import read_inputs


def test_every_kind_finds_its_place(experiment: SimpleNamespace, study: list[Path]) -> None:
    history = experiment.baseline / "history.parquet"
    found = read_inputs([*study, history, experiment.data])
    assert [table.path for table in found.predictions] == study[:2]
    assert [table.path for table in found.shifts] == study[2:]
    assert [table.path for table in found.histories] == [history]
    assert [store.path for store in found.datasets] == [experiment.data]
    names = [path.name for path in (*study, history, experiment.data)]
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
