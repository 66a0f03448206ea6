"""Tissue: Otsu once a slide, shares of boxes, background of patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramids import stained, write_pyramid
from skiptool.images import grey, otsu
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


def test_tissue_is_found_and_black_is_none(island: Path) -> None:
    tissue = find_tissue(open_slide(island), longest=500)
    assert tissue.mask.shape == (375, 500)
    assert tissue.scale == (4.0, 4.0)
    truth = np.zeros((375, 500), bool)
    truth[75:275, 100:300] = True
    wrong = tissue.mask != truth
    wrong[:, 445:455] = False  # the edge between white and black is grey
    assert wrong.mean() < 0.01
    assert 170 < tissue.threshold < 242


def test_threshold_is_otsus_on_the_smoothed_overview(island: Path) -> None:
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


def test_empty_glass_is_no_tissue(blank: Path) -> None:
    tissue = find_tissue(open_slide(blank))
    assert not tissue.mask.any()
    assert tissue.threshold == -1
    assert tissue.share(0, 0, 500, 600) == 0
    assert tissue.background(np.zeros((4, 4, 3), np.uint8)).all()


@pytest.mark.parametrize("value", [255, 0, 120])
def test_one_colour_is_no_tissue(tmp_path: Path, value: int) -> None:
    image = np.full((90, 70, 3), value, np.uint8)
    path = write_pyramid(tmp_path / "a.tiff", image, levels=1, quality=None)
    assert not find_tissue(open_slide(path)).mask.any()


def test_real_tissue(shared_data: Path) -> None:
    tissue = find_tissue(open_slide(shared_data / "wsi" / "CMU-1-Small-Region.svs"), 1024)
    assert 0.25 < tissue.mask.mean() < 0.4
    assert tissue.share(900, 1000, 1400, 1500) > 0.6
    assert tissue.share(0, 2000, 400, 2900) == 0


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
