"""Otsu's threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
    counts = np.bincount(values.ravel()).astype(np.float64)
    sums = np.cumsum(counts * np.arange(len(counts)))
    low = np.cumsum(counts)[:-1]
    high = counts.sum() - low
    split = np.flatnonzero((low > 0) & (high > 0))
    if not len(split):
        return int(values.max())
    low, high, sums, total = low[split], high[split], sums[split], sums[-1]
    variance = low * high * (sums / low - (total - sums) / high) ** 2
    return int(split[np.argmax(variance)])
