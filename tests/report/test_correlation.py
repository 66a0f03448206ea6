"""Tests of ``correlation``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.analysis.correlation import Association, associations
from skiptool.figures.scatter import interval_text
from skiptool.records import ORIGINAL
from skiptool.report.correlation import (
    correlation_exhibits,
    ranking_exhibit,
    rivals_text,
    scatter_exhibit,
    spearman_text,
)
from skiptool.report.exhibit import Exhibit
from skiptool.stores.tables import REPORT
from sweeps import SHIFTS, Layers, as_layers, distance, score, sweep

Check = Callable[[Figure], list[str]]


def two() -> tuple[list[Any], Layers]:
    """Two encoders, the second with another layer."""
    first, second = sweep(), sweep(layers=("input", "dec0"), encoder="resnet50")
    layers = {name: [*first[1][name], *second[1][name]] for name in first[1]}
    return [*first[0], *second[0]], layers


def test_each_encoder_has_an_exhibit_before_the_ranking() -> None:
    shown = correlation_exhibits(*two())
    assert [each.topic for each in shown] == [
        *("forecast-by-layer", "forecast-by-layer", "rank-correlation"),
    ]
    assert {each.heading for each in shown} == {"Distance and loss of IoU by layer"}
    assert shown[0].title == (
        "Loss of IoU against Hellinger distance by layer, resnet18, study test, B = 100"
    )
    assert "resnet50" in shown[1].title
    assert len({each.title for each in shown}) == 3
    assert correlation_exhibits([], as_layers([])) == []


def test_metrics_and_splits_have_separate_exhibits() -> None:
    scores, layers = sweep()
    both = {name: [*column, *column] for name, column in layers.items()}
    both["metric"] = [*layers["metric"], *["kl"] * len(layers["metric"])]
    train = [replace(one, split="train") for one in scores]
    both["reference_split"] = both["split"] = [None] * len(both["metric"])
    shown = correlation_exhibits([*scores, *train], both)
    assert [each.topic for each in shown] == ["forecast-by-layer", "rank-correlation"] * 4
    assert len({each.title for each in shown}) == 8
    assert "Hellinger" in shown[0].title
    assert "Kullback" in shown[4].title


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_number_of_the_table_is_among_the_numbers(place: int) -> None:
    each = correlation_exhibits(*two())[place]
    numbers = each.numbers
    known = {value for row in numbers for value in row.values() if isinstance(value, float | int)}
    columns = each.table.columns
    cells = [cell for column in columns.values() for cell in column if not isinstance(cell, str)]
    assert cells
    assert {*cells} <= known
    assert {*columns["layer"]} == {row["layer"] for row in numbers if row.get("layer")}
    assert {key for row in numbers for key in row} <= {*REPORT}
    assert all(len(column) == len(columns["layer"]) for column in columns.values())


def test_points_that_are_drawn_are_among_the_numbers() -> None:
    scores, layers = sweep()
    (found,) = associations(scores, layers)
    numbers = correlation_exhibits(scores, layers)[0].numbers
    mean = found.means()[-1]
    (loss,) = [
        row
        for row in numbers
        if row["quantity"] == "loss of IoU"
        and (row["pruning"], row["shift"], row["factor"])
        == (mean.pruning, mean.change.shift, mean.change.factor)
    ]
    assert loss == {
        "quantity": "loss of IoU",
        "dataset": "study",
        "split": "test",
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": mean.pruning,
        "folds": 2,
        **mean.change._asdict(),
        "value": mean.loss,
        "sd_folds": mean.sd_loss,
    }
    distances = [row for row in numbers if row["quantity"] == "distance"]
    assert len(distances) == 3 * len(found.means())
    assert {(row["metric"], row["bins"]) for row in distances} == {("hellinger", 100)}
    ends = ("value", "ci_low", "ci_high", "level")
    heads = [tuple(row[name] for name in ends) for row in distances if row["layer"] == "head"]
    assert (mean.distances[2], mean.low[2], mean.high[2], 0.95) in heads


def test_caption_describes_points_and_intervals() -> None:
    (first, ranking) = correlation_exhibits(*sweep(folds=2))
    for part in (
        *("Loss of cell IoU", "test images of study, 24 a network", "mean over 2 trainings"),
        "n = 36 points",
        *("one of 9 shifts (", "95 % interval", "R = 2,000", "B = 100 bins of equal width"),
        *("corrected for the finite number of images", "order of data flow"),
    ):
        assert part in first.caption
    assert "assumed to be" not in first.caption
    unsaid = correlation_exhibits(*sweep(split=None))[0].caption
    assert "36 of 36 points come from shift tables that do not name one split" in unsaid
    assert "n = 36 points" in ranking.caption
    assert "Left out" not in first.caption
    single = correlation_exhibits(*sweep(folds=1))[0]
    assert "one pruning, trained once, under one shift" in single.caption
    assert "deviation" not in single.caption
    scores, layers = sweep()
    uneven = [one for one in scores if (one.fold, one.pruning) != (1, "baseline")]
    fewer = correlation_exhibits(uneven, layers)[0]
    assert "mean over 1 to 2 trainings" in fewer.caption
    assert "Left out: 9 comparisons without IoU on both sides." in fewer.caption
    several = [replace(one, classes=("a", "b")) for one in scores]
    assert "Loss of mean IoU of a, b:" in correlation_exhibits(several, layers)[0].caption


def made_up(*triples: tuple[float, float, float]) -> Exhibit:
    return scatter_exhibit(ends(*triples))


def test_sentence_names_the_best_layer() -> None:
    clear = made_up((0.2, 0.1, 0.3), (0.8, 0.7, 0.9)).sentences
    assert tuple(clear) == (
        "resnet18: the loss of IoU follows the distance at enc2 best, ρ = 0.80 [0.70, 0.90].",
        "Its interval overlaps with that of no other layer.",
    )
    (vague,) = made_up((0.2, -0.1, 0.3)).sentences
    assert vague.endswith("ρ = 0.20 [−0.10, 0.30]. The interval includes 0.")
    (against,) = made_up((-0.2, -0.3, -0.1), (-0.4, -0.5, -0.3)).sentences
    assert against == (
        "resnet18: the loss of IoU grows with the distance at no layer; largest ρ: "
        "−0.20 [−0.30, −0.10] at enc1."
    )
    nan = math.nan
    (nothing,) = made_up((nan, nan, nan)).sentences
    assert nothing == "resnet18: distance or loss of IoU is the same under all shifts."


def test_missing_interval_is_explained(labels: Check) -> None:
    """Of five points in perfect order a page must not say 1.00 [1.00, 1.00]."""
    shown = correlation_exhibits(*sweep(shifts=SHIFTS[:5]))
    (told,) = shown[0].sentences
    assert told.startswith("resnet18: the largest rank correlation is at ")
    assert told.endswith("; 5 shifts are too few for an interval (at least 9).")
    assert tuple(shown[1].sentences) == ()
    (perfect,) = made_up((1.0, math.nan, math.nan)).sentences
    assert "ρ = 1.00; the order is perfect, so that resampling gives no interval." in perfect
    for each in shown:
        figure = each.draw()
        assert figure is not None
        assert not any("[" in text for text in labels(figure))
        assert {*each.table.columns["ci_low"]} == {None}
        assert None not in each.table.columns["rho"]
    vague = ends((0.2, math.nan, math.nan), (0.9, math.nan, math.nan))
    assert not ranking_exhibit([vague, vague]).sentences


def test_ranking_states_whether_families_agree() -> None:
    assert not correlation_exhibits(*sweep())[1].sentences
    first, second = ends((0.2, 0.1, 0.3), (0.8, 0.7, 0.9)), ends((0.9, 0.8, 1.0))
    agreed = ranking_exhibit([first, first]).sentences
    assert tuple(agreed) == ("The largest correlation is at enc2 in all 2 families.",)
    apart = ranking_exhibit([first, second]).sentences
    assert tuple(apart) == ("The largest correlation is at enc2 (resnet18), enc1 (resnet18).",)


def test_figures_are_drawn(labels: Check) -> None:
    for each in correlation_exhibits(*two()):
        figure = each.draw()
        assert figure is not None
        assert "input" in labels(figure)


def test_names_from_data_are_escaped_and_cut(labels: Check) -> None:
    long = "<script>" * 25
    scores, layers = sweep(dataset=long, encoder=long, layers=(long, "$x$"), prunings=(long,))
    shown = correlation_exhibits([replace(one, classes=(long,)) for one in scores], layers)
    for each in shown:
        assert long not in each.title + each.caption + " ".join(each.sentences)
        figure = each.draw()
        assert figure is not None
        labels(figure)
    assert {row["dataset"] for row in shown[0].numbers} == {long}


def test_domains_are_named_in_captions() -> None:
    scores = [score(ORIGINAL, 0.9 - 0.1 * n, domain=name) for n, name in enumerate("abcde")]
    rows = [distance(ORIGINAL, 0.1 * n, domain=name) for n, name in enumerate("bcde", start=1)]
    shown = correlation_exhibits(scores, as_layers(rows))
    assert "4 shifts or pairs of domains" in shown[0].caption
    losses = [row for row in shown[0].numbers if row["quantity"] == "loss of IoU"]
    assert [row["domain"] for row in losses] == ["b", "c", "d", "e"]
    assert {row["reference_domain"] for row in losses} == {"a"}


NAN = float("nan")


def ends(*triples: tuple[float, float, float]) -> Association:
    """Return correlations with their intervals at the first layers, made up."""
    names = [f"enc{number}" for number in range(1, len(triples) + 1)]
    (found,) = associations(*sweep(layers=names))
    rho, low, high = np.array(triples).T
    return replace(found, correlation=rho, low=low, high=high)


@pytest.mark.parametrize(
    ("triple", "text"),
    [
        ((0.8312, -0.004, 0.907), "0.83 [0.00, 0.91]"),
        ((-0.5, -1.0, 0.125), "−0.50 [−1.00, 0.12]"),
        ((0.999, 0.9961, 1.0), "0.999 [0.996, 1.00]"),
        ((0.5, NAN, NAN), "0.50"),
        ((NAN, NAN, NAN), "–"),
    ],
)
def test_a_correlation_is_written_with_its_interval(
    triple: tuple[float, float, float], text: str
) -> None:
    assert interval_text(ends(triple), 0) == text


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ([], ""),
        ([(0.1, 0.0, 0.59)], "Its interval overlaps with that of no other layer."),
        (
            [(0.1, 0.0, 0.6), (0.1, 0.0, 0.2)],
            "The interval at enc2 overlaps with it: which layer is best is not settled.",
        ),
        (
            [(0.5, 0.4, 0.7), (0.7, 0.5, 0.95)],
            "The intervals at enc2, enc3 overlap with it: which layer is best is not settled.",
        ),
        (
            [*[(0.5, 0.4, 0.7)] * 5, (0.0, -0.1, 0.1)],
            "The intervals at 5 of the 6 other layers overlap with it: which layer is best is "
            "not settled.",
        ),
        (
            [(0.5, 0.4, 0.7)] * 5,
            "The intervals at all 5 other layers overlap with it: which layer is best is not "
            "settled.",
        ),
        ([(NAN, NAN, NAN)], ""),
    ],
)
def test_overlapping_layers_are_named(others: list[tuple[float, float, float]], text: str) -> None:
    assert rivals_text(ends((0.8, 0.6, 0.9), *others), 0) == text


def test_columns_and_numbers_hold_the_same_floats() -> None:
    shown = ranking_exhibit([ends((0.8, 0.6, 0.9), (NAN, NAN, NAN))])
    columns, numbers = shown.table.columns, shown.numbers
    assert columns["rho"] == [0.8, None]
    assert columns["shifts"] == [9, 9]
    rows = {(row["quantity"], row["layer"]): row for row in numbers}
    assert rows["rank correlation", "enc1"] == {
        "dataset": "study",
        "split": "test",
        "arch": "unet",
        "encoder": "resnet18",
        "metric": "hellinger",
        "bins": 100,
        "layer": "enc1",
        "quantity": "rank correlation",
        "value": 0.8,
        "ci_low": 0.6,
        "ci_high": 0.9,
        "level": 0.95,
        "points": 36,
    }
    assert rows["shifts", "enc2"]["value"] == 9.0
    assert rows["rank correlation", "enc2"]["value"] is None


def test_caption_names_measures_and_methods() -> None:
    found = ends((0.8, 0.6, 0.9))
    shown = scatter_exhibit(found)
    assert shown.title == (
        "Loss of IoU against Hellinger distance by layer, resnet18, study test, B = 100"
    )
    assert "B = 100 bins of equal width over the joint range" in shown.caption
    setting = found.joined.setting._replace(
        metric="new", bins=None, range_rule="", arch="", encoder=""
    )
    plain = replace(found, joined=replace(found.joined, setting=setting))
    shown = scatter_exhibit(plain)
    assert shown.title == "Loss of IoU against new by layer, networks, study test"
    assert "bins" not in shown.caption
    assert "corrected for the finite number of images;" in shown.caption
    odd = replace(found, joined=replace(found.joined, setting=setting._replace(bins=7)))
    assert "B = 7 bins;" in scatter_exhibit(odd).caption
    text = spearman_text([found, replace(found, points=(1000,), shifts=(4,), level=0.9)])
    for part in ("n = 36 to 1,000 points", "one of 4 to 9 shifts (", "95 % interval", "R = 2,000"):
        assert part in text
    assert "No interval with fewer than 9 shifts, or for a perfect order" in text


def test_points_of_tables_that_name_no_split_are_counted() -> None:
    shown = scatter_exhibit(associations(*sweep(split=None))[0])
    assert shown.caption.endswith(
        "36 of 36 points come from shift tables that do not name one split; their images are "
        "assumed to be the test images."
    )
