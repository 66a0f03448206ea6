from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from skiptool.errors import FormatError
from skiptool.stores.dataset import open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.unchanged import check_unchanged
from small_stores import refused, sample, write_dataset


def test_a_dataset_that_is_replaced_damaged_or_deleted(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    write_dataset(path, [sample(0, "a", (32, 32, 3))])
    opened = open_dataset(path)
    check_unchanged(opened)
    shutil.rmtree(path)
    write_dataset(path, [sample(1, "a", (32, 32, 3))])
    with refused(FormatError, path, "was replaced while it was read", "run again"):
        check_unchanged(opened)
    next((path / "a" / "images" / "c").rglob("0")).rename(path / "elsewhere")
    with refused(FormatError, path):
        check_unchanged(opened)
    shutil.rmtree(path)
    with refused(FormatError, path, "no such dataset store"):
        check_unchanged(opened)


@pytest.mark.long
def test_features_that_are_replaced(tmp_path: Path, experiment: SimpleNamespace) -> None:
    path = tmp_path / "f.zarr"
    shutil.copytree(experiment.plain, path)
    opened = open_features(path)
    check_unchanged(opened)
    shutil.rmtree(path)
    shutil.copytree(experiment.dark, path)
    with pytest.raises(FormatError, match=r"f\.zarr: was replaced while it was read"):
        check_unchanged(opened)
    check_unchanged(open_features(path))
