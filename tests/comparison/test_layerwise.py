"""The measures of whole layers, as `compare_features` and the command give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skiptool.comparison.pairs import measure_pairs
from skiptool.comparison.sets import Settings
from skiptool.errors import FormatError, MismatchError
from skiptool.names import LAYERWISE, Metric
from skiptool.stats.classifier import balanced_accuracy, folds_of
from skiptool.steps.compare import compare_features
from skiptool.steps.hellinger import measure_shift
from skiptool.stores.lookup import kind_of
from skiptool.stores.tables import open_table
from small_activations import ONE, Noted, activations, extremes, numbered, threads, written
from small_stores import refused

ALL = tuple(metric.value for metric in LAYERWISE)
STATISTICS = ("null_mean", "null_high", "p_value", "p_adjusted")


def rows(*args: Any, **how: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return compare_features(*args, **how).to_pylist()


def test_a_layer_has_one_row_and_no_channel_of_its_own() -> None:
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


def test_other_metrics_are_as_they_are_without() -> None:
    x, y = activations(8), activations(7, 1)
    alone = rows(x, y, permutations=19, bins=9)
    with_others = rows(x, y, metrics=["covariance", "hellinger"], permutations=19, bins=9)
    assert [row for row in with_others if row["metric"] == "hellinger"] == alone


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("chunk", [1, 3, 40])
def test_workers_and_blocks_do_not_matter(workers: int, chunk: int) -> None:
    settings = Settings(metrics=LAYERWISE, permutations=9, workers=workers, paired=True)
    ids = numbered(9)
    found = []
    for how, mapper, step in ((settings, threads(workers), chunk), (settings, ONE, 4)):
        sets = [Noted(activations(9, seed), chunk=step, id=ids) for seed in (0, 1)]
        _, (measured,) = measure_pairs(sets, [(0, 1)], how, mapper)
        found.append([[*each.mean.values()] for each in measured])
    for one, two in zip(*found, strict=True):
        assert one == pytest.approx(two, rel=1e-9)


def test_the_classifier_is_that_of_stats_on_scaled_vectors() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(11, 3, 4)), rng.normal(0.5, 2.0, size=(9, 3, 4))
    row = rows(x, y, metrics="classifier", permutations=0, seed=2)[0]
    both = np.concatenate([x, y]).transpose(0, 2, 1)
    flat = both.reshape(-1, 3)
    scaled = (both - flat.mean(axis=0)) / flat.std(axis=0)
    folds = folds_of(np.arange(20), np.random.default_rng([2, 0]))
    chosen = np.arange(20)[None] < 11
    known = balanced_accuracy(scaled.astype(np.float32), folds, chosen)[0]
    assert row["value"] == pytest.approx(known, abs=1e-12)


def test_the_classifier_takes_16_vectors_of_an_image_and_one_image_of_the_smallest_unit() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 12, 2, 40))
    groups = ([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 4], [*range(12)])
    row = rows(x, y, metrics="classifier", groups=groups, permutations=0)[0]
    # Of 5 and 12 units of 16 vectors the shares are whole numbers over 80 and 192.
    assert row["value"] * 2 * 80 * 192 % 1 == pytest.approx(0, abs=1e-6)
    assert (row["units_reference"], row["units_other"]) == (5, 12)


def test_a_shift_is_told_and_none_is_not() -> None:
    x, y, z = np.random.default_rng(3).normal(size=(3, 20, 5, 8))
    z[:, 2] += 1.5
    alike = rows(x, y, metrics=ALL[:2])
    apart = rows(x, z, metrics=ALL[:2])
    assert all(row["p_value"] > 0.05 for row in alike)
    assert next(row for row in apart if row["metric"] == "classifier")["p_value"] == 0.005
    assert next(row for row in apart if row["metric"] == "classifier")["value"] > 0.7


def test_pairs_and_subjects_of_both_sets_stay_in_one_fold() -> None:
    """Images of a subject are nearly alike: told by its other half, they would be told right."""
    rng = np.random.default_rng(1)
    subject = rng.normal(size=(12, 6, 1))
    x, y = (subject + 0.01 * rng.normal(size=(12, 6, 4)) for _ in range(2))
    paired = rows(x, y, metrics="classifier", paired=True)[0]["value"]
    names = [f"s{number}" for number in range(12)]
    grouped = rows(x, y, metrics="classifier", groups=(names, names))[0]["value"]
    for value in (paired, grouped):
        assert 0.3 < value < 0.7


def test_paired_differences_go_by_id() -> None:
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


def test_paired_differences_go_by_order_within_units_without_ids() -> None:
    x, y = activations(6)["enc1"], activations(6, 1)["enc1"]
    groups = ([0, 0, 1, 1, 2, 2], [2, 2, 0, 0, 1, 1])
    moved = y[[2, 3, 4, 5, 0, 1]]
    how: dict[str, Any] = {"metrics": "paired-difference", "paired": True}
    one = rows(x, y, groups=groups, **how)[0]
    two = rows(x, moved, groups=(groups[0], groups[0]), **how)[0]
    assert one == two
    with refused(MismatchError, "other numbers of images", "paired-difference"):
        rows(x, y, groups=(groups[0], [0, 1, 1, 1, 2, 2]), **how)


def test_paired_differences_need_pairs_and_one_grid() -> None:
    x = activations(6)["enc1"]
    with refused(MismatchError, "other against reference", "not paired", "drop this metric"):
        rows(x, x, metrics=["hellinger", "paired-difference"])
    with refused(MismatchError, "layer features has 2 vectors", "the reference 4"):
        rows(x, x[:, :, :2], metrics="paired-difference", paired=True)


@pytest.mark.parametrize("metric", ALL)
def test_damage_is_one_line(metric: str) -> None:
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
def test_few_images_are_no_error(images: tuple[int, int]) -> None:
    x, y = activations(images[0])["enc1"], activations(images[1], 1)["enc1"]
    paired = images[0] == images[1]
    for row in rows(x, y, metrics=ALL if paired else ALL[:2], paired=paired, permutations=5):
        assert np.isfinite(row["value"])


def test_channels_that_never_vary_count_for_nothing() -> None:
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


def test_a_table_of_stores(tmp_path: Path) -> None:
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


def test_plain_arrays_are_known_by_their_values(tmp_path: Path) -> None:
    """Files without an id: the id of the table hangs on what was measured."""
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
