"""Tissue: Otsu once a slide, shares of boxes, background of patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramids import Pixels, stained, write_pyramid
from skiptool.images import grey
from skiptool.sources.otsu import otsu
from skiptool.sources.slides.slide import open_slide
from skiptool.sources.slides.tissue import Tissue, find_tissue
from strategies import SEEDS

WHITE = np.full((64, 64, 3), 255, np.uint8)


@pytest.fixture(scope="module")
def island(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slide of 2,000 x 1,500 px, tissue in 400..1,200 x 300..1,100, black from 1,800 on."""
    image = np.full((1500, 2000, 3), (244, 242, 245), np.uint8)
    image[300:1100, 400:1200] = stained(1)(0, 0, 800, 800)
    image[:, 1800:] = 0
    return write_pyramid(tmp_path_factory.mktemp("slides") / "island.tiff", image)


def test_tissue_is_found_and_black_excluded(island: Path) -> None:
    tissue = find_tissue(open_slide(island), longest=500)
    assert tissue.mask.shape == (375, 500)
    assert tissue.scale == (4.0, 4.0)
    truth = np.zeros((375, 500), bool)
    truth[75:275, 100:300] = True
    wrong = tissue.mask != truth
    wrong[:, 445:455] = False  # the edge between white and black is grey
    assert wrong.mean() < 0.01
    assert 170 < tissue.threshold < 242


def test_threshold_equals_otsu_on_the_smoothed_overview(island: Path) -> None:
    slide = open_slide(island)
    tissue = find_tissue(slide, longest=500)
    values = grey(slide.overview(500)[0]).astype(float)
    values[values == 0] = 255
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    for axis in (0, 1):
        padded = np.pad(values, [(2, 2) if a == axis else (0, 0) for a in (0, 1)], mode="reflect")
        size = values.shape[axis]
        values = sum(
            weight * np.take(padded, range(at, at + size), axis=axis)
            for at, weight in enumerate(kernel)
        )
    assert abs(otsu(np.rint(values).astype(np.uint8)) - tissue.threshold) <= 1


def test_empty_glass_has_no_tissue(blank: Path) -> None:
    tissue = find_tissue(open_slide(blank))
    assert not tissue.mask.any()
    assert tissue.threshold == -1
    assert tissue.share(0, 0, 500, 600) == 0
    assert tissue.background(np.zeros((4, 4, 3), np.uint8)).all()


@pytest.mark.parametrize("value", [255, 0, 120])
def test_uniform_slide_has_no_tissue(tmp_path: Path, value: int) -> None:
    image = np.full((90, 70, 3), value, np.uint8)
    path = write_pyramid(tmp_path / "a.tiff", image, levels=1, quality=None)
    assert not find_tissue(open_slide(path)).mask.any()


def test_real_tissue(shared_data: Path) -> None:
    tissue = find_tissue(open_slide(shared_data / "wsi" / "CMU-1-Small-Region.svs"), 1024)
    assert 0.25 < tissue.mask.mean() < 0.4
    assert tissue.share(900, 1000, 1400, 1500) > 0.6
    assert tissue.share(0, 2000, 400, 2900) == 0


def glass(height: int, width: int, tint: Sequence[float] = (238, 238, 238)) -> Pixels:
    return grain((height, width), tint, 2, 7)


def grain(shape: Sequence[int], colour: Sequence[float], spread: float, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(colour, spread, (*shape, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def tissue_share(tmp_path: Path, image: Pixels, quality: int | None = 85) -> tuple[Tissue, Pixels]:
    """Return what is found, and the mask at level 0."""
    path = write_pyramid(tmp_path / "a.tiff", image, quality=quality)
    found = find_tissue(open_slide(path))
    height, width = image.shape[:2]
    rows = (np.arange(height) / found.scale[1]).astype(int).clip(max=found.mask.shape[0] - 1)
    columns = (np.arange(width) / found.scale[0]).astype(int).clip(max=found.mask.shape[1] - 1)
    return found, found.mask[rows[:, None], columns]


PALE, PINK, DEEP = (205, 165, 195), (190, 120, 170), (150, 80, 150)


@pytest.mark.long
@pytest.mark.parametrize(("fill", "noise"), [(0, 0), (2, 1.5), (5, 2), (8, 3), (16, 2), (25, 0)])
@pytest.mark.parametrize("layout", ["right", "frame", "most", "between"])
def test_nearly_black_areas_count_as_unscanned(
    tmp_path: Path, fill: int, noise: float, layout: str
) -> None:
    image = glass(750, 1000)
    image[250:450, 250:450] = grain((200, 200), PALE, 15, 1)
    black = np.zeros((750, 1000), bool)
    if layout == "right":
        black[:, 600:] = True
    elif layout == "frame":
        black[:150] = black[-150:] = black[:, :150] = black[:, -150:] = True
    elif layout == "most":
        black[:] = True
        black[200:500, 200:500] = False
    else:
        black[50:700, 500:700] = True  # with glass on all sides
    image[black] = grain((750, 1000), (fill,) * 3, noise, 3)[black]
    found, mask = tissue_share(tmp_path, image)
    truth = np.zeros((750, 1000), bool)
    truth[250:450, 250:450] = True
    assert (mask != truth).mean() < 0.01
    assert not mask[black].any()
    assert found.unscanned == pytest.approx(black.mean(), abs=0.03)
    if layout == "right":
        assert found.background(image[:200, 650:850]).all()


@pytest.mark.parametrize("share", [0.004, 0.05])
@pytest.mark.parametrize("tint", [238, 225, 250])
def test_white_areas_that_were_not_scanned_do_not_make_glass_tissue(
    tmp_path: Path, share: float, tint: int
) -> None:
    """OpenSlide hands out nothing there, which is laid over white."""
    image = glass(800, 1000, (tint,) * 3)
    image[:, 450:] = 255
    side = round((share * 800 * 1000) ** 0.5)
    image[100 : 100 + side, 100 : 100 + side] = grain((side, side), PINK, 15, 1)
    found, mask = tissue_share(tmp_path, image)
    truth = np.zeros((800, 1000), bool)
    truth[100 : 100 + side, 100 : 100 + side] = True
    assert (mask != truth).mean() < 0.005
    assert mask[truth].mean() > 0.9
    assert found.has_glass


@pytest.mark.long
def test_dark_tissue_counts_as_tissue(tmp_path: Path) -> None:
    """Pigment and deep stains are neither even nor, where they are, as large as a scan's gap."""
    image = glass(1300, 1500)
    image[300:1100, 400:1200] = grain((800, 800), PINK, 15, 1)
    image[600:640, 700:760] = grain((40, 60), (18, 14, 12), 4, 2)  # pigment
    image[700:900, 800:1000] = grain((200, 200), (60, 25, 12), 20, 2)  # DAB
    found, mask = tissue_share(tmp_path, image)
    assert found.unscanned == 0
    assert found.black == 0
    assert mask[310:1090, 410:1190].mean() > 0.99


def test_slide_that_is_all_black_shows_no_tissue(tmp_path: Path) -> None:
    found, mask = tissue_share(tmp_path, grain((400, 500), (3, 3, 3), 2, 1))
    assert not mask.any()
    assert (found.unscanned, found.threshold) == (1.0, -1)


@pytest.mark.long
@pytest.mark.parametrize(
    "colours",
    [
        ((215, 175, 205), (150, 80, 150)),
        ((225, 190, 215), (190, 120, 170)),
        ((222, 180, 150), (120, 80, 60)),
        ((190, 120, 170), (190, 120, 170)),
        ((200, 150, 185), (60, 40, 110)),
    ],
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_slide_without_glass_is_all_tissue(
    tmp_path: Path, colours: tuple[Sequence[int], Sequence[int]], share: float
) -> None:
    pale, dark = (grain((1000, 1200), each, 15, at) for at, each in enumerate(colours))
    pale[:, : round(1200 * share)] = dark[:, : round(1200 * share)]
    found, mask = tissue_share(tmp_path, pale)
    assert mask.all()
    assert not found.has_glass
    assert not found.background(pale[:100, -100:]).any()


@pytest.mark.long
@pytest.mark.parametrize("tint", [(238, 238, 238), (225, 222, 215), (240, 236, 224), (205,) * 3])
@pytest.mark.parametrize("share", [0.03, 0.3, 0.97])
def test_little_or_tinted_glass_is_found(tmp_path: Path, tint: Sequence[int], share: float) -> None:
    image = glass(1000, 1200, tint)
    edge = round(1200 * (1 - share))
    image[:, :edge] = grain((1000, edge), DEEP, 15, 4)
    image[500:, : edge // 2] = grain((500, edge // 2), (170, 110, 160), 15, 5)
    found, mask = tissue_share(tmp_path, image)
    assert found.has_glass
    assert mask[:, : edge - 4].mean() > 0.99
    assert mask[:, edge + 4 :].mean() < 0.01


def test_real_region_without_glass(shared_data: Path, tmp_path: Path) -> None:
    slide = open_slide(shared_data / "wsi" / "CMU-1-Small-Region.svs")
    with_glass = slide.read(0, 0, slide.size, (1.0, 1.0))
    inner = with_glass[1000:1300, 950:1250]
    found, mask = tissue_share(tmp_path, np.tile(inner, (3, 3, 1)), None)
    assert not found.has_glass
    assert mask.all()


@given(
    seed=SEEDS,
    box=st.tuples(*[st.floats(-40, 120)] * 4),
    scale=st.tuples(st.sampled_from([1.0, 2.5, 4.0]), st.sampled_from([1.0, 3.0])),
)
def test_share_is_the_mean_over_fine_subpixels(
    seed: int, box: tuple[float, float, float, float], scale: tuple[float, float]
) -> None:
    mask = np.random.default_rng(seed).random((13, 17)) < 0.5
    left, right = sorted(round(each, 1) for each in box[:2])
    top, bottom = sorted(round(each, 1) for each in box[2:])
    found = Tissue(mask, scale, 200).share(left, top, right, bottom)
    if right == left or bottom == top:
        assert found == 0
        return
    fine = mask.repeat(round(10 * scale[1]), 0).repeat(round(10 * scale[0]), 1)
    x0, x1, y0, y1 = (max(round(10 * each), 0) for each in (left, right, top, bottom))
    area = round(10 * (right - left)) * round(10 * (bottom - top))
    assert found == pytest.approx(fine[y0:y1, x0:x1].sum() / area, abs=1e-9)


def test_background_of_a_patch_follows_the_slides_threshold() -> None:
    tissue = Tissue(np.ones((2, 2), bool), (1.0, 1.0), 180)
    patch = WHITE.copy()
    patch[16:48, 16:48] = (150, 90, 140)
    found = tissue.background(patch)
    assert found.dtype == bool
    assert not found[18:46, 18:46].any()
    assert found[:13].all()
    assert found[51:].all()
    assert tissue.background(np.zeros_like(patch)).all()  # black was not scanned
