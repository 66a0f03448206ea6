"""Tests of ``nifti``."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import SourceError
from skiptool.sources.volumes.nifti import (
    MAX_DEFLATE_RATIO,
    check_end,
    check_room,
    open_volume,
    read_frames,
    to_labels,
    volume_stem,
)
from skiptool.sources.volumes.orientation import spacings
from volume_cases import affine, cine, heart, image_of, save


def test_cine_is_read_frame_by_frame(tmp_path: Path) -> None:
    image, _ = cine(tmp_path, "a")
    volume = open_volume(image)
    assert (volume.shape, volume.frames, volume.placed) == ((40, 40, 3, 5), 5, True)
    assert volume.note == ""
    assert volume.affine == pytest.approx(affine(), abs=1e-5)
    whole = np.asanyarray(nibabel.load(image).dataobj)
    for number, found in zip((1, 4), read_frames(volume, (1, 4)), strict=True):
        assert (found == whole[..., number]).all()


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 3, 1), (5, 4, 3, 2, 1)])
def test_missing_and_singleton_axes_are_accepted(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    volume = open_volume(save(tmp_path / "a.nii.gz", values))
    assert volume.shape == (*shape, 1, 1)[:4]
    frames = list(read_frames(volume, range(volume.frames)))
    assert (np.stack(frames, axis=-1).ravel() == values.ravel()).all()


def test_values_are_scaled_as_the_file_says(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), dtype=np.int16), affine())
    image.header.set_slope_inter(0.5, 10.0)
    image.set_data_dtype(np.int16)
    path = tmp_path / "a.nii"
    nibabel.Nifti1Image(np.full((3, 3, 3), 12.5), affine(), image.header).to_filename(path)
    (found,) = read_frames(open_volume(path), (0,))
    assert found == pytest.approx(12.5)


def test_real_cine_of_nibabel() -> None:
    path = Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"
    if not path.is_file():
        pytest.skip("nibabel was installed without its test data")
    volume = open_volume(path)
    assert volume.shape == (128, 96, 24, 2)
    whole = nibabel.load(path).get_fdata()
    for frame, found in enumerate(read_frames(volume, (0, 1))):
        assert (found == whole[..., frame]).all()


def header(path: Path, sform: object, qform: object, unit: str = "mm") -> Path:
    image = nibabel.Nifti1Image(image_of(heart()), affine())
    matrix, code = sform
    image.set_sform(matrix, code)
    matrix, code = qform
    image.set_qform(matrix, code)
    image.header.set_xyzt_units(unit)
    image.to_filename(path)
    return path


def test_qform_that_disagrees_is_noted_and_the_sform_used(tmp_path: Path) -> None:
    moved = affine()
    moved[0, 3] += 25.0
    volume = open_volume(header(tmp_path / "a.nii.gz", (affine(), 1), (moved, 1)))
    assert volume.note == "sform and qform disagree by 25 mm; the sform is used"
    assert volume.affine == pytest.approx(affine(), abs=1e-4)


def test_negligible_qform_is_not_noted(tmp_path: Path) -> None:
    moved = affine()
    moved[0, 3] += 25.0
    assert open_volume(header(tmp_path / "a.nii.gz", (affine(), 1), (moved, 0))).note == ""
    near = affine()
    near[0, 3] += 0.7
    assert open_volume(header(tmp_path / "b.nii.gz", (affine(), 1), (near, 1))).note == ""


def test_qform_is_used_without_sform(tmp_path: Path) -> None:
    volume = open_volume(header(tmp_path / "a.nii.gz", (None, 0), (affine(), 1)))
    assert (volume.placed, volume.note) == (True, "")
    assert volume.affine == pytest.approx(affine(), abs=1e-3)


def test_singular_sform_is_replaced_by_the_qform(tmp_path: Path) -> None:
    """Some programs set its code and leave it empty."""
    path = header(tmp_path / "a.nii", (affine(), 1), (affine(), 1))
    whole = path.read_bytes()
    path.write_bytes(whole[:280] + bytes(48) + whole[328:])  # srow_x, srow_y, srow_z
    volume = open_volume(path)
    assert volume.note == "its sform is singular; the qform is used"
    assert volume.affine == pytest.approx(affine(), abs=1e-5)


def test_sheared_axes_are_noted(tmp_path: Path) -> None:
    sheared = affine()
    sheared[:3, 1] += sheared[:3, 0] * np.tan(np.deg2rad(20.0))
    assert open_volume(save(tmp_path / "a.nii.gz", heart(), sheared)).note == (
        "its axes are 20 degrees off right angles (sheared); slices are used as they are stored"
    )


def test_headers_without_orientation_are_noted(tmp_path: Path) -> None:
    bare = open_volume(header(tmp_path / "a.nii.gz", (None, 0), (None, 0)))
    assert not bare.placed
    assert "sform and qform codes are 0" in bare.note
    lost = open_volume(save(tmp_path / "b.nii.gz", heart(), np.eye(4)))
    assert not lost.placed
    assert "its affine is the identity" in lost.note


@pytest.mark.parametrize("step", [999.0, 0.0, 1e-7])
@pytest.mark.parametrize("axis", range(3))
def test_single_slice_needs_no_spacing(tmp_path: Path, step: float, axis: int) -> None:
    matrix = affine()
    matrix[:3, axis] *= step / spacings(matrix)[axis]
    shape = [5, 4, 3]
    shape[axis] = 1
    image = nibabel.Nifti1Image(np.zeros(shape, dtype=np.int16), None)
    image.set_sform(matrix, 1)
    image.to_filename(tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert f"the spacing of its single slice is {step:g} mm; 1 mm is assumed" in volume.note
    expected = [1.0 if each == axis else affine_ for each, affine_ in enumerate((1.5, 1.5, 8.0))]
    assert spacings(volume.affine) == pytest.approx(expected, rel=1e-5)
    unit = volume.affine[:3, :3] / spacings(volume.affine)
    whole = affine()[:3, :3] / spacings(affine())
    assert abs(np.diag(unit.T @ whole)) == pytest.approx(np.ones(3), abs=1e-5)


def test_slice_axis_of_the_header_is_read(tmp_path: Path) -> None:
    for axis in (None, 0, 1, 2):
        image = nibabel.Nifti1Image(heart(), affine())
        image.header.set_dim_info(slice=axis)
        image.to_filename(tmp_path / "a.nii")
        assert open_volume(tmp_path / "a.nii").slices == axis


def test_other_units_are_converted_to_millimetres(tmp_path: Path) -> None:
    volume = open_volume(header(tmp_path / "a.nii.gz", (affine(), 1), (None, 0), "micron"))
    assert volume.affine[:3] == pytest.approx(affine()[:3] / 1000, abs=1e-6)


def missing(path: Path) -> None:
    assert not path.exists()


def text(path: Path) -> None:
    path.write_text("not a volume\n" * 100)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def cut_header(path: Path) -> None:
    save(path, image_of(heart()))
    path.write_bytes(path.read_bytes()[:40])


def other_format(path: Path) -> None:
    whole = nibabel.MGHImage(np.zeros((3, 3, 3), dtype=np.float32), affine())
    whole.to_filename(path.with_suffix(".mgz"))
    path.with_suffix(".mgz").rename(path)


def six_axes(path: Path) -> None:
    save(path, np.zeros((3, 3, 3, 2, 2), dtype=np.int16))


def patched(path: Path, offset: int, form: str, *values: float) -> None:
    """Write a volume whose header says something else in one place."""
    whole = path.with_suffix(".nii")
    save(whole, image_of(heart()))
    content = bytearray(whole.read_bytes())
    struct.pack_into(form, content, offset, *values)
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "wb") as file:
        file.write(content)


def unknown_unit(path: Path) -> None:
    patched(path, 123, "B", 7)


def metres(path: Path) -> None:
    patched(path, 123, "B", 1)


def no_number(path: Path) -> None:
    patched(path, 280, "f", math.nan)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, "no such file"),
        (text, "not a readable NIfTI"),
        (nothing, "not a readable NIfTI"),
        (cut_header, "not a readable NIfTI"),
        (unknown_unit, "unit of length unknown to NIfTI .xyzt_units 7"),
        (metres, r"voxels of \S+ x \S+ x \S+ mm, expected 0.001 to 100"),
        (no_number, "voxels of nan x"),
        (six_axes, r"has shape \(3, 3, 3, 2, 2\)"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_unsupported_shapes_are_refused(
    tmp_path: Path, make: Callable[[Path], None], words: str, name: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(SourceError, match=f"{name}: .*{words}"):
        open_volume(tmp_path / name)


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mgz"
    nibabel.MGHImage(np.zeros((3, 3, 3), dtype=np.float32), affine()).to_filename(path)
    with pytest.raises(SourceError, match=r"a\.mgz: is MGHImage, expected NIfTI"):
        open_volume(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_truncated_file_is_refused_on_reading(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, image_of(heart()))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(SourceError, match=f"{name}: the file is truncated or damaged"):
        list(read_frames(open_volume(path), (0,)))


def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    image, _ = cine(tmp_path, "a", frames=20)
    whole = bytearray(image.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 64] = bytes(64)
    image.write_bytes(whole)
    with pytest.raises(SourceError, match=r"a_sa\.nii\.gz: the file is truncated or damaged"):
        list(read_frames(open_volume(image), range(20)))


def test_colours_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    volume = open_volume(save(tmp_path / "a.nii.gz", colours))
    with pytest.raises(SourceError, match=r"a\.nii\.gz: voxels of type"):
        list(read_frames(volume, (0,)))


def test_oversized_volumes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.nii", image_of(heart()))
    volume = open_volume(tmp_path / "a.nii")

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("nibabel.arrayproxy.ArrayProxy.__getitem__", full)
    with pytest.raises(SourceError, match=r"a.nii: its header declares \d+ x \d+ x \d+ voxels"):
        next(read_frames(volume, [0]))


def test_stem_drops_the_nifti_suffix() -> None:
    names = ["a_sa.nii.gz", "a_sa.nii", "A.NII.GZ", "b"]
    assert [volume_stem(Path("x") / name) for name in names] == ["a_sa", "a_sa", "A", "b"]


def test_declared_voxels_must_fit_the_file(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.nii", tmp_path / "a.nii.gz"
    plain.write_bytes(bytes(1000))
    packed.write_bytes(gzip.compress(bytes(10**7), 9))
    check_room(plain, (10, 10, 5), 2)
    check_room(packed, (10, 10, 10, 10_000), 1, MAX_DEFLATE_RATIO)  # as good as gzip gets
    with pytest.raises(EOFError, match="declares 1,002 bytes"):
        check_room(plain, (501,), 2)
    with pytest.raises(EOFError, match="declares 1,000,000,000,000,000,000 bytes"):
        check_room(packed, (10**6,) * 3, 1, MAX_DEFLATE_RATIO)


def test_endless_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skiptool.sources.volumes.nifti.MAX_TRAILING_MB", 3)
    check_end(io.BytesIO(bytes(2 << 20)))
    with pytest.raises(EOFError, match="without end"):
        check_end(io.BytesIO(bytes(4 << 20)))


@given(st.lists(st.integers(0, 65535), min_size=1), st.sampled_from(["f4", "f8", "u2", "i4", "i8"]))
def test_integers_of_any_type_are_labels(numbers: list[int], dtype: str) -> None:
    found = to_labels(np.array(numbers, dtype=dtype), "m")
    assert found.dtype == np.uint16
    assert found.tolist() == numbers


def test_rounding_errors_of_slopes_are_removed() -> None:
    assert to_labels(np.array([0.0, 0.9999, 2.0001]), "m").tolist() == [0, 1, 2]
    assert to_labels(np.array([True, False]), "m").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.0, 1.5, 2.5], r"m\.nii: mask contains 1\.5 \(2 voxels are not integers\)"),
        ([0.0, np.nan], r"mask contains nan \(1 voxels"),
        ([0.0, np.inf], r"mask contains inf"),
        ([0.0, -1.0], r"mask contains -1; expected labels from 0 to 65535"),
        ([0.0, 70000.0], r"mask contains 70000"),
        ([1j], r"has type complex128"),
    ],
)
def test_other_values_are_refused(values: list[float], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        to_labels(np.array(values), "m.nii")


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    **{"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress},
    "plain": bytes,
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a", "a.NII.GZ", "a.nii.bz2", "a.gz"])
@pytest.mark.parametrize("version", [1, 2])
def test_volume_is_read_under_any_name(
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
def test_truncated_file_is_refused_in_any_compression(
    tmp_path: Path, packer: str, part: float
) -> None:
    whole = save(tmp_path / "whole.nii", image_of(heart())).read_bytes()
    packed = PACKERS[packer](whole)
    path = tmp_path / "a.nii"
    path.write_bytes(packed[: int(len(packed) * part)])
    with pytest.raises(SourceError, match=r"a\.nii: (not a readable NIfTI|the file is truncated)"):
        list(read_frames(open_volume(path), (0,)))


def test_doubly_compressed_file_is_refused(tmp_path: Path) -> None:
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
    "page": (
        lambda path: path.write_bytes(b"<!DOCTYPE html><title>404</title>"),
        "HTML page, perhaps",
    ),
    "NRRD in gzip": (lambda path: path.write_bytes(gzip.compress(b"NRRD0004\n")), "is NRRD: conv"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_other_formats_are_named(tmp_path: Path, kind: str, name: str) -> None:
    make, words = OTHERS[kind]
    make(tmp_path / name)
    with pytest.raises(SourceError, match=f"{name}: .*{words}"):
        open_volume(tmp_path / name)
