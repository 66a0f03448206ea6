"""Tests of ``forecast``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.analysis.forecast import fit_losses
from skiptool.records import ORIGINAL
from skiptool.report.exhibit import Exhibit
from skiptool.report.forecast import forecast_caption, forecast_exhibits, forecast_sentences
from skiptool.stores.tables import REPORT
from sweeps import SHIFTS, Layers, as_layers, distance, score, sweep

Check = Callable[[Figure], list[str]]
Made = tuple[list[Any], Layers]


def made(folds: int = 3, domains: tuple[str, ...] = ("b", "c"), **facts: Any) -> Made:  # noqa: ANN401
    """Build a sweep, and other domains; IoU is known of the first of these."""
    scores, layers = sweep(folds=folds, **facts)
    named = facts.get("prunings", ("baseline", "L1-pruned"))
    split = facts.get("split", "test")
    facts = {name: value for name, value in facts.items() if name in ("dataset", "encoder")}
    for pruning in named:
        who = {**facts, "pruning": pruning, "model_id": f"{facts} {pruning} 0"}
        scores.append(score(ORIGINAL, 0.6, domain=domains[0], **who))
        for place, name in enumerate(domains):
            far = {**who, "domain": name, "reference_split": split}
            at = 0.3 + 0.1 * place
            more = [distance(ORIGINAL, at, **far, layer=each) for each in LAYERS]
            layers = {key: [*column, *as_layers(more)[key]] for key, column in layers.items()}
    return scores, layers


LAYERS = ("input", "enc1", "head")


def worthless(scores: list[Any], layers: Layers) -> Made:
    return scores, {**layers, "corrected": [0.5] * len(layers["corrected"])}


def test_each_pruning_has_an_exhibit_in_paper_order() -> None:
    shown = forecast_exhibits(*made())
    assert [each.topic for each in shown] == ["forecast"] * 2
    assert [each.title for each in shown] == [
        f"Loss of IoU forecast from Hellinger distance, resnet18 {pruning}, fitted to study, a, "
        "test, B = 100"
        for pruning in ("baseline", "L1-pruned")
    ]
    assert forecast_exhibits([], as_layers([])) == []


@pytest.mark.parametrize("folds", [1, 3])
def test_every_number_of_the_table_is_among_the_numbers(folds: int) -> None:
    each = forecast_exhibits(*made(folds))[0]
    numbers = each.numbers
    columns = each.table.columns
    known = {value for row in numbers for value in row.values() if isinstance(value, float | int)}
    cells = {cell for column in columns.values() for cell in column if isinstance(cell, float)}
    assert cells
    assert cells <= known
    assert {*(key for row in numbers for key in row)} <= {*REPORT}
    assert columns["of"] == [
        *("brightness left out", "contrast left out", "saturation left out", "mean of kinds"),
        *("b", "c"),
    ]
    assert columns["points"][3] == 9 * folds


def test_with_nothing_to_forecast_the_table_has_the_errors_alone() -> None:
    columns = forecast_exhibits(*sweep())[0].table.columns
    assert [*columns] == ["of", "layer", "points", "error", "error of the mean"]


def test_numbers_name_their_origin() -> None:
    numbers = forecast_exhibits(*made())[0].numbers
    common = {"dataset": "study", "pruning": "baseline", "arch": "unet", "encoder": "resnet18"}
    assert all(common.items() <= row.items() for row in numbers)
    for quantity in ("cross-validated error", "error of the mean"):
        rows = [row for row in numbers if row["quantity"] == quantity]
        kinds = ["brightness", "contrast", "saturation", None]
        assert [row["shift"] for row in rows] == kinds
        assert {row["split"] for row in rows} == {"test"}
    forecast = [row for row in numbers if row["quantity"] == "forecast loss"]
    assert [(row["domain"], row["level"]) for row in forecast] == [("b", None), ("c", None)]
    (bound,) = [row for row in numbers if row["quantity"] == "bound of the error"]
    assert (bound["level"], bound["points"]) == (0.75, 27)
    distances = [row for row in numbers if row["quantity"] == "distance"]
    assert [row["value"] for row in distances] == [0.3, 0.4]
    assert {(row["level"], row["p_value"], row["images"]) for row in distances} == {
        (0.95, 0.005, 24)
    }
    (true,) = [row for row in numbers if row["quantity"] == "loss of IoU"]
    assert true["domain"] == "b"
    assert true["value"] == pytest.approx(0.3)


def test_level_holds_only_for_shifts_within_the_domain() -> None:
    scores, layers = made()
    lost = [one for one in scores if one.shift != SHIFTS[0]]
    columns = forecast_exhibits(lost, layers)[0].table.columns
    assert [*zip(columns["of"], columns["level"], strict=True)][4:] == [
        *(("b", None), ("c", None), ("brightness 0.25", 0.75)),
    ]


def test_caption_describes_fit_and_cross_validation() -> None:
    scores, layers = made()
    (caption, _) = (each.caption for each in forecast_exhibits(scores, layers))
    for part in (
        *("loss of IoU (cell)", "of the test images of study, a (24 a network)", "n = 27 points"),
        *("one of 3 trained networks", "one of 9 shifts", "start at 0", "Barlow et al. 1972"),
        *("each of 3 kinds in turn", "Dunn et al. 2023", "at a level of 75 %"),
        "95 % cannot be reached with 3 kinds",
        "no level holds for it",
        "scores and distances of validation images are not given",
    ):
        assert part in caption
    assert "assumed" not in caption
    scores, layers = made(split="validation")
    caption = forecast_exhibits(scores, layers)[0].caption
    assert "of the validation images of study, a" in caption
    assert "not given" not in caption
    assert "cannot be reached" not in forecast_exhibits(*made(), level=0.75)[0].caption
    assert "nothing to forecast" in forecast_exhibits(*sweep())[0].caption


def test_sentence_states_the_error_on_kinds_left_out() -> None:
    first, second, inside = forecast_exhibits(*made())[0].sentences
    assert first.startswith(
        "resnet18 baseline: on kinds of shift left out, the loss of IoU is forecast from the "
        "distance at "
    )
    assert "with a mean absolute error of 0.0" in first
    assert "for the mean loss of the other kinds." in first
    assert second.startswith("Forecast loss: b (24 test images) 0.")
    assert "; c (24 test images) 0." in second
    assert inside == "The true loss lies in the interval in 0 of 1 comparisons with labels."


def test_subjects_are_counted_if_they_are_the_unit() -> None:
    scores, layers = made(domains=("b",))
    changed = [name == "b" for name in layers["domain"]]
    for place in np.flatnonzero(changed):
        layers["unit"][place], layers["units_other"][place] = "subject", 2
    second = forecast_exhibits(scores, layers)[0].sentences[1]
    assert second.startswith("Forecast loss: b (24 test images of 2 subjects) 0.")


def test_no_loss_is_forecast_if_the_fit_is_no_better_than_the_mean() -> None:
    each = forecast_exhibits(*worthless(*made()))[0]
    (told,) = each.sentences
    assert told.startswith("resnet18 baseline: no loss of IoU can be forecast from these shifts.")
    columns = each.table.columns
    assert [*columns["note"]] == [*[None] * 4, *["no forecast possible"] * 2]
    for name in ("forecast", "ci_low", "ci_high", "level"):
        assert {*columns[name]} == {None}
    assert not [row for row in each.numbers if row["quantity"] == "forecast loss"]
    assert "no better than the mean" in each.caption


def test_distances_near_zero_are_reported_as_no_shift() -> None:
    """A few images of the same source: a distance that cannot be told from 0."""
    scores, layers = made(domains=("b",))
    for place, name in enumerate(layers["domain"]):
        if name == "b":
            for column, value in (("corrected", 0.05), ("ci_low", -0.2), ("ci_high", 0.15)):
                layers[column][place] = value
            layers["p_value"][place], layers["n_other"][place] = 0.67, 8
    each = forecast_exhibits(scores, layers)[0]
    second = each.sentences[1]
    assert second.startswith(
        "Forecast loss: b (8 test images): no shift seen (p = 0.67), loss not distinguishable from "
        "0 and up to 0."
    )
    columns = each.table.columns
    assert (columns["forecast"][4], columns["note"][4]) == (None, "no shift seen")
    assert columns["ci_low"][4] <= 0.0 < columns["ci_high"][4]
    (row,) = [row for row in each.numbers if row["quantity"] == "forecast loss"]
    assert math.isnan(row["value"])


def test_distances_beyond_the_fit_are_counted() -> None:
    many = tuple(f"domain {n}" for n in range(8))  # distances from 0.3 to 1.0
    shown = forecast_exhibits(*made(domains=many))[0]
    assert shown.sentences[-1] == (
        "5 of 8 distances are greater than any in the fit, where the line is constant: the loss "
        "may be greater than forecast."
    )
    assert [*shown.table.columns["note"]] == [*[None] * 4, *[""] * 3, *["beyond the fit"] * 5]
    assert "; 5 further rows in the table." in shown.sentences[1]


@pytest.mark.parametrize(("folds", "domains"), [(1, ("b",)), (3, ("b", "c")), (5, ("b",) * 1)])
def test_figures_are_drawn(folds: int, domains: tuple[str, ...], labels: Check) -> None:
    for each in forecast_exhibits(*made(folds, domains)):
        figure = each.draw()
        assert figure is not None
        assert {"Hellinger distance at", "b"} & {*labels(figure)}


def test_figure_states_that_the_fit_is_no_better_than_the_mean(labels: Check) -> None:
    (figure, _) = (each.draw() for each in forecast_exhibits(*worthless(*made())))
    assert figure is not None
    assert "fit under controlled shifts: no better than the mean" in labels(figure)


def test_names_from_data_are_escaped_and_cut(labels: Check) -> None:
    long = "<script>" * 25
    facts: dict[str, Any] = {"dataset": long, "encoder": long, "prunings": (long,)}
    scores, layers = made(domains=(long + "b", "$x$"), **facts)
    shown: list[Exhibit] = forecast_exhibits(
        [replace(one, classes=(long,)) for one in scores], layers
    )
    assert len(shown) == 1
    for each in shown:
        assert long not in each.title + each.caption + " ".join(each.sentences)
        figure = each.draw()
        assert figure is not None
        labels(figure)
    assert {row["dataset"] for row in shown[0].numbers} == {long}


def test_row_names() -> None:
    found = fit_losses(*sweep(encoder="resnet50"))[0]
    assert forecast_sentences(found)[0].startswith(f"resnet50 {found.pruning}: ")
    plain = replace(
        found, setting=found.setting._replace(encoder="", arch="", metric="kl"), pruning=""
    )
    assert forecast_sentences(plain)[0].startswith("networks: ")
    assert "Kullback-Leibler divergence at" in forecast_caption(plain)


def test_left_out_comparisons_are_counted() -> None:
    found = fit_losses(*sweep())[0]
    layer = found.layers[found.layer]
    lost = replace(found, left_out=3, passed_over=("dec0", "head"), assumed=7)
    caption = forecast_caption(lost)
    for part in (
        f"No forecast for 3 comparisons without a corrected distance and its interval at {layer}.",
        "without a corrected distance under every shift: dec0, head.",
        "7 of 18 points come from shift tables that do not name one split; their images are "
        "assumed to be the test images.",
    ):
        assert part in caption
        assert part not in forecast_caption(found)
    assert len(forecast_sentences(found)) == 1
    assert forecast_sentences(lost)[1].startswith("No forecast for 3 comparisons without")


def test_kinds_no_better_than_the_mean_are_named() -> None:
    found = fit_losses(*sweep())[0]
    first, *others = found.cross_validation.held
    worse = first._replace(error=first.error_of_mean)
    cross_validation = found.cross_validation._replace(held=(worse, *others))
    _, told = forecast_sentences(replace(found, cross_validation=cross_validation))
    assert told == "On brightness alone it is no better than the mean."
