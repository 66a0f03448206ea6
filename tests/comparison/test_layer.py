from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skiptool.comparison.binned import Design
from skiptool.comparison.counts import Counts
from skiptool.comparison.layer import Comparison, measure_layer
from skiptool.comparison.sets import Settings
from skiptool.comparison.units import paired_units
from skiptool.names import Metric, RangeRule
from skiptool.records import SILENT
from small_activations import PLAIN, Noted, activations, threads


def comparison(x: Any, y: Any, settings: Settings = PLAIN, workers: int = 1) -> Comparison:  # noqa: ANN401
    sets = (Noted({"enc1": x}), Noted({"enc1": y}))
    first, second, paired = paired_units(*sets, settings)
    labellings = np.arange(len(first), dtype=np.int32)[np.newaxis].repeat(2, axis=0)
    design = Design(first, second, paired, labellings)
    with SILENT.task("", 0) as task:
        return Comparison(sets, design, settings, threads(workers), task)


def pair() -> tuple[Any, Any]:
    return activations(6)["enc1"], activations(4, 1, 0.5)["enc1"]


def test_one_result_for_each_metric_and_number_of_bins() -> None:
    metrics = (Metric.REPRESENTATION_SHIFT, Metric.KL, Metric.WASSERSTEIN_EXACT, Metric.HELLINGER)
    settings = Settings(metrics=metrics, bins=(4, 8), permutations=1)
    found = measure_layer(comparison(*pair(), settings), "enc1")
    told = [(each.metric, each.bins, each.range_rule) for each in found]
    rule = RangeRule.MINMAX
    assert sorted(told, key=str) == sorted(
        [
            *((metric, bins, rule) for metric in (Metric.KL, Metric.HELLINGER) for bins in (4, 8)),
            (Metric.REPRESENTATION_SHIFT, None, None),
            (Metric.WASSERSTEIN_EXACT, None, None),
        ],
        key=str,
    )
    assert {(each.layer, each.index) for each in found} == {("enc1", 0)}


def test_the_value_by_hand() -> None:
    # Four bins of width 1: p = (1, 1, 1, 1) / 4, q = (1, 1, 0, 2) / 4.
    x, y = np.array([[[0.0, 1, 2, 4], [3, 3, 3, 3]]]), np.array([[[0.0, 1, 4, 4], [3, 3, 3, 3]]])
    (found,) = measure_layer(comparison(x, y, replace(PLAIN, bins=(4,))), "enc1")
    h = np.sqrt(1 - (1 / 4 + 1 / 4 + np.sqrt(2) / 4))
    np.testing.assert_allclose(found.channels["value"], [h, 0], atol=1e-12)
    assert found.mean["value"] == pytest.approx(h / 2)
    assert found.mean["value_live"] == pytest.approx(h)
    assert found.constant.tolist() == [False, True]


def test_means_are_made_for_those_who_ask_only() -> None:
    x, y = pair()
    metrics = (Metric.HELLINGER, Metric.REPRESENTATION_SHIFT)
    _, shift = measure_layer(comparison(x, y, replace(PLAIN, metrics=metrics)), "enc1")
    known = [
        np.abs(np.sort(np.repeat(x[:, d].astype(float).mean(1), 4))
               - np.sort(np.repeat(y[:, d].astype(float).mean(1), 6))).mean()
        for d in range(3)
    ]  # fmt: skip
    np.testing.assert_allclose(shift.channels["value"], known, rtol=1e-12)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("size", [1, 2000, 10**9])
def test_counts_stay_within_their_share(
    size: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory of counts and of the blocks worked off, by what they are asked to hold."""
    made: list[tuple[int, int, int]] = []
    real = Counts.__init__

    def noting(self: Counts, shape: Any, vectors: int, width: int, limit: int) -> None:  # noqa: ANN401
        made.append((shape[0], width, limit))
        real(self, shape, vectors, width, limit)

    monkeypatch.setattr(Counts, "__init__", noting)
    monkeypatch.setattr(Settings, "budget", property(lambda _: size))
    settings = replace(PLAIN, workers=workers)
    (found,) = measure_layer(comparison(*pair(), settings, workers), "enc1")
    assert [images for images, _, _ in made] == [6, 4]
    assert sum(limit for *_, limit in made) <= size
    assert made[0][1] == made[1][1] >= 1
    assert len(found.channels["value"]) == 3


def test_temporary_files_are_gone_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    real = Counts.__exit__

    def noting(self: Counts, *error: object) -> None:
        real(self, *error)
        closed.append(self.in_memory)

    monkeypatch.setattr(Counts, "__exit__", noting)
    monkeypatch.setattr(Settings, "budget", property(lambda _: 1))
    x, y = pair()
    wrong = comparison(x, y)
    monkeypatch.setattr(Counts, "put", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure_layer(wrong, "enc1")
    assert closed == [False]
