"""Every exhibit keeps to the protocol: known columns, whole sentences, a figure that fits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skiptool.figures.exhibit import Shown
from skiptool.figures.style import TWO_COLUMNS
from skiptool.steps.report.exhibits import exhibits
from skiptool.steps.report.inputs import read_inputs
from skiptool.stores.tables import REPORT


@pytest.fixture(scope="module")
def shown(study: list[Path]) -> dict[str, Shown]:
    """One exhibit of each topic that tables of numbers allow."""
    found = exhibits(read_inputs(study), 0.95, 0)
    return {each.topic: each for each in reversed(found)}


def test_all_topics_are_here(shown: dict[str, Shown]) -> None:
    assert set(shown) == {
        *("iou", "difference", "paired", "reach", "distance", "layers", "transmission"),
        *("forecast-by-layer", "rank-correlation", "parameters"),
    }


def test_words_are_whole(shown: dict[str, Shown]) -> None:
    for topic, each in shown.items():
        assert re.fullmatch(r"[a-z][a-z0-9-]*", topic)
        assert each.heading, topic
        assert each.title, topic
        assert each.caption.endswith("."), topic
        for sentence in each.sentences():
            assert sentence.endswith("."), topic


def test_numbers_have_columns_of_the_table(shown: dict[str, Shown]) -> None:
    for topic, each in shown.items():
        rows = each.numbers()
        assert rows, topic
        for row in rows:
            assert {"quantity", "value"} <= set(row) <= set(REPORT) - {"figure", "title"}, topic


def test_columns_of_a_table_are_of_one_length(shown: dict[str, Shown]) -> None:
    for topic, each in shown.items():
        lengths = {len(cells) for cells in each.table().columns.values()}
        assert len(lengths) == 1, topic
        assert lengths != {0}, topic


@pytest.mark.long
def test_figures_fit_two_columns_of_a_journal(shown: dict[str, Shown]) -> None:
    drawn = {topic: each.draw() for topic, each in shown.items()}
    assert [topic for topic, figure in drawn.items() if figure is None] == ["parameters"]
    for topic, figure in drawn.items():
        if figure is not None:
            assert figure.get_figwidth() <= TWO_COLUMNS + 0.01, topic
