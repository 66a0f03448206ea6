from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from skiptool.comparison.arrays import as_activations
from skiptool.errors import ArgumentError
from small_stores import refused

X = np.arange(24, dtype=np.float32).reshape(4, 3, 2)


def test_an_array_alone_is_one_layer() -> None:
    found = as_activations(X, "reference")
    assert (found.layers, len(found), found.where) == (("features",), 4, "reference")
    assert found.shape("features") == (4, 3, 2)
    assert found.dtype("features") == np.float32
    assert (found.dataset_id, found.ranges("features"), dict(found.columns)) == (None, None, {})
    np.testing.assert_array_equal(found.read("features", slice(1, 3)), X[1:3])


def test_a_mapping_keeps_its_order_and_two_axes_are_one_vector() -> None:
    found = as_activations({"head": X[:, :, 0], "enc1": X}, "x")
    assert found.layers == ("head", "enc1")
    assert found.shape("head") == (4, 3, 1)
    np.testing.assert_array_equal(found.read("head", slice(0, 4)), X[:, :, :1])


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (X.tolist(), np.float64),
        (X.astype(">f4"), np.float32),
        (X.astype(np.float16), np.float16),
        (np.asfortranarray(X), np.float32),
        (np.broadcast_to(X[:1], X.shape), np.float32),
        (X[::-1, ::-1, ::-1], np.float32),
    ],
    ids=["list", "big-endian", "half", "Fortran", "broadcast", "reversed"],
)
def test_whatever_numpy_takes(given: Any, dtype: type) -> None:  # noqa: ANN401
    found = as_activations(given, "x")
    block = found.read("features", slice(1, 3))
    assert found.dtype("features") == block.dtype == np.dtype(dtype)
    assert block.dtype.isnative
    assert block.flags.c_contiguous
    np.testing.assert_array_equal(block, np.asarray(given)[1:3])


@pytest.mark.parametrize("shape", [(5, 3, 7), (1, 1, 1), (9, 2000, 300)])
def test_blocks_are_whole_images_of_about_four_megabytes(shape: tuple[int, ...]) -> None:
    found = as_activations(np.broadcast_to(np.float32(0), shape), "x")
    size = found.chunk("features") * shape[1] * shape[2] * 4
    assert found.chunk("features") >= 1
    assert size <= max(4_000_000, shape[1] * shape[2] * 4)
    assert size + shape[1] * shape[2] * 4 > 4_000_000 or found.chunk("features") >= shape[0]


def test_groups_are_a_column() -> None:
    found = as_activations(X, "x", [1, 2, 1, 2])
    assert list(found.columns["group"]) == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (X[0, 0], ("shape (2,)", "(N, D, K)")),
        (X[None], ("shape (1, 4, 3, 2)",)),
        (X.astype(np.int32), ("int32", "float32")),
        (X.astype(np.longdouble), ("longdouble", "float64")),
        (X > 3, ("bool",)),
        (np.array([["a", "b"]]), ("expected float16",)),
        (X[:, :0], ("shape (4, 0, 2)",)),
        (X[:0], ("at least 1",)),
        ({}, ("none",)),
        ({"a": X, "b": X[:2]}, ("'a': 4", "'b': 2", "one number")),
    ],
)
def test_what_is_no_features_is_refused(given: Any, words: tuple[str, ...]) -> None:  # noqa: ANN401
    if "longdouble" in words and np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("long double is float64 here")
    words = tuple(str(np.dtype(np.longdouble)) if w == "longdouble" else w for w in words)
    with refused(ArgumentError, "other: ", *words):
        as_activations(given, "other")


def test_groups_are_one_an_image() -> None:
    with refused(ArgumentError, "x: 3 groups for 4 images"):
        as_activations(X, "x", [1, 2, 3])
