"""Small sample readers, in a file that spawned loader workers can import."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import FormatError

if TYPE_CHECKING:
    from skiptool.records import Float32, UInt8


class Squares:
    """Noisy images with one dark square each, labelled 1, as a store would read them."""

    def __init__(self, count: int, seed: int = 0, size: int = 64, broken: int = -1) -> None:
        self.count = count
        self.seed = seed
        self.size = size
        self.broken = broken

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> tuple[UInt8, UInt8]:
        if index == self.broken:
            raise FormatError(f"squares: sample {index} is damaged")
        rng = np.random.default_rng([self.seed, index])
        mask = np.zeros((self.size, self.size), np.uint8)
        top, left = rng.integers(0, self.size - self.size // 4, 2)
        mask[top : top + self.size // 4, left : left + self.size // 4] = 1
        image = rng.integers(140, 200, (self.size, self.size, 3), dtype=np.uint8)
        image[mask == 1] //= 2
        image.flags.writeable = False  # as stores may return them
        return image, mask


class Grey(Squares):
    """The same as float32 images of one channel in [0, 1]."""

    def read(self, index: int) -> tuple[Float32, UInt8]:  # type: ignore[override]
        image, mask = super().read(index)
        return image[..., :1].astype(np.float32) / np.float32(255), mask


class Empty(Squares):
    """Images without any foreground."""

    def read(self, index: int) -> tuple[UInt8, UInt8]:
        image, mask = super().read(index)
        return image, np.where(mask == 1, np.uint8(255), mask)


def unpicklable(items: object) -> object:
    """Return a batch that cannot be transferred to another process."""
    return lambda: items
