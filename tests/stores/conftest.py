"""Whole stores to be read or damaged: made once, a copy for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from small_stores import sample, write_dataset, write_features


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a dataset of two domains of different sizes and kinds, and a feature store."""
    folder = tmp_path_factory.mktemp("pristine")
    colour = [sample(index, "a") for index in range(20)]
    grey = [sample(index, "b grey", (5, 3, 1)) for index in range(3)]
    write_dataset(folder / "d.zarr", [*colour, *grey])
    write_features(folder / "f.zarr", 20)
    return folder


@pytest.fixture
def dataset(pristine: Path, tmp_path: Path) -> Path:
    """Return a complete dataset: domain ``a`` with 20 colour images, ``b grey`` with 3."""
    return Path(shutil.copytree(pristine / "d.zarr", tmp_path / "d.zarr"))


@pytest.fixture
def features(pristine: Path, tmp_path: Path) -> Path:
    """Return a complete feature store of 20 images, that is, two chunks."""
    return Path(shutil.copytree(pristine / "f.zarr", tmp_path / "f.zarr"))
