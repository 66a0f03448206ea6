"""Tests of ``activations``."""

from __future__ import annotations

import pickle
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import pytest

from skiptool.comparison.activations import (
    Activations,
    ArrayActivations,
    Settings,
    as_activations,
    count_blocks,
    extents,
    key_totals,
    read_values,
)
from skiptool.distances.bins import equal_width, joint_range, quantile_bins
from skiptool.distances.counting import count_activations
from skiptool.distances.float16 import key_counts
from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Metric, RangeRule
from skiptool.stores.arrays import FeatureStore
from skiptool.stores.lineage import Invocation
from small_activations import ONE, Noted, activations, extremes, numbered, threads
from small_stores import refused


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bins": ()}, ("--bins", "at least one")),
        ({"bins": (0,)}, ("--bins 0", "1 to 4096")),
        ({"bins": (4097,)}, ("--bins 4097",)),
        ({"bins": (7.5,)}, ("--bins 7.5",)),
        ({"bins": (10, 10)}, ("--bins", "none twice")),
        ({"metrics": ()}, ("--metric", "at least one")),
        ({"metrics": (Metric.KL, Metric.KL)}, ("--metric", "none twice")),
        ({"permutations": -1}, ("--permutations -1", "0 or more")),
        ({"seed": -1}, ("--seed -1", "0 or more")),
        ({"workers": 0}, ("--workers 0", "1 or more")),
        ({"memory": 250}, ("--memory 250", "more than 250")),
        ({"bins": (2, 4), "range_rule": RangeRule.QUANTILE}, ("--sweep-bins", "quantile")),
        ({"bins": (2, 4), "range_rule": RangeRule.LITERAL}, ("--sweep-bins", "literal-eq5")),
        (
            {"range_rule": RangeRule.LITERAL, "metrics": (Metric.KL,)},
            ("--literal-eq5", "drop --metric"),
        ),
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, Any], words: tuple[str, ...]) -> None:
    with refused(ArgumentError, *words):
        Settings(**wrong)


def command(**how: Any) -> str:  # noqa: ANN401
    return Invocation("hellinger", (), Settings(**how).options).command


def test_options_are_those_of_the_command() -> None:
    assert command() == (
        "skiptool hellinger --metric hellinger --bins 100 --range minmax --permutations 199 "
        "--seed 0"
    )
    assert command(range_rule=RangeRule.QUANTILE, bins=(50,)) == (
        "skiptool hellinger --metric hellinger --bins quantile:50 --permutations 199 --seed 0"
    )
    assert command(
        bins=(10, 20), metrics=(Metric.KL, Metric.WASSERSTEIN), paired=False, group="subject"
    ) == (
        "skiptool hellinger --metric kl --metric wasserstein --sweep-bins 10,20 --range minmax "
        "--permutations 199 --group subject --seed 0 --unpaired"
    )
    assert "--paired --literal-eq5" in command(range_rule=RangeRule.LITERAL, paired=True)
    assert "--range" not in command(range_rule=RangeRule.LITERAL)


def test_memory_and_workers_are_not_recorded() -> None:
    assert Settings(memory=999, workers=7).options == Settings().options
    told = {"metrics": "metric", "range_rule": "range"}
    shaping = {told.get(field.name, field.name) for field in fields(Settings)}
    assert shaping - {"memory", "workers"} <= set(Settings().options)


def test_the_budget_leaves_room_for_the_libraries() -> None:
    assert 0 < Settings(memory=251).budget < 1_000_000
    assert Settings(memory=512).budget < 262_000_000 < Settings(memory=1024).budget


@pytest.mark.parametrize("kind", [ArrayActivations, FeatureStore])
def test_all_kinds_of_activations_implement_the_protocol(kind: type) -> None:
    members = {name for name in vars(Activations) if not name.startswith("_")}
    assert {"read", "ranges"} <= members
    assert members | {"__len__"} <= set(dir(kind)) | set(kind.__annotations__)


X = np.arange(24, dtype=np.float32).reshape(4, 3, 2)


def test_a_single_array_is_one_layer() -> None:
    found = as_activations(X, "reference")
    assert (found.layers, len(found), found.where) == (("features",), 4, "reference")
    assert found.shape("features") == (4, 3, 2)
    assert found.dtype("features") == np.float32
    assert (found.dataset_id, found.ranges("features"), dict(found.columns)) == (None, None, {})
    np.testing.assert_array_equal(found.read("features", slice(1, 3)), X[1:3])


def test_a_mapping_keeps_its_order_and_two_axes_mean_one_vector() -> None:
    found = as_activations({"head": X[:, :, 0], "enc1": X}, "x")
    assert found.layers == ("head", "enc1")
    assert found.shape("head") == (4, 3, 1)
    np.testing.assert_array_equal(found.read("head", slice(0, 4)), X[:, :, :1])


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (X.tolist(), np.float64),
        (X.astype(">f4"), np.float32),
        (X.astype(np.float16), np.float16),
        (np.asfortranarray(X), np.float32),
        (np.broadcast_to(X[:1], X.shape), np.float32),
        (X[::-1, ::-1, ::-1], np.float32),
    ],
    ids=["list", "big-endian", "half", "Fortran", "broadcast", "reversed"],
)
def test_array_likes_are_accepted(given: Any, dtype: type) -> None:  # noqa: ANN401
    found = as_activations(given, "x")
    block = found.read("features", slice(1, 3))
    assert found.dtype("features") == block.dtype == np.dtype(dtype)
    assert block.dtype.isnative
    assert block.flags.c_contiguous
    np.testing.assert_array_equal(block, np.asarray(given)[1:3])


@pytest.mark.parametrize("shape", [(5, 3, 7), (1, 1, 1), (9, 2000, 300)])
def test_blocks_are_whole_images_of_about_four_megabytes(shape: tuple[int, ...]) -> None:
    found = as_activations(np.broadcast_to(np.float32(0), shape), "x")
    size = found.chunk("features") * shape[1] * shape[2] * 4
    assert found.chunk("features") >= 1
    assert size <= max(4_000_000, shape[1] * shape[2] * 4)
    assert size + shape[1] * shape[2] * 4 > 4_000_000 or found.chunk("features") >= shape[0]


def test_groups_are_a_column() -> None:
    found = as_activations(X, "x", [1, 2, 1, 2])
    assert list(found.columns["group"]) == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (X[0, 0], ("shape (2,)", "(N, D, K)")),
        (X[None], ("shape (1, 4, 3, 2)",)),
        (X.astype(np.int32), ("int32", "float32")),
        (X.astype(np.longdouble), ("longdouble", "float64")),
        (X > 3, ("bool",)),
        (np.array([["a", "b"]]), ("expected float16",)),
        (X[:, :0], ("shape (4, 0, 2)",)),
        (X[:0], ("at least 1",)),
        ({}, ("none",)),
        ({"a": X, "b": X[:2]}, ("'a': 4", "'b': 2", "one number")),
    ],
)
def test_invalid_arrays_are_refused(given: Any, words: tuple[str, ...]) -> None:  # noqa: ANN401
    if "longdouble" in words and np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("long double is float64 here")
    words = tuple(str(np.dtype(np.longdouble)) if w == "longdouble" else w for w in words)
    with refused(ArgumentError, "other: ", *words):
        as_activations(given, "other")


def test_groups_must_match_the_number_of_images() -> None:
    with refused(ArgumentError, "x: 3 groups for 4 images"):
        as_activations(X, "x", [1, 2, 3])


IMAGES = 8


def noted(dtype: type = np.float16, **how: Any) -> Noted:  # noqa: ANN401
    return Noted(activations(IMAGES, dtype=dtype), "feats.zarr", id=numbered(IMAGES), **how)


def spoilt(value: float, dtype: type = np.float16, **how: Any) -> Noted:  # noqa: ANN401
    """One bad value in the middle of a block: image 4 of the block 3 to 6, channel 1, vector 2."""
    found = noted(dtype, **how)
    found.arrays["enc1"][4, 1, 2] = value
    return found


@pytest.mark.parametrize("chunk", [1, 3, 8, 100])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_image_is_counted_once_for_any_blocks(chunk: int, workers: int) -> None:
    given = noted(chunk=chunk)
    x = given.arrays["enc1"]
    binning = equal_width(joint_range(extremes(given.arrays)["enc1"]), 8)
    blocks = list(count_blocks(given, "enc1", binning, threads(workers), means=True))
    assert [block.start for block in blocks] == list(range(0, IMAGES, chunk))
    found = np.concatenate([block.counts[0] for block in blocks])
    np.testing.assert_array_equal(found, count_activations(x, binning))
    means = np.concatenate([block.means[0] for block in blocks])
    np.testing.assert_allclose(means, x.astype(np.float64).mean(axis=2), rtol=1e-15)


def test_means_are_computed_on_request_only() -> None:
    given = noted()
    binning = equal_width(joint_range(extremes(given.arrays)["enc1"]), 8)
    assert {each.means for each in count_blocks(given, "enc1", binning, ONE, means=False)} == {()}


@pytest.mark.parametrize("means", [True, False])
def test_merged_blocks_hold_the_same_counts(means: bool) -> None:
    given = noted(chunk=1)
    binning = equal_width(joint_range(extremes(given.arrays)["enc1"]), 8)

    def merging(function: Any, items: Any, merge: Any) -> Any:  # noqa: ANN401
        results = [function(item) for item in items]
        return iter([merge(results[:3]), merge(results[3:])])

    (first, second) = count_blocks(given, "enc1", binning, merging, means=means)
    assert (first.start, second.start) == (0, 3)
    whole = np.concatenate([first.counts[0], second.counts[0]])
    np.testing.assert_array_equal(whole, count_activations(given.arrays["enc1"], binning))
    assert (len(first.means), len(second.means)) == ((1, 1) if means else (0, 0))
    if means:
        assert (len(first.means[0]), len(second.means[0])) == (3, 5)


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_computed_extents_equal_stored_ones(dtype: type, chunk: int) -> None:
    plain = noted(dtype, chunk=chunk)
    kept = noted(dtype, chunk=chunk, ranges=extremes(plain.arrays))
    for layer in plain.layers:
        for found, stored in zip(
            extents(plain, layer, threads(2)), extents(kept, layer, ONE), strict=True
        ):
            np.testing.assert_array_equal(found, stored)
    assert plain.reads
    assert not kept.reads


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_extents_name_image_and_channel_of_a_nonfinite_value(value: float) -> None:
    with refused(
        FormatError, "feats.zarr: layer enc1, image im004, channel 1:", "finite", f"{value:g}"
    ):
        extents(spoilt(value), "enc1", ONE)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_stored_ranges_must_be_finite(value: float, end: int) -> None:
    given = noted()
    ranges = extremes(given.arrays)
    ranges["enc1"][end][6, 2] = value
    given.kept = ranges
    with refused(FormatError, "image im006, channel 2", f"{value:g}"):
        extents(given, "enc1", ONE)


def test_stored_ranges_must_not_be_reversed() -> None:
    given = noted()
    low, high = extremes(given.arrays)["enc1"]
    given.kept = {"enc1": (high + 1, low)}
    with refused(FormatError, "image im000, channel 0: activations range from"):
        extents(given, "enc1", ONE)


def test_images_without_ids_are_numbered() -> None:
    given = spoilt(np.nan)
    given.columns = {}
    with refused(FormatError, "layer enc1, image 4, channel 1"):
        extents(given, "enc1", ONE)


def binnings(given: Noted) -> dict[str, Any]:
    whole = extremes(noted(given.dtype("enc1").type).arrays)["enc1"]
    joint = joint_range(whole)
    edges = np.tile(np.array([0.1, 0.5, 1.0]), (3, 1))
    return {
        "plain": equal_width(joint, 8),
        "clamped": equal_width(joint, 8, clamp=True),
        "quantile": quantile_bins(edges),
    }


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("rule", ["plain", "clamped", "quantile"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_counting_names_image_and_channel_of_a_nonfinite_value(
    value: float, dtype: type, rule: str, workers: int
) -> None:
    given = spoilt(value, dtype)
    found = count_blocks(given, "enc1", binnings(given)[rule], threads(workers), means=False)
    with refused(
        FormatError,
        "feats.zarr: layer enc1, image im004, channel 1:",
        f"activation {value:g} is not finite",
        "extract",
    ):
        list(found)


def test_values_outside_stored_ranges_are_refused() -> None:
    given = spoilt(60.0, ranges=extremes(noted().arrays))
    binning = equal_width(joint_range(extents(given, "enc1", ONE)), 8)
    with refused(FormatError, "image im004, channel 1", "60 is outside the stored range"):
        list(count_blocks(given, "enc1", binning, ONE, means=False))


def test_errors_can_be_pickled() -> None:
    """A cluster pickles exceptions, with their causes where it can."""
    given = spoilt(np.nan)
    with pytest.raises(FormatError) as caught:
        list(count_blocks(given, "enc1", binnings(given)["plain"], ONE, means=False))
    assert caught.value.__cause__ is None
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("channels", [slice(0, 3), slice(1, 2), slice(2, 9)])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_keys_and_values_can_be_read_for_some_channels(chunk: int, channels: slice) -> None:
    given = noted(chunk=chunk)
    x = given.arrays["enc1"][:, channels]
    np.testing.assert_array_equal(key_totals(given, "enc1", channels), key_counts(x))
    found = read_values(given, "enc1", channels)
    expected = x.transpose(0, 2, 1).reshape(-1, x.shape[1])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("passing", [key_totals, read_values])
def test_other_passes_name_image_and_channel_too(passing: Any, value: float) -> None:  # noqa: ANN401
    given = spoilt(value)
    with refused(FormatError, "layer enc1, image im004, channel 1: activation", "not finite"):
        passing(given, "enc1", slice(1, 3))
    passing(given, "enc1", slice(2, 3))


def test_key_totals_exceed_16_bits() -> None:
    given = Noted({"f": np.zeros((70_000, 1, 1), np.float16)}, chunk=50_000)
    assert key_totals(given, "f", slice(0, 1)).sum() == 70_000


def test_passes_can_run_in_other_processes() -> None:
    from skiptool.comparison.activations import as_activations

    given = as_activations(noted().arrays, "x")
    binning = equal_width(joint_range(extremes(noted().arrays)["enc1"]), 8)

    def through_pickle(function: Any, items: Any, merge: Any) -> Any:  # noqa: ANN401
        found = pickle.loads(pickle.dumps(function))
        parts = [pickle.loads(pickle.dumps(found(pickle.loads(pickle.dumps(i))))) for i in items]
        return iter([pickle.loads(pickle.dumps(partial(merge, parts)))()])

    (block,) = count_blocks(given, "enc1", binning, through_pickle, means=True)
    np.testing.assert_array_equal(
        block.counts[0], count_activations(noted().arrays["enc1"], binning)
    )


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("merge", [False, True])
def test_drawn_vectors_are_counted_together_with_all_vectors(chunk: int, merge: bool) -> None:
    given = noted(chunk=chunk)
    x = given.arrays["enc1"]
    drawn = np.argsort(np.random.default_rng(0).random((IMAGES, 4)), axis=1)[:, :2]
    kept = np.stack([x[i][:, drawn[i]] for i in range(IMAGES)])
    binning = equal_width(joint_range(extremes(given.arrays)["enc1"]), 8)

    def merging(function: Any, items: Any, join: Any) -> Any:  # noqa: ANN401
        results = [function(item) for item in items]
        return iter([join(results)] if merge else results)

    blocks = list(count_blocks(given, "enc1", binning, merging, means=True, drawn=drawn))
    for place, expected in enumerate((x, kept)):
        found = np.concatenate([block.counts[place] for block in blocks])
        np.testing.assert_array_equal(
            found, count_activations(np.ascontiguousarray(expected), binning)
        )
        means = np.concatenate([block.means[place] for block in blocks])
        np.testing.assert_allclose(means, expected.astype(float).mean(axis=2), rtol=1e-15)
