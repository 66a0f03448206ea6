from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind
from skiptool.stores.lineage import create_lineage
from skiptool.stores.masks import MaskWriter, open_masks
from skiptool.stores.zarrs import read_columns
from small_stores import MAKING, flip, refused, set_attributes

PLAIN = {"model": "m", "model_id": "1", "domain": "a", "shift": "original", "factor": None}
DARK = {**PLAIN, "shift": "brightness", "factor": 0.5}


def labels(images: int, size: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (images, *size), dtype=np.uint8)


def begin(path: Path) -> MaskWriter:
    return MaskWriter(path, create_lineage(Kind.MASKS, MAKING, 1), ("background", "cell"))


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    writer = begin(tmp_path / "m.zarr")
    for facts in (PLAIN, DARK):
        name = writer.begin(facts, [f"i{number}" for number in range(20)], (3, 4))
        writer.append(name, labels(20, (3, 4), int(name)))
    return tmp_path / "m.zarr"


@given(
    entries=st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.lists(st.integers(1, 20), min_size=1)),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=5, deadline=None)
def test_masks_round_trip(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[int, int, list[int]]]
) -> None:
    """Entries of different sizes, filled with blocks of any length."""
    path = tmp_path_factory.mktemp("m") / "m.zarr"
    writer, written = begin(path), []
    for number, (height, width, pieces) in enumerate(entries):
        values = labels(sum(pieces), (height, width), number)
        name = writer.begin(
            {**PLAIN, "model": f"m{number}"}, [*map(str, range(len(values)))], (height, width)
        )
        assert name == str(number)
        for start, stop in zip(np.cumsum([0, *pieces]), np.cumsum(pieces), strict=False):
            writer.append(name, values[start:stop])
        written.append(values)
    store = open_masks(path)
    assert store.names() == [str(number) for number in range(len(entries))]
    for name, values in zip(store.names(), written, strict=True):
        np.testing.assert_array_equal(store.read(name), values)
        assert store.read(name).dtype == np.uint8
    assert [shape for _, shape in store.entries()] == [values.shape for values in written]


def test_entries_have_attributes_and_shapes(masks: Path) -> None:
    store = open_masks(masks)
    assert store.entries() == [(PLAIN, (20, 3, 4)), (DARK, (20, 3, 4))]
    assert read_columns(store.root["1"], "here")["id"].tolist() == [f"i{n}" for n in range(20)]
    assert store.ids("1") == [f"i{n}" for n in range(20)]
    np.testing.assert_array_equal(store.read_one("1", 17), store.read("1")[17])
    assert store.lineage.kind is Kind.MASKS
    root = json.loads((masks / "zarr.json").read_text())["attributes"]
    assert (root["kind"], root["classes"]) == ("masks", ["background", "cell"])
    meta = json.loads((masks / "0/labels/zarr.json").read_text())
    assert meta["chunk_grid"]["configuration"]["chunk_shape"] == [16, 3, 4]
    assert meta["codecs"][0]["configuration"]["chunk_shape"] == [1, 3, 4]


def test_entries_are_in_order_of_creation(tmp_path: Path) -> None:
    writer = begin(tmp_path / "m.zarr")
    for _ in range(11):
        writer.append(writer.begin(PLAIN, ["a"], (1, 1)), np.zeros((1, 1, 1), np.uint8))
    assert open_masks(tmp_path / "m.zarr").names() == [str(number) for number in range(11)]


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((5, 3, 4), np.uint8),
        np.zeros((1, 1, 1), np.uint8),
        np.zeros((1, 3, 4), np.int64),
        np.zeros((3, 4), np.uint8),
    ],
)
def test_labels_of_another_shape_or_type_are_refused(tmp_path: Path, bad: np.ndarray) -> None:
    writer = begin(tmp_path / "m.zarr")
    name = writer.begin(PLAIN, ["a", "b", "c", "d"], (3, 4))
    with refused(ArgumentError, str(bad.shape), "3 x 4"):
        writer.append(name, bad)
    writer.append(name, labels(3, (3, 4), 0))
    with refused(ArgumentError, "at most 1 images"):
        writer.append(name, labels(2, (3, 4), 0))
    writer.append(name, labels(1, (3, 4), 0))


def test_damage_is_reported_with_its_entry(masks: Path) -> None:
    store = open_masks(masks)
    file = masks / "1/labels/c/1/0/0"
    flip(file, 2)
    store.read("0")
    with refused(FormatError, masks, "entry 1", "damaged"):
        store.read("1")
    file.unlink()
    for read in (lambda: store.read("1"), store.entries):
        with refused(FormatError, masks, "entry 1", "missing"):
            read()
    shutil.rmtree(masks / "1/labels")
    with refused(FormatError, masks, "entry 1", "has no 'labels'"):
        store.read("1")


def test_unfilled_entries_are_refused(tmp_path: Path) -> None:
    """Zarr itself would read background everywhere."""
    writer = begin(tmp_path / "m.zarr")
    writer.append(writer.begin(PLAIN, [*map(str, range(20))], (3, 4)), labels(16, (3, 4), 0))
    with refused(FormatError, tmp_path / "m.zarr", "entry 0", "c/1"):
        open_masks(tmp_path / "m.zarr").read("0")


def test_entries_with_other_names_are_refused(masks: Path) -> None:
    (masks / "notes").mkdir()
    with refused(FormatError, masks, "'notes'"):
        open_masks(masks).names()


def test_other_stores_are_refused(masks: Path, dataset: Path) -> None:
    with refused(FormatError, masks / "nowhere", "mask store"):
        open_masks(masks / "nowhere")
    with refused(FormatError, dataset, "'dataset'", "'masks'"):
        open_masks(dataset)
    set_attributes(masks, format_version=2)
    with refused(FormatError, masks, "use a newer skiptool"):
        open_masks(masks)
