"""Random affine augmentation of image and mask, section IV.C; colours are never changed.

The paper lists flipping, cropping, rotation and scaling without giving parameters. Chosen here:

- horizontal and vertical flips with probability 1/2 each;
- with probability 1/2 rotation, scaling and cropping in one resampling: angle uniform in -180..180
  degrees (microscopy has no preferred orientation; for short-axis MR it is the range of nnU-Net's
  2D training), scale log-uniform in 0.8..1.25, and a crop of the original size at a uniform
  position in the scaled image (scaled down: the image at a uniform position in the frame).

Half of the samples thus remain free of interpolation. Images are resampled bilinearly, masks by
nearest neighbour.

Images are padded by reflection, so that the network and its batch normalisation never see black
corners, which no test image has and which would resemble the darkened images under study. The mask
is padded with 255, ignored by every loss and count: reflection completes an object cut by the
border to a shape that no image has. The network sees it as context but is not trained to segment
it, and no labelled pixel counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn.functional import grid_sample

from skiptool.names import IGNORE_LABEL

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8

MIRROR = 0.5
RESAMPLE = 0.5
DEGREES = 180.0
SCALE = 1.25

AUGMENTATION: Final[Mapping[str, Any]] = {
    "mirror_probability": MIRROR,
    "flip_probability": MIRROR,
    "resample_probability": RESAMPLE,
    "degrees": [-DEGREES, DEGREES],
    "scale": [1 / SCALE, SCALE],
    "scale_distribution": "log-uniform",
    "crop": "image size, uniform place",
    "image_interpolation": "bilinear",
    "mask_interpolation": "nearest",
    "image_outside": "reflect",
    "mask_outside": IGNORE_LABEL,
    "colour": "unchanged",
}
"""Recorded under ``augmentation`` in a model's configuration.

Models of version 0.1 have no such record: their training images were padded with black.
"""


@dataclass(frozen=True, slots=True)
class AffineAugmentation:
    """One random transformation.

    Attributes
    ----------
    mirror, flip : bool
        Horizontal and vertical flip; applied first.
    angle : float
        Degrees, counter-clockwise about the centre of the displayed image.
    scale : float
        Above 1 enlarges.
    right, down : float
        Translation after rotation and scaling, as a fraction of width and height.
    """

    mirror: bool = False
    flip: bool = False
    angle: float = 0.0
    scale: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def to_row(self) -> tuple[float, ...]:
        """Return the fields as numbers, the inverse of `from_row`."""
        return tuple(map(float, astuple(self)))

    @classmethod
    def from_row(cls, row: Sequence[float]) -> AffineAugmentation:
        """Make a transformation from the numbers of `to_row`."""
        mirror, flip, *affine = row
        return cls(bool(mirror), bool(flip), *affine)

    @property
    def resamples(self) -> bool:
        """True unless it only flips."""
        return (self.angle, self.scale, self.right, self.down) != (0.0, 1.0, 0.0, 0.0)


def draw_augmentation(rng: np.random.Generator) -> AffineAugmentation:
    """Draw one transformation; always takes the same number of values from ``rng``."""
    mirror, flip, resample, turn, zoom, right, down = rng.random(7).tolist()
    if resample >= RESAMPLE:
        return AffineAugmentation(mirror < MIRROR, flip < MIRROR)
    scale = math.exp((2 * zoom - 1) * math.log(SCALE))
    margin = abs(scale - 1)  # size difference between scaled image and frame
    return AffineAugmentation(
        mirror=mirror < MIRROR,
        flip=flip < MIRROR,
        angle=(2 * turn - 1) * DEGREES,
        scale=scale,
        right=(right - 0.5) * margin,
        down=(down - 0.5) * margin,
    )


def augment(transform: AffineAugmentation, image: Image, mask: UInt8) -> tuple[Image, UInt8]:
    """Transform an image (H, W, C), uint8 or float32, and its mask (H, W), uint8, to new arrays."""
    tensors = augment_tensors(
        transform, torch.from_numpy(image.copy()), torch.from_numpy(mask.copy())
    )
    return tensors[0].numpy(), tensors[1].numpy()


def augment_tensors(
    transform: AffineAugmentation, image: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Transform as `augment`, on the tensors' device; the results are contiguous."""
    axes = [axis for axis, flips in ((1, transform.mirror), (0, transform.flip)) if flips]
    image, mask = image.flip(axes), mask.flip(axes)
    if transform.resamples:
        grid = _source_grid(transform, mask)
        image, mask = _resample_image(grid, image), _resample_mask(grid, mask)
    return image.contiguous(), mask.contiguous()


def _source_grid(transform: AffineAugmentation, mask: torch.Tensor) -> torch.Tensor:
    """Return the source position of each pixel, float32 (1, H, W, 2), for ``grid_sample``.

    x and y of -1 and 1 are the borders of the image.
    """
    (height, width), device = mask.shape, mask.device
    turn = math.radians(transform.angle)
    cosine, sine = math.cos(turn) / transform.scale, math.sin(turn) / transform.scale
    right, down = transform.right * width, transform.down * height
    x = torch.arange(width, device=device) - ((width - 1) / 2 + right)  # pixels from the centre
    y = torch.arange(height, device=device)[:, None] - ((height - 1) / 2 + down)
    sources = torch.stack((cosine * x - sine * y, sine * x + cosine * y), dim=-1)
    return (sources / torch.tensor([width / 2, height / 2], device=device))[None]


def _resample_image(grid: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    values = _sample(grid, image.permute(2, 0, 1), "bilinear", "reflection").permute(1, 2, 0)
    return values if image.is_floating_point() else values.round().to(image.dtype)


def _resample_mask(grid: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    inside = (grid[0].abs() < 1).all(dim=-1)
    labels = _sample(grid, mask[None], "nearest", "border")[0]
    return torch.where(inside, labels, IGNORE_LABEL).to(mask.dtype)


def _sample(grid: torch.Tensor, channels: torch.Tensor, mode: str, padding: str) -> torch.Tensor:
    """Sample channels (C, H, W) at a grid, as float32."""
    values = channels[None].to(grid.dtype)
    return grid_sample(values, grid, mode=mode, padding_mode=padding, align_corners=False)[0]
