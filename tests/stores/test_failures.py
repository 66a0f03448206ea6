from __future__ import annotations

from pathlib import Path

import pytest
import zarr

from heard import Heard
from skiptool.errors import ArgumentError, FormatError
from skiptool.stores.failures import keep_failures, kept_failures, telling_failures
from small_stores import refused


def test_lines_come_back(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    zarr.open_group(path, mode="w", zarr_format=3).attrs["kind"] = "dataset"
    keep_failures(path, [])
    assert kept_failures(path) == []
    assert dict(zarr.open_group(path, mode="r").attrs) == {"kind": "dataset"}
    keep_failures(path, ["ä.png: cut off", "b.png: gone"])
    assert kept_failures(path) == ["ä.png: cut off", "b.png: gone"]
    assert zarr.open_group(path, mode="r").attrs["kind"] == "dataset"


def test_other_things_under_its_name_are_none(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3).attrs["failures"] = 3
    assert kept_failures(tmp_path / "s.zarr") == []


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such dataset store"):
        kept_failures(tmp_path / "gone.zarr")


def test_an_error_does_not_hide_what_failed_before() -> None:
    heard = Heard()
    failed = ["a.png: broken", "b.png: cut"]
    words = "too few; besides, 2 inputs failed, the first: a.png: broken"
    with refused(ArgumentError, words), telling_failures(failed, heard):
        raise ArgumentError("too few")
    assert heard.lines == ["failed: a.png: broken", "failed: b.png: cut"]
    with refused(ArgumentError, "too few"), telling_failures([], heard):
        raise ArgumentError("too few")
    assert len(heard.lines) == 2
