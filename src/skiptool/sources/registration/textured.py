"""Where on a slide there is something to align by."""

from __future__ import annotations

import cv2
import numpy as np

from skiptool.sources.registration.coarse import LONGEST
from skiptool.sources.registration.tiles import grey_of
from skiptool.sources.registration.view import View

__all__ = ["textured"]


def textured(slide: View, side: float, most: int) -> list[tuple[float, float]]:
    """Choose tiles with texture, spread over the slide.

    Parameters
    ----------
    slide : View
    side : float
        Of a tile, in level-0 pixels.
    most : int
        Tiles to choose at most.

    Returns
    -------
    list of (x, y)
        Centres in level-0 pixels. The slide is cut into as many fields as tiles are wanted; each
        gives its tile with the strongest edges, unless these are weak against the others'.

    Raises
    ------
    SourceError
        If the slide cannot be read.
    """
    image, _ = slide.overview(LONGEST)
    grey = cv2.GaussianBlur(grey_of(image), (0, 0), 1.0)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    edges = np.minimum(np.hypot(across, down), 64.0)
    columns, rows = (max(int(extent // side), 1) for extent in slide.size)
    # Of each tile the mean strength of its edges.
    strength = cv2.resize(edges, (columns, rows), interpolation=cv2.INTER_AREA)
    fields = max(int(np.sqrt(most)), 1)
    best: dict[tuple[int, int], tuple[float, int, int]] = {}
    for row in range(rows):
        for column in range(columns):
            field = (row * fields // rows, column * fields // columns)
            here = (float(strength[row, column]), row, column)
            best[field] = max(best.get(field, (-1.0, 0, 0)), here)
    enough = 0.2 * max(value for value, _, _ in best.values())
    chosen = sorted((row, column) for value, row, column in best.values() if value >= enough)
    width, height = slide.size[0] / columns, slide.size[1] / rows
    return [((column + 0.5) * width, (row + 0.5) * height) for row, column in chosen]
