"""Notes of registration: kept over interruptions, refused for other parameters."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from skiptool.errors import ExistsError, FormatError, SourceError
from skiptool.steps.extract_wsi.notes import Notes, notes_of
from skiptool.stores.lineage import Making
from small_stores import refused

MAKING = Making("extract wsi", (), {"seed": 0}, {}, {"files": "ab"})
ROWS = [{"residual": 0.1 + 0.2, "reason": None, "kept": True}, {"residual": None}]


def test_what_is_kept_is_known_in_this_run_and_the_next(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    notes = Notes(out, MAKING, resume=False)
    assert notes.known("site", "key", "a-1") is None
    notes.keep(ROWS, "site", "key", "a-1")
    notes.keep({"angle": math.pi}, "align", "key", "other")
    for each in (notes, Notes(out, MAKING, resume=True)):
        assert each.known("site", "key", "a-1") == ROWS
        assert each.known("align", "key", "other") == {"angle": math.pi}
        assert each.known("align", "other", "key") is None


def test_the_folder_is_there_as_long_as_there_is_work(tmp_path: Path) -> None:
    folder = notes_of(tmp_path / "d.zarr")
    assert folder == tmp_path / ".d.zarr.plan"
    with Notes(tmp_path / "d.zarr", MAKING, resume=False):
        assert folder.is_dir()
    assert not folder.exists()


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    notes = Notes(out, MAKING, resume=False)
    notes.keep(1, "a")
    (journal,) = notes_of(out).iterdir()
    journal.write_bytes(journal.read_bytes() + b'{"key": "b", "val')
    again = Notes(out, MAKING, resume=True)
    assert (again.known("a"), again.known("b")) == (1, None)
    again.keep(2, "b")
    assert Notes(out, MAKING, resume=True).known("b") == 2


def test_other_parameters_are_refused_and_a_new_run_starts_again(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    Notes(out, MAKING, resume=False).keep(1, "a")
    other = Making("extract wsi", (), {"seed": 1}, {}, {"files": "ab"})
    with refused(ExistsError, "seed was 0, now 1"):
        Notes(out, other, resume=True)
    assert Notes(out, other, resume=False).known("a") is None


def test_damage_is_told(tmp_path: Path) -> None:
    out = tmp_path / "d.zarr"
    Notes(out, MAKING, resume=False)
    (journal,) = notes_of(out).iterdir()
    journal.write_bytes(b"\xff\n" + journal.read_bytes())
    with refused(FormatError, "is damaged"):
        Notes(out, MAKING, resume=True)


def test_nothing_is_left_of_forgotten_notes(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "d.zarr", MAKING, resume=False)
    notes.keep(1, "a")
    notes.forget()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "kept"),
    [(KeyboardInterrupt(), True), (OSError("disk full"), True), (SourceError("all failed"), False)],
)
def test_notes_stay_where_a_run_can_go_on(tmp_path: Path, error: BaseException, kept: bool) -> None:
    with pytest.raises(type(error)), Notes(tmp_path / "d.zarr", MAKING, resume=False):
        raise error
    assert [path.name for path in tmp_path.iterdir()] == [".d.zarr.plan"] * kept


def test_nothing_stays_when_all_is_done(tmp_path: Path) -> None:
    with Notes(tmp_path / "d.zarr", MAKING, resume=False) as notes:
        notes.keep(1, "a")
        notes.forget()
    assert list(tmp_path.iterdir()) == []
