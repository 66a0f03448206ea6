"""The scanners of Table I, as they stand in ``examples/scanners.csv``."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from skiptool.records import check_name

TABLE = Path(__file__).resolve().parents[2] / "examples" / "scanners.csv"


def test_every_domain_of_the_paper_is_there_and_can_be_a_name() -> None:
    rows = list(csv.DictReader(TABLE.read_text().splitlines()))
    assert Counter(row["dataset"] for row in rows) == {"MS-MF": 6, "MS-CCT": 5, "MV-MR": 4}
    for dataset in ("MS-MF", "MS-CCT", "MV-MR"):
        found = [row for row in rows if row["dataset"] == dataset]
        assert [row["label"] for row in found] == list("ABCDEF"[: len(found)])
        assert [row["training"] for row in found].count("yes") == 1
        assert found[0]["training"] == "yes"
    for row in rows:
        assert check_name(row["domain"], "domain") == row["domain"]
        assert 0.1 < float(row["pixel_size"]) < 2
        assert row["unit"] == ("mm" if row["dataset"] == "MV-MR" else "um")
