"""Tests of ``features``."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numcodecs import Zlib
from zarr.codecs import GzipCodec

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind
from skiptool.stores.arrays import BLOCK_BYTES, Layer, check_layout, open_npy, three_axes
from skiptool.stores.features import FACTS as FACTS_ARRAYS
from skiptool.stores.features import FACTS as FACTS_FOREIGN
from skiptool.stores.features import open_features, zarr_layer
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
def test_features_round_trip(
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


def test_attributes_of_an_open_store(features: Path, tmp_path: Path) -> None:
    store = open_features(str(features))
    assert (store.name, store.where, store.place) == ("f.zarr", str(features), features)
    assert store.id == store.lineage.id
    assert (store.model_id, store.dataset_id) == (None, None)
    inputs = {"model": "1" * 32, "dataset": "2" * 32}
    write_features(tmp_path / "g.zarr", 3, invocation=replace(MAKING, inputs=inputs))
    store = open_features(tmp_path / "g.zarr")
    assert (store.model_id, store.dataset_id) == ("1" * 32, "2" * 32)


@pytest.mark.parametrize(("fold", "repeat", "known"), [(2, None, 0), (2, 1, 1), (None, None, None)])
def test_store_from_before_repeats_is_read_as_the_first(
    features: Path, fold: int | None, repeat: int | None, known: int | None
) -> None:
    set_attributes(features, fold=fold, repeat=repeat)
    assert open_features(unseal(features)).facts["repeat"] == known


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_any_rows_can_be_read_from_any_thread(tmp_path: Path, dtype: str) -> None:
    store = open_features(write_features(tmp_path / "f.zarr", 40, dtype=dtype))
    written = {layer: block.astype(dtype) for layer, block in blocks(0, 40).items()}
    parts = [(layer, slice(row, row + 11)) for layer in store.layers for row in range(0, 40, 4)] * 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: store.read(*part), parts))
    for (layer, rows), block in zip(parts, found, strict=True):
        np.testing.assert_array_equal(block, written[layer][rows])
        assert (block.dtype, store.dtype(layer), store.chunk(layer)) == (dtype, dtype, 16)
        assert block.flags.c_contiguous


def test_small_store_is_a_single_chunk(tmp_path: Path) -> None:
    assert open_features(write_features(tmp_path / "f.zarr", 3)).chunk("enc1") == 3


def test_growing_store_is_refused(tmp_path: Path) -> None:
    """A missing store with a hidden sibling, the sibling itself, and a copy of it."""
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


def test_ranges_match_the_stored_values(tmp_path: Path) -> None:
    """1 + 2**-12 is not a float16 value: it is stored as 1, and so is the range."""
    writer = feature_writer(tmp_path / "f", 1)
    writer.append({"enc1": np.float32([[[1 + 2**-12, 0.1]]])})
    writer.finish()
    low, high = open_features(tmp_path / "f").ranges("enc1")
    assert high.tolist() == [[1.0]]
    assert low.tolist() == [[float(np.float16(0.1))]]


def test_layout_matches_the_specification(features: Path) -> None:
    attributes = json.loads((features / "zarr.json").read_text())["attributes"]
    assert attributes["layers"] == list(ORDER)
    assert {name: attributes[name] for name in FACTS} == FACTS
    assert sorted(path.name for path in features.iterdir()) == [
        "layers",
        "ranges",
        "samples",
        "zarr.json",
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


def test_store_without_shards_is_read(features: Path, tmp_path: Path) -> None:
    """Format version 1 with a file for each chunk: read with the same result and checks."""
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


def test_id_depends_on_what_determines_the_activations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for number, identity in enumerate(({"weights": 1}, {"weights": 1}, {"weights": 2})):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(number))
        path = write_features(tmp_path / f"{number}.zarr", 3, identity=identity)
        ids.append(open_features(path).lineage.id)
    assert ids[0] == ids[1] != ids[2]


def test_unknown_layer_error_lists_the_known_ones(features: Path) -> None:
    store = open_features(features)
    asks = [store.shape, store.dtype, store.chunk, store.ranges]
    asks += [lambda layer: next(store.blocks(layer)), lambda layer: store.read(layer, slice(1))]
    for ask in asks:
        with refused(ArgumentError, features, "'enc2'", "enc1, dec0", "did you mean enc1"):
            ask("enc2")


@pytest.mark.parametrize("lost", ["layers/dec0", "ranges/dec0/low", "ranges/dec0/high"])
def test_lost_array_or_chunk_is_named(features: Path, lost: str) -> None:
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
def test_lost_group_is_named(features: Path, lost: str) -> None:
    shutil.rmtree(features / lost)
    with refused(FormatError, features, repr(lost)):
        open_features(features)


def test_store_without_ranges_is_read(features: Path) -> None:
    shutil.rmtree(features / "ranges")
    with refused(FormatError, features, "ranges/dec0/zarr.json", "7 others: not as written"):
        open_features(features)
    store = open_features(unseal(features))
    assert [store.ranges(layer) for layer in store.layers] == [None] * 3
    assert store.lineage is not None


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_damaged_ranges_are_refused(features: Path, text: bytes) -> None:
    (features / "ranges/zarr.json").write_bytes(text)
    with refused(FormatError, features, "'ranges'"):
        open_features(features)


def test_truncated_shard_is_detected_on_reading(features: Path) -> None:
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


def test_chunk_missing_from_a_shard_is_detected_on_reading(features: Path) -> None:
    """Zarr itself reads zeros."""
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


def test_flipped_bit_is_detected_on_reading(features: Path) -> None:
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


def test_different_lengths_are_named(features: Path) -> None:
    group = zarr.open_group(features, mode="r+")
    write_columns(group, {**feature_columns(20), "extra": [1, 2]})
    with refused(FormatError, features, "column extra holds 2", "20"):
        open_features(features)
    write_columns(group, feature_columns(19))
    with refused(FormatError, features, "layer enc1 holds 20 images, the column id 19"):
        open_features(features)
    write_columns(group, feature_columns(20))
    set_json(features / "ranges/dec0/low/zarr.json", shape=[19, 2])
    with refused(FormatError, features, "low of layer dec0 is (19, 2)", "(20, 2, 4)"):
        open_features(features)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((20, 2), "float16"), ((20, 2, 4), "uint8"), ((20, 2, 4), "float64")]
)
def test_layers_of_another_type_are_refused(
    features: Path, shape: tuple[int, ...], dtype: str
) -> None:
    create_array(zarr.open_group(features / "layers", mode="r+"), "dec0", shape, dtype, chunk=16)
    with refused(FormatError, features, "'dec0'", "expected an array of 3 axes of float16"):
        open_features(features)


def test_empty_store_is_refused(features: Path) -> None:
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
def test_damaged_metadata_is_reported_in_one_line(features: Path, place: str, text: bytes) -> None:
    (features / place / "zarr.json").write_bytes(text)
    with refused(FormatError, features):
        open_features(features)


def test_other_artifacts_are_refused(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "file.zarr").write_text("x")
    (tmp_path / "folder.zarr").mkdir()
    for name in ("nowhere", "file.zarr", "folder.zarr", "."):
        with refused(FormatError, tmp_path / name, "feature store"):
            open_features(tmp_path / name)
    with refused(FormatError, dataset, "'dataset'", "'features'"):
        open_features(dataset)


@pytest.mark.parametrize(
    ("shape", "expected"), [((5, 3), (5, 3, 1)), ((5, 3, 4), (5, 3, 4)), ((1, 1), (1, 1, 1))]
)
def test_two_axes_are_read_as_three(shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert three_axes(shape) == expected


@pytest.mark.parametrize("dtype", ["float16", "<f4", ">f4", "float64"])
def test_supported_layouts_are_accepted(dtype: str) -> None:
    check_layout((2, 3), np.dtype(dtype), "here")
    check_layout((2, 3, 4), np.dtype(dtype), "here")


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((2,), "float32", "here: is (2,) float32, expected (N, D) or (N, D, K)"),
        ((2, 3), "int64", "here: is (2, 3) int64, expected"),
        ((0, 3), "float32", "here: is (0, 3), without images"),
    ],
)
def test_other_layouts_are_refused(shape: tuple[int, ...], dtype: str, words: str) -> None:
    with refused(FormatError, words):
        check_layout(shape, np.dtype(dtype), "here")


def test_block_is_contiguous_and_in_native_byte_order() -> None:
    values = np.asfortranarray(np.arange(24, dtype=">f4").reshape(2, 3, 4))
    layer = Layer(values, (2, 3, 4), np.dtype("f4"), 2)
    block = layer.read(slice(0, 2), "here")
    assert block.tolist() == values.tolist()
    assert block.flags.c_contiguous
    assert block.dtype.isnative


def test_chunk_is_not_longer_than_the_layer(tmp_path: Path) -> None:
    made = zarr.create_array(tmp_path / "a", shape=(5, 2), chunks=(16, 2), dtype="f4")
    layer = zarr_layer(made, None)
    assert (layer.chunk, layer.shape, layer.ranges) == (5, (5, 2, 1), None)


def test_too_many_images_are_refused() -> None:
    check_layout((10**8, 2), np.dtype("f4"), "here")
    with refused(FormatError, "here: is (100000001, 2)", "at most 100,000,000 images"):
        check_layout((10**8 + 1, 2), np.dtype("f4"), "here")


@given(
    values=st.sampled_from(["<f2", "<f4", "<f8", ">f4", ">f8"]).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=2, max_dims=3, max_side=5))
    ),
    fortran=st.booleans(),
    parts=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_npy_file_round_trip(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, fortran: bool, parts: int
) -> None:
    path = tmp_path_factory.mktemp("n") / "a.npy"
    np.save(path, np.asfortranarray(values) if fortran else values)
    store = open_features(path)
    expected = values[:, :, None] if values.ndim == 2 else values
    assert (store.layers, len(store), store.name) == (("features",), len(values), "a.npy")
    assert store.shape("features") == expected.shape
    assert store.dtype("features") == values.dtype.newbyteorder("=")
    for start in range(0, len(values), parts):
        block = store.read("features", slice(start, start + parts))
        np.testing.assert_array_equal(block, expected[start : start + parts])
        assert block.dtype.isnative
        assert block.flags.c_contiguous
        assert block.flags.writeable
        assert block.shape[1:] == expected.shape[1:]
    whole = np.concatenate([block for _, block in store.blocks("features")])
    np.testing.assert_array_equal(whole, expected)


def test_npy_file_has_no_facts(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    store = open_features(tmp_path / "a.npy")
    assert (store.lineage, store.model_id, store.dataset_id) == (None, None, None)
    assert (dict(store.facts), dict(store.columns)) == (dict.fromkeys(FACTS_ARRAYS), {})
    assert store.ranges("features") is None
    assert store.place == tmp_path / "a.npy"
    assert pickle.loads(pickle.dumps(store)).read("features", slice(1, 2)).tolist() == [[[1], [1]]]


def test_id_of_a_file_depends_on_its_content(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((BLOCK_BYTES // 8 // 2 + 3, 2))
    paths = [tmp_path / f"{number}.npy" for number in range(4)]
    for path in paths:
        np.save(path, values)
    flip(paths[2], 200)
    flip(paths[3])
    ids = [open_features(path).id for path in paths]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(len(str(each)) == 32 for each in ids)


@pytest.mark.parametrize(
    ("shape", "dtype", "chunk"),
    [
        ((50, 512, 256), "f4", 8),
        ((50, 512, 256), "f2", 16),
        ((20_000, 512), "f4", 2048),
        ((3, 2), "f8", 3),
        ((2, 1024, 1024), "f8", 1),
    ],
)
def test_block_of_a_file_is_about_four_megabytes(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, chunk: int
) -> None:
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", dtype, shape)  # no bytes on the disk
    assert open_npy(tmp_path / "a.npy").chunk == chunk


@pytest.mark.parametrize("fortran", [False, True])
def test_threads_can_read_concurrently(tmp_path: Path, fortran: bool) -> None:
    values = np.random.default_rng(0).random((40, 30, 20)).astype("f4")
    np.save(tmp_path / "a.npy", np.asfortranarray(values) if fortran else values)
    store = open_features(tmp_path / "a.npy")
    parts = [slice(row, row + 7) for row in range(33)] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda rows: store.read("features", rows), parts))
    for rows, block in zip(parts, found, strict=True):
        np.testing.assert_array_equal(block, values[rows])


def saved(values: object, **how: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **how)
    return file.getvalue()


WHOLE = saved(np.arange(12, dtype="f4").reshape(3, 4))
HEADER = len(WHOLE) - 48


def archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


def headed(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is not a NumPy array; np.save it again"]),
        (WHOLE[:3], ["is not a NumPy array; np.save it again"]),
        (WHOLE[: HEADER - 5], ["cannot be read"]),
        (WHOLE[:HEADER], ["cannot be read"]),
        (WHOLE[:-1], ["cannot be read"]),
        (b"id,a\n1,2\n", ["is not a NumPy array; np.save it again"]),
        (pickle.dumps(np.ones((2, 2))), ["is not a NumPy array; np.save it again"]),
        (saved(np.array([[{}]], dtype=object), allow_pickle=True), ["cannot be read"]),
        (archive(), ["is not a NumPy array; np.save it again"]),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }"), []),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (10**30, 2), }"), []),
        (headed("{'descr': '<f4', 'fortran_order': 0, 'shape': 'x', }"), ["cannot be read"]),
        (headed("[" * 5000), ["cannot be read"]),
        (saved(np.zeros((0, 3))), ["(0, 3), without images"]),
        (saved(np.zeros((3, 0))), ["(3, 0)"]),
        (saved(np.float32(1)), ["is () float32, expected (N, D) or (N, D, K)"]),
        (saved(np.ones(3)), ["is (3,) float64, expected (N, D)"]),
        (saved(np.ones((2, 2, 2, 2))), ["expected (N, D)"]),
        (saved(np.ones((2, 2), "i4")), ["int32", "convert it with astype('float32')"]),
        (saved(np.ones((2, 2), "?")), ["bool", "astype"]),
        (saved(np.ones((2, 2), "c8")), ["complex64, expected"]),
        pytest.param(saved(np.ones((2, 2), "g")), ["expected"], id="padded with any bytes"),
        (saved(np.array([["a"]])), ["expected"]),
        (saved(np.zeros((2, 2), [("a", "f4")])), ["expected"]),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: list[str]) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with refused(FormatError, tmp_path / "a.npy", *words):
        open_features(tmp_path / "a.npy")


def test_other_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "a.npz").write_bytes(archive())
    with refused(FormatError, "nowhere.npy: no such file"):
        open_features("nowhere.npy")
    with refused(FormatError, "folder.npy", "cannot be read"):
        open_features(tmp_path / "folder.npy")
    with refused(FormatError, "a.npz", "an archive of arrays", "np.save each as .npy"):
        open_features(tmp_path / "a.npz")


def test_truncated_or_deleted_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(WHOLE)
    store = open_features(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(WHOLE[:-1])
    with refused(FormatError, tmp_path / "a.npy", "layer features, images 0 to 1", "damaged"):
        store.read("features", slice(0, 2))
    (tmp_path / "a.npy").unlink()
    with refused(FormatError, tmp_path / "a.npy", "images 2 to 2"):
        store.read("features", slice(2, 9))
    with refused(FormatError, tmp_path / "a.npy"):
        assert store.id


VALUES = np.random.default_rng(0).normal(size=(5, 3, 4))


@pytest.fixture(params=[3, 2])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def root(tmp_path: Path, version: int) -> zarr.Group:
    return zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=version)


def add(group: zarr.Group, name: str, values: Any = VALUES, **how: Any) -> None:  # noqa: ANN401
    chunks = tuple(max(1, size // 2) for size in values.shape)
    group.create_array(name, data=values, **{"chunks": chunks, **how})


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("values", [VALUES, VALUES[:, :, 0]])
def test_foreign_layers_are_read(
    root: zarr.Group, tmp_path: Path, values: np.ndarray, dtype: str
) -> None:
    root.attrs["title"] = "made elsewhere"
    add(root, "layers/x", values.astype(dtype))
    store = open_features(tmp_path / "o.zarr")
    expected = values.astype(dtype).reshape(5, 3, -1)
    assert (store.layers, len(store), store.shape("x")) == (("x",), 5, expected.shape)
    assert (store.lineage, store.model_id, store.dataset_id) == (None,) * 3
    copy = shutil.copytree(store.place, tmp_path / "copy.zarr")
    assert open_features(copy).id == store.id  # a hash of its bytes
    assert (dict(store.facts), dict(store.columns)) == (dict.fromkeys(FACTS_FOREIGN), {})
    assert store.ranges("x") is None
    assert store.chunk("x") == 2
    starts, blocks = zip(*store.blocks("x"), strict=True)
    assert starts == (0, 2, 4)
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    for block in blocks:
        assert block.dtype == store.dtype("x") == np.dtype(dtype).newbyteorder("=")
        assert block.dtype.isnative
        assert block.flags.c_contiguous


def test_foreign_layers_are_in_order_of_data_flow(root: zarr.Group, tmp_path: Path) -> None:
    for name in ("b", "head", "A", "dec4", "enc5", "input"):
        add(root, f"layers/{name}")
    order = ("input", "enc5", "dec4", "head", "A", "b")
    assert open_features(tmp_path / "o.zarr").layers == order


def test_foreign_arrays_at_the_root_are_layers(root: zarr.Group, tmp_path: Path) -> None:
    """Labels (N,), an array of four axes and groups may also be there."""
    add(root, "pool")
    add(root, "enc1", VALUES[:, :, 0])
    add(root, "labels", np.arange(9))
    add(root, "maps", np.ones((7, 2, 2, 2)))
    add(root, "other/things", np.ones((7, 2)))
    (tmp_path / "o.zarr/.DS_Store").write_text("of a file browser")
    (tmp_path / "o.zarr/notes").mkdir()
    store = open_features(tmp_path / "o.zarr")
    assert store.layers == ("enc1", "pool")
    np.testing.assert_array_equal(store.read("pool", slice(1, 4)), VALUES[1:4])
    add(root, "counts", np.ones((5, 3), "int16"))
    with refused(FormatError, "layer counts", "int16", "expected (N, D)", "astype"):
        open_features(tmp_path / "o.zarr")
    add(root, "layers/only")
    assert open_features(tmp_path / "o.zarr").layers == ("only",)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones(5), "is (5,) float64, expected (N, D) or (N, D, K)"),
        (np.ones((5, 3, 2, 2)), "expected (N, D) or (N, D, K)"),
        (np.ones((5, 3), "uint8"), "convert it with astype('float32')"),
        (np.ones((5, 3), "complex64"), "complex64, expected"),
        (np.ones((0, 3)), "without images"),
        (np.ones((5, 0)), "without values"),
    ],
)
def test_foreign_layers_of_another_type_are_refused(
    root: zarr.Group, tmp_path: Path, values: np.ndarray, words: str
) -> None:
    add(root, "layers/x", values)
    with refused(FormatError, tmp_path / "o.zarr", "layer x", words):
        open_features(tmp_path / "o.zarr")


def test_group_as_a_layer_is_refused(root: zarr.Group, tmp_path: Path) -> None:
    add(root, "layers/block/conv")
    with refused(FormatError, tmp_path / "o.zarr", "layer block is a group, expected (N, D)"):
        open_features(tmp_path / "o.zarr")


def test_foreign_layers_with_different_numbers_of_images_are_refused(
    root: zarr.Group, tmp_path: Path
) -> None:
    add(root, "layers/x")
    add(root, "layers/enc1", VALUES[:4])
    with refused(FormatError, "layer x holds 5 images, layer enc1 4"):
        open_features(tmp_path / "o.zarr")


def test_foreign_store_without_layers_is_refused(root: zarr.Group, tmp_path: Path) -> None:
    for _ in range(2):
        with refused(FormatError, tmp_path / "o.zarr", "holds no features"):
            open_features(tmp_path / "o.zarr")
        root.require_group("layers")


def test_foreign_samples_are_read(root: zarr.Group, tmp_path: Path) -> None:
    add(root, "layers/x")
    for name, values in {"id": np.array([3, 1, 4, 1, 5]), "weight": VALUES[:, 0, 0]}.items():
        add(root, f"samples/{name}", values)
    columns = open_features(tmp_path / "o.zarr").columns
    assert columns["id"].tolist() == [3, 1, 4, 1, 5]
    assert columns["weight"].tolist() == VALUES[:, 0, 0].tolist()
    add(root, "samples/extra", np.arange(4))
    with refused(FormatError, "column extra holds 4 images, the column id 5"):
        open_features(tmp_path / "o.zarr")


def test_foreign_text_columns_are_read(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3)
    add(root, "layers/x")
    write_columns(root, {"subject": list("abcde")})
    assert open_features(tmp_path / "o.zarr").columns["subject"].tolist() == list("abcde")
    write_columns(root, {"subject": list("abcdef")})
    with refused(FormatError, "column subject holds 6 images, layer x 5"):
        open_features(tmp_path / "o.zarr")


@pytest.mark.parametrize(
    ("stored", "ranges", "used"),
    [
        ("float32", "float32", True),
        ("float16", "float32", True),
        ("float32", ">f4", True),
        ("float64", "float64", True),
        ("float64", "float32", False),
        ("float32", "float16", False),
    ],
)
def test_foreign_ranges_are_used_if_exact(
    root: zarr.Group, tmp_path: Path, stored: str, ranges: str, used: bool
) -> None:
    values = VALUES.astype(stored)
    low, high = values.min(axis=2).astype(ranges), values.max(axis=2).astype(ranges)
    add(root, "layers/x", values)
    add(root, "layers/y", values)
    add(root, "ranges/x/low", low)
    add(root, "ranges/x/high", high)
    store = open_features(tmp_path / "o.zarr")
    assert store.ranges("y") is None
    found = store.ranges("x")
    assert (found is not None) is used
    if found is not None:
        np.testing.assert_array_equal(found, [low, high])
        assert all(each.dtype.isnative for each in found)


def test_incomplete_foreign_ranges_are_refused(root: zarr.Group, tmp_path: Path) -> None:
    add(root, "layers/x")
    add(root, "ranges/x/low", VALUES.min(axis=2))
    with refused(FormatError, tmp_path / "o.zarr", "layer x: ranges", "'high'"):
        open_features(tmp_path / "o.zarr")
    add(root, "ranges/x/high", VALUES.max(axis=2)[:4])
    with refused(FormatError, "layer x is (5, 3, 4), its ranges (5, 3) and (4, 3)"):
        open_features(tmp_path / "o.zarr")


def test_foreign_stores_may_omit_chunks_of_zeros(root: zarr.Group, tmp_path: Path) -> None:
    values = np.zeros((4, 2))
    values[3] = 1
    add(root, "layers/x", values, fill_value=0)
    store = open_features(tmp_path / "o.zarr")
    np.testing.assert_array_equal(store.read("x", slice(0, 4))[:, :, 0], values)


def test_damaged_foreign_chunk_is_named(root: zarr.Group, tmp_path: Path, version: int) -> None:
    add(root, "layers/x", chunks=(2, 3, 4), compressors=GzipCodec() if version == 3 else Zlib())
    file = tmp_path / "o.zarr/layers/x" / ("c/1/0/0" if version == 3 else "1.0.0")
    file.write_bytes(file.read_bytes()[:-5])
    store = open_features(tmp_path / "o.zarr")
    assert store.read("x", slice(0, 2)).any()
    with refused(FormatError, tmp_path / "o.zarr", "layer x, images 2 to 3", "damaged"):
        store.read("x", slice(2, 4))


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
@pytest.mark.parametrize("place", ["layers/x", "layers"])
def test_damaged_foreign_metadata_is_reported_in_one_line(
    tmp_path: Path, place: str, text: bytes
) -> None:
    add(zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3), "layers/x")
    (tmp_path / "o.zarr" / place / "zarr.json").write_bytes(text)
    with refused(FormatError, tmp_path / "o.zarr"):
        open_features(tmp_path / "o.zarr")


@pytest.mark.parametrize(
    "attributes",
    [
        {"skiptool_version": "0.1.0"},
        {"format_version": 1},
        {"kind": "features"},
        {"kind": "model", "format_version": 1},
        {"kind": "dataset", "format_version": 1},
    ],
)
def test_incomplete_header_is_refused(tmp_path: Path, attributes: dict[str, object]) -> None:
    root = zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3, attributes=attributes)
    add(root, "layers/x")
    with refused(FormatError, tmp_path / "o.zarr", "'features'"[1:-1]):
        open_features(tmp_path / "o.zarr")


@pytest.mark.parametrize("kind", ["images", 3, ["dataset"], None, {}])
def test_foreign_attribute_kind_is_not_a_header(tmp_path: Path, kind: object) -> None:
    root = zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3)
    add(root, "layers/x")
    root.attrs["kind"] = kind
    assert open_features(tmp_path / "o.zarr").layers == ("x",)


def test_missing_chunk_is_detected_without_a_header(features: Path) -> None:
    set_json(features / "zarr.json", attributes={})
    store = open_features(features)
    assert store.layers == ("enc1", "dec0", "encoder.layer1.0")
    assert store.ranges("enc1") is not None
    (features / "layers/dec0/c/0/0/0").unlink()
    with refused(FormatError, features, "layer dec0: chunk c/0/0/0 is missing"):
        open_features(features)
    shutil.rmtree(features / "layers/dec0")
    assert open_features(features).layers == ("enc1", "encoder.layer1.0")


def test_foreign_attribute_every_chunk_is_used(tmp_path: Path) -> None:
    add(zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3), "layers/x")
    set_attributes(tmp_path / "o.zarr/layers/x", every_chunk=True)
    with refused(FormatError, "layer x: chunks are not whole rows"):
        open_features(tmp_path / "o.zarr")
    assert json.loads((tmp_path / "o.zarr/layers/x/zarr.json").read_text())["attributes"]
