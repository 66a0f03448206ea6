from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skiptool.comparison.pairs import equal_bins
from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.steps.info import describe
from skiptool.stores.activations import check_unchanged, open_activations
from skiptool.stores.artifacts import verify
from skiptool.stores.counts import CountsStore, open_counts, ranges_id
from skiptool.stores.features import open_features
from small_activations import activations, written
from small_counts import bins_of, counted
from small_stores import flip, refused, set_attributes, unseal

LAYERS = {"enc1": np.random.default_rng(0).normal(size=(20, 3, 4)).astype(np.float32)}


@pytest.fixture(scope="module")
def pristine_counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counted(tmp_path_factory.mktemp("counts") / "c.zarr", LAYERS, together=3)


@pytest.fixture
def counts(pristine_counts: Path, tmp_path: Path) -> Path:
    """Return a complete counts store of 20 images in 7 rows."""
    return Path(shutil.copytree(pristine_counts, tmp_path / "c.zarr"))


def test_attributes_of_an_open_store(counts: Path) -> None:
    store = open_counts(counts)
    assert (len(store), store.shape("enc1"), store.grid) == (7, (7, 3, 8), (1, 4))
    assert store.lineage is not None
    assert (store.lineage.kind, store.id, store.model_id) == (Kind.COUNTS, store.lineage.id, "m")
    assert store.images.tolist() == [3] * 6 + [2]
    assert store.facts["ranges_id"] == ranges_id(bins_of(LAYERS))
    starts = [start for start, _ in store.blocks("enc1")]
    assert starts == [0]  # chunks of 5 rows are read together


def test_store_can_be_pickled(counts: Path) -> None:
    store = open_counts(counts)
    travelled = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(
        travelled.read("enc1", slice(2, 5)), store.read("enc1", slice(2, 5))
    )
    assert equal_bins(travelled.count_layout("enc1").binning, store.count_layout("enc1").binning)


def test_store_replaced_during_reading_is_detected(counts: Path) -> None:
    opened = open_counts(counts)
    check_unchanged(opened)
    shutil.rmtree(counts)
    counted(counts, LAYERS, together=2, parameters={"pool_images": 2})
    with refused(FormatError, counts, "was replaced while it was read"):
        check_unchanged(opened)


def test_hash_of_bins_reveals_any_change() -> None:
    own = bins_of(LAYERS)
    low = own["enc1"].low.copy()
    low[2] = np.nextafter(low[2], 9)
    others = [
        bins_of(LAYERS, 9),
        {"enc2": own["enc1"]},
        {"enc1": type(own["enc1"])(8, low, own["enc1"].span, clamp=True)},
    ]
    assert len({ranges_id(each) for each in (own, *others)}) == 4
    assert ranges_id(bins_of(LAYERS)) == ranges_id(own)


def test_open_activations_opens_either_kind(counts: Path, tmp_path: Path) -> None:
    assert isinstance(open_activations(counts), CountsStore)
    features = written(tmp_path / "f.zarr", activations(3))
    assert open_activations(str(features)).count_layout("enc1") is None
    np.save(tmp_path / "a.npy", np.zeros((3, 2), np.float32))
    assert open_activations(tmp_path / "a.npy").layers == ("features",)


def test_other_readers_name_the_kind(counts: Path, tmp_path: Path) -> None:
    with refused(FormatError, counts, "kind 'counts'", "expected 'features'"):
        open_features(counts)
    features = written(tmp_path / "f.zarr", activations(3))
    with refused(FormatError, features, "kind 'features'", "expected 'counts'"):
        open_counts(features)
    with refused(FormatError, tmp_path / "no.zarr", "no such"):
        open_activations(tmp_path / "no.zarr")
    counts.rename(tmp_path / ".d.zarr.partial")
    with refused(FormatError, "is not finished", "--resume"):
        open_activations(tmp_path / "d.zarr")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bins": 0}, ["bins is 0"]),
        ({"bins": 9}, ["8 bins", "the store 9"]),
        ({"vectors": None}, ["vectors is None"]),
        ({"vectors": "4"}, ["vectors is '4'"]),
        ({"pool_images": -1}, ["pool_images is -1"]),
        ({"layers": ["enc9"]}, ["enc9"]),
    ],
)
def test_invalid_attributes_are_refused(counts: Path, changed: Any, words: list[str]) -> None:  # noqa: ANN401
    unseal(counts)
    set_attributes(counts, **changed)
    with refused(FormatError, counts, *words):
        open_counts(counts)


@pytest.mark.parametrize("lost", ["bins/enc1/span", "ranges/enc1/low", "samples/images", "counts"])
def test_missing_parts_are_named(counts: Path, lost: str) -> None:
    shutil.rmtree(unseal(counts) / lost)
    with refused(FormatError, counts):
        open_counts(counts)


def test_changed_metadata_is_refused(counts: Path) -> None:
    set_attributes(counts, vectors=5)
    with refused(FormatError, counts, "zarr.json", "not as written"):
        open_counts(counts)


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("counts/enc1/c/0/0/0", "layer enc1"),
        ("ranges/enc1/low/c/0/0", "layer enc1"),
        ("bins/enc1/span/c/0", "layer enc1"),
        ("samples/id/c/0", "samples"),
    ],
)
def test_verification_detects_a_flipped_bit(counts: Path, file: str, part: str) -> None:
    assert verify(counts, Kind.COUNTS)
    flip(counts / file, 20)
    with refused(FormatError, counts, f"damaged: {part}"):
        verify(counts, Kind.COUNTS)


def test_verification_detects_wrong_sums(counts: Path) -> None:
    """The checksums are valid, but 12 values in each of 6 rows are not what was counted."""
    unseal(counts)
    set_attributes(counts, vectors=5)
    with refused(FormatError, "layer enc1", "do not add up to whole images"):
        verify(counts, Kind.COUNTS)


def test_info_describes_the_store(counts: Path) -> None:
    found = describe([counts], check=True)
    (entry,) = found.summary.values()
    expected = {"kind": "counts", "images": 20, "rows": 7, "bins": 8, "vectors": 4}
    assert {name: entry[name] for name in expected} == expected
    assert entry["layers"] == {"enc1": [7, 3, 8]}
    assert "seals hold" in entry["check"]
    assert "kind: counts" in found.text
    assert describe([counts.parent], command=True).text.startswith("skiptool features")
