"""Every word that may be typed has something behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skiptool.distances.binned import DISTANCES
from skiptool.errors import SkiptoolError
from skiptool.model.loss import SegmentationLoss
from skiptool.names import LAYERS, LAYERWISE, Kind, Loss, Metric, RangeRule, ShiftKind
from skiptool.records import Shift
from skiptool.shifts import apply
from skiptool.steps.hellinger import compare_features
from skiptool.stores.lineage import FORMAT_VERSIONS


@pytest.mark.parametrize("kind", ShiftKind)
def test_every_shift_is_applied(kind: ShiftKind) -> None:
    image = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    factor = None if kind is ShiftKind.ORIGINAL else 0.5
    changed = apply(image, Shift(kind, factor))
    assert (changed == image).all() == (kind is ShiftKind.ORIGINAL)


@pytest.mark.parametrize("metric", Metric)
def test_every_metric_is_a_distance(metric: Metric) -> None:
    x, y = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    how = {"metrics": metric, "permutations": 0, "paired": metric is Metric.PAIRED_DIFFERENCE}
    if metric is Metric.COVARIANCE:
        y = 2 * x  # the same spread elsewhere is none of covariances
    own, other = (compare_features(x, each, **how)["value"][0].as_py() for each in (x, y))
    nothing = 0.5 if metric is Metric.CLASSIFIER else 0.0  # accuracy: 0.5 is chance, less as well
    assert own <= nothing < other


def test_metrics_without_bins_are_those_that_need_none() -> None:
    unbinned = {Metric.WASSERSTEIN_EXACT, Metric.REPRESENTATION_SHIFT, *LAYERWISE}
    assert set(Metric) - set(DISTANCES) == unbinned
    p, q = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    for distance in DISTANCES.values():
        assert distance.function(p, p)[0] == 0 < distance.function(p, q)[0]


@pytest.mark.parametrize("rule", RangeRule)
def test_every_range_rule_divides(rule: RangeRule) -> None:
    x, y = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [2.0], [3.0]])
    table = compare_features(x, y, range_rule=rule, bins=4, permutations=0)
    assert table["range_rule"][0].as_py() == rule.value
    assert table["value"][0].as_py() > 0


@pytest.mark.parametrize("loss", Loss)
def test_every_loss_is_positive_where_wrong(loss: Loss) -> None:
    logits = torch.tensor([5.0, -5.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4)
    wrong = torch.ones(1, 4, 4, dtype=torch.int64)
    measured = SegmentationLoss(loss, 2)
    assert measured(logits, wrong) > measured(logits, 0 * wrong) >= 0


def test_every_kind_has_a_format_version() -> None:
    assert set(FORMAT_VERSIONS) == set(Kind)


def test_layers_stand_in_the_order_of_data_flow() -> None:
    down = [f"enc{level}" for level in range(1, 6)]
    up = [f"dec{level}" for level in range(4, -1, -1)]
    assert list(LAYERS) == ["input", *down, *up, "head"]


def test_unknown_names_are_errors_of_ours() -> None:
    with pytest.raises(SkiptoolError, match="did you mean brightness"):
        Shift.parse("brightnes=1")
