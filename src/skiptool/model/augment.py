"""Random affine changes of image and mask together, section IV.C; never a change of colour.

The paper names flipping, cropping, rotation and scaling, without numbers. Chosen here:

- mirrored left-right and upside-down with probability 1/2 each;
- with probability 1/2 turned, scaled and cropped in one resampling: angle uniform in -180..180
  degrees (microscopy has no upright; for short-axis MR it is the range of nnU-Net's 2D training),
  scale log-uniform in 0.8..1.25, and a crop of the image's own size at a uniformly drawn place of
  the scaled image (scaled down: the image at a uniformly drawn place of the frame).

Half of the samples thus stay free of interpolation. Images are resampled bilinearly, masks take the
nearest label. What comes in from outside is black, and ignored by every loss and count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from skiptool.names import IGNORE

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8

__all__ = ["Affine", "apply", "apply_to_tensors", "draw"]

MIRROR = 0.5
RESAMPLE = 0.5
DEGREES = 180.0
SCALE = 1.25


@dataclass(frozen=True, slots=True)
class Affine:
    """One drawn change.

    Attributes
    ----------
    mirror, flip : bool
        Left-right, upside-down; applied first.
    angle : float
        Degrees, counter-clockwise as the picture is seen, about its centre.
    scale : float
        Above 1 enlarges.
    right, down : float
        Shift after turning and scaling, as a fraction of width and height.
    """

    mirror: bool = False
    flip: bool = False
    angle: float = 0.0
    scale: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def row(self) -> tuple[float, ...]:
        """Return the change as numbers, in the order of the fields; `Affine.of_row` takes them."""
        return (
            *(float(self.mirror), float(self.flip), self.angle),
            *(self.scale, self.right, self.down),
        )

    @classmethod
    def of_row(cls, row: Sequence[float]) -> Affine:
        """Read what `row` wrote."""
        mirror, flip, *rest = row
        return cls(bool(mirror), bool(flip), *rest)

    @property
    def resamples(self) -> bool:
        """Whether more than a mirroring is left to do."""
        return (self.angle, self.scale, self.right, self.down) != (0.0, 1.0, 0.0, 0.0)


def draw(rng: np.random.Generator) -> Affine:
    """Draw one change with the probabilities above.

    The same number of values is taken from ``rng`` whatever comes out.
    """
    mirror, flip, resample, turn, zoom, right, down = rng.random(7).tolist()
    if resample >= RESAMPLE:
        return Affine(mirror < MIRROR, flip < MIRROR)
    scale = math.exp((2 * zoom - 1) * math.log(SCALE))
    room = abs(scale - 1)  # by so much the scaled image and its frame differ
    return Affine(
        mirror=mirror < MIRROR,
        flip=flip < MIRROR,
        angle=(2 * turn - 1) * DEGREES,
        scale=scale,
        right=(right - 0.5) * room,
        down=(down - 0.5) * room,
    )


def apply(change: Affine, image: Image, mask: UInt8) -> tuple[Image, UInt8]:
    """Change an image and its mask alike.

    Parameters
    ----------
    change : Affine
    image : uint8 or float32, shape (H, W, C)
    mask : uint8, shape (H, W)

    Returns
    -------
    image, mask
        New arrays of the same shapes and dtypes; outside the old image 0 and 255 (ignored).
    """
    moved, labels = apply_to_tensors(
        change, torch.from_numpy(image.copy()), torch.from_numpy(mask.copy())
    )
    return moved.numpy(), labels.numpy()


def apply_to_tensors(
    change: Affine, image: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change an image and its mask alike, on the device where they are.

    Parameters
    ----------
    change : Affine
    image : uint8 or float32, shape (H, W, C)
    mask : uint8, shape (H, W)

    Returns
    -------
    image, mask
        Contiguous, of the same shapes and dtypes; as of `apply`.
    """
    height, width = mask.shape
    moved = tv_tensors.Image(image.permute(2, 0, 1))
    labels = tv_tensors.Mask(mask)
    for chosen, turn in (
        (change.mirror, functional.horizontal_flip),
        (change.flip, functional.vertical_flip),
    ):
        if chosen:
            moved, labels = turn(moved), turn(labels)
    if change.resamples:
        moved, labels = (
            functional.affine(
                tensor,
                angle=-change.angle,  # torchvision's angles run clockwise
                translate=[change.right * width, change.down * height],
                scale=change.scale,
                shear=[0.0, 0.0],
                interpolation=InterpolationMode.BILINEAR,
                fill=fill,
            )
            for tensor, fill in ((moved, 0), (labels, IGNORE))
        )
    return moved.permute(1, 2, 0).contiguous(), labels.contiguous()
