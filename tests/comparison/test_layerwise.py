"""The measures of whole layers, as `compare_features` and the command give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from benchmarks import transmission as shares
from benchmarks.beyond import SETTINGS, detections
from skiptool import compare_features as compare_features_of_layerwise_calibration
from skiptool.comparison import layerwise
from skiptool.comparison.activations import ArrayActivations, Settings
from skiptool.comparison.layer import Design
from skiptool.comparison.layerwise import (
    equal_samples,
    is_exchangeable,
    measure_covariance,
    unit_indices,
    whole_sample,
)
from skiptool.comparison.pairs import measure_pairs
from skiptool.comparison.units import Units, equal_draw
from skiptool.errors import FormatError, MismatchError
from skiptool.names import LAYERWISE, Metric
from skiptool.stats.classifier import assign_folds, balanced_accuracy
from skiptool.steps.hellinger import compare_features, measure_shift
from skiptool.stores.artifacts import kind_of
from skiptool.stores.tables import open_table
from small_activations import ONE, Noted, activations, extremes, numbered, threads, written
from small_stores import refused

ALL = tuple(metric.value for metric in LAYERWISE)
STATISTICS = ("null_mean", "null_high", "p_value", "p_adjusted")


def rows(*args: Any, **how: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return compare_features(*args, **how).to_pylist()


def test_layerwise_measures_have_one_row_without_channels() -> None:
    found = rows(activations(8), activations(8, 1, 0.2), metrics=ALL, paired=True, permutations=19)
    assert [(row["metric"], row["layer"], row["channel"]) for row in found] == [
        (metric, layer, None) for metric in ALL for layer in ("enc1", "dec0")
    ]
    for row in found:
        told = [row[name] is not None for name in STATISTICS]
        assert told == [row["metric"] != "paired-difference"] * 4
        ends = [row[name] is not None for name in ("corrected", "ci_low", "ci_high")]
        assert ends == [row["metric"] == "paired-difference"] * 3
        assert row["bins"] is row["range_rule"] is row["value_live"] is None
        assert row["paired"]
        assert row["p_value"] is None or row["p_value"] <= row["p_adjusted"]


def test_other_metrics_are_unaffected() -> None:
    x, y = activations(8), activations(7, 1)
    alone = rows(x, y, permutations=19, bins=9)
    with_others = rows(x, y, metrics=["covariance", "hellinger"], permutations=19, bins=9)
    assert [row for row in with_others if row["metric"] == "hellinger"] == alone


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("chunk", [1, 3, 40])
def test_layerwise_measures_do_not_depend_on_workers_or_blocks(workers: int, chunk: int) -> None:
    settings = Settings(metrics=LAYERWISE, permutations=9, workers=workers, paired=True)
    ids = numbered(9)
    found = []
    for how, mapper, step in ((settings, threads(workers), chunk), (settings, ONE, 4)):
        sets = [Noted(activations(9, seed), chunk=step, id=ids) for seed in (0, 1)]
        _, (measured,) = measure_pairs(sets, [(0, 1)], how, mapper)
        found.append([[*each.mean.values()] for each in measured])
    for one, two in zip(*found, strict=True):
        assert one == pytest.approx(two, rel=1e-9)


def test_the_classifier_uses_standardised_vectors() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(11, 3, 4)), rng.normal(0.5, 2.0, size=(9, 3, 4))
    row = rows(x, y, metrics="classifier", permutations=0, seed=2)[0]
    both = np.concatenate([x, y]).transpose(0, 2, 1)
    flat = both.reshape(-1, 3)
    scaled = (both - flat.mean(axis=0)) / flat.std(axis=0)
    folds = assign_folds(np.arange(20), np.random.default_rng([2, 0]))
    chosen = np.arange(20)[None] < 11
    known = balanced_accuracy(scaled.astype(np.float32), folds, chosen)[0]
    assert row["value"] == pytest.approx(known, abs=1e-12)


def test_the_classifier_draws_16_vectors_and_equal_units() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 12, 2, 40))
    groups = ([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 4], [*range(12)])
    row = rows(x, y, metrics="classifier", groups=groups, permutations=0)[0]
    # Of 5 and 12 units of 16 vectors the shares are whole numbers over 80 and 192.
    assert row["value"] * 2 * 80 * 192 % 1 == pytest.approx(0, abs=1e-6)
    assert (row["units_reference"], row["units_other"]) == (5, 12)


def test_a_shift_is_detected_and_its_absence_is_not() -> None:
    x, y, z = np.random.default_rng(3).normal(size=(3, 20, 5, 8))
    z[:, 2] += 1.5
    alike = rows(x, y, metrics=ALL[:2])
    apart = rows(x, z, metrics=ALL[:2])
    assert all(row["p_value"] > 0.05 for row in alike)
    assert next(row for row in apart if row["metric"] == "classifier")["p_value"] == 0.005
    assert next(row for row in apart if row["metric"] == "classifier")["value"] > 0.7


def test_pairs_and_subjects_of_both_sets_stay_in_one_fold() -> None:
    """Images of a subject are nearly alike, so a split subject would be classified correctly."""
    rng = np.random.default_rng(1)
    subject = rng.normal(size=(12, 6, 1))
    x, y = (subject + 0.01 * rng.normal(size=(12, 6, 4)) for _ in range(2))
    paired = rows(x, y, metrics="classifier", paired=True)[0]["value"]
    names = [f"s{number}" for number in range(12)]
    grouped = rows(x, y, metrics="classifier", groups=(names, names))[0]["value"]
    for value in (paired, grouped):
        assert 0.3 < value < 0.7


def test_paired_differences_match_images_by_id() -> None:
    x, y = activations(7)["enc1"], activations(7, 1)["enc1"]
    ids = numbered(7)
    settings = Settings(metrics=(Metric.PAIRED_DIFFERENCE,), permutations=0)
    order = [4, 5, 6, 0, 3, 2, 1]
    sets = [Noted({"enc1": x}, dataset="d", id=ids), Noted({"enc1": y}, dataset="d", id=ids)]
    found = []
    for other in (sets[1], sets[1].reordered(order)):
        _, ((measured,),) = measure_pairs([sets[0], other], [(0, 1)], settings, ONE)
        found.append(list(measured.mean.values()))
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    both = np.concatenate([x, y], axis=2).astype(float)
    spread = both.transpose(1, 0, 2).reshape(3, -1).std(axis=1)
    apart = np.abs(x.astype(float) - y).mean(axis=(0, 2))
    assert found[0][0] == pytest.approx(float((apart / spread).mean()), rel=1e-9)


def test_paired_differences_match_images_by_order_without_ids() -> None:
    x, y = activations(6)["enc1"], activations(6, 1)["enc1"]
    groups = ([0, 0, 1, 1, 2, 2], [2, 2, 0, 0, 1, 1])
    moved = y[[2, 3, 4, 5, 0, 1]]
    how: dict[str, Any] = {"metrics": "paired-difference", "paired": True}
    one = rows(x, y, groups=groups, **how)[0]
    two = rows(x, moved, groups=(groups[0], groups[0]), **how)[0]
    assert one == two
    with refused(MismatchError, "differ in their number of images", "paired-difference"):
        rows(x, y, groups=(groups[0], [0, 1, 1, 1, 2, 2]), **how)


def test_paired_differences_need_pairs_and_one_grid() -> None:
    x = activations(6)["enc1"]
    with refused(MismatchError, "other against reference", "not paired", "drop this metric"):
        rows(x, x, metrics=["hellinger", "paired-difference"])
    with refused(MismatchError, "layer features has 2 vectors", "the reference 4"):
        rows(x, x[:, :, :2], metrics="paired-difference", paired=True)


@pytest.mark.parametrize("metric", ALL)
def test_damage_is_reported_in_one_line(metric: str) -> None:
    layers = activations(6)
    layers["dec0"][4, 1, 3] = np.nan
    finite = extremes(activations(6))
    sets = [
        Noted(each, f"x{place}", dataset="d", id=numbered(6), ranges=finite)
        for place, each in enumerate((activations(6), layers))
    ]
    settings = Settings(metrics=(Metric(metric),), permutations=3)
    with refused(FormatError, "x1: layer dec0, image im004, channel 1: activation nan"):
        measure_pairs(sets, [(0, 1)], settings, ONE)


@pytest.mark.parametrize("images", [(1, 1), (1, 3), (2, 2)])
def test_few_images_are_accepted(images: tuple[int, int]) -> None:
    x, y = activations(images[0])["enc1"], activations(images[1], 1)["enc1"]
    paired = images[0] == images[1]
    for row in rows(x, y, metrics=ALL if paired else ALL[:2], paired=paired, permutations=5):
        assert np.isfinite(row["value"])


def test_constant_channels_are_ignored() -> None:
    x, y = activations(6)["enc1"], activations(6, 1)["enc1"]
    known = rows(x, y, metrics=ALL, paired=True, permutations=9)
    still = np.full((6, 1, 4), 3.25, dtype=x.dtype)
    x, y = (np.concatenate([each, still], axis=1) for each in (x, y))
    found = rows(x, y, metrics=ALL, paired=True, permutations=9)
    for row, before in zip(found, known, strict=True):
        assert row["constant_channels"] == before["constant_channels"] + 1
        if row["metric"] != "classifier":  # whose ridge is a share of the mean over channels
            assert row["value"] == pytest.approx(before["value"])
            assert row["p_value"] == before["p_value"]


def test_layerwise_measures_of_stores_are_in_the_table(tmp_path: Path) -> None:
    stores = [
        written(tmp_path / f"{seed}.zarr", activations(9, 0, shift))
        for seed, shift in enumerate((0.0, 0.4))
    ]
    out = tmp_path / "shift.parquet"
    settings = Settings(metrics=(Metric.HELLINGER, *LAYERWISE), bins=(10,), permutations=9)
    outcome = measure_shift(stores[0], stores[1:], out, settings=settings)
    assert kind_of(out).value == "shift"
    columns = open_table(out, kind_of(out)).columns(("metric", "channel", "value", "bins"))
    beside = [
        (metric, bins)
        for metric, bins, channel in zip(
            columns["metric"], columns["bins"], columns["channel"], strict=True
        )
        if channel is None
    ]
    assert beside == [("hellinger", 10)] * 2 + [(name, None) for name in ALL for _ in range(2)]
    assert len(outcome.tables[0].columns["metric"]) == 8


def test_ids_of_arrays_depend_on_their_values(tmp_path: Path) -> None:
    """Arrays have no id: that of the table depends on the measured values."""
    paths = [tmp_path / f"{seed}.npy" for seed in range(3)]
    for seed, path in enumerate(paths):
        np.save(path, np.random.default_rng(seed).normal(size=(6, 3)))
    settings = Settings(metrics=(Metric.COVARIANCE,), permutations=5)
    ids = []
    for place, other in enumerate(paths[1:]):
        out = tmp_path / f"{place}.parquet"
        measure_shift(paths[0], [other], out, settings=settings)
        ids.append(open_table(out, kind_of(out)).lineage.id)
    assert ids[0] != ids[1]


PLAIN = Settings(permutations=5)


def grouped(*names: int) -> Units:
    found = np.asarray(names)
    order = np.argsort(found, kind="stable")
    return Units(order, np.unique(found[order], return_index=True)[1])


def design(first: Units, second: Units, *rows: list[int], paired: bool = False) -> Design:
    labelled = [list(range(len(first))), *rows]
    draw = equal_draw(first, second, paired=paired, rng=np.random.default_rng(0))
    return Design(first, second, paired, np.array(labelled, dtype=np.int32), draw=draw)


def standardised(x: np.ndarray, y: np.ndarray, u: list[int], v: list[int]) -> list[np.ndarray]:
    """Second moments and means of each unit of both sets, every unit with the same weight."""
    units = [x[np.array(u) == k] for k in sorted(set(u))]
    units += [y[np.array(v) == k] for k in sorted(set(v))]
    flat = [each.transpose(0, 2, 1).reshape(-1, x.shape[1]).astype(float) for each in units]
    mean = np.mean([each.mean(axis=0) for each in flat], axis=0)
    spread = np.sqrt(np.mean([np.square(each - mean).mean(axis=0) for each in flat], axis=0))
    return [np.divide(e - mean, spread, out=np.zeros_like(e), where=spread > 0) for e in flat]


def expected(flat: list[np.ndarray], chosen: list[int]) -> float:
    """Return the distance between the chosen units and the others, by its definition."""
    sides = []
    for side in (chosen, [k for k in range(len(flat)) if k not in chosen]):
        mean = np.mean([flat[k].mean(axis=0) for k in side], axis=0)
        moment = np.mean([flat[k].T @ flat[k] / len(flat[k]) for k in side], axis=0)
        sides.append(moment - np.outer(mean, mean))
    apart, size = np.linalg.norm(sides[0] - sides[1]), np.linalg.norm(np.stack(sides))
    return float(apart / size)


def measured(x: Any, y: Any, how: Design, **changed: Any) -> tuple[float, Any]:  # noqa: ANN401
    sets = (Noted({"a": x}), Noted({"a": y}))
    constant = np.ptp(np.concatenate([x, y], axis=2 if len(x) == len(y) else 0), axis=(0, 2)) == 0
    return measure_covariance(sets, "a", constant, how, replace(PLAIN, **changed))


RNG = np.random.default_rng(3)
X, Y = RNG.normal(2.0, 3.0, size=(7, 4, 6)), RNG.normal(size=(8, 4, 6))
X[:, 3] = Y[:, 3] = 2.5
U, V = [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7]
ROWS = [[0, 2, 4, 6, 8, 10, 12], [8, 9, 10, 11, 12, 13, 14]]


@pytest.mark.parametrize("memory", [251, 512])
def test_covariance_distance_follows_its_definition(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if memory == 251:  # one row of the matrices at a time
        monkeypatch.setattr(Settings, "budget", 1)
    how = design(grouped(*U), grouped(*V), *ROWS)
    value, null = measured(X, Y, how, memory=memory)
    flat = standardised(X, Y, U, V)
    known = [expected(flat, chosen) for chosen in (U, *ROWS)]
    np.testing.assert_allclose(null, known, rtol=1e-10)
    assert value == null[0]


def test_units_of_equal_size_are_not_reweighted() -> None:
    u, v = [0, 0, 1, 1, 2, 2], [1, 0, 1, 0, 2, 2, 3, 3]
    how = design(grouped(*u), grouped(*v), [1, 3, 5])
    _, null = measured(X[:6], Y, how)
    flat = standardised(X[:6], Y, u, v)
    np.testing.assert_allclose(null, [expected(flat, k) for k in ([0, 1, 2], [1, 3, 5])])


def test_units_of_unequal_size_weigh_equally_in_the_value() -> None:
    u, v = [0, 0, 0, 1, 2, 2], V
    value, null = measured(X[:6], Y, design(grouped(*u), grouped(*v), [0, 5, 9]))
    flat = standardised(X[:6], Y, u, v)
    assert value == pytest.approx(expected(flat, [0, 1, 2]))
    assert abs(null[0] - value) > 1e-3  # of one image of each unit


def test_the_test_of_unequal_grids_uses_equally_many_vectors() -> None:
    how = design(grouped(*U), grouped(*U), [0, 2, 4, 6, 8, 10, 12])
    wide = np.repeat(Y[:7], 3, axis=2)
    value, null = measured(X, wide, how)
    flat = standardised(X, wide, U, U)
    assert value == pytest.approx(expected(flat, U))
    assert measured(X, wide, how)[1].tolist() == null.tolist()
    assert measured(X, wide, replace(how, seed=1))[1].tolist() != null.tolist()


def test_covariance_without_permutations_has_only_a_value() -> None:
    assert measured(X, Y, design(grouped(*U), grouped(*V)))[1] is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(-3, 3).filter(lambda s: abs(s) > 0.1), st.floats(-9, 9))
def test_covariance_ignores_scale_and_offset_of_channels(
    seed: int, factor: float, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(5, 3, 4)), rng.normal(size=(6, 3, 4))
    how = design(grouped(*range(5)), grouped(*range(6)), [3, 5, 7, 9, 10])
    one = measured(x, y, how)
    for each in (x, y):
        each[:, 1] = factor * each[:, 1] + offset
    two = measured(x, y, how)
    np.testing.assert_allclose(two[1], one[1], rtol=1e-8)
    assert 0 < one[0] <= 1


def test_covariance_is_symmetric_and_0_for_equal_sets() -> None:
    forth, back = (
        compare_features(a, b, metrics="covariance", permutations=0)["value"][0].as_py()
        for a, b in ((X, Y), (Y, X))
    )
    assert forth == pytest.approx(back, rel=1e-12)
    same = compare_features(X, X[::-1].copy(), metrics="covariance", permutations=0)
    assert same["value"].to_pylist() == [0.0]


@pytest.mark.parametrize("chunk", [1, 2, 7, 50])
@pytest.mark.parametrize("workers", [1, 3])
def test_covariance_does_not_depend_on_blocks_or_workers(chunk: int, workers: int) -> None:
    how = design(grouped(*U), grouped(*V), *ROWS)
    sets = (Noted({"a": X}, chunk=chunk), Noted({"a": Y}, chunk=chunk))
    found = measure_covariance(
        sets, "a", np.zeros(4, dtype=bool), how, replace(PLAIN, workers=workers)
    )
    np.testing.assert_allclose(found[1], measured(X, Y, how)[1], rtol=1e-12)


def test_covariance_has_equal_bits_for_any_workers() -> None:
    how = design(grouped(*U), grouped(*V), *ROWS)
    sets = (Noted({"a": X}, chunk=2), Noted({"a": Y}, chunk=2))
    still = np.zeros(4, dtype=bool)
    one, two = (
        measure_covariance(sets, "a", still, how, replace(PLAIN, workers=workers))
        for workers in (1, 4)
    )
    assert (one[0], one[1].tolist()) == (two[0], two[1].tolist())


def test_swapped_labellings_are_exact_ties() -> None:
    """In pairs, exchanging all of them is the labelling itself: it must count as reached."""
    how = design(grouped(*U), grouped(*U), [7, 8, 9, 10, 11, 12, 13], paired=True)
    _, null = measured(X, Y[:7], how)
    assert null[1] == pytest.approx(null[0], rel=1e-12)


def test_covariance_detects_a_correlation_hidden_in_single_channels() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30, 4, 20))
    y[:, 1] = 0.6 * y[:, 0] + 0.8 * y[:, 1]
    table = compare_features(x, y, metrics=["hellinger", "covariance"], bins=20).to_pylist()
    found = {row["metric"]: row["p_value"] for row in table if row["channel"] is None}
    assert found["covariance"] == 0.005
    assert found["hellinger"] > 0.05


def test_arrays_of_many_images_in_one_block() -> None:
    x = np.random.default_rng(1).normal(size=(300, 40, 1))
    sets = tuple(ArrayActivations("x", {"a": each}) for each in (x[:150], x[150:]))
    how = design(grouped(*range(150)), grouped(*range(150)), list(range(150, 300)))
    value, null = measure_covariance(sets, "a", np.zeros(40, dtype=bool), how, PLAIN)
    flat = standardised(x[:150], x[150:], list(range(150)), list(range(150)))
    assert value == pytest.approx(expected(flat, list(range(150))), rel=1e-10)
    assert null[1] == pytest.approx(value, rel=1e-12)


def grouped_of_equal_draw(names: list[int]) -> Units:
    found = np.asarray(names)
    order = np.argsort(found, kind="stable")
    return Units(order, np.unique(found[order], return_index=True)[1])


def design_of_equal_draw(first: list[int], second: list[int]) -> Design:
    one, two = grouped_of_equal_draw(first), grouped_of_equal_draw(second)
    draw = equal_draw(one, two, paired=False, rng=np.random.default_rng(0))
    return Design(one, two, False, np.zeros((1, 1), dtype=np.int32), draw=draw)


def sets(how: Design, *vectors: int) -> tuple[Noted, Noted]:
    sizes = (len(how.reference.order), len(how.other.order))
    first, second = (Noted({"a": np.zeros((n, 2, k))}) for n, k in zip(sizes, vectors, strict=True))
    return first, second


def test_images_share_the_weight_of_their_unit() -> None:
    units = grouped_of_equal_draw([1, 0, 1, 2, 1])
    assert unit_indices(units, 5).tolist() == [1, 0, 1, 2, 1]
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
    how = design_of_equal_draw(first, second)
    assert is_exchangeable(how, sets(how, *vectors), "a") is equal


@pytest.mark.parametrize("most", [None, 3, 7])
def test_samples_follow_the_equal_draw(most: int | None) -> None:
    how = design_of_equal_draw([0] * 5 + [1] * 4, [0, 0, 1, 1, 2])
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


def test_blocks_hold_the_drawn_vectors() -> None:
    how = design_of_equal_draw([0, 0, 1], [0, 1])
    sample = equal_samples(how, sets(how, 5, 5), "a", 2)[0]
    block = np.arange(30).reshape(3, 2, 5)
    rows = slice(0, 3)
    images = sample.images(rows)
    assert images.tolist() == np.flatnonzero(sample.weight).tolist()
    assert len(images) == 2
    found = sample.select(block, rows)
    assert sample.vectors is not None
    for place, image in enumerate(images):
        np.testing.assert_array_equal(found[place], block[image][:, sample.vectors[image]])
    later = sample.select(block[1:], slice(1, 3))
    np.testing.assert_array_equal(later, found[images >= 1])


# -------------------------------------------------------------------------------------------------
# A slice of what the tables of ``tests/benchmarks/beyond.py`` and ``transmission.py`` show.


DRAWS = 100
MOST = int(binom.ppf(0.999, DRAWS, 0.05))
"""False alarms that a test at 5 % exceeds once in a thousand."""

METRICS = ("covariance", "classifier")
Draw = Callable[[np.random.Generator], tuple[Any, Any, Any]]


def some(rng: np.random.Generator, images: int, vectors: int) -> Any:  # noqa: ANN401
    return 0.5 * rng.normal(size=(images, 4, 1)) + rng.normal(size=(images, 4, vectors))


def subjects(rng: np.random.Generator, number: int, each: int) -> tuple[Any, list[int]]:
    own = 0.5 * np.repeat(rng.normal(size=(number, 4, 1)), each, axis=0)
    return own + some(rng, number * each, 8), np.repeat(np.arange(number), each).tolist()


def grouped_of_layerwise_calibration(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    (x, first), (y, second) = subjects(rng, 12, 6), subjects(rng, 5, 2)
    return x, y, (first, [100 + name for name in second])


UNEQUAL: dict[str, Draw] = {
    "vectors": lambda rng: (some(rng, 12, 36), some(rng, 12, 169), None),
    "few against many": lambda rng: (some(rng, 30, 60), some(rng, 8, 4), None),
    "images of subjects": grouped_of_layerwise_calibration,
}


def alarms(draw: Draw) -> dict[str, int]:
    found = dict.fromkeys(METRICS, 0)
    for seed in range(DRAWS):
        x, y, groups = draw(np.random.default_rng([seed, 4]))
        how: dict[str, Any] = {"metrics": METRICS, "permutations": 59, "groups": groups}
        for row in compare_features_of_layerwise_calibration(
            x, y, seed=seed, workers=1, **how
        ).to_pylist():
            found[row["metric"]] += row["p_value"] <= 0.05
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", UNEQUAL)
def test_units_of_unequal_size_raise_no_false_alarms(name: str) -> None:
    found = alarms(UNEQUAL[name])
    assert max(found.values()) <= MOST, found


@pytest.mark.slow
def test_without_equal_draws_there_are_false_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control of the test above: it can detect false alarms."""
    monkeypatch.setattr(layerwise, "is_exchangeable", lambda *_: True)
    found = alarms(UNEQUAL["few against many"])
    assert found["covariance"] > 2 * MOST


@pytest.mark.slow
def test_only_covariance_detects_a_correlation() -> None:
    found = detections(SETTINGS["pairs correlated at 0.6"], 12)
    assert found["covariance"] == 12
    assert max(found["hellinger"], found["classifier"]) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True])
def test_transmission_is_reported_if_it_is_reliable(paired: bool) -> None:
    strong = shares.population(0.6)
    found = np.array([shares.run(seed, (0.6, 50, paired), strong) for seed in range(8)])
    assert not np.isnan(found).any()
    assert abs((found[:, :, 1] - found[:, :, 0]).mean()) < 0.02
    covered = (found[:, :, 2] <= found[:, :, 0]) & (found[:, :, 0] <= found[:, :, 3])
    assert covered.mean() > 0.85


@pytest.mark.slow
def test_transmission_is_not_reported_for_a_weak_shift_of_few_images() -> None:
    weak = shares.population(0.95)
    for paired in (False, True):
        found = np.array([shares.run(seed, (0.95, 16, paired), weak) for seed in range(4)])
        assert np.isnan(found[:, :, 1:]).all()
