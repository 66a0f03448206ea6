"""Random affine changes of image and mask together, section IV.C; never a change of colour.

The paper names flipping, cropping, rotation and scaling, without numbers. Chosen here:

- mirrored left-right and upside-down with probability 1/2 each;
- with probability 1/2 turned, scaled and cropped in one resampling: angle uniform in -180..180
  degrees (microscopy has no upright; for short-axis MR it is the range of nnU-Net's 2D training),
  scale log-uniform in 0.8..1.25, and a crop of the image's own size at a uniformly drawn place of
  the scaled image (scaled down: the image at a uniformly drawn place of the frame).

Half of the samples thus stay free of interpolation. Images are resampled bilinearly, masks take the
nearest label.

What comes in from outside is the image mirrored at its border, so that the network and its batch
normalisation never see black corners, which no test image has and which would resemble the darkened
images under study. The mask is not mirrored: its pixels there are 255, ignored by every loss and
count. An object cut by the border would be completed by its own mirror image to a shape that no
image has; the network sees it as context but is not asked to segment it, and no labelled pixel
counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn.functional import grid_sample

from skiptool.names import IGNORE

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8

__all__ = ["AUGMENTATION", "Affine", "apply", "apply_to_tensors", "draw"]

MIRROR = 0.5
RESAMPLE = 0.5
DEGREES = 180.0
SCALE = 1.25

AUGMENTATION: Final[Mapping[str, Any]] = {
    **{"mirror_probability": MIRROR, "flip_probability": MIRROR},
    **{"resample_probability": RESAMPLE, "degrees": [-DEGREES, DEGREES]},
    **{"scale": [1 / SCALE, SCALE], "scale_distribution": "log-uniform"},
    "crop": "image size, uniform place",
    **{"image_interpolation": "bilinear", "mask_interpolation": "nearest"},
    **{"image_outside": "reflect", "mask_outside": IGNORE, "colour": "unchanged"},
}
"""What a model's configuration records under ``augmentation``.

Models from before version 0.2 have no such record: their training images were black outside.
"""


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
        New arrays of the same shapes and dtypes; outside the old image, its mirror image and 255
        (ignored).
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
    mirrored = [axis for axis, chosen in ((1, change.mirror), (0, change.flip)) if chosen]
    image, mask = image.flip(mirrored), mask.flip(mirrored)
    if change.resamples:
        grid = _sources(change, mask)
        image, mask = _image_at(grid, image), _mask_at(grid, mask)
    return image.contiguous(), mask.contiguous()


def _sources(change: Affine, mask: torch.Tensor) -> torch.Tensor:
    """Return where each pixel of the result comes from, for a mask of shape (H, W) and its image.

    Returns
    -------
    float32, shape (1, H, W, 2)
        x and y as of `torch.nn.functional.grid_sample`: -1 and 1 are the borders of the image.
    """
    (height, width), device = mask.shape, mask.device
    turn = math.radians(change.angle)
    along, across = math.cos(turn) / change.scale, math.sin(turn) / change.scale
    right, down = change.right * width, change.down * height
    x = torch.arange(width, device=device) - ((width - 1) / 2 + right)  # pixels from the centre
    y = torch.arange(height, device=device)[:, None] - ((height - 1) / 2 + down)
    sources = torch.stack((along * x - across * y, across * x + along * y), dim=-1)
    return (sources / torch.tensor([width / 2, height / 2], device=device))[None]


def _image_at(grid: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    found = _sampled(grid, image.permute(2, 0, 1), "bilinear", "reflection").permute(1, 2, 0)
    return found if image.is_floating_point() else found.round().to(image.dtype)


def _mask_at(grid: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    inside = (grid[0].abs() < 1).all(dim=-1)
    labels = _sampled(grid, mask[None], "nearest", "border")[0]
    return torch.where(inside, labels, IGNORE).to(mask.dtype)


def _sampled(grid: torch.Tensor, channels: torch.Tensor, mode: str, outside: str) -> torch.Tensor:
    """Sample channels (C, H, W) at a grid, as float32."""
    values = channels[None].to(grid.dtype)
    return grid_sample(values, grid, mode=mode, padding_mode=outside, align_corners=False)[0]
