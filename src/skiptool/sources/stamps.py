"""Templates made ready to be placed on a canvas, many times and fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from skiptool.sources.cutouts import Template
from skiptool.sources.stain import frame_colour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skiptool.records import Bool, Float64, UInt8

    UInt16 = NDArray[np.uint16]

__all__ = ["Stamp", "make_stamp", "press"]

_FULL: Final = 256
"""Weight 1 in fixed point: a blend stays within uint16."""

_EDGE: Final = 2
_RIM: Final = 4
_FADE: Final = 1.0
"""Pixels: an object covers the canvas from this depth below its outline, shadows it up to this
distance around, and both fade like a Gaussian."""


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """A template made ready: pressed, the canvas becomes ``(canvas * keep + paint) / 256``.

    Attributes
    ----------
    paint : uint16, shape (h, w, 3)
        256 times what the object adds, and the half that makes the shift round.
    keep : uint16, shape (h, w, 3)
        256 times the share of the canvas that shows through.
    mask : uint8, shape (h, w)
        1 within the object, 0 outside.
    """

    paint: UInt16
    keep: UInt16
    mask: UInt8


def press(image: UInt8, stamp: Stamp, place: tuple[slice, slice]) -> None:
    """Place a stamp on an image uint8 (H, W, 3), in place, at the rows and columns given."""
    view = image[place]
    blend = np.multiply(view, stamp.keep, dtype=np.uint16)
    blend += stamp.paint
    blend >>= 8
    np.copyto(view, blend, casting="unsafe")


def make_stamp(template: Template) -> Stamp:
    """Weigh a template: cover within the mask, multiply by its transmittance around it.

    In transmitted light the blurred edge of an object lets a share of the light through: its
    pixels over its own background. Multiplying by that share leaves no halo, whether the edge
    comes to lie on a lighter or darker background or on another cell.
    """
    background = frame_colour(template.image).astype(np.float64)
    share = np.clip(template.image / np.maximum(background, 1.0), 0.0, 1.0)
    share[:, :, background < 1.0] = 1.0
    rim = _soft(ndimage.distance_transform_edt(~template.mask) <= _RIM)
    cover = _soft(ndimage.distance_transform_edt(template.mask) > _EDGE)
    share = 1.0 - rim * (1.0 - share)
    paint = cover * template.image * _FULL + _FULL / 2
    keep = (1.0 - cover) * share * _FULL
    box = _extent(rim[..., 0] > 1 / _FULL)
    return Stamp(
        paint.astype(np.uint16)[box],
        keep.astype(np.uint16)[box],
        template.mask.astype(np.uint8)[box],
    )


def _soft(where: Bool) -> Float64:
    soft: Float64 = ndimage.gaussian_filter(where.astype(np.float64), _FADE)[..., None]
    return soft


def _extent(where: Bool) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
