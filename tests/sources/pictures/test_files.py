"""Pictures and masks: what is written is read again, what is broken is refused in one line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as npst
from PIL import Image, ImageOps

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures.files import (
    decode_picture,
    read_mask,
    read_picture,
    write_grey,
    write_labels,
    write_mask,
    write_picture,
)

SIDES = npst.array_shapes(min_dims=2, max_dims=2, max_side=9)
IN_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """Assemble a PNG by hand, so that bit depths that Pillow does not write can be read."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@given(image=npst.arrays(np.uint8, SIDES.map(lambda s: (*s, 3))))
@IN_FOLDER
def test_picture_round_trips(tmp_path: Path, suffix: str, image: np.ndarray) -> None:
    write_picture(tmp_path / f"a{suffix}", image)
    assert np.array_equal(read_picture(tmp_path / f"a{suffix}"), image)


@given(labels=npst.arrays(np.uint8, SIDES))
@IN_FOLDER
def test_mask_round_trips(tmp_path: Path, labels: np.ndarray) -> None:
    write_mask(tmp_path / "m.png", labels, [(0, 0, 0), (255, 0, 0)])
    found = read_mask(tmp_path / "m.png")
    assert found.dtype == np.uint8
    assert np.array_equal(found, labels)


def test_written_mask_displays_its_colours(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", np.array([[0, 1], [2, 255]], np.uint8), [(9, 8, 7), (1, 2, 3)])
    shown = read_picture(tmp_path / "m.png")
    assert shown.tolist() == [[[9, 8, 7], [1, 2, 3]], [[2, 2, 2], [255, 255, 255]]]


def test_jpeg_pictures_are_close_to_the_original(tmp_path: Path) -> None:
    image = np.full((32, 32, 3), (200, 120, 40), np.uint8)
    write_picture(tmp_path / "a.jpg", image)
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - image).max() <= 4


def test_grey_is_repeated_and_transparency_composited_over_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 250]], np.uint8)).save(tmp_path / "grey.png")
    assert read_picture(tmp_path / "grey.png").tolist() == [[[7] * 3, [250] * 3]]
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    assert read_picture(tmp_path / "clear.png").tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("depth", "row", "expected"),
    [(1, b"\x00\xa0", [1, 0, 1]), (2, b"\x00\x1b", [0, 1, 2]), (4, b"\x00\x1a\xf0", [1, 10, 15])],
)
def test_masks_of_few_bits_keep_their_raw_values(
    tmp_path: Path, depth: int, row: bytes, expected: list[int]
) -> None:
    (tmp_path / "m.png").write_bytes(png(3, 1, depth, 0, row))
    assert read_mask(tmp_path / "m.png").tolist() == [expected]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_masks_of_16_bits(tmp_path: Path, suffix: str) -> None:
    labels = np.array([[0, 300], [65535, 1]], np.uint16)
    Image.fromarray(labels).save(tmp_path / f"m.{suffix}")
    found = read_mask(tmp_path / f"m.{suffix}")
    assert found.dtype == np.uint16
    assert np.array_equal(found, labels)


def test_mask_in_three_equal_channels_is_read(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 2]], np.uint8)
    write_picture(tmp_path / "m.png", np.repeat(labels[..., None], 3, axis=2))
    assert np.array_equal(read_mask(tmp_path / "m.png"), labels)


def test_masks_without_labels_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    write_picture(tmp_path / "colour.png", noise)
    with pytest.raises(SourceError, match=r"colour\.png: a coloured mask"):
        read_mask(tmp_path / "colour.png")
    write_picture(tmp_path / "lossy.jpg", noise)
    with pytest.raises(SourceError, match=r"lossy\.jpg: a mask as JPEG"):
        read_mask(tmp_path / "lossy.jpg")
    Image.fromarray(np.zeros((2, 2, 4), np.uint8)).save(tmp_path / "alpha.png")
    with pytest.raises(SourceError, match="mode 'RGBA'"):
        read_mask(tmp_path / "alpha.png")
    Image.fromarray(np.array([[-3, 4]], np.int32)).save(tmp_path / "signed.tif")
    with pytest.raises(SourceError, match="values from -3 to 4"):
        read_mask(tmp_path / "signed.tif")


@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    write_picture(path, np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    whole = path.read_bytes()
    for length in (0, 5, 60, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=rf"cut\.{suffix}: ") as caught:
            read_picture(path)
        assert "\n" not in str(caught.value)


def test_files_that_are_not_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.png: no such file"):
        read_picture(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(SourceError, match=r"text\.png: not a readable picture"):
        read_picture(tmp_path / "text.png")
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SourceError, match="at most 8 bits"):
        read_picture(tmp_path / "deep.png")


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_decompression_bomb_is_refused_before_decoding(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png(side, side, 8, 2, b""))
    with pytest.raises(SourceError, match=r"bomb\.png: more pixels than the 89,478,485"):
        read_picture(tmp_path / "bomb.png")


def test_file_of_several_pages_is_refused(tmp_path: Path) -> None:
    page = Image.new("RGB", (4, 4))
    page.save(tmp_path / "two.tif", save_all=True, append_images=[page])
    with pytest.raises(SourceError, match="2 pages in one file"):
        read_picture(tmp_path / "two.tif")


@given(image=npst.arrays(np.uint16, SIDES))
@IN_FOLDER
def test_grey_images_keep_16_bits(tmp_path: Path, image: np.ndarray) -> None:
    """Read again by OpenCV."""
    grey = (image / 65535).astype(np.float32)[..., None]
    write_grey(tmp_path / "g.png", grey)
    assert np.array_equal(cv2.imread(str(tmp_path / "g.png"), cv2.IMREAD_UNCHANGED), image)
    write_grey(tmp_path / "g.tif", grey)
    assert np.array_equal(cv2.imread(str(tmp_path / "g.tif"), cv2.IMREAD_UNCHANGED), grey[..., 0])


@pytest.mark.parametrize("suffix", ["png", "tif"])
@given(labels=npst.arrays(np.uint8, SIDES))
@IN_FOLDER
def test_plain_masks_have_no_palette(tmp_path: Path, suffix: str, labels: np.ndarray) -> None:
    write_labels(tmp_path / f"m.{suffix}", labels)
    found = cv2.imread(str(tmp_path / f"m.{suffix}"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(found, labels)
    assert np.array_equal(read_mask(tmp_path / f"m.{suffix}"), labels)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_colours_are_not_silently_truncated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), np.full((4, 4, 3), 300, np.uint16))
    with pytest.raises(SourceError, match=r"deep\..*at most 8 bits"):
        read_picture(path)
    assert read_mask(path).tolist() == [[300] * 4] * 4
    cv2.imwrite(str(path), np.arange(48, dtype=np.uint16).reshape(4, 4, 3) + 300)
    with pytest.raises(SourceError, match=r"deep\..*a coloured mask"):
        read_mask(path)


def test_invalid_images_are_not_written(tmp_path: Path) -> None:
    image, labels = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)
    with pytest.raises(ArgumentError, match=r"ends in '\.bmp'"):
        write_picture(tmp_path / "a.bmp", image)
    with pytest.raises(ArgumentError, match="no such folder"):
        write_picture(tmp_path / "none" / "a.png", image)
    with pytest.raises(ArgumentError, match=r"expected uint8 \(H, W, 3\)"):
        write_picture(tmp_path / "a.png", labels)
    with pytest.raises(ArgumentError, match=r"ends in '\.tif'"):
        write_mask(tmp_path / "a.tif", labels, [])
    with pytest.raises(ArgumentError, match=r"expected uint8 \(H, W\) and at most 256"):
        write_mask(tmp_path / "a.png", labels.astype(np.int64), [])
    with pytest.raises(ArgumentError, match=r"expected float32 \(H, W, 1\)"):
        write_grey(tmp_path / "a.png", image)
    with pytest.raises(ArgumentError, match=r"expected uint8 \(H, W\)"):
        write_labels(tmp_path / "a.png", image)
    with pytest.raises(ArgumentError, match=r"ends in '\.jpg'"):
        write_labels(tmp_path / "a.jpg", labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inverted_masks_are_refused(tmp_path: Path, dtype: type[np.unsignedinteger]) -> None:
    """Pillow inverts eight bits and leaves sixteen: labels must not depend on that."""
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, np.arange(6, dtype=dtype).reshape(2, 3), photometric="miniswhite")
    with pytest.raises(SourceError, match=r"m.tif: its lowest value is white"):
        read_mask(path)


def test_masks_with_an_opaque_alpha_channel_are_read(tmp_path: Path) -> None:
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    pixels = np.dstack([labels] * 3 + [np.full_like(labels, 255)])
    Image.fromarray(pixels).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), labels)
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(SourceError, match="mode 'RGBA'"):
        read_mask(tmp_path / "m.png")


def test_jpeg_compressed_tiff_masks_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "m.tif", compression="jpeg")
    with pytest.raises(SourceError, match="blurs labels"):
        read_mask(tmp_path / "m.tif")


# The one door to the decoders; what `read_picture` refuses is tested with that.


RNG = np.random.default_rng(0)


def test_packing_of_pixels_is_returned(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (6, 5, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    picture, packing = decode_picture(tmp_path / "a.tif")
    assert (picture.size, picture.mode, packing) == ((5, 6), "RGB", "RGB;16L")


@pytest.mark.parametrize(
    ("name", "shape", "how", "words"),
    [
        ("pages", (3, 16, 16), {}, "3 pages in one file"),
        ("volume", (32, 16, 16), {"volumetric": True, "tile": (16, 16, 16)}, "volume of 32 slices"),
        ("two", (8, 9, 2), {"planarconfig": "contig"}, "2 channels that are not colours"),
        ("five", (8, 9, 5), {"planarconfig": "contig"}, "5 channels that are not colours"),
    ],
)
def test_stacks_and_extra_channels_are_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...], how: dict[str, object], words: str
) -> None:
    """Pillow shows the first slice, or channel, of some of these and says nothing."""
    path = tmp_path / f"{name}.tif"
    pixels = RNG.integers(0, 255, shape, dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack", **how)
    with pytest.raises(SourceError, match=rf"{name}\.tif: .*{words}"):
        read_picture(path)


@pytest.mark.parametrize("turned", [3, 6])
def test_rotated_tiff_is_refused(tmp_path: Path, turned: int) -> None:
    """Pillow would turn the image, and a mask beside it would not follow."""
    path = tmp_path / "a.tif"
    extratags = [(274, "H", 1, turned, True)]
    tifffile.imwrite(path, np.zeros((2, 3), np.uint8), extratags=extratags)
    with pytest.raises(SourceError, match=f"a.tif: is stored rotated .*{turned}"):
        decode_picture(path)
    tifffile.imwrite(path, np.zeros((2, 3), np.uint8), extratags=[(274, "H", 1, 1, True)])
    assert decode_picture(path)[0].size == (3, 2)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_rotated_picture_is_refused_or_rotated_on_request(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    """Against what Pillow's viewers show."""
    path = tmp_path / f"a.{suffix}"
    stored = np.zeros((48, 32, 3), np.uint8)
    stored[:8, :16] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(path, exif=exif)
    with pytest.raises(SourceError, match=rf"stored rotated .*{orientation}\); save it upright$"):
        decode_picture(path)
    with pytest.raises(SourceError, match="give --upright"):
        decode_picture(path, upright=False)
    with Image.open(path) as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    found = np.asarray(decode_picture(path, upright=True)[0])
    assert np.array_equal(found, shown)
    assert not np.array_equal(found, stored)


@pytest.mark.parametrize("nonsense", [0, 9, 300])
def test_undefined_orientations_are_upright(tmp_path: Path, nonsense: int) -> None:
    exif = Image.Exif()
    exif[274] = nonsense
    for name in ("a.jpg", "a.png", "a.tif"):
        Image.new("RGB", (4, 2)).save(tmp_path / name, exif=exif)
        assert decode_picture(tmp_path / name)[0].size == (4, 2)
