"""Otsu's threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    from skiptool.records import UInt8


def otsu(values: UInt8) -> int:
    """Return the threshold that leaves the largest variance between two classes of grey levels.

    Parameters
    ----------
    values : uint8, any shape, not empty

    Returns
    -------
    int
        The classes are ``values <= threshold`` and ``values > threshold``. The lowest of equally
        good thresholds; the value itself if all values are equal.

    References
    ----------
    N. Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 9 (1979).

    Examples
    --------
    >>> import numpy as np
    >>> otsu(np.array([10, 10, 12, 200, 201], dtype=np.uint8))
    12
    """
    threshold, _ = cv2.threshold(values.reshape(1, -1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    # OpenCV returns 0 for a single grey level, and any level of the gap between the two classes
    return int(values[values <= max(threshold, values.min())].max())
