from __future__ import annotations

from pathlib import Path

from skiptool.steps.report.drawing import with_names
from skiptool.steps.report.exhibits import exhibits
from skiptool.steps.report.inputs import Inputs, read_inputs
from skiptool.steps.report.overview import overview


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
    }
    by_topic = {each.topic: each.sentences() for _, each in reversed(named)}
    # Five shifts are too few for the interval of a correlation: no sentence about it.
    assert by_topic["rank-correlation"] == by_topic["forecast-by-layer"] == ()
    assert summary == (" ".join(by_topic["paired"][:2]),)
    assert all(summary)


def test_which_skip_carries_the_shift_is_told_first(substituted: Path) -> None:
    inputs = read_inputs([substituted])
    summary, facts = overview(inputs, with_names(exhibits(inputs, 0.95, 0)))
    assert summary[0].startswith("resnet18 baseline: under brightness 0.5, where its IoU is lowest")
    assert "a clean L1 alone brings it from" in summary[0]
    assert facts["Samples predicted"] == "12"


def test_a_forecast_is_told_last(study: list[Path]) -> None:
    inputs = read_inputs(study)
    summary, _ = overview(inputs, with_names(exhibits(inputs, 0.95, 0, forecast=True)))
    assert summary[-1].startswith("resnet18 baseline: on kinds of shift left out, the loss of IoU")


def test_nothing_says_nothing() -> None:
    assert overview(Inputs(), []) == ((), {})
