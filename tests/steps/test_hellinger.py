"""Tests of ``hellinger``."""

from __future__ import annotations

import random
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import skiptool
from definitions import DEFINITIONS, Channel, columns_of_channels, counts
from skiptool.comparison.activations import Settings
from skiptool.comparison.pairs import PRINTED
from skiptool.errors import ArgumentError, FormatError, MismatchError
from skiptool.names import LAYERS, LAYERWISE, Kind, Metric, RangeRule
from skiptool.records import ORIGINAL, SILENT, Shift
from skiptool.stats.permutation import relabellings
from skiptool.steps.features.features import extract_features
from skiptool.steps.hellinger import compare_features, measure_shift, measure_shifts
from skiptool.steps.info import describe
from skiptool.stores.features import open_features
from skiptool.stores.tables import SHIFT, open_table
from small_activations import LAYERS as LAYERS_COMPARE
from small_activations import activations, written
from small_stores import refused

COUNTS = {"input": 3, "enc1": 64, "enc2": 64, "enc3": 128, "enc4": 256, "enc5": 512}
CHANNELS = COUNTS | {"dec4": 256, "dec3": 128, "dec2": 64, "dec1": 32, "dec0": 16, "head": 2}
STATISTICS = ("corrected", "ci_low", "ci_high", "null_mean", "null_high", "p_value", "p_adjusted")
QUICK = Settings(permutations=19, group="image")
QUICK_BY_SUBJECT = Settings(permutations=19)


def rows(path: Path, layer: str) -> Any:  # noqa: ANN401 - an array (N * K, D) of float64
    """All vectors of a layer, one a row."""
    blocks = [np.asarray(block, dtype=np.float64) for _, block in open_features(path).blocks(layer)]
    return np.concatenate(blocks).transpose(0, 2, 1).reshape(-1, blocks[0].shape[1])


def slow(x: Any, y: Any, bins: int, literal: bool = False) -> list[float]:  # noqa: ANN401
    """Eqs. (4) to (9) value by value: the distance of each channel."""
    distances = []
    for first, second in zip(x.T, y.T, strict=True):
        beta = min(first.min(), second.min())  # eq. (7)
        alpha = max(first.max(), second.max()) - beta  # eq. (6)
        p, q = [0.0] * bins, [0.0] * bins
        for values, share in ((first, p), (second, q)):
            for value in values:
                b = int((value - beta) * bins / alpha) if alpha else (bins if literal else 0)
                if b == bins and not literal:
                    b = bins - 1  # the last bin is closed
                if b < bins:
                    share[b] += 1 / len(values)  # eq. (4)
        overlap = sum(np.sqrt(a * b) for a, b in zip(p, q, strict=True))  # eq. (8)
        distances.append(float(np.sqrt(max(0.0, 1 - overlap))))  # eq. (9)
    return distances


def columns(path: Path, **chosen: object) -> dict[str, list[Any]]:
    """Columns of the rows of a shift table that are as chosen."""
    table = pq.read_table(path)
    found = [row for row in table.to_pylist() if all(row[k] == v for k, v in chosen.items())]
    return {name: [row[name] for row in found] for name in table.column_names}


def settings(literal: bool = False, **how: Any) -> Settings:  # noqa: ANN401
    return Settings(**({"range_rule": RangeRule.LITERAL} if literal else {}) | how)


@pytest.mark.long
@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("bins", [100, 7])
def test_values_follow_the_equations(
    bins: int, literal: bool, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "t.parquet"
    how = settings(literal, bins=(bins,), permutations=0)
    measure_shift(experiment.plain, [experiment.dark], out, settings=how)
    for layer in ("input", "enc1", "enc3", "dec0", "head"):
        found = columns(out, layer=layer)
        expected = slow(rows(experiment.plain, layer), rows(experiment.dark, layer), bins, literal)
        assert found["channel"] == [None, *range(CHANNELS[layer])]
        np.testing.assert_allclose(found["value"][1:], expected, atol=1e-7)
        assert found["value"][0] == pytest.approx(np.mean(expected))  # eq. (10)


def test_table_has_a_row_for_each_channel_and_layer(experiment: SimpleNamespace) -> None:
    table = pq.read_table(experiment.shift)
    assert table.column_names == list(SHIFT)
    assert table.num_rows == sum(CHANNELS.values()) + len(LAYERS)
    means = columns(experiment.shift, channel=None)
    assert tuple(means["layer"]) == LAYERS
    assert means["layer_index"] == list(range(12))
    for name, expected in {
        "reference": experiment.plain.name,
        "other": experiment.dark.name,
        "model": "resnet18-L0/fold0",
        "encoder": "resnet18",
        "pruning": "baseline",
        "fold": 0,
        "dataset": "s.zarr",
        "domain": "synthetic",
        "reference_domain": "synthetic",
        "shift": "brightness",
        "factor": 0.5,
        "reference_shift": "original",
        "split": "test",
        "reference_split": "test",
        "reference_factor": None,
        "metric": "hellinger",
        "bins": 100,
        "range_rule": "minmax",
        "n_reference": 5,
        "n_other": 5,
        "unit": "image",
        "permutations": 199,
        "units_reference": 5,
        "units_other": 5,
        "paired": True,
    }.items():
        assert set(means[name]) == {expected}, name
    lineage = open_features(experiment.plain).lineage
    assert lineage is not None
    assert means["reference_id"][0] == lineage.id


@pytest.mark.long
def test_table_has_the_split_of_the_images(experiment: SimpleNamespace, tmp_path: Path) -> None:
    how: dict[str, Any] = {"layers": ["head"], "shifts": [ORIGINAL, Shift.parse("brightness=0.5")]}
    fold, test = (
        extract_features(
            [experiment.baseline], experiment.data, tmp_path / split, split=split, **how
        ).outputs
        for split in ("fold", "test")
    )
    measure_shift(fold[0], [fold[1], test[1]], tmp_path / "t.parquet", settings=QUICK)
    found = columns(tmp_path / "t.parquet", channel=None, layer="head")
    assert found["reference_split"] == ["validation"] * 2
    assert found["split"] == ["validation", "test"]


def test_statistics_are_filled_in_every_row(experiment: SimpleNamespace) -> None:
    every = columns(experiment.shift)
    # Five pairs allow for no p-value below 0.05, so there is none.
    assert set(every["p_value"]) == set(every["p_adjusted"]) == {None}
    for name in ("value", "tested", "null_mean", "null_high", "effective_bins", "range_used"):
        assert None not in every[name], name
    means = columns(experiment.shift, channel=None)
    for place in range(12):
        low, middle, high = (means[name][place] for name in ("ci_low", "corrected", "ci_high"))
        assert 0 <= middle <= 1
        if low is not None:
            assert 0 == low <= middle <= high <= 1
        assert means["warnings"][place].startswith("no p-value below 0.05 is possible with 5 and 5")
        assert 0 < means["null_mean"][place] <= means["null_high"][place]
    channels = [place for place, channel in enumerate(every["channel"]) if channel is not None]
    assert {every["value_live"][place] for place in channels} == {None}


def test_outcome_has_one_row_per_layer(experiment: SimpleNamespace) -> None:
    found = measure_shift(experiment.plain, [experiment.dark])
    assert found.outputs == ()
    (table,) = found.tables
    assert tuple(table.columns["layer"]) == LAYERS
    means = columns(experiment.shift, channel=None)
    assert list(table.columns) == [
        "reference",
        "other",
        *(name for name in PRINTED if name not in ("channel", "tested")),
    ]
    assert f"{experiment.dark.name} against {experiment.plain.name}" in table.title
    for name in table.columns:
        assert list(table.columns[name]) == means[name]
    assert found.summary["paired"] == [True]


def test_per_channel_lists_every_channel(experiment: SimpleNamespace) -> None:
    (table,) = measure_shift(experiment.plain, [experiment.dark], per_channel=True).tables
    found = columns(experiment.shift)
    for name in ("layer", "channel", "value", "constant_channels", "p_value"):
        assert list(table.columns[name]) == found[name]


@pytest.mark.long
def test_distance_is_symmetric_and_0_to_itself(experiment: SimpleNamespace) -> None:
    there, back = (
        measure_shift(*pair, settings=QUICK).tables[0].columns["value"]
        for pair in (
            (experiment.plain, [experiment.dark]),
            (experiment.dark, [experiment.plain]),
        )
    )
    assert there == back
    (own,) = measure_shift(
        experiment.plain, [experiment.plain], settings=replace(QUICK, paired=False)
    ).tables
    assert set(own.columns["value"]) == {0.0}
    assert set(own.columns["p_value"]) == {1.0}


@pytest.mark.long
def test_several_stores_follow_each_other(experiment: SimpleNamespace, tmp_path: Path) -> None:
    out, others = tmp_path / "t.parquet", [experiment.dark, experiment.plain]
    (table,) = measure_shift(experiment.plain, others, out).tables
    assert list(table.columns["other"]) == [path.name for path in others for _ in LAYERS]
    assert pq.read_table(out).num_rows == 2 * (sum(CHANNELS.values()) + 12)
    first = columns(out, other=experiment.dark.name)
    whole = columns(experiment.shift)
    for name in ("value", *STATISTICS):
        assert first[name] == whole[name], name


@pytest.fixture
def stores(tmp_path: Path) -> SimpleNamespace:
    """Make stores of two layers: two of one dataset (12 images), one of another (7)."""
    subjects = [f"s{number % 4}" for number in range(12)]
    x, y = activations(12), activations(12, 1, 0.4)
    made = {
        "x": written(tmp_path / "x.zarr", x, subject=subjects),
        "y": written(tmp_path / "y.zarr", y, subject=subjects),
        "z": written(tmp_path / "z.zarr", activations(7, 2), dataset="e", subject=[*"aabbccd"]),
    }
    return SimpleNamespace(folder=tmp_path, out=tmp_path / "t.parquet", **made)


def layers_of(path: Path, **chosen: object) -> dict[str, list[Any]]:
    return columns(path, channel=None, **chosen)


@pytest.mark.parametrize(("asked", "told"), [(None, True), (True, True), (False, False)])
def test_pairing_is_detected_or_declined(
    asked: bool | None, told: bool, stores: SimpleNamespace
) -> None:
    how = replace(QUICK, paired=asked)
    measure_shift(stores.x, [stores.y], stores.out, settings=how)
    assert set(columns(stores.out)["paired"]) == {told}


def test_other_images_are_not_paired(stores: SimpleNamespace) -> None:
    found = measure_shift(stores.x, [stores.z, stores.y], stores.out, settings=QUICK)
    assert found.summary["paired"] == [False, True]
    assert set(columns(stores.out, other="z.zarr")["paired"]) == {False}
    assert set(columns(stores.out, other="z.zarr")["n_other"]) == {7}


def test_pairs_in_another_order_are_found(stores: SimpleNamespace, tmp_path: Path) -> None:
    y, order = activations(12, 1, 0.4), [5, 3, 0, 1, 2, 4, 11, 10, 9, 8, 7, 6]
    moved = {name: array[order] for name, array in y.items()}
    ids = [f"im{number:03d}" for number in order]
    other = written(tmp_path / "moved.zarr", moved, id=ids)
    measure_shift(stores.x, [stores.y, other], stores.out, settings=QUICK)
    first, second = (columns(stores.out, other=name) for name in ("y.zarr", "moved.zarr"))
    for name in ("value", *STATISTICS, "paired"):
        assert first[name] == second[name], name


@pytest.mark.long
def test_subjects_are_statistical_units(stores: SimpleNamespace) -> None:
    how = replace(QUICK, group="subject")
    measure_shift(stores.x, [stores.y, stores.z], stores.out, settings=how)
    paired, free = (layers_of(stores.out, other=name) for name in ("y.zarr", "z.zarr"))
    assert (set(paired["unit"]), set(paired["units_other"])) == ({"subject"}, {4})
    assert (set(free["units_reference"]), set(free["units_other"])) == ({4}, {4})
    assert (set(paired["paired"]), set(free["paired"])) == ({True}, {False})
    assert (set(paired["n_other"]), set(free["n_other"])) == ({12}, {7})
    images = measure_shift(stores.x, [stores.y], settings=QUICK).tables[0].columns
    assert list(images["value"]) == paired["value"]
    assert list(images["null_mean"]) != paired["null_mean"]


def test_all_pairs(stores: SimpleNamespace) -> None:
    others = [stores.y, stores.z]
    found = measure_shift(stores.x, others, stores.out, settings=QUICK, all_pairs=True)
    pairs = [("x.zarr", "y.zarr"), ("x.zarr", "z.zarr"), ("y.zarr", "z.zarr")]
    told = layers_of(stores.out)
    assert list(dict.fromkeys(zip(told["reference"], told["other"], strict=True))) == pairs
    shown = found.tables[0].columns
    assert shown["reference"] == [pair[0] for pair in pairs for _ in range(2)]
    (alone,) = measure_shift(stores.y, [stores.z], settings=QUICK).tables
    assert list(alone.columns["p_adjusted"]) == shown["p_adjusted"][4:]


def test_sweep_has_rows_for_each_number_of_bins(stores: SimpleNamespace) -> None:
    how = replace(QUICK, bins=(10, 20, 30))
    shown = measure_shift(stores.x, [stores.y], stores.out, settings=how).tables[0].columns
    assert shown["bins"] == [10, 10, 20, 20, 30, 30]
    for bins in how.bins:
        alone = measure_shift(stores.x, [stores.y], settings=replace(QUICK, bins=(bins,)))
        found = layers_of(stores.out, bins=bins)
        for name in ("value", "corrected", "p_value", "p_adjusted"):
            assert list(alone.tables[0].columns[name]) == found[name]


def test_every_metric_has_its_bins(stores: SimpleNamespace) -> None:
    how = replace(QUICK, metrics=tuple(reversed(Metric)))
    without_null = (Metric.WASSERSTEIN_EXACT, Metric.PAIRED_DIFFERENCE)
    shown = measure_shift(stores.x, [stores.y], stores.out, settings=how).tables[0].columns
    assert list(dict.fromkeys(shown["metric"])) == [metric.value for metric in reversed(Metric)]
    for metric in Metric:
        found = layers_of(stores.out, metric=metric.value)
        binned = metric.value in DEFINITIONS
        assert set(found["bins"]) == {100 if binned else None}
        assert set(found["range_rule"]) == {"minmax" if binned else None}
        assert None not in found["value"]
        assert (None in found["p_value"]) == (metric in without_null)


@pytest.mark.parametrize("rule", [RangeRule.QUANTILE, RangeRule.PERCENTILES, RangeRule.REFERENCE])
def test_every_value_has_its_range_rule(rule: RangeRule, stores: SimpleNamespace) -> None:
    how = replace(QUICK, range_rule=rule, bins=(50,))
    measure_shift(stores.x, [stores.y], stores.out, settings=how)
    found = columns(stores.out)
    assert set(found["range_rule"]) == {rule.value}
    assert set(found["bins"]) == {50}
    assert (set(found["range_used"]) == {None}) == (rule is RangeRule.QUANTILE)
    assert None not in found["p_value"]


def test_literal_reading_has_no_statistics(stores: SimpleNamespace) -> None:
    found = measure_shift(stores.x, [stores.y], stores.out, settings=settings(literal=True))
    table = columns(stores.out)
    assert set(table["range_rule"]) == {"literal-eq5"}
    for name in (*STATISTICS, "effective_bins", "range_used"):
        assert set(table[name]) == {None}, name
        assert set(found.tables[0].columns.get(name, [None])) == {None}
    assert found.summary["permutations"] == 0
    assert "corrected" not in found.tables[0].title


@pytest.mark.long
def test_types_and_numbers_of_images_may_differ(stores: SimpleNamespace, tmp_path: Path) -> None:
    wide = written(tmp_path / "wide.zarr", activations(5, 4), dtype="float32")
    unpaired = tuple(metric for metric in Metric if metric is not Metric.PAIRED_DIFFERENCE)
    how = replace(QUICK, metrics=unpaired)
    found = measure_shift(stores.x, [wide], stores.out, settings=how)
    assert None not in found.tables[0].columns["value"]
    assert set(columns(stores.out)["n_other"]) == {5}
    halves = written(tmp_path / "halves.zarr", activations(5, 4))
    alone = measure_shift(stores.x, [halves], settings=how).tables[0].columns["value"]
    np.testing.assert_allclose(found.tables[0].columns["value"], alone, rtol=1e-12)


def test_constant_channels_explicit(tmp_path: Path) -> None:
    # Dead in both; equal but for the maximum; two different constants.
    x = np.array([[[0, 0, 0, 0], [0, 1, 2, 4], [5, 5, 5, 5]]])
    y = np.array([[[0, 0, 0, 0], [0, 1, 4, 4], [6, 6, 6, 6]]])
    first, second = (
        written(tmp_path / f"{name}.zarr", {"enc1": each}) for name, each in (("x", x), ("y", y))
    )
    out = tmp_path / "t.parquet"
    # Four bins of width 1: p = (1, 1, 1, 1) / 4, q = (1, 1, 0, 2) / 4, the last bin closed.
    middle = np.sqrt(1 - (1 / 4 + 1 / 4 + np.sqrt(2) / 4))
    measure_shift(first, [second], out, settings=settings(bins=(4,)))
    found = columns(out)
    np.testing.assert_allclose(found["value"], [(middle + 1) / 3, 0, middle, 1], atol=1e-12)
    assert found["value_live"] == [pytest.approx((middle + 1) / 2), None, None, None]
    assert found["constant_channels"] == [1, 1, 0, 0]
    assert found["effective_bins"] == [3.0, 1.0, 4.0, 2.0]
    assert found["range_used"] == [1.0, 0.25, 1.0, 1.0]
    assert set(found["corrected"]) == {None}  # one image has no spread
    # As printed, the maximum is in no bin and a dead channel is at distance 1.
    measure_shift(first, [second], out, settings=settings(True, bins=(4,)), overwrite=True)
    np.testing.assert_allclose(columns(out)["value"][1:], [1, np.sqrt(1 - 1 / 2), 1], atol=1e-12)


def test_all_channels_constant(tmp_path: Path) -> None:
    first = written(tmp_path / "x.zarr", {"enc1": np.ones((1, 1, 2))})
    (table,) = measure_shift(first, [first]).tables
    assert table.columns["value"] == [0.0]
    assert table.columns["value_live"] == [None]
    assert table.columns["constant_channels"] == [1]


class Warned:
    """A progress that keeps what it is told."""

    task = SILENT.task

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


def without_numbers(text: str) -> str:
    """Put a mark in place of each number, or span of numbers, as warnings of layers are joined."""
    return re.sub(r"\d+( to \d+)?", "#", text)


def warnings_of(reference: Path, other: Path, out: Path, how: Settings) -> list[str]:
    """Lines told; those of the table, of the outcome and of the lines are the same."""
    warned = Warned()
    found = measure_shift(reference, [other], out, settings=how, progress=warned, overwrite=True)
    names = f"{other.name} against {reference.name}: "
    assert all(line.startswith(names) for line in warned.lines)
    told = layers_of(out)["warnings"]
    assert set(columns(out)["warnings"]) <= {None, *told}
    (pair,) = found.summary.get("warnings", [[]])
    lines = [line.removeprefix(names) for line in warned.lines]
    assert lines[: len(pair)] == pair
    for line in pair:
        assert all(line in each for each in told)
    for line in lines[len(pair) :]:
        layers, warning = line.split(": ", 1)
        for layer in layers.split(", "):
            (each,) = layers_of(out, layer=layer)["warnings"]
            assert without_numbers(warning.split("; compare with")[0]) in without_numbers(each)
    return lines


@pytest.mark.long
def test_outliers_that_stretch_the_range_are_a_warning(tmp_path: Path) -> None:
    x, out = activations(300), tmp_path / "t.parquet"
    x["enc1"][7, 2, 1] = 1000.0
    squeezed = written(tmp_path / "squeezed.zarr", x)
    plain = written(tmp_path / "plain.zarr", activations(300, 1))
    lines = warnings_of(plain, squeezed, out, QUICK)
    (line,) = (line for line in lines if "outlying" in line)
    assert line.startswith("enc1: a few outlying values stretch the range of 1 channels")
    assert "--range p0.1" in line
    for rule in (RangeRule.PERCENTILES, RangeRule.QUANTILE):
        lines = warnings_of(plain, squeezed, out, replace(QUICK, range_rule=rule))
        assert not any("outlying" in line for line in lines)
    assert warnings_of(plain, plain, out, QUICK) == []


def slices(path: Path, subjects: int, images: int, seed: int, side: int = 3) -> Path:
    """Write a store of so many images of each subject, alike within a subject."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(subjects, 4, 1)).repeat(images, axis=0)
    values = own + 0.5 * rng.normal(size=(subjects * images, 4, side * side))
    names = [f"{path.stem}{number}" for number in range(subjects) for _ in range(images)]
    return written(
        path, {"enc1": values}, dataset=path.stem, subject=names, facts={"grid": [side, side]}
    )


def test_slices_of_two_subjects_have_no_p_value(tmp_path: Path) -> None:
    x, y = (slices(tmp_path / f"{n}.zarr", 2, 20, s) for s, n in enumerate("xy"))
    out = tmp_path / "t.parquet"
    lines = warnings_of(x, y, out, Settings())
    assert "no p-value below 0.05 is possible with 2 and 2 units, so none is given" in lines
    found = columns(out)
    for name in ("p_value", "p_adjusted"):
        assert set(found[name]) == {None}
    assert set(found["ci_low"]) <= {0.0, None}
    assert (set(found["unit"]), set(found["units_other"])) == ({"subject"}, {2})
    assert set(found["n_other"]) == {40}
    assert None not in found["null_mean"]


def test_images_as_units_have_a_p_value_and_a_warning(tmp_path: Path) -> None:
    x, y = (slices(tmp_path / f"{n}.zarr", 2, 20, s) for s, n in enumerate("xy"))
    out = tmp_path / "t.parquet"
    lines = warnings_of(x, y, out, replace(QUICK, group="image"))
    assert sum("40 images of 2 subjects are counted as independent" in e for e in lines) == 1
    found = layers_of(out)
    assert found["p_value"] == [0.05]
    assert (found["unit"], found["units_other"]) == (["image"], [40])


def test_subjects_of_other_sizes_are_tested_on_a_draw(tmp_path: Path) -> None:
    x, y = slices(tmp_path / "x.zarr", 6, 5, 0), slices(tmp_path / "y.zarr", 8, 2, 1)
    out = tmp_path / "t.parquet"
    lines = warnings_of(x, y, out, QUICK_BY_SUBJECT)
    assert "the test draws equally many images of each unit, as the sets differ in size" in lines
    found = columns(out)
    assert set(found["drawn"]) == {True}
    assert set(found["n_reference"]) == {30}
    assert any(t != v for t, v in zip(found["tested"], found["value"], strict=True))
    same = slices(tmp_path / "z.zarr", 8, 5, 2)
    assert not any("draws" in line for line in warnings_of(x, same, out, QUICK_BY_SUBJECT))
    assert set(columns(out)["drawn"]) == {False}


def test_larger_images_are_tested_on_windows_of_the_smaller_grid(tmp_path: Path) -> None:
    """Grids of 192 and 416 px at a stride of 32: 6 x 6 and 13 x 13."""
    x = slices(tmp_path / "x.zarr", 10, 1, 0, side=6)
    y = slices(tmp_path / "y.zarr", 9, 1, 1, side=13)
    out = tmp_path / "t.parquet"
    lines = warnings_of(x, y, out, replace(QUICK, bins=(20,)))
    assert lines[0] == (
        "the test draws 36 of the vectors of each image, as the sets differ in size"
    )
    (found,) = layers_of(out)["tested"]
    corner = np.random.default_rng([0, 169, 36])
    rows, right = corner.integers(0, 8, 9), corner.integers(0, 8, 9)
    first, second = (
        np.concatenate([np.asarray(b, dtype=float) for _, b in open_features(p).blocks("enc1")])
        for p in (x, y)
    )
    grids = second.reshape(9, 4, 13, 13)
    windows = np.stack(
        [
            grids[i, :, r : r + 6, c : c + 6]
            for i, (r, c) in enumerate(zip(rows, right, strict=True))
        ]
    ).reshape(9, 4, 36)
    expected = []
    for d in range(4):
        low = min(first[:, d].min(), second[:, d].min())
        span = max(first[:, d].max(), second[:, d].max()) - low
        p, q = (counts(each[:, d], low, span, 20) for each in (first, windows))
        expected.append(DEFINITIONS["hellinger"](p / p.sum(), q / q.sum()))
    assert found == pytest.approx(np.mean(expected), abs=1e-7)
    assert layers_of(out)["drawn"] == [True]
    assert set(columns(out)["n_other"]) == {9}


def test_channels_of_too_few_units_are_a_warning(stores: SimpleNamespace) -> None:
    lines = warnings_of(stores.x, stores.y, stores.out, QUICK_BY_SUBJECT)
    assert any("channels vary in too few subjects" in line for line in lines)
    assert any("4 and 4 pairs" in line for line in lines)
    assert max(layers_of(stores.out)["unresolved_channels"]) > 0


@pytest.mark.long
def test_recorded_command_reproduces_the_table(stores: SimpleNamespace) -> None:
    from skiptool.cli import main

    how = replace(
        QUICK,
        metrics=(Metric.KL, Metric.WASSERSTEIN),
        bins=(10, 20),
        range_rule=RangeRule.PERCENTILES,
        group="subject",
        paired=False,
        seed=5,
    )
    measure_shift(stores.x, [stores.y, stores.z], stores.out, settings=how, all_pairs=True)
    first = open_table(stores.out, Kind.SHIFT)
    (line,) = describe([stores.out], command=True).text.splitlines()
    words = shlex.split(line)
    words[words.index("--out") + 1] = str(stores.folder / "again.parquet")
    assert main(words[1:]) == 0
    again = open_table(stores.folder / "again.parquet", Kind.SHIFT)
    assert again.data.equals(first.data)
    assert again.lineage.id == first.lineage.id


@pytest.mark.long
def test_id_depends_on_everything_that_changes_the_table(stores: SimpleNamespace) -> None:
    def made(how: Settings) -> str:
        measure_shift(stores.x, [stores.y], stores.out, settings=how, overwrite=True)
        return open_table(stores.out, Kind.SHIFT).lineage.id

    known = made(QUICK)
    assert made(replace(QUICK, memory=999, workers=2)) == known
    for other in ({"seed": 1}, {"permutations": 20}, {"paired": False}, {"bins": (99,)}):
        assert made(replace(QUICK, **other)) != known


METRICS = tuple(metric.value for metric in Metric if metric not in LAYERWISE)


def rows_of_compare(table: Any, **chosen: object) -> list[dict[str, Any]]:  # noqa: ANN401
    """Rows of a shift table that are as chosen."""
    return [row for row in table.to_pylist() if all(row[k] == v for k, v in chosen.items())]


def test_compare_features_is_exported() -> None:
    assert skiptool.compare_features is compare_features


def test_a_table_of_layers_and_channels() -> None:
    table = compare_features(activations(6), activations(5, 1), permutations=9)
    assert table.column_names == list(SHIFT)
    assert [(row["layer"], row["channel"]) for row in table.to_pylist()] == [
        (name, channel)
        for name in LAYERS_COMPARE
        for channel in (None, *range(LAYERS_COMPARE[name][0]))
    ]
    for name, value in {
        "reference": "reference",
        "other": "other",
        "model": None,
        "reference_id": None,
        "metric": "hellinger",
        "bins": 100,
        "range_rule": "minmax",
        "paired": False,
        "n_reference": 6,
        "n_other": 5,
        "permutations": 9,
        "unit": "image",
    }.items():
        assert set(table[name].to_pylist()) == {value}, name


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("metric", ["hellinger", "kl", "representation-shift"])
def test_every_column_follows_from_the_definitions(metric: str, paired: bool) -> None:
    x, y = activations(6, 0)["enc1"], activations(6, 1, 0.3)["enc1"]
    table = compare_features(
        x, y, metrics=metric, bins=12, permutations=19, seed=4, paired=paired, workers=2
    )
    images = [[i] for i in range(6)]
    rng = np.random.default_rng(4)
    channels = [Channel(x[:, d], y[:, d], (images, images), metric, 12) for d in range(3)]
    expected, _ = columns_of_channels(
        channels, relabellings(6, 6, 19, paired=paired, rng=rng), paired
    )
    for row, known in zip(table.to_pylist(), expected, strict=True):
        for column, value in known.items():
            assert row[column] == pytest.approx(value, rel=1e-7, abs=2e-7), column
    assert table["p_adjusted"][0].as_py() == table["p_value"][0].as_py()


def test_every_option_of_compare_features() -> None:
    table = compare_features(
        activations(6), activations(5, 1), metrics=METRICS, bins=[10, 20], permutations=9
    )
    found = [
        (row["metric"], row["bins"]) for row in rows_of_compare(table, channel=None, layer="enc1")
    ]
    binned = METRICS[: METRICS.index("wasserstein-exact")]
    assert found == [
        *((metric, bins) for metric in binned for bins in (10, 20)),
        ("wasserstein-exact", None),
        ("representation-shift", None),
    ]


@pytest.mark.parametrize("rule", ["p0.1", "reference", "quantile", "literal-eq5"])
def test_rules(rule: str) -> None:
    x = activations(6)["enc1"]
    table = compare_features(x, x + 1, range_rule=rule, permutations=9)
    assert set(table["range_rule"].to_pylist()) == {rule}


@pytest.mark.parametrize("bins", [7, np.int64(7), [7], (7,), np.array([7])])
def test_bins_may_be_any_integers(bins: Any) -> None:  # noqa: ANN401
    x = activations(3)["enc1"]
    assert set(compare_features(x, x, bins=bins, permutations=0)["bins"].to_pylist()) == {7}


def test_groups_are_units_paired_by_name() -> None:
    x, y = activations(6)["enc1"], activations(6, 1)["enc1"]
    groups = (["a", "b", "a", "b", "c", "c"], ["c", "b", "a", "b", "c", "a"])
    free = compare_features(x, y, groups=groups, permutations=9).to_pylist()[0]
    assert (free["unit"], free["units_reference"], free["units_other"]) == ("group", 3, 3)
    paired = compare_features(x, y, groups=groups, permutations=9, paired=True).to_pylist()[0]
    order = [2, 5, 1, 3, 0, 4]
    moved = (groups[0], [groups[1][i] for i in order])
    again = compare_features(x, y[order], groups=moved, permutations=9, paired=True)
    assert again.to_pylist()[0] == paired


def test_two_axes_are_one_vector_per_image() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30, 5))
    flat = compare_features(x, y, bins=5, permutations=9)
    deep = compare_features(x[:, :, None], y[:, :, None], bins=5, permutations=9)
    assert flat.equals(deep)


@pytest.mark.long
def test_arrays_are_not_modified() -> None:
    x, y = activations(5)["enc1"], activations(5, 1)["enc1"]
    kept = x.copy(), y.copy()
    for array in (x, y):
        array.flags.writeable = False
    compare_features(x, y, metrics=METRICS, permutations=9)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


X = activations(5)["enc1"]


@pytest.mark.parametrize(
    ("kind", "how", "words"),
    [
        (ArgumentError, {"metrics": "helinger"}, ("'helinger'", "did you mean hellinger?")),
        (ArgumentError, {"metrics": ["hellinger", "x"]}, ("'x'", "wasserstein")),
        (ArgumentError, {"metrics": ()}, ("--metric",)),
        (ArgumentError, {"range_rule": "minmx"}, ("'minmx'", "did you mean minmax?")),
        (ArgumentError, {"bins": 0}, ("--bins 0",)),
        (ArgumentError, {"bins": 7.5}, ("--bins 7.5",)),
        (ArgumentError, {"bins": []}, ("--bins",)),
        (ArgumentError, {"bins": [2, 3], "range_rule": "quantile"}, ("sweep",)),
        (ArgumentError, {"permutations": -1}, ("--permutations -1",)),
        (ArgumentError, {"workers": 0}, ("--workers 0",)),
        (ArgumentError, {"seed": -1}, ("--seed -1",)),
        (ArgumentError, {"groups": ([1, 2, 3, 4, 5], [1])}, ("other: 1 groups for 5 images",)),
        (MismatchError, {"groups": ([1] * 5, [2] * 5), "paired": True}, ("2 of 2 units",)),
        (ArgumentError, {"other": X[:, :, 0, None, None]}, ("other: features", "(5, 3, 1, 1)")),
        (MismatchError, {"other": X[:, :2]}, ("2 channels, the reference 3",)),
        (MismatchError, {"other": {"enc1": X}}, ("missing: features", "extra: enc1")),
        (FormatError, {"other": np.where(X.max() == X, np.nan, X)}, ("other: layer features",)),
    ],
)
def test_mismatched_arrays_are_reported_in_one_line(
    kind: type[Exception], how: dict[str, Any], words: tuple[str, ...]
) -> None:
    with refused(kind, *words):
        compare_features(X, how.pop("other", X), **how)


def test_warnings_are_in_the_table() -> None:
    x, y = activations(6)["enc1"], activations(4, 1)["enc1"][:, :, :2]
    table = compare_features(x, y, groups=([0, 0, 1, 1, 2, 2], [5, 5, 6, 6]))
    (row,) = rows_of_compare(table, channel=None)
    assert row["p_value"] is None
    assert row["warnings"].split("; ")[:2] == [
        "no p-value below 0.05 is possible with 3 and 2 units, so none is given",
        "the test draws 2 of the vectors of each image, as the sets differ in size",
    ]
    assert rows_of_compare(table, channel=0)[0]["warnings"] is None


# -------------------------------------------------------------------------------------------------
# Stores and folders of many models in one call: who is compared with whom, and what is told.


QUICK_HELLINGER_MODELS = Settings(permutations=0, bins=(8,), group="image")


class Heard:
    """Progress that keeps warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Any]:
        with SILENT.task(text, total) as task:
            yield task


def store(folder: Path, model: str, domain: str = "A", shift: str = "original", **how: Any) -> Path:  # noqa: ANN401
    """Write a small store whose values follow from its name."""
    kind, _, factor = shift.partition("=")
    facts = {
        "domain": domain,
        "shift": kind,
        "factor": float(factor) if factor else None,
        "split": "test",
        "training_domain": "A",
        "training_dataset": "d",
        **how.pop("facts", {}),
    }
    name = how.pop("name", f"{model}_{domain}_{shift.replace('=', '-')}.zarr")
    seed = sum(name.encode())
    layers = how.pop("layers", activations(8, seed))
    return written(folder / name, layers, model=model, facts=facts, **how)


def compared(out: Path) -> set[tuple[str, str, str]]:
    """Model, reference and other of every pair in a table."""
    rows = pq.read_table(out).to_pylist()
    return {(row["model"], row["reference"], row["other"]) for row in rows}


@pytest.fixture
def two_models(tmp_path: Path) -> Path:
    """Folder with stores of models m and n: three shifts and another domain each."""
    folder = tmp_path / "features"
    folder.mkdir()
    for model in ("m", "n"):
        for shift in ("original", "brightness=0.5", "contrast=1.5"):
            store(folder, model, shift=shift)
        store(folder, model, "B")
    return folder


EXPECTED = {
    (model, f"{model}_A_original.zarr", f"{model}_{other}.zarr")
    for model in "mn"
    for other in ("A_brightness-0.5", "A_contrast-1.5", "B_original")
}


@pytest.mark.long
def test_folder_makes_one_table_of_all_models(two_models: Path, tmp_path: Path) -> None:
    out, heard = tmp_path / "t.parquet", Heard()
    found = measure_shifts([two_models], out, settings=QUICK_HELLINGER_MODELS, progress=heard)
    assert compared(out) == EXPECTED
    assert heard.lines == []
    assert found.summary["models"] == 2
    assert found.summary["pairs"] == 6
    assert found.summary["reference"] == ["m_A_original.zarr", "n_A_original.zarr"]
    rows = pq.read_table(out).to_pylist()
    alone = tmp_path / "alone.parquet"
    pair = ("n_A_original.zarr", "n_A_contrast-1.5.zarr")
    measure_shift(
        two_models / pair[0], [two_models / pair[1]], alone, settings=QUICK_HELLINGER_MODELS
    )
    mine = [row for row in rows if (row["reference"], row["other"]) == pair]
    assert mine == pq.read_table(alone).to_pylist()
    lineage = describe([out]).summary[str(out)]["lineage"]
    assert len(lineage["inputs"]) == 8


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_reference_does_not_depend_on_the_order(
    seed: int, two_models: Path, tmp_path: Path
) -> None:
    places = sorted(two_models.iterdir())
    random.Random(seed).shuffle(places)
    out = tmp_path / "t.parquet"
    measure_shifts(places, out, settings=QUICK_HELLINGER_MODELS)
    assert compared(out) == EXPECTED


@pytest.mark.long
def test_original_store_is_the_reference_with_a_warning(two_models: Path, tmp_path: Path) -> None:
    places = sorted(two_models.glob("m_*"))
    assert places[0].name == "m_A_brightness-0.5.zarr"
    out, heard = tmp_path / "t.parquet", Heard()
    measure_shifts(places, out, settings=QUICK_HELLINGER_MODELS, progress=heard)
    assert compared(out) == {pair for pair in EXPECTED if pair[0] == "m"}
    (line,) = heard.lines
    assert "m_A_original.zarr is the reference" in line
    assert "to choose another, give --reference" in line


@pytest.mark.long
def test_two_explicit_stores_are_reference_and_other(two_models: Path, tmp_path: Path) -> None:
    out, heard = tmp_path / "t.parquet", Heard()
    places = [two_models / "m_B_original.zarr", two_models / "m_A_original.zarr"]
    measure_shifts(places, out, settings=QUICK_HELLINGER_MODELS, progress=heard)
    assert compared(out) == {("m", "m_B_original.zarr", "m_A_original.zarr")}
    assert heard.lines == []


@pytest.mark.long
def test_mixtures_of_folders_and_stores_count_each_once(two_models: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    further = store(far, "m", shift="saturation=0")
    (tmp_path / "link").symlink_to(two_models, target_is_directory=True)
    out = tmp_path / "t.parquet"
    places = [two_models / "m_B_original.zarr", two_models, further, tmp_path / "link"]
    measure_shifts(places, out, settings=QUICK_HELLINGER_MODELS)
    assert compared(out) == EXPECTED | {("m", "m_A_original.zarr", further.name)}


@pytest.mark.long
def test_references_can_be_chosen(two_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    how = {"references": [two_models / "m_B_original.zarr"], "settings": QUICK_HELLINGER_MODELS}
    measure_shifts([two_models], out, **how)
    expected = {pair for pair in EXPECTED if pair[0] == "n"}
    expected |= {
        ("m", "m_B_original.zarr", f"m_A_{shift}.zarr")
        for shift in ("original", "brightness-0.5", "contrast-1.5")
    }
    assert compared(out) == expected
    command = describe([out]).summary[str(out)]["lineage"]["command"]
    assert f"--reference {two_models / 'm_B_original.zarr'}" in command


@pytest.mark.long
def test_references_of_other_models_are_refused(two_models: Path, tmp_path: Path) -> None:
    stranger = store(tmp_path, "stranger")
    with pytest.raises(ArgumentError, match=r"stranger.* of different models cannot"):
        measure_shifts([two_models], references=[stranger], settings=QUICK_HELLINGER_MODELS)
    twice = [two_models / f"m_{domain}_original.zarr" for domain in "AB"]
    with pytest.raises(ArgumentError, match="of the same model as"):
        measure_shifts([two_models], references=twice, settings=QUICK_HELLINGER_MODELS)


@pytest.mark.long
def test_each_split_has_a_reference(tmp_path: Path) -> None:
    for split in ("test", "validation"):
        for shift in ("original", "brightness=0.5"):
            name = f"{split}-{shift}.zarr"
            store(tmp_path, "m", shift=shift, name=name, facts={"split": split})
    store(tmp_path, "m", "B", name="unlabelled.zarr", facts={"split": "test"})
    out = tmp_path / "t.parquet"
    measure_shifts([tmp_path], out, settings=QUICK_HELLINGER_MODELS)
    assert compared(out) == {
        ("m", "test-original.zarr", "test-brightness=0.5.zarr"),
        ("m", "test-original.zarr", "unlabelled.zarr"),
        ("m", "validation-original.zarr", "validation-brightness=0.5.zarr"),
    }


def test_split_without_reference_uses_another_with_a_warning(tmp_path: Path) -> None:
    store(tmp_path, "m")
    store(tmp_path, "m", "B", name="whole.zarr", facts={"split": "all"})
    store(tmp_path, "m", shift="contrast=2")
    out, heard = tmp_path / "t.parquet", Heard()
    measure_shifts([tmp_path], out, settings=QUICK_HELLINGER_MODELS, progress=heard)
    assert ("m", "m_A_original.zarr", "whole.zarr") in compared(out)
    assert any("is the reference of 1 stores of all images" in line for line in heard.lines)


OLD = {"training_domain": None, "training_dataset": None}


def test_older_stores_are_recognised_by_their_only_domain(tmp_path: Path) -> None:
    for shift in ("original", "brightness=0.5"):
        store(tmp_path, "m", shift=shift, facts=OLD)
    out = tmp_path / "t.parquet"
    measure_shifts([tmp_path], out, settings=QUICK_HELLINGER_MODELS)
    assert compared(out) == {("m", "m_A_original.zarr", "m_A_brightness-0.5.zarr")}


@pytest.mark.parametrize(
    ("domains", "shift", "why"),
    [("AB", "original", "several of 3"), ("A", "contrast=2", "none of 2")],
)
def test_reference_in_a_folder_is_never_guessed(
    domains: str, shift: str, why: str, tmp_path: Path
) -> None:
    for domain in domains:
        store(tmp_path, "m", domain, shift, facts=OLD)
    store(tmp_path, "m", shift="brightness=0.5", facts=OLD)
    with pytest.raises(ArgumentError, match=rf"model m: {why} stores can be the reference"):
        measure_shifts([tmp_path], settings=QUICK_HELLINGER_MODELS)
    heard = Heard()
    places = sorted(tmp_path.glob("*.zarr"))
    first = places[0]
    places += [store(tmp_path, "m", "A", "saturation=0", facts=OLD)]
    found = measure_shifts(
        places, settings=QUICK_HELLINGER_MODELS, progress=heard
    )  # by hand: the first, and told
    assert set(found.tables[0].columns["reference"]) == {first.name}
    assert any("because it comes first" in line for line in heard.lines)


@pytest.mark.long
def test_other_files_in_a_folder_are_listed(
    two_models: Path, tmp_path: Path, experiment: SimpleNamespace
) -> None:
    shutil.copytree(experiment.data, two_models / "s.zarr")
    shutil.copytree(experiment.masks, two_models / "deeper" / "masks.zarr")
    (two_models / ".growing.zarr.partial").mkdir()
    np.save(two_models / "a.npy", np.zeros((3, 2)))
    (two_models / "notes.txt").write_text("not looked at\n")
    broken = shutil.copytree(two_models / "n_B_original.zarr", two_models / "n_broken.zarr")
    (broken / "zarr.json").write_text("{")
    out, heard = tmp_path / "t.parquet", Heard()
    found = measure_shifts([two_models], out, settings=QUICK_HELLINGER_MODELS, progress=heard)
    assert compared(out) == EXPECTED
    (line,) = heard.lines
    for part in ("1 of kind dataset", "1 of kind masks", "1 unfinished", "1 .npy files"):
        assert part in line
    (failed,) = found.failures
    assert "n_broken.zarr" in failed
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FormatError, match="holds no feature store"):
        measure_shifts([two_models, empty], settings=QUICK_HELLINGER_MODELS)


@pytest.mark.long
def test_copies_of_a_store_are_a_warning(two_models: Path, tmp_path: Path) -> None:
    shutil.copytree(two_models / "m_A_original.zarr", two_models / "m_copy.zarr")
    out, heard = tmp_path / "t.parquet", Heard()
    measure_shifts([two_models], out, settings=QUICK_HELLINGER_MODELS, progress=heard)
    assert compared(out) == EXPECTED
    assert any("equal ids" in line for line in heard.lines)


def test_a_folder_of_numpy_files_needs_a_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(9, 2, 3)))
    with pytest.raises(ArgumentError, match="name one with --reference"):
        measure_shifts([tmp_path], settings=QUICK_HELLINGER_MODELS)
    found = measure_shifts(
        [tmp_path], references=[tmp_path / "b.npy"], settings=QUICK_HELLINGER_MODELS
    )
    columns = found.tables[0].columns
    assert set(columns["reference"]) == {"b.npy"}
    assert set(columns["other"]) == {"a.npy", "c.npy"}


@pytest.mark.long
def test_all_pairs_are_those_of_each_model(two_models: Path) -> None:
    found = measure_shifts([two_models], settings=QUICK_HELLINGER_MODELS, all_pairs=True)
    assert found.summary["pairs"] == 12
    columns = found.tables[0].columns
    pairs = zip(columns["reference"], columns["other"], strict=True)
    assert all(first[0] == other[0] for first, other in pairs)


@pytest.mark.long
def test_common_layers_are_compared_and_others_are_a_warning(tmp_path: Path) -> None:
    layers = activations(8)
    rng = np.random.default_rng(1)
    more = activations(8, 1) | {"dec0.from_skip": rng.normal(size=(8, 2, 3)).astype(np.float16)}
    store(tmp_path, "m", layers=layers)
    store(tmp_path, "m", shift="contrast=2", layers=more)
    store(tmp_path, "m", shift="brightness=2", layers=activations(8, 2))
    out, heard = tmp_path / "t.parquet", Heard()
    measure_shifts([tmp_path], out, settings=Settings(bins=(8,), permutations=19), progress=heard)
    assert set(pq.read_table(out)["layer"].to_pylist()) == {"enc1", "dec0"}
    told = [line for line in heard.lines if "left out" in line]
    assert told == [
        "m_A_contrast-2.zarr against m_A_original.zarr: dec0.from_skip: left out, as only one of "
        "the two stores has it"
    ]
    strange = store(tmp_path, "m", "C", layers={"x": layers["enc1"]})
    with pytest.raises(MismatchError, match="no layer in common"):
        measure_shift(tmp_path / "m_A_original.zarr", [strange], settings=QUICK_HELLINGER_MODELS)
    less = {"enc1": layers["enc1"][:, :1]}
    strange = store(tmp_path, "m", "D", layers=less)
    with pytest.raises(MismatchError, match="layer enc1 has 1 channels, the reference 3"):
        measure_shift(tmp_path / "m_A_original.zarr", [strange], settings=QUICK_HELLINGER_MODELS)


def test_other_layers_do_not_change_the_results(tmp_path: Path) -> None:
    layers, other = activations(8), activations(8, 1)
    x = store(tmp_path, "m", layers=layers, name="x.zarr")
    more = other | {"dec0.from_skip": other["enc1"]}
    y, z = (
        store(tmp_path, "m", layers=found, name=name, shift="contrast=2")
        for name, found in (("y.zarr", more), ("z.zarr", other))
    )
    how = Settings(bins=(8,), permutations=19)
    tables = []
    for number, place in enumerate((y, z)):
        out = tmp_path / f"{number}.parquet"
        measure_shift(x, [place], out, settings=how)
        tables.append(pq.read_table(out).drop_columns(["other", "other_id"]))
    assert tables[0].equals(tables[1])


def test_features_record_the_training_domain(experiment: SimpleNamespace) -> None:
    facts = describe([experiment.plain]).summary[str(experiment.plain)]
    assert facts["training_domain"] == "synthetic"
    data = describe([experiment.data]).summary[str(experiment.data)]
    assert facts["training_dataset"] == data["lineage"]["id"]


def test_distance_without_statistics_is_a_warning(tmp_path: Path) -> None:
    x, y = store(tmp_path, "m"), store(tmp_path, "m", shift="contrast=2")
    out, heard = tmp_path / "t.parquet", Heard()
    metrics = (Metric.WASSERSTEIN_EXACT, Metric.HELLINGER)
    settings = Settings(metrics=metrics, permutations=19)
    measure_shift(x, [y], out, settings=settings, progress=heard)
    assert sum("without estimate, interval or test" in line for line in heard.lines) == 1
    for row in pq.read_table(out).to_pylist():
        exact = row["metric"] == "wasserstein-exact" and row["channel"] is None
        assert ("without estimate" in (row["warnings"] or "")) is exact
        assert not exact or row["corrected"] is row["p_value"] is row["ci_low"] is None


def test_store_compared_with_itself_is_a_warning(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(9, 2, 3)))
    (tmp_path / "b.npy").symlink_to("a.npy")
    heard = Heard()
    measure_shifts(
        [tmp_path / "a.npy", tmp_path / "b.npy"], settings=QUICK_HELLINGER_MODELS, progress=heard
    )
    assert f"{tmp_path / 'a.npy'}: is compared with itself, so all distances are 0" in heard.lines
