"""Hypothesis strategies shared by the tests of the pure functions."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

settings.register_profile(
    "skiptool",
    deadline=None,  # a busy machine is no failure
    derandomize="CI" in os.environ,  # what CI checks is the same every time; at home we explore
)
settings.load_profile("skiptool")

SEEDS = st.integers(0, 2**32 - 1)

FACTORS = st.one_of(
    st.integers(0, 40).map(lambda step: step / 20),
    st.floats(0.0, 3.0),
    st.floats(0.0, 100.0),
)
"""Factors of photometric shifts: the round ones that people type, and any other."""


@st.composite
def colour_images(draw: st.DrawFn, max_side: int = 20, width: int | None = None) -> NDArray[Any]:
    """Uint8 (H, W, 3) over a drawn part of the grey scale, so that results clip on either side."""
    height = draw(st.integers(1, max_side))
    width = draw(st.integers(1, max_side)) if width is None else width
    low = draw(st.integers(0, 255))
    high = draw(st.integers(low, 255))
    rng = np.random.default_rng(draw(SEEDS))
    return rng.integers(low, high, (height, width, 3), dtype=np.uint8, endpoint=True)


def grid_values(steps: int = 64) -> st.SearchStrategy[float]:
    """Multiples of 1/8: exact in every float type, with many ties on the edges of bins."""
    return st.integers(-steps, steps).map(lambda value: value / 8)


@st.composite
def features(
    draw: st.DrawFn,
    dtype: type[np.floating[Any]] = np.float32,
    channels: int | None = None,
    elements: st.SearchStrategy[float] | None = None,
) -> NDArray[Any]:
    """Activations (N, D, K) of a few images; every channel may be constant."""
    images, vectors = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    channels = draw(st.integers(1, 3)) if channels is None else channels
    elements = grid_values() if elements is None else elements
    return draw(npst.arrays(dtype, (images, channels, vectors), elements=elements))


@st.composite
def feature_pairs(
    draw: st.DrawFn,
    dtype: type[np.floating[Any]] = np.float32,
    elements: st.SearchStrategy[float] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Activations of two sets of unequal size with the same channels."""
    channels = draw(st.integers(1, 3))
    first = draw(features(dtype, channels, elements))
    return first, draw(features(dtype, channels, elements))


@st.composite
def frequency_rows(draw: st.DrawFn, sets: int) -> list[NDArray[np.float64]]:
    """Relative frequencies (D, B) of several sets over the same bins; empty bins are common."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 12)))
    rows = []
    for _ in range(sets):
        counts = draw(npst.arrays(np.int64, shape, elements=st.integers(0, 9)))
        counts[:, draw(st.integers(0, shape[1] - 1))] += 1
        rows.append(counts / counts.sum(axis=1, keepdims=True))
    return rows


@st.composite
def labelled(
    draw: st.DrawFn, samples: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Truth (with ignored pixels) and prediction, (H, W) or (N, H, W), and the number of classes.

    Some classes are often absent from one or both.
    """
    classes = draw(st.integers(1, 5))
    size = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    shape = size if samples is None else (samples, *size)
    some = st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes)
    truth = draw(npst.arrays(np.uint8, shape, elements=st.sampled_from([*draw(some), 255])))
    prediction = draw(npst.arrays(np.uint8, shape, elements=st.sampled_from(draw(some))))
    return truth, prediction, classes


@st.composite
def cohorts(draw: st.DrawFn, words: bool = False) -> tuple[list[str], list[Any]]:
    """Subjects and strata of samples: 4 to 40 subjects with 1 to 3 samples each."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=4, max_size=40))
    subjects = [f"s{number:02d}" for number, size in enumerate(sizes) for _ in range(size)]
    values = st.sampled_from(["skin", "breast", "lung"]) if words else st.integers(0, 100)
    each = [draw(values) for _ in sizes]
    strata = [each[number] for number, size in enumerate(sizes) for _ in range(size)]
    return subjects, strata
