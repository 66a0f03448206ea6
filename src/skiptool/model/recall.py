"""Samples that stay in memory once they were read: epochs after the first wait for no disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from skiptool.records import Image, SampleReader, UInt8

__all__ = ["Recalled"]

MOST: Final = 1 << 29
"""Bytes kept by default: 2,000 samples of 256 px."""


class Recalled:
    """A reader that keeps what it read, as far as a limit allows.

    What is kept is as it was stored, before any augmentation. Once the limit is reached the
    further samples are read each time; those kept stay, whatever the order asked for (the least
    recently used would be the very ones that the next epoch needs).

    Parameters
    ----------
    reader : SampleReader
    most : int
        Bytes kept at most.
    """

    def __init__(self, reader: SampleReader, most: int = MOST) -> None:
        self._reader = reader
        self._left = most
        self._kept: dict[int, tuple[Image, UInt8]] = {}

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, index: int) -> tuple[Image, UInt8]:
        """Return image (H, W, C) and mask (H, W), not to be written into.

        Raises
        ------
        Exception
            Whatever the reader raises; nothing is kept of such a sample.
        """
        if index in self._kept:
            return self._kept[index]
        image, mask = self._reader.read(index)
        size = image.nbytes + mask.nbytes
        if size <= self._left:
            self._left -= size
            image.flags.writeable = mask.flags.writeable = False
            self._kept[index] = image, mask
        return image, mask
