from __future__ import annotations

import numpy as np
import pytest

from skiptool.comparison.binned import Design
from skiptool.comparison.equal_draw import are_equal, equal_samples, unit_of, whole_sample
from skiptool.comparison.units import Units, equal_draw
from small_activations import Noted


def grouped(names: list[int]) -> Units:
    found = np.asarray(names)
    order = np.argsort(found, kind="stable")
    return Units(order, np.unique(found[order], return_index=True)[1])


def design(first: list[int], second: list[int]) -> Design:
    one, two = grouped(first), grouped(second)
    draw = equal_draw(one, two, paired=False, rng=np.random.default_rng(0))
    return Design(one, two, False, np.zeros((1, 1), dtype=np.int32), draw=draw)


def sets(how: Design, *vectors: int) -> tuple[Noted, Noted]:
    sizes = (len(how.reference.order), len(how.other.order))
    first, second = (Noted({"a": np.zeros((n, 2, k))}) for n, k in zip(sizes, vectors, strict=True))
    return first, second


def test_images_know_their_unit_and_share_its_weight() -> None:
    units = grouped([1, 0, 1, 2, 1])
    assert unit_of(units, 5).tolist() == [1, 0, 1, 2, 1]
    whole = whole_sample(units, 5)
    assert whole.weight.tolist() == pytest.approx([1 / 3, 1, 1 / 3, 1, 1 / 3])
    assert whole.vectors is None


@pytest.mark.parametrize(
    ("first", "second", "vectors", "equal"),
    [
        ([0, 1, 2], [0, 1], (4, 4), True),
        ([0, 1, 2], [0, 1], (4, 9), False),
        ([0, 0, 1], [1, 0, 0], (4, 4), True),
        ([0, 0, 1, 1], [0, 0], (4, 4), True),
        ([0, 0, 1, 1], [0], (4, 4), False),
    ],
)
def test_sets_of_unequal_units_need_a_draw(
    first: list[int], second: list[int], vectors: tuple[int, int], equal: bool
) -> None:
    how = design(first, second)
    assert are_equal(how, sets(how, *vectors), "a") is equal


@pytest.mark.parametrize("most", [None, 3, 7])
def test_every_unit_gives_what_the_equal_draw_says(most: int | None) -> None:
    how = design([0] * 5 + [1] * 4, [0, 0, 1, 1, 2])
    assert how.draw is not None
    found = equal_samples(how, sets(how, 16, 9), "a", most)
    for sample, units, offered in zip(
        found, (how.draw.reference, how.draw.other), (16, 9), strict=True
    ):
        assert np.flatnonzero(sample.weight).tolist() == sorted(units.order.tolist())
        for unit, size in enumerate(units.sizes):
            weights = sample.weight[(sample.unit == unit) & (sample.weight > 0)]
            assert weights.tolist() == pytest.approx([1 / size] * size)
        taken = offered if sample.vectors is None else sample.vectors.shape[1]
        assert taken == min(9, most or 9)
        if sample.vectors is not None:
            assert 0 <= sample.vectors.min() <= sample.vectors.max() < offered
            assert all(len(set(row)) == taken for row in sample.vectors.tolist())


def test_blocks_hold_what_was_drawn() -> None:
    how = design([0, 0, 1], [0, 1])
    sample = equal_samples(how, sets(how, 5, 5), "a", 2)[0]
    block = np.arange(30).reshape(3, 2, 5)
    rows = slice(0, 3)
    images = sample.images(rows)
    assert images.tolist() == np.flatnonzero(sample.weight).tolist()
    assert len(images) == 2
    found = sample.of(block, rows)
    assert sample.vectors is not None
    for place, image in enumerate(images):
        np.testing.assert_array_equal(found[place], block[image][:, sample.vectors[image]])
    later = sample.of(block[1:], slice(1, 3))
    np.testing.assert_array_equal(later, found[images >= 1])
