from __future__ import annotations

import math
from typing import Any

import pytest

from skiptool.names import Metric
from skiptool.readings.beyond import BEYOND_COLUMNS, Network, of_channels, read_beyond

ROW: dict[str, Any] = {
    **dict.fromkeys(BEYOND_COLUMNS),
    **{"reference": "r.zarr", "reference_id": "r", "other": "o.zarr", "other_id": "o"},
    **{"arch": "unet", "encoder": "resnet18", "pruning": "baseline", "fold": 0, "dataset": "d"},
    **{"reference_domain": "a", "reference_shift": "original", "domain": "a"},
    **{"shift": "brightness", "factor": 0.5, "layer": "enc1", "metric": "hellinger"},
    **{"bins": 100, "range_rule": "minmax", "value": 0.1, "unit": "image", "permutations": 199},
    **{"n_reference": 8, "n_other": 9},
}


def row(metric: str, **facts: object) -> dict[str, Any]:
    bins = {"bins": 100, "range_rule": "minmax"} if metric == "hellinger" else {}
    return {**ROW, "bins": None, "range_rule": None, **bins, "metric": metric, **facts}


def read(*rows: dict[str, Any]) -> list[Network]:
    return read_beyond({name: [each[name] for each in rows] for name in BEYOND_COLUMNS})


def test_measures_stand_by_metric_and_layer() -> None:
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
def test_channels_agree_where_p_is_large_or_nothing_is_left(
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


def test_what_was_measured_twice_counts_once_and_of_sweeps_the_first() -> None:
    twice = row("covariance", value=0.2, p_adjusted=0.01)
    found = read(
        *(row("hellinger", bins=bins, value=bins / 100, corrected=None) for bins in (10, 20)),
        *(twice, twice),
    )
    measures = found[0].rows[0].measures
    assert measures[Metric.HELLINGER]["enc1"].value == 0.1
    assert measures[Metric.COVARIANCE]["enc1"].p_values == (0.01,)


def test_networks_shifts_and_domains_are_kept_apart() -> None:
    found = read(
        row("covariance"),
        row("covariance", factor=0.75, other_id="p"),
        row("covariance", pruning="L1-pruned", other_id="q"),
        *(row("covariance", domain=d, shift="original", factor=None, other_id=d) for d in "bc"),
    )
    assert [(n.pruning, len(n.rows)) for n in found] == [
        *(("baseline", 2), ("L1-pruned", 1), ("baseline", 2))
    ]


def test_what_reaches_decoder_blocks_is_left_out() -> None:
    (network,) = read(row("covariance"), row("covariance", layer="dec1.from_skip"))
    assert network.layers == ("enc1",)


def test_distances_of_channels_alone_have_nothing_beside() -> None:
    assert read(row("hellinger"), row("kl")) == []


def test_other_exhibits_get_metrics_of_channels() -> None:
    table = {"metric": ["kl", "covariance", "hellinger", "classifier"], "value": [1, 2, 3, 4]}
    assert of_channels(table) == {"metric": ["kl", "hellinger"], "value": [1, 3]}
