from __future__ import annotations

import json
from pathlib import Path

import pytest

from skiptool.errors import ExistsError, FormatError
from skiptool.stores.journal import JOURNAL, Journal
from skiptool.stores.lineage import Invocation
from small_stores import HOSTILE_JSON, MAKING, refused


def begun(folder: Path) -> Journal:
    journal = Journal(folder, MAKING)
    journal.begin()
    journal.note({"written": 16})
    journal.note({"written": 32})
    return journal


def test_entries_round_trip(tmp_path: Path) -> None:
    assert not Journal(tmp_path / "nowhere", MAKING).begun
    begun(tmp_path)
    again = Journal(tmp_path, MAKING)
    assert again.begun
    assert again.entries == [{"written": 16}, {"written": 32}]
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_torn_last_line_is_dropped(tmp_path: Path) -> None:
    """Cut the file anywhere: complete lines are read, and the next entry is a new line."""
    begun(tmp_path)
    file = tmp_path / JOURNAL
    text = file.read_bytes()
    for length in range(len(text)):
        file.write_bytes(text[:length])
        whole = text[:length].count(b"\n")
        journal = Journal(tmp_path, MAKING)
        assert journal.begun == (whole > 0)
        assert len(journal.entries) == max(0, whole - 1)
        if journal.begun:
            journal.note({"written": 9})
            assert Journal(tmp_path, MAKING).entries[-1] == {"written": 9}


def test_other_parameters_are_refused_without_changing_the_journal(tmp_path: Path) -> None:
    begun(tmp_path)
    before = (tmp_path / JOURNAL).read_bytes()
    with refused(ExistsError, tmp_path, "seed was 0, now 1"):
        Journal(
            tmp_path, Invocation("synth", (), {**MAKING.parameters, "seed": 1}, {}, MAKING.inputs)
        )
    assert (tmp_path / JOURNAL).read_bytes() == before


@pytest.mark.parametrize("line", [v for v in HOSTILE_JSON.values() if v], ids=str)
def test_damaged_journal_is_refused(tmp_path: Path, line: bytes) -> None:
    for place in (b"", json.dumps(MAKING.determinants).encode() + b"\n"):
        (tmp_path / JOURNAL).write_bytes(place + line + b"\n")
        with refused(FormatError, tmp_path, "give --overwrite"):
            Journal(tmp_path, MAKING)
