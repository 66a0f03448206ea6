from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind
from skiptool.stores.features import open_features
from skiptool.stores.zarrs import create_array, write_columns
from small_stores import (
    FACTS,
    HOSTILE_JSON,
    LAYERS,
    MAKING,
    blocks,
    feature_columns,
    feature_writer,
    flip,
    refused,
    set_attributes,
    set_json,
    spoil_chunk,
    unseal,
    unshard,
    write_features,
)

ORDER = ("enc1", "dec0", "encoder.layer1.0")


@given(images=st.integers(1, 40), dtype=st.sampled_from(["float16", "float32"]))
@settings(max_examples=5, deadline=None)
def test_features_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, images: int, dtype: str
) -> None:
    path = write_features(tmp_path_factory.mktemp("f") / "f.zarr", images, dtype=dtype)
    store = open_features(path)
    assert (len(store), store.layers, dict(store.facts)) == (images, ORDER, FACTS)
    assert (store.lineage.kind, dict(store.lineage.inputs)) == (Kind.FEATURES, MAKING.inputs)
    assert store.columns["id"].tolist() == feature_columns(images)["id"]
    written = blocks(0, images)
    for layer, channels in LAYERS.items():
        assert store.shape(layer) == (images, channels, 4)
        found = dict(store.blocks(layer))
        assert list(found) == list(range(0, images, 16))
        values = np.concatenate(list(found.values()))
        assert values.dtype == dtype
        np.testing.assert_array_equal(values, written[layer].astype(dtype))
        low, high = store.ranges(layer)
        assert (low.dtype, high.dtype) == (np.float32, np.float32)
        np.testing.assert_array_equal(low, values.min(axis=2))
        np.testing.assert_array_equal(high, values.max(axis=2))


def test_what_is_known_of_a_store(features: Path, tmp_path: Path) -> None:
    store = open_features(str(features))
    assert (store.name, store.where, store.place) == ("f.zarr", str(features), features)
    assert store.id == store.lineage.id
    assert (store.model_id, store.dataset_id) == (None, None)
    inputs = {"model": "1" * 32, "dataset": "2" * 32}
    write_features(tmp_path / "g.zarr", 3, making=replace(MAKING, inputs=inputs))
    store = open_features(tmp_path / "g.zarr")
    assert (store.model_id, store.dataset_id) == ("1" * 32, "2" * 32)


@pytest.mark.parametrize(("fold", "repeat", "known"), [(2, None, 0), (2, 1, 1), (None, None, None)])
def test_a_store_from_before_repeats_is_of_the_first(
    features: Path, fold: int | None, repeat: int | None, known: int | None
) -> None:
    set_attributes(features, fold=fold, repeat=repeat)
    assert open_features(unseal(features)).facts["repeat"] == known


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_any_rows_are_read_by_any_thread(tmp_path: Path, dtype: str) -> None:
    store = open_features(write_features(tmp_path / "f.zarr", 40, dtype=dtype))
    written = {layer: block.astype(dtype) for layer, block in blocks(0, 40).items()}
    parts = [(layer, slice(row, row + 11)) for layer in store.layers for row in range(0, 40, 4)] * 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: store.read(*part), parts))
    for (layer, rows), block in zip(parts, found, strict=True):
        np.testing.assert_array_equal(block, written[layer][rows])
        assert (block.dtype, store.dtype(layer), store.chunk(layer)) == (dtype, dtype, 16)
        assert block.flags.c_contiguous


def test_a_small_store_is_one_chunk(tmp_path: Path) -> None:
    assert open_features(write_features(tmp_path / "f.zarr", 3)).chunk("enc1") == 3


def test_a_store_that_is_being_written_is_refused(tmp_path: Path) -> None:
    """Nothing under its name, its hidden sibling itself, and a copy of that."""
    writer = feature_writer(tmp_path / ".f.zarr.partial", 20)
    writer.append(blocks(0, 16))
    shutil.copytree(tmp_path / ".f.zarr.partial", tmp_path / "copy.zarr")
    for name in ("f.zarr", ".f.zarr.partial", "copy.zarr"):
        remedy = "wait for 'skiptool features' to end, or finish it with --resume"
        with refused(FormatError, f"{tmp_path / name}: is not finished", remedy):
            open_features(tmp_path / name)
    with refused(FormatError, "(.f.zarr.partial is there)"):
        open_features(tmp_path / "f.zarr")
    write_features(tmp_path / "f.zarr", 3)  # one that is being replaced is whole
    assert len(open_features(tmp_path / "f.zarr")) == 3
    with refused(FormatError, "no such feature store"):
        open_features(tmp_path / "g.zarr")


def test_ranges_are_of_the_stored_values(tmp_path: Path) -> None:
    """1 + 2**-12 is no float16: its neighbour 1 is stored, and 1 is the range."""
    writer = feature_writer(tmp_path / "f", 1)
    writer.append({"enc1": np.float32([[[1 + 2**-12, 0.1]]])})
    writer.finish()
    low, high = open_features(tmp_path / "f").ranges("enc1")
    assert high.tolist() == [[1.0]]
    assert low.tolist() == [[float(np.float16(0.1))]]


def test_the_layout_is_the_one_that_is_written_down(features: Path) -> None:
    attributes = json.loads((features / "zarr.json").read_text())["attributes"]
    assert attributes["layers"] == list(ORDER)
    assert {name: attributes[name] for name in FACTS} == FACTS
    assert sorted(path.name for path in features.iterdir()) == [
        *("layers", "ranges", "samples", "zarr.json")
    ]
    for layer, channels in LAYERS.items():
        meta = json.loads((features / f"layers/{layer}/zarr.json").read_text())
        assert (meta["shape"], meta["data_type"]) == ([20, channels, 4], "float16")
        assert meta["chunk_grid"]["configuration"]["chunk_shape"] == [32, channels, 4]
        assert chunk_of(meta) == [16, channels, 4]
        for name in ("low", "high"):
            meta = json.loads((features / f"ranges/{layer}/{name}/zarr.json").read_text())
            assert (meta["shape"], meta["data_type"]) == ([20, channels], "float32")
            assert chunk_of(meta) == [32, channels]


def chunk_of(meta: dict[str, Any]) -> list[int]:
    """Check the codecs in the metadata of an array; return the shape of its inner chunks."""
    (shards,) = meta["codecs"]
    found = shards["configuration"]
    assert (shards["name"], found["index_location"]) == ("sharding_indexed", "end")
    assert [each["name"] for each in found["codecs"]] == ["bytes", "blosc", "crc32c"]
    assert [each["name"] for each in found["index_codecs"]] == ["bytes", "crc32c"]
    return found["chunk_shape"]


def test_a_store_without_shards_is_an_old_one(features: Path, tmp_path: Path) -> None:
    """Format version 1, a file for each chunk: read alike, and as carefully."""
    old = unshard(Path(shutil.copytree(features, tmp_path / "old.zarr")))
    assert (old / "layers/dec0/c/1/0/0").is_file()
    found, expected = open_features(old), open_features(features)
    assert (found.lineage, found.facts) == (expected.lineage, expected.facts)
    for layer in ORDER:
        assert found.chunk(layer) == 16
        np.testing.assert_array_equal(found.ranges(layer), expected.ranges(layer))
        for rows in (slice(0, 20), slice(3, 18)):
            np.testing.assert_array_equal(found.read(layer, rows), expected.read(layer, rows))
    flip(old / "layers/dec0/c/1/0/0")
    with refused(FormatError, old, "layer dec0, images 16 to 19", "damaged"):
        found.read("dec0", slice(16, 20))
    (old / "layers/dec0/c/0/0/0").unlink()
    with refused(FormatError, old, "dec0", "chunk c/0/0/0 is missing"):
        open_features(old)


def test_the_id_is_of_what_determines_the_activations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for number, identity in enumerate(({"weights": 1}, {"weights": 1}, {"weights": 2})):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(number))
        path = write_features(tmp_path / f"{number}.zarr", 3, identity=identity)
        ids.append(open_features(path).lineage.id)
    assert ids[0] == ids[1] != ids[2]


def test_an_unknown_layer_is_answered_with_the_known_ones(features: Path) -> None:
    store = open_features(features)
    asks = [store.shape, store.dtype, store.chunk, store.ranges]
    asks += [lambda layer: next(store.blocks(layer)), lambda layer: store.read(layer, slice(1))]
    for ask in asks:
        with refused(ArgumentError, features, "'enc2'", "enc1, dec0", "did you mean enc1"):
            ask("enc2")


@pytest.mark.parametrize("lost", ["layers/dec0", "ranges/dec0/low", "ranges/dec0/high"])
def test_a_lost_array_or_chunk_is_named(features: Path, lost: str) -> None:
    chunks = [path for path in (features / lost / "c").rglob("*") if path.is_file()]
    for file in chunks:
        whole = file.read_bytes()
        file.write_bytes(b"")
        with refused(FormatError, features, "dec0", "missing"):
            open_features(features)
        file.unlink()
        with refused(FormatError, features, "dec0", "missing"):
            open_features(features)
        file.write_bytes(whole)
    open_features(features)
    (features / lost / "zarr.json").unlink()
    with refused(FormatError, features, "dec0"):
        open_features(features)
    shutil.rmtree(features / lost)
    with refused(FormatError, features, "dec0"):
        open_features(features)


@pytest.mark.parametrize("lost", ["layers", "samples"])
def test_a_lost_group_is_named(features: Path, lost: str) -> None:
    shutil.rmtree(features / lost)
    with refused(FormatError, features, repr(lost)):
        open_features(features)


def test_a_store_without_ranges_is_an_old_one(features: Path) -> None:
    shutil.rmtree(features / "ranges")
    with refused(FormatError, features, "ranges/dec0/zarr.json", "7 others: not as written"):
        open_features(features)
    store = open_features(unseal(features))
    assert [store.ranges(layer) for layer in store.layers] == [None] * 3
    assert store.lineage is not None


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_damaged_ranges_are_no_old_store(features: Path, text: bytes) -> None:
    (features / "ranges/zarr.json").write_bytes(text)
    with refused(FormatError, features, "'ranges'"):
        open_features(features)


def test_a_truncated_shard_is_found_on_reading(features: Path) -> None:
    file = features / "layers/dec0/c/0/0/0"
    whole, store = file.read_bytes(), open_features(features)
    for size in range(1, len(whole)):
        file.write_bytes(whole[:size])
        with refused(FormatError, features, "layer dec0, images 17 to 18", "damaged"):
            store.read("dec0", slice(17, 19))
    file.write_bytes(whole)
    store.read("dec0", slice(0, 16))
    file.write_bytes(whole[: len(whole) // 3])  # now that its index is known
    with refused(FormatError, features, "layer dec0, images 16 to 19", "damaged"):
        store.read("dec0", slice(16, 20))


def test_a_chunk_missing_from_a_shard_is_found_on_reading(features: Path) -> None:
    """Zarr reads zeros."""
    spoil_chunk(features / "layers/dec0/c/0/0/0", 1, lost=True)
    spoil_chunk(features / "ranges/enc1/high/c/0/0", 0, chunks=1, lost=True)
    assert not zarr.open_array(features / "layers/dec0", mode="r")[16:].any()
    store = open_features(features)
    store.read("dec0", slice(0, 16))
    words = ("layer dec0, images 15 to 16", "chunk 1 of shard c/0/0/0 is missing", "make it again")
    with refused(FormatError, features, *words):
        store.read("dec0", slice(15, 17))
    with refused(FormatError, features, "high of enc1", "chunk 0 of shard c/0/0 is missing"):
        store.ranges("enc1")


def test_a_flipped_bit_is_found_on_reading(features: Path) -> None:
    spoil_chunk(features / "layers/dec0/c/0/0/0", 1)
    flip(features / "ranges/enc1/high/c/0/0")
    store = open_features(features)
    reading = store.blocks("dec0")
    assert next(reading)[0] == 0
    with refused(FormatError, features, "layer dec0", "images 16 to 19", "damaged"):
        next(reading)
    with refused(FormatError, features, "high of enc1", "damaged"):
        store.ranges("enc1")
    store.ranges("dec0")
    flip(features / "samples/id/c/0")
    with refused(FormatError, features, "column id"):
        open_features(features)


def test_lengths_that_differ_are_named(features: Path) -> None:
    group = zarr.open_group(features, mode="r+")
    write_columns(group, {**feature_columns(20), "extra": [1, 2]})
    with refused(FormatError, features, "column extra holds 2", "20"):
        open_features(features)
    write_columns(group, feature_columns(19))
    with refused(FormatError, features, "layer enc1 holds 20 images, the samples are 19"):
        open_features(features)
    write_columns(group, feature_columns(20))
    set_json(features / "ranges/dec0/low/zarr.json", shape=[19, 2])
    with refused(FormatError, features, "low of layer dec0 is (19, 2)", "(20, 2, 4)"):
        open_features(features)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((20, 2), "float16"), ((20, 2, 4), "uint8"), ((20, 2, 4), "float64")]
)
def test_layers_of_another_kind_are_refused(
    features: Path, shape: tuple[int, ...], dtype: str
) -> None:
    create_array(zarr.open_group(features / "layers", mode="r+"), "dec0", shape, dtype, chunk=16)
    with refused(FormatError, features, "'dec0'", "expected an array of 3 axes of float16"):
        open_features(features)


def test_an_empty_store_is_refused(features: Path) -> None:
    write_columns(zarr.open_group(features, mode="r+"), {"id": np.zeros(0, object)})
    with refused(FormatError, features, "holds no image"):
        open_features(features)


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"kind": "dataset"}, "is of kind 'dataset', expected 'features'"),
        ({"format_version": 2}, "use a newer skiptool"),
        ({"layers": None}, "name no layers"),
        ({"layers": []}, "name no layers"),
        ({"layers": "enc1"}, "name no layers"),
        ({"layers": [1]}, "name no layers"),
        ({"layers": ["enc1", "enc9"]}, "'enc9'"),
        ({"layers": ["../samples"]}, "layers"),
        ({"factor": "0.5"}, "factor is '0.5'"),
        ({"fold": [0]}, "fold is [0]"),
        ({"model": 3}, "model is 3"),
        ({"grid": 4}, "grid is 4"),
    ],
)
def test_hostile_attributes_are_refused(
    features: Path, attributes: dict[str, object], word: str
) -> None:
    set_attributes(features, **attributes)
    with refused(FormatError, features, word):
        open_features(features)


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
@pytest.mark.parametrize("place", ["", "layers/enc1", "ranges/enc1/low"])
def test_damaged_metadata_is_one_line(features: Path, place: str, text: bytes) -> None:
    (features / place / "zarr.json").write_bytes(text)
    with refused(FormatError, features):
        open_features(features)


def test_what_is_no_feature_store_is_refused(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "file.zarr").write_text("x")
    (tmp_path / "folder.zarr").mkdir()
    for name in ("nowhere", "file.zarr", "folder.zarr", "."):
        with refused(FormatError, tmp_path / name, "feature store"):
            open_features(tmp_path / name)
    with refused(FormatError, dataset, "'dataset'", "'features'"):
        open_features(dataset)
