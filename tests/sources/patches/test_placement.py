"""The grid of testing."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from skiptool.errors import ArgumentError
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Patch, inside
from skiptool.sources.patches.placement import (
    BACKGROUND,
    EMPTY,
    centre_patches,
    draw_empty,
    draw_point,
    empty_cells,
    grid_patches,
    patch_around,
    sample_patches,
    split_draws,
)


class Left:
    """Tissue left of a line."""

    def __init__(self, width: float = float("inf")) -> None:
        self.width = width

    def share(self, left: float, top: float, right: float, bottom: float) -> float:
        return min(max((self.width - left) / (right - left), 0.0), 1.0)


@given(
    st.tuples(st.integers(1, 500), st.integers(1, 500)),
    st.integers(10, 90),
    st.integers(10, 110),
    st.sampled_from([0.7, 1.0, 2.5]),
)
def test_grid_covers_the_slide_without_patches_outside(
    slide: tuple[int, int], size: int, stride: int, by: float
) -> None:
    found = grid_patches(slide, Left(), size, (by, by), stride, 0.5)
    xs = sorted({patch.x for patch in found})
    assert len(found) == len(xs) * len({patch.y for patch in found})
    assert xs == pytest.approx([index * stride * by for index in range(len(xs))])
    assert xs[-1] < slide[0]
    if stride <= size:
        assert xs[-1] + size * by >= slide[0] - 1e-5
        assert len(xs) == 1 or xs[-2] + size * by < slide[0]


def test_patches_above_the_tissue_threshold_are_kept() -> None:
    found = grid_patches((100, 20), Left(45.0), 10, (1.0, 1.0), 10, 0.5)
    assert [(patch.x, patch.y) for patch in found] == [
        (x, y) for y in (0, 10) for x in range(0, 40, 10)
    ]
    found = grid_patches((100, 10), Left(45.0), 10, (1.0, 1.0), 10, 0.4)
    assert [patch.columns for patch in found] == [{"tissue": 1.0}] * 4 + [{"tissue": 0.5}]


def test_no_tissue_no_patches() -> None:
    assert grid_patches((100, 100), Left(0.0), 10, (1.0, 1.0), 10, 0.0) == []


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (1, 0), (4, -2)])
def test_empty_patches_and_strides_are_refused(size: int, stride: int) -> None:
    with pytest.raises(ArgumentError, match=f"size {size} and stride {stride}"):
        grid_patches((10, 10), Left(), size, (1.0, 1.0), stride, 0.5)


@pytest.mark.slow
def test_large_slide_is_fast() -> None:
    began = time.perf_counter()
    assert len(grid_patches((100_000, 100_000), Left(), 512, (1.0, 1.0), 512, 0.5)) == 196**2
    assert time.perf_counter() - began < 2


# Patches around objects.


def point(x: float, y: float, record: str = "1") -> Shape:
    return Shape("mitosis", (np.array([[x, y]]),), record)


@given(
    st.tuples(st.floats(-100, 1e5), st.floats(-100, 1e5)),
    st.integers(1, 600),
    st.tuples(st.floats(0.3, 40), st.floats(0.3, 40)),
)
def test_centre_is_within_half_a_pixel_of_the_point(
    at: tuple[float, float], size: int, scale: tuple[float, float]
) -> None:
    patch = patch_around(at, size, scale, {})
    for middle, where, by in zip(patch.centre, at, scale, strict=True):
        assert abs(middle - where) / by <= 0.5 + 1e-6


@given(st.floats(-100, 1e5), st.integers(1, 600), st.sampled_from([1.0, 2.0, 4.0, 16.0]))
def test_corners_lie_on_the_pixel_grid_of_the_level(
    at: float, size: int, downsample: float
) -> None:
    patch = patch_around((at, at), size, (downsample, downsample), {})
    assert patch.x % downsample == 0


def test_coinciding_shapes_get_one_patch_each() -> None:
    square = Shape("box", (np.array([[0.0, 0], [50, 0], [50, 50], [0, 50]]),), "7")
    patches = centre_patches([point(64, 64), point(64, 64, "2"), square], 128, (1.0, 1.0))
    assert [(patch.x, patch.y) for patch in patches] == [(0, 0), (0, 0), (-39, -39)]
    assert patches[1].columns == {"annotation": "mitosis", "record": "2"}
    assert patches[2].columns == {"annotation": "box", "record": "7"}


@pytest.mark.parametrize("at", [63.5, 63.6, 64.0, 64.4])
def test_centre_of_a_pixel_stays_in_that_pixel(at: float) -> None:
    (patch,) = centre_patches([point(at, at)], 128, (1.0, 1.0))
    assert patch.x == 0.0


# The draw of an epoch.


SLIDE = (4000, 3000)


@dataclass(frozen=True)
class Map:
    """Tissue on the left half of the slide."""

    mask: np.ndarray = field(default_factory=lambda: np.arange(400)[None, :].repeat(300, 0) < 200)
    scale: tuple[float, float] = (10.0, 10.0)


def square(name: str, x: float, y: float, side: float = 100.0, record: str = "") -> Shape:
    corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
    return Shape(name, (np.array(corners, dtype=float),), record or name)


AREAS = [
    (square("Melanoma", 100, 100), 2),
    (square("SCC", 300, 100), 2),
    (square("SCC", 300, 300, 900, "large"), 2),
    (square("Dermis", 500, 100), 1),
    (square("Epidermis", 700, 100), 1),
    (square("Bone", 900, 100), None),
    (square("Void", 900, 100), 0),
]


def drawn(
    areas: list[tuple[Shape, int | None]] = AREAS,
    tissue: Map | None = None,
    seed: int = 0,
    **more: object,
) -> list[Patch]:
    shapes, labels = [shape for shape, _ in areas], [label for _, label in areas]
    arguments = {"size": 64, "scale": (1.0, 1.0), "patches": 32, "draw": 0} | more
    rng = np.random.default_rng(seed)
    return sample_patches(shapes, labels, tissue or Map(), SLIDE, rng=rng, **arguments)


def names(patches: list[Patch]) -> Counter[str]:
    return Counter(str(patch.columns["drawn"]) for patch in patches)


@given(st.integers(0, 2**32 - 1))
def test_class_frequencies_follow_the_paper(seed: int) -> None:
    found = names(drawn(seed=seed))
    assert sum(found.values()) == 32
    assert found[BACKGROUND] in (3, 4)
    assert found["Melanoma"] + found["SCC"] in (14, 15)
    assert found["Dermis"] + found["Epidermis"] in (14, 15)
    assert abs(found["Melanoma"] - found["SCC"]) <= 1
    assert set(found) == {BACKGROUND, "Melanoma", "SCC", "Dermis", "Epidermis"}


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 1.37]))
def test_patch_centres_lie_in_the_drawn_areas(seed: int, by: float) -> None:
    places = {shape.record: shape.bounds for shape, _ in AREAS}
    for patch in drawn(seed=seed, scale=(by, by), draw=5):
        x, y = patch.centre
        assert patch.columns.keys() == {"draw", "drawn", "record"}
        assert patch.columns["draw"] == 5
        if patch.columns["drawn"] == BACKGROUND:
            assert patch.columns["record"] == ""
            assert x - 32 * by >= 2000 - 0.05 * 64 * by - by
        else:
            left, top, right, bottom = places[str(patch.columns["record"])]
            assert left - by / 2 <= x <= right + by / 2
            assert top - by / 2 <= y <= bottom + by / 2


def test_small_areas_are_as_likely_as_large_ones() -> None:
    records = Counter(patch.columns["record"] for seed in range(60) for patch in drawn(seed=seed))
    assert records["large"] / records["SCC"] == pytest.approx(1, abs=0.3)


def test_share_of_missing_background_goes_to_the_classes() -> None:
    full = Map(np.ones((300, 400), dtype=bool))
    assert BACKGROUND not in names(drawn(tissue=full))
    assert names(drawn(tissue=full))["Dermis"] == 8
    tumour = names(drawn(AREAS[:3], patches=20))
    assert tumour == {BACKGROUND: 2, "Melanoma": 9, "SCC": 9}
    assert drawn(AREAS[5:]) == []
    assert drawn([(Shape("Melanoma", (np.array([[5.0, 5.0]]),), ""), 1)]) == []


def test_same_seed_gives_the_same_patches() -> None:
    assert drawn(seed=3) == drawn(seed=3)
    assert drawn(seed=3) != drawn(seed=4)


def test_points_stay_on_the_slide() -> None:
    over, beyond = square("Dermis", -500, -500, 1000), square("SCC", 5000, 10)
    found = drawn([(over, 1), (beyond, 2)], background_share=0.0)
    assert names(found) == {"Dermis": 32}
    assert all(patch.centre[0] >= -0.5 and patch.centre[1] >= -0.5 for patch in found)


@pytest.mark.parametrize("wrong", [{"patches": 0}, {"background_share": 1.0}])
def test_invalid_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="expected one patch or more"):
        drawn(**wrong)


# Places without tissue.


@dataclass(frozen=True)
class MapBackground:
    mask: np.ndarray
    scale: tuple[float, float] = (10.0, 10.0)


def share(tissue: MapBackground, left: float, top: float, right: float, bottom: float) -> float:
    """Of tissue in a box, by the overlap of each cell with it."""
    height, width = tissue.mask.shape
    columns, rows = np.arange(width) * tissue.scale[0], np.arange(height) * tissue.scale[1]
    wide = np.clip(
        np.minimum(columns + tissue.scale[0], right) - np.maximum(columns, left), 0, None
    )
    high = np.clip(np.minimum(rows + tissue.scale[1], bottom) - np.maximum(rows, top), 0, None)
    return float(high @ tissue.mask @ wide / (right - left) / (bottom - top))


@given(st.integers(0, 2**32 - 1), st.floats(5, 250), st.floats(5, 250), st.floats(0.02, 0.6))
def test_patch_around_a_drawn_point_shows_background(
    seed: int, width: float, height: float, much: float
) -> None:
    rng = np.random.default_rng(seed)
    tissue = MapBackground(
        np.kron(rng.random((7, 9)) < much, np.ones((6, 6))).astype(bool), (10.0, 12.0)
    )
    cells = empty_cells(tissue, (width, height))
    if len(cells):
        x, y = draw_empty(cells, tissue.scale, rng)
        assert not tissue.mask[int(y // 12), int(x // 10)]
        box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        assert share(tissue, *box) <= EMPTY + 1e-6


def test_patches_within_the_slide_are_preferred() -> None:
    tissue = MapBackground(np.zeros((20, 30), dtype=bool))
    cells = empty_cells(tissue, (60.0, 100.0))
    assert (cells.min(axis=0).tolist(), cells.max(axis=0).tolist()) == ([5, 3], [14, 26])
    assert len(empty_cells(tissue, (250.0, 250.0))) == 600


def test_slide_full_of_tissue_has_no_empty_cells() -> None:
    full = MapBackground(np.ones((20, 30), dtype=bool))
    assert empty_cells(full, (40.0, 40.0)).shape == (0, 2)
    full.mask[10, 10] = False
    assert empty_cells(full, (40.0, 40.0)).shape == (0, 2)


def test_empty_cells_are_drawn_uniformly() -> None:
    cells = np.array([[0, 0], [5, 7]])
    rng = np.random.default_rng(0)
    points = np.array([draw_empty(cells, (10.0, 20.0), rng) for _ in range(2000)])
    far = points[:, 0] >= 70
    assert abs(far.mean() - 0.5) < 0.05
    assert (points[far] // [10, 20] == [7, 5]).all()
    assert (points[~far] // [10, 20] == [0, 0]).all()


# Shares that add up and points in areas.


@given(
    st.integers(0, 200),
    st.lists(st.floats(0, 10), min_size=1, max_size=9).filter(lambda weights: sum(weights) > 1e-3),
    st.integers(0, 99),
)
def test_draws_add_up_and_are_rounded_shares(total: int, weights: list[float], seed: int) -> None:
    found = split_draws(total, weights, np.random.default_rng(seed))
    assert sum(found) == total
    exact = total * np.array(weights) / sum(weights)
    assert (np.abs(found - exact) < 1 + 1e-6).all()


def test_integer_shares_are_exact() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        assert split_draws(20, [0.1, 0.45, 0.45], rng) == [2, 9, 9]
        assert split_draws(7, [0.0, 1.0, 0.0], rng) == [0, 7, 0]


def test_expected_draws_equal_the_shares() -> None:
    rng = np.random.default_rng(0)
    mean = np.mean([split_draws(32, [0.1, 0.45, 0.45], rng) for _ in range(4000)], axis=0)
    assert mean == pytest.approx([3.2, 14.4, 14.4], abs=0.05)


def test_points_are_uniform_in_an_area_with_a_hole() -> None:
    outline = np.array([[0.0, 0], [10, 0], [10, 10], [5, 4], [0, 10]])
    hole = np.array([[2.0, 1], [8, 1], [8, 3], [2, 3]])
    shape, patch = Shape("", (outline, hole), ""), Patch(0.0, 0.0, 200, (0.05, 0.05))
    rng = np.random.default_rng(1)
    points = np.array([draw_point(shape, rng) for _ in range(4000)])
    cells = inside(shape, patch)
    expected = cells.reshape(5, 40, 5, 40).sum(axis=(1, 3)).ravel()
    found, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=5, range=[(0, 10), (0, 10)])
    there = expected > 0
    assert found.ravel()[~there].sum() == 0
    frequencies = expected[there] / expected.sum() * len(points)
    assert stats.chisquare(found.ravel()[there], frequencies).pvalue > 0.01


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1e-3, 0.5]))
def test_points_lie_inside_even_thin_areas(seed: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0, np.pi)
    along, aside = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    middle, ring = rng.uniform(0, 1000, 2), []
    for far, side in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        ring.append(middle + far * 300 * along + side * width * aside)
    offset = np.array(draw_point(Shape("", (np.array(ring),), ""), rng)) - middle
    assert abs(offset @ along) <= 300 + 1e-6
    assert abs(offset @ aside) <= width + 1e-6
