"""Stores of early versions stay readable.

Early versions named no axes and did not repeat the metadata of the members at the root.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool.errors import FormatError
from skiptool.steps.hellinger import measure_shift
from skiptool.stores.counts import open_counts
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.features import open_features
from skiptool.stores.masks import open_masks
from small_activations import PLAIN, written
from small_counts import counted
from small_stores import (
    CLASSES,
    MAKING,
    blocks,
    feature_writer,
    refused,
    sample,
    set_attributes,
    set_json,
    unname,
    write_dataset,
    write_features,
    write_masks,
)

Contents = Callable[[Path], dict[str, bytes]]
IMAGES = 20
SAMPLES = [sample(index) for index in range(IMAGES)]


def layers(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(seed, 1, (IMAGES, n, 4)) for name, n in (("enc1", 3), ("dec0", 2))}


def unnamed(path: Path) -> Path:
    return unname(Path(shutil.copytree(path, path.with_name(f"early-{path.name}"))))


def test_an_early_store_has_neither_names_nor_consolidated_metadata(tmp_path: Path) -> None:
    text = "".join(
        file.read_text()
        for file in unnamed(write_features(tmp_path / "f.zarr", 3)).rglob("zarr.json")
    )
    assert "every_chunk" in text
    assert "dimension_names" not in text
    assert "consolidated_metadata" not in text


def test_early_datasets_are_read(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", SAMPLES)
    new, early = (
        open_dataset(path) for path in (tmp_path / "d.zarr", unnamed(tmp_path / "d.zarr"))
    )
    assert early.lineage == new.lineage
    for index in range(IMAGES):
        for found, expected in zip(
            early.samples("a", [index]).read(0), new.samples("a", [index]).read(0), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_early_masks_are_read(tmp_path: Path) -> None:
    path = write_masks(tmp_path / "m.zarr", IMAGES)
    new, early = open_masks(path), open_masks(unnamed(path))
    assert (early.lineage, early.ids("0")) == (new.lineage, new.ids("0"))
    np.testing.assert_array_equal(early.read("0"), new.read("0"))


def test_damage_of_early_stores_is_found(tmp_path: Path) -> None:
    path = unnamed(write_features(tmp_path / "f.zarr", 3))
    set_attributes(path / "layers/dec0", more=1)
    with refused(FormatError, "layers/dec0/zarr.json: not as written"):
        open_features(path)


@pytest.mark.parametrize("write", [written, counted])
def test_early_stores_are_compared_like_new_ones(tmp_path: Path, write: Any) -> None:  # noqa: ANN401
    """With each other and with new ones; the tables have the same rows, ids included."""
    for name, seed in (("x.zarr", 0), ("y.zarr", 1)):
        how = {"reference": layers(0)} if write is counted else {}
        write(tmp_path / name, layers(seed), **how)
        unnamed(tmp_path / name)
    tables = []
    for reference, other in (("", ""), ("early-", ""), ("early-", "early-")):
        out = tmp_path / f"{reference}{other}.parquet"
        paths = tmp_path / f"{reference}x.zarr", [tmp_path / f"{other}y.zarr"]
        measure_shift(*paths, out, settings=PLAIN)
        rows = pq.read_table(out).drop_columns(["reference", "other"])
        tables.append(rows.to_pylist())
    assert all(row["value"] > 0 for row in tables[0])
    assert repr(tables[1]) == repr(tables[2]) == repr(tables[0])


def interrupt(path: Path) -> None:
    """Remove the names from a store that an early version began to write."""
    for file in path.rglob("zarr.json"):
        assert json.loads(file.read_text()).get("consolidated_metadata") is None
        set_json(file, dimension_names=None)


def names_of(path: Path) -> set[str]:
    return {
        file.parent.name
        for file in path.rglob("zarr.json")
        if "dimension_names" in json.loads(file.read_text())
    }


def test_features_begun_by_an_early_version_are_resumed(tmp_path: Path) -> None:
    begun = tmp_path / "f.zarr"
    feature_writer(begun, IMAGES).append(blocks(0, 16))
    interrupt(begun)
    store = open_features(write_features(begun, IMAGES))
    whole = open_features(write_features(tmp_path / "whole.zarr", IMAGES))
    assert (store.id, store.layers) == (whole.id, whole.layers)
    for layer in whole.layers:
        np.testing.assert_array_equal(
            store.read(layer, slice(None)), whole.read(layer, slice(None))
        )
        np.testing.assert_array_equal(store.ranges(layer), whole.ranges(layer))
    assert names_of(begun) == set(whole.columns)  # written at the end


def test_counts_begun_by_an_early_version_are_resumed(tmp_path: Path) -> None:
    begun = tmp_path / "begun/c.zarr"  # the name is part of the id
    begun.parent.mkdir()
    counted(begun, layers(0), stop=16)
    interrupt(begun)
    store = open_counts(counted(begun, layers(0)))
    whole = open_counts(counted(tmp_path / "c.zarr", layers(0)))
    assert (store.id, store.layers) == (whole.id, whole.layers)
    for layer in whole.layers:
        np.testing.assert_array_equal(
            store.read(layer, slice(None)), whole.read(layer, slice(None))
        )


def test_datasets_begun_by_an_early_version_are_resumed(tmp_path: Path) -> None:
    begun = tmp_path / "d.zarr"
    writer = DatasetWriter(begun, CLASSES, MAKING)
    for each in SAMPLES[:18]:
        writer.append(each)
    interrupt(begun)
    writer = DatasetWriter(begun, CLASSES, MAKING)
    assert writer.written("a") == 16
    for each in SAMPLES[16:]:
        writer.append(each)
    writer.finish()
    store = open_dataset(begun)
    assert store.lineage.id == write_dataset(tmp_path / "whole.zarr", SAMPLES)
    for index, each in enumerate(SAMPLES):
        image, mask = store.samples("a", [index]).read(0)
        np.testing.assert_array_equal(image, each.image)
        np.testing.assert_array_equal(mask, each.mask)
