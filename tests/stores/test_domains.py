from __future__ import annotations

from pathlib import Path

import pytest

from predict_cases import Warned, make_dataset
from skiptool.errors import ArgumentError
from skiptool.names import Split
from skiptool.records import SILENT
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.domains import chosen_domains
from small_stores import refused, sample, write_dataset


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    """Domain a has training and test samples, b only training samples."""
    mixed = [sample(index, "a") for index in range(6)]
    training = [sample(index, "b", split=Split.TRAIN, fold=0) for index in range(2)]
    write_dataset(tmp_path / "d.zarr", [*mixed, *training])
    return open_dataset(tmp_path / "d.zarr")


def test_domains_without_such_samples_are_left_out_unless_named(store: DatasetStore) -> None:
    warned = Warned()
    assert [d.name for d in chosen_domains(store, (), "test", warned)] == ["a"]
    (line,) = warned.lines
    assert "no test samples in b" in line
    for split in ("train", "all"):
        assert [d.name for d in chosen_domains(store, (), split, warned)] == ["a", "b"]
    assert len(warned.lines) == 1
    assert [d.name for d in chosen_domains(store, ["b", "a"], "all", warned)] == ["b", "a"]
    with refused(ArgumentError, store.path, "domain b has no test samples"):
        chosen_domains(store, ["a", "b"], "test", warned)
    with refused(ArgumentError, "a domain is given twice"):
        chosen_domains(store, ["a", "a"], "test", warned)


def test_a_store_without_test_samples_is_refused(tmp_path: Path) -> None:
    make_dataset(tmp_path / "t.zarr", [("A", 32, 32)], split=Split.TRAIN)
    with refused(ArgumentError, "t.zarr: domain A has no test samples", "--split"):
        chosen_domains(open_dataset(tmp_path / "t.zarr"), (), "test", SILENT)
