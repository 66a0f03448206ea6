from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.comparison.binned import Design
from skiptool.comparison.equal_draw import are_equal, equal_samples, unit_of, whole_sample
from skiptool.comparison.units import Units


def grouped(names: list[int]) -> Units:
    found = np.asarray(names)
    order = np.argsort(found, kind="stable")
    return Units(order, np.unique(found[order], return_index=True)[1])


def design(first: list[int], second: list[int], *, paired: bool = False) -> Design:
    return Design(grouped(first), grouped(second), paired, np.zeros((1, 1), dtype=np.int32))


def shapes(how: Design, *vectors: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    sizes = (len(how.reference.order), len(how.other.order))
    return (sizes[0], 2, vectors[0]), (sizes[1], 2, vectors[1])


def test_images_know_their_unit_and_share_its_weight() -> None:
    units = grouped([1, 0, 1, 2, 1])
    assert unit_of(units).tolist() == [1, 0, 1, 2, 1]
    whole = whole_sample(units)
    assert whole.weight.tolist() == pytest.approx([1 / 3, 1, 1 / 3, 1, 1 / 3])
    assert whole.vectors is None


@pytest.mark.parametrize(
    ("first", "second", "vectors", "paired", "equal"),
    [
        ([0, 1, 2], [0, 1], (4, 4), False, True),
        ([0, 1, 2], [0, 1], (4, 9), False, False),
        ([0, 0, 1], [0, 0, 1], (4, 4), False, False),
        ([0, 0, 1], [1, 0, 0], (4, 4), True, True),
        ([0, 0, 1], [1, 1, 0], (4, 4), True, False),
        ([0, 0, 1, 1], [0, 0], (4, 4), False, True),
    ],
)
def test_units_of_one_size(
    first: list[int], second: list[int], vectors: tuple[int, int], paired: bool, equal: bool
) -> None:
    how = design(first, second, paired=paired)
    assert are_equal(how, shapes(how, *vectors)) is equal


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.booleans(),
    st.integers(1, 7),
)
def test_every_unit_gives_as_many_images_and_vectors(
    first: list[int], second: list[int], paired: bool, most: int
) -> None:
    if paired:
        second = [*second, *[2] * len(first)][: len(first)]
    names = [np.repeat(np.arange(len(each)), each).tolist() for each in (first, second)]
    how = design(*names, paired=paired)
    found = equal_samples(how, shapes(how, 4, 6), most, 3)
    least = np.minimum(first, second) if paired else np.full(9, min(*first, *second))
    for sample, sizes, offered in zip(found, (first, second), (4, 6), strict=True):
        for unit in range(len(sizes)):
            weights = sample.weight[sample.unit == unit]
            assert np.count_nonzero(weights) == least[unit]
            assert weights.sum() == pytest.approx(1.0)
        taken = offered if sample.vectors is None else sample.vectors.shape[1]
        assert taken == min(4, most)
        if sample.vectors is not None:
            assert (np.diff(sample.vectors, axis=1) > 0).all()
            assert sample.vectors.min() >= 0
            assert sample.vectors.max() < offered


def test_blocks_hold_what_was_drawn() -> None:
    how = design([0, 0, 1], [0, 1])
    sample = equal_samples(how, shapes(how, 5, 5), 2, 0)[0]
    block = np.arange(30).reshape(3, 2, 5)
    rows = slice(0, 3)
    images = sample.images(rows)
    assert images.tolist() == np.flatnonzero(sample.weight).tolist()
    assert len(images) == 2
    found = sample.of(block, rows)
    for place, image in enumerate(images):
        np.testing.assert_array_equal(found[place], block[image][:, sample.vectors[image]])
    later = sample.of(block[1:], slice(1, 3))
    np.testing.assert_array_equal(later, found[images >= 1])
