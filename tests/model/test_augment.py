from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.model.augment import SCALE, Affine, apply, draw

if TYPE_CHECKING:
    from skiptool.records import UInt8


def blob(height: int = 48, width: int = 64) -> UInt8:
    """Return a mask without symmetry: an L of 1, with a patch of 255."""
    mask = np.zeros((height, width), np.uint8)
    mask[10:34, 12:24] = 1
    mask[26:34, 24:44] = 1
    mask[2:8, 50:60] = 255
    return mask


def noise(seed: int = 0, shape: tuple[int, ...] = (48, 64, 3)) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_nothing_changes_nothing() -> None:
    image, mask = apply(Affine(), noise(), blob())
    np.testing.assert_array_equal(image, noise())
    np.testing.assert_array_equal(mask, blob())


def test_mirrorings_are_exact() -> None:
    image, mask = apply(Affine(mirror=True), noise(), blob())
    np.testing.assert_array_equal(image, noise()[:, ::-1])
    np.testing.assert_array_equal(mask, blob()[:, ::-1])
    image, mask = apply(Affine(mirror=True, flip=True), noise(), blob())
    np.testing.assert_array_equal(image, noise()[::-1, ::-1])
    np.testing.assert_array_equal(mask, blob()[::-1, ::-1])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_run_counter_clockwise(turns: int) -> None:
    square, mask = noise(shape=(32, 32, 3)), blob(64, 64)[:32, :32]
    image, turned = apply(Affine(angle=90.0 * turns), square, mask)
    np.testing.assert_allclose(image.astype(int), np.rot90(square, turns), atol=1)
    np.testing.assert_array_equal(turned, np.rot90(mask, turns))


def test_shift_is_a_fraction_of_the_side() -> None:
    image, mask = apply(Affine(right=0.125, down=-0.25), noise(), blob())
    np.testing.assert_array_equal(image[:36, 8:], noise()[12:, :-8])
    np.testing.assert_array_equal(mask[:36, 8:], blob()[12:, :-8])
    assert (mask[36:] == 255).all()
    assert (mask[:, :8] == 255).all()
    assert not image[36:].any()


def test_scale_above_one_enlarges() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[24:40, 24:40] = 1
    _, larger = apply(Affine(scale=1.25), noise(shape=(64, 64, 3)), mask)
    assert (larger == 1).sum() == 20 * 20


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(48, 64), (64, 40)]))
def test_image_and_mask_move_together(seed: int, size: tuple[int, int]) -> None:
    """A mask painted into the image comes out where the mask comes out."""
    change = draw(np.random.default_rng(seed))
    mask = blob(*size)
    mask[mask == 255] = 0
    painted = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    image, moved = apply(change, painted, mask)
    assert image.shape == painted.shape
    assert (image.dtype, moved.dtype) == (np.uint8, np.uint8)
    assert set(np.unique(moved)) <= {0, 1, 255}
    inside = moved != 255
    agree = (image[..., 0] > 127)[inside] == (moved == 1)[inside]
    assert agree.mean() > 0.985
    assert not image[~inside].any() or (image[~inside] > 0).mean() < 0.15  # border pixels blend


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_colour_is_never_changed(seed: int) -> None:
    flat = np.full((48, 64, 3), (200, 30, 90), np.uint8)
    image, mask = apply(draw(np.random.default_rng(seed)), flat, np.zeros((48, 64), np.uint8))
    core = np.pad(mask == 255, 1, constant_values=True)
    near = np.logical_or.reduce([core[y : y + 48, x : x + 64] for y in range(3) for x in range(3)])
    assert (~near).any()
    assert (image[~near] == (200, 30, 90)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_enlarged_upright_image_fills_the_frame(seed: int) -> None:
    change = draw(np.random.default_rng(seed))
    upright = Affine(scale=change.scale, right=change.right, down=change.down)
    _, mask = apply(upright, noise(shape=(64, 64, 3)), np.ones((64, 64), np.uint8))
    outside = (mask == 255).mean()
    if change.scale >= 1:
        assert outside == 0
    else:  # the whole image is still in the frame
        assert outside == pytest.approx(1 - change.scale**2, abs=0.05)


def test_grey_float_images() -> None:
    grey = np.random.default_rng(0).random((48, 64, 1), dtype=np.float32)
    image, _ = apply(Affine(mirror=True), grey, blob())
    np.testing.assert_array_equal(image, grey[:, ::-1])
    image, mask = apply(Affine(angle=30, scale=0.9), grey, blob())
    assert (image.dtype, image.shape) == (np.float32, (48, 64, 1))
    assert 0 <= image.min() <= image.max() <= 1
    assert mask.flags.c_contiguous
    assert image.flags.c_contiguous


def test_inputs_are_left_alone() -> None:
    image, mask = noise(), blob()
    image.flags.writeable = mask.flags.writeable = False
    changed, labels = apply(Affine(), image, mask)
    changed[:] = 0
    labels[:] = 0
    np.testing.assert_array_equal(image, noise())
    np.testing.assert_array_equal(mask, blob())


def test_what_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw(rng) for _ in range(4000)]
    resampled = [change for change in drawn if change.resamples]
    for share in (
        np.mean([change.mirror for change in drawn]),
        np.mean([change.flip for change in drawn]),
        len(resampled) / len(drawn),
        np.mean([change.scale > 1 for change in resampled]),
        np.mean([change.angle > 0 for change in resampled]),
    ):
        assert share == pytest.approx(0.5, abs=0.04)
    scales = [change.scale for change in resampled]
    assert 1 / SCALE <= min(scales) < 0.81
    assert 1.24 < max(scales) <= SCALE
    angles = [change.angle for change in resampled]
    assert -180 <= min(angles) < -178
    assert 178 < max(angles) <= 180
    assert all(2 * abs(c.right) <= abs(c.scale - 1) for c in resampled)
    assert all(2 * abs(c.down) <= abs(c.scale - 1) for c in resampled)
