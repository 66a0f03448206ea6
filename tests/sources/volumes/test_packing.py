from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skiptool.errors import SourceError
from skiptool.sources.volumes.nifti import open_volume, read_frames
from volume_cases import affine, heart, image_of, save

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    **{"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress},
    "plain": bytes,
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a", "a.NII.GZ", "a.nii.bz2", "a.gz"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_volume_is_read_whatever_its_name(
    tmp_path: Path, packer: str, name: str, version: int
) -> None:
    values = image_of(heart())
    plain = save(tmp_path / "whole.nii", values, version=version).read_bytes()
    path = tmp_path / name
    path.write_bytes(PACKERS[packer](plain))
    volume = open_volume(path)
    assert volume.shape == (*values.shape, 1)
    assert volume.affine == pytest.approx(affine(), abs=1e-5)
    (found,) = read_frames(volume, (0,))
    assert (found == values).all()


@pytest.mark.parametrize("packer", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("part", [0.02, 0.6])
def test_what_is_cut_off_is_refused_however_packed(
    tmp_path: Path, packer: str, part: float
) -> None:
    whole = save(tmp_path / "whole.nii", image_of(heart())).read_bytes()
    packed = PACKERS[packer](whole)
    path = tmp_path / "a.nii"
    path.write_bytes(packed[: int(len(packed) * part)])
    with pytest.raises(SourceError, match=r"a\.nii: (no NIfTI that can|the file ends early)"):
        list(read_frames(open_volume(path), (0,)))


def test_compressed_twice_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    plain = save(tmp_path / "whole.nii", heart()).read_bytes()
    path.write_bytes(gzip.compress(gzip.compress(plain)))
    with pytest.raises(SourceError, match=r"a\.nii\.gz: is compressed twice \(gzip of gzip\)"):
        open_volume(path)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.nii", b"x" * 400)


def numpy_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, heart())


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "zip": (zipped, "is a zip archive: unpack it first"),
    "NumPy": (numpy_array, "is a NumPy array: save it as NIfTI"),
    "DICOM": (lambda path: path.write_bytes(bytes(128) + b"DICM" + bytes(400)), "is DICOM: conv"),
    "NRRD": (lambda path: path.write_bytes(b"NRRD0004\n# Complete"), "is NRRD: convert it"),
    "zstd": (lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(40)), "by zstd: unpack"),
    "LFS": (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "lfs"),
    "page": (lambda path: path.write_bytes(b"<!DOCTYPE html><title>404</title>"), "HTML, perhaps"),
    "NRRD in gzip": (lambda path: path.write_bytes(gzip.compress(b"NRRD0004\n")), "is NRRD: conv"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_other_formats_are_named(tmp_path: Path, kind: str, name: str) -> None:
    make, words = OTHERS[kind]
    make(tmp_path / name)
    with pytest.raises(SourceError, match=f"{name}: .*{words}"):
        open_volume(tmp_path / name)
