from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from skiptool.model.augmentation import (
    AUGMENTATION,
    SCALE,
    AffineAugmentation,
    augment,
    augment_tensors,
    draw_augmentation,
)

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


def test_identity_returns_equal_arrays() -> None:
    image, mask = augment(AffineAugmentation(), noise(), blob())
    np.testing.assert_array_equal(image, noise())
    np.testing.assert_array_equal(mask, blob())


def test_flips_are_exact() -> None:
    image, mask = augment(AffineAugmentation(mirror=True), noise(), blob())
    np.testing.assert_array_equal(image, noise()[:, ::-1])
    np.testing.assert_array_equal(mask, blob()[:, ::-1])
    image, mask = augment(AffineAugmentation(mirror=True, flip=True), noise(), blob())
    np.testing.assert_array_equal(image, noise()[::-1, ::-1])
    np.testing.assert_array_equal(mask, blob()[::-1, ::-1])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_counter_clockwise(turns: int) -> None:
    square, mask = noise(shape=(32, 32, 3)), blob(64, 64)[:32, :32]
    image, turned = augment(AffineAugmentation(angle=90.0 * turns), square, mask)
    np.testing.assert_allclose(image.astype(int), np.rot90(square, turns), atol=1)
    np.testing.assert_array_equal(turned, np.rot90(mask, turns))


def test_translation_is_a_fraction_of_the_side() -> None:
    image, mask = augment(AffineAugmentation(right=0.125, down=-0.25), noise(), blob())
    np.testing.assert_array_equal(image[:36, 8:], noise()[12:, :-8])
    np.testing.assert_array_equal(mask[:36, 8:], blob()[12:, :-8])
    assert (mask[36:] == 255).all()
    assert (mask[:, :8] == 255).all()


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_image_is_padded_by_reflection(kind: str) -> None:
    """NumPy's ``symmetric`` padding repeats the outermost pixels too."""
    whole = noise() if kind == "uint8" else noise().astype(np.float32)[..., :1] / 255
    image, mask = augment(
        AffineAugmentation(right=0.25, down=-0.25), whole, np.ones((48, 64), np.uint8)
    )
    padded = np.pad(whole, ((0, 12), (16, 0), (0, 0)), mode="symmetric")
    np.testing.assert_allclose(image, padded[12:, :64], atol=1e-5)
    inside = np.zeros((48, 64), bool)
    inside[:36, 16:] = True
    np.testing.assert_array_equal(mask, np.where(inside, 1, 255))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 255), st.sampled_from([(48, 64), (64, 40)]))
def test_padding_stays_within_the_range_of_the_image(
    seed: int, least: int, size: tuple[int, int]
) -> None:
    transform = draw_augmentation(np.random.default_rng(seed))
    mask = np.zeros(size, np.uint8)
    bright = np.maximum(noise(seed, (*size, 3)), np.uint8(least))
    image, _ = augment(transform, bright, mask)
    assert image.min() >= bright.min()
    assert image.max() <= bright.max()
    flat = np.full((*size, 3), least, np.uint8)
    np.testing.assert_array_equal(augment(transform, flat, mask)[0], flat)
    grey = np.full((*size, 1), least / 255, np.float32)
    np.testing.assert_allclose(augment(transform, grey, mask)[0], grey, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_interior_equals_affine_of_torchvision(seed: int) -> None:
    transform = replace(draw_augmentation(np.random.default_rng(seed)), mirror=False, flip=False)
    image, mask = augment(transform, noise(), blob())
    height, width = mask.shape
    theirs = functional.affine(
        torch.from_numpy(noise()).permute(2, 0, 1),
        angle=-transform.angle,
        translate=[transform.right * width, transform.down * height],
        scale=transform.scale,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    marked = np.pad(np.ones((height - 4, width - 4), np.uint8), 2)
    core = augment(transform, noise(), marked)[1] == 1  # not blended with the outside
    difference = np.abs(theirs.permute(1, 2, 0).numpy().astype(int) - image.astype(int))
    assert difference[core].max() <= 1


@pytest.mark.parametrize("seed", range(8))
def test_landmark_moves_as_specified(seed: int) -> None:
    """A disc at (10, -6) from the centre: mirrored, turned and scaled about it, then moved."""
    transform = replace(
        draw_augmentation(np.random.default_rng(seed)), angle=20.0 * seed, scale=0.9, right=0.04
    )
    y, x = np.mgrid[:48, :64] - np.array([23.5, 31.5])[:, None, None]
    mask = (np.hypot(x - 10, y + 6) < 4).astype(np.uint8)
    image, moved = augment(transform, np.repeat(mask[..., None] * np.uint8(200), 3, axis=2), mask)
    across, along = (-10 if transform.mirror else 10), (6 if transform.flip else -6)
    turn = np.deg2rad(transform.angle)  # counter-clockwise as seen: y runs down
    right = 0.9 * (across * np.cos(turn) + along * np.sin(turn)) + 0.04 * 64
    down = 0.9 * (along * np.cos(turn) - across * np.sin(turn)) + transform.down * 48
    for pixels in (moved == 1, (image[..., 0] > 100) & (moved != 255)):
        assert (x[pixels].mean(), y[pixels].mean()) == pytest.approx((right, down), abs=0.3)


def test_arrays_and_tensors_are_augmented_alike() -> None:
    for seed in range(20):
        transform = draw_augmentation(np.random.default_rng(seed))
        image, mask = augment(transform, noise(), blob())
        tensors = augment_tensors(transform, torch.from_numpy(noise()), torch.from_numpy(blob()))
        np.testing.assert_array_equal(image, tensors[0].numpy())
        np.testing.assert_array_equal(mask, tensors[1].numpy())


def test_scale_above_one_enlarges() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[24:40, 24:40] = 1
    _, larger = augment(AffineAugmentation(scale=1.25), noise(shape=(64, 64, 3)), mask)
    assert (larger == 1).sum() == 20 * 20


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(48, 64), (64, 40)]))
def test_image_and_mask_move_together(seed: int, size: tuple[int, int]) -> None:
    """A mask painted into the image moves like the mask."""
    transform = draw_augmentation(np.random.default_rng(seed))
    mask = blob(*size)
    mask[mask == 255] = 0
    painted = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    image, moved = augment(transform, painted, mask)
    assert image.shape == painted.shape
    assert (image.dtype, moved.dtype) == (np.uint8, np.uint8)
    assert set(np.unique(moved)) <= {0, 1, 255}
    inside = moved != 255
    agree = (image[..., 0] > 127)[inside] == (moved == 1)[inside]
    assert agree.mean() > 0.985


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_colour_is_unchanged(seed: int) -> None:
    flat = np.full((48, 64, 3), (200, 30, 90), np.uint8)
    image, _ = augment(
        draw_augmentation(np.random.default_rng(seed)), flat, np.zeros((48, 64), np.uint8)
    )
    np.testing.assert_array_equal(image, flat)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_enlarged_upright_image_fills_the_frame(seed: int) -> None:
    transform = draw_augmentation(np.random.default_rng(seed))
    upright = AffineAugmentation(scale=transform.scale, right=transform.right, down=transform.down)
    _, mask = augment(upright, noise(shape=(64, 64, 3)), np.ones((64, 64), np.uint8))
    outside = (mask == 255).mean()
    if transform.scale >= 1:
        assert outside == 0
    else:  # the whole image stays in the frame
        assert outside == pytest.approx(1 - transform.scale**2, abs=0.05)


def test_grey_float_images_are_augmented() -> None:
    grey = np.random.default_rng(0).random((48, 64, 1), dtype=np.float32)
    image, _ = augment(AffineAugmentation(mirror=True), grey, blob())
    np.testing.assert_array_equal(image, grey[:, ::-1])
    image, mask = augment(AffineAugmentation(angle=30, scale=0.9), grey, blob())
    assert (image.dtype, image.shape) == (np.float32, (48, 64, 1))
    assert 0 <= image.min() <= image.max() <= 1
    assert mask.flags.c_contiguous
    assert image.flags.c_contiguous


def test_inputs_are_not_modified() -> None:
    image, mask = noise(), blob()
    image.flags.writeable = mask.flags.writeable = False
    changed, labels = augment(AffineAugmentation(), image, mask)
    changed[:] = 0
    labels[:] = 0
    np.testing.assert_array_equal(image, noise())
    np.testing.assert_array_equal(mask, blob())


def test_drawn_parameters_follow_their_distributions() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_augmentation(rng) for _ in range(4000)]
    resampled = [transform for transform in drawn if transform.resamples]
    for share in (
        np.mean([transform.mirror for transform in drawn]),
        np.mean([transform.flip for transform in drawn]),
        len(resampled) / len(drawn),
        np.mean([transform.scale > 1 for transform in resampled]),
        np.mean([transform.angle > 0 for transform in resampled]),
    ):
        assert share == pytest.approx(0.5, abs=0.04)
    scales = [transform.scale for transform in resampled]
    assert 1 / SCALE <= min(scales) < 0.81
    assert 1.24 < max(scales) <= SCALE
    angles = [transform.angle for transform in resampled]
    assert -180 <= min(angles) < -178
    assert 178 < max(angles) <= 180
    assert all(2 * abs(c.right) <= abs(c.scale - 1) for c in resampled)
    assert all(2 * abs(c.down) <= abs(c.scale - 1) for c in resampled)


def test_record_equals_the_parameters() -> None:
    assert AUGMENTATION == {
        "mirror_probability": 0.5,
        "flip_probability": 0.5,
        "resample_probability": 0.5,
        "degrees": [-180.0, 180.0],
        "scale": [0.8, 1.25],
        "scale_distribution": "log-uniform",
        "crop": "image size, uniform place",
        "image_interpolation": "bilinear",
        "mask_interpolation": "nearest",
        "image_outside": "reflect",
        "mask_outside": 255,
        "colour": "unchanged",
    }
    assert json.loads(json.dumps(AUGMENTATION)) == AUGMENTATION
