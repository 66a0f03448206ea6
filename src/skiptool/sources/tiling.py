"""Large images cut into tiles of one size, so that images of several sizes share a domain."""

from __future__ import annotations

from skiptool.errors import ArgumentError

__all__ = ["tile_origins"]


def tile_origins(height: int, width: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Lay a grid of tiles over an image.

    Parameters
    ----------
    height, width : int
        Of the image, pixels.
    size : int
        Pixels of a tile along either side.
    stride : int
        Pixels from one tile to the next; ``size`` lays them edge to edge.

    Returns
    -------
    list of (x, y)
        Upper left corners, row by row. The last column and row are moved back to the image's
        border, where they overlap those before: no pixel is made up, and up to a stride of ``size``
        none is left out. Empty where the image is smaller than a tile.

    Raises
    ------
    ArgumentError
        If size or stride is below 1.

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
    found = list(range(0, last + 1, stride))
    return found if found[-1] == last else [*found, last]
