from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs import Zlib
from zarr.codecs import GzipCodec

from skiptool.errors import FormatError
from skiptool.stores.features import FACTS, open_features
from skiptool.stores.zarrs import write_columns
from small_stores import HOSTILE_JSON, refused, set_attributes, set_json

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
def test_layers_are_read(root: zarr.Group, tmp_path: Path, values: np.ndarray, dtype: str) -> None:
    root.attrs["title"] = "made elsewhere"
    add(root, "layers/x", values.astype(dtype))
    store = open_features(tmp_path / "o.zarr")
    expected = values.astype(dtype).reshape(5, 3, -1)
    assert (store.layers, len(store), store.shape("x")) == (("x",), 5, expected.shape)
    assert (store.lineage, store.model_id, store.dataset_id) == (None,) * 3
    copy = shutil.copytree(store.place, tmp_path / "copy.zarr")
    assert open_features(copy).id == store.id  # a hash of its bytes
    assert (dict(store.facts), dict(store.columns)) == (dict.fromkeys(FACTS), {})
    assert store.ranges("x") is None
    assert store.chunk("x") == 2
    starts, blocks = zip(*store.blocks("x"), strict=True)
    assert starts == (0, 2, 4)
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    for block in blocks:
        assert block.dtype == store.dtype("x") == np.dtype(dtype).newbyteorder("=")
        assert block.dtype.isnative
        assert block.flags.c_contiguous


def test_layers_come_in_the_order_of_data_flow(root: zarr.Group, tmp_path: Path) -> None:
    for name in ("b", "head", "A", "dec4", "enc5", "input"):
        add(root, f"layers/{name}")
    order = ("input", "enc5", "dec4", "head", "A", "b")
    assert open_features(tmp_path / "o.zarr").layers == order


def test_arrays_at_the_root_are_layers(root: zarr.Group, tmp_path: Path) -> None:
    """Labels (N,), a cube of four axes and groups may lie beside them."""
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
        (np.ones((0, 3)), "holds no image"),
        (np.ones((5, 0)), "holds no value"),
    ],
)
def test_layers_of_another_form_are_refused(
    root: zarr.Group, tmp_path: Path, values: np.ndarray, words: str
) -> None:
    add(root, "layers/x", values)
    with refused(FormatError, tmp_path / "o.zarr", "layer x", words):
        open_features(tmp_path / "o.zarr")


def test_a_group_is_no_layer(root: zarr.Group, tmp_path: Path) -> None:
    add(root, "layers/block/conv")
    with refused(FormatError, tmp_path / "o.zarr", "layer block is a group, expected (N, D)"):
        open_features(tmp_path / "o.zarr")


def test_layers_hold_the_same_images(root: zarr.Group, tmp_path: Path) -> None:
    add(root, "layers/x")
    add(root, "layers/enc1", VALUES[:4])
    with refused(FormatError, "layer x holds 5 images, layer enc1 4"):
        open_features(tmp_path / "o.zarr")


def test_a_store_without_layers_is_refused(root: zarr.Group, tmp_path: Path) -> None:
    for _ in range(2):
        with refused(FormatError, tmp_path / "o.zarr", "no features are found in it"):
            open_features(tmp_path / "o.zarr")
        root.require_group("layers")


def test_samples_may_be_there(root: zarr.Group, tmp_path: Path) -> None:
    add(root, "layers/x")
    for name, values in {"id": np.array([3, 1, 4, 1, 5]), "weight": VALUES[:, 0, 0]}.items():
        add(root, f"samples/{name}", values)
    columns = open_features(tmp_path / "o.zarr").columns
    assert columns["id"].tolist() == [3, 1, 4, 1, 5]
    assert columns["weight"].tolist() == VALUES[:, 0, 0].tolist()
    add(root, "samples/extra", np.arange(4))
    with refused(FormatError, "column extra holds 4 images, the samples are 5"):
        open_features(tmp_path / "o.zarr")


def test_text_in_samples(tmp_path: Path) -> None:
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
def test_ranges_may_be_there_if_they_are_exact(
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


def test_ranges_are_of_every_image_and_channel(root: zarr.Group, tmp_path: Path) -> None:
    add(root, "layers/x")
    add(root, "ranges/x/low", VALUES.min(axis=2))
    with refused(FormatError, tmp_path / "o.zarr", "layer x: ranges", "'high'"):
        open_features(tmp_path / "o.zarr")
    add(root, "ranges/x/high", VALUES.max(axis=2)[:4])
    with refused(FormatError, "layer x is (5, 3, 4), its ranges (5, 3) and (4, 3)"):
        open_features(tmp_path / "o.zarr")


def test_chunks_of_zeros_may_be_left_out(root: zarr.Group, tmp_path: Path) -> None:
    values = np.zeros((4, 2))
    values[3] = 1
    add(root, "layers/x", values, fill_value=0)
    store = open_features(tmp_path / "o.zarr")
    np.testing.assert_array_equal(store.read("x", slice(0, 4))[:, :, 0], values)


def test_a_damaged_chunk_is_named(root: zarr.Group, tmp_path: Path, version: int) -> None:
    add(root, "layers/x", chunks=(2, 3, 4), compressors=GzipCodec() if version == 3 else Zlib())
    file = tmp_path / "o.zarr/layers/x" / ("c/1/0/0" if version == 3 else "1.0.0")
    file.write_bytes(file.read_bytes()[:-5])
    store = open_features(tmp_path / "o.zarr")
    assert store.read("x", slice(0, 2)).any()
    with refused(FormatError, tmp_path / "o.zarr", "layer x, images 2 to 3", "damaged"):
        store.read("x", slice(2, 4))


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
@pytest.mark.parametrize("place", ["layers/x", "layers"])
def test_damaged_metadata_is_one_line(tmp_path: Path, place: str, text: bytes) -> None:
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
def test_a_header_of_ours_must_be_whole(tmp_path: Path, attributes: dict[str, object]) -> None:
    root = zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3, attributes=attributes)
    add(root, "layers/x")
    with refused(FormatError, tmp_path / "o.zarr", "'features'"[1:-1]):
        open_features(tmp_path / "o.zarr")


@pytest.mark.parametrize("kind", ["images", 3, ["dataset"], None, {}])
def test_a_kind_of_others_is_no_header(tmp_path: Path, kind: object) -> None:
    root = zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3)
    add(root, "layers/x")
    root.attrs["kind"] = kind
    assert open_features(tmp_path / "o.zarr").layers == ("x",)


def test_a_store_of_ours_that_lost_its_header_still_misses_its_chunks(features: Path) -> None:
    set_json(features / "zarr.json", attributes={})
    store = open_features(features)
    assert store.layers == ("enc1", "dec0", "encoder.layer1.0")
    assert store.ranges("enc1") is not None
    (features / "layers/dec0/c/0/0/0").unlink()
    with refused(FormatError, features, "layer dec0: chunk c/0/0/0 is missing"):
        open_features(features)
    shutil.rmtree(features / "layers/dec0")
    assert open_features(features).layers == ("enc1", "encoder.layer1.0")


def test_every_chunk_is_believed(tmp_path: Path) -> None:
    add(zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=3), "layers/x")
    set_attributes(tmp_path / "o.zarr/layers/x", every_chunk=True)
    with refused(FormatError, "layer x: chunks are no whole rows"):
        open_features(tmp_path / "o.zarr")
    assert json.loads((tmp_path / "o.zarr/layers/x/zarr.json").read_text())["attributes"]
