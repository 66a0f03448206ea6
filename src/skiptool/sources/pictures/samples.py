"""Read and check the pictures and masks of a manifest, row by row, and cut them into samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import IGNORE_LABEL, Split
from skiptool.records import Sample
from skiptool.sources.pictures.intensities import FULL, Scale, read_intensities
from skiptool.sources.pictures.labels import LabelMap
from skiptool.sources.pictures.manifest import Row, parse_split, strip_decimal_zero
from skiptool.sources.pictures.nnunet import CHANNEL_COLUMNS

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8
    from skiptool.sources.pictures.files import Colour


def tile_origins(height: int, width: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Lay a grid of tiles over an image.

    Parameters
    ----------
    height, width : int
        Of the image, pixels.
    size : int
        Side of a tile in pixels.
    stride : int
        Pixels from one tile to the next.

    Returns
    -------
    list of (x, y)
        Upper left corners, row by row. The last column and row are moved back to the image's
        border, where they overlap their neighbours: nothing is padded, and up to a stride of
        ``size`` nothing is omitted. Empty if the image is smaller than a tile.

    Examples
    --------
    >>> tile_origins(4, 10, 4, 4)
    [(0, 0), (4, 0), (6, 0)]
    """
    if size < 1 or stride < 1:
        raise ArgumentError(f"--patch-size {size}, --stride {stride}: expected 1 pixel or more")
    down, across = _starts(height, size, stride), _starts(width, size, stride)
    return [(x, y) for y in down for x in across]


def _starts(extent: int, size: int, stride: int) -> list[int]:
    """Place tiles along a side.

    >>> _starts(10, 4, 4), _starts(8, 4, 4), _starts(3, 4, 1)
    ([0, 4, 6], [0, 4], [])
    """
    last = extent - size
    if last < 0:
        return []
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading pictures and masks.

    Attributes
    ----------
    labels : LabelMap
    scale : Scale
        Mapping of values to intensities.
    channels : {1, 3}, optional
        Form of the images; by default the file decides (see
        `skiptool.sources.pictures.intensities`).
    patch_size : int, optional
        Side of a tile in pixels; by default images are not tiled.
    stride : int, optional
        Pixels from tile to tile; ``patch_size`` by default.
    upright : bool
        Rotate images by their orientation.
    """

    labels: LabelMap
    scale: Scale = FULL
    channels: int | None = None
    patch_size: int | None = None
    stride: int | None = None
    upright: bool = False

    def tiles(self, size: tuple[int, ...], where: str) -> list[tuple[int, int]] | None:
        """Return x and y of each tile of an image of size (H, W); None if it is not tiled."""
        if self.patch_size is None:
            return None
        origins = tile_origins(size[0], size[1], self.patch_size, self.stride or self.patch_size)
        if not origins:
            raise SourceError(
                f"{where}: image is {size[0]} x {size[1]} pixels, smaller than --patch-size "
                f"{self.patch_size}; give a smaller one"
            )
        return origins


@dataclass(frozen=True, slots=True)
class Item:
    """A row whose image and mask have been checked.

    Attributes
    ----------
    shape : tuple of int
        H, W, C of its samples.
    tiles : tuple of (x, y), optional
        Upper left corners; None if the image is not tiled.
    foreground : float
        Share of pixels with label 1 or above among those not ignored.
    ignored : float
        Share of ignored pixels.
    brightest : float
        Largest intensity of the image, in [0, 1].
    shown : mapping of int to (red, green, blue)
        Palette colours of the mask values, if it has a palette.
    grey : bool
        Whether it has three identical channels.
    """

    row: Row
    shape: tuple[int, ...]
    dtype: str
    tiles: tuple[tuple[int, int], ...] | None
    foreground: float
    ignored: float
    brightest: float = 1.0
    shown: Mapping[int, Colour] = field(default_factory=dict)
    grey: bool = False

    @property
    def name(self) -> str:
        """Id of the image."""
        return self.row.get("id") or Path(self.row["image"]).stem

    @property
    def ids(self) -> list[str]:
        """Id of each sample: that of the image, with the position of the tile."""
        if self.tiles is None:
            return [self.name]
        return [f"{self.name}-x{x}-y{y}" for x, y in self.tiles]

    @property
    def split(self) -> Split | None:
        """Split in the manifest, None if unset."""
        return parse_split(self.row, self.row["image"])

    @property
    def fold(self) -> int | None:
        """Validation fold in the manifest, None if unset."""
        fold = strip_decimal_zero(self.row.get("fold", ""))
        if not fold or self.split is Split.TEST:
            return None
        if not fold.isdecimal():
            raise SourceError(
                f"{self.row['image']}: fold {fold!r}, expected a non-negative integer"
            )
        return int(fold)


def survey(row: Row, reading: ReadOptions) -> Item:
    """Read and check the image and mask of a row, and its split and fold."""
    image = _image(row, reading)
    mask, shown = _mask(row, reading, image.shape[:2])
    tiles = reading.tiles(image.shape, row["image"])
    side = None if tiles is None else reading.patch_size  # of the samples
    item = Item(
        row=row,
        shape=(side or image.shape[0], side or image.shape[1], image.shape[2]),
        dtype=str(image.dtype),
        tiles=None if tiles is None else tuple(tiles),
        foreground=_foreground(mask),
        ignored=float((mask == IGNORE_LABEL).mean()),
        brightest=float(image.max()) / (255 if image.dtype == np.uint8 else 1),
        shown=shown,
        grey=image.shape[2] == 3 and np.array_equal(image[..., :2], image[..., 1:]),
    )
    _ = item.split, item.fold  # an invalid one is an error of this row
    return item


def read_samples(item: Item, reading: ReadOptions, fold: int) -> Iterator[Sample]:
    """Read a row as samples, one per image or tile; ``fold`` is -1 for test."""
    image = _image(item.row, reading)
    mask, _ = _mask(item.row, reading, image.shape[:2])
    height, width = item.shape[:2]
    for name, (x, y) in zip(item.ids, item.tiles or [(0, 0)], strict=True):
        tile = slice(y, y + height), slice(x, x + width)
        columns: dict[str, str | int | float] = {"foreground": _foreground(mask[tile])}
        if item.tiles is not None:
            columns |= {"x": x, "y": y, "image": item.name}
        yield Sample(
            id=name,
            image=image[tile],
            mask=mask[tile],
            subject=item.row["subject"],
            domain=item.row["domain"],
            split=Split.TEST if fold < 0 else Split.TRAIN,
            fold=fold,
            columns=columns,
        )


def _image(row: Row, reading: ReadOptions) -> Image:
    paths = [Path(row[name]) for name in CHANNEL_COLUMNS if row.get(name)]
    return read_intensities(paths, reading.scale, reading.channels, upright=reading.upright)


def _mask(
    row: Row, reading: ReadOptions, size: tuple[int, ...]
) -> tuple[UInt8, Mapping[int, Colour]]:
    if not row.get("mask"):
        return np.full(size, IGNORE_LABEL, dtype=np.uint8), {}
    labels, shown = reading.labels.read_shown(Path(row["mask"]))
    if labels.shape != size:
        raise SourceError(
            f"{row['mask']}: mask is {labels.shape[0]} x {labels.shape[1]} pixels, its image "
            f"{size[0]} x {size[1]}; both must have the same size"
        )
    return labels, shown


def _foreground(mask: UInt8) -> float:
    labelled = mask != IGNORE_LABEL
    return float((mask[labelled] > 0).mean()) if labelled.any() else 0.0
