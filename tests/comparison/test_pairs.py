from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from definitions import Channel, adjusted, columns_of_channels
from skiptool.comparison.pairs import Pair, check_alike, left_out, measure_pairs
from skiptool.comparison.rows import columns_of, in_order
from skiptool.comparison.sets import Settings
from skiptool.comparison.units import (
    Units,
    drawn_vectors,
    equal_draw,
    least_p_value,
    paired_units,
)
from skiptool.errors import FormatError, MismatchError
from skiptool.names import LAYERWISE, Metric, RangeRule
from skiptool.stats.permutation import relabellings
from small_activations import LAYERS, ONE, PLAIN, Noted, activations, extremes, numbered, threads
from small_stores import refused

EXACT = Metric.WASSERSTEIN_EXACT
ALL = tuple(metric for metric in Metric if metric not in LAYERWISE)
"""Metrics of channels; the others have tests of their own."""
WITH_STATISTICS = tuple(metric for metric in ALL if metric is not EXACT)


def noted(images: int, seed: int, shift: float = 0.0, **how: Any) -> Noted:  # noqa: ANN401
    dtype = how.pop("dtype", np.float16)
    arrays = activations(images, seed, shift, dtype)
    arrays["enc1"][:, 1] = 0  # a channel that is constant everywhere
    names = how.pop("subjects", 3)
    subjects = [f"s{number % names}" for number in range(images)]
    return Noted(arrays, f"x{seed}", id=numbered(images), subject=subjects, **how)


def tables(
    sets: list[Noted], pairs: list[Pair], settings: Settings, workers: int = 1
) -> list[list[dict[str, Any]]]:
    """Columns of the shift table for each pair, metric after metric, layer after layer."""
    designs, found = measure_pairs(sets, pairs, settings, threads(workers))
    return [
        [columns_of(each, design) for each in in_order(measured, settings)]
        for design, measured in zip(designs, found, strict=True)
    ]


def one(x: Noted, y: Noted, settings: Settings, workers: int = 1) -> list[dict[str, Any]]:
    return tables([x, y], [(0, 1)], settings, workers)[0]


def members(units: Units) -> list[list[int]]:
    """Images of each unit."""
    ends = [*units.first[1:], len(units.order)]
    return [units.order[a:b].tolist() for a, b in zip(units.first, ends, strict=True)]


def by_subject(x: Noted) -> list[list[int]]:
    """Images of each subject, in the order in which subjects are met."""
    found = list(x.columns["subject"])
    return [[i for i, at in enumerate(found) if at == name] for name in dict.fromkeys(found)]


def drawn_of(x: Noted, y: Noted, layer: str, seed: int) -> tuple[Any, Any]:
    """Vectors that the test takes, of images with more of them than those of the other set."""
    sizes = [each.shape(layer)[2] for each in (x, y)]
    found = []
    for own, other, each in zip(sizes, sizes[::-1], (x, y), strict=True):
        rng = np.random.default_rng([seed, own, other])
        grids = (None, None)
        found.append(drawn_vectors(len(each), own, other, grids, rng) if own > other else None)
    return found[0], found[1]


@pytest.mark.parametrize("group", ["image", None])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(
    ("metric", "vectors"),
    [
        *((metric, "alike") for metric in WITH_STATISTICS),
        *((metric, "fewer") for metric in (Metric.HELLINGER, Metric.REPRESENTATION_SHIFT)),
    ],
)
def test_every_column_follows_from_the_definitions(
    metric: Metric, paired: bool, group: str | None, vectors: str
) -> None:
    x, y = noted(13, 2, subjects=6), noted(13 if paired else 9, 3, 0.4, subjects=6)
    if vectors == "fewer":
        y.arrays["enc1"] = y.arrays["enc1"][:, :, :2]
    settings = replace(PLAIN, metrics=(metric,), paired=paired, group=group, seed=3)
    units = tuple(
        [[i] for i in range(len(each))] if group == "image" else by_subject(each) for each in (x, y)
    )
    rng = np.random.default_rng(3)
    sizes = (len(units[0]), len(units[1]))
    relabelled = relabellings(*sizes, 19, paired=paired, rng=rng)
    first, second, _ = paired_units(x, y, settings)
    assert (members(first), members(second)) == units
    draw = equal_draw(first, second, paired=paired, rng=rng)
    assert (draw is None) == (group == "image" or paired)
    tested = None if draw is None else (members(draw.reference), members(draw.other))
    expected, nulls = {}, {}
    for name in LAYERS:
        vectors_drawn = drawn_of(x, y, name, 3)
        channels = [
            Channel(
                *(x.arrays[name][:, d], y.arrays[name][:, d], units, metric.value, 8),
                *(tested, vectors_drawn),
            )
            for d in range(LAYERS[name][0])
        ]
        least = least_p_value(*sizes, paired=paired)
        expected[name], nulls[name] = columns_of_channels(
            channels, relabelled, paired, least_p=least
        )
    over_layers = adjusted(
        [nulls[name][0] for name in LAYERS], [nulls[name][1:] for name in LAYERS]
    )
    found = one(x, y, settings)
    assert [each["layer"] for each in found] == list(LAYERS)
    for each, p in zip(found, over_layers, strict=True):
        rows = expected[each["layer"]]
        for number, row in enumerate(rows):
            for column, value in row.items():
                told = each[column][number]
                assert (told is None) == (value is None), (column, number)
                if value is not None:
                    assert told == pytest.approx(value, rel=2e-6, abs=2e-6), (column, number)
        assert each["p_adjusted"] == [p, *[None] * (len(rows) - 1)]
        assert each["constant_channels"] == ([1, 0, 1, 0] if each["layer"] == "enc1" else [0, 0, 0])
        assert (each["paired"], each["permutations"]) == (paired, 19)
        assert (each["n_reference"], each["n_other"]) == (len(x), len(y))
        assert (each["units_reference"], each["units_other"]) == tuple(map(len, units))
        assert each["unit"] == ("image" if group == "image" else "subject")
        fewer = vectors == "fewer" and each["layer"] == "enc1"
        assert each["drawn"] == (draw is not None or fewer)


MANY = Settings(metrics=ALL, bins=(5, 20), permutations=29, group="image")


def budget(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(Settings, "budget", property(lambda _: size))


@pytest.mark.long
@pytest.mark.parametrize("group", ["image", "subject"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_bounds_threads_and_blocks_do_not_change_a_bit(
    dtype: type, group: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(MANY, group=group)
    expected = one(noted(9, 0, dtype=dtype), noted(6, 1, 0.2, dtype=dtype), settings)
    for size, workers, chunk in ((1, 1, 3), (10**9, 2, 1), (5000, 2, 100), (300_000, 1, 4)):
        budget(monkeypatch, size)
        x, y = (noted(n, s, d, dtype=dtype, chunk=chunk) for n, s, d in ((9, 0, 0.0), (6, 1, 0.2)))
        found = one(x, y, replace(settings, workers=workers), workers)
        assert found == expected, (size, workers, chunk)


@pytest.mark.parametrize("group", ["image", "subject"])
def test_the_order_of_paired_images_does_not_change_a_bit(group: str | None) -> None:
    settings = replace(MANY, group=group, metrics=WITH_STATISTICS)
    x, y = noted(8, 0, dataset="d"), noted(8, 1, 0.2, dataset="d")
    expected = one(x, y, settings)
    assert expected[0]["paired"]
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    moved = y.reordered(order)
    if group == "image":
        assert one(x, moved, settings) == expected
    else:  # images of a subject are added up in another order: the means of images round
        binned = replace(settings, metrics=(Metric.HELLINGER, Metric.KL))
        assert one(x, moved, binned) == one(x, y, binned)
    assert one(x, moved, replace(settings, paired=False)) != expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_ranges_that_are_kept_spare_a_pass_and_change_nothing(dtype: type) -> None:
    x, y = noted(7, 0, dtype=dtype), noted(5, 1, dtype=dtype)
    expected = one(x, y, PLAIN)
    passes = len(x.reads)
    for each in (x, y):
        each.kept, each.reads = extremes(each.arrays), []
    assert one(x, y, PLAIN) == expected
    assert len(x.reads) == passes // 2 == 3 * len(LAYERS)


def test_relabellings_are_shared_by_layers_and_metrics() -> None:
    """Layers of the same values have the same null, and are adjusted to no more than one."""
    arrays = {"a": activations(8)["enc1"]} | {"b": activations(8)["enc1"]}
    others = {name: activations(6, 1, 0.1)["enc1"] for name in arrays}
    found = one(Noted(arrays), Noted(others), PLAIN)
    assert found[0]["null_mean"] == found[1]["null_mean"]
    assert found[0]["p_adjusted"] == found[1]["p_adjusted"] == [found[0]["p_value"][0], *[None] * 3]


def test_one_layer_is_adjusted_to_itself() -> None:
    x, y = ({"enc1": activations(n, n)["enc1"]} for n in (7, 5))
    (found,) = one(Noted(x), Noted(y), PLAIN)
    assert found["p_adjusted"][0] == found["p_value"][0]


def test_adjusted_values_are_no_smaller_and_of_their_own_metric() -> None:
    x, y = noted(8, 0), noted(6, 1, 0.3)
    found = one(x, y, MANY)
    for each in found:
        if each["metric"] == "wasserstein-exact":
            assert each["p_adjusted"] == [None] * len(each["value"])
        else:
            assert each["p_adjusted"][0] >= each["p_value"][0]
    alone = one(x, y, replace(MANY, metrics=(Metric.KL,), bins=(20,)))
    assert [e for e in found if (e["metric"], e["bins"]) == ("kl", 20)] == alone


@pytest.mark.long
def test_a_pair_does_not_depend_on_what_else_is_compared() -> None:
    sets = [noted(n, s, s / 5) for s, n in enumerate((6, 5, 7))]
    pairs = list(combinations(range(3), 2))
    together = tables(sets, pairs, MANY)
    for (first, second), found in zip(pairs, together, strict=True):
        assert found == one(sets[first], sets[second], MANY)


def test_every_set_is_read_once_whatever_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [noted(6, s, chunk=4) for s in range(3)]
    for each in sets:
        each.kept = extremes(each.arrays)
    pairs = list(combinations(range(3), 2))
    once = [(layer, a, b) for layer in LAYERS for a, b in ((0, 4), (4, 6))]
    expected = tables(sets, pairs, PLAIN)
    assert all(each.reads == once for each in sets)
    budget(monkeypatch, 1)
    assert tables(sets, pairs, PLAIN) == expected
    assert all(each.reads == 2 * once for each in sets)


def test_nothing_is_kept_for_other_machines() -> None:
    sets = [noted(6, s) for s in range(3)]
    measure_pairs(sets, [(0, 1), (0, 2)], PLAIN, ONE, keep=False)
    assert len(sets[0].reads) == 2 * len(sets[1].reads)


def test_progress_counts_every_image_of_every_pair_and_layer() -> None:
    class Counting:
        total, done, notes = 0, 0, []

        def task(self, _text: str, total: int) -> Any:  # noqa: ANN401
            from contextlib import nullcontext

            self.total = total
            return nullcontext(self)

        def advance(self, steps: int = 1, note: str = "") -> None:
            self.done += steps
            self.notes.append(note)

        def warn(self, line: str) -> None:
            raise AssertionError(line)

    progress = Counting()
    sets = [noted(6, 0), noted(4, 1), noted(5, 2)]
    measure_pairs(sets, [(0, 1), (0, 2)], PLAIN, ONE, progress)
    assert progress.done == progress.total == (10 + 11) * len(LAYERS)
    assert list(dict.fromkeys(progress.notes)) == list(LAYERS)


def test_layers_may_stand_in_another_order() -> None:
    x, y = noted(6, 0), noted(5, 1)
    expected = one(x, y, PLAIN)
    y.arrays = dict(reversed(y.arrays.items()))
    assert one(x, y, PLAIN) == expected


def test_sets_that_are_not_alike() -> None:
    x = noted(3, 0)
    y = Noted({"head": np.zeros((3, 2, 6))}, "y")
    with refused(MismatchError, "y against x0", "no layer in common", "dec0", "head", "--layers"):
        check_alike(x, y)
    y.arrays = {"enc1": np.zeros((3, 3, 4)), "head": np.zeros((3, 2, 6))}
    check_alike(x, y)
    assert left_out(x, y) == ("dec0", "head")
    y.arrays["dec0"] = np.zeros((3, 5, 6))
    with refused(MismatchError, "layer dec0 has 5 channels, the reference 2"):
        measure_pairs([x, y], [(0, 1)], PLAIN, ONE)
    assert y.reads == []
    y.arrays["dec0"] = np.zeros((9, 2, 1))  # another N and K
    check_alike(x, y)


def test_a_bad_value_in_the_last_layer_ends_it_all() -> None:
    x, y = noted(6, 0), noted(6, 1)
    y.arrays["dec0"][4, 1, 3] = np.nan
    with refused(FormatError, "x1: layer dec0, image im004, channel 1"):
        one(x, y, PLAIN)


@pytest.mark.parametrize("rule", RangeRule)
def test_equal_sets_are_at_0_and_certainly_so(rule: RangeRule) -> None:
    x = noted(6, 0, dataset="d")
    settings = Settings(range_rule=rule, bins=(8,), permutations=19)
    for each in one(x, noted(6, 0, dataset="d"), settings):
        assert each["p_value"][0] in (1.0, None)
        assert each["p_adjusted"][0] in (1.0, None)
        if rule is not RangeRule.LITERAL:
            assert set(each["value"]) == {0.0}


def test_the_literal_reading_has_no_statistics() -> None:
    settings = Settings(range_rule=RangeRule.LITERAL)
    for each in one(noted(6, 0), noted(5, 1), settings):
        assert all(value is not None for value in each["value"])
        for name in ("corrected", "ci_low", "null_mean", "p_value", "p_adjusted", "range_used"):
            assert set(each[name]) == {None}, name
        assert each["permutations"] == 0
        assert each["range_rule"] == "literal-eq5"


def test_without_permutations_there_is_no_null() -> None:
    for each in one(noted(6, 0), noted(5, 1), replace(MANY, permutations=0)):
        for name in ("null_mean", "null_high", "p_value", "p_adjusted"):
            assert set(each[name]) == {None}, name
        assert (each["corrected"][0] is None) == (each["metric"] == "wasserstein-exact")


def test_mixed_types_are_compared_by_their_values() -> None:
    x, y = noted(6, 0), noted(5, 1, 0.3)
    halves = one(x, y, MANY)
    y.arrays = {name: array.astype(np.float32) for name, array in y.arrays.items()}
    found = one(x, y, MANY)
    for each, known in zip(found, halves, strict=True):
        assert each["value"] == pytest.approx(known["value"], rel=1e-12)
        assert each["p_value"] == known["p_value"]
