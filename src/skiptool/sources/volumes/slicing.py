"""Which axis of a volume leads from slice to slice.

Few headers say it (``dim_info``), and spacings alone mislead: pixels may be larger than the
distance between slices, above all where there is one slice. So the numbers of voxels count too,
and whatever is a guess is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from skiptool.errors import SourceError

__all__ = ["AXES", "slice_axis"]

AXES: Final = ("first", "second", "third")
THIRD: Final = 2

COARSER: Final = 2.0
"""So many times as far apart as along both others are voxels along the axis of thick slices."""

FEWER: Final = 4
"""So many times as few voxels as along both others are there along the axis of few slices."""

DOUBTFUL: Final = 2
"""From so many times as few on, the third axis is a guess too."""

EQUAL: Final = 1e-3
"""Spacings of square pixels may differ by such a share."""


def slice_axis(
    shape: Sequence[int],
    spacing: Sequence[float],
    told: int | None,
    where: str,
    asked: int | None = None,
) -> tuple[int, str]:
    """Choose the axis that leads from slice to slice.

    Parameters
    ----------
    shape, spacing : sequences of 3 numbers
        Voxels along the axes of the file, and millimetres between them.
    told : int or None
        Axis that the header names, from 0.
    where : str
        File, for messages.
    asked : int, optional
        Axis that the user names, from 0.

    Returns
    -------
    axis : int
        From 0. The one that is asked for; or else the only one of a single voxel; the one with
        both the coarsest and by far the fewest voxels; the one that the header names; the one
        with the coarsest voxels if they are the fewest, or with by far the fewest if none is
        coarsest; the one beside a square of square pixels; the third.
    note : str
        What was guessed, empty where nothing was.

    Raises
    ------
    SourceError
        If slices would be single rows of voxels.

    Examples
    --------
    >>> slice_axis((96, 80, 1), (2.5, 2.5, 1.0), None, "a.nii")
    (2, '')
    >>> slice_axis((12, 256, 256), (8.0, 1.5, 1.5), None, "a.nii")[0]
    0
    """
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) > 1 or (asked is not None and any(axis != asked for axis in single)):
        sizes = " x ".join(map(str, shape))
        along = "" if asked is None else f" along the {AXES[asked]} axis"
        raise SourceError(
            f"{where}: has {sizes} voxels, slices of it{along} are single rows and no pictures"
        )
    if asked is not None:
        return asked, ""
    if single:
        return single[0], ""
    coarse, few = _coarse(spacing), _few(shape, FEWER)
    if coarse is not None and coarse == few:
        return coarse, _against(told, coarse)
    if told is not None:
        return told, ""
    found = _supposed(shape, spacing, coarse, few)
    doubts = {coarse, _few(shape, DOUBTFUL)} - {None, found}
    if found == THIRD and (coarse == THIRD or not doubts):
        return found, ""
    return found, (
        f"slices are taken along the {AXES[found]} axis ({shape[found]}, {spacing[found]:.3g} mm "
        "apart), which the header does not say; --slice-axis 1, 2 or 3 does if that is wrong"
    )


def _supposed(
    shape: Sequence[int], spacing: Sequence[float], coarse: int | None, few: int | None
) -> int:
    if coarse is not None and coarse == _few(shape, 1):
        return coarse
    if coarse is None and few is not None:
        return few
    odd = _odd(shape, spacing)
    return THIRD if odd is None else odd


def _against(told: int | None, found: int) -> str:
    """Say where a header names another axis than the one that is plain to see.

    Programs that turn voxels mostly leave the entry as it was.
    """
    if told is None and found != THIRD:
        return (
            f"slices are taken along the {AXES[found]} axis, where voxels are coarsest and fewest; "
            "--slice-axis 1, 2 or 3 names another"
        )
    if told in (None, found):
        return ""
    return (
        f"slices are taken along the {AXES[found]} axis, where voxels are coarsest and fewest, "
        f"though the header names the {AXES[told]}; --slice-axis 1, 2 or 3 decides"
    )


def _coarse(spacing: Sequence[float]) -> int | None:
    """Return the axis along which voxels are much further apart than along both others."""
    first, second = sorted(range(3), key=lambda axis: -spacing[axis])[:2]
    return first if spacing[first] >= COARSER * spacing[second] else None


def _few(shape: Sequence[int], times: int) -> int | None:
    """Return the axis with fewer voxels than both others, by so many times."""
    first, second = sorted(range(3), key=lambda axis: shape[axis])[:2]
    fewer = shape[first] < shape[second] and times * shape[first] <= shape[second]
    return first if fewer else None


def _odd(shape: Sequence[int], spacing: Sequence[float]) -> int | None:
    """Return the axis beside two that have equally many voxels, equally far apart."""
    for axis in range(3):
        one, other = (each for each in range(3) if each != axis)
        near = EQUAL * spacing[one]
        square = shape[one] == shape[other] and abs(spacing[one] - spacing[other]) <= near
        if square and abs(spacing[axis] - spacing[one]) > near:
            return axis
    return None
