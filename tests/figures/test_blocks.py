from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.figures.blocks import block_side, block_told, small_image, small_mask
from skiptool.figures.dots import as_rgb

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(SIZES, st.integers(1, 12), st.integers(0, 99), st.sampled_from([1, 3]))
def test_images_are_means_over_blocks(
    size: tuple[int, int], block: int, seed: int, channels: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    if channels == 1:
        image = rng.random((*size, 1), dtype=np.float32)
    small, seen = small_image(image, block), as_rgb(image).astype(float)
    assert small.shape == (-(-size[0] // block), -(-size[1] // block), 3)
    for y, x in np.ndindex(small.shape[:2]):
        part = seen[y * block : (y + 1) * block, x * block : (x + 1) * block]
        assert np.abs(small[y, x] - part.mean(axis=(0, 1))).max() <= 0.5 + 1e-9


@given(SIZES, st.integers(1, 12), st.integers(0, 99))
def test_masks_take_the_most_frequent_label_the_lowest_of_equals(
    size: tuple[int, int], block: int, seed: int
) -> None:
    labels = np.array([0, 1, 2, 255], dtype=np.uint8)
    mask = np.random.default_rng(seed).choice(labels, size)
    small = small_mask(mask, block)
    assert small.shape == (-(-size[0] // block), -(-size[1] // block))
    for y, x in np.ndindex(small.shape):
        part = mask[y * block : (y + 1) * block, x * block : (x + 1) * block].ravel().tolist()
        assert small[y, x] == min(set(part), key=lambda label: (-part.count(label), label))


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 300))
def test_blocks_are_as_small_as_the_room_allows(height: int, width: int, most: int) -> None:
    block = block_side(height, width, most)
    assert -(-max(height, width) // block) <= most
    assert block == 1 or -(-max(height, width) // (block - 1)) > most


@pytest.mark.parametrize(("block", "told"), [(1, ""), (4, "blocks of 4 x 4 px")])
def test_a_caption_says_so(block: int, told: str) -> None:
    assert told in block_told(block)
    assert (block_told(block) == "") == (block == 1)
