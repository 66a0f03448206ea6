"""What stands in the page is what stands in the table beside it."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import simulated
from skiptool.names import Kind
from skiptool.records import PAPER_SWEEP
from skiptool.report.contents import table_exhibits
from skiptool.report.exhibit import name_exhibits
from skiptool.steps.info import describe
from skiptool.steps.report import read_inputs, write_report
from skiptool.stores.tables import open_table

pytestmark = pytest.mark.long

NOT_NUMBERS = {"fold", "factor", "bins", "epoch"}
"""Columns that say of what a number is, not what it is."""


class Cells(HTMLParser):
    """Collects the numbers of each exhibit's tables, as they are sorted by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[float]] = defaultdict(list)
        self.exhibit = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag == "div" and facts.get("class") == "exhibit":
            self.exhibit = facts["id"] or ""
        if tag == "td" and facts.get("data-key"):
            self.found[self.exhibit].append(float(facts["data-key"] or ""))


@pytest.fixture(scope="module", params=["study", "clean skips"])
def page(
    request: pytest.FixtureRequest,
    study: list[Path],
    substituted: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("page") / "r.html"
    write_report(study if request.param == "study" else [substituted], out)
    return out


def test_every_number_of_the_page_is_in_the_table(page: Path) -> None:
    shown = Cells(page.read_text()).found
    table = pq.read_table(page.with_name(f"{page.stem}-numbers.parquet"))
    kept: dict[str, set[float]] = defaultdict(set)
    for row in table.to_pylist():
        kept[row["figure"]] |= {float(v) for v in row.values() if isinstance(v, int | float)}
    assert set(shown) == set(kept)
    for figure, numbers in shown.items():
        assert numbers, figure
        missing = [number for number in numbers if number not in kept[figure]]
        assert not missing, (figure, missing[:5])


def test_every_caption_has_counts_and_sources(page: Path) -> None:
    """Over how many images, subjects, trainings or points; by which file, and so which command."""
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.read_text(), flags=re.DOTALL)
    assert len(captions) > 3
    anchors = set(re.findall(r'class="origin" id="(how-\d+)"', page.read_text()))
    for caption in captions:
        links = re.findall(r'<a href="#(how-\d+)">', caption)
        assert links, caption
        assert set(links) <= anchors
        counted = r"\d (images|samples|subjects|points|trainings|folds)|Trainable parameters"
        assert re.search(counted, caption), caption


def test_every_number_is_identified(page: Path) -> None:
    """No two rows of a figure say the same of different values."""
    table = open_table(page.with_name(f"{page.stem}-numbers.parquet"), Kind.REPORT)
    assert table.lineage.command.startswith("skiptool report ")
    text = [name for name in table.data.schema.names if name not in _MEASURED]
    rows = table.columns(text)
    keys = list(zip(*rows.values(), strict=True))
    assert len(set(keys)) == len(keys)
    assert not any(math.isnan(value) for value in table.columns(["value"])["value"] if value)


_MEASURED = {
    "value",
    "sd_folds",
    "se_subjects",
    "ci_low",
    "ci_high",
    "level",
    "p_value",
    "p_adjusted",
    "se_trainings",
    "folds",
    "trainings",
    "subjects",
    "images",
    "points",
}


def test_the_same_inputs_and_seed_give_the_same_numbers(tmp_path: Path) -> None:
    """Only rank correlations are resampled; they have intervals from nine shifts on."""
    scored, measured = tmp_path / "p.parquet", tmp_path / "s.parquet"
    simulated.predictions(scored, ["A"], PAPER_SWEEP, 4, folds=1)
    simulated.distances(measured, PAPER_SWEEP, "A", folds=1)
    inputs = read_inputs([scored, measured])
    found = [
        [(each.anchor, row) for each in shown for row in each.numbers]
        for shown in (name_exhibits(table_exhibits(inputs, 0.95, seed)) for seed in (0, 0, 1))
    ]
    same, again, other = (repr(rows) for rows in found)  # NaN is not equal to itself
    assert same == again
    assert same != other
    changed = {a[0] for a, b in zip(found[0], found[2], strict=True) if repr(a) != repr(b)}
    assert {name.rsplit("-", 1)[0] for name in changed} <= {"rank-correlation", "forecast-by-layer"}


def test_the_table_is_described_and_checked(page: Path) -> None:
    numbers = page.with_name(f"{page.stem}-numbers.parquet")
    found = describe([numbers], check=True)
    (entry,) = found.summary.values()
    assert entry["kind"] == "report"
    assert entry["rows"] == pq.read_metadata(numbers).num_rows
    assert entry["check"] == "every byte read, checksums and seals hold"
