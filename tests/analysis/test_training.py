from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.analysis.training import (
    Run,
    common_mean,
    experiments,
    read_run,
)
from strategies import grid_values

Epoch = tuple[float | None, float | None]
NAN = math.nan


def columns(
    validation: Sequence[Epoch], train: Sequence[Epoch] = (), lr: list[float] | None = None
) -> dict[str, list[Any]]:
    """Return the columns of a history: loss and mIoU by epoch of each split."""
    found: dict[str, list[Any]] = {
        name: [] for name in ("epoch", "split", "loss", "mIoU", "lr", "seconds")
    }
    for split, epochs, seconds in (("train", train, 3.0), ("validation", validation, 1.0)):
        for epoch, (loss, miou) in enumerate(epochs):
            rate = 1e-4 if lr is None else lr[epoch]
            for name, value in zip(found, (epoch, split, loss, miou, rate, seconds), strict=True):
                found[name].append(value)
    return found


def run(**more: Any) -> Run:  # noqa: ANN401 - columns of any type
    found = read_run({"model": "m", "encoder": "resnet18", "pruning": "baseline"}, columns(**more))
    assert found is not None
    return found


def test_worked_by_hand() -> None:
    found = run(train=[(0.9, 0.1), (0.8, NAN)], validation=[(1.0, 0.25), (0.5, 0.75), (0.75, 0.75)])
    assert (found.epochs, found.best_epoch, found.best_miou) == (3, 1, 0.75)
    assert found.losses == {"train": 0.8, "validation": 0.75}
    assert found.last == {"train": 1, "validation": 2}
    assert found.seconds == (2 * 3.0 + 3 * 1.0) / 3
    assert (found.model, found.arch, found.fold, found.family) == ("m", "", None, "resnet18")
    np.testing.assert_array_equal(found.train.miou, [0.1, NAN])


def test_the_recorded_best_epoch_is_used_if_it_was_measured() -> None:
    epochs: list[Epoch] = [(1.0, 0.5), (1.0, NAN), (1.0, 0.75)]
    for known, expected in ((0, 0), (1, 2), (7, 2), (None, 2), ("0", 2)):
        found = read_run({"best_epoch": known}, columns(epochs))
        assert found is not None
        assert found.best_epoch == expected


def test_without_a_validation_miou_no_epoch_is_best() -> None:
    for found in (run(validation=[(1.0, NAN), (1.0, None)]), run(validation=[], train=[(1, 0.5)])):
        assert found.best_epoch is None
        assert math.isnan(found.best_miou)
    assert math.isnan(found.losses["validation"])
    assert found.last == {"train": 0}
    assert (found.epochs, found.seconds) == (1, 3.0)


def test_without_an_epoch_there_is_no_run() -> None:
    assert read_run({}, columns([])) is None
    strange = columns([(1.0, 0.5)]) | {"split": ["test"]}
    assert read_run({}, strange) is None
    assert experiments([({}, strange)]) == []


def test_rows_are_sorted_and_the_last_duplicate_counts() -> None:
    once = columns([(3.0, 0.3), (2.0, 0.2), (1.0, 0.1), (2.5, 0.25)])
    once["epoch"] = [2, 1, 0, 1]
    found = read_run({}, once)
    assert found is not None
    assert found.validation.epochs.tolist() == [0, 1, 2]
    assert found.validation.loss.tolist() == [1.0, 2.5, 3.0]
    assert found.epochs == 3


def test_missing_seconds_are_unknown() -> None:
    found = read_run({}, columns([(1.0, 0.5)]) | {"seconds": [None]})
    assert found is not None
    assert math.isnan(found.seconds)


def test_drops_of_the_learning_rate() -> None:
    rates = [1.0, 1.0, 0.1, 0.1, 0.2, 0.02]
    found = run(train=[(1.0, 0.5)] * 6, validation=[], lr=rates)
    assert found.train.drops() == [2, 5]
    assert found.validation.drops() == []


@given(
    st.lists(
        st.dictionaries(st.integers(0, 6), grid_values() | st.just(NAN), min_size=1),
        min_size=1,
        max_size=4,
    )
)
def test_the_mean_covers_epochs_common_to_all_curves(found: list[dict[int, float]]) -> None:
    """Against the definition, epoch by epoch."""
    curves = [
        (np.array(sorted(curve)), np.array([curve[e] for e in sorted(curve)])) for curve in found
    ]
    epochs, means = common_mean(curves)
    shared = sorted(set.intersection(*(set(curve) for curve in found)))
    assert epochs.tolist() == shared
    expected = [sum(curve[e] for curve in found) / len(found) for e in shared]
    np.testing.assert_allclose(means, expected, rtol=1e-15)


def test_the_mean_of_no_curves_is_empty() -> None:
    epochs, means = common_mean([])
    assert (epochs.size, means.size) == (0, 0)


FACTS: dict[str, Any] = {"dataset": "d.zarr", "dataset_id": "d1", "domain": "a"}
PROTOCOL = {"lr": 1e-4, "seed": 0, "class_weights": {"cell": 2.0}}


def given_runs(*facts: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [
        ({**FACTS, "model_id": f"m{place}", "protocol": PROTOCOL, **found}, columns([(1.0, 0.5)]))
        for place, found in enumerate(facts)
    ]


def test_runs_that_differ_only_in_network_and_fold_are_grouped() -> None:
    histories = given_runs({"fold": 0}, {"fold": 1}, {"pruning": "L1-pruned"}, {"encoder": "x"})
    (found,) = experiments(histories)
    assert (found.dataset, found.domain, dict(found.settings)) == ("d.zarr", "a", {})
    assert [each.fold for each in found.runs] == [0, 1, None, None]


def test_other_data_or_protocols_make_separate_experiments() -> None:
    seed, patience = PROTOCOL | {"seed": 1}, PROTOCOL | {"patience": 3}
    found = experiments(
        given_runs(
            {"fold": 0},
            {"protocol": seed},
            {"fold": 1},
            {"dataset_id": "d2"},
            {"domain": "b"},
            {"protocol": patience},
        )
    )
    assert [len(each.runs) for each in found] == [2, 1, 1, 1, 1]
    settings = [dict(each.settings) for each in found]
    assert settings == [{"seed": 0}, {"seed": 1}, {}, {}, {"seed": 0, "patience": 3}]


@pytest.mark.parametrize(("ids", "count"), [(("m", "m"), 1), (("m", "n"), 2), ((None, None), 2)])
def test_a_model_given_twice_counts_once(ids: tuple[str | None, ...], count: int) -> None:
    (found,) = experiments(given_runs(*({"model_id": model} for model in ids)))
    assert len(found.runs) == count


def test_runs_of_unknown_origin_are_grouped() -> None:
    (found,) = experiments([({}, columns([(1.0, 0.5)]))] * 2)
    assert (found.dataset, found.domain, len(found.runs)) == (None, None, 2)
