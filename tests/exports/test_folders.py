"""Export folders: their dataset, and that they are never replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skiptool.errors import ExistsError, SourceError
from skiptool.exports.folders import check_export, export_folder, write_lineage
from skiptool.stores.dataset import DatasetStore, open_dataset
from small_stores import refused, sample, write_dataset


@pytest.fixture
def data(tmp_path: Path) -> DatasetStore:
    write_dataset(tmp_path / "d.zarr", [sample(n) for n in range(3)])
    return open_dataset(tmp_path / "d.zarr")


@pytest.fixture
def other(tmp_path: Path) -> DatasetStore:
    write_dataset(tmp_path / "other.zarr", [sample(n) for n in range(4)])
    return open_dataset(tmp_path / "other.zarr")


def fill(folder: Path, data: DatasetStore) -> None:
    with export_folder(folder, data) as partial:
        assert partial is not None
        assert not folder.exists()
        (partial / "mask.png").write_bytes(b"made")
        write_lineage(partial, data)


def test_folder_appears_when_it_is_complete(tmp_path: Path, data: DatasetStore) -> None:
    fill(tmp_path / "pairs", data)
    assert sorted(path.name for path in (tmp_path / "pairs").iterdir()) == [
        "lineage.json",
        "mask.png",
    ]
    kept = json.loads((tmp_path / "pairs" / "lineage.json").read_text())
    assert kept == data.lineage.as_json()
    with refused(ValueError, "broken"), export_folder(tmp_path / "again", data):
        raise ValueError("broken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.zarr", "pairs"]


def test_complete_folder_is_left_unchanged(tmp_path: Path, data: DatasetStore) -> None:
    fill(tmp_path / "pairs", data)
    (tmp_path / "pairs" / "mask.png").write_bytes(b"by hand")
    with export_folder(tmp_path / "pairs", data) as partial:
        assert partial is None
    assert (tmp_path / "pairs" / "mask.png").read_bytes() == b"by hand"


def test_folder_of_another_dataset_is_refused(
    tmp_path: Path, data: DatasetStore, other: DatasetStore
) -> None:
    """Regression: any folder with a manifest used to count as complete on resuming."""
    fill(tmp_path / "pairs", other)
    with refused(ExistsError, "pairs: holds an export of another dataset"):
        check_export(tmp_path / "pairs", data.path, resume=True)
    with (
        refused(ExistsError, "pairs: holds an export of another dataset"),
        export_folder(tmp_path / "pairs", data),
    ):
        pass
    check_export(tmp_path / "pairs", other.path, resume=True)
    check_export(tmp_path / "pairs", tmp_path / "not yet.zarr", resume=True)
    with refused(ExistsError, "corrected by hand"):
        check_export(tmp_path / "pairs", other.path, resume=False)


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", '{"id": '])
def test_damaged_lineage_is_refused(tmp_path: Path, data: DatasetStore, text: str) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "lineage.json").write_text(text)
    with refused(ExistsError, "pairs: exists already"):
        check_export(tmp_path / "pairs", data.path, resume=True)


def test_free_folders_are_accepted(tmp_path: Path, data: DatasetStore) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        check_export(tmp_path / name, data.path, resume=False)
    fill(tmp_path / "new", data)
    with refused(SourceError, "no does not exist"):
        check_export(tmp_path / "no" / "pairs", data.path, resume=False)
    (tmp_path / "file").touch()
    with refused(ExistsError, "file: exists already"):
        check_export(tmp_path / "file", data.path, resume=True)
