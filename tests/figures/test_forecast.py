from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from matplotlib.figure import Figure

from skiptool.figures.exhibit import Shown
from skiptool.figures.forecast import loss_forecasts
from skiptool.records import ORIGINAL
from skiptool.stores.schemas import REPORT
from sweeps import Layers, as_layers, distance, score, sweep

Check = Callable[[Figure], list[str]]
Made = tuple[list[Any], Layers]


def made(folds: int = 3, domains: tuple[str, ...] = ("b", "c"), **facts: Any) -> Made:  # noqa: ANN401
    """Build a sweep, and other domains; IoU is known of the first of these."""
    scores, layers = sweep(folds=folds, **facts)
    named = facts.get("prunings", ("baseline", "L1-pruned"))
    facts = {name: value for name, value in facts.items() if name in ("dataset", "encoder")}
    for pruning in named:
        who = {**facts, "pruning": pruning, "model_id": f"{facts} {pruning} 0"}
        scores.append(score(ORIGINAL, 0.6, domain=domains[0], **who))
        for place, name in enumerate(domains):
            far = {"domain": name, "corrected": 0.3 + 0.1 * place}
            more = [distance(ORIGINAL, 0, **who) | far | {"layer": each} for each in LAYERS]
            layers = {key: [*column, *as_layers(more)[key]] for key, column in layers.items()}
    return scores, layers


LAYERS = ("input", "enc1", "head")


def worthless(scores: list[Any], layers: Layers) -> Made:
    return scores, {**layers, "corrected": [0.5] * len(layers["corrected"])}


def test_one_exhibit_a_pruning_in_the_order_of_the_paper() -> None:
    shown = loss_forecasts(*made())
    assert [each.topic for each in shown] == ["forecast"] * 2
    assert [each.title for each in shown] == [
        f"Loss of IoU forecast from Hellinger distance, resnet18 {pruning}, fit on study, a, test, "
        "B = 100"
        for pruning in ("baseline", "L1-pruned")
    ]
    assert loss_forecasts([], as_layers([])) == []


@pytest.mark.parametrize("folds", [1, 3])
def test_every_number_of_the_table_is_among_the_numbers(folds: int) -> None:
    each = loss_forecasts(*made(folds))[0]
    numbers = each.numbers()
    columns = each.table().columns
    known = {value for row in numbers for value in row.values() if isinstance(value, float | int)}
    cells = {cell for column in columns.values() for cell in column if isinstance(cell, float)}
    assert cells
    assert cells <= known
    assert {*(key for row in numbers for key in row)} <= {*REPORT}
    assert columns["of"] == [
        *("brightness left out", "contrast left out", "saturation left out", "all kinds"),
        *("b", "c"),
    ]
    assert columns["points"][3] == 9 * folds


def test_with_nothing_to_forecast_the_table_has_the_errors_alone() -> None:
    columns = loss_forecasts(*sweep())[0].table().columns
    assert [*columns] == ["of", "layer", "points", "error", "error of the mean"]


def test_numbers_say_what_they_are_of() -> None:
    numbers = loss_forecasts(*made())[0].numbers()
    common = {"dataset": "study", "pruning": "baseline", "arch": "unet", "encoder": "resnet18"}
    assert all(common.items() <= row.items() for row in numbers)
    for quantity in ("cross-validated error", "error of the mean"):
        rows = [row for row in numbers if row["quantity"] == quantity]
        kinds = ["brightness", "contrast", "saturation", None]
        assert [row["shift"] for row in rows] == kinds
        assert {row["split"] for row in rows} == {"test"}
    forecast = [row for row in numbers if row["quantity"] == "forecast loss"]
    assert [(row["domain"], row["level"]) for row in forecast] == [("b", 0.95), ("c", 0.95)]
    (true,) = [row for row in numbers if row["quantity"] == "loss of IoU"]
    assert true["domain"] == "b"
    assert true["value"] == pytest.approx(0.3)


def test_the_caption_says_what_is_fitted_and_how_it_was_tested() -> None:
    scores, layers = made()
    (caption, _) = (each.caption for each in loss_forecasts(scores, layers))
    for part in (
        *("loss of IoU (cell)", "test samples of a", "n = 27 points", "3 trained networks"),
        *("one of 9 shifts", "Barlow et al. 1972", "3 kinds in turn", "Lei et al. 2018"),
        *("for want of scores of validation samples", "error thus optimistic", "level 95 %"),
    ):
        assert part in caption
    fold = [replace(one, split="validation") for one in scores]
    caption = loss_forecasts([*scores, *fold], layers)[0].caption
    assert "validation samples of a" in caption
    assert "optimistic" not in caption
    few = loss_forecasts(*made(folds=1))[0].caption
    assert "No intervals: a level of 95 % needs more points than 9." in few
    assert "nothing to forecast" in loss_forecasts(*sweep())[0].caption


def test_in_words_whether_the_fit_is_better_than_the_mean() -> None:
    first, inside = loss_forecasts(*made())[0].sentences()
    assert "that it has not seen better than the mean does: mean absolute error 0.0" in first
    assert inside == "The true loss lies in the interval in 0 of 1 comparisons with labels."
    each = loss_forecasts(*worthless(*made()))[0]
    assert each.sentences()[0].startswith(
        "resnet18 baseline: the fit to the distance at input is no better than the mean: "
    )
    assert [*each.table().columns["fit"]] == [*[None] * 4, *["no better than the mean"] * 2]


def test_what_lies_beyond_the_fit_is_counted() -> None:
    many = tuple(f"domain {n}" for n in range(8))  # distances from 0.3 to 1.0
    told = loss_forecasts(*made(domains=many))[0].sentences()[-1]
    assert told == (
        "Of 8 forecasts, 5 lie beyond the distances of the fit, where the line is constant."
    )


@pytest.mark.parametrize(("folds", "domains"), [(1, ("b",)), (3, ("b", "c")), (5, ("b",) * 1)])
def test_all_are_drawn(folds: int, domains: tuple[str, ...], labels: Check) -> None:
    for each in loss_forecasts(*made(folds, domains)):
        figure = each.draw()
        assert figure is not None
        assert {"Hellinger distance at", "b"} & {*labels(figure)}


def test_a_figure_says_that_a_fit_is_worth_nothing(labels: Check) -> None:
    (figure, _) = (each.draw() for each in loss_forecasts(*worthless(*made())))
    assert figure is not None
    assert "forecast, no better than the mean" in labels(figure)


def test_names_from_data_stay_names(labels: Check) -> None:
    long = "<script>" * 25
    facts: dict[str, Any] = {"dataset": long, "encoder": long, "prunings": (long,)}
    scores, layers = made(domains=(long + "b", "$x$"), **facts)
    shown: list[Shown] = loss_forecasts([replace(one, classes=(long,)) for one in scores], layers)
    assert len(shown) == 1
    for each in shown:
        assert long not in each.title + each.caption + " ".join(each.sentences())
        figure = each.draw()
        assert figure is not None
        labels(figure)
    assert {row["dataset"] for row in shown[0].numbers()} == {long}
