"""Orientation of the slices of a volume in the body, and their layout as pictures.

Scanners store volumes in any orientation, and short-axis slices of the heart are oblique: the
nearest anatomical axes vary between subjects. Therefore slices are rotated (by quarter turns and
reflections only, without interpolation) to the layout that best matches one pair of directions:
columns towards left and head, rows towards back and feet. Axial and coronal slices then have
radiological orientation, and short-axis slices are seen from the apex, with the right ventricle at
the upper left. Sagittal slices are shown as usual, with the face to the left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import TYPE_CHECKING, Final

import numpy as np
from nibabel.orientations import aff2axcodes

from skiptool.errors import SourceError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64

_COLUMNS: Final = np.array([-1.0, 0.0, 1.0])
"""Preferred direction of columns: left and head, in RAS+ millimetres."""

_ROWS: Final = np.array([0.0, -1.0, -1.0])
"""Preferred direction of rows: back and feet."""

_SAGITTAL: Final = np.cos(np.deg2rad(15.0))
"""Left-right component of a slice's unit normal from which the slice is sagittal."""


@dataclass(frozen=True, slots=True)
class View:
    """Layout of the slices of a volume.

    Attributes
    ----------
    through, rows, columns : int
        Voxel axes across slices, and along height and width of the pictures.
    flip_rows, flip_columns : bool
        Whether the axis is reversed.
    codes : str
        Nearest anatomical directions of the three voxel axes of the file (``LPS``).
    display : str
        Directions of columns and rows of the pictures (``LP``).
    """

    through: int
    rows: int
    columns: int
    flip_rows: bool
    flip_columns: bool
    codes: str
    display: str

    def apply(self, volume: AnyArray) -> AnyArray:
        """Lay a volume (X, Y, Z) out as slices (S, H, W) in file order; returns a view."""
        slices = volume.transpose(self.through, self.rows, self.columns)
        if self.flip_rows:
            slices = slices[:, ::-1]
        return slices[:, :, ::-1] if self.flip_columns else slices


@dataclass(frozen=True, slots=True)
class Turn:
    """Quarter turns and reflections that align one volume with another.

    Attributes
    ----------
    axes : (int, int, int)
        Axis of the file that becomes each axis.
    flips : (bool, bool, bool)
        Whether it is reversed.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, volume: AnyArray) -> AnyArray:
        """Rotate voxels (X, Y, Z); returns a view."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return volume.transpose(self.axes)[steps]

    def affine(self, affine: Float64, shape: Sequence[int]) -> Float64:
        """Return the affine (4, 4) of the rotated volume from affine and shape of the file."""
        back = np.zeros((4, 4))
        back[3, 3] = 1.0
        for axis, (stored, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            back[stored, axis] = -1.0 if flip else 1.0
            back[stored, 3] = shape[stored] - 1 if flip else 0.0
        rotated: Float64 = affine @ back
        return rotated


def find_turn(affine: Float64, other: Float64) -> Turn | None:
    """Find the rotation of a volume that aligns its axes with those of another.

    Both affines (4, 4) map voxels to millimetres. None if the axes do not correspond one to one.
    """
    try:
        between = np.linalg.solve(other[:3, :3], affine[:3, :3])
    except np.linalg.LinAlgError:
        return None
    x, y, z = np.abs(between).argmax(axis=1).tolist()
    if len({x, y, z}) < 3:
        return None
    flips = (bool(between[0, x] < 0), bool(between[1, y] < 0), bool(between[2, z] < 0))
    return Turn((x, y, z), flips)


def skewness(affine: Float64) -> float:
    """Return the largest deviation of the axes from right angles, in degrees.

    >>> round(skewness(np.array([[1.0, 1.0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])), 6)
    45.0
    """
    axes = affine[:3, :3] / np.array(spacings(affine))
    most = np.abs(axes.T @ axes - np.eye(3)).max()
    return float(np.degrees(np.arcsin(min(most, 1.0))))


def stored_view(through: int = 2) -> View:
    """Lay out a file without orientation: its axes in order, along width and height."""
    columns, rows = (axis for axis in range(3) if axis != through)
    return View(through, rows, columns, False, False, "", "")


def choose_view(affine: Float64, where: str, through: int = 2) -> View:
    """Choose the layout of a volume's slices.

    Parameters
    ----------
    affine : float64 (4, 4)
        From voxels to RAS+ millimetres.
    where : str
        File, for the message.
    through : int
        Axis across slices, see `slice_axis`.
    """
    spacing = np.array(spacings(affine))
    if not (np.isfinite(affine).all() and (spacing > 0).all()) or _is_flat(affine):
        raise SourceError(
            f"{where}: the affine from voxels to millimetres is singular or not finite; correct "
            "the header (sform or qform)"
        )
    axes = affine[:3, :3] / spacing
    best = max(_layouts(axes, through), key=lambda layout: layout[0])
    _, rows, columns, flip_rows, flip_columns = best
    signs = np.ones(4)
    signs[[rows, columns]] = np.where([flip_rows, flip_columns], -1.0, 1.0)
    shown = _codes(affine * signs)
    display = shown[columns] + shown[rows]
    return View(through, rows, columns, flip_rows, flip_columns, _codes(affine), display)


def _codes(affine: Float64) -> str:
    """Return the nearest anatomical directions of the voxel axes."""
    return "".join(aff2axcodes(affine))  # type: ignore[no-untyped-call]


def spacings(affine: Float64) -> tuple[float, float, float]:
    """Return the voxel spacing along the three axes of a file in millimetres."""
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).tolist()
    return x, y, z


def displacement(first: Float64, second: Float64, shape: tuple[int, ...]) -> float:
    """Return the largest distance in millimetres between the corners of a volume under two affines.

    >>> displacement(np.eye(4), np.diag([1.0, 1.0, 2.0, 1.0]), (5, 5, 4))
    3.0
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape[:3]))])
    differences = corners @ (first - second).T[:, :3]
    return float(np.sqrt((differences**2).sum(axis=1)).max())


def _layouts(axes: Float64, through: int) -> Iterator[tuple[float, int, int, bool, bool]]:
    """Yield the agreement of each layout with the preferred directions, and the layout."""
    plane = [axis for axis in range(3) if axis != through]
    normal = np.cross(axes[:, plane[0]], axes[:, plane[1]])
    sagittal = abs(normal[0]) > _SAGITTAL * np.sqrt((normal**2).sum())
    preferred_columns = np.array([0.0, -1.0, 0.0]) if sagittal else _COLUMNS
    preferred_rows = np.array([0.0, 0.0, -1.0]) if sagittal else _ROWS
    for (rows, columns), flip_rows, flip_columns in product(
        # the second axis first: it becomes the rows if both layouts agree equally well
        permutations(reversed(plane)),
        (False, True),
        (False, True),
    ):
        agreement = _signed(axes, rows, flip_rows) @ preferred_rows
        agreement += _signed(axes, columns, flip_columns) @ preferred_columns
        yield round(float(agreement), 6), rows, columns, flip_rows, flip_columns


def _signed(axes: Float64, axis: int, flip: bool) -> Float64:
    direction: Float64 = -axes[:, axis] if flip else axes[:, axis]
    return direction


def _is_flat(affine: Float64) -> bool:
    """Return whether the axes are coplanar."""
    unit = affine[:3, :3] / np.array(spacings(affine))
    return bool(abs(np.linalg.det(unit)) < 1e-4)


# The axis across slices. Few headers name it (``dim_info``), and spacings alone mislead: pixels may
# be larger than the distance between slices, especially if there is one slice. So the numbers of
# voxels count too, and guesses are reported.

_AXES: Final = ("first", "second", "third")
_THIRD: Final = 2

_COARSER: Final = 2.0
"""Ratio of spacings from which an axis counts as that of thick slices."""

_FEWER: Final = 4
"""Ratio of voxel counts from which an axis counts as that of few slices."""

_DOUBTFUL: Final = 2
"""Ratio of voxel counts from which the third axis is reported as a guess too."""

_TOLERANCE: Final = 1e-3
"""Relative tolerance of the spacings of square pixels."""


def slice_axis(
    shape: Sequence[int],
    spacing: Sequence[float],
    recorded: int | None,
    where: str,
    requested: int | None = None,
) -> tuple[int, str]:
    """Choose the axis across slices.

    Parameters
    ----------
    shape, spacing : sequences of 3 numbers
        Number of voxels along the axes of the file, and spacing in millimetres.
    recorded : int or None
        Axis named by the header, from 0.
    where : str
        File, for messages.
    requested : int, optional
        Axis named by the user, from 0.

    Returns
    -------
    axis : int
        From 0. In order of preference: the axis named by the user; the only one of a single voxel;
        the one with both the coarsest and by far the fewest voxels; the one named by the header;
        the one with the coarsest voxels if they are the fewest, or with by far the fewest if none
        is coarsest; the one perpendicular to a square of square pixels; the third.
    note : str
        The guess made, if any.

    Examples
    --------
    >>> slice_axis((96, 80, 1), (2.5, 2.5, 1.0), None, "a.nii")
    (2, '')
    >>> slice_axis((12, 256, 256), (8.0, 1.5, 1.5), None, "a.nii")[0]
    0
    """
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) > 1 or (requested is not None and any(axis != requested for axis in single)):
        sizes = " x ".join(map(str, shape))
        along = "" if requested is None else f" along the {_AXES[requested]} axis"
        raise SourceError(
            f"{where}: has {sizes} voxels, slices of it{along} are single rows and no pictures"
        )
    if requested is not None:
        return requested, ""
    if single:
        return single[0], ""
    coarse, few = _coarsest(spacing), _fewest(shape, _FEWER)
    if coarse is not None and coarse == few:
        return coarse, _note_evident_axis(recorded, coarse)
    if recorded is not None:
        return recorded, ""
    axis = _guess_axis(shape, spacing, coarse, few)
    doubts = {coarse, _fewest(shape, _DOUBTFUL)} - {None, axis}
    if axis == _THIRD and (coarse == _THIRD or not doubts):
        return axis, ""
    return axis, (
        f"slices are taken along the {_AXES[axis]} axis ({shape[axis]}, {spacing[axis]:.3g} mm "
        "apart), as the header names none; if that is wrong, give --slice-axis 1, 2 or 3"
    )


def _guess_axis(
    shape: Sequence[int], spacing: Sequence[float], coarse: int | None, few: int | None
) -> int:
    if coarse is not None and coarse == _fewest(shape, 1):
        return coarse
    if coarse is None and few is not None:
        return few
    normal = _normal_of_square(shape, spacing)
    return _THIRD if normal is None else normal


def _note_evident_axis(recorded: int | None, evident: int) -> str:
    """Report if a header names an axis other than the evident one.

    Programs that rotate voxels mostly leave the entry unchanged.
    """
    if recorded == evident or (recorded is None and evident == _THIRD):
        return ""
    reason = (
        f"slices are taken along the {_AXES[evident]} axis, where voxels are coarsest and fewest"
    )
    if recorded is None:
        return f"{reason}; give --slice-axis 1, 2 or 3 for another"
    return (
        f"{reason}, though the header names the {_AXES[recorded]}; --slice-axis 1, 2 or 3 decides"
    )


def _coarsest(spacing: Sequence[float]) -> int | None:
    """Return the axis along which voxels are much coarser than along both others."""
    first, second = sorted(range(3), key=lambda axis: -spacing[axis])[:2]
    return first if spacing[first] >= _COARSER * spacing[second] else None


def _fewest(shape: Sequence[int], ratio: int) -> int | None:
    """Return the axis with fewer voxels than both others, by this factor."""
    first, second = sorted(range(3), key=lambda axis: shape[axis])[:2]
    fewer = shape[first] < shape[second] and ratio * shape[first] <= shape[second]
    return first if fewer else None


def _normal_of_square(shape: Sequence[int], spacing: Sequence[float]) -> int | None:
    """Return the axis perpendicular to two with equally many voxels at equal spacing."""
    for axis in range(3):
        u, v = (other for other in range(3) if other != axis)
        tolerance = _TOLERANCE * spacing[u]
        square = shape[u] == shape[v] and abs(spacing[u] - spacing[v]) <= tolerance
        if square and abs(spacing[axis] - spacing[u]) > tolerance:
            return axis
    return None
