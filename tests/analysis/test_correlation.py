"""Tests of ``correlation``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from skiptool.analysis.correlation import (
    FEWEST,
    FEWEST_FOR_INTERVAL,
    Distance,
    ImagePair,
    Mean,
    SettingKey,
    associations,
    gather_distances,
    join_distances,
)
from skiptool.names import LAYERS, ShiftKind
from skiptool.records import ORIGINAL, Shift
from sweeps import HALF, SHIFTS, as_layers, distance, score, sweep

DARK, DULL = Shift(ShiftKind.BRIGHTNESS, 0.5), Shift(ShiftKind.CONTRAST, 0.5)
SCORES = [score(ORIGINAL, 0.75), score(DARK, 0.25), score(DULL, 0.5)]


def test_distances_are_joined_with_losses_by_network_and_shift() -> None:
    """Worked by hand; the second network has another loss at another distance."""
    second = {"model_id": "m1", "pruning": "L1-pruned"}
    found = join_distances(
        [*SCORES, score(ORIGINAL, 1.0, **second), score(DARK, 0.875, **second)],
        as_layers(
            [
                distance(DULL, 0.3),
                distance(DARK, 0.7),
                distance(DARK, 0.9, layer="input"),
                distance(DARK, 0.4, **second),
            ]
        ),
    )
    (joined,) = found
    assert joined.setting == SettingKey("study", "hellinger", 100, "minmax", "unet", "resnet18")
    assert (joined.split, joined.classes, joined.setting.family) == ("test", ("cell",), "resnet18")
    assert joined.layers == ("input", "enc1")
    assert [(point.pruning, point.change.shift) for point in joined.points] == [
        ("L1-pruned", "brightness"),
        ("baseline", "brightness"),
        ("baseline", "contrast"),
    ]
    assert joined.loss.tolist() == [0.125, 0.5, 0.25]
    np.testing.assert_array_equal(joined.distances, [[math.nan, 0.9, math.nan], [0.4, 0.7, 0.3]])
    assert joined.shifts().tolist() == [0, 0, 1]
    assert joined.left_out == 0


def test_points_without_both_scores_are_left_out_and_counted() -> None:
    rows = as_layers([distance(DARK, 0.7), distance(DULL, 0.3)])
    (joined,) = join_distances(SCORES[:2], rows)
    assert ([point.change.shift for point in joined.points], joined.left_out) == (
        ["brightness"],
        1,
    )
    (joined,) = join_distances([*SCORES[:2], replace(SCORES[2], miou=math.nan)], rows)
    assert (len(joined.points), joined.left_out) == (1, 1)
    assert join_distances(SCORES[1:], rows) == []  # no original
    assert join_distances([replace(one, model_id="other") for one in SCORES], rows) == []
    assert join_distances([replace(one, dataset="other") for one in SCORES], rows) == []
    assert join_distances([], rows) == join_distances(SCORES, as_layers([])) == []


def test_comparisons_of_a_set_with_itself_are_left_out() -> None:
    same = distance(ORIGINAL, 0.01)
    (joined,) = join_distances(SCORES, as_layers([same, distance(DARK, 0.7)]))
    assert (len(joined.points), joined.left_out) == (1, 0)


def test_features_of_unknown_origin_are_left_out() -> None:
    unknown = distance(DARK, 0.7, model_id=None)
    nothing = distance(DARK, 0.7, dataset=None)
    assert join_distances(SCORES, as_layers([unknown, nothing])) == []


def test_a_point_with_an_unknown_distance_is_kept() -> None:
    rows = [distance(DARK, None), distance(DARK, 0.5, layer="head"), distance(DULL, math.nan)]
    (joined,) = join_distances(SCORES, as_layers(rows))
    np.testing.assert_array_equal(joined.distances, [[math.nan] * 2, [0.5, math.nan]])


def test_duplicates_count_once() -> None:
    scores, layers = sweep()
    twice = {name: [*column, *column] for name, column in layers.items()}
    (once,), (again,) = join_distances(scores, layers), join_distances([*scores, *scores], twice)
    np.testing.assert_array_equal(once.distances, again.distances)
    np.testing.assert_array_equal(once.loss, again.loss)
    assert once.points == again.points


def test_the_order_of_rows_does_not_matter() -> None:
    scores, layers = sweep()
    back = {name: column[::-1] for name, column in layers.items()}
    (one,), (other,) = join_distances(scores, layers), join_distances(scores[::-1], back)
    assert (one.points, one.layers) == (other.points, other.layers)
    np.testing.assert_array_equal(one.distances, other.distances)
    np.testing.assert_array_equal(one.loss, other.loss)


def test_layers_are_in_the_order_of_data_flow() -> None:
    names = ["b.module", "a.module", *reversed(LAYERS)]
    rows = as_layers([distance(DARK, 0.5, layer=name) for name in names])
    (joined,) = join_distances(SCORES, rows)
    assert joined.layers == (*LAYERS, "b.module", "a.module")


def test_scores_of_two_datasets_of_one_name_are_ambiguous() -> None:
    other = [replace(one, dataset_id="d2", miou=one.miou / 2) for one in SCORES[1:2]]
    rows = as_layers([distance(DARK, 0.7), distance(DULL, 0.3)])
    (joined,) = join_distances([*SCORES, *other], rows)
    assert [point.change.shift for point in joined.points] == ["contrast"]
    assert joined.left_out == 1


@pytest.mark.parametrize(
    "new",
    [
        {"metric": "kl"},
        {"bins": 50},
        {"range_rule": "p0.1"},
        {"encoder": "resnet50"},
        {"arch": "linknet"},
        {"dataset": "b"},
    ],
)
def test_settings_are_separate_with_hellinger_first(new: dict[str, object]) -> None:
    rows = as_layers([distance(DARK, 0.5, **new), distance(DARK, 0.7)])
    second = [replace(one, dataset="b") for one in SCORES] if "dataset" in new else []
    found = join_distances([*SCORES, *second], rows)
    assert len(found) == 2
    assert {one.setting.metric for one in found[:1]} == {"hellinger"}
    assert sorted(float(one.distances[0, 0]) for one in found) == [0.5, 0.7]


TRAIN = [replace(one, split="train", miou=one.miou / 2) for one in SCORES]
UNSAID = {"reference_split": None, "split": None}


def test_distances_are_joined_with_losses_of_their_split_only() -> None:
    rows = [distance(DARK, 0.7), distance(DARK, 0.4, reference_split="train", split="train")]
    first, second = join_distances([*TRAIN, *SCORES], as_layers(rows))
    assert (first.split, *first.loss, *first.distances[0]) == ("test", 0.5, 0.7)
    assert (second.split, *second.loss, *second.distances[0]) == ("train", 0.25, 0.4)
    assert not first.assumed | second.assumed
    assert join_distances(TRAIN, as_layers(rows[:1])) == []
    assert [one.split for one in join_distances(SCORES, as_layers(rows))] == ["test"]


def test_reference_and_other_images_may_be_of_different_splits() -> None:
    """Validation images of one domain, test images of another: the loss is between these."""
    fold = [replace(SCORES[0], split="validation", miou=0.8)]
    elsewhere = [score(ORIGINAL, 0.3, domain="b"), score(ORIGINAL, 0.1, domain="b", split="train")]
    row = distance(ORIGINAL, 0.4, domain="b", reference_split="validation", split="test")
    (joined,) = join_distances([*fold, *SCORES, *elsewhere], as_layers([row]))
    assert joined.split == "validation"
    assert joined.loss.tolist() == [0.5]
    assert joined.points[0].change[-2:] == ("validation", "test")


def test_images_of_another_dataset_are_another_domain() -> None:
    """Domains of both datasets may have one name; the loss is that between the two datasets."""
    new = [replace(one, dataset="new", dataset_id="d2", miou=0.125) for one in SCORES]
    far = distance(ORIGINAL, 0.4, dataset="new", reference_dataset="study")
    own = distance(DARK, 0.7, reference_dataset="study")
    (joined,) = join_distances([*SCORES, *new], as_layers([own, far]))
    assert joined.setting.dataset == "study"
    assert [point.change.domain for point in joined.points] == ["a", "a (new)"]
    assert joined.loss.tolist() == [0.5, 0.625]
    (joined,) = join_distances(SCORES, as_layers([own, far]))
    assert (joined.loss.tolist(), joined.left_out) == ([0.5], 1)


@pytest.mark.parametrize("split", [None, "all"])
def test_distances_without_a_split_are_joined_with_losses_of_each(split: str | None) -> None:
    row = distance(DARK, 0.7, reference_split=split, split=split)
    first, second = join_distances([*TRAIN, *SCORES], as_layers([row]))
    assert ((first.split, *first.loss), (second.split, *second.loss)) == (
        ("test", 0.5),
        ("train", 0.25),
    )
    assert (len(first.assumed), len(second.assumed)) == (1, 1)
    assert first.points[0].change[-2:] == ("test", "test")


def test_tables_that_name_their_split_take_precedence() -> None:
    rows = [distance(DARK, 0.9, **UNSAID), distance(DARK, 0.7), distance(DULL, 0.2, **UNSAID)]
    (joined,) = join_distances(SCORES, as_layers(rows))
    assert joined.distances.tolist() == [[0.7, 0.2]]
    assert [point.change.shift for point in joined.assumed] == ["contrast"]
    assert joined.left_out == 0


def test_ends_of_intervals_go_with_their_distances() -> None:
    rows = [distance(DARK, 0.7, ci_low=0.5), distance(DULL, 0.3, ci_high=None)]
    (joined,) = join_distances(SCORES, as_layers(rows))
    np.testing.assert_allclose(joined.low, [[0.5, 0.28]])
    np.testing.assert_allclose(joined.high, [[0.72, math.nan]])


def test_kind_is_the_shift_or_domain() -> None:
    shifted = ImagePair("a", "original", None, "a", "brightness", 0.5)
    elsewhere = ImagePair("b", "original", None, "b", "brightness", 0.5)
    across = ImagePair("a", "original", None, "b", "original", None)
    assert [each.kind for each in (shifted, across)] == ["brightness", "domain"]
    assert shifted.cluster == elsewhere.cluster
    assert across.cluster != ImagePair("a", "original", None, "c", "original", None).cluster
    assert shifted.cluster != ImagePair("a", "original", None, "a", "brightness", 0.75).cluster


def test_pairs_of_domains_are_changes() -> None:
    scores = [score(ORIGINAL, 0.75), score(ORIGINAL, 0.5, domain="b")]
    (joined,) = join_distances(scores, as_layers([distance(ORIGINAL, 0.4, domain="b")]))
    assert joined.loss.tolist() == [0.25]
    assert joined.points[0].change.kind == "domain"


def test_distances_are_gathered_without_scores() -> None:
    rows = [distance(DARK, 0.3), distance(DARK, 0.9), distance(DARK, None, layer="head")]
    ((setting, points),) = gather_distances(as_layers([*rows, distance(ORIGINAL, 0.1)])).items()
    ((point, by_layer),) = points.items()
    assert (setting.metric, point.model_id, point.change.shift) == ("hellinger", "m0", "brightness")
    expected = Distance(0.3, 0.28, 0.32, 0.005, 24, 24, 24, "image")
    assert by_layer["enc1"][:-1] == pytest.approx(expected[:-1])
    assert by_layer["enc1"].unit == "image"
    assert by_layer["enc1"].bounded
    assert math.isnan(by_layer["head"].value)
    assert not by_layer["head"].bounded
    assert not by_layer["enc1"]._replace(low=math.nan).bounded


def test_correlations_pool_all_networks_and_shifts() -> None:
    (found,) = associations(*sweep())
    joined = found.joined
    assert (len(joined.points), joined.layers) == (36, ("input", "enc1", "head"))
    expected = [spearmanr(joined.loss, row).statistic for row in joined.distances]
    np.testing.assert_allclose(found.correlation, expected)
    assert found.points == (36, 36, 36)
    assert found.shifts == (9, 9, 9)
    assert (found.low < found.correlation).all()
    assert (found.correlation < found.high).all()
    assert found.correlation[2] < min(found.correlation[:2])
    assert found.best == int(np.argmax(expected))


@pytest.mark.parametrize("count", [FEWEST - 1, FEWEST])
def test_fewer_than_four_shifts_have_no_correlation(count: int) -> None:
    found = associations(*sweep(shifts=SHIFTS[:count]))
    assert len(found) == (count >= FEWEST)


@pytest.mark.parametrize("count", [5, FEWEST_FOR_INTERVAL - 1, FEWEST_FOR_INTERVAL])
def test_few_shifts_have_no_interval(count: int) -> None:
    (found,) = associations(*sweep(shifts=SHIFTS[:count]))
    assert np.isfinite(found.correlation).all()
    assert np.isfinite(found.low).all() == (count >= FEWEST_FOR_INTERVAL)
    np.testing.assert_array_equal(np.isfinite(found.low), np.isfinite(found.high))


def test_a_perfect_order_has_no_interval() -> None:
    """Every resample of it is perfect: the interval would be a point."""
    found = associations(*ordered())
    assert found[0].correlation.tolist() == [1.0]
    assert found[0].shifts == (9,)
    assert np.isnan([found[0].low, found[0].high]).all()


def ordered() -> tuple[list[Any], dict[str, list[Any]]]:
    """Nine shifts of one network whose losses and distances are in one order."""
    losses = [0.05 * place for place in range(1, 10)]
    scores = [score(ORIGINAL, 0.9)]
    scores += [score(shift, 0.9 - loss) for shift, loss in zip(SHIFTS, losses, strict=True)]
    rows = [distance(shift, loss) for shift, loss in zip(SHIFTS, losses, strict=True)]
    return scores, as_layers(rows)


def test_without_corrected_distances_there_is_no_correlation() -> None:
    scores, layers = sweep()
    layers["corrected"] = [None] * len(layers["corrected"])
    assert associations(scores, layers) == []


def test_shifts_of_several_domains_are_the_same_shifts() -> None:
    """Three shifts in two domains are three, not six."""
    first, second = sweep(shifts=SHIFTS[:3]), sweep(shifts=SHIFTS[:3], domain="b")
    layers = {name: [*first[1][name], *second[1][name]] for name in first[1]}
    layers["reference_domain"] = layers["domain"]
    assert associations([*first[0], *second[0]], layers) == []


def test_pairs_of_domains_count_as_shifts() -> None:
    scores = [score(ORIGINAL, 0.9 - 0.1 * place, domain=name) for place, name in enumerate("abcde")]
    rows = [
        distance(ORIGINAL, 0.1 * place, domain=name) for place, name in enumerate("bcde", start=1)
    ]
    (found,) = associations(scores, as_layers(rows))
    assert (found.correlation.tolist(), found.shifts) == ([1.0], (4,))


def test_the_interval_follows_level_and_seed() -> None:
    (usual,), (wide,), (other,) = (
        associations(*sweep()),
        associations(*sweep(), level=0.99),
        associations(*sweep(), seed=1),
    )
    assert wide.level == 0.99
    assert (wide.low < usual.low).all()
    assert (other.low != usual.low).any()
    np.testing.assert_array_equal(other.correlation, usual.correlation)


def test_numbers_of_points_are_by_layer() -> None:
    scores, layers = sweep()
    gone = [
        place
        for place, (name, kind) in enumerate(zip(layers["layer"], layers["shift"], strict=True))
        if (name, kind) == ("head", "contrast")
    ]
    for place in gone:
        layers["corrected"][place] = None
    (found,) = associations(scores, layers)
    assert found.points == (36, 36, 24)
    assert found.shifts == (9, 9, 6)


def test_without_variation_no_layer_is_best() -> None:
    scores, layers = sweep(layers=("input",))
    layers["corrected"] = [0.5] * len(layers["corrected"])
    (found,) = associations(scores, layers)
    assert found.best is None
    assert np.isnan([found.correlation, found.low, found.high]).all()


def test_folds_are_averaged_by_pruning_and_shift() -> None:
    """Worked by hand: losses 0.25 and 0.5, distances 0.5 and 1; the third fold has no head."""
    dark = SHIFTS[0]
    losses, distances = (0.25, 0.5), (0.5, 1.0)
    scores, rows = [], []
    for fold, (lost, far) in enumerate(zip(losses, distances, strict=True)):
        who = {"model_id": f"m{fold}"}
        scores += [score(ORIGINAL, 0.75, fold=fold, **who)]
        scores += [score(shift, 0.75 - lost, fold=fold, **who) for shift in SHIFTS[:4]]
        rows += [distance(shift, far, **who) for shift in SHIFTS[:4]]
        if fold == 0:
            rows.append(distance(dark, 0.125, layer="head", **who))
    (found,) = associations(scores, as_layers(rows))
    means = found.means()
    assert len(means) == 4
    first = next(mean for mean in means if mean.change.factor == dark.factor)
    half = 0.25 / math.sqrt(2)
    assert first[:2] == ("baseline", found.joined.points[0].change)
    assert first[2:4] == pytest.approx((0.375, half))
    assert first.distances == (0.75, 0.125)
    assert first.sd_distances == pytest.approx((2 * half, math.nan), nan_ok=True)
    assert first.folds == 2
    assert first.low == pytest.approx((0.75 - HALF, math.nan), nan_ok=True)
    assert first.high == pytest.approx((0.75 + HALF, math.nan), nan_ok=True)


def test_one_fold_has_no_deviation() -> None:
    (found,) = associations(*sweep(folds=1, layers=("input",)))
    for mean in found.means():
        assert isinstance(mean, Mean)
        assert mean.folds == 1
        assert math.isnan(mean.sd_loss)
        assert math.isnan(mean.sd_distances[0])


def test_ensembles_without_features_are_left_out() -> None:
    scores, layers = sweep()
    together = [replace(one, fold=-1, model_id="all") for one in scores]
    (found,), (same,) = associations(scores, layers), associations([*scores, *together], layers)
    assert found.joined.points == same.joined.points


def test_points_are_sorted_by_kind_and_factor_of_shift() -> None:
    (found,) = associations(*sweep(layers=("input",), shifts=SHIFTS[::-1]))
    changes = [point.change for point in found.joined.points]
    assert list(dict.fromkeys((each.shift, each.factor) for each in changes)) == [
        (shift.kind.value, shift.factor) for shift in SHIFTS
    ]
