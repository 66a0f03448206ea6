"""Template of the three extractions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from skiptool.errors import ExistsError, SourceError
from skiptool.extraction import ExtractionTarget, attempt, file_sizes, survey_inputs
from skiptool.parallel import thread_map
from skiptool.records import SILENT


def halved(number: int) -> int:
    if number % 2:
        raise SourceError(f"{number} is odd")
    return number // 2


def test_attempt_returns_the_message_of_an_error() -> None:
    assert attempt(halved, 6) == 3
    assert attempt(halved, 7) == "7 is odd"
    with pytest.raises(TypeError):
        attempt(halved, "text")


@pytest.mark.parametrize("workers", [1, 3])
def test_survey_keeps_the_order_and_reports_failures(workers: int) -> None:
    mapper = partial(thread_map, workers=workers)
    usable, failures = survey_inputs(halved, [4, 3, 8, 5, 0], mapper, SILENT)
    assert usable == [2, 4, 0]
    assert failures == ["3 is odd", "5 is odd"]


def test_file_sizes_are_none_for_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sizes([tmp_path / "a", tmp_path / "gone", tmp_path]) == [3, None, None]


def test_existing_and_unwritable_targets_are_refused(tmp_path: Path) -> None:
    target = ExtractionTarget(tmp_path / "d.zarr", tmp_path / "qc")
    target.check()
    (tmp_path / "qc").mkdir()
    target.check()
    with pytest.raises(SourceError, match="does not exist"):
        ExtractionTarget(tmp_path / "d.zarr", tmp_path / "no" / "qc").check()
    (tmp_path / "d.zarr").mkdir()
    with pytest.raises(ExistsError):
        target.check()
