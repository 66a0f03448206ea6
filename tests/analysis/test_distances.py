"""Tests of ``distances``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.analysis.distances import (
    BEYOND_COLUMNS,
    LAYER_COLUMNS,
    LayerDistance,
    Network,
    NetworkDistances,
    ShiftDistances,
    TrainingAverage,
    average_trainings,
    channel_metric_rows,
    read_distances,
    read_layer_metrics,
)
from skiptool.names import Metric
from small_shifts import Layer, layer, tables

FOLDS = st.lists(
    st.tuples(*[st.just(math.nan) | st.floats(0.0, 1.0) for _ in range(3)]),
    min_size=1,
    max_size=6,
)


@given(FOLDS)
def test_folds_are_averaged_as_the_definition_says(folds: list[tuple[float, ...]]) -> None:
    """Compared with a loop: folds without a value do not count, nor do their intervals."""
    found = average_trainings(*np.array(folds).T)
    known = [fold for fold in folds if not math.isnan(fold[0])]
    assert found.trainings == len(known)
    if not known:
        assert math.isnan(found.value)
        assert found.interval is None
        return
    mean = sum(value for value, _, _ in known) / len(known)
    assert found.value == pytest.approx(mean)
    if len(known) > 1:
        squares = sum((value - mean) ** 2 for value, _, _ in known)
        assert found.spread == pytest.approx(math.sqrt(squares / (len(known) - 1)))
    else:
        assert math.isnan(found.spread)
    ends = [(low, high) for _, low, high in known]
    if any(math.isnan(low + high) for low, high in ends):
        assert found.interval is None
    else:
        expected = tuple(sum(each) / len(known) for each in zip(*ends, strict=True))
        assert found.interval == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pruning", "skips"),
    [
        ("baseline", (1, 2, 3, 4)),
        ("L1-pruned", (2, 3, 4)),
        ("L2-pruned", (3, 4)),
        ("L3-pruned", (4,)),
        ("L4-pruned", ()),
        ("skips-1+3", (1, 3)),
        ("skips-2", (2,)),
        ("their own", ()),
        ("L9-pruned", ()),
        ("skips-", ()),
    ],
)
def test_labels_name_the_remaining_skips(pruning: str, skips: tuple[int, ...]) -> None:
    assert NetworkDistances("unet", "resnet18", pruning, ((0, 0),), 8, ()).skips == skips


def test_names_and_layers_of_networks() -> None:
    def network(arch: str, *layers: str) -> NetworkDistances:
        numbers = (np.array([0.1]), TrainingAverage(0.1), None, math.nan)
        found = tuple(LayerDistance(name, *numbers) for name in layers)
        return NetworkDistances(arch, "resnet18", "L1-pruned", ((0, 0),), 8, found)

    compared = ShiftDistances(
        {}, (network("unet", "dec0", "x"), network("linknet", "enc1", "dec0"))
    )
    assert compared.layers == ("enc1", "dec0", "x")
    names = ["resnet18 L1-pruned", "linknet resnet18 L1-pruned"]
    assert [each.name for each in compared.networks] == names


FIRST = {"reference_id": "r0", "other_id": "o0", "ci_low": 0.1, "ci_high": 0.3}
SECOND = {"reference_id": "r1", "other_id": "o1", "fold": 1, "ci_low": 0.3, "ci_high": 0.9}
TWO_FOLDS = (
    layer("input", [0.8], 0.8, **FIRST),
    layer("dec0", [0.1, 0.3, 0.8], 0.4, **FIRST),
    layer("enc1", [0.2, 0.4], 0.3, **FIRST),
    layer("input", [0.5], 0.5, **SECOND),
    layer("enc1", [0.6, 0.8], 0.7, **SECOND),
)


def by_layer(*layers: Layer) -> dict[str, LayerDistance]:
    (compared,) = read_distances(*tables(*layers))
    (network,) = compared.networks
    return {found.layer: found for found in network.layers}


def test_folds_are_pooled_and_their_means_averaged() -> None:
    """Worked by hand: enc1 is 0.3 and 0.7, in shares of the input 0.375 and 1.4."""
    found = by_layer(*TWO_FOLDS)
    assert list(found) == ["input", "enc1", "dec0"]
    assert {name: each.channels.tolist() for name, each in found.items()} == {
        "input": [0.8, 0.5],
        "enc1": [0.2, 0.4, 0.6, 0.8],
        "dec0": [0.1, 0.3, 0.8],
    }
    enc1, dec0 = found["enc1"], found["dec0"]
    root = math.sqrt(2)
    assert_numbers(enc1.distance, 0.5, 0.4 / root, 0.2, 0.6, 2)
    assert_numbers(enc1.share, 0.8875, 1.025 / root, (0.125 + 0.6) / 2, (0.375 + 1.8) / 2, 2)
    assert_numbers(dec0.distance, 0.4, math.nan, 0.1, 0.3, 1)
    assert_numbers(dec0.share, 0.5, math.nan, 0.125, 0.375, 1)
    assert_numbers(found["input"].share, 1.0, 0.0, 1.0, 1.0, 2)


def test_images_of_two_splits_are_two_comparisons() -> None:
    """Test and validation images of one network are not two folds of it."""
    splits = {"reference_split": "validation", "split": "validation"}
    found = read_distances(*tables(layer("input", [0.8], 0.8, **FIRST),
                                   layer("input", [0.5], 0.5, **SECOND, **splits)))  # fmt: skip
    assert [each.facts["split"] for each in found] == [None, "validation"]
    assert [each.networks[0].layers[0].distance.trainings for each in found] == [1, 1]


def assert_numbers(found: TrainingAverage | None, *expected: float) -> None:
    assert found is not None
    numbers = (found.value, found.spread, found.low, found.high, found.trainings)
    assert numbers == pytest.approx(expected, nan_ok=True)


@given(
    st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=5),
    st.permutations(range(5)),
)
def test_shares_are_divided_fold_by_fold(
    folds: list[tuple[float, float]], order: list[int]
) -> None:
    """In any order of the rows."""
    rows = [
        layer(name, [mean], mean, other_id=f"o{fold}", fold=fold)
        for fold, pair in enumerate(folds)
        for name, mean in zip(("input", "enc3"), pair, strict=True)
    ]
    rows = [rows[place] for place in order if place < len(rows)] + rows  # some of them twice
    found = by_layer(*rows)["enc3"].share
    assert found is not None
    assert found.value == pytest.approx(sum(b / a for a, b in folds) / len(folds))
    assert found.trainings == len(folds)


@pytest.mark.parametrize("mean", [0.0, None, math.nan])
def test_an_input_without_distance_has_no_share(mean: float | None) -> None:
    found = by_layer(layer("input", [0.0], mean), layer("enc1", [0.2], 0.2))
    assert [each.share for each in found.values()] == [None, None]
    (enc1,) = by_layer(layer("enc1", [0.2], 0.2)).values()
    assert enc1.share is None


def test_duplicates_count_once() -> None:
    """Also under another name, and if one table holds some channels and another one all."""
    part = layer("enc1", [0.2], 0.3, **FIRST)
    copy = [({**row, "other": "copy.zarr"}, values) for row, values in TWO_FOLDS]
    once, twice = by_layer(*TWO_FOLDS), by_layer(part, *TWO_FOLDS, *copy, *TWO_FOLDS)
    assert {name: each.channels.tolist() for name, each in once.items()} == {
        name: each.channels.tolist() for name, each in twice.items()
    }
    numbers = [[repr(each.distance) for each in found.values()] for found in (once, twice)]
    assert numbers[0] == numbers[1]


def test_channels_are_sorted_by_number() -> None:
    rows, channels = tables(layer("enc1", [0.2, math.nan, 0.6], 0.4))
    for name in ("channel", "value", "corrected"):
        channels[name] = [array[::-1] for array in channels[name]]
    (compared,) = read_distances(rows, channels)
    np.testing.assert_array_equal(compared.networks[0].layers[0].channels, [0.2, math.nan, 0.6])


@pytest.mark.parametrize(
    "change",
    [
        {"domain": "b"},
        {"shift": "contrast"},
        {"factor": 0.75},
        {"bins": 50},
        {"range_rule": "p0.1"},
        {"metric": "kl"},
        {"dataset": "x"},
        {"reference_domain": "b"},
        {"reference_shift": "contrast", "reference_factor": 1.5},
    ],
)
def test_different_comparisons_are_separate(change: dict[str, Any]) -> None:
    other = {**change, "other_id": "o2"}
    found = read_distances(*tables(layer("enc1", [0.2], 0.2), layer("enc1", [0.4], 0.4, **other)))
    assert [each.networks[0].layers[0].distance.value for each in found] == [0.2, 0.4]
    assert [each.networks[0].layers[0].channels.tolist() for each in found] == [[0.2], [0.4]]


def test_folds_are_counted_by_architecture() -> None:
    pruned = {"pruning": "L1-pruned", "reference_id": "p", "other_id": "q"}
    nested = {"arch": "unetplusplus", "reference_id": "s", "other_id": "t"}
    unknown = {"arch": None, "reference_id": "u", "other_id": "v"}  # a U-net of before
    (found,) = read_distances(
        *tables(
            *TWO_FOLDS,
            layer("enc1", [0.1], 0.1, **pruned),
            layer("enc1", [0.2], 0.2, **nested),
            layer("enc1", [0.3], 0.3, **unknown),
        )
    )
    assert [(each.name, len(each.trainings), each.images) for each in found.networks] == [
        ("resnet18 baseline", 3, 9),
        ("resnet18 L1-pruned", 1, 9),
        ("unetplusplus resnet18 baseline", 1, 9),
    ]


def test_repeats_are_averaged_like_other_trainings() -> None:
    again = [layer("enc1", [0.9], 0.9, reference_id="r0", other_id="x", fold=0, repeat=1)]
    (found,) = read_distances(*tables(*TWO_FOLDS, *again))
    (network,) = found.networks
    assert network.trainings == ((0, 0), (1, 0), (0, 1))
    enc1 = next(each for each in network.layers if each.layer == "enc1")
    assert (enc1.distance.value, enc1.distance.trainings) == (pytest.approx(1.9 / 3), 3)


def test_the_null_needs_a_value_in_every_fold() -> None:
    both = (0.1, 0.3)
    for nulls, expected in ((both, 0.2), ((0.1, None), math.nan), ((None, None), math.nan)):
        rows = [
            layer("enc1", [0.2], 0.2, other_id=f"o{fold}", null_high=null)
            for fold, null in enumerate(nulls)
        ]
        assert by_layer(*rows)["enc1"].null_high == pytest.approx(expected, nan_ok=True)


def test_features_of_unknown_models_are_grouped_by_file() -> None:
    names = ("reference_id", "other_id", "arch", "encoder", "pruning", "dataset")
    shifts = ("domain", "reference_domain", "shift", "reference_shift", "factor")
    unknown: dict[str, Any] = dict.fromkeys((*names, *shifts))
    rows = [
        layer("features", [value], value, **unknown, reference="a.npy", other=f"{name}.npy")
        for name, value in (("b", 0.2), ("c", 0.6))
    ]
    found = read_distances(*tables(*rows))
    assert [each.facts["other"] for each in found] == ["b.npy", "c.npy"]
    assert [each.networks[0].layers[0].channels.tolist() for each in found] == [[0.2], [0.6]]
    assert [each.networks[0].name.strip() for each in found] == ["network"] * 2


def test_a_layer_without_channels_has_its_mean() -> None:
    rows, channels = tables(layer("enc1", [0.2], 0.2))
    (found,) = read_distances(rows, {name: [] for name in channels})
    (enc1,) = found.networks[0].layers
    assert (enc1.distance.value, enc1.channels.size) == (0.2, 0)


def test_empty_tables_have_no_distances() -> None:
    _, channels = tables()
    assert read_distances({name: [] for name in LAYER_COLUMNS}, channels) == []


ROW: dict[str, Any] = {
    **dict.fromkeys(BEYOND_COLUMNS),
    "reference": "r.zarr",
    "reference_id": "r",
    "other": "o.zarr",
    "other_id": "o",
    "arch": "unet",
    "encoder": "resnet18",
    "pruning": "baseline",
    "fold": 0,
    "dataset": "d",
    "reference_domain": "a",
    "reference_shift": "original",
    "domain": "a",
    "shift": "brightness",
    "factor": 0.5,
    "layer": "enc1",
    "metric": "hellinger",
    "bins": 100,
    "range_rule": "minmax",
    "value": 0.1,
    "unit": "image",
    "permutations": 199,
    "n_reference": 8,
    "n_other": 9,
}


def row(metric: str, **facts: object) -> dict[str, Any]:
    bins = {"bins": 100, "range_rule": "minmax"} if metric == "hellinger" else {}
    return {**ROW, "bins": None, "range_rule": None, **bins, "metric": metric, **facts}


def read(*rows: dict[str, Any]) -> list[Network]:
    return read_layer_metrics({name: [each[name] for each in rows] for name in BEYOND_COLUMNS})


def test_measures_are_by_metric_and_layer() -> None:
    (network,) = read(
        row("hellinger", value=0.3, corrected=0.2, p_adjusted=0.4, ci_low=0.1, ci_high=0.3),
        row("covariance", value=0.5, p_adjusted=0.01),
        row("covariance", value=0.6, p_adjusted=0.02, layer="head"),
        row("paired-difference", value=0.7, corrected=0.69, ci_low=0.6, ci_high=0.8),
    )
    assert network.name == "resnet18 baseline"
    assert network.layers == ("enc1", "head")
    assert network.metrics == (Metric.HELLINGER, Metric.COVARIANCE, Metric.PAIRED_DIFFERENCE)
    (change,) = network.rows
    channels = change.measures[Metric.HELLINGER]["enc1"]
    assert (channels.value, channels.interval, channels.p_values) == (0.2, (0.1, 0.3), (0.4,))
    assert channels.agrees
    assert not channels.differs
    whole = change.measures[Metric.COVARIANCE]["head"]
    assert (whole.value, whole.interval, whole.differs, whole.agrees) == (0.6, None, True, False)
    pairs = change.measures[Metric.PAIRED_DIFFERENCE]["enc1"]
    assert (pairs.value, pairs.differs, pairs.p_values) == (0.7, False, ())


@pytest.mark.parametrize(
    ("corrected", "p_adjusted", "agrees"),
    [(0.1, 0.05, True), (0.1, 0.04, False), (0.0, 0.04, True), (None, None, False)],
)
def test_sets_agree_if_p_is_large_or_the_distance_is_0(
    corrected: float | None, p_adjusted: float | None, agrees: bool
) -> None:
    (network,) = read(
        row("hellinger", corrected=corrected, p_adjusted=p_adjusted), row("covariance")
    )
    assert network.rows[0].measures[Metric.HELLINGER]["enc1"].agrees == agrees


def test_folds_are_averaged_and_must_all_differ() -> None:
    found = read(
        *(row("covariance", value=v, p_adjusted=p, fold=k, other_id=f"o{k}", reference_id=f"r{k}")
          for k, (v, p) in enumerate([(0.2, 0.01), (0.4, 0.2)])),
    )  # fmt: skip
    measure = found[0].rows[0].measures[Metric.COVARIANCE]["enc1"]
    assert measure.value == pytest.approx(0.3)
    assert measure.spread == pytest.approx(0.2 / math.sqrt(2))
    assert (measure.folds, measure.differs, measure.agrees) == (2, False, False)


def test_duplicates_count_once_and_sweeps_by_their_first_bins() -> None:
    twice = row("covariance", value=0.2, p_adjusted=0.01)
    found = read(
        *(row("hellinger", bins=bins, value=bins / 100, corrected=None) for bins in (10, 20)),
        twice,
        twice,
    )
    measures = found[0].rows[0].measures
    assert measures[Metric.HELLINGER]["enc1"].value == 0.1
    assert measures[Metric.COVARIANCE]["enc1"].p_values == (0.01,)


def test_networks_shifts_and_domains_are_separate() -> None:
    found = read(
        row("covariance"),
        row("covariance", factor=0.75, other_id="p"),
        row("covariance", pruning="L1-pruned", other_id="q"),
        *(row("covariance", domain=d, shift="original", factor=None, other_id=d) for d in "bc"),
    )
    assert [(n.pruning, len(n.rows)) for n in found] == [
        ("baseline", 2),
        ("L1-pruned", 1),
        ("baseline", 2),
    ]


def test_inputs_of_decoder_blocks_are_left_out() -> None:
    (network,) = read(row("covariance"), row("covariance", layer="dec1.from_skip"))
    assert network.layers == ("enc1",)


def test_distances_of_channels_alone_have_no_measures() -> None:
    assert read(row("hellinger"), row("kl")) == []


def test_metrics_of_whole_layers_are_filtered_out() -> None:
    table = {"metric": ["kl", "covariance", "hellinger", "classifier"], "value": [1, 2, 3, 4]}
    assert channel_metric_rows(table) == {"metric": ["kl", "hellinger"], "value": [1, 3]}
