"""How a file is packed, and what it is: told by its first bytes, whatever its name says."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from skiptool.errors import SourceError

__all__ = ["GZIP", "nifti_version", "opened", "packer_of"]

GZIP: Final = "gzip"

_PACKED: Final[Mapping[bytes, str]] = {
    b"\x1f\x8b": GZIP,
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_OPENERS: Final[Mapping[str, Callable[..., Any]]] = {
    **{GZIP: gzip.open, "bzip2": bz2.open, "xz": lzma.open},
    "": open,
}

_OTHERS: Final[Mapping[bytes, str]] = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first (zstd -d)",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"NRRD": "NRRD: convert it to NIfTI first",
    b"ObjectType": "MetaImage: convert it to NIfTI first",
    b"\x89HDF": "HDF5 (MINC?): convert it to NIfTI first",
    b"CDF\x01": "NetCDF (MINC?): convert it to NIfTI first",
    b"\x93NUMPY": "a NumPy array: save it as NIfTI, with its spacing",
    b"\x89PNG": "a PNG picture, which 'skiptool extract images' takes",
    b"\xff\xd8\xff": "a JPEG picture, which 'skiptool extract images' takes",
    b"II*\x00": "a TIFF picture, which 'skiptool extract images' takes",
    b"MM\x00*": "a TIFF picture, which 'skiptool extract images' takes",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself (git lfs pull)",
    b"/annex/": "a pointer of git-annex: fetch the file itself (git annex get)",
    b"<!DOCTYPE": "a page of HTML, perhaps of a failed download: fetch it again",
    b"<html": "a page of HTML, perhaps of a failed download: fetch it again",
}
"""What files begin with that are no NIfTI, and what to do with them."""

_DICOM: Final = (128, b"DICM")
_HEADER: Final = 348
"""Bytes of the header of NIfTI-1, with its magic word at the end."""


def packer_of(path: Path) -> str:
    """Return how a file is compressed: gzip, bzip2, xz, or nothing where it is not.

    Raises
    ------
    SourceError
        If it is compressed twice, or in a way or of a format that is not read here; says which.
    OSError, EOFError, zlib.error, lzma.LZMAError
        If it cannot be read.
    """
    packer = _packer(_start(path, ""), path)
    if packer:
        again = _packer(_start(path, packer), path)
        if again:
            raise SourceError(f"{path}: is compressed twice ({packer} of {again}); unpack it once")
    return packer


def opened(path: Path, packer: str) -> Any:  # noqa: ANN401 - each packer has a type of its own
    """Open a file to read what it holds, unpacked."""
    return _OPENERS[packer](path, "rb")


def nifti_version(path: Path, packer: str) -> int | None:
    """Return 1 or 2 for a NIfTI of a single file, None for whatever else it may be.

    Raises
    ------
    OSError, EOFError, zlib.error, lzma.LZMAError
        If it cannot be read.
    """
    start = _start(path, packer)
    if start[344:347] == b"n+1":
        return 1
    return 2 if start[4:7] == b"n+2" else None


def _start(path: Path, packer: str) -> bytes:
    with opened(path, packer) as stream:
        found: bytes = stream.read(_HEADER)
    return found


def _packer(start: bytes, path: Path) -> str:
    _refuse(path, start)
    return next((name for magic, name in _PACKED.items() if start.startswith(magic)), "")


def _refuse(path: Path, start: bytes) -> None:
    place, dicom = _DICOM
    if start[place : place + len(dicom)] == dicom:
        raise SourceError(f"{path}: is DICOM: convert its series to NIfTI first (dcm2niix)")
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise SourceError(f"{path}: is {what}")
