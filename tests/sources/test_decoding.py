"""The one door to the decoders; what `read_picture` refuses is tested with that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from skiptool.errors import SourceError
from skiptool.sources.decoding import decoded
from skiptool.sources.pictures import read_picture

RNG = np.random.default_rng(0)


def test_how_pixels_were_packed_is_told(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (6, 5, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    picture, packing = decoded(tmp_path / "a.tif")
    assert (picture.size, picture.mode, packing) == ((5, 6), "RGB", "RGB;16L")


@pytest.mark.parametrize(
    ("name", "shape", "how", "words"),
    [
        ("pages", (3, 16, 16), {}, "3 pages in one file"),
        ("volume", (32, 16, 16), {"volumetric": True, "tile": (16, 16, 16)}, "volume of 32 slices"),
        ("two", (8, 9, 2), {"planarconfig": "contig"}, "2 channels that are no colours"),
        ("five", (8, 9, 5), {"planarconfig": "contig"}, "5 channels that are no colours"),
    ],
)
def test_what_is_not_one_flat_picture_is_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...], how: dict[str, object], words: str
) -> None:
    """Pillow shows the first slice, or channel, of some of these and says nothing."""
    path = tmp_path / f"{name}.tif"
    pixels = RNG.integers(0, 255, shape, dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack", **how)
    with pytest.raises(SourceError, match=rf"{name}\.tif: .*{words}"):
        read_picture(path)


@pytest.mark.parametrize("turned", [3, 6])
def test_a_tiff_that_is_stored_turned_is_refused(tmp_path: Path, turned: int) -> None:
    """Pillow would turn the image, and a mask beside it would not follow."""
    path = tmp_path / "a.tif"
    extratags = [(274, "H", 1, turned, True)]
    tifffile.imwrite(path, np.zeros((2, 3), np.uint8), extratags=extratags)
    with pytest.raises(SourceError, match=f"a.tif: is stored turned .*{turned}"):
        decoded(path)
    tifffile.imwrite(path, np.zeros((2, 3), np.uint8), extratags=[(274, "H", 1, 1, True)])
    assert decoded(path)[0].size == (3, 2)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_what_is_stored_turned_is_refused_or_turned(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    """Against what Pillow's viewers show."""
    path = tmp_path / f"a.{suffix}"
    stored = np.zeros((48, 32, 3), np.uint8)
    stored[:8, :16] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(path, exif=exif)
    with pytest.raises(SourceError, match=rf"stored turned .*{orientation}\); save it upright$"):
        decoded(path)
    with pytest.raises(SourceError, match="give --upright"):
        decoded(path, upright=False)
    with Image.open(path) as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    found = np.asarray(decoded(path, upright=True)[0])
    assert np.array_equal(found, shown)
    assert not np.array_equal(found, stored)


@pytest.mark.parametrize("nonsense", [0, 9, 300])
def test_orientations_that_mean_nothing_are_upright(tmp_path: Path, nonsense: int) -> None:
    exif = Image.Exif()
    exif[274] = nonsense
    for name in ("a.jpg", "a.png", "a.tif"):
        Image.new("RGB", (4, 2)).save(tmp_path / name, exif=exif)
        assert decoded(tmp_path / name)[0].size == (4, 2)
