"""Masks of volumes, which many tools store as floating-point numbers, to whole labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skiptool.records import AnyArray

__all__ = ["whole_labels"]

NEAR: Final = 1e-3
"""So far from a whole number a value may be: what slopes in headers leave, not interpolation."""

HIGHEST: Final = 65535


def whole_labels(values: AnyArray, where: str) -> NDArray[np.uint16]:
    """Read labels off the values of a mask.

    Parameters
    ----------
    values : numbers, any shape
    where : str
        File and frame, for the message.

    Returns
    -------
    uint16, same shape

    Raises
    ------
    SourceError
        If a value is not whole (a mask that was interpolated), not finite, or no label.
    """
    if values.dtype.kind not in "biuf":
        raise SourceError(
            f"{where}: mask is of type {values.dtype}; expected whole numbers, one label a voxel"
        )
    if values.dtype.kind == "f":
        values = _rounded(values, where)
    lowest, highest = values.min(), values.max()
    if lowest < 0 or highest > HIGHEST:
        wrong = lowest if lowest < 0 else highest
        raise SourceError(
            f"{where}: mask holds {wrong:g}; expected labels from 0 to {HIGHEST}, one a voxel"
        )
    return values.astype(np.uint16)


def _rounded(values: AnyArray, where: str) -> AnyArray:
    with np.errstate(invalid="ignore"):  # infinity less infinity
        rounded = np.rint(values)
        # written so that NaN, which is near nothing, is at fault too
        off = ~(np.abs(values - rounded) <= NEAR)
    if off.any():
        first = values[off].flat[0]
        raise SourceError(
            f"{where}: mask holds {first:g} ({int(off.sum())} voxels are no whole number); it was "
            "interpolated or is no label mask: resample it with nearest neighbour"
        )
    return rounded
