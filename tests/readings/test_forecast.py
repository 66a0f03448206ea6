from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skiptool.readings.forecast import VALIDATION, Fitted, fit_losses
from skiptool.records import ORIGINAL, Shift
from sweeps import SHIFTS, Layers, as_layers, distance, score, sweep

BASELINE = {"pruning": "baseline", "model_id": "{} baseline 0"}


def joint(*parts: Layers) -> Layers:
    return {name: [cell for part in parts for cell in part[name]] for name in parts[0]}


def abroad(value: float | None = 0.4, domain: str = "b", **new: Any) -> Layers:  # noqa: ANN401
    """Distances of the first network between the sweep's domain and another."""
    row = distance(ORIGINAL, value, **BASELINE) | {"domain": domain} | new
    return as_layers([row | {"layer": layer} for layer in ("input", "enc1", "head")])


def of(found: list[Fitted], pruning: str = "baseline") -> Fitted:
    (one,) = [each for each in found if each.pruning == pruning]
    return one


def test_folds_of_a_pruning_are_one_fit() -> None:
    found = fit_losses(*sweep())
    assert sorted(one.pruning for one in found) == ["L1-pruned", "baseline"]
    one = of(found)
    assert (len(one.points), one.domain, one.split) == (18, "a", "test")
    assert one.layers[one.layer] != "head"  # the noisy one
    assert [held.kind for held in one.crossed.held] == ["brightness", "contrast", "saturation"]
    assert one.error == one.crossed.residuals.mean()
    assert one.error < 0.05 < one.error_of_mean
    assert one.better
    assert (np.diff(one.line.values) >= 0).all()
    assert one.expected == ()


def test_the_same_every_time() -> None:
    scores, layers = sweep()
    first, again = (of(fit_losses(given, layers)) for given in (scores, scores[::-1]))
    assert first.crossed.held == again.crossed.held
    np.testing.assert_array_equal(first.line.values, again.line.values)


def test_another_domain_is_forecast_with_and_without_labels() -> None:
    scores, layers = sweep(folds=3)
    scores.append(score(ORIGINAL, 0.6, domain="b", **BASELINE))
    one = of(fit_losses(scores, joint(layers, abroad(0.4), abroad(0.5, "c"))))
    b, c = one.expected
    assert (b.change.domain, b.labelled, b.split) == ("b", 1, "test")
    assert b.loss == pytest.approx(0.9 - 0.6)
    assert (c.change.domain, c.labelled, c.split) == ("c", 0, "")
    assert math.isnan(c.loss)
    for row, at in ((b, 0.4), (c, 0.5)):
        assert row.forecast == one.line(np.array([at])).item()
        assert (row.low, row.high) == (row.forecast - one.width, row.forecast + one.width)
    assert b.forecast < c.forecast
    assert one.width >= np.quantile(one.crossed.residuals, 0.95)
    assert of(fit_losses(scores, joint(layers, abroad())), "L1-pruned").expected == ()


def test_folds_are_averaged_each_at_its_own_distance() -> None:
    second = abroad(0.5, model_id="{} baseline 1")
    scores, layers = sweep()
    one = of(fit_losses(scores, joint(layers, abroad(0.3), second)))
    (row,) = one.expected
    assert row.networks == 2
    assert row.distance == pytest.approx(0.4)
    assert row.forecast == pytest.approx(one.line(np.array([0.3, 0.5])).mean())


def test_a_shift_without_a_score_is_forecast() -> None:
    scores, layers = sweep()
    lost = [one for one in scores if one.shift != SHIFTS[0]]
    one = of(fit_losses(lost, layers))
    (row,) = one.expected
    assert (row.change.shift, row.change.factor) == ("brightness", 0.25)
    assert len(one.points) == 16


def test_few_points_have_no_interval_and_a_lower_level_has_one() -> None:
    scores, layers = sweep(folds=2)
    layers = joint(layers, abroad())
    (row,) = of(fit_losses(scores, layers)).expected  # 18 points, 19 are needed
    assert math.isnan(row.low)
    assert math.isnan(row.high)
    (row,) = of(fit_losses(scores, layers, level=0.9)).expected
    assert row.low < row.forecast < row.high


def test_intervals_end_at_what_a_loss_can_be() -> None:
    scores, layers = sweep(folds=3)
    wild = [
        replace(one, miou=0.0 if one.shift.kind.value == "contrast" else one.miou) for one in scores
    ]
    (row,) = of(fit_losses(wild, joint(layers, abroad(9.0)))).expected
    assert row.high == 1.0


def test_validation_samples_come_first_and_test_samples_are_the_truth() -> None:
    scores, layers = sweep()
    scores.append(score(ORIGINAL, 0.6, domain="b", **BASELINE))
    fold = [replace(one, split=VALIDATION, miou=one.miou / 2) for one in scores[:-1]]
    train = [replace(one, split="train") for one in scores[:-1]]
    one = of(fit_losses([*train, *scores, *fold], joint(layers, abroad())))
    assert one.split == VALIDATION
    np.testing.assert_allclose(one.loss, of(fit_losses(scores, layers)).loss / 2)
    assert (one.expected[0].split, one.expected[0].labelled) == ("test", 1)
    assert fit_losses(train, layers) == []


def test_of_one_kind_of_shift_nothing_is_fitted() -> None:
    assert fit_losses(*sweep(shifts=SHIFTS[:3])) == []
    assert fit_losses([], as_layers([])) == []
    twice = [*SHIFTS[:2], SHIFTS[3]]
    assert len(fit_losses(*sweep(shifts=twice))) == 2


def test_layers_must_be_measured_under_all_shifts() -> None:
    scores, layers = sweep(layers=("input", "head"))
    layers["value"][layers["layer"].index("input")] = None
    found = fit_losses(scores, joint(layers, abroad(None)))
    assert {one.layers for one in found} == {("head",), ("input", "head")}
    assert sum(one.left_out for one in found) == 1
    assert all(one.expected == () for one in found)
    layers["value"] = [None] * len(layers["value"])
    assert fit_losses(scores, layers) == []


def test_what_does_not_depend_on_the_distance_is_no_better_than_the_mean() -> None:
    scores, layers = sweep()
    layers["value"] = [0.5] * len(layers["value"])
    one = of(fit_losses(scores, layers))
    assert not one.better
    assert one.error == pytest.approx(one.error_of_mean)


def test_other_references_are_not_forecast() -> None:
    scores, layers = sweep()
    shifted = abroad(reference_shift="contrast", reference_factor=0.5)
    foreign = abroad(reference_domain="c")
    assert of(fit_losses(scores, joint(layers, shifted, foreign))).expected == ()


def test_domains_stand_before_shifts_in_the_order_of_factors() -> None:
    scores, layers = sweep()
    bright = [Shift.parse(f"brightness={factor}") for factor in (1.5, 1.25)]
    within = [abroad(0.3, "a", shift="brightness", factor=shift.factor) for shift in bright]
    one = of(fit_losses(scores, joint(layers, *within, abroad(0.3, "z"))))
    assert [(row.change.domain, row.change.factor) for row in one.expected] == [
        *(("z", None), ("a", 1.25), ("a", 1.5)),
    ]
