"""Pictures of any depth: the values that come out are those that went in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as npst
from PIL import Image

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures.files import read_picture
from skiptool.sources.pictures.intensities import (
    FULL,
    Scale,
    as_eight_bits,
    read_intensities,
    write_intensities,
)

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (6, 5, 3), dtype=np.uint16)
IN_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
SIDES = npst.array_shapes(min_dims=2, max_dims=2, max_side=9)


def eight(values: np.ndarray) -> np.ndarray:
    """Round 16 bits to 8, number by number."""
    return np.array([round(int(v) / 257) for v in values.ravel()], np.uint8).reshape(values.shape)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@given(values=npst.arrays(np.uint16, SIDES))
@IN_FOLDER
def test_grey_of_16_bits_keeps_every_level(tmp_path: Path, suffix: str, values: np.ndarray) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(values).save(path)
    found = read_intensities([path])
    assert (found.dtype, found.shape) == (np.float32, (*values.shape, 1))
    assert np.array_equal(np.rint(found[..., 0].astype(float) * 65535), values)
    assert np.array_equal(read_intensities([path], channels=3)[..., 1], eight(values))


@pytest.mark.parametrize(
    "how",
    [{}, {"byteorder": ">"}, {"compression": "lzw", "predictor": True}, {"compression": "deflate"}],
)
def test_tiffs_of_other_programs_are_read(tmp_path: Path, how: dict[str, object]) -> None:
    tifffile.imwrite(tmp_path / "grey.tif", DEEP[..., 0], **how)
    found = read_intensities([tmp_path / "grey.tif"])
    assert np.array_equal(found[..., 0], (DEEP[..., 0] / 65535).astype(np.float32))
    tifffile.imwrite(tmp_path / "rgb.tif", DEEP, photometric="rgb", **how)
    assert np.array_equal(read_intensities([tmp_path / "rgb.tif"]), eight(DEEP))


def test_16_bit_colour_is_rounded(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), DEEP[..., ::-1])
    assert np.array_equal(read_intensities([tmp_path / "a.png"]), eight(DEEP))
    # Twelve bits in sixteen are nearly black without a window.
    dark = DEEP // 16
    cv2.imwrite(str(tmp_path / "dark.png"), dark[..., ::-1])
    found = read_intensities([tmp_path / "dark.png"], Scale.parse("0:4095"))
    assert np.abs(found - dark / 4095 * 255).max() <= 0.5


def test_transparency_is_composited_over_white(tmp_path: Path) -> None:
    alpha = np.array([[0, 65535, 32768]], np.uint16)[..., None]
    pixels = np.full((1, 3, 3), 1000, np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), np.concatenate([pixels, alpha], axis=2))
    expected = [255, round(1000 / 257), round((1000 * 32768 + 65535 * 32767) / 65535 / 257)]
    assert read_intensities([tmp_path / "deep.png"])[0, :, 0].tolist() == expected
    Image.fromarray(np.array([[[7] * 4, [7, 7, 7, 255]]], np.uint8)).save(tmp_path / "clear.png")
    found = read_intensities([tmp_path / "clear.png"])
    assert found.tolist() == [[[round(255 - 248 * 7 / 255)] * 3, [7] * 3]]


def test_eight_bits_become_colour_or_grey_on_request(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 51, 255]], np.uint8)).save(tmp_path / "grey.png")
    assert np.array_equal(
        read_intensities([tmp_path / "grey.png"]), read_picture(tmp_path / "grey.png")
    )
    grey = read_intensities([tmp_path / "grey.png"], channels=1)
    assert grey.dtype == np.float32
    assert np.array_equal(grey[0, :, 0], np.array([0, 0.2, 1], np.float32))
    stretched = read_intensities([tmp_path / "grey.png"], Scale.parse("0:51"))
    assert stretched[0, :, 2].tolist() == [0, 255, 255]


def test_palette_pictures_are_read_as_displayed(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "p.png")
    assert read_intensities([tmp_path / "p.png"]).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_floats(tmp_path: Path) -> None:
    values = RNG.random((4, 5), dtype=np.float32)
    tifffile.imwrite(tmp_path / "f.tif", values)
    assert np.array_equal(read_intensities([tmp_path / "f.tif"])[..., 0], values)
    tifffile.imwrite(tmp_path / "g.tif", values * 3000)
    with pytest.raises(SourceError, match=r"g\.tif: float32 values from .* --scale"):
        read_intensities([tmp_path / "g.tif"])
    assert read_intensities([tmp_path / "g.tif"], Scale.parse("minmax")).max() == 1


def test_three_grey_files_are_red_green_and_blue(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for n, path in enumerate(paths):
        Image.fromarray(pixels[..., n]).save(path)
    assert np.array_equal(read_intensities(paths), pixels)
    Image.fromarray(pixels[:3, :, 0]).save(paths[2])
    with pytest.raises(SourceError, match=r"2\.png: is \(3, 5\) uint8, 0\.png is \(4, 5\)"):
        read_intensities(paths)


def test_unsupported_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(SourceError, match=r"c\.png: a coloured picture, and --channels 1"):
        read_intensities([tmp_path / "c.png"], channels=1)
    tifffile.imwrite(tmp_path / "w.tif", DEEP[..., 0], photometric="miniswhite")
    with pytest.raises(SourceError, match=r"w\.tif: its lowest value is white"):
        read_intensities([tmp_path / "w.tif"])
    Image.new("CMYK", (4, 4)).save(tmp_path / "k.jpg")
    with pytest.raises(SourceError, match=r"k\.jpg: a picture of mode 'CMYK'"):
        read_intensities([tmp_path / "k.jpg"])


def test_written_intensities_round_trip(tmp_path: Path) -> None:
    grey = RNG.random((4, 5, 1), dtype=np.float32)
    write_intensities(tmp_path / "g.tif", grey)
    assert np.array_equal(read_intensities([tmp_path / "g.tif"]), grey)
    colour = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    write_intensities(tmp_path / "c.png", colour)
    assert np.array_equal(read_intensities([tmp_path / "c.png"]), colour)


def test_rounding_is_to_nearest() -> None:
    values = np.arange(256) / 255
    assert as_eight_bits(values.astype(np.float32)).tolist() == list(range(256))


@pytest.mark.parametrize("extra", ["unspecified", "unassalpha"])
def test_fourth_channel_means_the_same_at_8_and_16_bits(tmp_path: Path, extra: str) -> None:
    """Where nothing says that it is transparency it is none."""
    wide = np.full((4, 4, 4), (10_023, 20_046, 30_069, 0x8080), np.uint16)
    how = {"photometric": "rgb", "extrasamples": [extra]}
    tifffile.imwrite(tmp_path / "deep.tif", wide, **how)
    tifffile.imwrite(tmp_path / "flat.tif", (wide // 257).astype(np.uint8), **how)
    deep, flat = (read_intensities([tmp_path / f"{name}.tif"]) for name in ("deep", "flat"))
    assert np.abs(deep.astype(int) - flat).max() <= 1
    assert (flat[0, 0].tolist() == [39, 78, 117]) == (extra == "unspecified")


def test_premultiplied_16_bit_pictures_are_refused(tmp_path: Path) -> None:
    wide = np.full((4, 4, 4), 100, np.uint16)
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, wide, photometric="rgb", extrasamples=["assocalpha"])
    with pytest.raises(SourceError, match="premultiplied with alpha"):
        read_intensities([path])


# From counts to [0, 1].


SHAPES = npst.array_shapes(min_dims=2, max_dims=2, max_side=6)


@given(values=npst.arrays(np.uint16, SHAPES))
def test_full_scale_divides_by_the_maximum_of_the_type(values: np.ndarray) -> None:
    found = FULL.apply(values, "a")
    assert found.dtype == np.float32
    slow = [[np.float32(int(v) / 65535) for v in row] for row in values]
    assert np.array_equal(found, slow)
    assert np.array_equal(np.rint(found.astype(float) * 65535), values)


@given(values=npst.arrays(np.uint16, SHAPES))
def test_window_clips(values: np.ndarray) -> None:
    found = Scale.parse("100:4095").apply(values, "a")
    slow = [[min(max((int(v) - 100) / 3995, 0), 1) for v in row] for row in values]
    assert np.allclose(found, slow, rtol=0, atol=1e-7)


@given(values=npst.arrays(np.int32, SHAPES))
def test_minmax_stretches_any_range(values: np.ndarray) -> None:
    found = Scale.parse("minmax").apply(values, "a")
    if values.min() == values.max():
        assert (found == 0).all()
    else:
        assert (found.min(), found.max()) == (0, 1)
        assert np.array_equal(np.argsort(values, axis=None, kind="stable")[:1], [values.argmin()])


def test_percentiles_clip_hot_pixels() -> None:
    values = np.arange(1000, dtype=np.uint16).reshape(25, 40)
    values[0, 0] = 60_000
    found = Scale.parse("p1").apply(values, "a")
    low, high = np.percentile(values, (1, 99))
    assert (found == 1).sum() == (values >= high).sum()
    assert (found == 0).sum() == (values <= low).sum()


def test_floats_without_scale_must_lie_between_0_and_1() -> None:
    values = np.array([[0.0, 0.25, 1.0]], dtype=np.float32)
    assert np.array_equal(FULL.apply(values, "a"), values)
    for wrong in ([[0, 812]], [[-0.5, 1]]):
        with pytest.raises(SourceError, match=r"a\.tif: float32 values from .*give --scale"):
            FULL.apply(np.array(wrong, dtype=np.float32), "a.tif")
    with pytest.raises(SourceError, match="int32 values from 0 to 70000"):
        FULL.apply(np.array([[0, 70000]], dtype=np.int32), "a.tif")


@pytest.mark.parametrize("text", ["full", "minmax", "0:1"])
def test_values_that_are_not_finite_are_refused(text: str) -> None:
    for wrong in (np.nan, np.inf):
        with pytest.raises(SourceError, match=r"a\.tif: contains NaN"):
            Scale.parse(text).apply(np.array([[wrong, 0]], dtype=np.float32), "a.tif")


@pytest.mark.parametrize(
    "text", ["", "auto", "9:1", "1:1", "a:b", "p50", "p-1", "p", "px", ":", "0:inf"]
)
def test_malformed_scales_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=f"--scale {text}: expected"):
        Scale.parse(text)
