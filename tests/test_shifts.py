from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as tv

from predict_cases import Warned
from skiptool.errors import ArgumentError
from skiptool.images import grey
from skiptool.names import ShiftKind
from skiptool.records import ORIGINAL, PAPER_SWEEP, SILENT, Shift
from skiptool.shifts import apply_shift, apply_shifts, shifts_to_apply
from strategies import FACTORS, colour_images

Array = NDArray[Any]

ORACLES = {
    ShiftKind.BRIGHTNESS: tv.adjust_brightness,
    ShiftKind.CONTRAST: tv.adjust_contrast,
    ShiftKind.SATURATION: tv.adjust_saturation,
}
CONTROLLED = sorted(ORACLES)


def torchvision(image: Array, shift: Shift) -> Array:
    planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    shifted: Array = ORACLES[shift.kind](planes, shift.factor).permute(1, 2, 0).numpy()
    return shifted


def by_the_equations(image: Array, shift: Shift) -> Array:
    """Eqs. (1) to (3), pixel by pixel in float64; before truncation."""
    factor = float(shift.factor or 0)
    mean = np.mean([[float(grey(pixel)) for pixel in row] for row in image])
    shifted = np.empty(image.shape)
    for place in np.ndindex(image.shape):
        other = {
            ShiftKind.BRIGHTNESS: 0.0,
            ShiftKind.CONTRAST: mean,
            ShiftKind.SATURATION: float(grey(image[place[:2]])),
        }[shift.kind]
        shifted[place] = factor * float(image[place]) + (1 - factor) * other
    return np.clip(shifted, 0, 255)


def test_brightness_by_hand() -> None:
    image = np.array([[[0, 101, 200]]], dtype=np.uint8)
    assert apply_shift(image, Shift.parse("brightness=0.5")).tolist() == [[[0, 50, 100]]]
    assert apply_shift(image, Shift.parse("brightness=1.5")).tolist() == [[[0, 151, 255]]]


def test_contrast_by_hand() -> None:
    # Grey values 99 and 199 (the weights sum to 0.9999), mean 149.
    image = np.array([[[100, 100, 100], [200, 200, 200]]], dtype=np.uint8)
    assert apply_shift(image, Shift.parse("contrast=0")).tolist() == [[[149] * 3, [149] * 3]]
    assert apply_shift(image, Shift.parse("contrast=0.5")).tolist() == [[[124] * 3, [174] * 3]]
    assert apply_shift(image, Shift.parse("contrast=3")).tolist() == [[[2] * 3, [255] * 3]]


def test_saturation_by_hand() -> None:
    # Grey value floor(0.2989 * 200 + 0.587 * 100 + 0.114 * 50) = 124.
    image = np.array([[[200, 100, 50]]], dtype=np.uint8)
    assert apply_shift(image, Shift.parse("saturation=0")).tolist() == [[[124] * 3]]
    assert apply_shift(image, Shift.parse("saturation=0.5")).tolist() == [[[162, 112, 87]]]


@given(image=colour_images(), factor=FACTORS)
@pytest.mark.parametrize("kind", [ShiftKind.BRIGHTNESS, ShiftKind.SATURATION])
def test_equals_torchvision_to_the_bit(kind: ShiftKind, image: Array, factor: float) -> None:
    shift = Shift(kind, factor)
    np.testing.assert_array_equal(apply_shift(image, shift), torchvision(image, shift))


@given(image=colour_images(width=32), factor=FACTORS)
def test_contrast_equals_torchvision_to_the_bit(image: Array, factor: float) -> None:
    # At widths without a remainder in torch's vectorized loop (see the docstring).
    shift = Shift(ShiftKind.CONTRAST, factor)
    np.testing.assert_array_equal(apply_shift(image, shift), torchvision(image, shift))


@given(image=colour_images(), factor=FACTORS)
def test_contrast_differs_from_torchvision_only_in_its_remainder_loop(
    image: Array, factor: float
) -> None:
    shift = Shift(ShiftKind.CONTRAST, factor)
    ours = apply_shift(image, shift).transpose(2, 0, 1).ravel().astype(int)
    theirs = torchvision(image, shift).transpose(2, 0, 1).ravel().astype(int)
    whole = ours.size // 32 * 32
    np.testing.assert_array_equal(ours[:whole], theirs[:whole])
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("shift", PAPER_SWEEP[1:], ids=str)
def test_equals_torchvision_on_a_large_image(shift: Shift) -> None:
    image = np.random.default_rng(7).integers(90, 256, (512, 512, 3), dtype=np.uint8)
    ours, theirs = apply_shift(image, shift), torchvision(image, shift)
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    if shift.kind is not ShiftKind.CONTRAST:
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=25)
@given(factor=FACTORS)
def test_contrast_of_a_large_image_equals_torchvision_given_the_exact_mean(factor: float) -> None:
    # 290 x 320 pixels of about 200 sum to more than 2**24, where float32 sums lose units.
    image = np.random.default_rng(3).integers(170, 240, (290, 320, 3), dtype=np.uint8)
    values = grey(image)
    assert values.sum(dtype=np.int64) > 2**24
    mean = torch.full((3, 290, 320), float(np.float32(values.mean(dtype=np.float64))))
    planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    blended = planes.mul(factor).add_(mean, alpha=1.0 - factor).clamp_(0, 255).to(torch.uint8)
    shifted = apply_shift(image, Shift(ShiftKind.CONTRAST, factor))
    np.testing.assert_array_equal(shifted, blended.permute(1, 2, 0).numpy())


@pytest.mark.skipif(
    version("torchvision").startswith(("0.20.", "0.21.", "0.22.")),
    reason="earlier torchvision rounds these means otherwise",
)
@pytest.mark.parametrize(("seed", "factor"), [(2, 1.6), (31, 0.1), (78, 1.75), (88, 1.75)])
def test_means_that_float32_cannot_hold_are_rounded_as_in_torchvision(
    seed: int, factor: float
) -> None:
    # Means in 96ths; here a mean in float64 puts a pixel on the other side of an integer.
    image = np.random.default_rng(seed).integers(0, 256, (3, 32, 3), dtype=np.uint8)
    shift = Shift(ShiftKind.CONTRAST, factor)
    np.testing.assert_array_equal(apply_shift(image, shift), torchvision(image, shift))


@pytest.mark.parametrize("level", [60, 64, 71, 79, 111])
def test_contrast_of_a_large_flat_image_is_its_grey_value(level: int) -> None:
    # Here float32 sums of the grey values end in a mean just below the grey value.
    image = np.full((701, 703, 3), level, dtype=np.uint8)
    assert np.unique(apply_shift(image, Shift(ShiftKind.CONTRAST, 0.0))).tolist() == [level - 1]


@given(image=colour_images(max_side=4), factor=FACTORS)
@pytest.mark.parametrize("kind", CONTROLLED)
def test_follows_the_equations(kind: ShiftKind, image: Array, factor: float) -> None:
    shift = Shift(kind, factor)
    expected = by_the_equations(image, shift)
    shifted = apply_shift(image, shift).astype(float)
    assert (shifted <= expected + 0.01).all()
    assert (shifted > expected - 1.01).all()


@given(image=colour_images())
@pytest.mark.parametrize("kind", CONTROLLED)
def test_factor_one_changes_nothing(kind: ShiftKind, image: Array) -> None:
    np.testing.assert_array_equal(apply_shift(image, Shift(kind, 1.0)), image)


@pytest.mark.parametrize("kind", CONTROLLED)
def test_input_is_not_modified_and_may_have_any_memory_layout(kind: ShiftKind) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    image.setflags(write=False)
    shift = Shift(kind, 0.6)
    turned = np.rot90(image)
    np.testing.assert_array_equal(apply_shift(turned, shift), apply_shift(turned.copy(), shift))


def test_original_is_the_image_itself() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    assert apply_shift(image, ORIGINAL) is image


@pytest.mark.parametrize("shift", PAPER_SWEEP, ids=str)
def test_several_images_are_shifted_separately(shift: Shift) -> None:
    images = np.random.default_rng(8).integers(0, 256, (3, 9, 11, 3), dtype=np.uint8)
    images[1] //= 2
    shifted = apply_shifts(images, shift)
    assert (shifted.shape, shifted.dtype) == (images.shape, images.dtype)
    for image, found in zip(images, shifted, strict=True):
        np.testing.assert_array_equal(found, apply_shift(image, shift))


def test_one_channel_by_hand() -> None:
    image = np.array([[[0.25], [0.75]]], dtype=np.float32)
    brighter = apply_shift(image, Shift.parse("brightness=1.5"))
    assert brighter.dtype == np.float32
    assert brighter.tolist() == [[[0.375], [1.0]]]
    assert apply_shift(image, Shift.parse("contrast=0.5")).tolist() == [[[0.375], [0.625]]]
    assert apply_shift(image, Shift.parse("contrast=4")).tolist() == [[[0.0], [1.0]]]
    assert apply_shift(image, ORIGINAL) is image


@given(factor=FACTORS)
@pytest.mark.parametrize("kind", [ShiftKind.BRIGHTNESS, ShiftKind.CONTRAST])
def test_one_channel_agrees_with_torchvision(kind: ShiftKind, factor: float) -> None:
    image = np.random.default_rng(5).random((17, 23, 1), dtype=np.float32)
    shift = Shift(kind, factor)
    theirs = torchvision(image, shift)
    np.testing.assert_allclose(apply_shift(image, shift), theirs, atol=2e-7 * max(1.0, factor))


def test_one_channel_has_no_saturation() -> None:
    image = np.zeros((2, 2, 1), dtype=np.float32)
    with pytest.raises(ArgumentError, match=r"saturation=0\.5: .*no colour; use brightness"):
        apply_shift(image, Shift.parse("saturation=0.5"))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((4, 4), np.uint8),
        ((4, 4, 1), np.uint8),
        ((4, 4, 4), np.uint8),
        ((4, 4, 3), np.float32),
        ((4, 4, 1), np.float64),
        ((0, 4, 3), np.uint8),
        ((2, 4, 4, 3), np.uint8),
    ],
)
@pytest.mark.parametrize("shift", ["brightness=0.5", "original"])
def test_invalid_arrays_are_refused(shift: str, shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(ArgumentError, match=r"expected uint8 \(H, W, 3\) or float32 \(H, W, 1\)"):
        apply_shift(np.zeros(shape, dtype=dtype), Shift.parse(shift))


@pytest.mark.parametrize("factor", [None, -0.5, float("nan")])
def test_a_missing_or_negative_factor_is_refused(factor: float | None) -> None:
    with pytest.raises(ArgumentError, match=r"expected a number >= 0; write contrast=0\.75"):
        apply_shift(np.zeros((2, 2, 3), dtype=np.uint8), Shift(ShiftKind.CONTRAST, factor))


COLOUR: list[Any] = [SimpleNamespace(channels=3)]
GREY: list[Any] = [SimpleNamespace(channels=1)] * 2
HALF, FAR, PALE = map(Shift.parse, ("brightness=0.5", "contrast=3", "saturation=0"))


def test_the_original_is_the_default() -> None:
    assert shifts_to_apply(None, (), COLOUR, SILENT) == (ORIGINAL,)
    assert shifts_to_apply(None, (HALF,), GREY, SILENT) == (HALF,)


def test_paper_sweep_is_the_grid_of_fig_7() -> None:
    kinds = {"brightness": "0.5 0.75 1.25 1.5 1.75", "contrast": "0.5 0.75 1.25 1.5 1.75"}
    kinds["saturation"] = "0 0.25 0.5 0.75"
    names = {"original"} | {f"{k}={f}" for k, fs in kinds.items() for f in fs.split()}
    found = shifts_to_apply("paper", (), COLOUR, SILENT)
    assert (found, set(map(str, found))) == (PAPER_SWEEP, names)
    assert shifts_to_apply("paper", (HALF, FAR), COLOUR, SILENT) == (*PAPER_SWEEP, FAR)


def test_images_of_one_channel_are_swept_without_saturation() -> None:
    warned = Warned()
    found = shifts_to_apply("paper", (FAR,), GREY, warned)
    assert len(found) == 1 + 5 + 5 + 1
    kinds = {shift.kind for shift in PAPER_SWEEP}
    assert {shift.kind for shift in found} == kinds - {ShiftKind.SATURATION}
    (line,) = warned.lines
    assert "saturation is left out" in line


def test_explicit_saturation_of_grey_images_is_refused() -> None:
    with pytest.raises(ArgumentError, match="saturation=0: single-channel images have no colour"):
        shifts_to_apply("paper", (PALE,), GREY, SILENT)
    with pytest.raises(ArgumentError, match="--sweep papers: unknown; expected paper"):
        shifts_to_apply("papers", (), COLOUR, SILENT)
