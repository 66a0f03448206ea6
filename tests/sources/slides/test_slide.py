"""Slides: what they say, their pixels at any scale and place, errors, threads."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from openslide import OpenSlide
from PIL import Image

from pyramids import stained, write_pyramid
from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.slides import sampling
from skiptool.sources.slides.slide import (
    TileCache,
    content_key,
    is_plausible,
    open_slide,
    patch_scale,
    pixel_size,
    snap,
)
from small_stores import refused

NATIVE = (1.0, 1.0)


def on_white(image: np.ndarray, margin: int) -> np.ndarray:
    return np.pad(image, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)


def apart(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second).max())


# what a slide says of itself


def test_leading_thumbnail_is_refused(tmp_path: Path) -> None:
    """OpenSlide would read it as level 0, and pass over the slide behind it."""
    pixels = np.full((512, 512, 3), 200, np.uint8)
    for name, order in (("wrong", (2, 1)), ("right", (1, 2))):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            for step in order:
                part = np.ascontiguousarray(pixels[::step, ::step])
                file.write(part, tile=(256, 256), photometric="rgb", subfiletype=int(step == 2))
    with refused(SourceError, "wrong.tif: its first page is a thumbnail of a later one"):
        open_slide(tmp_path / "wrong.tif")
    assert open_slide(tmp_path / "right.tif").size == (512, 512)


@pytest.mark.parametrize(
    ("name", "vendor", "size", "levels", "mpp"),
    [
        ("wsi/CMU-1-Small-Region.svs", "aperio", (2220, 2967), 1, (0.499, 0.499)),
        ("wsi/small.svs", "aperio", (16, 16), 1, (0.499, 0.499)),
        ("wsi/boxes.tiff", "generic-tiff", (300, 250), 4, None),
        ("multiscanner/Aperio/A_BB_563479_1.svs", "generic-tiff", (4960, 5120), 6, None),
        ("multiscanner/AxioScan/Z_BB_563479_1.tif", "generic-tiff", (5120, 5100), 6, None),
        ("multiscanner/NanoZoomer2.0HT/N2_BB_563479_1.ndpi", "generic-tiff", (5120, 5013), 6, None),
        ("multiscanner/NanoZoomerS210/N1_BB_563479_1.ndpi", "generic-tiff", (4800, 5120), 6, None),
    ],
)
def test_real_slides(
    shared_data: Path,
    name: str,
    vendor: str,
    size: tuple[int, int],
    levels: int,
    mpp: tuple[float, float] | None,
) -> None:
    slide = open_slide(shared_data / name)
    assert (slide.vendor, slide.size, slide.mpp) == (vendor, size, mpp)
    assert slide.downsamples == tuple((2.0**level,) * 2 for level in range(levels))
    assert slide.level_sizes[0] == size
    assert slide.bounds_offset == (0, 0)
    assert slide.key == content_key(slide.path)
    image, scale = slide.overview(256)
    assert image.shape[:2] == tuple(
        round(side / by) for side, by in zip(size[::-1], scale[::-1], strict=True)
    )
    slide = open_slide(shared_data / name, (0.25, 0.26))
    assert slide.mpp == (0.25, 0.26)


def test_labels_and_macro_pictures_are_not_accessible(shared_data: Path) -> None:
    slide = open_slide(shared_data / "wsi" / "CMU-1-Small-Region.svs")
    public = {name for name in dir(slide) if not name.startswith("_")}
    assert public == {
        *{"path", "vendor", "size", "level_sizes", "downsamples", "mpp", "recorded_mpp"},
        *{"bounds_offset", "key", "read", "overview"},
    }


def test_resolution_of_a_file(tmp_path: Path) -> None:
    image = np.full((40, 50, 3), 200, np.uint8)
    for number, (how, expected) in enumerate(
        [
            ({"mpp": (0.25, 0.5)}, (0.25, 0.5)),
            ({"mpp": 0.23, "vendor": "aperio"}, (0.23, 0.23)),
            ({}, None),
            ({"mpp": 352.78}, None),
        ]
    ):
        path = write_pyramid(tmp_path / f"{number}.svs", image, **how, levels=1)
        assert open_slide(path).mpp == (expected and pytest.approx(expected))
    with refused(SourceError, path, "column mpp says 1000"):
        open_slide(path, (1000.0, None))


@pytest.mark.long
def test_bounds_are_read(pyramid: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """No writer of slides with bounds is at hand, so OpenSlide is made to report some."""
    facts = dict(OpenSlide(pyramid.path).properties)
    facts |= {"openslide.bounds-x": "120", "openslide.bounds-y": "7"}
    monkeypatch.setattr(OpenSlide, "properties", facts)
    assert open_slide(pyramid.path).bounds_offset == (120, 7)


# pixels


@pytest.mark.parametrize("level", [0, 1, 2])
def test_level_is_read_as_it_is_stored(
    tmp_path: Path, pyramid: SimpleNamespace, level: int
) -> None:
    image, by = pyramid.image[:796, :1000], 2**level
    even = write_pyramid(tmp_path / "even.tiff", image, quality=None)
    found, odd = (
        open_slide(path).read(20 * by, 30 * by, (100, 90), (by, by))
        for path in (even, pyramid.path)
    )
    expected = image.reshape(796 // by, by, 1000 // by, by, 3).mean(axis=(1, 3))
    assert apart(found, expected[30:120, 20:120]) <= level
    # 1001 / 250 is no whole number: OpenSlide reads up to an eighth of a pixel aside
    assert np.abs(found.astype(int) - odd).mean() < 2


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("across", ["left", "inside", "right"])
@pytest.mark.parametrize("down", ["above", "inside", "below"])
def test_outside_of_the_slide_is_white(
    pyramid: SimpleNamespace, level: int, across: str, down: str
) -> None:
    slide, by = open_slide(pyramid.path), 2**level
    width, height = slide.level_sizes[level]
    left = {"left": -60, "inside": 40, "right": width - 50}[across]
    top = {"above": -50, "inside": 30, "below": height - 40}[down]
    found = slide.read(left * by, top * by, (160, 150), (by, by))
    whole = on_white(slide.read(0, 0, (width, height), (by, by)), 200)
    around = whole[top + 200 : top + 350, left + 200 : left + 360]
    # of levels OpenSlide interpolates between pixels by a quarter at most
    assert apart(found, around) <= (0 if level == 0 else 30)
    assert np.abs(found.astype(int) - around).mean() < 2


def test_nothing_is_read_far_outside(pyramid: SimpleNamespace) -> None:
    slide = open_slide(pyramid.path)
    for x, y in ((-1e12, 0), (1e12, 1e12), (1001, 900), (0, -100)):
        assert slide.read(x, y, (64, 64), NATIVE).min() == 255
        assert slide.read(x, y, (9, 9), (7.1, 7.1)).min() == 255


def test_transparent_pixels_are_composited_over_white(
    pyramid: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def region(*_: object) -> Image.Image:
        return Image.fromarray(np.array([[[0, 0, 0, 0], [100, 0, 0, 51]]], np.uint8))

    monkeypatch.setattr(OpenSlide, "read_region", region)
    found = open_slide(pyramid.path).read(5, 5, (2, 1), NATIVE)
    assert found.tolist() == [[[255, 255, 255], [224, 204, 204]]]


@given(
    x=st.floats(-100, 1050),
    y=st.floats(-100, 850),
    across=st.floats(0.4, 1.999),
    down=st.floats(0.4, 1.999),
)
def test_any_scale_agrees_with_the_whole_picture_resized(
    pyramid: SimpleNamespace, x: float, y: float, across: float, down: float
) -> None:
    size, margin = (33, 21), 300
    found = open_slide(pyramid.path).read(x, y, size, (across, down))
    left, top = x + margin, y + margin
    box = (left, top, left + size[0] * across, top + size[1] * down)
    whole = Image.fromarray(on_white(pyramid.image, margin))
    expected = np.asarray(whole.resize(size, Image.Resampling.BICUBIC, box=box))
    # Pillow may filter columns first, and clips in between
    assert np.abs(found.astype(int) - expected).mean() < 0.5
    assert apart(found, expected) <= 8


@pytest.mark.parametrize("scale", [2.0, 2.7, 3.5, 4.0, 5.3, 11.0])
def test_coarser_levels_show_the_same_region(pyramid: SimpleNamespace, scale: float) -> None:
    """Read from levels 1 and 2 as from level 0, within what two ways of shrinking differ by."""
    x, y, size = 103.3, 57.8, (min(int(800 / scale), 200), min(int(650 / scale), 160))
    slide = open_slide(pyramid.path)
    found = slide.read(x, y, size, (scale, scale))
    box = (x, y, x + size[0] * scale, y + size[1] * scale)
    whole = Image.fromarray(pyramid.image)
    expected, aside = (
        np.asarray(whole.resize(size, Image.Resampling.BICUBIC, box=[b + off for b in box]))
        for off in (0, scale / 2)
    )
    near = np.abs(found.astype(int) - expected).mean()
    assert near < 0.35 * np.abs(expected.astype(int) - aside).mean()


def test_native_pixels_are_not_resampled(
    pyramid: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    slide = open_slide(pyramid.path)
    monkeypatch.setattr("skiptool.sources.slides.slide.resample", refuse)
    slide.read(-3, 5, (10, 10), NATIVE)
    slide.read(8, 12, (10, 10), (4.0, 4.0))
    for position, scale in (((0.5, 0), NATIVE), ((2, 0), (4.0, 4.0)), ((0, 0), (1.01, 1.01))):
        with pytest.raises(AssertionError):
            slide.read(*position, (10, 10), scale)


@pytest.mark.parametrize(
    ("x", "size", "scale"),
    [
        (float("nan"), (5, 5), NATIVE),
        (0.0, (0, 5), NATIVE),
        (0.0, (5, 5), (0.0, 1.0)),
        (0.0, (5, 5), (1.0, float("inf"))),
    ],
)
def test_impossible_regions_are_refused(
    pyramid: SimpleNamespace, x: float, size: tuple[int, int], scale: tuple[float, float]
) -> None:
    with refused(ArgumentError, pyramid.path, "cannot read", "expected"):
        open_slide(pyramid.path).read(x, 0, size, scale)


@pytest.mark.parametrize("wanted", [0.25, 0.5, 0.3])
def test_field_of_view_is_equal_across_scanners(tmp_path: Path, wanted: float) -> None:
    """Two spots 60 um apart on either axis are as many pixels apart on every scanner's slide."""
    spans = []
    for mpp in (0.12, 0.1725, 0.22, 0.2528, 0.26):
        width, height = round(110 / mpp), round(96 / mpp)
        rows, columns = (np.mgrid[:height, :width] + 0.5) * mpp
        shade = np.zeros((height, width))
        for centre in (20.0, 80.0):
            shade += np.exp(-((columns - centre) ** 2 + (rows - centre) ** 2) / (2 * 2.0**2))
        image = np.repeat(np.rint(255 - 200 * shade).astype(np.uint8)[..., None], 3, axis=2)
        path = write_pyramid(tmp_path / f"{mpp}.tiff", image, mpp=mpp, quality=None)
        slide = open_slide(path)
        scale = patch_scale(slide, wanted)
        assert scale == pytest.approx((wanted / mpp,) * 2, rel=1e-5)  # TIFF stores fractions
        patch = slide.read(0, 0, (int(100 / wanted), int(96 / wanted)), scale)
        weight = 255.0 - patch[..., 0]
        half = int(50 / wanted)
        spots = []
        for part in (weight[:half, :half], weight[half:, half:]):
            i, j = np.mgrid[: part.shape[0], : part.shape[1]]
            spots.append([(part * each).sum() / part.sum() for each in (j, i)])
        spans.append(np.add(spots[1], half) - spots[0])
    assert np.allclose(np.array(spans) * wanted, 60.0, rtol=0.005)
    assert np.ptp(spans, axis=0).max() / np.mean(spans) < 0.005


# overviews


def test_overview_shows_the_whole_slide(pyramid: SimpleNamespace) -> None:
    image, scale = open_slide(pyramid.path).overview(200)
    assert image.shape == (160, 200, 3)
    assert scale == (1001 / 200, 799 / 160)
    expected = np.asarray(Image.fromarray(pyramid.image).resize((200, 160), Image.Resampling.BOX))
    assert np.abs(image[1:-1, 1:-1].astype(int) - expected[1:-1, 1:-1]).mean() < 4


def test_overview_is_never_larger_than_the_slide(pyramid: SimpleNamespace) -> None:
    image, scale = open_slide(pyramid.path).overview(5000)
    assert scale == NATIVE
    assert np.array_equal(image, pyramid.image)


@pytest.mark.long
def test_single_level_slide_is_read_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pyramid(tmp_path / "flat.tiff", stained(2), (2900, 1700), levels=1)
    slide, regions = open_slide(path), []
    whole, _ = slide.overview(128)
    monkeypatch.setattr(sampling, "_BLOCK", 400)
    read = OpenSlide.read_region

    def watched(
        self: OpenSlide, place: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        regions.append(size)
        return read(self, place, level, size)

    monkeypatch.setattr(OpenSlide, "read_region", watched)
    pieces, _ = slide.overview(128)
    assert len(regions) > 20
    assert max(max(size) for size in regions) < 400 + 2 * 2 * 23 + 6
    assert apart(pieces, whole) <= 1


# errors


def test_file_that_is_not_a_slide_gives_one_line(tmp_path: Path, pyramid: SimpleNamespace) -> None:
    whole = pyramid.path.read_bytes()
    (tmp_path / "half.tiff").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.svs").write_text("not a slide")
    (tmp_path / "empty.svs").touch()
    for name in ("half.tiff", "text.svs"):
        with refused(SourceError, tmp_path / name, "unsupported or truncated", "copy it again"):
            open_slide(tmp_path / name)
    with refused(SourceError, "empty.svs", "is empty"):
        open_slide(tmp_path / "empty.svs")
    with refused(SourceError, "none.svs", "no such slide"):
        open_slide(tmp_path / "none.svs")
    with refused(SourceError, tmp_path, "a folder"):
        open_slide(tmp_path)


def test_damaged_public_slides_are_refused(shared_data: Path) -> None:
    with refused(SourceError, "unopenable.tiff", "cannot be opened", "leave the slide out"):
        open_slide(shared_data / "wsi" / "unopenable.tiff")
    slide = open_slide(shared_data / "wsi" / "unreadable.svs")
    for _ in range(2):  # as clear the second time, when OpenSlide's error has latched
        with refused(SourceError, "unreadable.svs", "level 0 at (3, 2)", "damaged"):
            slide.read(3, 2, (8, 8), NATIVE)
    assert slide.size == (16, 16)


@pytest.fixture
def damaged(tmp_path: Path, pyramid: SimpleNamespace) -> Path:
    """Spoil one tile of the pyramid, at level 0 from column 256 and row 256 on."""
    path = Path(shutil.copy(pyramid.path, tmp_path / "damaged.tiff"))
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        index = 1 + -(-page.imagewidth // 256)
        start, count = page.dataoffsets[index], page.databytecounts[index]
    data = bytearray(path.read_bytes())
    data[start : start + count] = b"\xff" * count
    path.write_bytes(data)
    return path


def test_rest_is_readable_after_a_damaged_tile(damaged: Path, pyramid: SimpleNamespace) -> None:
    slide = open_slide(damaged)
    for _ in range(2):
        with refused(SourceError, damaged, "64 x 48 pixels of level 0 at (300, 310)"):
            slide.read(300, 310, (64, 48), NATIVE)
        found = slide.read(600, 10, (64, 64), NATIVE)
        assert np.array_equal(found, pyramid.image[10:74, 600:664])


def test_threads_survive_the_errors_of_others(damaged: Path, pyramid: SimpleNamespace) -> None:
    slide = open_slide(damaged, cache=TileCache(0))  # decoded every time, so that reads overlap

    def read(number: int) -> bool | str:
        x, y = (300, 300) if number % 5 == 0 else (520 + number, 10 + number)
        try:
            found = slide.read(x, y, (200, 200), NATIVE)
        except SourceError:
            return "refused"
        return np.array_equal(found, pyramid.image[y : y + 200, x : x + 200])

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(read, range(200)))
    assert found == ["refused" if number % 5 == 0 else True for number in range(200)]


def test_threads_read_equal_pixels(pyramid: SimpleNamespace) -> None:
    places = np.random.default_rng(0).uniform(-100, 900, (60, 2)).tolist()
    slide = open_slide(pyramid.path)

    def read(place: list[float]) -> np.ndarray:
        return slide.read(*place, (64, 64), (1.3, 1.3))

    with ThreadPoolExecutor(2) as threads:
        parallel = list(threads.map(read, places))
    assert all(np.array_equal(*pair) for pair in zip(parallel, map(read, places), strict=True))


def test_vanished_slide_is_reported(damaged: Path) -> None:
    path, slide = damaged, open_slide(damaged)
    path.unlink()
    with refused(SourceError, path, "no such slide"):
        slide.read(300, 310, (64, 48), NATIVE)
    with refused(SourceError, path, "cannot be read"):
        _ = slide.key


# Whom to believe about the size of pixels.


NOTHING = (None, None)


@pytest.mark.parametrize(
    ("given", "recorded", "expected"),
    [
        (NOTHING, ("0.25", "0.26"), (0.25, 0.26)),
        ((0.5, None), ("0.25", "0.26"), (0.5, 0.5)),
        ((0.5, 0.6), ("1000", "1000"), (0.5, 0.6)),
        ((None, 0.6), ("0.25", "0.25"), (0.25, 0.6)),
        (NOTHING, ("1000", "1000"), None),
        (NOTHING, ("0.25", "1000"), None),
        (NOTHING, ("0.25", None), None),
        (NOTHING, NOTHING, None),
        (NOTHING, ("0,25", "0,25"), None),
        (NOTHING, ("nan", "nan"), None),
        (NOTHING, ("", ""), None),
        (NOTHING, ("0", "-1"), None),
    ],
)
def test_manifest_takes_precedence_over_a_plausible_file(
    given: tuple[float | None, float | None],
    recorded: tuple[str | None, str | None],
    expected: tuple[float, float] | None,
) -> None:
    assert pixel_size("a.svs", given, recorded) == expected


@pytest.mark.parametrize("value", [0.0, -0.25, 1000.0, 250.0, float("nan"), float("inf")])
def test_implausible_manifest_value_names_slide_and_column(value: float) -> None:
    with refused(SourceError, "a.svs", "column mpp says", "0.05 to 20"):
        pixel_size("a.svs", (value, None), ("0.25", "0.25"))
    with refused(SourceError, "a.svs", "column mpp_y says"):
        pixel_size("a.svs", (0.25, value), ("0.25", "0.25"))


def test_vertical_pixel_size_needs_a_horizontal_one() -> None:
    with refused(SourceError, "a.svs", "mpp_y", "mpp is empty", "fill in mpp"):
        pixel_size("a.svs", (None, 0.25), ("1000", "1000"))


def test_limits_are_inclusive() -> None:
    assert [is_plausible(value) for value in (0.049, 0.05, 20.0, 20.1)] == [
        False,
        True,
        True,
        False,
    ]


# Which scale a slide is read at.


def test_scale_is_exact_on_each_axis(pyramid: SimpleNamespace) -> None:
    slide = open_slide(pyramid.path, (0.25, 0.2))
    assert patch_scale(slide, 0.5) == (0.5 / 0.25, 0.5 / 0.2)
    assert patch_scale(slide, 0.1) == (0.1 / 0.25, 0.1 / 0.2)
    assert patch_scale(slide, 0.5, level=7) == (2.0, 2.5)


def test_scale_of_a_level_is_its_downsample(pyramid: SimpleNamespace) -> None:
    slide = open_slide(pyramid.path)
    assert [patch_scale(slide, None, level) for level in range(3)] == [
        (1.0, 1.0),
        (2.0, 2.0),
        (4.0, 4.0),
    ]
    assert patch_scale(slide) == (1.0, 1.0)


@pytest.mark.parametrize("level", [3, -1])
def test_missing_level_is_reported_with_existing_ones(pyramid: SimpleNamespace, level: int) -> None:
    with refused(SourceError, pyramid.path, f"no level {level}", "1 (500 x 399 px)", "level"):
        patch_scale(open_slide(pyramid.path), None, level)


def test_slide_without_pixel_size_is_refused_with_the_columns(shared_data: Path) -> None:
    path = shared_data / "wsi" / "boxes.tiff"
    with refused(
        SourceError, path, "says 352.77777983377013 x", "0.25 um/px", "column mpp", "mpp_y"
    ):
        patch_scale(open_slide(path), 0.25)
    assert patch_scale(open_slide(path, (0.5, None)), 0.25) == (0.5, 0.5)


def test_slide_without_any_pixel_size_is_refused(blank: Path) -> None:
    with refused(SourceError, blank, "says nothing", "column mpp"):
        patch_scale(open_slide(blank), 0.25)


@pytest.mark.parametrize("wanted", [0.0, -1.0, 250.0, float("nan")])
def test_implausible_resolutions_are_refused(pyramid: SimpleNamespace, wanted: float) -> None:
    with refused(ArgumentError, "um/px", "--mpp"):
        patch_scale(open_slide(pyramid.path), wanted)


@given(x=st.floats(-1e5, 1e5), y=st.floats(-1e5, 1e5), level=st.integers(0, 2))
def test_corners_snap_to_pixels_of_the_level(
    pyramid: SimpleNamespace, x: float, y: float, level: int
) -> None:
    slide, by = open_slide(pyramid.path), 2.0**level
    left, top = snap(slide, x, y, (by, by))
    assert (left % by, top % by) == (0, 0)
    assert max(abs(left - x), abs(top - y)) <= by / 2


def test_other_scales_are_not_snapped(pyramid: SimpleNamespace) -> None:
    slide = open_slide(pyramid.path)
    assert snap(slide, 1.3, 2.7, (1.5, 1.5)) == (1.3, 2.7)
    assert snap(slide, 1.3, 2.7, (1.0, 2.0)) == (1.3, 2.7)
