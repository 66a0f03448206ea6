"""Whole-slide images for tests: tiled pyramidal TIFF files that OpenSlide opens.

Levels hold the means of square blocks, remainders cut off, as scanners write them. A level is
never whole in memory, so that slides of 20,480 px and more can be written for benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Region = Callable[[int, int, int, int], Pixels]
"""Left, top, width and height at level 0 -> uint8 (height, width, 3)."""

TILE = 256


def write_pyramid(
    path: Path,
    source: Pixels | Region,
    size: tuple[int, int] | None = None,
    *,
    levels: int = 3,
    factor: Literal[2, 4] = 2,
    mpp: float | tuple[float, float] | None = None,
    vendor: Literal["generic-tiff", "aperio"] = "generic-tiff",
    quality: int | None = 85,
) -> Path:
    """Write a slide and return its path.

    Parameters
    ----------
    path : Path
        OpenSlide does not believe suffixes, so any will do.
    source : uint8 (H, W, 3), or function
        The image of level 0; or a function that paints any region of it, asked tile by tile.
    size : tuple of int, optional
        Width and height; needed beside a function.
    levels, factor : int
        Number of levels, each ``factor`` times smaller than the one before, on either axis.
    mpp : float or tuple of float, optional
        Micrometres per pixel of level 0 (one value where the vendor is aperio, which knows but
        one). Without it the file says nothing of its resolution.
    vendor : str
        What OpenSlide takes the file for.
    quality : int, optional
        Of JPEG, with chroma subsampled as scanners do; None stores the pixels without loss.
    """
    region, (width, height) = _region(source, size)
    with (
        TemporaryDirectory(dir=path.parent) as folder,
        tifffile.TiffWriter(path, bigtiff=True) as file,
    ):
        for level in range(levels):
            coarser = None
            if level + 1 < levels:
                shape = (height // factor, width // factor, 3)
                where = Path(folder) / f"{level}.raw"
                coarser = np.memmap(where, dtype=np.uint8, mode="w+", shape=shape)
            file.write(
                _tiles(region, width, height, coarser, factor),
                shape=(height, width, 3),
                dtype=np.uint8,
                **_tags(level, factor, width, height, mpp, vendor, quality),
            )
            if coarser is not None:
                region, (width, height) = _region(coarser, None)
    return path


def _region(source: Pixels | Region, size: tuple[int, int] | None) -> tuple[Region, Any]:
    if callable(source):
        return source, size
    image = source
    return lambda x, y, w, h: image[y : y + h, x : x + w], image.shape[1::-1]


def _tiles(
    region: Region, width: int, height: int, coarser: Pixels | None, factor: int
) -> Iterator[Pixels]:
    """Every tile of a level, row by row; on the way the next level is filled with means."""
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = region(left, top, min(TILE, width - left), min(TILE, height - top))
            if coarser is not None:
                rows, columns = tile.shape[0] // factor, tile.shape[1] // factor
                blocks = tile[: rows * factor, : columns * factor]
                if blocks.size:
                    y, x = top // factor, left // factor
                    means = cv2.resize(blocks, (columns, rows), interpolation=cv2.INTER_AREA)
                    coarser[y : y + rows, x : x + columns] = means
            missing = ((0, TILE - tile.shape[0]), (0, TILE - tile.shape[1]), (0, 0))
            yield np.pad(tile, missing, mode="edge")


def _tags(
    level: int,
    factor: int,
    width: int,
    height: int,
    mpp: float | tuple[float, float] | None,
    vendor: str,
    quality: int | None,
) -> dict[str, Any]:
    tags: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "metadata": None}
    tags |= {"subfiletype": int(level > 0), "software": False, "maxworkers": 1}
    if quality is None:
        tags |= {"compression": "zlib", "predictor": True}
    else:
        tags |= {"compression": "jpeg", "compressionargs": {"level": quality}}
        tags |= {"subsampling": (2, 2)}
    if vendor == "aperio":
        facts = f"|AppMag = 40|MPP = {mpp}" if mpp else ""
        tags["description"] = f"Aperio Image Library v12.0.0\r\n{width}x{height} Q=85{facts}"
    elif mpp:
        across, down = mpp if isinstance(mpp, tuple) else (mpp, mpp)
        shrunk = factor**level
        tags |= {"resolution": (1e4 / across / shrunk, 1e4 / down / shrunk)}
        tags |= {"resolutionunit": "CENTIMETER"}
    return tags


def stained(seed: int = 0, period: int = 1024) -> Region:
    """Paint what looks like stained tissue, with nuclei and grain, repeated every ``period`` px."""
    rng = np.random.default_rng(seed)

    def noise(sigma: float) -> NDArray[np.float32]:
        # blurred beyond its edges, so that the pattern repeats without a seam
        wide = np.tile(rng.standard_normal((period, period), dtype=np.float32), (3, 3))
        soft = cv2.GaussianBlur(wide, (0, 0), sigma)[period : 2 * period, period : 2 * period]
        return (soft - soft.mean()) / soft.std()

    nuclei = np.clip(noise(4) - 0.8, 0, 1)[..., None]
    grain = (4 * noise(0.8) + 10 * noise(30))[..., None]
    eosin, haematoxylin = np.array([226, 160, 196]), np.array([84, 60, 130])
    image = eosin * (1 - nuclei) + haematoxylin * nuclei + grain
    texture = np.clip(image, 0, 255).astype(np.uint8)

    def region(x: int, y: int, w: int, h: int) -> Pixels:
        rows, columns = np.arange(y, y + h) % period, np.arange(x, x + w) % period
        return np.ascontiguousarray(texture[rows[:, None], columns])

    return region
