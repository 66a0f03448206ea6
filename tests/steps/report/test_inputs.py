"""Inputs of a report: which exhibits they allow, what the page says of them first."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zarr

import simulated
from heard import Heard
from predict_cases import Warned
from skiptool.comparison.activations import Settings
from skiptool.errors import FormatError
from skiptool.names import LAYERWISE, Kind, Metric, Precision
from skiptool.records import ORIGINAL, Shift
from skiptool.report.contents import image_exhibits, printed_tables, table_exhibits
from skiptool.report.exhibit import Exhibit, name_exhibits
from skiptool.report.inputs import Inputs
from skiptool.report.summary import facts, findings, single_training_warning, unused_inputs
from skiptool.steps.hellinger import measure_shift
from skiptool.steps.predict.predict import predict_dataset
from skiptool.steps.report import check_table, read_inputs, write_report
from skiptool.stores.lineage import parse_lineage
from skiptool.stores.tables import TABLE_KEY, open_table, write_table
from small_activations import written


def named(inputs: Inputs, *, forecast: bool = False) -> list[Exhibit]:
    return name_exhibits(table_exhibits(inputs, 0.95, 0, forecast=forecast))


def names(inputs: Inputs) -> list[str]:
    return [each.anchor for each in named(inputs)]


@pytest.mark.long
def test_tables_determine_the_exhibits(study: list[Path]) -> None:
    scores = ["iou-1", "difference-1", "iou-2", "difference-2", "paired-1", "paired-2"]
    shifts = ("brightness-0.5", "brightness-1.5", "contrast-0.5", "saturation-0", "saturation-0.5")
    layers = [f"{topic}-{name}" for name in shifts for topic in ("distance", "layers")]
    plain = names(read_inputs(study[:2]))
    assert plain[: len(scores)] == scores
    assert "parameters-1" in plain
    assert not set(plain) & {"reach-1", *layers}
    alone = names(read_inputs(study[2:]))
    assert alone[0] == "reach-1"
    assert {"parameters-1", *layers} < set(alone)
    together = names(read_inputs(study))
    assert together[: len(scores)] == scores
    further = set(together) - set(plain) - set(alone)
    assert further == {"forecast-by-layer-1", "forecast-by-layer-2", "rank-correlation-1"}


@pytest.mark.long
def test_forecasts_on_request(study: list[Path]) -> None:
    inputs = read_inputs(study)
    usual, asked = (
        table_exhibits(inputs, 0.95, 0, forecast=forecast) for forecast in (False, True)
    )
    further = [each for each in asked if each.topic == "forecast"]
    assert [each.topic for each in asked if each not in further] == [each.topic for each in usual]
    assert further
    assert {each.heading for each in further} == {"Forecast without labels"}
    assert len({each.title for each in further}) == len(further)
    assert table_exhibits(Inputs(), 0.95, 0, forecast=True) == []


def test_clean_skips_only_add_exhibits(substituted: Path) -> None:
    inputs = read_inputs([substituted])
    shown = table_exhibits(inputs, 0.95, 0)
    topics = [each.topic for each in shown]
    order = ["iou", "difference", *("substitution", "regained") * 2, "paired", "parameters"]
    assert [topic for topic in topics if topic in order] == order
    printed = {table.title for table in printed_tables(shown)}
    left = [each.topic for each in shown if each.table.title not in printed]
    long = ["regained", "regained", "paired", "parameters"]
    assert [topic for topic in left if topic in order] == long
    (table,) = inputs.predictions
    plain = Inputs(predictions=[table.where({"clean_skips": None})])
    fewer = [each for each in shown if each.topic not in ("substitution", "regained")]
    for one, other in zip(table_exhibits(plain, 0.95, 0), fewer, strict=True):
        assert one.title == other.title
        assert repr(one.numbers) == repr(other.numbers)


def test_no_tables_no_exhibits() -> None:
    assert table_exhibits(Inputs(), 0.95, 0) == []
    assert image_exhibits(Inputs()) == ([], [])


def test_histories_are_training_curves(experiment: SimpleNamespace) -> None:
    paths = [experiment.baseline / "history.parquet", experiment.pruned / "history.parquet"]
    (shown,) = table_exhibits(read_inputs(paths), 0.95, 0)
    assert shown.topic == "training"
    assert {row["pruning"] for row in shown.numbers} == {"baseline", "L1-pruned"}


def test_stores_are_sheets_of_images(experiment: SimpleNamespace) -> None:
    shown, lacking = image_exhibits(read_inputs([experiment.data, experiment.predictions]))
    assert [each.topic for each in shown] == ["data"]
    assert lacking == []


@pytest.mark.long
def test_printed_tables(study: list[Path]) -> None:
    shown = table_exhibits(read_inputs(study), 0.95, 0)
    printed = printed_tables(shown)
    topics = [each.topic for each in shown]
    assert len(printed) == sum(
        topics.count(topic) for topic in ("iou", "difference", "reach", "distance")
    ) + topics.count("rank-correlation")
    paired = [each for each in shown if each.topic == "paired"]
    assert len(printed_tables(paired)) == len(paired)


@pytest.mark.long
def test_unused_inputs_are_a_warning(
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
def test_distances_without_loss_are_a_warning(study: list[Path], tmp_path: Path) -> None:
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
        "fold.parquet: distances of validation images are not compared with the loss of IoU "
        "without their scores; give a table of 'skiptool predict --split fold'",
        f"fold.parquet: 1 of {layers} distances of layers have no corrected value and are not "
        "compared with the loss of IoU",
    ]
    shown.lines.clear()
    write_report(study, progress=shown)
    assert shown.lines == []


def test_nothing_to_print_is_an_error(experiment: SimpleNamespace) -> None:
    with pytest.raises(FormatError, match=f"{experiment.data.name}: no numbers to print"):
        write_report([experiment.data])


@pytest.mark.long
def test_captions_count_samples_and_subjects(study: list[Path], substituted: Path) -> None:
    shown = table_exhibits(read_inputs([*study[:2], substituted]), 0.95, 0)
    for each in shown:
        if each.topic in ("iou", "difference"):
            assert re.search(r"n = [\d,]+( to [\d,]+)? samples of \d+", each.caption), each.caption
        if each.topic == "substitution":
            assert "(n = 6 subjects)" in each.caption


def test_domain_without_labels_is_a_warning(study: list[Path], tmp_path: Path) -> None:
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
    columns = [table_exhibits(each, 0.95, 0)[0].table.columns["domain"] for each in (inputs, whole)]
    assert set(columns[1]) - set(columns[0]) == {table["domain"][0].as_py()}
    shown = table_exhibits(inputs, 0.95, 0)
    assert any(
        "no pixel has a label" in line for line in unused_inputs(inputs, shown, forecast=False)
    )
    assert facts(inputs)["Without labels (no IoU)"] == name
    only = pq.read_table(path).filter(blank)
    pq.write_table(only, path)
    assert "iou" not in {each.topic for each in table_exhibits(read_inputs([path]), 0.95, 0)}


def test_facts_count_the_contents_of_the_tables(study: list[Path]) -> None:
    inputs = read_inputs(study)
    shown = named(inputs)
    summary = findings(shown)
    assert facts(inputs) == {
        "Dataset": "study",
        "Domains": "Aperio CS2, AxioScan, NanoZoomer XR",
        "Architectures": "10",
        "Folds": "2",
        "Shifts": "5",
        "Samples predicted": "28",  # 12 of the sweep's domain, 8 of each of the two others
        "Subjects": "6",
        "Skip substitution": "not measured",
    }
    by_topic = {each.topic: each.sentences for each in reversed(shown)}
    assert not by_topic["rank-correlation"]
    (few,) = by_topic["forecast-by-layer"]
    assert few.endswith("5 shifts are too few for an interval (at least 9).")
    assert summary == [" ".join(by_topic["paired"][:2]), few]
    assert all(summary)


def test_skip_that_carries_the_shift_is_the_first_finding(substituted: Path) -> None:
    inputs = read_inputs([substituted])
    summary = findings(named(inputs))
    assert summary[0].startswith(
        "resnet18 baseline (mean over 2 trainings): under brightness 0.5, where its IoU is lowest"
    )
    assert "a clean L1 alone raises it from" in summary[0]
    assert facts(inputs)["Samples predicted"] == "12"
    assert "Skip substitution" not in facts(inputs)


@pytest.mark.long
def test_forecast_is_the_last_finding(study: list[Path]) -> None:
    inputs = read_inputs(study)
    summary = findings(named(inputs, forecast=True))
    assert summary[-1].startswith("resnet18 baseline: on kinds of shift left out, the loss of IoU")


@pytest.mark.long
def test_single_training_is_a_warning(tmp_path: Path) -> None:
    """On the page's first screen, on the terminal and to Python callers."""
    shifts, page = (ORIGINAL, Shift.parse("brightness=0.5")), tmp_path / "page.html"
    once, twice = tmp_path / "once.parquet", tmp_path / "twice.parquet"
    simulated.predictions(once, ["A"], shifts, 4, folds=1)
    simulated.predictions(twice, ["A"], shifts, 4, folds=2)
    text = single_training_warning(read_inputs([once]))
    assert text.startswith("Each network was trained only once. Another training of the same arch")
    assert single_training_warning(read_inputs([twice])) == single_training_warning(Inputs()) == ""
    told = Heard()
    with pytest.warns(UserWarning, match="trained only once"):
        write_report([once], page, progress=told)
    assert told.lines == [text]
    shown = page.read_text()
    head = shown[: shown.index("<nav")]
    assert f'role="note">{text}</p>' in head
    assert "no conclusion about the architectures is possible" in head
    assert not re.search("[Bb]etter than the baseline, p|p &lt;", shown)
    write_report([twice], page, overwrite=True, progress=told)
    assert len(told.lines) == 1
    assert 'role="note"' not in page.read_text()


@pytest.mark.long
def test_single_trainings_of_some_networks_are_a_warning(tmp_path: Path) -> None:
    table = tmp_path / "shift.parquet"
    simulated.distances(table, [Shift.parse("brightness=0.5")], "A", folds=2)
    inputs = read_inputs([table])
    columns = pq.read_table(table)
    alone = [m != "resnet18-L1/fold1" for m in columns.column("model").to_pylist()]
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(columns.filter(pa.array(alone)), fewer)
    assert single_training_warning(inputs) == ""
    assert single_training_warning(read_inputs([fewer])).startswith(
        "1 of 10 architectures were trained only"
    )


def test_no_tables_no_findings() -> None:
    assert (findings([]), facts(Inputs())) == ([], {})


def test_inputs_are_sorted_by_kind(experiment: SimpleNamespace, study: list[Path]) -> None:
    history = experiment.baseline / "history.parquet"
    found = read_inputs([*study, history, experiment.data])
    assert [table.path for table in found.predictions] == study[:2]
    assert [table.path for table in found.shifts] == study[2:]
    assert [table.path for table in found.histories] == [history]
    assert [store.path for store in found.datasets] == [experiment.data]
    names = [path.name for path in study]
    names += ["resnet18-L0/fold0/history.parquet", experiment.data.name]
    assert [name for name, _ in found.origins] == names


def test_inputs_of_equal_id_count_once(study: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.parquet"
    shutil.copy(study[0], copy)
    found = read_inputs([study[0], copy])
    assert len(found.predictions) == len(found.origins) == 1


def test_measurements_in_two_tables_count_once(study: list[Path]) -> None:
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
def test_distances_between_foreign_stores_are_drawn(tmp_path: Path) -> None:
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
def test_missing_values_are_refused(
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


def test_distances_and_shifts_may_be_unknown(experiment: SimpleNamespace, tmp_path: Path) -> None:
    """A channel that does not vary has no distance; stores of other programs name no shift."""
    path = tmp_path / "s.parquet"
    data = pq.read_table(experiment.shift)
    for column, value in (("value", math.nan), ("shift", None), ("pruning", None)):
        place = data.column_names.index(column)
        cells = [*data.column(column).to_pylist()[:-1], value]
        data = data.set_column(place, column, pa.array(cells, data.schema.field(place).type))
    pq.write_table(data, path)
    check_table(open_table(path, Kind.SHIFT))


# -------------------------------------------------------------------------------------------------
# A correlation between channels that no distance of channels shows, seen on the page.


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20, 4, 16))
    y[:, 1] = 0.8 * y[:, 0] + 0.6 * y[:, 1]
    shift = {"shift": "brightness", "factor": 0.9, "encoder": "resnet18", "pruning": "baseline"}
    stores = [
        written(tmp_path / f"{name}.zarr", {"enc1": each}, facts=facts)
        for name, each, facts in (("x", x, {**shift, "shift": "original", "factor": None}),
                                  ("y", y, shift))
    ]  # fmt: skip
    settings = Settings(metrics=(Metric.HELLINGER, *LAYERWISE), bins=(10,), paired=True)
    measure_shift(stores[0], stores[1:], tmp_path / "shift.parquet", settings=settings)
    return tmp_path / "shift.parquet"


def test_page_shows_missing_estimates_first(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    write_report([table], out)
    text = out.read_text()
    summary = text[: text.index("<main")] if "<main" in text else text[: text.index("<section")]
    assert "at enc1 the marginal distributions of channels agree" in summary
    assert "covariance distance" in summary
    assert "What single channels do not show" in text
    numbers = open_table(tmp_path / "r-numbers.parquet", Kind.REPORT).columns(
        ("metric", "figure", "value")
    )
    figures = {
        metric: {
            f for f, m in zip(numbers["figure"], numbers["metric"], strict=True) if m == metric
        }
        for metric in set(numbers["metric"])
    }
    for metric in LAYERWISE:
        assert figures[metric.value] == {"beyond-1"}
    assert {"beyond-1", "distance-brightness-0.9", "layers-brightness-0.9"} <= figures["hellinger"]


def test_table_of_whole_layers_is_shown(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3))
    for name, each in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", each)
    settings = Settings(metrics=(Metric.COVARIANCE,), permutations=9)
    out = tmp_path / "shift.parquet"
    measure_shift(tmp_path / "x.npy", [tmp_path / "y.npy"], out, settings=settings)
    (printed,) = write_report([out]).tables
    assert printed.columns["measure"] == ["Covariance distance"]
