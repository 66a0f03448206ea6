"""Resampling: against Pillow on the whole picture, without traces of where a patch ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from skiptool.sources.slides import sampling
from skiptool.sources.slides.sampling import (
    is_native,
    level_for,
    on_white_canvas,
    over_white,
    resample,
    true_downsamples,
)
from strategies import SEEDS

WIDTH, HEIGHT, MARGIN = 90, 70, 200

RATIOS = st.floats(0.3, 8.0)
STARTS = st.floats(-40.0, 100.0)


def paper(seed: int) -> np.ndarray:
    """Noise on white, with room on all sides."""
    image = np.full((HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN, 3), 255, np.uint8)
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image[MARGIN : MARGIN + HEIGHT, MARGIN : MARGIN + WIDTH] = noise
    return image


def fetch_from(image: np.ndarray, off: tuple[float, float] = (0, 0)) -> sampling.Fetch:
    def fetch(
        left: int, top: int, width: int, height: int
    ) -> tuple[np.ndarray, tuple[float, float]]:
        top, left = top + MARGIN, left + MARGIN
        part = image[top : top + height, left : left + width]
        assert part.shape == (height, width, 3)
        return np.ascontiguousarray(part), (left - MARGIN + off[0], top - MARGIN + off[1])

    return fetch


def reference(
    image: np.ndarray, start: tuple[float, float], ratio: tuple[float, float], size: tuple[int, int]
) -> np.ndarray:
    left, top = start[0] + MARGIN, start[1] + MARGIN
    right, lower = left + ratio[0] * size[0], top + ratio[1] * size[1]
    rows = Image.fromarray(image).resize(
        (size[0], len(image)), Image.Resampling.BICUBIC, box=(left, 0, right, len(image))
    )
    return np.asarray(rows.resize(size, Image.Resampling.BICUBIC, box=(0, top, size[0], lower)))


def apart(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second).max())


@given(seed=SEEDS, x=STARTS, y=STARTS, across=RATIOS, down=RATIOS)
def test_patch_equals_a_crop_of_the_resized_whole(
    seed: int, x: float, y: float, across: float, down: float
) -> None:
    image = paper(seed)
    found = resample(fetch_from(image), (x, y), (across, down), (9, 7))
    assert apart(found, reference(image, (x, y), (across, down), (9, 7))) <= 1


@given(seed=SEEDS, x=STARTS, y=STARTS, ratio=RATIOS, block=st.integers(4, 60))
def test_blocks_leave_no_seams(seed: int, x: float, y: float, ratio: float, block: int) -> None:
    image, how = paper(seed), ((x, y), (ratio, ratio), (9, 7))
    whole = resample(fetch_from(image), *how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_BLOCK", block)
        assert apart(resample(fetch_from(image), *how), whole) <= 1


def test_patch_edges_depend_on_surrounding_pixels() -> None:
    image = paper(3)
    wide = resample(fetch_from(image), (0, 0), (2.5, 2.5), (24, 20))
    part = resample(fetch_from(image), (2.5 * 7, 2.5 * 5), (2.5, 2.5), (10, 9))
    assert apart(wide[5:14, 7:17], part) <= 1


def test_actual_position_of_the_read_pixels_counts() -> None:
    """A ramp read a quarter pixel further right comes out as if it had not been."""
    columns = np.arange(WIDTH + 2 * MARGIN)
    ramp = np.repeat(np.repeat(columns[None, :, None] // 2, 60, axis=0), 3, axis=2)
    image = np.full((HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN, 3), 255, np.uint8)
    image[MARGIN : MARGIN + 60] = ramp
    here = resample(fetch_from(image), (10.0, 20.0), (4.0, 1.0), (8, 8)).astype(float)
    there = resample(fetch_from(image, (-1.0, 0.0)), (10.0, 20.0), (4.0, 1.0), (8, 8))
    assert np.allclose(there - here, 0.5, atol=0.5)


@pytest.mark.parametrize("ratio", [1.0, 1.7, 6.0])
def test_subpixel_position_is_kept(ratio: float) -> None:
    rows, columns = np.mgrid[: HEIGHT + 2 * MARGIN, : WIDTH + 2 * MARGIN] + 0.5 - MARGIN
    spot = np.exp(-((columns - 40.3) ** 2 + (rows - 31.8) ** 2) / (2 * 6.0**2))
    image = np.repeat(np.rint(255 - 200 * spot).astype(np.uint8)[..., None], 3, axis=2)
    size = (int(70 / ratio), int(60 / ratio))
    weight = 255.0 - resample(fetch_from(image), (4.6, 1.2), (ratio, ratio), size)[..., 0]
    i, j = np.mgrid[: size[1], : size[0]] + 0.5
    x, y = ((weight * each).sum() / weight.sum() * ratio for each in (j, i))
    assert (x + 4.6, y + 1.2) == (pytest.approx(40.3, abs=0.1), pytest.approx(31.8, abs=0.1))


def test_shrinking_does_not_alias() -> None:
    image = np.full((HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN, 3), 255, np.uint8)
    image[:, ::2] = 55  # stripes of one pixel are grey from afar
    found = resample(fetch_from(image), (0.4, 0.4), (5.3, 5.3), (12, 10))
    assert np.abs(found.astype(int) - 155).max() <= 4


@given(rgba=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2).map(lambda s: (*s, 4))))
def test_transparency_is_composited_over_white(rgba: np.ndarray) -> None:
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(over_white(rgba) - expected).max() <= 0.5 + 1e-9


@given(image=npst.arrays(np.uint8, (5, 4, 3)))
def test_opaque_colours_are_unchanged(image: np.ndarray) -> None:
    rgba = np.concatenate([image, np.full((5, 4, 1), 255, np.uint8)], axis=2)
    found = over_white(rgba)
    assert np.array_equal(found, image)
    assert found.flags.writeable


def test_canvas_is_white_around_a_part() -> None:
    found = on_white_canvas(np.zeros((2, 1, 3), np.uint8), (3, 1), (5, 4))
    assert found.shape == (4, 5, 3)
    assert np.argwhere(found[..., 0] == 0).tolist() == [[1, 3], [2, 3]]
    assert found.sum() == 255 * (4 * 5 - 2) * 3
    assert on_white_canvas(None, (0, 0), (2, 3)).min() == 255


@pytest.mark.parametrize(
    ("start", "ratio", "expected"),
    [
        ((5.0, -3.0), (1.0, 1.0), True),
        ((5.0, 3.0), (1.0 + 1e-7, 1.0), True),
        ((5.5, 3.0), (1.0, 1.0), False),
        ((5.0, 3.0), (1.0, 1.01), False),
    ],
)
def test_native_pixels_are_recognised(
    start: tuple[float, float], ratio: tuple[float, float], expected: bool
) -> None:
    assert is_native(start, ratio) is expected


# Geometry of pyramids: true downsamples per axis, and the level that is fine enough.


@given(
    size=st.tuples(st.integers(5000, 200_000), st.integers(5000, 200_000)),
    factor=st.sampled_from([2, 3, 4]),
    up=st.booleans(),
)
def test_integer_downsamples_are_found_despite_cropping_or_padding(
    size: tuple[int, int], factor: int, up: bool
) -> None:
    sizes = [size]
    for _ in range(3):
        width, height = sizes[-1]
        sizes.append(
            (-(-width // factor), -(-height // factor))
            if up
            else (width // factor, height // factor)
        )
    assert true_downsamples(sizes) == tuple((float(factor**n),) * 2 for n in range(4))


def test_other_downsamples_are_the_ratio_of_each_axis() -> None:
    assert true_downsamples([(1000, 900), (300, 280)]) == (
        (1.0, 1.0),
        (pytest.approx(1000 / 300), pytest.approx(900 / 280)),
    )


@pytest.mark.parametrize(
    ("scale", "level"),
    [
        ((1.0, 1.0), 0),
        ((3.999, 3.999), 0),
        ((4.0 - 1e-7, 4.0), 1),
        ((4.0, 3.9), 0),
        ((100.0, 100.0), 2),
        ((0.3, 0.3), 0),
        ((100.0, 0.3), 0),
    ],
)
def test_coarsest_fine_enough_level_is_chosen(scale: tuple[float, float], level: int) -> None:
    assert level_for([(1.0, 1.0), (4.0, 4.0), (16.0, 16.0)], scale) == level


def test_order_of_levels_does_not_matter() -> None:
    assert level_for([(1.0, 1.0), (16.0, 16.0), (4.0, 4.0)], (8.0, 8.0)) == 2
