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

__all__ = ["Affine", "apply", "draw"]

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
    height, width = mask.shape
    moved = tv_tensors.Image(torch.from_numpy(image.transpose(2, 0, 1).copy()))
    labels = tv_tensors.Mask(torch.from_numpy(mask.copy()))
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
    return np.ascontiguousarray(moved.numpy().transpose(1, 2, 0)), labels.numpy()
