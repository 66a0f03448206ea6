from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from skiptool.comparison.activations import Settings
from skiptool.comparison.units import (
    Units,
    draw_vectors,
    equal_draw,
    exchangeable_rows,
    mismatched_subject,
    paired_units,
    smallest_p_value,
    subjects_repeat,
    unit_column,
)
from skiptool.errors import ArgumentError, MismatchError
from small_activations import Noted
from small_stores import refused
from strategies import SEEDS

SETTINGS = Settings()
PAIRED, UNPAIRED = replace(SETTINGS, paired=True), replace(SETTINGS, paired=False)


def noted(images: int, where: str = "x", dataset: str | None = None, **columns: Any) -> Noted:  # noqa: ANN401
    return Noted({"f": np.zeros((images, 1, 1))}, where, dataset=dataset, **columns)


def members(units: Units) -> list[list[int]]:
    """Images of each unit."""
    ends = [*units.first[1:], len(units.order)]
    return [units.order[a:b].tolist() for a, b in zip(units.first, ends, strict=True)]


def test_images_are_units_by_themselves() -> None:
    first, second, paired = paired_units(noted(3), noted(5), SETTINGS)
    assert (members(first), members(second)) == ([[0], [1], [2]], [[0], [1], [2], [3], [4]])
    assert not paired


def test_ids_pair_images_of_one_dataset_in_any_order() -> None:
    x = noted(3, dataset="d", id=["a", "b", "c"])
    y = noted(3, "y", dataset="d", id=["c", "a", "b"])
    first, second, paired = paired_units(x, y, SETTINGS)
    assert paired
    assert (members(first), members(second)) == ([[0], [1], [2]], [[1], [2], [0]])


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "e", "id": ["a", "b"]},
        {"dataset": None, "id": ["a", "b"]},
        {"dataset": "d", "id": ["a", "c"]},
    ],
    ids=["another dataset", "no dataset", "other images"],
)
def test_other_sets_are_paired_on_request_only(other: dict[str, Any]) -> None:
    x, y = noted(2, dataset="d", id=["a", "b"]), noted(2, "y", **other)
    assert not paired_units(x, y, SETTINGS)[2]
    if other["id"] == ["a", "b"]:
        assert paired_units(x, y, PAIRED)[2]


def test_pairs_may_be_declined() -> None:
    x = noted(2, dataset="d", id=["a", "b"])
    y = noted(2, dataset="d", id=["b", "a"])
    first, second, paired = paired_units(x, y, UNPAIRED)
    assert (members(first), members(second), paired) == ([[0], [1]], [[0], [1]], False)


def test_sets_without_ids_are_paired_by_order() -> None:
    first, second, paired = paired_units(noted(2), noted(2), PAIRED)
    assert (members(first), members(second), paired) == ([[0], [1]], [[0], [1]], True)


def test_repeated_ids_are_ignored() -> None:
    x, y = noted(3, id=["a", "a", "b"]), noted(3, id=["b", "a", "a"])
    first, second, _ = paired_units(x, y, PAIRED)
    assert members(first) == members(second) == [[0], [1], [2]]


def test_unpaired_units_are_refused_with_examples() -> None:
    x = noted(5, id=list("abcde"))
    with refused(MismatchError, "y against x", "2 of 5 units", "(d, e)", "--unpaired"):
        paired_units(x, noted(3, "y", id=list("cba")), PAIRED)
    with refused(MismatchError, "8 of 8 units", "(a, b, c, ...)"):
        paired_units(x, noted(3, "y", id=list("fgh")), PAIRED)
    with refused(MismatchError, "2 of 5 units"):
        paired_units(noted(5), noted(3, "y"), PAIRED)


GROUPED = replace(SETTINGS, group="subject")


def test_groups_gather_images_in_any_order() -> None:
    x = noted(5, subject=["s1", "s0", "s1", "s2", "s0"])
    y = noted(2, subject=["s0", "s0"])
    first, second, paired = paired_units(x, y, GROUPED)
    assert (members(first), members(second), paired) == ([[0, 2], [1, 4], [3]], [[0, 1]], False)


def test_groups_are_paired_by_name() -> None:
    x = noted(4, dataset="d", id=list("abcd"), subject=["p", "q", "p", "q"])
    y = noted(4, dataset="d", id=list("dcba"), subject=["q", "p", "q", "p"])
    first, second, paired = paired_units(x, y, GROUPED)
    assert paired
    assert (members(first), members(second)) == ([[0, 2], [1, 3]], [[1, 3], [0, 2]])


def test_paired_groups_may_be_of_unequal_size() -> None:
    x, y = noted(3, subject=["p", "q", "p"]), noted(2, subject=["q", "p"])
    first, second, _ = paired_units(x, y, replace(GROUPED, paired=True))
    assert (members(first), members(second)) == ([[0, 2], [1]], [[1], [0]])


def test_groups_need_not_be_strings() -> None:
    x, y = noted(3, subject=np.array([7, 3, 7])), noted(1, subject=[3.5])
    first, second, _ = paired_units(x, y, GROUPED)
    assert (members(first), members(second)) == ([[0, 2], [1]], [[0]])


def test_a_missing_column_is_reported_with_the_available_ones() -> None:
    x = noted(2, subject=["a", "b"], id=["0", "1"])
    with refused(ArgumentError, "y: has no column 'subject'", "id, subjct", "did you mean subjct?"):
        paired_units(x, noted(2, "y", id=["0", "1"], subjct=["a", "b"]), GROUPED)
    with refused(ArgumentError, "x: has no column 'subject'", "it has none"):
        paired_units(noted(2), noted(2), GROUPED)


def test_counts_of_groups_are_sums_and_means_of_means() -> None:
    units, _, _ = paired_units(noted(4, subject=list("abba")), noted(1, subject=["a"]), GROUPED)
    counts = np.arange(4 * 2 * 3).reshape(4, 2, 3).astype(np.uint16)
    counts[0, 0, 0] = counts[3, 0, 0] = 65_535
    found = units.sum_counts(counts)
    assert found.dtype == np.uint32  # a sum of 16 bit may need more
    expected = [counts[[0, 3]].sum(axis=0, dtype=np.int64), counts[[1, 2]].sum(axis=0)]
    np.testing.assert_array_equal(found, expected)
    means = np.array([[1.0], [5.0], [7.0], [2.0]])
    np.testing.assert_array_equal(units.average(means), [[1.5], [6.0]])


def test_counts_of_images_in_order_are_not_copied() -> None:
    x = noted(3, dataset="d", id=["a", "b", "c"])
    y = noted(3, dataset="d", id=["b", "c", "a"])
    first, second, _ = paired_units(x, y, SETTINGS)
    counts = np.arange(6, dtype=np.uint16).reshape(3, 2, 1)
    assert first.sum_counts(counts) is counts
    np.testing.assert_array_equal(second.sum_counts(counts), counts[[2, 0, 1]])


def test_subjects_are_the_units_if_they_repeat_in_either_set() -> None:
    x, y = noted(4, subject=list("abca")), noted(3, "y", subject=list("pqr"))
    for first, second in ((x, y), (y, x), (x, x)):
        assert unit_column(first, second, SETTINGS) == "subject"
    found, other, _ = paired_units(x, y, SETTINGS)
    assert (members(found), members(other)) == ([[0, 3], [1], [2]], [[0], [1], [2]])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"subject": list("abcd")}, {"subject": list("abce")}),
        ({"subject": list("aabb")}, {}),
        ({}, {"subject": list("aabb")}),
        ({}, {}),
        ({"subject": ["a", "a", "", "b"]}, {"subject": list("abcd")}),
        ({"subject": [""] * 4}, {"subject": [""] * 4}),
        ({"patient": list("aabb")}, {"patient": list("aabb")}),
    ],
)
def test_images_are_the_units_if_subjects_do_not_repeat(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    x, y = noted(4, **first), noted(4, "y", **second)
    assert unit_column(x, y, SETTINGS) is None
    assert [len(each) for each in paired_units(x, y, SETTINGS)[:2]] == [4, 4]


def test_images_may_be_requested_as_units() -> None:
    x = noted(4, subject=list("aabb"), image=list("pqpq"))
    how = replace(SETTINGS, group="image")
    assert unit_column(x, x, how) is None
    assert members(paired_units(x, x, how)[0]) == [[0], [1], [2], [3]]
    assert unit_column(x, x, replace(SETTINGS, group="slice")) == "slice"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (list("aab"), True),
        (list("abc"), False),
        (["a"], False),
        ([], False),
        (["", "", "a"], False),
        (["", "a", "a"], False),
        ([7, 7, 3], True),
    ],
)
def test_subjects_repeat(names: list[Any], expected: bool) -> None:
    assert subjects_repeat(noted(max(1, len(names)), subject=names)) == expected


def sized(*sizes: int) -> Units:
    """Units of the given numbers of images, in any order."""
    order = np.random.default_rng(sum(sizes)).permutation(sum(sizes))
    return Units(order, np.append(0, np.cumsum(sizes)[:-1]))


@st.composite
def both_units(draw: st.DrawFn, *, alike: bool) -> tuple[Units, Units]:
    sizes = st.integers(1, 9)
    first = draw(st.lists(sizes, min_size=1, max_size=12))
    many = len(first) if alike else 1
    second = draw(st.lists(sizes, min_size=many, max_size=len(first) if alike else 12))
    return sized(*first), sized(*second)


@given(units=both_units(alike=False), paired=st.booleans(), seed=SEEDS)
def test_drawn_images_belong_to_their_unit(
    units: tuple[Units, Units], paired: bool, seed: int
) -> None:
    paired = paired and len(units[0]) == len(units[1])
    draw = equal_draw(*units, paired=paired, rng=np.random.default_rng(seed))
    if draw is None:
        return
    again = equal_draw(*units, paired=paired, rng=np.random.default_rng(seed))
    assert again is not None
    for found, same, whole in zip(
        (draw.reference, draw.other), (again.reference, again.other), units, strict=True
    ):
        assert members(found) == members(same)
        assert len(found) == len(whole)
        for drawn, own in zip(members(found), members(whole), strict=True):
            assert set(drawn) <= set(own)
            assert 1 <= len(drawn) == len(set(drawn)) <= len(own)
    sizes = [each.sizes for each in units]
    assert any(
        (each.sizes < own).any()
        for each, own in zip((draw.reference, draw.other), sizes, strict=True)
    )


@given(units=both_units(alike=True), seed=SEEDS)
def test_sets_of_equally_many_units_end_with_the_same_sizes(
    units: tuple[Units, Units], seed: int
) -> None:
    draw = equal_draw(*units, paired=False, rng=np.random.default_rng(seed))
    first, second = units if draw is None else (draw.reference, draw.other)
    assert sorted(first.sizes) == sorted(second.sizes)
    # No more is lost than must be: rank by rank, the smaller of both sizes stays.
    ranks = np.minimum(*(np.sort(each.sizes) for each in units))
    assert sorted(first.sizes) == ranks.tolist()


@given(units=both_units(alike=True), seed=SEEDS)
def test_pairs_end_with_the_same_size(units: tuple[Units, Units], seed: int) -> None:
    draw = equal_draw(*units, paired=True, rng=np.random.default_rng(seed))
    first, second = units if draw is None else (draw.reference, draw.other)
    least = np.minimum(units[0].sizes, units[1].sizes).tolist()
    assert first.sizes.tolist() == second.sizes.tolist() == least


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9), order=SEEDS)
def test_nothing_is_drawn_if_sizes_agree(sizes: list[int], order: int) -> None:
    moved = np.random.default_rng(order).permutation(sizes).tolist()
    rng = np.random.default_rng(0)
    assert equal_draw(sized(*sizes), sized(*moved), paired=False, rng=rng) is None
    assert equal_draw(sized(*sizes), sized(*sizes), paired=True, rng=rng) is None
    twice = [each for each in sizes for _ in range(2)]
    assert equal_draw(sized(*sizes), sized(*twice), paired=False, rng=rng) is None


def test_sizes_are_lowered_to_quantiles_of_the_other_set() -> None:
    rng = np.random.default_rng(0)
    draw = equal_draw(sized(9, 1, 5, 3), sized(4, 2), paired=False, rng=rng)
    assert draw is not None
    # Ranks 0.125 and 0.375 of two are the smaller, 0.625 and 0.875 the larger.
    assert draw.reference.sizes.tolist() == [4, 1, 4, 2]
    # Ranks 0.25 and 0.75 of four are the second and the last.
    assert draw.other.sizes.tolist() == [4, 2]


def pooled(sizes: list[int], together: int) -> Units:
    """Units of the given numbers of images, in rows of a fixed size, the last one shorter."""
    rows = [[min(together, size - at) for at in range(0, size, together)] for size in sizes]
    held = [each for row in rows for each in row]
    first = np.cumsum([0, *(len(row) for row in rows[:-1])])
    return Units(np.arange(len(held)), first, np.array(held))


@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8),
    together=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    paired=st.booleans(),
    seed=SEEDS,
)
def test_only_rows_of_equally_many_images_are_tested(
    sizes: list[tuple[int, int]], together: tuple[int, int], paired: bool, seed: int
) -> None:
    own = [[pair[side] for pair in sizes] for side in (0, 1)]
    units = [pooled(*each) for each in zip(own, together, strict=True)]
    found = exchangeable_rows(*units, paired=paired)
    most = [int(each.row_images.max()) for each in units]
    if own[0] == own[1] if paired else sorted(own[0]) == sorted(own[1]):
        assert found is not None
        assert (found.reference, found.other) == tuple(units)
        return
    whole = [
        [min(a // most[0], b // most[1]) if paired else size // most[side] for size, (a, b) in each]
        for side, each in enumerate(zip(column, sizes, strict=True) for column in own)
    ]
    if most[0] != most[1] or not any(whole[0]):
        assert found is None
        return
    assert found is not None
    for tested, unit, kept in zip((found.reference, found.other), units, whole, strict=True):
        assert set(tested.row_images.tolist()) == set(most)
        # Units that have a full row (in both sets, where they are pairs) stay with all of these.
        full = [
            [row for row in rows if unit.row_images[row] == most[0]]
            for rows, rest in zip(members(unit), kept, strict=True)
            if rest
        ]
        assert members(tested) == full
    draw = equal_draw(found.reference, found.other, paired=paired, rng=np.random.default_rng(seed))
    if paired and draw is not None:
        assert draw.reference.sizes.tolist() == [rows for rows in whole[0] if rows]
        assert draw.other.sizes.tolist() == draw.reference.sizes.tolist()


def test_rows_of_one_image_count_as_images() -> None:
    units = sized(3, 1), sized(2, 2)
    found = exchangeable_rows(*units, paired=False)
    assert found is not None
    assert (found.reference, found.other) == units


def test_units_of_rows_count_their_images() -> None:
    units = pooled([5, 3, 6], 3)
    assert (units.sizes.tolist(), units.images.tolist()) == ([2, 1, 2], [5, 3, 6])
    assert not units.equal
    assert pooled([3, 3], 3).equal
    assert pooled([4, 4], 3).equal


def test_every_image_is_equally_likely_to_be_drawn() -> None:
    taken = np.zeros(8)
    for seed in range(600):
        draw = equal_draw(sized(8), sized(2), paired=False, rng=np.random.default_rng(seed))
        assert draw is not None
        taken[draw.reference.order] += 1
    assert taken.sum() == 1200
    assert chisquare(taken).pvalue > 1e-4


WINDOWS = st.tuples(*[st.integers(1, 6)] * 4)


@given(sides=WINDOWS, images=st.integers(1, 5), known=st.booleans(), seed=SEEDS)
def test_vectors_are_drawn_in_windows_of_the_smaller_grid(
    sides: tuple[int, int, int, int], images: int, known: bool, seed: int
) -> None:
    rows, columns, more_rows, more_columns = sides
    if not known:
        columns, more_columns = rows, more_rows
    grid, window = (rows + more_rows, columns + more_columns), (rows, columns)
    grids = (grid, window) if known else (None, None)
    found = draw_vectors(
        images, grid[0] * grid[1], rows * columns, grids, np.random.default_rng(seed)
    )
    assert found.shape == (images, rows * columns)
    for each in found:
        place = np.unravel_index(each, grid)
        corner = place[0].min(), place[1].min()
        expected = [
            (corner[0] + i) * grid[1] + corner[1] + j for i in range(rows) for j in range(columns)
        ]
        assert each.tolist() == expected
        assert corner[0] + rows <= grid[0]
        assert corner[1] + columns <= grid[1]


def test_corners_of_windows_are_uniform_in_each_image() -> None:
    grids = ((4, 3), (2, 2))
    found = draw_vectors(3000, 12, 4, grids, np.random.default_rng(0))
    corners, times = np.unique(found[:, 0], return_counts=True)
    assert corners.tolist() == [0, 1, 3, 4, 6, 7]
    assert chisquare(times).pvalue > 1e-4


@pytest.mark.parametrize(
    ("vectors", "least", "grids"),
    [
        (12, 5, (None, None)),  # neither is square
        (9, 5, (None, None)),
        (12, 4, ((3, 4), (4, 1))),  # too high
        (12, 4, ((4, 3), (1, 4))),  # too wide
        (12, 6, ((3, 5), (2, 3))),  # not a grid of so many vectors
        (12, 6, ((3, 4), None)),
    ],
)
def test_vectors_are_drawn_at_random_if_no_window_fits(
    vectors: int, least: int, grids: tuple[Any, Any]
) -> None:
    found = draw_vectors(2000, vectors, least, grids, np.random.default_rng(1))
    assert found.shape == (2000, least)
    assert (np.diff(found, axis=1) > 0).all()
    times = np.bincount(found.ravel(), minlength=vectors)
    assert len(times) == vectors
    assert times.min() > 0.85 * times.mean()
    assert len(np.unique(found, axis=0)) > vectors  # not windows


def test_grids_that_do_not_fit_the_vectors_are_assumed_square() -> None:
    rng = np.random.default_rng
    wrong = draw_vectors(50, 16, 4, ((3, 4), (2, 3)), rng(0))
    np.testing.assert_array_equal(wrong, draw_vectors(50, 16, 4, (None, None), rng(0)))


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=6),
    vectors=st.integers(1, 400),
    scaled=st.sampled_from([None, True]),
    seed=SEEDS,
)
def test_units_weigh_equally(
    sizes: list[int], vectors: int, scaled: bool | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    units = sized(*sizes)
    parts = rng.multinomial(vectors, [0.2, 0.3, 0.5], size=(sum(sizes), 2)).astype(np.uint16)
    found = units.sum_counts(parts, scaled=scaled)
    totals = found.sum(axis=2, dtype=np.int64)
    assert totals.max() <= (1 + 1e-3) * totals.min()
    if scaled or len(set(sizes)) > 1:
        assert (totals <= 2**26).all()
        assert (totals > 2**26 * (1 - 1e-3)).all()
    for unit, images in enumerate(members(units)):
        known = parts[images].sum(axis=0, dtype=np.int64)
        np.testing.assert_allclose(found[unit] / totals[unit, 0], known / known[0].sum())
    plain = units.sum_counts(parts, scaled=False)
    expected = [parts[images].sum(axis=0, dtype=np.int64) for images in members(units)]
    np.testing.assert_array_equal(plain, expected)


def test_units_of_more_values_than_the_total_are_not_scaled() -> None:
    counts = np.full((3, 1, 1), 2**25, np.uint32)
    found = Units(np.arange(3), np.array([0, 1])).sum_counts(counts)
    assert found.ravel().tolist() == [2**26, 2**26]
    counts[0] = 2**27
    assert Units(np.arange(3), np.array([0, 1])).sum_counts(counts)[0, 0, 0] == 2**27


@pytest.mark.parametrize("n", range(1, 6))
@pytest.mark.parametrize("m", range(1, 6))
def test_the_smallest_p_value_by_enumeration(n: int, m: int) -> None:
    rng = np.random.default_rng([n, m])
    values = rng.normal(size=n + m)
    values[:n] += 100  # as far apart as can be
    everyone = range(n + m)

    def apart(chosen: tuple[int, ...]) -> float:
        rest = [i for i in everyone if i not in chosen]
        return abs(values[list(chosen)].mean() - values[rest].mean())

    ways = [apart(chosen) for chosen in combinations(everyone, n)]
    reached = np.mean([way >= apart(tuple(range(n))) - 1e-9 for way in ways])
    assert smallest_p_value(n, m, paired=False) == pytest.approx(reached)
    if n == m:
        pairs = [
            apart(tuple(i + n * swap for i, swap in enumerate(swaps)))
            for swaps in product((0, 1), repeat=n)
        ]
        reached = np.mean([way >= apart(tuple(range(n))) - 1e-9 for way in pairs])
        assert smallest_p_value(n, n, paired=True) == pytest.approx(reached)


def test_equal_names_of_different_subjects_are_not_paired() -> None:
    """Two hospitals that both number their slices from 0, and one that names them."""
    names = {"dataset": "d", "id": ["0", "1", "2"]}
    x = noted(3, **names, subject=["p", "q", "r"])
    strangers = noted(3, "y", **names, subject=["s", "t", "u"])
    swapped = noted(3, "y", **names, subject=["p", "r", "q"])
    for other in (strangers, swapped):
        assert not paired_units(x, other, SETTINGS)[2]
        with refused(MismatchError, "y against x", "different subjects", "--unpaired"):
            paired_units(x, other, PAIRED)
    assert mismatched_subject(x, swapped) == "1"
    same = noted(3, "y", dataset="d", id=["2", "0", "1"], subject=["r", "p", "q"])
    unknown = noted(3, "y", **names, subject=["", "q", ""])
    for other in (same, unknown, noted(3, "y", **names)):
        assert paired_units(x, other, SETTINGS)[2]
        assert mismatched_subject(x, other) is None
