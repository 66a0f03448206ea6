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
    sentences = [sentence for _, each in named for sentence in each.sentences()]
    assert len(summary) >= 2
    assert set(summary) <= set(sentences)


def test_nothing_says_nothing() -> None:
    assert overview(Inputs(), []) == ((), {})
