"""Placing templates: blending against the formula, without halos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from skiptool.sources.cutouts import Template, load_templates
from skiptool.sources.stamps import Stamp, make_stamp, press

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
def test_pressing_is_the_formula(seed: int, height: int, width: int) -> None:
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
    press(canvas, stamp, WHOLE)
    assert np.abs(canvas - expected).max() <= 1.51


@pytest.mark.parametrize("glass", [(220, 216, 208), (180, 190, 200), (250, 250, 250)])
@pytest.mark.parametrize("depth", [60, 140])
def test_no_halo_on_lighter_or_darker_glass(glass: tuple[int, int, int], depth: int) -> None:
    template = soft(depth)
    stamp = make_stamp(template)
    canvas = np.full((*stamp.mask.shape, 3), glass, np.uint8)
    press(canvas, stamp, WHOLE)
    near = ndimage.binary_dilation(stamp.mask, iterations=3) & (stamp.mask == 0)
    assert (canvas[near] <= np.array(glass)).all()
    own = np.array((220, 216, 208))
    line = canvas[len(canvas) // 2].astype(float)
    ratio = template.image[30] / own
    rim = slice(30 - 22, 30 - 17)  # outside the outline the share of light that passes is kept
    offset = (61 - stamp.mask.shape[1]) // 2
    shown = line[rim.start - offset : rim.stop - offset] / np.array(glass)
    assert shown == pytest.approx(ratio[rim], abs=0.02)


def test_the_middle_of_an_object_is_opaque() -> None:
    template = load_templates().cells[1]
    stamp = make_stamp(template)
    deep = ndimage.binary_erosion(stamp.mask, iterations=7)
    results = []
    for level in (0, 255):
        canvas = np.full((*stamp.mask.shape, 3), level, np.uint8)
        press(canvas, stamp, WHOLE)
        results.append(canvas[deep])
    assert np.abs(results[0].astype(int) - results[1]).max() <= 1
    inner = ndimage.binary_erosion(template.mask, iterations=7)
    assert np.abs(results[0].astype(int) - template.image[inner]).max() <= 1


def test_an_object_alone_looks_as_in_its_template() -> None:
    template = soft(110)
    stamp = make_stamp(template)
    canvas = np.full((*stamp.mask.shape, 3), (220, 216, 208), np.uint8)
    press(canvas, stamp, WHOLE)
    margin = (61 - stamp.mask.shape[0]) // 2
    cut = template.image[margin : 61 - margin, margin : 61 - margin]
    assert np.abs(canvas.astype(int) - cut).max() <= 2


def test_cut_outs_on_black_or_white_paper_leave_no_paper() -> None:
    for paper in (0, 255):
        image = np.full((40, 40, 3), paper, np.uint8)
        image[12:28, 12:28] = (120, 60, 140)
        stamp = make_stamp(Template.from_picture("cell", image))
        canvas = np.full((*stamp.mask.shape, 3), 210, np.uint8)
        press(canvas, stamp, WHOLE)
        far = ~ndimage.binary_dilation(stamp.mask, iterations=2)
        assert np.abs(canvas[far].astype(int) - 210).max() <= 1
