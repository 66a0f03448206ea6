"""What the three extractions share."""

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


def test_an_error_of_ours_becomes_a_line() -> None:
    assert attempt(halved, 6) == 3
    assert attempt(halved, 7) == "7 is odd"
    with pytest.raises(TypeError):
        attempt(halved, "text")


@pytest.mark.parametrize("workers", [1, 3])
def test_inputs_keep_their_order_and_failures_are_lines(workers: int) -> None:
    mapper = partial(thread_map, workers=workers)
    usable, failures = survey_inputs(halved, [4, 3, 8, 5, 0], mapper, SILENT)
    assert usable == [2, 4, 0]
    assert failures == ["3 is odd", "5 is odd"]


def test_sizes_of_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sizes([tmp_path / "a", tmp_path / "gone", tmp_path]) == [3, None, None]


def test_targets_that_are_taken(tmp_path: Path) -> None:
    target = ExtractionTarget(tmp_path / "d.zarr", tmp_path / "qc")
    target.check()
    (tmp_path / "qc").mkdir()
    target.check()
    with pytest.raises(SourceError, match="does not exist"):
        ExtractionTarget(tmp_path / "d.zarr", tmp_path / "no" / "qc").check()
    (tmp_path / "d.zarr").mkdir()
    with pytest.raises(ExistsError):
        target.check()
