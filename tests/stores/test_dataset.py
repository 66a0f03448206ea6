"""Tests of ``dataset``."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predict_cases import Warned, make_dataset
from skiptool.errors import ArgumentError, FormatError, MismatchError
from skiptool.names import Kind, Split
from skiptool.records import SILENT, SampleReader
from skiptool.stores.dataset import (
    IDENTITY_COLUMNS,
    DatasetStore,
    StoredSamples,
    check_sample,
    choose_domains_in_store,
    column_kinds,
    open_dataset,
    pack,
)
from skiptool.stores.lineage import hash_bytes
from skiptool.stores.zarrs import create_array, open_root, write_columns
from small_stores import (
    CLASSES,
    HOSTILE_JSON,
    MAKING,
    flip,
    refused,
    sample,
    set_attributes,
    set_json,
    unseal,
    write_dataset,
)

FEW = settings(max_examples=5, deadline=None)


@given(
    sizes=st.dictionaries(
        st.sampled_from(["a", "Ö 2", "zarr", "c"]),
        st.tuples(*(st.integers(1, most) for most in (18, 5, 5)), st.sampled_from([1, 3])),
        min_size=1,
        max_size=3,
    )
)
@FEW
def test_dataset_round_trip(
    tmp_path_factory: pytest.TempPathFactory, sizes: dict[str, tuple[int, int, int, int]]
) -> None:
    """Domains of different sizes and types, with samples appended in turn."""
    path = tmp_path_factory.mktemp("write") / "d.zarr"
    longest = max(images for images, *_ in sizes.values())
    made = [
        sample(index, domain, tuple(shape))
        for index in range(longest)
        for domain, (images, *shape) in sizes.items()
        if index < images
    ]
    name = write_dataset(path, made)
    store = open_dataset(path)
    assert (store.lineage.kind, store.lineage.id, store.classes) == (Kind.DATASET, name, CLASSES)
    assert list(store.domains) == sorted(sizes)
    for domain, (images, *shape) in sizes.items():
        found, here = store.domain(domain), [each for each in made if each.domain == domain]
        assert (len(found), found.height, found.width, found.channels) == (images, *shape)
        reader = store.samples(domain, range(images))
        for place, each in enumerate(here):
            image, mask = reader.read(place)
            assert (image.dtype, mask.dtype) == (each.image.dtype, np.uint8)
            np.testing.assert_array_equal(image, each.image)
            np.testing.assert_array_equal(mask, each.mask)
            row = {column: values[place] for column, values in found.columns.items()}
            assert row.pop("digest")
            assert row == {
                "id": each.id,
                "subject": each.subject,
                "split": each.split.value,
                "fold": each.fold,
                **each.columns,
            }


def test_layout_matches_the_specification(dataset: Path) -> None:
    root = json.loads((dataset / "zarr.json").read_text())
    assert root["zarr_format"] == 3
    assert root["attributes"]["classes"] == list(CLASSES)
    assert root["attributes"]["ignore_index"] == 255
    assert set(root["attributes"]) == {
        "kind",
        "format_version",
        "skiptool_version",
        "command",
        "parameters",
        "created",
        "id",
        "inputs",
        "classes",
        "ignore_index",
        "contents",
        "seal",
    }
    assert sorted(path.name for path in dataset.iterdir()) == ["a", "b grey", "zarr.json"]
    arrays = {
        name: json.loads((dataset / name / "zarr.json").read_text())
        for name in ("a/images", "a/masks", "b grey/images", "b grey/masks")
    }
    assert {name: (meta["shape"], meta["data_type"]) for name, meta in arrays.items()} == {
        "a/images": ([20, 4, 6, 3], "uint8"),
        "a/masks": ([20, 4, 6], "uint8"),
        "b grey/images": ([3, 5, 3, 1], "float32"),
        "b grey/masks": ([3, 5, 3], "uint8"),
    }
    for meta in arrays.values():
        rest = meta["shape"][1:]
        assert meta["chunk_grid"]["configuration"]["chunk_shape"] == [16, *rest]
        (sharding,) = meta["codecs"]
        assert sharding["configuration"]["chunk_shape"] == [1, *rest]
        assert sharding["configuration"]["codecs"][-1] == {"name": "crc32c"}
        assert sharding["configuration"]["index_codecs"][-1] == {"name": "crc32c"}
    for column in ("id", "subject", "split", "digest", "organ"):
        meta = json.loads((dataset / f"a/samples/{column}/zarr.json").read_text())
        assert meta["data_type"] == "string"


@pytest.mark.long
def test_id_depends_on_the_content_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: Path
) -> None:
    from dataclasses import replace

    from skiptool.stores.lineage import Invocation

    samples = [sample(index, domain) for index in range(3) for domain in ("a", "b")]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    first = write_dataset(tmp_path / "1.zarr", samples)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "2")
    (tmp_path / "else").mkdir()
    invocation = Invocation("extract images", ("m.csv",), {"n": 2}, {"out": "y"}, {"files": "cd"})
    by_domain = sorted(samples, key=lambda each: each.domain, reverse=True)
    assert write_dataset(tmp_path / "else" / "2.zarr", by_domain, invocation) == first
    one = samples[0]
    image = one.image.copy()
    image[0, 0, 0] ^= 1
    for number, other in enumerate(
        [
            replace(one, image=image),
            replace(one, subject="other"),
            replace(one, fold=7),
            replace(one, columns={**one.columns, "mpp": 0.5}),
            replace(one, domain="c"),
        ]
    ):
        assert write_dataset(tmp_path / f"o{number}.zarr", [other, *samples[1:]]) != first


def test_id_depends_on_the_shape_of_equal_bytes(tmp_path: Path) -> None:
    flat = [sample(0, image=np.zeros((2, 6, 3), np.uint8), mask=np.zeros((2, 6), np.uint8))]
    tall = [sample(0, image=np.zeros((6, 2, 3), np.uint8), mask=np.zeros((6, 2), np.uint8))]
    assert write_dataset(tmp_path / "a", flat) != write_dataset(tmp_path / "b", tall)


def test_domain_may_be_called_classes(tmp_path: Path) -> None:
    from skiptool.stores.dataset_writer import DatasetWriter

    names = []
    for number, classes in enumerate((("background", "cell", "x"), ("background", "cell", "y"))):
        writer = DatasetWriter(tmp_path / str(number), classes, MAKING)
        writer.append(sample(0, "classes"))
        names.append(writer.finish().id)
    assert names[0] != names[1]


def test_creation_time_is_set_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    write_dataset(tmp_path / "d.zarr", [sample(0)])
    assert open_dataset(tmp_path / "d.zarr").lineage.created == "1970-01-01T00:00:00+00:00"


def test_samples_are_selected_by_split_and_read_in_any_order(dataset: Path) -> None:
    store = open_dataset(dataset)
    domain = store.domain("a")
    test = [index for index in range(20) if index % 3 == 0]
    assert domain.select("test") == test
    assert domain.select("train") == [index for index in range(20) if index % 3]
    assert domain.select(None) == list(range(20))
    for indices in (test, [19, 0, 7, 7], [3]):
        reader = store.samples("a", indices)
        assert len(reader) == len(indices)
        images, masks = reader.read_many(range(len(indices)))
        for place, index in enumerate(indices):
            np.testing.assert_array_equal(images[place], sample(index).image)
            np.testing.assert_array_equal(masks[place], sample(index).mask)


def test_pickled_reader_is_small_and_usable(dataset: Path) -> None:
    reader = open_dataset(dataset).samples("a", [4, 2])
    reader.read(0)
    sent = pickle.dumps(reader)
    assert len(sent) < 1000
    arrived: SampleReader = pickle.loads(sent)
    assert len(arrived) == 2
    np.testing.assert_array_equal(arrived.read(1)[0], sample(2).image)


def test_unknown_domain_error_lists_the_known_ones(dataset: Path) -> None:
    with refused(ArgumentError, dataset, "'b gray'", "a, b grey", "did you mean b grey?"):
        open_dataset(dataset).domain("b gray")


@pytest.mark.parametrize("lost", ["images", "masks", *IDENTITY_COLUMNS, "samples", "mpp"])
def test_missing_parts_are_named(dataset: Path, lost: str) -> None:
    folder = dataset / "b grey" / (lost if lost in ("images", "masks", "samples") else "samples")
    folder = folder if folder.name == lost else folder / lost
    (folder / "zarr.json").unlink()
    with refused(FormatError, dataset, "domain b grey", repr(lost)):
        open_dataset(dataset)
    shutil.rmtree(folder)
    if lost in ("mpp", "digest"):  # these need not be there, but they were written
        with refused(FormatError, dataset, f"b grey/samples/{lost}/zarr.json: not as written"):
            open_dataset(dataset)
        unseal(dataset)
        assert lost not in open_dataset(dataset).domain("b grey").columns
    else:
        with refused(FormatError, dataset, "domain b grey", lost):
            open_dataset(dataset)


def test_domain_with_lost_metadata_is_reported(dataset: Path) -> None:
    (dataset / "b grey/zarr.json").unlink()
    with refused(FormatError, dataset, "'b grey'"):
        open_dataset(dataset)


@pytest.mark.parametrize("array", ["images", "masks"])
@pytest.mark.parametrize("shard", [0, 1])
def test_lost_or_empty_shard_is_detected_on_opening(dataset: Path, array: str, shard: int) -> None:
    (file,) = (path for path in (dataset / f"a/{array}/c/{shard}").rglob("*") if path.is_file())
    file.write_bytes(b"")
    with refused(FormatError, dataset, "domain a", array, f"c/{shard}"):
        open_dataset(dataset)
    file.unlink()
    with refused(FormatError, dataset, "domain a", array, f"c/{shard}"):
        open_dataset(dataset)
    with refused(FormatError, dataset, "domain a", array, f"c/{shard}"):
        StoredSamples(dataset, "a", (0,)).read(0)


@pytest.mark.parametrize("array", ["images", "masks"])
def test_flipped_bit_is_detected_on_reading(dataset: Path, array: str) -> None:
    """In a chunk, only its sample fails; in the index of a shard, all of its samples fail."""
    (file,) = (path for path in (dataset / f"a/{array}/c/1").rglob("*") if path.is_file())
    flip(file, 3)
    store = open_dataset(dataset)
    with refused(FormatError, dataset, "domain a", "sample 16", "damaged"):
        store.samples("a", [16, 2]).read_many([0, 1])
    with refused(FormatError, dataset, "domain a", "samples 16 to 19", "damaged"):
        store.samples("a", range(20)).read_many(range(16, 20))
    store.samples("a", range(20)).read_many(range(16))
    store.samples("a", range(20)).read(17)
    flip(file)
    with refused(FormatError, dataset, "domain a", "sample 17"):
        store.samples("a", range(20)).read(17)


def test_flipped_bit_of_a_column_is_detected_on_opening(dataset: Path) -> None:
    flip(dataset / "a/samples/fold/c/0", 3)
    with refused(FormatError, dataset, "domain a", "column fold"):
        open_dataset(dataset)


def test_different_lengths_are_named(dataset: Path) -> None:
    set_json(dataset / "a/masks/zarr.json", shape=[19, 4, 6])
    with refused(FormatError, dataset, "domain a", "(20, 4, 6, 3)", "(19, 4, 6)"):
        open_dataset(dataset)
    set_json(dataset / "a/images/zarr.json", shape=[19, 4, 6, 3])
    with refused(FormatError, dataset, "domain a", "19 images, 20 ids"):
        open_dataset(dataset)
    set_json(dataset / "a/images/zarr.json", shape=[20, 4, 6, 3])
    set_json(dataset / "a/masks/zarr.json", shape=[20, 4, 6])
    root = open_root(dataset, "dataset")
    columns = {name: root[f"a/samples/{name}"][:] for name in IDENTITY_COLUMNS}
    import zarr

    group = zarr.open_group(dataset / "a", mode="r+")
    write_columns(group, {**columns, "mpp": [0.5, 0.5]})
    with refused(FormatError, dataset, "domain a", "2 of column mpp"):
        open_dataset(dataset)


@pytest.mark.parametrize(
    ("column", "values", "word"),
    [
        ("fold", ["0", "1", "2"], "fold"),
        ("fold", [0.5, 1.0, 2.0], "fold"),
        ("id", [1, 2, 3], "id"),
        ("split", ["train", "test", "validation"], "split"),
    ],
)
def test_columns_of_another_type_are_refused(
    dataset: Path, column: str, values: list[object], word: str
) -> None:
    import zarr

    group = zarr.open_group(dataset / "b grey", mode="r+")
    columns = {name: group[f"samples/{name}"][:] for name in IDENTITY_COLUMNS}
    write_columns(group, {**columns, column: values})
    with refused(FormatError, dataset, "domain b grey", f"column {word}"):
        open_dataset(dataset)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3, 5, 3, 1), "uint8"),
        ((3, 5, 3, 3), "float32"),
        ((3, 5, 3, 3), "float64"),
        ((3, 5), "uint8"),
    ],
)
def test_images_of_another_type_are_refused(
    dataset: Path, shape: tuple[int, ...], dtype: str
) -> None:
    import zarr

    group = zarr.open_group(dataset / "b grey", mode="r+")
    create_array(group, "images", shape, dtype, chunk=1, shard=16)[:] = 0
    with refused(FormatError, dataset, "domain b grey", dtype):
        open_dataset(dataset)


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"kind": "features"}, "is of kind 'features', expected 'dataset'"),
        ({"kind": None}, "not made by skiptool"),
        ({"format_version": 2}, "use a newer skiptool"),
        ({"id": 7}, "damaged in id"),
        ({"classes": "cell"}, "classes"),
        ({"classes": [["a"], "b"]}, "classes"),
        ({"classes": []}, "classes"),
        ({"ignore_index": 254}, "ignore_index"),
    ],
)
def test_hostile_attributes_are_refused(
    dataset: Path, attributes: dict[str, object], word: str
) -> None:
    set_attributes(dataset, **attributes)
    with refused(FormatError, dataset, word):
        open_dataset(dataset)


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
@pytest.mark.parametrize("place", ["", "a", "a/masks"])
def test_damaged_metadata_is_reported_in_one_line(dataset: Path, place: str, text: bytes) -> None:
    (dataset / place / "zarr.json").write_bytes(text)
    with refused(FormatError, dataset):
        open_dataset(dataset)


def test_other_artifacts_are_refused(tmp_path: Path, dataset: Path, features: Path) -> None:
    (tmp_path / "file.zarr").write_text("x")
    (tmp_path / "folder.zarr").mkdir()
    for name in ("nowhere", "file.zarr", "folder.zarr", "d.zarr/a/images"):
        with refused(FormatError, tmp_path / name):
            open_dataset(tmp_path / name)
    with refused(FormatError, features, "'features'", "'dataset'"):
        open_dataset(features)
    with refused(FormatError, dataset / "a", "not made by skiptool"):
        open_dataset(dataset / "a")


def test_empty_stores_are_refused(dataset: Path) -> None:
    import zarr

    shutil.rmtree(dataset / "a")
    group = zarr.open_group(dataset / "b grey", mode="r+")
    create_array(group, "images", (0, 5, 3, 1), "float32", chunk=1, shard=16)
    create_array(group, "masks", (0, 5, 3), "uint8", chunk=1, shard=16)
    write_columns(
        group,
        {
            "fold": np.zeros(0, np.int64),
            **{name: np.zeros(0, object) for name in ("id", "subject", "split", "digest")},
        },
    )
    with refused(FormatError, dataset, "domain b grey", "0 images, 0 ids"):
        open_dataset(dataset)
    shutil.rmtree(dataset / "b grey")
    with refused(FormatError, dataset, "holds no domain"):
        open_dataset(dataset)


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "\u202egnp"])
def test_domains_with_invalid_names_are_refused(dataset: Path, name: str) -> None:
    (unseal(dataset) / "a").rename(dataset / name)
    with refused(FormatError, "not a name that skiptool writes"):
        open_dataset(dataset)


COLOUR, GREY = (4, 6, 3), (4, 6, 1)


def test_valid_samples_are_accepted() -> None:
    check_sample(sample(0), CLASSES)
    check_sample(sample(0, "Scanner Ø 2", GREY), CLASSES)
    check_sample(sample(0, mask=np.full((4, 6), 255, np.uint8)), CLASSES)
    check_sample(sample(0, columns={}), ("background",) * 255)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\\b", "a\n", "\x00", "zarr.json"])
def test_invalid_names_are_refused(name: str) -> None:
    with refused(ArgumentError):
        check_sample(sample(0, name), CLASSES)
    with refused(ArgumentError):
        check_sample(sample(0, columns={name: 1}), CLASSES)


@pytest.mark.parametrize("name", ["id", "subject", "split", "fold", "digest"])
def test_reserved_names_of_columns_are_refused(name: str) -> None:
    with refused(ArgumentError, "domain a, sample 000", repr(name), "choose another name"):
        check_sample(sample(0, columns={name: "x"}), CLASSES)


@pytest.mark.parametrize(
    "new", [{"id": "\udce9"}, {"subject": "\udce9"}, {"columns": {"organ": "\udce9"}}]
)
def test_names_that_are_not_unicode_are_refused(new: dict[str, Any]) -> None:
    with refused(ArgumentError, "not valid Unicode", "rename the file"):
        check_sample(sample(0, **new), CLASSES)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 6, 1), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 3), np.float32),
        np.zeros((4, 6, 1), np.float64),
        np.zeros((1, 4, 6, 3), np.uint8),
    ],
)
def test_images_of_other_types_are_refused(image: np.ndarray) -> None:
    with refused(ArgumentError, "sample 000", str(image.shape), "expected uint8 (H, W, 3)"):
        check_sample(sample(0, image=image), CLASSES)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.1])
def test_grey_values_outside_0_to_1_are_refused(value: float) -> None:
    image = np.full(GREY, 0.5, np.float32)
    image[1, 1] = value
    with refused(ArgumentError, "sample 000", "[0, 1]"):
        check_sample(sample(0, shape=GREY, image=image), CLASSES)


def test_masks_of_another_size_or_type_are_refused() -> None:
    with refused(ArgumentError, "int64"):
        check_sample(sample(0, mask=np.zeros((4, 6), np.int64)), CLASSES)
    with refused(MismatchError, "mask is (6, 4), image is (4, 6)"):
        check_sample(sample(0, mask=np.zeros((6, 4), np.uint8)), CLASSES)
    with refused(MismatchError, "above 0"):
        check_sample(sample(0, shape=(0, 6, 3)), CLASSES)


@pytest.mark.parametrize("label", [3, 4, 254])
def test_labels_without_a_class_are_refused(label: int) -> None:
    mask = np.full((4, 6), 255, np.uint8)
    mask[2, 3] = label
    with refused(
        MismatchError, f"label {label}", "classes are 0 to 2 (background, cell, debris) and 255"
    ):
        check_sample(sample(0, mask=mask), CLASSES)


def test_row_is_json_with_the_hash_of_the_pixels() -> None:
    one = sample(0, columns={"n": np.int64(3), "x": np.float32(0.5), "t": "a", "f": 2.5})
    row = pack(one, CLASSES).row
    assert json.loads(json.dumps(row)) == row
    assert {name: row[name] for name in one.columns} == {"n": 3, "x": 0.5, "t": "a", "f": 2.5}
    assert row["digest"] == hash_bytes(one.image.tobytes() + one.mask.tobytes())
    other = one.mask.copy()
    other[0, 0] ^= 1
    assert pack(sample(0, mask=other), CLASSES).row["digest"] != row["digest"]
    assert column_kinds(row) == {"n": "number", "x": "number", "t": "text", "f": "number"}


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    """Domain a has training and test samples, b only training samples."""
    mixed = [sample(index, "a") for index in range(6)]
    training = [sample(index, "b", split=Split.TRAIN, fold=0) for index in range(2)]
    write_dataset(tmp_path / "d.zarr", [*mixed, *training])
    return open_dataset(tmp_path / "d.zarr")


def test_domains_without_samples_of_the_split_are_skipped_unless_named(store: DatasetStore) -> None:
    warned = Warned()
    assert [d.name for d in choose_domains_in_store(store, (), "test", warned)] == ["a"]
    (line,) = warned.lines
    assert "no test samples in b" in line
    for split in ("train", "all"):
        assert [d.name for d in choose_domains_in_store(store, (), split, warned)] == ["a", "b"]
    assert len(warned.lines) == 1
    assert [d.name for d in choose_domains_in_store(store, ["b", "a"], "all", warned)] == ["b", "a"]
    with refused(ArgumentError, store.path, "domain b has no test samples"):
        choose_domains_in_store(store, ["a", "b"], "test", warned)
    with refused(ArgumentError, "a domain is given twice"):
        choose_domains_in_store(store, ["a", "a"], "test", warned)


def test_store_without_test_samples_is_refused(tmp_path: Path) -> None:
    make_dataset(tmp_path / "t.zarr", [("A", 32, 32)], split=Split.TRAIN)
    with refused(ArgumentError, "t.zarr: domain A has no test samples", "--split"):
        choose_domains_in_store(open_dataset(tmp_path / "t.zarr"), (), "test", SILENT)
