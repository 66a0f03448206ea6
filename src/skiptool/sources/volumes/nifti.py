"""NIfTI files through nibabel: headers, frames, and masks with integer labels.

A volume has four axes (X, Y, Z, T); one of three axes is a volume of one frame. nibabel prefers the
sform over the qform, and so does this module; a disagreement between them, or a header without
orientation (both codes 0), is noted. Files are recognised by content: a compressed one may have any
name.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from skiptool.errors import SourceError
from skiptool.sources.volumes.orientation import (
    Turn,
    displacement,
    find_turn,
    skewness,
    spacings,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skiptool.records import AnyArray, Float64

MAX_DEFLATE_RATIO = 1032
"""Largest compression ratio of gzip; bzip2 and xz have no limit."""

MAX_TRAILING_MB = 4096
"""Largest number of MB after the last frame: a small file can unpack to any size."""


def check_end(stream: IO[bytes]) -> None:
    """Read a compressed file to its end, where its checksum is; EOFError if there is no end."""
    for _ in range(MAX_TRAILING_MB):
        if not stream.read(1 << 20):
            return
    raise EOFError("it continues without end after the last frame")


def check_room(file: Path, shape: Sequence[int], itemsize: int, ratio: int = 1) -> None:
    """Compare the voxels declared by a header with the size of the file, before allocating memory.

    Parameters
    ----------
    file : Path
    shape : sequence of int
    itemsize : int
        Bytes per voxel.
    ratio : int
        Largest compression ratio.

    Examples
    --------
    >>> check_room(Path(__file__), (10_000, 10_000, 10_000), 2)
    Traceback (most recent call last):
    EOFError: its header declares 2,000,000,000,000 bytes of voxels
    """
    needed = math.prod(map(int, shape)) * itemsize
    if needed > file.stat().st_size * ratio:
        raise EOFError(f"its header declares {needed:,} bytes of voxels")


# File formats, recognised by their first bytes.

GZIP: Final = "gzip"

_COMPRESSIONS: Final[Mapping[bytes, str]] = {
    b"\x1f\x8b": GZIP,
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_OPENERS: Final[Mapping[str, Callable[..., Any]]] = {
    GZIP: gzip.open,
    "bzip2": bz2.open,
    "xz": lzma.open,
    "": open,
}

_OTHER_FORMATS: Final[Mapping[bytes, str]] = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first (zstd -d)",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"NRRD": "NRRD: convert it to NIfTI first",
    b"ObjectType": "MetaImage: convert it to NIfTI first",
    b"\x89HDF": "HDF5 (MINC?): convert it to NIfTI first",
    b"CDF\x01": "NetCDF (MINC?): convert it to NIfTI first",
    b"\x93NUMPY": "a NumPy array: save it as NIfTI, with its spacing",
    b"\x89PNG": "a PNG picture: use 'skiptool extract images'",
    b"\xff\xd8\xff": "a JPEG picture: use 'skiptool extract images'",
    b"II*\x00": "a TIFF picture: use 'skiptool extract images'",
    b"MM\x00*": "a TIFF picture: use 'skiptool extract images'",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself (git lfs pull)",
    b"/annex/": "a git-annex pointer: fetch the file itself (git annex get)",
    b"<!DOCTYPE": "an HTML page, perhaps from a failed download: fetch it again",
    b"<html": "an HTML page, perhaps from a failed download: fetch it again",
}
"""First bytes of other formats, and their remedies."""

_HEADER_BYTES: Final = 348
"""Size of a NIfTI-1 header, with its magic at the end."""


def detect_compression(path: Path) -> str:
    """Return the compression of a file: gzip, bzip2, xz, or empty.

    An unsupported compression or format is refused by name.
    """
    compression = _compression(_read_start(path, ""), path)
    if compression:
        inner = _compression(_read_start(path, compression), path)
        if inner:
            raise SourceError(
                f"{path}: is compressed twice ({compression} of {inner}); unpack it once"
            )
    return compression


def open_decompressed(path: Path, compression: str) -> Any:  # noqa: ANN401 - each has its own type
    """Open a file for reading, decompressed."""
    return _OPENERS[compression](path, "rb")


def nifti_version(path: Path, compression: str) -> int | None:
    """Return 1 or 2 for a single-file NIfTI, None for anything else."""
    start = _read_start(path, compression)
    if start[344:347] == b"n+1":
        return 1
    return 2 if start[4:7] == b"n+2" else None


def _read_start(path: Path, compression: str) -> bytes:
    with open_decompressed(path, compression) as stream:
        start: bytes = stream.read(_HEADER_BYTES)
    return start


def _compression(start: bytes, path: Path) -> str:
    if start[128:132] == b"DICM":
        raise SourceError(f"{path}: is DICOM: convert its series to NIfTI first (dcm2niix)")
    for magic, description in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise SourceError(f"{path}: is {description}")
    return next((name for magic, name in _COMPRESSIONS.items() if start.startswith(magic)), "")


_SUFFIXES: Final = (".nii.gz", ".nii.bz2", ".nii.xz", ".nii", ".hdr", ".img")
_PAIR_SUFFIXES: Final = (".hdr", ".img", ".hdr.gz", ".img.gz")

_IMAGE_CLASSES: Final = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}

PLAUSIBLE_SPACING: Final = (1e-3, 100.0)
"""Range of plausible voxel spacings in millimetres."""

_MAX_SKEW: Final = 1.0
"""Deviation of the axes from right angles in degrees that header rounding explains."""

_MILLIMETRES: Final = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}

_BROKEN: Final = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ImageFileError,
    HeaderDataError,
)
"""Exceptions of nibabel and the readers below it for truncated or damaged files."""


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """The header of a NIfTI file.

    Attributes
    ----------
    shape : tuple of int
        X, Y, Z, T.
    affine : float64 (4, 4)
        From voxels to RAS+ millimetres.
    placed : bool
        Whether the header has an orientation other than none or the identity.
    note : str
        Peculiarities of the header to report; empty if there are none.
    slices : int or None
        Axis across slices, from 0, if the header names it.
    turn : Turn or None
        Rotation from the voxels of the file to those of this volume, if any.
    """

    path: Path
    shape: tuple[int, int, int, int]
    affine: Float64
    placed: bool
    note: str
    slices: int | None = None
    turn: Turn | None = None

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return self.shape[3]

    def turned_onto(self, other: Volume) -> Volume:
        """Return the volume rotated to align its axes with those of another, if possible."""
        turn = find_turn(self.affine, other.affine)
        if turn is None or self.turn is not None:
            return self
        x, y, z = (self.shape[axis] for axis in turn.axes)
        affine = turn.affine(self.affine, self.shape)
        return replace(self, shape=(x, y, z, self.frames), affine=affine, turn=turn)


def open_volume(path: Path) -> Volume:
    """Read the header of a file.

    Parameters
    ----------
    path : Path
        NIfTI-1 or NIfTI-2, single file or pair, compressed or not, with any name.
    """
    with _open_image(path) as (image, compression):
        try:
            shape = _four_axes(tuple(image.shape), path)
            _check_voxels(image, path, shape, compression)
            affine, placed, note = _orientation(image, shape, path)
        except _BROKEN as error:
            raise _damaged(path, error) from error
        return Volume(path, shape, affine, placed, note, image.header.get_dim_info()[2])


def read_frames(volume: Volume, frames: Sequence[int]) -> Iterator[AnyArray]:
    """Yield frames one by one, so that only one is in memory.

    Parameters
    ----------
    volume : Volume
    frames : sequence of int
        Ascending, so that a compressed file is read once.

    Yields
    ------
    array (X, Y, Z)
        Values scaled by the file's slope and intercept, if any.
    """
    with _open_image(volume.path, whole=True) as (image, _):
        if image.get_data_dtype().kind not in "iuf":
            raise SourceError(
                f"{volume.path}: voxels of type {image.get_data_dtype()}; expected real numbers "
                "(no colours, no complex numbers)"
            )
        axes = len(image.shape)
        for frame in frames:
            index: tuple[slice | int, ...] = (slice(None),) * min(3, axes)
            if axes > 3:
                index += (frame, *[0] * (axes - 4))
            try:
                voxels = np.asanyarray(image.dataobj[index])
            except _BROKEN as error:
                raise _damaged(volume.path, error) from error
            except MemoryError as error:
                sizes = " x ".join(map(str, volume.shape[:3]))
                raise SourceError(
                    f"{volume.path}: its header declares {sizes} voxels per frame, more than fit "
                    "into memory; if that is wrong, copy the file again from its source"
                ) from error
            voxels = voxels.reshape((*image.shape, 1, 1)[:3])
            yield voxels if volume.turn is None else volume.turn.apply(voxels)


def volume_stem(path: Path) -> str:
    """Return a file's name without ``.nii.gz`` or ``.nii``.

    Examples
    --------
    >>> volume_stem(Path("a/A0S9V9_sa.nii.gz"))
    'A0S9V9_sa'
    """
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


@contextmanager
def _open_image(path: Path, *, whole: bool = False) -> Iterator[tuple[Any, str]]:
    """Open a file so that its frames are read in one pass; then verify a compressed file.

    nibabel relies on file names, reopens a compressed file for each frame, and never reads the
    checksum at its end, without which damaged bytes pass for grey values.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file; check the path")
    try:
        compression = detect_compression(path)
        is_pair = path.name.lower().endswith(_PAIR_SUFFIXES)
        version = None if is_pair else nifti_version(path, compression)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    if version is None or (not compression and path.suffix.lower() == ".nii"):
        yield _load(path), compression
        return
    with open_decompressed(path, compression) as stream:
        try:
            image = _IMAGE_CLASSES[version].from_stream(stream)
        except _BROKEN as error:
            raise _unreadable(path, error) from error
        yield image, compression
        if whole and compression:
            try:
                check_end(stream)
            except _BROKEN as error:
                raise _damaged(path, error) from error


def _load(path: Path) -> Any:  # noqa: ANN401 - nibabel's images have a type for each version
    try:
        image = nibabel.load(path)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    if not isinstance(image, nibabel.Nifti1Pair):
        raise SourceError(
            f"{path}: is {type(image).__name__}, expected NIfTI (.nii, .nii.gz); convert it first"
        )
    return image


def _check_voxels(image: Any, path: Path, shape: Sequence[int], compression: str) -> None:  # noqa: ANN401
    voxels = Path(image.file_map["image"].filename or path)
    if voxels != path:  # a pair, which nibabel reads by name
        compression = GZIP if voxels.suffix.lower() == ".gz" else ""
    if compression in ("", GZIP):
        ratio = MAX_DEFLATE_RATIO if compression else 1
        check_room(voxels, shape, image.get_data_dtype().itemsize, ratio)


def _four_axes(shape: tuple[int, ...], path: Path) -> tuple[int, int, int, int]:
    if len(shape) < 2 or any(n != 1 for n in shape[4:]) or min(shape) < 1:
        raise SourceError(
            f"{path}: has shape {shape}, expected (x, y, z) or (x, y, z, t) without empty axes; "
            "split it into such volumes"
        )
    x, y, z, t = (*shape, 1, 1)[:4]
    return x, y, z, t


def _orientation(image: Any, shape: tuple[int, ...], path: Path) -> tuple[Float64, bool, str]:  # noqa: ANN401
    """Return the affine in millimetres, whether it is meaningful, and notes."""
    header = image.header
    try:
        millimetres = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    except KeyError:
        raise SourceError(
            f"{path}: has a unit of length unknown to NIfTI (xyzt_units "
            f"{header['xyzt_units']}); correct its header"
        ) from None
    scale = np.diag([millimetres, millimetres, millimetres, 1.0])
    affine: Float64 = scale @ np.asarray(image.affine, dtype=np.float64)
    has_both_forms = int(header["sform_code"]) > 0 and int(header["qform_code"]) > 0
    singular = has_both_forms and np.linalg.matrix_rank(affine[:3, :3]) < 3
    if singular:
        affine = scale @ np.asarray(header.get_qform(), dtype=np.float64)
    affine, spacing_note = _with_slice_spacing(affine, shape)
    if singular:
        placed, note = True, "its sform is singular; the qform is used"
    else:
        placed, note = _check_forms(header, scale, affine, shape)
    low, high = PLAUSIBLE_SPACING
    if not all(low <= step <= high for step in spacings(affine)):  # false for NaN
        steps = " x ".join(f"{step:g}" for step in spacings(affine))
        raise SourceError(
            f"{path}: voxels of {steps} mm, expected {low:g} to {high:g}; correct the size or the "
            "unit in its header"
        )
    notes = [note, spacing_note]
    skew = skewness(affine)
    if skew > _MAX_SKEW:
        notes.append(
            f"its axes are {skew:.0f} degrees off right angles (sheared); slices are used as "
            "they are stored"
        )
    return affine, placed, "; ".join(filter(None, notes))


def _check_forms(
    header: Any,  # noqa: ANN401
    scale: Float64,
    affine: Float64,
    shape: tuple[int, ...],
) -> tuple[bool, str]:
    """Return whether a header has an orientation, and a note on its peculiarities."""
    codes = int(header["sform_code"]), int(header["qform_code"])
    if not any(codes):
        return False, "has no orientation (sform and qform codes are 0)"
    if (affine == np.eye(4)).all():
        return False, "has no orientation (its affine is the identity)"
    if all(codes):
        apart = displacement(scale @ header.get_sform(), scale @ header.get_qform(), shape)
        if apart > min(spacings(affine)) / 2:
            return True, f"sform and qform disagree by {apart:.3g} mm; the sform is used"
    return True, ""


def _with_slice_spacing(affine: Float64, shape: tuple[int, ...]) -> tuple[Float64, str]:
    """Set the spacing of a single slice to 1 mm if that in the header is implausible.

    The header has 0 in files of two axes, and 999 mm in those that nnU-Net converts from pictures.
    """
    low, high = PLAUSIBLE_SPACING
    steps = spacings(affine)
    implausible = [axis for axis in range(3) if not low <= steps[axis] <= high]
    if len(implausible) != 1 or shape[implausible[0]] != 1:
        return affine, ""
    (axis,) = implausible
    first, second = (affine[:3, other] for other in range(3) if other != axis)
    normal = np.cross(first, second) * (-1 if axis == 1 else 1)
    corrected = affine.copy()
    corrected[:3, axis] = normal / max(float(np.sqrt((normal**2).sum())), low**2)
    return corrected, f"the spacing of its single slice is {steps[axis]:g} mm; 1 mm is assumed"


def _unreadable(path: Path, error: BaseException) -> SourceError:
    return SourceError(
        f"{path}: not a readable NIfTI ({_one_line(error)}); expected a complete .nii or .nii.gz "
        "file"
    )


def _damaged(path: Path, error: BaseException) -> SourceError:
    return SourceError(
        f"{path}: the file is truncated or damaged ({_one_line(error)}); copy it again from "
        "its source"
    )


def _one_line(error: BaseException) -> str:
    """Return a library's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


# Masks.

_INTEGER_TOLERANCE: Final = 1e-3
"""Rounding by header slopes stays within this distance of integers, interpolation does not."""

_MAX_LABEL: Final = 65535


def to_labels(values: AnyArray, where: str) -> NDArray[np.uint16]:
    """Convert the values of a mask, often stored as floats, to integer labels.

    Parameters
    ----------
    values : numbers, any shape
    where : str
        File and frame, for the message.

    Returns
    -------
    uint16, same shape
    """
    if values.dtype.kind not in "biuf":
        raise SourceError(
            f"{where}: mask has type {values.dtype}; expected integers, one label per voxel"
        )
    if values.dtype.kind == "f":
        values = _round(values, where)
    lowest, highest = values.min(), values.max()
    if lowest < 0 or highest > _MAX_LABEL:
        invalid = lowest if lowest < 0 else highest
        raise SourceError(
            f"{where}: mask contains {invalid:g}; expected labels from 0 to {_MAX_LABEL}"
        )
    return values.astype(np.uint16)


def _round(values: AnyArray, where: str) -> AnyArray:
    with np.errstate(invalid="ignore"):  # infinity less infinity
        rounded = np.rint(values)
        # negated so that NaN is invalid too
        fractional = ~(np.abs(values - rounded) <= _INTEGER_TOLERANCE)
    if fractional.any():
        first = values[fractional].flat[0]
        raise SourceError(
            f"{where}: mask contains {first:g} ({int(fractional.sum())} voxels are not integers); "
            "it was interpolated or is not a label mask: resample it with nearest neighbour"
        )
    return rounded
