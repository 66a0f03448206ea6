from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from predict_cases import Warned
from skiptool.errors import FormatError
from skiptool.names import Kind, Precision
from skiptool.records import Shift
from skiptool.steps.predict.step import predict_dataset
from skiptool.steps.report.drawing import with_names
from skiptool.steps.report.exhibits import exhibits, pictures, printed_tables, unmet
from skiptool.steps.report.inputs import Inputs, read_inputs
from skiptool.steps.report.overview import overview
from skiptool.steps.report.step import write_report
from skiptool.stores.lineage import parse_lineage
from skiptool.stores.tables import TABLE_KEY, write_table


def names(inputs: Inputs) -> list[str]:
    return [name for name, _ in with_names(exhibits(inputs, 0.95, 0))]


@pytest.mark.long
def test_each_table_allows_its_exhibits_and_both_together_more(study: list[Path]) -> None:
    scores = ["iou-1", "difference-1", "iou-2", "difference-2", "paired-1", "paired-2"]
    shifts = ("brightness-0.5", "brightness-1.5", "contrast-0.5", "saturation-0", "saturation-0.5")
    layers = [f"{topic}-{name}" for name in shifts for topic in ("distance", "layers")]
    assert names(read_inputs(study[:2])) == [*scores, "parameters-1"]
    alone = names(read_inputs(study[2:]))
    assert alone[0] == "reach-1"
    assert alone[-1] == "parameters-1"
    assert set(layers) < set(alone)
    together = names(read_inputs(study))
    assert together[: len(scores)] == scores
    further = set(together) - set(scores) - set(alone)
    assert further == {"forecast-by-layer-1", "forecast-by-layer-2", "rank-correlation-1"}


@pytest.mark.long
def test_forecasts_are_there_where_they_are_asked_for(study: list[Path]) -> None:
    inputs = read_inputs(study)
    usual, asked = (exhibits(inputs, 0.95, 0, forecast=forecast) for forecast in (False, True))
    further = [each for each in asked if each.topic == "forecast"]
    assert [each.topic for each in asked if each not in further] == [each.topic for each in usual]
    assert further
    assert {each.heading for each in further} == {"Forecast without labels"}
    assert len({each.title for each in further}) == len(further)
    assert exhibits(Inputs(), 0.95, 0, forecast=True) == []


def test_clean_skips_stand_behind_the_matrices_and_change_nothing_else(substituted: Path) -> None:
    inputs = read_inputs([substituted])
    shown = exhibits(inputs, 0.95, 0)
    topics = [each.topic for each in shown]
    assert topics == [
        *("iou", "difference", *("substitution", "regained") * 2, "paired", "parameters")
    ]
    printed = {table.title for table in printed_tables(shown)}
    left = [each.topic for each in shown if each.table().title not in printed]
    assert left == ["regained", "regained", "paired", "parameters"]
    (table,) = inputs.predictions
    plain = Inputs(predictions=[table.where({"clean_skips": None})])
    fewer = [each for each in shown if each.topic not in ("substitution", "regained")]
    for one, other in zip(exhibits(plain, 0.95, 0), fewer, strict=True):
        assert one.title == other.title
        assert repr(one.numbers()) == repr(other.numbers())


def test_nothing_allows_nothing() -> None:
    assert exhibits(Inputs(), 0.95, 0) == []
    assert pictures(Inputs()) == ([], [])


def test_histories_are_training_curves(experiment: SimpleNamespace) -> None:
    paths = [experiment.baseline / "history.parquet", experiment.pruned / "history.parquet"]
    (shown,) = exhibits(read_inputs(paths), 0.95, 0)
    assert shown.topic == "training"
    assert {row["pruning"] for row in shown.numbers()} == {"baseline", "L1-pruned"}


def test_stores_are_sheets_of_images(experiment: SimpleNamespace) -> None:
    shown, lacking = pictures(read_inputs([experiment.data, experiment.predictions]))
    assert [each.topic for each in shown] == ["data"]
    assert lacking == []


@pytest.mark.long
def test_matrices_are_printed_and_tables_that_stand_alone(study: list[Path]) -> None:
    shown = exhibits(read_inputs(study), 0.95, 0)
    printed = printed_tables(shown)
    topics = [each.topic for each in shown]
    assert len(printed) == sum(
        topics.count(topic) for topic in ("iou", "difference", "reach", "distance")
    ) + topics.count("rank-correlation")
    paired = [each for each in shown if each.topic == "paired"]
    assert len(printed_tables(paired)) == len(paired)


@pytest.mark.long
def test_what_is_not_shown_is_said(
    experiment: SimpleNamespace, study: list[Path], tmp_path: Path
) -> None:
    out, shown = tmp_path / "s.parquet", Warned()
    how = {"shifts": [Shift.parse("brightness=0.5")], "precision": Precision.FLOAT32}
    predict_dataset([experiment.baseline], experiment.data, out, clean_skips=["1"], **how)
    write_report([out], progress=shown)
    assert shown.lines[:-1] == [
        "s.parquet: predictions with clean skips are not shown without plain ones of the same "
        "networks, samples and shifts; give their table too"
    ]
    assert "trained only once" in shown.lines[-1]
    shown.lines.clear()
    write_report([out, experiment.predictions], progress=shown)
    assert ["trained only once" in line for line in shown.lines] == [True]
    shown.lines.clear()
    write_report(study[:1], forecast=True, progress=shown)
    assert len(shown.lines) == 1
    assert shown.lines[0].startswith("--forecast: nothing to fit")


@pytest.mark.long
def test_distances_that_stand_beside_no_loss_are_told(study: list[Path], tmp_path: Path) -> None:
    sweep, _, shift = study
    changed, shown = tmp_path / "fold.parquet", Warned()
    table = pq.read_table(shift)
    names = table.column_names
    for name, value in (("split", "validation"), ("reference_split", "validation")):
        column = pa.array([value] * table.num_rows)
        table = table.set_column(names.index(name), name, column)
    corrected = table["corrected"].to_pylist()
    corrected[0] = None
    table = table.set_column(names.index("corrected"), "corrected", pa.array(corrected))
    header = parse_lineage(json.loads(table.schema.metadata[TABLE_KEY]), "t", Kind.SHIFT)
    write_table(changed, replace(header, id="0" * 32), table.to_pydict(), table.num_rows)
    write_report([sweep, changed], progress=shown)
    layers = table["channel"].null_count
    assert shown.lines == [
        "fold.parquet: distances of validation images are compared with no loss of IoU for want "
        "of their scores; give a table of 'skiptool predict --split fold'",
        f"fold.parquet: 1 of {layers} distances of layers have no corrected value and are compared "
        "with no loss of IoU",
    ]
    shown.lines.clear()
    write_report(study, progress=shown)
    assert shown.lines == []


def test_nothing_to_print_is_an_error(experiment: SimpleNamespace) -> None:
    with pytest.raises(FormatError, match=f"{experiment.data.name}: no numbers to print"):
        write_report([experiment.data])


@pytest.mark.long
def test_captions_count_samples_and_subjects(study: list[Path], substituted: Path) -> None:
    shown = exhibits(read_inputs([*study[:2], substituted]), 0.95, 0)
    for each in shown:
        if each.topic in ("iou", "difference"):
            assert re.search(r"n = [\d,]+( to [\d,]+)? samples of \d+", each.caption), each.caption
        if each.topic == "substitution":
            assert "(n = 6 subjects)" in each.caption


def test_a_domain_without_labels_is_told_and_not_drawn(study: list[Path], tmp_path: Path) -> None:
    table = pq.read_table(study[1])
    blank = pc.equal(table["domain"], table["domain"][0])
    pixels = pc.if_else(blank, pa.scalar(0, pa.int64()), table["pixels"])
    place = table.column_names.index("pixels")
    path = tmp_path / "blank.parquet"
    pq.write_table(table.set_column(place, "pixels", pixels), path)
    inputs, whole = read_inputs([path]), read_inputs([study[1]])
    (name,) = inputs.unlabelled().values()
    assert table["domain"][0].as_py() in name
    assert whole.unlabelled() == {}
    columns = [exhibits(each, 0.95, 0)[0].table().columns["domain"] for each in (inputs, whole)]
    assert set(columns[1]) - set(columns[0]) == {table["domain"][0].as_py()}
    shown = exhibits(inputs, 0.95, 0)
    assert any("no pixel has a label" in line for line in unmet(inputs, shown, False))
    assert overview(inputs, [])[1]["Without labels (no IoU)"] == name
    only = pq.read_table(path).filter(blank)
    pq.write_table(only, path)
    assert "iou" not in {each.topic for each in exhibits(read_inputs([path]), 0.95, 0)}
