"""From counts to [0, 1]."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.scale import FULL, Scale

SHAPES = npst.array_shapes(min_dims=2, max_dims=2, max_side=6)


@given(values=npst.arrays(np.uint16, SHAPES))
def test_full_divides_by_what_the_type_can_hold(values: np.ndarray) -> None:
    found = FULL.apply(values, "a")
    assert found.dtype == np.float32
    slow = [[np.float32(int(v) / 65535) for v in row] for row in values]
    assert np.array_equal(found, slow)
    assert np.array_equal(np.rint(found.astype(float) * 65535), values)


@given(values=npst.arrays(np.uint16, SHAPES))
def test_a_window_clips(values: np.ndarray) -> None:
    found = Scale.parse("100:4095").apply(values, "a")
    slow = [[min(max((int(v) - 100) / 3995, 0), 1) for v in row] for row in values]
    assert np.allclose(found, slow, rtol=0, atol=1e-7)


@given(values=npst.arrays(np.int32, SHAPES))
def test_minmax_uses_the_whole_range_whatever_the_numbers(values: np.ndarray) -> None:
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


def test_floats_without_a_scale_lie_between_0_and_1() -> None:
    values = np.array([[0.0, 0.25, 1.0]], dtype=np.float32)
    assert np.array_equal(FULL.apply(values, "a"), values)
    for wrong in ([[0, 812]], [[-0.5, 1]]):
        with pytest.raises(SourceError, match=r"a\.tif: float32 values from .*give --scale"):
            FULL.apply(np.array(wrong, dtype=np.float32), "a.tif")
    with pytest.raises(SourceError, match="int32 values from 0 to 70000"):
        FULL.apply(np.array([[0, 70000]], dtype=np.int32), "a.tif")


@pytest.mark.parametrize("text", ["full", "minmax", "0:1"])
def test_values_that_are_no_numbers_are_refused(text: str) -> None:
    for wrong in (np.nan, np.inf):
        with pytest.raises(SourceError, match=r"a\.tif: holds NaN"):
            Scale.parse(text).apply(np.array([[wrong, 0]], dtype=np.float32), "a.tif")


@pytest.mark.parametrize(
    "text", ["", "auto", "9:1", "1:1", "a:b", "p50", "p-1", "p", "px", ":", "0:inf"]
)
def test_scales_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=f"--scale {text}: expected"):
        Scale.parse(text)
