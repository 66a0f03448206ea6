"""Section III.A, steps 1 to 3: what is placed where, how often, and what the truth says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from skiptool.errors import ArgumentError
from skiptool.sources.smear.scenes import (
    SceneSettings,
    Stamp,
    cell_count,
    compose,
    make_stamp,
    place_stamp,
    prepare,
)
from skiptool.sources.smear.templates import Template, Templates, load_templates

GLASS = 220


def block(name: str, height: int, width: int, depth: int, margin: int = 10) -> Template:
    """Draw a rectangular object on glass with some margin."""
    image = np.full((height + 2 * margin, width + 2 * margin, 3), GLASS, np.uint8)
    image[margin:-margin, margin:-margin] -= np.uint8(depth)
    return Template.from_picture(name, image, pieces=name.startswith("artifact"))


def flat(background: np.ndarray | None = None) -> Templates:
    """Return templates of two cell sizes and one artifact on flat glass."""
    glass = np.full((50, 50, 3), GLASS, np.uint8) if background is None else background
    cells = (block("cell-1", 12, 12, 90), block("cell-2", 16, 10, 110))
    return Templates((glass,), cells, (block("artifact-1", 9, 9, 200),))


def test_cell_count_is_uniform_and_known_in_advance() -> None:
    scene = SceneSettings(cells=(1, 100))
    counts = [cell_count(scene, 0, index) for index in range(4000)]
    assert (min(counts), max(counts)) == (1, 100)
    expected = 4000 / 10
    found, _ = np.histogram(counts, bins=10, range=(0.5, 100.5))
    assert ((found - expected) ** 2 / expected).sum() < 27.9  # chi-square, 9 degrees, p = 0.001


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(0, 6), st.integers(0, 6))
@settings(max_examples=30, deadline=None)
def test_scene_has_the_announced_number_of_cells(
    seed: int, index: int, fewest: int, more: int
) -> None:
    chosen = SceneSettings(canvas=90, cells=(fewest, fewest + more), artifacts=1)
    scene = compose(prepare(flat(), chosen), seed, index)
    assert scene.cells == cell_count(chosen, seed, index)
    assert fewest <= scene.cells <= fewest + more
    assert scene.image.shape == (90, 90, 3)
    assert scene.mask.shape == (90, 90)
    assert scene.mask.dtype == scene.image.dtype == np.uint8
    areas = [cell.mask.sum() for cell in flat().cells]
    assert scene.mask.sum() <= scene.cells * max(areas)  # wholly inside, overlaps counted once
    assert scene.mask.any() == (scene.cells > 0)


def test_mask_covers_a_single_cell() -> None:
    stage = prepare(flat(), SceneSettings(canvas=80, cells=(1, 1), artifacts=0))
    seen = set()
    for index in range(40):
        scene = compose(stage, 7, index)
        assert scene.mask.sum() in {144, 160}
        assert np.array_equal(scene.image[..., 0] < GLASS - 40, scene.mask == 1)
        seen.add(int(scene.mask.sum()))
    assert seen == {144, 160}


def test_cells_reach_every_position_of_the_canvas() -> None:
    stage = prepare(flat(), SceneSettings(canvas=40, cells=(60, 60), artifacts=0))
    covered = np.zeros((40, 40), int)
    for index in range(60):
        covered += compose(stage, 0, index).mask
    # the margin of a template, where its blurred edge shadows the canvas, lies inside as well
    assert (covered[12:-12, 12:-12] > 0).all()
    assert (
        abs(covered.sum(axis=0) - covered.sum(axis=0)[::-1]).max() < 0.2 * covered.sum(axis=0).max()
    )


def test_artifacts_are_not_part_of_the_mask() -> None:
    stage = prepare(flat(), SceneSettings(canvas=300, cells=(0, 0), artifacts=3))
    found = []
    for index in range(10):
        scene = compose(stage, 1, index)
        assert not scene.mask.any()
        found.append(ndimage.label(scene.image[..., 0] < 60)[1])
    assert max(found) == 3
    assert min(found) >= 1  # fewer only where they overlap


def test_covered_cell_stays_in_the_mask() -> None:
    templates = Templates(
        flat().backgrounds, (block("cell-1", 10, 10, 90),), (block("artifact-1", 20, 20, 200),)
    )
    stage = prepare(templates, SceneSettings(canvas=40, cells=(1, 1), artifacts=1))
    scenes = [compose(stage, 0, index) for index in range(20)]
    assert all(scene.mask.sum() == 100 for scene in scenes)
    assert any((scene.image[scene.mask == 1] < 60).all(axis=1).any() for scene in scenes)


def test_background_is_rotated_and_resized() -> None:
    glass = np.full((30, 60, 3), GLASS, np.uint8)
    glass[:15, :30] = 120
    stage = prepare(flat(glass), SceneSettings(canvas=64, cells=(0, 0), artifacts=0))
    dark = [
        tuple(bool(compose(stage, 3, index).image[r, c, 0] < 150) for r in (8, 56) for c in (8, 56))
        for index in range(60)
    ]
    corners = {(True, False, False, False), (False, True, False, False)}
    corners |= {(False, False, True, False), (False, False, False, True)}
    assert set(dark) == corners
    assert min(dark.count(corner) for corner in corners) >= 5


def test_background_of_matching_size_is_unchanged() -> None:
    glass = np.random.default_rng(0).integers(180, 230, (50, 50, 3), dtype=np.uint8)
    stage = prepare(flat(glass), SceneSettings(canvas=50, cells=(0, 0), artifacts=0))
    turned = [np.rot90(glass, turns) for turns in range(4)]
    for index in range(8):
        image = compose(stage, 0, index).image
        assert any(np.array_equal(image, one) for one in turned)


def test_scenes_do_not_depend_on_order_or_threads() -> None:
    stage = prepare(load_templates(), SceneSettings(canvas=400, cells=(0, 12)))
    alone = [compose(stage, 5, index) for index in range(12)]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda index: compose(stage, 5, index), reversed(range(12))))
    for mine, theirs in zip(alone, reversed(threaded), strict=True):
        assert np.array_equal(mine.image, theirs.image)
        assert np.array_equal(mine.mask, theirs.mask)
    assert not np.array_equal(alone[0].image, compose(stage, 6, 0).image)


def test_scenes_do_not_share_memory() -> None:
    stage = prepare(flat(), SceneSettings(canvas=60, cells=(2, 2)))
    first = compose(stage, 0, 0)
    kept = first.image.copy()
    first.image[:] = 0
    assert np.array_equal(compose(stage, 0, 0).image, kept)


@pytest.mark.long
def test_built_in_scenes_are_bright_and_cells_darker() -> None:
    stage = prepare(load_templates(), SceneSettings(canvas=750, cells=(12, 12)))
    for index in range(4):
        scene = compose(stage, 0, index)
        glass = scene.image[scene.mask == 0].astype(float).mean()
        assert 195 < glass < 225
        assert scene.image[scene.mask == 1].astype(float).mean() < glass - 50


@pytest.mark.parametrize("cells", [(-1, 4), (5, 4)])
def test_invalid_range_of_cells_is_refused(cells: tuple[int, int]) -> None:
    with pytest.raises(ArgumentError, match=rf"cells {cells[0]}:{cells[1]}: expected 0 <= fewest"):
        SceneSettings(cells=cells)


def test_settings_and_seeds_out_of_range_are_refused() -> None:
    with pytest.raises(ArgumentError, match="canvas 0"):
        SceneSettings(canvas=0)
    with pytest.raises(ArgumentError, match="artifacts -1"):
        SceneSettings(artifacts=-1)
    with pytest.raises(ArgumentError, match="template cell-1 is 176 x 176"):
        prepare(load_templates(), SceneSettings(canvas=175))
    with pytest.raises(ArgumentError, match="seed -1, index 0"):
        cell_count(SceneSettings(), -1, 0)


# Placing templates: blending against the formula, without halos.


WHOLE = (slice(None), slice(None))


def soft(depth: int, glass: tuple[int, int, int] = (220, 216, 208)) -> Template:
    """Draw a disc with a blurred edge."""
    line = np.arange(61) - 30
    amount = np.hypot(line[:, None], line[None, :]) <= 17
    blurred = ndimage.gaussian_filter(amount.astype(float), 1.5)[..., None]
    return Template.from_picture(
        "cell", np.rint(np.array(glass) - depth * blurred).astype(np.uint8)
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=60)
def test_placing_follows_the_formula(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    cover = rng.random((height, width, 1))
    colour = rng.integers(0, 256, (height, width, 3))
    share = rng.random((height, width, 3))
    stamp = Stamp(
        (cover * colour * 256 + 128).astype(np.uint16),
        ((1 - cover) * share * 256).astype(np.uint16),
        np.ones((height, width), np.uint8),
    )
    canvas = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = cover * colour + (1 - cover) * share * canvas
    place_stamp(canvas, stamp, WHOLE)
    assert np.abs(canvas - expected).max() <= 1.51


@pytest.mark.parametrize("glass", [(220, 216, 208), (180, 190, 200), (250, 250, 250)])
@pytest.mark.parametrize("depth", [60, 140])
def test_objects_have_no_halo_on_other_backgrounds(glass: tuple[int, int, int], depth: int) -> None:
    template = soft(depth)
    stamp = make_stamp(template)
    canvas = np.full((*stamp.mask.shape, 3), glass, np.uint8)
    place_stamp(canvas, stamp, WHOLE)
    near = ndimage.binary_dilation(stamp.mask, iterations=3) & (stamp.mask == 0)
    assert (canvas[near] <= np.array(glass)).all()
    own = np.array((220, 216, 208))
    line = canvas[len(canvas) // 2].astype(float)
    ratio = template.image[30] / own
    rim = slice(30 - 22, 30 - 17)  # outside the outline the share of light that passes is kept
    offset = (61 - stamp.mask.shape[1]) // 2
    shown = line[rim.start - offset : rim.stop - offset] / np.array(glass)
    assert shown == pytest.approx(ratio[rim], abs=0.02)


def test_centre_of_an_object_is_opaque() -> None:
    template = load_templates().cells[1]
    stamp = make_stamp(template)
    deep = ndimage.binary_erosion(stamp.mask, iterations=7)
    results = []
    for level in (0, 255):
        canvas = np.full((*stamp.mask.shape, 3), level, np.uint8)
        place_stamp(canvas, stamp, WHOLE)
        results.append(canvas[deep])
    assert np.abs(results[0].astype(int) - results[1]).max() <= 1
    inner = ndimage.binary_erosion(template.mask, iterations=7)
    assert np.abs(results[0].astype(int) - template.image[inner]).max() <= 1


def test_isolated_object_looks_like_its_template() -> None:
    template = soft(110)
    stamp = make_stamp(template)
    canvas = np.full((*stamp.mask.shape, 3), (220, 216, 208), np.uint8)
    place_stamp(canvas, stamp, WHOLE)
    margin = (61 - stamp.mask.shape[0]) // 2
    cut = template.image[margin : 61 - margin, margin : 61 - margin]
    assert np.abs(canvas.astype(int) - cut).max() <= 2


def test_black_or_white_margins_of_templates_are_not_pasted() -> None:
    for paper in (0, 255):
        image = np.full((40, 40, 3), paper, np.uint8)
        image[12:28, 12:28] = (120, 60, 140)
        stamp = make_stamp(Template.from_picture("cell", image))
        canvas = np.full((*stamp.mask.shape, 3), 210, np.uint8)
        place_stamp(canvas, stamp, WHOLE)
        far = ~ndimage.binary_dilation(stamp.mask, iterations=2)
        assert np.abs(canvas[far].astype(int) - 210).max() <= 1
