"""Photometric shifts of eqs. (1) to (3), brightness, contrast and saturation, and sweeps of them.

On colour images the result equals ``torchvision.transforms.v2.functional.adjust_*`` on uint8, but
without torch: float32 with fused multiply-adds, clamped to 0..255, then truncated.

To add a kind of shift: add its word to `skiptool.names.ShiftKind`, write a function for uint8
colour and one for float32 single-channel images, and enter them in ``_COLOUR`` and
``_ONE_CHANNEL``; test them in ``tests/test_shifts.py``. Options, help, completion and markers in
figures follow. To add a sweep, add its tuple of shifts to :data:`SWEEPS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.images import grey
from skiptool.names import ShiftKind
from skiptool.records import ORIGINAL, PAPER_SWEEP, Progress, Shift

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32, Image, UInt8

SWEEPS: Final = {"paper": PAPER_SWEEP}
"""Sets of shifts by name."""

_LEVELS: Final = np.arange(256, dtype=np.uint8)
_BLOCK: Final = 16384
"""Pixels blended at once: the float64 temporaries stay in the second-level cache."""


def apply_shift(image: Image, shift: Shift) -> Image:
    """Shift one image, eqs. (1) to (3).

    Parameters
    ----------
    image : uint8 (H, W, 3) in 0..255, or float32 (H, W, 1) in [0, 1]
        Colour, or one channel (MR). It is not modified.
    shift : Shift
        Kind and factor; a factor of 1 changes nothing.

    Returns
    -------
    of the image's shape and type
        A new array; for ``original`` the image itself.

    Notes
    -----
    Departure from the paper: eqs. (1) and (3) have no clamp; here results are clamped to 0..255 and
    truncated.

    Torchvision's contrast is reproducible to the bit except in two cases, each worth one grey level
    in pixels whose result is an integer. Its mean sums grey values in float32, exact below 2**24
    (66,000 pixels); above, it depends on the number of threads and the memory layout. And the last
    values of a tensor (the remainder of a vectorized loop) are computed without fusing. Here the
    mean is rounded once and all values are fused.

    One channel in float32: brightness is ``factor * x``, contrast blends with the mean of the
    image, both clamped to [0, 1]; there is no saturation.

    Examples
    --------
    >>> pixel = np.array([[[200, 100, 50]]], dtype=np.uint8)
    >>> apply_shift(pixel, Shift.parse("brightness=1.5")).tolist()
    [[[255, 150, 75]]]
    >>> apply_shift(pixel, Shift.parse("saturation=0")).tolist()
    [[[124, 124, 124]]]
    """
    colour = _is_colour(image)
    if shift.kind is ShiftKind.ORIGINAL:
        return image
    if shift.factor is None or not shift.factor >= 0:
        raise ArgumentError(
            f"shift {shift.kind}: factor is {shift.factor}, expected a number >= 0; "
            f"write {shift.kind}=0.75"
        )
    if colour:
        return _COLOUR[shift.kind](cast("UInt8", image), shift.factor)
    return _ONE_CHANNEL[shift.kind](cast("Float32", image), shift.factor)


def apply_shifts(images: Image, shift: Shift) -> Image:
    """Shift each of several images (N, H, W, C) separately, as :func:`apply_shift`."""
    shifted = np.empty_like(images)
    for index, image in enumerate(images):
        shifted[index] = apply_shift(image, shift)
    return shifted


def _is_colour(image: Image) -> bool:
    if image.ndim == 3 and image.size:
        if image.dtype == np.uint8 and image.shape[2] == 3:
            return True
        if image.dtype == np.float32 and image.shape[2] == 1:
            return False
    raise ArgumentError(
        f"shift: image has shape {image.shape} and type {image.dtype}; expected uint8 (H, W, 3) "
        "or float32 (H, W, 1); convert it first"
    )


def _brightness(image: UInt8, factor: float) -> UInt8:
    """Eq. (1), by one look-up table for all pixels."""
    return _apply_table(image, np.uint8(0), factor)


def _contrast(image: UInt8, factor: float) -> UInt8:
    """Eq. (2), with the look-up table printed in the paper."""
    mean = np.float32(grey(image).mean(dtype=np.float64))  # the sum is exact
    return _apply_table(image, mean, factor)


def _apply_table(image: UInt8, other: np.uint8 | np.float32, factor: float) -> UInt8:
    table = _blend(_LEVELS, other, factor, 255.0).astype(np.uint8)
    return np.take(table, image)


def _saturation(image: UInt8, factor: float) -> UInt8:
    """Eq. (3)."""
    pixels = image.reshape(-1, 3)
    values = grey(pixels)[:, np.newaxis]
    shifted = np.empty_like(pixels)
    for start in range(0, len(pixels), _BLOCK):
        block = slice(start, start + _BLOCK)
        shifted[block] = _blend(pixels[block], values[block], factor, 255.0).astype(np.uint8)
    return shifted.reshape(image.shape)


def _blend(
    image: AnyArray, other: AnyArray | np.uint8 | np.float32, factor: float, bound: float
) -> Float32:
    """Return ``factor * image + (1 - factor) * other``, clipped to [0, bound].

    The second product is not rounded before the sum (a fused multiply-add, as in torch): in float64
    the product of two float32 is exact.
    """
    scaled = image * np.float32(factor)
    complement = other * np.float64(np.float32(1.0 - factor))
    total = (scaled + complement).astype(np.float32)
    return np.clip(total, np.float32(0), np.float32(bound))


def _brightness_one(image: Float32, factor: float) -> Float32:
    return _blend(image, np.float32(0), factor, 1.0)


def _contrast_one(image: Float32, factor: float) -> Float32:
    return _blend(image, np.float32(image.mean(dtype=np.float64)), factor, 1.0)


def _no_saturation(image: Float32, factor: float) -> Float32:
    raise ArgumentError(
        f"shift saturation={factor:g}: a single-channel image has no colour; use brightness or "
        "contrast"
    )


_COLOUR: Final[Mapping[ShiftKind, Callable[[UInt8, float], UInt8]]] = {
    ShiftKind.BRIGHTNESS: _brightness,
    ShiftKind.CONTRAST: _contrast,
    ShiftKind.SATURATION: _saturation,
}
_ONE_CHANNEL: Final[Mapping[ShiftKind, Callable[[Float32, float], Float32]]] = {
    ShiftKind.BRIGHTNESS: _brightness_one,
    ShiftKind.CONTRAST: _contrast_one,
    ShiftKind.SATURATION: _no_saturation,
}


class _Domain(Protocol):
    @property
    def channels(self) -> int: ...


def shifts_to_apply(
    sweep: str | None, shifts: Sequence[Shift], domains: Sequence[_Domain], progress: Progress
) -> tuple[Shift, ...]:
    """Return the shifts of a sweep and those given explicitly; the original if there are none.

    Saturation is dropped from the sweep, with a warning, if a domain has one channel.
    """
    grey = any(domain.channels == 1 for domain in domains)
    saturations = [shift for shift in shifts if shift.kind is ShiftKind.SATURATION]
    if grey and saturations:
        raise ArgumentError(
            f"shift {saturations[0]}: single-channel images have no colour; choose brightness or "
            "contrast"
        )
    if sweep is None:
        return tuple(shifts) or (ORIGINAL,)
    if sweep not in SWEEPS:
        raise ArgumentError(f"--sweep {sweep}: unknown; expected {', '.join(SWEEPS)}")
    swept = [shift for shift in SWEEPS[sweep] if not (grey and shift.kind is ShiftKind.SATURATION)]
    if len(swept) < len(SWEEPS[sweep]):
        progress.warn(
            f"--sweep {sweep}: single-channel images have no colour, so saturation is left out; "
            "brightness and contrast are swept"
        )
    return tuple(dict.fromkeys((*swept, *shifts)))
