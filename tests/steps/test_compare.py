from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import skiptool
from definitions import Channel, columns_of_channels
from skiptool.errors import ArgumentError, FormatError, MismatchError
from skiptool.names import LAYERWISE, Metric
from skiptool.stats.permutation import relabellings
from skiptool.steps.compare import compare_features
from skiptool.stores.tables import SHIFT
from small_activations import LAYERS, activations
from small_stores import refused

METRICS = tuple(metric.value for metric in Metric if metric not in LAYERWISE)


def rows(table: Any, **chosen: object) -> list[dict[str, Any]]:  # noqa: ANN401
    """Rows of a shift table that are as chosen."""
    return [row for row in table.to_pylist() if all(row[k] == v for k, v in chosen.items())]


def test_it_is_part_of_the_face() -> None:
    assert skiptool.compare_features is compare_features


def test_a_table_of_layers_and_channels() -> None:
    table = compare_features(activations(6), activations(5, 1), permutations=9)
    assert table.column_names == list(SHIFT)
    assert [(row["layer"], row["channel"]) for row in table.to_pylist()] == [
        (name, channel) for name in LAYERS for channel in (None, *range(LAYERS[name][0]))
    ]
    for name, value in {
        **{"reference": "reference", "other": "other", "model": None, "reference_id": None},
        **{"metric": "hellinger", "bins": 100, "range_rule": "minmax", "paired": False},
        **{"n_reference": 6, "n_other": 5, "permutations": 9, "unit": "image"},
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


def test_all_that_can_be_asked_for() -> None:
    table = compare_features(
        activations(6), activations(5, 1), metrics=METRICS, bins=[10, 20], permutations=9
    )
    found = [(row["metric"], row["bins"]) for row in rows(table, channel=None, layer="enc1")]
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


def test_groups_are_units_and_pairs_go_by_name() -> None:
    x, y = activations(6)["enc1"], activations(6, 1)["enc1"]
    groups = (["a", "b", "a", "b", "c", "c"], ["c", "b", "a", "b", "c", "a"])
    free = compare_features(x, y, groups=groups, permutations=9).to_pylist()[0]
    assert (free["unit"], free["units_reference"], free["units_other"]) == ("group", 3, 3)
    paired = compare_features(x, y, groups=groups, permutations=9, paired=True).to_pylist()[0]
    order = [2, 5, 1, 3, 0, 4]
    moved = (groups[0], [groups[1][i] for i in order])
    again = compare_features(x, y[order], groups=moved, permutations=9, paired=True)
    assert again.to_pylist()[0] == paired


def test_two_axes_are_one_vector_an_image() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30, 5))
    flat = compare_features(x, y, bins=5, permutations=9)
    deep = compare_features(x[:, :, None], y[:, :, None], bins=5, permutations=9)
    assert flat.equals(deep)


@pytest.mark.long
def test_a_call_leaves_its_arrays_alone() -> None:
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
def test_what_does_not_fit_is_one_line(
    kind: type[Exception], how: dict[str, Any], words: tuple[str, ...]
) -> None:
    with refused(kind, *words):
        compare_features(X, how.pop("other", X), **how)


def test_warnings_are_in_the_table() -> None:
    x, y = activations(6)["enc1"], activations(4, 1)["enc1"][:, :, :2]
    table = compare_features(x, y, groups=([0, 0, 1, 1, 2, 2], [5, 5, 6, 6]))
    (row,) = rows(table, channel=None)
    assert row["p_value"] is None
    assert row["warnings"].split("; ")[:2] == [
        "no p-value below 0.05 is possible with 3 and 2 units, so none is given",
        "the test draws 2 of the vectors of each image, as the sets differ in size",
    ]
    assert rows(table, channel=0)[0]["warnings"] is None
