"""More of it, through the command line, stands in ``tests/faults/test_damage.py``."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.soundness import check_sound
from small_artifacts import write_registration, write_small_model
from small_stores import (
    flip,
    refused,
    sample,
    spoil_chunk,
    unseal,
    write_dataset,
    write_features,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "d.zarr", [sample(i, name) for name in "ab" for i in range(18)])
    return tmp_path / "d.zarr"


def test_what_is_whole_has_a_seal_or_none(data: Path, tmp_path: Path) -> None:
    assert check_sound(data, Kind.DATASET) is True
    assert check_sound(unseal(data), Kind.DATASET) is False
    assert check_sound(write_features(tmp_path / "f.zarr", 3), Kind.FEATURES) is True
    assert check_sound(write_registration(tmp_path / "r.parquet"), Kind.REGISTRATION) is True


def test_samples_that_are_whole_are_counted(data: Path) -> None:
    flip(data / "a/images/c/0/0/0/0", 40)
    words = ("domain a, samples 000: ", "whole: domain a, 17 of 18 samples, domain b, 18 of 18")
    with refused(FormatError, data, *words):
        check_sound(data, Kind.DATASET)


def test_a_domain_that_is_lost(data: Path) -> None:
    shutil.rmtree(data / "a")
    with refused(FormatError, data, "a/zarr.json: not as written", "whole: domain b, 18 of 18"):
        check_sound(data, Kind.DATASET)


def test_layers_that_are_whole_are_named(tmp_path: Path) -> None:
    store = write_features(tmp_path / "f.zarr", 20)
    spoil_chunk(store / "layers/dec0/c/0/0/0", 1)
    flip(store / "ranges/enc1/low/c/0/0")
    words = ("layer enc1: low of enc1", "layer dec0, images 16", "whole: layer encoder.layer1.0")
    with refused(FormatError, store, *words):
        check_sound(store, Kind.FEATURES)


def test_a_chunk_missing_from_a_shard(data: Path, tmp_path: Path) -> None:
    store = write_features(tmp_path / "f.zarr", 20)
    spoil_chunk(store / "layers/dec0/c/0/0/0", 1, lost=True)
    words = ("layer dec0, images 16 to 19: chunk 1 of shard c/0/0/0 is missing", "layer enc1")
    with refused(FormatError, store, *words):
        check_sound(store, Kind.FEATURES)
    spoil_chunk(data / "a/masks/c/0/0/0", 3, chunks=16, lost=True)
    words = ("samples 003: ", "chunk 3 of shard c/0/0/0 is missing", "17 of 18 samples")
    with refused(FormatError, data, *words):
        check_sound(data, Kind.DATASET)


def test_parts_of_a_model(tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "m")
    assert check_sound(model, Kind.MODEL) is True
    with zipfile.ZipFile(model / "last.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(10**6))
    flip(model / "history.parquet", 200)
    words = ("history.parquet: ", "last.ckpt: is damaged (1,000,000 bytes are", "whole: config")
    with refused(FormatError, model, *words):
        check_sound(model, Kind.MODEL)


def test_columns_that_are_whole_are_named(tmp_path: Path) -> None:
    table = write_registration(tmp_path / "r.parquet")
    flip(table, 20)
    words = ("damaged: column subject: cannot be read", "whole: column slide, column reference_")
    with refused(FormatError, table, *words):
        check_sound(table, Kind.REGISTRATION)
    flip(table, 20)
    flip(table, -40)
    with refused(FormatError, table):
        check_sound(table, Kind.REGISTRATION)
