"""Pictures that Pillow would narrow: the numbers that come out are those that were saved."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from skiptool.errors import SourceError
from skiptool.sources.pictures.deep import apply_orientation, deep_picture
from skiptool.sources.pictures.files import read_mask, read_picture
from skiptool.sources.pictures.intensities import Scale, read_intensities
from skiptool.sources.pictures.labels import read_colours
from small_stores import refused

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, (20, 17)).astype(np.uint8)
NUMBERS = ["u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
HOW = [
    {},
    {"byteorder": ">"},
    {"compression": "lzw", "predictor": True},
    {"compression": "zlib"},
    {"compression": "zstd"},
    {"tile": (16, 16)},
    {"rowsperstrip": 3, "compression": "packbits"},
    {"bigtiff": True},
]


def test_thumbnail_is_not_mistaken_for_the_picture(tmp_path: Path) -> None:
    """Cameras (DNG) put the picture into a SubIFD; a pyramid there is of smaller ones."""
    whole = RNG.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    for name, first, second in (("dng", whole[::2, ::2], whole), ("ome", whole, whole[::2, ::2])):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            file.write(first, photometric="rgb", subifds=1, subfiletype=int(name == "dng"))
            file.write(second, photometric="rgb", subfiletype=int(name == "ome"))
    with refused(SourceError, "dng.tif: its only page is a thumbnail", "SubIFD"):
        read_picture(tmp_path / "dng.tif")
    assert np.array_equal(read_picture(tmp_path / "ome.tif"), whole)


def numbers(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw numbers from all that a type can hold; of floats from [0, 1]."""
    if np.dtype(dtype).kind == "f":
        return RNG.random(shape).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_grey_and_colours_of_all_types_and_layouts_are_read(
    tmp_path: Path, dtype: str, how: dict[str, object]
) -> None:
    """Colours stored pixel by pixel and channel by channel are the same colours."""
    if "predictor" in how and dtype[1] == "8":
        how = how | {"predictor": dtype == "f8"}  # there is none for integers of 64 bits
    colours = numbers(dtype, (20, 17, 3))
    tifffile.imwrite(tmp_path / "g.tif", colours[..., 0], photometric="minisblack", **how)
    tifffile.imwrite(tmp_path / "c.tif", colours, photometric="rgb", **how)
    planes = np.moveaxis(colours, -1, 0).copy()
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", planarconfig="separate", **how)
    for name, expected in (("g", colours[..., 0]), ("c", colours), ("p", colours)):
        found = deep_picture(tmp_path / f"{name}.tif")
        assert found is not None
        assert found.values.dtype == np.dtype(dtype)
        assert np.array_equal(found.values, expected)


def test_planar_16_bit_pictures_are_read_as_saved(tmp_path: Path) -> None:
    wide = numbers("u2", (30, 40, 3))
    planes = np.moveaxis(wide, -1, 0).copy()
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", planarconfig="separate")
    expected = np.rint(wide / 65535 * 255)
    assert np.array_equal(read_intensities([tmp_path / "p.tif"]), expected)


def test_signed_bytes_keep_their_sign(tmp_path: Path) -> None:
    values = np.array([[-128, -1, 0, 127]], np.int8)
    tifffile.imwrite(tmp_path / "s.tif", values)
    with pytest.raises(SourceError, match=r"int8 values from -128 to 127 .* --scale"):
        read_intensities([tmp_path / "s.tif"])
    found = read_intensities([tmp_path / "s.tif"], Scale.parse("-128:127"))
    assert found[0, :, 0].tolist() == pytest.approx([0, 127 / 255, 128 / 255, 1])
    with pytest.raises(SourceError, match="values from -128 to 127"):
        read_mask(tmp_path / "s.tif")


@pytest.mark.parametrize("dtype", ["bool", "u1", *NUMBERS])
def test_masks_of_any_type_keep_their_labels(tmp_path: Path, dtype: str) -> None:
    labels = LABELS > 1 if dtype == "bool" else LABELS
    tifffile.imwrite(tmp_path / "m.tif", labels.astype(dtype))
    assert np.array_equal(read_mask(tmp_path / "m.tif"), labels)
    three = np.repeat(labels[..., None], 3, axis=2).astype(dtype)
    tifffile.imwrite(tmp_path / "c.tif", three, photometric="rgb")
    if dtype == "bool":
        with pytest.raises(SourceError, match="pixels of type bool, 3 times 1 bits"):
            read_mask(tmp_path / "c.tif")
    else:
        assert np.array_equal(read_mask(tmp_path / "c.tif"), labels)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.5, "holds 0.5 at x 2, y 1"),
        (np.nan, "holds nan at x 2, y 1"),
        (np.inf, "holds inf"),
        (-1, "values from -1 to 3"),
        (65536, "values from 0 to 65536"),
    ],
)
def test_value_that_is_not_a_label_is_named(tmp_path: Path, value: float, words: str) -> None:
    labels = np.arange(4.0)[None].repeat(3, axis=0)
    labels[1, 2] = value
    for dtype in ("f4", "f8"):
        tifffile.imwrite(tmp_path / "m.tif", labels.astype(dtype))
        with pytest.raises(SourceError, match=rf"m\.tif: .*{words}"):
            read_mask(tmp_path / "m.tif")


def test_deep_masks_have_no_colours(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", LABELS.astype(np.int64))
    with pytest.raises(SourceError, match="has values, not colours"):
        read_colours(tmp_path / "m.tif")


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize(
    "how", [{"imagej": True}, {}, {"metadata": {"axes": "ZYX"}}], ids=["ImageJ", "shape", "axes"]
)
def test_stack_with_one_directory_is_refused(
    tmp_path: Path, dtype: str, how: dict[str, object]
) -> None:
    """Programs that write large stacks list the first plane alone; others follow without a word."""
    planes = numbers(dtype, (4, 20, 17))
    kind = {"photometric": "minisblack", "truncate": True}
    tifffile.imwrite(tmp_path / "s.tif", planes, **kind, **how)
    for read in (read_picture, read_mask, read_colours, lambda path: read_intensities([path])):
        with pytest.raises(SourceError, match=r"s\.tif: a volume of 4 slices"):
            read(tmp_path / "s.tif")


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_grey_with_opacity_stays_grey_and_keeps_its_levels(tmp_path: Path, dtype: str) -> None:
    values = numbers(dtype, (20, 17))
    full = np.iinfo(dtype).max
    both = np.dstack([values, np.full_like(values, full)])
    (tmp_path / "g.png").write_bytes(imagecodecs.png_encode(both))
    found = read_intensities([tmp_path / "g.png"])
    if dtype == "u1":
        assert np.array_equal(found, np.repeat(values[..., None], 3, axis=2))
    else:
        assert np.array_equal(found[..., 0], (values / 65535).astype(np.float32))
    (tmp_path / "m.png").write_bytes(imagecodecs.png_encode(both // 64))  # opacity is not full
    with pytest.raises(SourceError, match=r"m\.png: a mask .*with transparent pixels"):
        read_mask(tmp_path / "m.png")
    both[..., 0] = LABELS
    (tmp_path / "m.png").write_bytes(imagecodecs.png_encode(both))
    assert np.array_equal(read_mask(tmp_path / "m.png"), LABELS)


def test_deep_grey_is_composited_over_white(tmp_path: Path) -> None:
    both = np.array([[[1000, 65535], [1000, 0], [1000, 13107]]], np.uint16)
    (tmp_path / "g.png").write_bytes(imagecodecs.png_encode(both))
    tifffile.imwrite(
        tmp_path / "g.tif", both, photometric="minisblack", extrasamples=["unassalpha"]
    )
    expected = [1000, 65535, 200 + 65535 * 0.8]
    for name in ("g.png", "g.tif"):
        found = read_intensities([tmp_path / name])
        assert found.shape == (1, 3, 1)
        assert found.ravel() * 65535 == pytest.approx(expected, abs=0.5)


def test_transparent_grey_of_a_16_bit_png_becomes_white(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = b"\0" + np.array([5, 700, 6], ">u2").tobytes()
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, 16, 0, 0, 0, 0)),
        chunk(b"tRNS", struct.pack(">H", 700)),
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    (tmp_path / "g.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    found = read_intensities([tmp_path / "g.png"])
    assert np.rint(found.ravel() * 65535).tolist() == [5, 65535, 6]


@pytest.mark.parametrize("opacity", [0, 1])
@pytest.mark.parametrize("kind", ["rgba", "la", "rgba16", "la16", "tif"])
def test_invisible_pictures_are_refused(tmp_path: Path, kind: str, opacity: int) -> None:
    """Programs that do not fill the alpha channel leave it at 0, or at 1 where they count to 1."""
    dtype = np.uint16 if "16" in kind else np.uint8
    pixels = RNG.integers(0, 200, (8, 9, 2 if "la" in kind else 4)).astype(dtype)
    pixels[..., -1] = opacity
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(pixels))
    if kind == "tif":
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(SourceError, match=r"a\.\w+: no pixel is more than 0\.\d% opaque"):
        read_intensities([path])


def test_invisible_palettes_and_coloured_masks_are_refused(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "p.png", transparency=bytes([0, 0]))
    with pytest.raises(SourceError, match=r"p\.png: no pixel is more than 0\.0% opaque"):
        read_picture(tmp_path / "p.png")
    pixels = RNG.integers(0, 200, (8, 9, 4)).astype(np.uint8)
    pixels[..., 3] = 0
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(SourceError, match=r"m\.png: no pixel is more than 0\.0% opaque"):
        read_colours(tmp_path / "m.png")
    Image.new("RGBA", (3, 2)).save(tmp_path / "blank.png")  # an overlay with nothing drawn on it
    assert not read_colours(tmp_path / "blank.png").any()


@pytest.mark.parametrize("name", ["jpeg2000", "webp"])
def test_compressions_unknown_to_pillow_are_read(tmp_path: Path, name: str) -> None:
    pixels = RNG.integers(0, 256, (20, 17, 3)).astype(np.uint8)
    how = {"level": 0, "reversible": True} if name == "jpeg2000" else {"lossless": True}
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="rgb", compression=name, compressionargs=how
    )
    assert np.array_equal(read_intensities([tmp_path / "a.tif"]), pixels)
    assert np.array_equal(read_picture(tmp_path / "a.tif"), pixels)
    with pytest.raises(SourceError, match=rf"a\.tif: a mask compressed as .*{name[:4].upper()}"):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_oriented_like_8_bit_ones(tmp_path: Path, orientation: int) -> None:
    wide = numbers("u2", (5, 3))
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "d.tif", wide, extratags=tags)
    tifffile.imwrite(tmp_path / "f.tif", (wide >> 8).astype(np.uint8), extratags=tags)
    deep, flat = (read_intensities([tmp_path / name], upright=True) for name in ("d.tif", "f.tif"))
    assert np.array_equal(np.rint(deep[..., 0] * 65535).astype(int) >> 8, flat[..., 0])
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray((wide >> 8).astype(np.uint8)).save(tmp_path / "e.png", exif=exif)
    assert np.array_equal(read_intensities([tmp_path / "e.png"], upright=True), flat)
    if orientation > 1:
        with pytest.raises(SourceError, match=rf"TIFF orientation {orientation}.*--upright"):
            read_intensities([tmp_path / "d.tif"])
        with pytest.raises(SourceError, match=rf"TIFF orientation {orientation}"):
            read_mask(tmp_path / "d.tif")


def test_eight_orientations_give_eight_pictures() -> None:
    square = np.arange(9).reshape(3, 3)
    assert len({apply_orientation(square, way).tobytes() for way in range(1, 9)}) == 8


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"tile": (16, 16)}], ids=str)
def test_missing_strips_are_not_invented(tmp_path: Path, how: dict[str, object]) -> None:
    """Cut off anywhere, a file is refused: readers for maps fill what is missing with zeros."""
    whole = tmp_path / "whole.tif"
    tifffile.imwrite(whole, numbers("f4", (40, 33)) + 1, **how)
    content = whole.read_bytes()
    for length in [*range(0, len(content) - 1, len(content) // 23), len(content) - 1]:
        (tmp_path / "cut.tif").write_bytes(content[:length])
        with pytest.raises(SourceError, match=r"cut\.tif: ") as caught:
            read_intensities([tmp_path / "cut.tif"], Scale.parse("minmax"))
        assert "\n" not in str(caught.value)


def test_missing_pixel_data_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((32, 32), np.uint16), rowsperstrip=8)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        counts = file.pages[0].tags["StripByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(SourceError, match="some of its pixels are missing"):
        read_intensities([tmp_path / "a.tif"])


def test_complex_values_and_unknown_colours_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "z.tif", np.ones((4, 4), np.complex64))
    with pytest.raises(SourceError, match=r"z\.tif: pixels of type complex64"):
        read_intensities([tmp_path / "z.tif"])
    tifffile.imwrite(tmp_path / "k.tif", np.ones((4, 4, 4), np.uint16), photometric="separated")
    with pytest.raises(SourceError, match=r"k\.tif: uint16 colours of kind SEPARATED"):
        read_intensities([tmp_path / "k.tif"])
    tifffile.imwrite(
        tmp_path / "a.tif", np.ones((4, 4, 4), "f4"), photometric="rgb", extrasamples=["unassalpha"]
    )
    assert read_intensities([tmp_path / "a.tif"]).tolist() == [[[255] * 3] * 4] * 4
    tifffile.imwrite(
        tmp_path / "h.tif",
        np.full((4, 4, 4), 0.5, "f4"),
        photometric="rgb",
        extrasamples=["unassalpha"],
    )
    with pytest.raises(SourceError, match=r"h\.tif: float32 values with transparency"):
        read_intensities([tmp_path / "h.tif"])
