from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import simulated
from heard import Heard
from skiptool.records import ORIGINAL, Shift
from skiptool.steps.report.drawing import with_names
from skiptool.steps.report.exhibits import exhibits
from skiptool.steps.report.inputs import Inputs, read_inputs
from skiptool.steps.report.overview import once_trained, overview
from skiptool.steps.report.step import write_report


def test_facts_count_what_the_tables_hold(study: list[Path]) -> None:
    inputs = read_inputs(study)
    named = with_names(exhibits(inputs, 0.95, 0))
    summary, facts = overview(inputs, named)
    assert facts == {
        "Dataset": "study",
        "Domains": "Aperio CS2, AxioScan, NanoZoomer XR",
        "Architectures": "10",
        "Folds": "2",
        "Shifts": "5",
        "Samples predicted": "28",  # 12 of the sweep's domain, 8 of each of the two others
        "Subjects": "6",
        "Skip substitution": "not measured",
    }
    by_topic = {each.topic: each.sentences() for _, each in reversed(named)}
    assert by_topic["rank-correlation"] == ()
    (few,) = by_topic["forecast-by-layer"]
    assert few.endswith("5 shifts are too few for an interval (at least 9).")
    assert summary == (" ".join(by_topic["paired"][:2]), few)
    assert all(summary)


def test_which_skip_carries_the_shift_is_told_first(substituted: Path) -> None:
    inputs = read_inputs([substituted])
    summary, facts = overview(inputs, with_names(exhibits(inputs, 0.95, 0)))
    assert summary[0].startswith(
        "resnet18 baseline (mean over 2 trainings): under brightness 0.5, where its IoU is lowest"
    )
    assert "a clean L1 alone brings it from" in summary[0]
    assert facts["Samples predicted"] == "12"
    assert "Skip substitution" not in facts


@pytest.mark.long
def test_a_forecast_is_told_last(study: list[Path]) -> None:
    inputs = read_inputs(study)
    summary, _ = overview(inputs, with_names(exhibits(inputs, 0.95, 0, forecast=True)))
    assert summary[-1].startswith("resnet18 baseline: on kinds of shift left out, the loss of IoU")


@pytest.mark.long
def test_one_training_says_nothing_about_the_next(tmp_path: Path) -> None:
    """On the page's first screen, on the terminal and to Python callers."""
    shifts, page = (ORIGINAL, Shift.parse("brightness=0.5")), tmp_path / "page.html"
    once, twice = tmp_path / "once.parquet", tmp_path / "twice.parquet"
    simulated.predictions(once, ["A"], shifts, 4, folds=1)
    simulated.predictions(twice, ["A"], shifts, 4, folds=2)
    text = once_trained(read_inputs([once]))
    assert text.startswith("Each network was trained only once. Another training of the same arch")
    assert once_trained(read_inputs([twice])) == once_trained(Inputs()) == ""
    told = Heard()
    with pytest.warns(UserWarning, match="trained only once"):
        write_report([once], page, progress=told)
    assert told.lines == [text]
    shown = page.read_text()
    head = shown[: shown.index("<nav")]
    assert f'role="note">{text}</p>' in head
    assert "nothing can be said of the architectures" in head
    assert not re.search("[Bb]etter than the baseline, p|p &lt;", shown)
    write_report([twice], page, overwrite=True, progress=told)
    assert len(told.lines) == 1
    assert 'role="note"' not in page.read_text()


@pytest.mark.long
def test_some_networks_may_have_been_trained_once(tmp_path: Path) -> None:
    table = tmp_path / "shift.parquet"
    simulated.distances(table, [Shift.parse("brightness=0.5")], "A", folds=2)
    inputs = read_inputs([table])
    columns = pq.read_table(table)
    alone = [m != "resnet18-L1/fold1" for m in columns.column("model").to_pylist()]
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(columns.filter(pa.array(alone)), fewer)
    assert once_trained(inputs) == ""
    assert once_trained(read_inputs([fewer])).startswith("1 of 10 architectures were trained only")


def test_nothing_says_nothing() -> None:
    assert overview(Inputs(), []) == ((), {})
