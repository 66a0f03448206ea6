from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from skiptool.errors import FormatError
from skiptool.stores.activations import check_unchanged, open_activations
from small_stores import refused


@pytest.mark.long
def test_replaced_features_are_detected(tmp_path: Path, experiment: SimpleNamespace) -> None:
    path = tmp_path / "f.zarr"
    shutil.copytree(experiment.plain, path)
    opened = open_activations(path)
    check_unchanged(opened)
    shutil.rmtree(path)
    shutil.copytree(experiment.dark, path)
    with refused(FormatError, path, "was replaced while it was read"):
        check_unchanged(opened)
    check_unchanged(open_activations(path))


def numpy_file(path: Path, value: float) -> None:
    np.save(path, np.full((3, 2, 4), value, dtype=np.float32))


def zarr_group(path: Path, value: float) -> None:
    array = zarr.open_group(path, mode="a").require_array("a", shape=(3, 2), dtype="f4")
    array[:] = value


@pytest.mark.parametrize(
    ("name", "write"), [("a.npy", numpy_file), ("a.zarr", zarr_group)], ids=["npy", "zarr"]
)
def test_foreign_features_that_change_are_detected(
    tmp_path: Path, name: str, write: Callable[[Path, float], None]
) -> None:
    path = tmp_path / name
    write(path, 1.0)
    opened = open_activations(path)
    check_unchanged(opened)
    write(path, 2.0)
    with refused(FormatError, path, "was changed while it was read", "run again"):
        check_unchanged(opened)
    check_unchanged(open_activations(path))


def test_file_replaced_by_another_of_the_same_age_is_detected(tmp_path: Path) -> None:
    path, other = tmp_path / "a.npy", tmp_path / "b.npy"
    numpy_file(path, 1.0)
    opened = open_activations(path)
    numpy_file(other, 2.0)
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    with refused(FormatError, path, "was changed while it was read"):
        check_unchanged(opened)
    path.unlink()
    with refused(FormatError, path, "no such file"):
        check_unchanged(opened)
