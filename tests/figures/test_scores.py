from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.figures.grid import Column, Row
from skiptool.figures.scores import ScoreMatrix, by_domain, by_shift
from skiptool.metrics import Score
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shift

Check = Callable[[Figure], list[str]]
DARK, BRIGHT = Shift.parse("brightness=0.5"), Shift.parse("brightness=1.5")
GREY = Shift.parse("saturation=0")
PLAIN = Score(
    *("d.zarr", "d1", "a", "test", "unet", "resnet18", "baseline", 0, 0, "m0"),
    shift=ORIGINAL,
    classes=("cell",),
    miou=0.9,
)


def score(pruning: str, fold: int, shift: Shift, miou: float, **new: object) -> Score:
    facts = {"model_id": f"{pruning} {fold}", **new}
    return replace(PLAIN, pruning=pruning, fold=fold, shift=shift, miou=miou, **facts)


FOUND = [
    *(score("L1-pruned", 0, GREY, 0.5), score("L1-pruned", 0, BRIGHT, math.nan)),
    *(score("baseline", 0, DARK, 0.1), score("baseline", 1, DARK, 0.3)),
    *(score("baseline", 0, ORIGINAL, 0.8), score("baseline", 1, ORIGINAL, 0.9)),
    *(score("L1-pruned", 0, ORIGINAL, 0.7), score("baseline", 1, BRIGHT, 0.6)),
]


def test_folds_are_averaged_by_architecture_and_shift() -> None:
    """Worked by hand; sd of two values is their difference over the root of 2."""
    (matrix,) = by_shift(FOUND)
    assert matrix.rows == (Row("baseline", "resnet18"), Row("L1-pruned", "resnet18"))
    assert matrix.columns == (
        *(Column("original", ""), Column("0.5", "brightness"), Column("1.5", "brightness")),
        Column("0", "saturation"),
    )
    nan = math.nan
    np.testing.assert_allclose(matrix.values, [[0.85, 0.2, 0.6, nan], [0.7, nan, nan, 0.5]])
    root = math.sqrt(2)
    expected = [[0.1 / root, 0.2 / root, nan, nan], [nan] * 4]
    np.testing.assert_allclose(matrix.spread, expected)
    assert (matrix.trainings, matrix.measure, matrix.across) == (2, "cell IoU", "shift")
    assert matrix.title == "IoU under shift, a"
    assert "mean over up to 2 folds" in matrix.caption
    assert "test samples of d.zarr" in matrix.caption


def test_repeats_are_trainings_of_their_own() -> None:
    """Worked by hand: 0.5 and 0.9 of one fold and 0.4 average to 0.6; the mean of folds is 0.55."""
    first, again, other = (
        replace(PLAIN, fold=fold, repeat=repeat, model_id=f"m{fold}{repeat}", miou=miou)
        for fold, repeat, miou in ((0, 0, 0.5), (0, 1, 0.9), (1, 0, 0.4))
    )
    (matrix,) = by_domain([first, again, other])
    np.testing.assert_allclose(matrix.values, [[0.6]])
    np.testing.assert_allclose(matrix.spread, [[math.sqrt(0.07)]])
    assert (matrix.trainings, matrix.counts.tolist()) == (3, [[3]])
    assert matrix.by_training[0, 0] == {(0, 0): 0.5, (0, 1): 0.9, (1, 0): 0.4}
    assert "mean over 3 trainings of 2 folds" in matrix.caption
    whole = [*(first, again, other), replace(other, repeat=1, model_id="m11")]
    assert "mean over 2 folds x 2 repeats" in by_domain(whole)[0].caption


def test_a_model_in_two_tables_counts_once() -> None:
    (once,), (twice,) = by_shift(FOUND), by_shift([*FOUND, *map(replace, FOUND)])
    np.testing.assert_array_equal(once.values, twice.values)
    np.testing.assert_array_equal(once.spread, twice.spread)
    assert once.trainings == twice.trainings


def test_the_table_holds_the_same_numbers() -> None:
    table = by_shift(FOUND)[0].table()
    assert table.title == "cell IoU: IoU under shift, a"
    assert table.columns["shift"] == [
        "original",
        "brightness 0.5",
        "brightness 1.5",
        "saturation 0",
    ]
    assert table.columns["resnet18 baseline"] == pytest.approx([0.85, 0.2, 0.6, None])
    assert table.columns["resnet18 L1-pruned"] == [0.7, None, None, 0.5]


def test_in_words_each_architecture_is_measured_against_itself() -> None:
    assert by_shift(FOUND)[0].sentences() == (
        "resnet18 baseline: 0.85 (original), lowest 0.20 (brightness 0.5).",
        "resnet18 L1-pruned: 0.70 (original), lowest 0.50 (saturation 0).",
    )
    (without,) = by_shift([score("baseline", 0, DARK, 0.4), score("baseline", 0, GREY, 0.2)])
    assert without.sentences() == (
        "resnet18 baseline: 0.40 (brightness 0.5), lowest 0.20 (saturation 0).",
    )
    (alone,) = by_shift([score("baseline", 0, DARK, 0.4)])
    assert alone.sentences() == ()
    (empty,) = by_shift([score("baseline", 0, shift, math.nan) for shift in (DARK, GREY)])
    assert empty.sentences() == ()


def test_datasets_domains_and_splits_have_a_matrix_each() -> None:
    elsewhere = [
        *(replace(each, domain="b") for each in FOUND[:3]),
        *(replace(each, dataset_id="d2") for each in FOUND[:3]),
        *(replace(each, split="train") for each in FOUND[:3]),
    ]
    assert len(by_shift([*FOUND, *elsewhere])) == 4


def test_encoders_stand_in_groups_and_prunings_in_the_paper_s_order() -> None:
    found = [
        score(pruning, 0, shift, 0.5, encoder=encoder)
        for encoder in ("resnet50", "resnet18")
        for pruning in ("skips-1+3", "L4-pruned", "baseline")
        for shift in (ORIGINAL, DARK)
    ]
    (matrix,) = by_shift(found)
    assert [(row.group, row.label) for row in matrix.rows] == [
        (encoder, pruning)
        for encoder in ("resnet50", "resnet18")
        for pruning in ("baseline", "L4-pruned", "skips-1+3")
    ]


def test_architectures_of_one_encoder_are_never_averaged() -> None:
    found = [
        score("baseline", 0, ORIGINAL, miou, arch=arch, model_id=arch, domain=domain)
        for arch, miou in (("unet", 0.2), ("unetplusplus", 0.4), ("linknet", 0.6))
        for domain in ("a", "b")
    ]
    (matrix,) = by_domain(found)
    groups = ["resnet18", "unetplusplus resnet18", "linknet resnet18"]
    assert matrix.rows == tuple(Row("baseline", group) for group in groups)
    assert matrix.values.tolist() == [[0.2] * 2, [0.4] * 2, [0.6] * 2]
    assert list(matrix.table().columns) == ["domain", *(f"{group} baseline" for group in groups)]
    assert matrix.trainings == 1


def test_factors_that_look_alike_stay_apart() -> None:
    near = Shift.parse("brightness=0.50000001")
    (matrix,) = by_shift([score("baseline", 0, DARK, 0.4), score("baseline", 0, near, 0.2)])
    assert matrix.values.tolist() == [[0.4, 0.2]]


def test_several_classes_are_named() -> None:
    found = [replace(each, classes=("cell", "debris")) for each in FOUND]
    (matrix,) = by_shift(found)
    assert matrix.measure == "mean IoU"
    assert matrix.caption.startswith("Mean IoU (mean of cell, debris) from")


def test_domains_stand_side_by_side_unshifted() -> None:
    found = [
        score("baseline", fold, ORIGINAL, miou, domain=domain)
        for fold, domain, miou in ((0, "b", 0.4), (1, "b", 0.6), (0, "a", 0.9))
    ]
    (matrix,) = by_domain([*found, score("baseline", 0, DARK, 0.0, domain="a")])
    assert matrix.columns == (Column("a"), Column("b"))
    np.testing.assert_allclose(matrix.values, [[0.9, 0.5]])
    assert matrix.title == "IoU by domain, d.zarr"
    assert matrix.table().columns["domain"] == ["a", "b"]


def test_datasets_that_the_same_networks_were_tested_on_share_a_matrix() -> None:
    own = [score("baseline", 0, ORIGINAL, 0.9, domain="a")]
    other = [replace(own[0], dataset="e.zarr", dataset_id="e", domain=d, miou=0.5) for d in "ab"]
    alien = [replace(own[0], dataset="f.zarr", dataset_id="f", model_id="x", domain="c")]
    size = {("d", "a", "test"): (3, 2), ("e", "b", "test"): (9, 4), ("g", "a", "test"): (1, 1)}
    size[own[0].dataset_id, "a", "test"] = (3, 2)
    joined, apart = by_domain([*own, *other, *alien], size)
    assert joined.title == "IoU by domain, d.zarr and e.zarr"
    assert joined.columns == (Column("a (d.zarr)"), Column("a (e.zarr)"), Column("b"))
    np.testing.assert_allclose(joined.values, [[0.9, 0.5, 0.5]])
    assert joined.images == "3 to 9 samples of 2 to 4 subjects a domain"
    assert apart.title == "IoU by domain, f.zarr"
    assert apart.columns == (Column("c"),)


def test_one_domain_is_shown_where_no_matrix_of_shifts_shows_it() -> None:
    plain = [each for each in FOUND if each.shift == ORIGINAL]
    (matrix,) = by_domain(plain)
    np.testing.assert_allclose(matrix.values, [[0.85], [0.7]])
    assert by_shift(plain) == []
    assert by_domain(FOUND) == []
    assert len(by_domain([*FOUND, *(replace(each, dataset_id="d2") for each in plain)])) == 1
    assert (by_shift([]), by_domain([])) == ([], [])


@pytest.mark.parametrize("folds", [1, 2])
def test_the_spread_is_drawn_where_there_are_several_folds(labels: Check, folds: int) -> None:
    (matrix,) = by_shift([each for each in FOUND if each.fold is not None and each.fold < folds])
    assert isinstance(matrix, ScoreMatrix)
    texts = labels(matrix.draw())
    assert "cell IoU" in texts
    assert ("0.85" in texts) == (folds == 2)
    assert ("one training, hence no spread" in matrix.caption) == (folds == 1)
    assert any("0.07" in text for text in texts) == (folds == 2)


def test_an_ensemble_is_not_among_the_folds_it_is_made_of() -> None:
    """Worked by hand: folds 0.8 and 0.9, their ensemble 0.95."""
    together = score("baseline", ENSEMBLE_FOLD, ORIGINAL, 0.95)
    darker = score("baseline", ENSEMBLE_FOLD, DARK, 0.4)
    (without,), (matrix,) = by_shift(FOUND), by_shift([together, *FOUND, darker])
    labels = [row.label for row in matrix.rows]
    assert labels == ["baseline", "baseline, ensemble", "L1-pruned"]
    np.testing.assert_array_equal(matrix.values[[0, 2]], without.values)
    np.testing.assert_array_equal(matrix.spread[[0, 2]], without.spread)
    assert matrix.trainings == without.trainings == 2
    np.testing.assert_allclose(matrix.values[1], [0.95, 0.4, math.nan, math.nan])
    assert np.isnan(matrix.spread[1]).all()
    assert "Ensemble: the mean of the class probabilities of all trainings" in matrix.caption
    assert "nsemble" not in without.caption
    assert matrix.table().columns["resnet18 baseline, ensemble"][:2] == [0.95, 0.4]


def test_each_cell_is_a_row_of_the_report_table() -> None:
    (matrix,) = by_shift([*FOUND, score("baseline", ENSEMBLE_FOLD, DARK, 0.4)])
    numbers = matrix.numbers()
    assert len(numbers) == matrix.values.size == 12
    assert numbers[1] == {
        **{"quantity": "IoU", "dataset": "d.zarr", "domain": "a", "split": "test"},
        **{"arch": "unet", "encoder": "resnet18", "pruning": "baseline", "fold": None},
        **{"shift": "brightness", "factor": 0.5, "value": pytest.approx(0.2)},
        **{"sd_folds": pytest.approx(0.2 / math.sqrt(2)), "folds": 2},
    }
    assert (numbers[0]["shift"], numbers[0]["factor"]) == ("original", None)
    assert [number["fold"] for number in numbers[4:8]] == [ENSEMBLE_FOLD] * 4
    assert numbers[2]["folds"] == 1  # the other fold's class is absent
    held = {value for name in matrix.table().columns for value in matrix.table().columns[name]}
    found = {number["value"] for number in numbers if not math.isnan(float(str(number["value"])))}
    assert found <= held
    assert (matrix.topic, matrix.heading) == ("iou", matrix.title)


def test_numbers_by_domain_name_the_domain() -> None:
    found = [score("baseline", 0, ORIGINAL, 0.5, domain=domain) for domain in "ba"]
    (matrix,) = by_domain(found)
    assert [(number["domain"], number["shift"]) for number in matrix.numbers()] == [
        ("a", "original"),
        ("b", "original"),
    ]


def test_of_many_architectures_the_extremes_are_told() -> None:
    found = [
        score(pruning, 0, shift, 0.9 if shift == ORIGINAL else rank / 100)
        for rank, pruning in enumerate(["skips-1", "baseline", *(f"x{k}" for k in range(20))])
        for shift in (ORIGINAL, DARK)
    ]
    (matrix,) = by_shift(found)
    assert matrix.sentences() == (
        "resnet18 baseline: 0.90 (original), lowest 0.01 (brightness 0.5).",
        "resnet18 skips-1: 0.90 (original), lowest 0.00 (brightness 0.5).",
        "resnet18 x19: 0.90 (original), lowest 0.21 (brightness 0.5).",
    )


def test_titles_tell_splits_apart() -> None:
    held = [replace(one, split="validation") for one in FOUND]
    assert [matrix.title for matrix in by_shift([*FOUND, *held])] == [
        "IoU under shift, a",
        "IoU under shift, a, validation images",
    ]
