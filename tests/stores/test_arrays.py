from __future__ import annotations

import io
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from skiptool.errors import FormatError
from skiptool.stores.arrays import BLOCK_BYTES, open_npy
from skiptool.stores.features import FACTS, open_features
from small_stores import flip, refused


@given(
    values=st.sampled_from(["<f2", "<f4", "<f8", ">f4", ">f8"]).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=2, max_dims=3, max_side=5))
    ),
    fortran=st.booleans(),
    parts=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_a_file_is_read_as_it_was_saved(
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


def test_nothing_else_is_known_of_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    store = open_features(tmp_path / "a.npy")
    assert (store.lineage, store.model_id, store.dataset_id) == (None, None, None)
    assert (dict(store.facts), dict(store.columns)) == (dict.fromkeys(FACTS), {})
    assert store.ranges("features") is None
    assert store.place == tmp_path / "a.npy"
    assert pickle.loads(pickle.dumps(store)).read("features", slice(1, 2)).tolist() == [[[1], [1]]]


def test_the_id_is_of_the_content(tmp_path: Path) -> None:
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
def test_a_block_is_about_four_megabytes(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, chunk: int
) -> None:
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", dtype, shape)  # no bytes on the disk
    assert open_npy(tmp_path / "a.npy").chunk == chunk


@pytest.mark.parametrize("fortran", [False, True])
def test_threads_read_at_the_same_time(tmp_path: Path, fortran: bool) -> None:
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
        (b"", ["is no NumPy array; np.save it again"]),
        (WHOLE[:3], ["is no NumPy array; np.save it again"]),
        (WHOLE[: HEADER - 5], ["cannot be read"]),
        (WHOLE[:HEADER], ["cannot be read"]),
        (WHOLE[:-1], ["cannot be read"]),
        (b"id,a\n1,2\n", ["is no NumPy array; np.save it again"]),
        (pickle.dumps(np.ones((2, 2))), ["is no NumPy array; np.save it again"]),
        (saved(np.array([[{}]], dtype=object), allow_pickle=True), ["cannot be read"]),
        (archive(), ["is no NumPy array; np.save it again"]),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }"), []),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (10**30, 2), }"), []),
        (headed("{'descr': '<f4', 'fortran_order': 0, 'shape': 'x', }"), ["cannot be read"]),
        (headed("[" * 5000), ["cannot be read"]),
        (saved(np.zeros((0, 3))), ["(0, 3), which holds no image"]),
        (saved(np.zeros((3, 0))), ["(3, 0)"]),
        (saved(np.float32(1)), ["is () float32, expected (N, D) or (N, D, K)"]),
        (saved(np.ones(3)), ["is (3,) float64, expected (N, D)"]),
        (saved(np.ones((2, 2, 2, 2))), ["expected (N, D)"]),
        (saved(np.ones((2, 2), "i4")), ["int32", "convert it with astype('float32')"]),
        (saved(np.ones((2, 2), "?")), ["bool", "astype"]),
        (saved(np.ones((2, 2), "c8")), ["complex64, expected"]),
        (saved(np.ones((2, 2), "g")), ["expected"]),
        (saved(np.array([["a"]])), ["expected"]),
        (saved(np.zeros((2, 2), [("a", "f4")])), ["expected"]),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: list[str]) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with refused(FormatError, tmp_path / "a.npy", *words):
        open_features(tmp_path / "a.npy")


def test_other_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "a.npz").write_bytes(archive())
    with refused(FormatError, "nowhere.npy: no such file"):
        open_features("nowhere.npy")
    with refused(FormatError, "folder.npy", "cannot be read"):
        open_features(tmp_path / "folder.npy")
    with refused(FormatError, "a.npz", "an archive of arrays", "np.save each as .npy"):
        open_features(tmp_path / "a.npz")


def test_a_file_that_shrinks_or_goes_is_named(tmp_path: Path) -> None:
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
