"""Tests of ``pairs``."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from definitions import Channel, adjusted, columns_of_channels
from skiptool.comparison import pairs as transmission
from skiptool.comparison.activations import Settings
from skiptool.comparison.layer import Design
from skiptool.comparison.pairs import (
    FEWEST_UNITS,
    LEAST_INPUT_Z,
    MOST_BIAS,
    PRINTED,
    Pair,
    add_transmission,
    check_comparable,
    layer_warnings,
    measure_pairs,
    outlier_stretched,
    pair_warnings,
    result_columns,
    sort_results,
    unshared_layers,
)
from skiptool.comparison.results import LayerResult
from skiptool.comparison.units import (
    EqualDraw,
    Units,
    draw_vectors,
    equal_draw,
    paired_units,
    smallest_p_value,
)
from skiptool.errors import FormatError, MismatchError
from skiptool.names import LAYERWISE, Kind, Metric, RangeRule
from skiptool.stats.permutation import relabellings
from skiptool.steps.hellinger import compare_features
from skiptool.stores.tables import as_table
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
        [result_columns(each, design) for each in sort_results(measured, settings)]
        for design, measured in zip(designs, found, strict=True)
    ]


def one(x: Noted, y: Noted, settings: Settings, workers: int = 1) -> list[dict[str, Any]]:
    return tables([x, y], [(0, 1)], settings, workers)[0]


def members(units: Units) -> list[list[int]]:
    """Images of each unit."""
    ends = [*units.first[1:], len(units.order)]
    return [units.order[a:b].tolist() for a, b in zip(units.first, ends, strict=True)]


def by_subject(x: Noted) -> list[list[int]]:
    """Images of each subject, in order of first appearance."""
    found = list(x.columns["subject"])
    return [[i for i, at in enumerate(found) if at == name] for name in dict.fromkeys(found)]


def drawn_of(x: Noted, y: Noted, layer: str, seed: int) -> tuple[Any, Any]:
    """Vectors drawn for the test from images that have more than those of the other set."""
    sizes = [each.shape(layer)[2] for each in (x, y)]
    found = []
    for own, other, each in zip(sizes, sizes[::-1], (x, y), strict=True):
        rng = np.random.default_rng([seed, own, other])
        grids = (None, None)
        found.append(draw_vectors(len(each), own, other, grids, rng) if own > other else None)
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
                x.arrays[name][:, d],
                y.arrays[name][:, d],
                units,
                metric.value,
                8,
                tested,
                vectors_drawn,
            )
            for d in range(LAYERS[name][0])
        ]
        least = smallest_p_value(*sizes, paired=paired)
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
def test_results_have_equal_bits_for_any_memory_threads_and_blocks(
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
def test_stored_ranges_save_a_pass_and_change_nothing(dtype: type) -> None:
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


def test_a_single_layer_needs_no_adjustment() -> None:
    x, y = ({"enc1": activations(n, n)["enc1"]} for n in (7, 5))
    (found,) = one(Noted(x), Noted(y), PLAIN)
    assert found["p_adjusted"][0] == found["p_value"][0]


def test_adjusted_p_values_are_not_smaller_and_separate_by_metric() -> None:
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
def test_a_pair_does_not_depend_on_other_pairs() -> None:
    sets = [noted(n, s, s / 5) for s, n in enumerate((6, 5, 7))]
    pairs = list(combinations(range(3), 2))
    together = tables(sets, pairs, MANY)
    for (first, second), found in zip(pairs, together, strict=True):
        assert found == one(sets[first], sets[second], MANY)


def test_every_set_is_read_once_for_any_memory(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_blocks_are_not_cached_for_other_machines() -> None:
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


def test_layers_may_be_in_another_order() -> None:
    x, y = noted(6, 0), noted(5, 1)
    expected = one(x, y, PLAIN)
    y.arrays = dict(reversed(y.arrays.items()))
    assert one(x, y, PLAIN) == expected


def test_incomparable_sets_are_refused() -> None:
    x = noted(3, 0)
    y = Noted({"head": np.zeros((3, 2, 6))}, "y")
    with refused(MismatchError, "y against x0", "no layer in common", "dec0", "head", "--layers"):
        check_comparable(x, y)
    y.arrays = {"enc1": np.zeros((3, 3, 4)), "head": np.zeros((3, 2, 6))}
    check_comparable(x, y)
    assert unshared_layers(x, y) == ("dec0", "head")
    y.arrays["dec0"] = np.zeros((3, 5, 6))
    with refused(MismatchError, "layer dec0 has 5 channels, the reference 2"):
        measure_pairs([x, y], [(0, 1)], PLAIN, ONE)
    assert y.reads == []
    y.arrays["dec0"] = np.zeros((9, 2, 1))  # another N and K
    check_comparable(x, y)


def test_a_bad_value_in_the_last_layer_is_an_error() -> None:
    x, y = noted(6, 0), noted(6, 1)
    y.arrays["dec0"][4, 1, 3] = np.nan
    with refused(FormatError, "x1: layer dec0, image im004, channel 1"):
        one(x, y, PLAIN)


@pytest.mark.parametrize("rule", RangeRule)
def test_equal_sets_have_distance_0_and_p_value_1(rule: RangeRule) -> None:
    x = noted(6, 0, dataset="d")
    settings = Settings(range_rule=rule, bins=(8,), permutations=19)
    for each in one(x, noted(6, 0, dataset="d"), settings):
        assert each["p_value"][0] in (1.0, None)
        assert each["p_adjusted"][0] in (1.0, None)
        if rule is not RangeRule.LITERAL:
            assert set(each["value"]) == {0.0}


def test_literal_eq5_has_no_statistics() -> None:
    settings = Settings(range_rule=RangeRule.LITERAL)
    for each in one(noted(6, 0), noted(5, 1), settings):
        assert all(value is not None for value in each["value"])
        for name in ("corrected", "ci_low", "null_mean", "p_value", "p_adjusted", "range_used"):
            assert set(each[name]) == {None}, name
        assert each["permutations"] == 0
        assert each["range_rule"] == "literal-eq5"


def test_without_permutations_there_is_no_null_distribution() -> None:
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


NAMES = ("transmission", "transmission_low", "transmission_high")


def measured(layer: str, value: float, estimate: float, *units: list[float]) -> LayerResult:
    """Give a layer an estimate and what leaving out units adds to it, so often that it is enough.

    The more units, the less each of them may move the estimate for the same standard error.
    """
    times = 12
    replicates = tuple(estimate + np.repeat(each, times) / times for each in units)
    return LayerResult(
        layer,
        0,
        Metric.HELLINGER,
        100,
        None,
        np.zeros(1, bool),
        {},
        {"value": value},
        estimate=estimate,
        replicates=replicates,
    )


def variances(source: LayerResult, layer: LayerResult) -> tuple[float, float, float, float]:
    """Jackknife variances and covariance, and the degrees of freedom of layer - share * source."""
    found, rests = np.zeros(3), []
    share = layer.estimate / source.estimate
    for own, other in zip(layer.replicates, source.replicates, strict=True):
        n = len(own)
        found += (n - 1) * np.cov(own, other, bias=True)[[0, 1, 0], [0, 1, 1]]
        rests.append(((n - 1) * np.var(own - share * other), n - 1))
    freedom = sum(v for v, _ in rests) ** 2 / sum(v**2 / max(df, 1) for v, df in rests)
    half = [0.2 * (each.mean["value"] - each.estimate) for each in (layer, source)]
    return found[0] + half[0] ** 2, found[1] + half[1] ** 2, found[2], freedom


UNITS = ([0.01, -0.01, 0.02, -0.02], [0.0, 0.01, -0.01])


def test_transmission_and_its_fieller_interval() -> None:
    source = measured("input", 0.515, 0.5, *UNITS)
    layer = measured("enc1", 0.31, 0.3, [0.02, -0.01, 0.0, -0.01], [0.01, -0.02, 0.01])
    add_transmission([source, layer])
    share, low, high = (layer.mean[name] for name in NAMES)
    assert share == pytest.approx(0.6)
    own, other, both, freedom = variances(source, layer)
    quantile = t.ppf(0.975, freedom)
    for end in (low, high):  # where layer - end * source is just told from 0
        error = np.sqrt(own - 2 * end * both + end**2 * other)
        assert abs(0.3 - end * 0.5) == pytest.approx(quantile * error)
    assert low < share < high
    assert layer.mean["input_value"] == 0.515
    assert [source.mean[name] for name in NAMES] == [1.0, 1.0, 1.0]


def test_the_input_is_measured_in_its_standard_errors() -> None:
    source = measured("input", 0.515, 0.5, *UNITS)
    layer = measured("enc1", 0.31, 0.3, *UNITS)
    add_transmission([source, layer])
    variance = variances(source, layer)[1]
    for each in (source, layer):
        assert each.mean["input_z"] == pytest.approx(0.5 / np.sqrt(variance))


def test_common_variation_does_not_widen_the_interval() -> None:
    away = [0.02, -0.02, 0.01, -0.01]
    source = measured("input", 0.5, 0.5, away)
    layer = measured("enc1", 0.25, 0.25, [each / 2 for each in away])
    add_transmission([source, layer])
    assert [layer.mean[name] for name in NAMES] == pytest.approx([0.5, 0.5, 0.5])


@pytest.mark.parametrize("over", [False, True])
def test_an_input_distance_that_may_be_0_gives_no_transmission(over: bool) -> None:
    away = np.array([0.02, -0.02, 0.01, -0.01, 0.0])
    error = np.sqrt(59 * away.var()) / 12
    estimate = float(error * LEAST_INPUT_Z * (1.02 if over else 0.98))
    source = measured("input", estimate, estimate, away.tolist())
    layer = measured("enc1", 0.1, 0.1, away.tolist())
    add_transmission([source, layer])
    assert (set(NAMES) <= set(layer.mean)) == over
    assert (set(NAMES) <= set(source.mean)) == over
    assert source.mean["input_z"] == pytest.approx(LEAST_INPUT_Z * (1.02 if over else 0.98))


@pytest.mark.parametrize("corrected", ["input", "enc1"])
@pytest.mark.parametrize("over", [False, True])
def test_a_large_bias_correction_gives_no_transmission(corrected: str, over: bool) -> None:
    away = [0.001, -0.001, 0.0005]
    bias = MOST_BIAS * (1.02 if over else 0.98)
    values = {"input": 1.0, "enc1": 0.5}
    source, layer = (
        measured(name, value + bias * (name == corrected), value, away)
        for name, value in values.items()
    )
    add_transmission([source, layer])
    assert (set(NAMES) <= set(layer.mean)) != over


def test_few_units_give_no_transmission() -> None:
    away = np.linspace(-0.001, 0.001, FEWEST_UNITS)
    for units in (away, away[1:]):
        source, layer = (
            replace(measured(name, value, value, [0.0]), replicates=(value + units,))
            for name, value in (("input", 0.5), ("enc1", 0.25))
        )
        add_transmission([source, layer])
        assert (set(NAMES) <= set(layer.mean)) == (len(units) == FEWEST_UNITS)


def test_an_unbounded_interval_gives_no_transmission(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two units, and one degree of freedom, 8 standard errors are not enough."""
    monkeypatch.setattr(transmission, "FEWEST_UNITS", 2)
    source, layer = (
        replace(measured(name, value, value, [0.0]), replicates=(value + np.array(away),))
        for name, value, away in (("input", 0.5, [0.05, -0.05]), ("enc1", 0.25, [-0.05, 0.05]))
    )
    add_transmission([source, layer])
    assert source.mean["input_z"] > LEAST_INPUT_Z
    assert not set(NAMES) & set(layer.mean)


@pytest.mark.parametrize("estimate", [-0.05, 0.0, np.nan])
def test_an_input_without_distance_has_no_transmission(estimate: float) -> None:
    source = measured("input", 0.2, estimate, [0.001, -0.001])
    layer = measured("enc1", 0.3, 0.3, [0.1, -0.1])
    add_transmission([source, layer])
    assert layer.mean["input_value"] == 0.2
    assert not set(NAMES) & set(layer.mean)
    assert layer.mean.get("input_z", 0.0) == 0.0


def test_an_input_that_never_varies_has_the_largest_z() -> None:
    source = measured("input", 0.5, 0.5, [0.0, 0.0, 0.0])
    layer = measured("enc1", 0.25, 0.25, [0.01, -0.01, 0.0])
    add_transmission([source, layer])
    assert layer.mean["transmission"] == pytest.approx(0.5)
    assert np.isfinite(source.mean["input_z"])


def test_without_the_input_there_is_no_transmission() -> None:
    layer = measured("enc1", 0.3, 0.3, [0.1, -0.1])
    add_transmission([layer])
    assert set(layer.mean) == {"value"}


def test_a_layer_below_its_noise_is_clipped_at_0() -> None:
    source = measured("input", 0.5, 0.5, [0.01, -0.01, 0.0])
    layer = measured("enc1", 0.01, -0.002, [0.01, -0.01, 0.0])
    add_transmission([source, layer])
    assert layer.mean["transmission"] == layer.mean["transmission_low"] == 0.0
    assert layer.mean["transmission_high"] > 0


def rows(
    paired: bool, metric: str = "hellinger", rule: str = "minmax", shift: float = 3.0
) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40, 3, 60))
    noise = rng.normal(size=(2, 40, 3, 60))
    here = {"input": a, "enc1": a + noise[0]}
    there = {"input": b + shift, "enc1": b + shift + noise[1]}
    how: dict[str, Any] = {"metrics": [metric], "range_rule": rule, "paired": paired}
    table = compare_features(here, there, bins=[20], permutations=0, **how)
    return {row["layer"]: row for row in table.to_pylist() if row["channel"] is None}


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("metric", ["hellinger", "wasserstein"])
def test_transmission_of_measured_layers(paired: bool, metric: str) -> None:
    found = rows(paired, metric)
    layer, source = found["enc1"], found["input"]
    assert layer["input_value"] == source["value"]
    assert layer["input_z"] == source["input_z"] > LEAST_INPUT_Z
    assert layer["transmission"] == pytest.approx(layer["corrected"] / source["corrected"])
    assert layer["transmission_low"] < layer["transmission"] < layer["transmission_high"]
    assert (source["transmission_low"], source["transmission_high"]) == (1.0, 1.0)


def test_without_a_shift_there_is_no_transmission() -> None:
    found = rows(False, shift=0.0)
    assert found["enc1"]["transmission"] is found["input"]["transmission"] is None
    assert found["enc1"]["input_z"] < LEAST_INPUT_Z


def test_without_a_corrected_value_there_is_no_transmission() -> None:
    found = rows(False, rule="literal-eq5")
    assert found["enc1"]["input_value"] == found["input"]["value"]
    assert found["enc1"]["transmission"] is found["enc1"]["input_z"] is None


CONSTANT = np.array([False, True])
DESIGN = Design(
    Units(np.arange(4), np.array([0, 2])),
    Units(np.arange(3), np.array([0, 1])),
    True,
    np.zeros((20, 2), np.int32),
)


def measured_of_rows(
    metric: Metric = Metric.HELLINGER,
    bins: int | None = 8,
    layer: str = "enc1",
    **how: Any,  # noqa: ANN401
) -> LayerResult:
    rule = None if bins is None else RangeRule.MINMAX
    channels = how.get("channels", {"value": np.array([0.5, 0.0])})
    mean = how.get("mean", {"value": 0.25, "value_live": 0.5})
    index = ("enc1", "enc2").index(layer)
    return LayerResult(layer, index, metric, bins, rule, CONSTANT, channels, mean)


def test_the_row_of_the_layer_precedes_those_of_channels() -> None:
    channels = {
        "value": np.array([0.5, 0.0]),
        "p_value": np.array([0.1, 1.0]),
        "corrected": np.array([0.25, np.nan]),
    }
    mean = {"value": 0.25, "value_live": 0.5, "p_value": 0.1, "p_adjusted": 0.2}
    found = result_columns(measured_of_rows(channels=channels, mean=mean), DESIGN)
    assert found["channel"] == [None, 0, 1]
    assert found["value"] == [0.25, 0.5, 0.0]
    assert found["value_live"] == [0.5, None, None]
    assert found["p_value"] == [0.1, 0.1, 1.0]
    assert found["p_adjusted"] == [0.2, None, None]
    assert found["corrected"] == [None, 0.25, None]
    assert found["constant_channels"] == [1, 0, 1]
    assert found["null_high"] == found["range_used"] == [None, None, None]
    for name, value in {
        "layer": "enc1",
        "layer_index": 0,
        "metric": "hellinger",
        "bins": 8,
        "range_rule": "minmax",
        "paired": True,
        "unit": "image",
        "permutations": 19,
        "units_reference": 2,
        "units_other": 2,
        "n_reference": 4,
        "n_other": 3,
        "skiptool_version": version("skiptool"),
    }.items():
        assert found[name] == value, name


def test_the_unit_is_the_group() -> None:
    assert result_columns(measured_of_rows(), replace(DESIGN, unit="subject"))["unit"] == "subject"


def test_a_metric_without_bins_has_no_bins_in_its_row() -> None:
    found = result_columns(measured_of_rows(Metric.WASSERSTEIN_EXACT, None), DESIGN)
    assert (found["bins"], found["range_rule"]) == (None, None)


def test_columns_are_those_of_a_shift_table() -> None:
    found = result_columns(measured_of_rows(), DESIGN)
    assert as_table(Kind.SHIFT, found, 3).num_rows == 3
    assert set(PRINTED) <= set(found)


def test_results_are_sorted_by_requested_metric_bins_and_layer() -> None:
    kl, h, w = Metric.KL, Metric.HELLINGER, Metric.WASSERSTEIN_EXACT
    given = [
        measured_of_rows(metric, bins, layer)
        for layer in ("enc2", "enc1")
        for metric, bins in ((h, 20), (w, None), (kl, 10), (h, 10), (kl, 20))
    ]
    found = sort_results(given, Settings(metrics=(kl, w, h), bins=(10, 20)))
    assert [(each.metric, each.bins, each.layer) for each in found] == [
        (metric, bins, layer)
        for metric, bins in ((kl, 10), (kl, 20), (w, None), (h, 10), (h, 20))
        for layer in ("enc1", "enc2")
    ]


@pytest.mark.parametrize(
    ("used", "channels"),
    [((0.5, 0.01), 0), ((0.099, 0.01), 1), ((0.1, 0.01), 0), ((0.05, 1.0), 1)],
)
def test_stretched_channels_are_counted_unless_constant(
    used: tuple[float, float], channels: int
) -> None:
    values = {"value": np.zeros(2), "range_used": np.array(used)}
    assert outlier_stretched(measured_of_rows(channels=values)) == channels
    assert outlier_stretched(measured_of_rows()) == 0


def units(*sizes: int) -> Units:
    return Units(np.arange(sum(sizes)), np.append(0, np.cumsum(sizes)[:-1]))


def design(first: Units, second: Units, *, permutations: int = 19, **how: Any) -> Design:  # noqa: ANN401
    rows = np.zeros((1 + permutations, len(first)), np.int32)
    return Design(first, second, how.pop("paired", False), rows, **how)


def sets(
    images: tuple[int, int] = (8, 8),
    vectors: tuple[int, int] = (4, 4),
    subjects: tuple[list[str] | None, list[str] | None] = (None, None),
) -> list[Noted]:
    return [
        Noted(
            {"enc1": np.zeros((n, 2, 4)), "dec0": np.zeros((n, 2, k))},
            **({} if names is None else {"subject": names}),
        )
        for n, k, names in zip(images, vectors, subjects, strict=True)
    ]


EIGHT = units(*[1] * 8)


def test_a_sound_pair_has_no_warnings() -> None:
    assert pair_warnings(sets(), design(EIGHT, EIGHT)) == ()
    alone = [f"s{number}" for number in range(8)]
    assert pair_warnings(sets(subjects=(alone, alone)), design(EIGHT, EIGHT)) == ()


def test_pseudo_replication_is_a_warning() -> None:
    alone = [f"s{number}" for number in range(8)]
    given_ = sets(subjects=(alone, list("aabbccca")))
    (line,) = pair_warnings(given_, design(EIGHT, EIGHT))
    assert line.startswith("8 images of 3 subjects are counted as independent (pseudo-replication)")
    assert pair_warnings(given_, design(EIGHT, EIGHT, unit="subject")) == ()
    both = sets(subjects=(list("aabbccdd"), list("aabbccca")))
    first, second = pair_warnings(both, design(EIGHT, EIGHT))
    assert ("8 images of 4" in first, "8 images of 3" in second) == (True, True)


def test_too_few_units_for_a_p_value_are_a_warning() -> None:
    three, four, five = (units(*[1] * n) for n in (3, 4, 5))
    (line,) = pair_warnings(sets(), design(three, three))
    assert line == "no p-value below 0.05 is possible with 3 and 3 units, so none is given"
    (line,) = pair_warnings(sets(), design(five, five, paired=True))
    assert "5 and 5 pairs" in line
    assert pair_warnings(sets(), design(four, four)) == ()
    assert pair_warnings(sets(), design(three, three, permutations=0)) == ()


def test_a_single_unit_is_a_warning() -> None:
    one = units(1)
    line, other = pair_warnings(sets(), design(EIGHT, one))
    assert "no p-value below 0.05 is possible with 8 and 1 units" in line
    assert other == "an interval needs at least 2 units of each set, not 8 and 1"
    two = units(1, 1)
    assert not any("interval needs" in each for each in pair_warnings(sets(), design(two, two)))


def test_an_equal_draw_is_a_warning() -> None:
    plain = design(EIGHT, EIGHT)
    (line,) = pair_warnings(sets(vectors=(9, 4)), plain)
    assert line == ("the test draws 4 of the vectors of each image, as the sets differ in size")
    drawn = replace(plain, draw=EqualDraw(EIGHT, EIGHT))
    (line,) = pair_warnings(sets(), drawn)
    assert line == ("the test draws equally many images of each unit, as the sets differ in size")
    (line,) = pair_warnings(sets(vectors=(4, 9)), drawn)
    assert "draws 4 of the vectors of each image and equally many images of each unit" in line
    assert (
        pair_warnings(sets(vectors=(9, 4)), replace(plain, labellings=plain.labellings[:1])) == ()
    )


def unresolved(number: int, high: float, unit: str = "image") -> list[str]:
    mean = {"unresolved_channels": float(number), "ci_high": high}
    return layer_warnings(measured_of_rows(mean=mean), design(EIGHT, EIGHT, unit=unit))


def test_unresolved_channels_are_a_warning() -> None:
    assert unresolved(0, 0.5) == []
    assert unresolved(1, 0.5) == [
        "1 of 1 channels vary in too few images to estimate their distance (more are needed)"
    ]
    assert unresolved(1, np.nan, "subject") == [
        "1 of 1 channels vary in too few subjects to estimate their distance, so there is no "
        "interval (more are needed)"
    ]
    assert layer_warnings(measured_of_rows(), DESIGN) == []


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (RangeRule.MINMAX, True),
        (RangeRule.REFERENCE, True),
        (RangeRule.PERCENTILES, False),
    ],
)
def test_outliers_that_stretch_the_range_are_a_warning(rule: RangeRule, told: bool) -> None:
    channels = {"value": np.zeros(2), "range_used": np.array([0.05, 1.0])}
    found = layer_warnings(replace(measured_of_rows(channels=channels), range_rule=rule), DESIGN)
    assert [("stretch the range of 1 channels" in line) for line in found] == [True] * told


def test_warnings_are_in_the_row_of_the_layer() -> None:
    mean = {"unresolved_channels": 1.0, "ci_high": 0.5, "tested": 0.3}
    channels = {"value": np.zeros(2), "unresolved_channels": np.array([1.0, 0.0])}
    given_ = replace(measured_of_rows(mean=mean, channels=channels), drawn=True)
    found = result_columns(given_, replace(DESIGN, warnings=("one", "two")))
    line, *rest = found["warnings"]
    assert line.startswith("one; two; 1 of 1 channels vary")
    assert rest == [None, None]
    assert found["unresolved_channels"] == [1, 1, 0]
    assert (found["tested"], found["drawn"]) == ([0.3, None, None], True)
    quiet = result_columns(measured_of_rows(), DESIGN)
    assert quiet["warnings"] == quiet["unresolved_channels"] == [None] * 3
    assert quiet["drawn"] is False


def test_equal_names_of_different_subjects_are_a_warning() -> None:
    names = {"dataset": "d", "id": list("abcdefgh")}
    layers = {"enc1": np.zeros((8, 2, 4))}
    first = Noted(layers, subject=[f"s{n}" for n in range(8)], **names)
    second = Noted(layers, subject=[f"t{n}" for n in range(8)], **names)
    (line,) = pair_warnings([first, second], design(EIGHT, EIGHT))
    assert (
        line
        == "images of one name are of different subjects (a, for one), so the sets are not paired"
    )
    assert pair_warnings([first, first], design(EIGHT, EIGHT)) == ()
