from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from skiptool.errors import FormatError
from skiptool.stores.layers import Layer, check_form, three_axes, zarr_layer
from small_stores import refused


@pytest.mark.parametrize(
    ("shape", "expected"), [((5, 3), (5, 3, 1)), ((5, 3, 4), (5, 3, 4)), ((1, 1), (1, 1, 1))]
)
def test_axes(shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert three_axes(shape) == expected


@pytest.mark.parametrize("dtype", ["float16", "<f4", ">f4", "float64"])
def test_forms_that_are_taken(dtype: str) -> None:
    check_form((2, 3), np.dtype(dtype), "here")
    check_form((2, 3, 4), np.dtype(dtype), "here")


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((2,), "float32", "here: is (2,) float32, expected (N, D) or (N, D, K)"),
        ((2, 3), "int64", "here: is (2, 3) int64, expected"),
        ((0, 3), "float32", "here: is (0, 3), which holds no image"),
    ],
)
def test_forms_that_are_refused(shape: tuple[int, ...], dtype: str, words: str) -> None:
    with refused(FormatError, words):
        check_form(shape, np.dtype(dtype), "here")


def test_a_block_is_contiguous_and_native() -> None:
    values = np.asfortranarray(np.arange(24, dtype=">f4").reshape(2, 3, 4))
    layer = Layer(values, (2, 3, 4), np.dtype("f4"), 2)
    block = layer.read(slice(0, 2), "here")
    assert block.tolist() == values.tolist()
    assert block.flags.c_contiguous
    assert block.dtype.isnative


def test_a_chunk_is_no_longer_than_the_layer(tmp_path: Path) -> None:
    made = zarr.create_array(tmp_path / "a", shape=(5, 2), chunks=(16, 2), dtype="f4")
    layer = zarr_layer(made, None)
    assert (layer.chunk, layer.shape, layer.ranges) == (5, (5, 2, 1), None)


def test_more_images_than_there_can_be() -> None:
    check_form((10**8, 2), np.dtype("f4"), "here")
    with refused(FormatError, "here: is (100000001, 2)", "at most 100,000,000 images"):
        check_form((10**8 + 1, 2), np.dtype("f4"), "here")
