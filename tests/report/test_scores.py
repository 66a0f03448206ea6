"""Tests of ``scores``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.figures.heatmap import Column, Row
from skiptool.metrics import Score
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shade, Shift
from skiptool.report.exhibit import Exhibit
from skiptool.report.scores import (
    ScoreGrid,
    ScoreMatrix,
    difference_exhibit,
    difference_to_baseline,
    iou_exhibit,
    matrices_by_domain,
    matrices_by_shift,
    parameter_exhibits,
    parameter_table,
    score_exhibits,
    shift_column,
    shift_order,
)

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
    (matrix,) = matrices_by_shift(FOUND)
    assert matrix.grid.rows == (Row("baseline", "resnet18"), Row("L1-pruned", "resnet18"))
    assert matrix.grid.columns == (
        *(Column("original", ""), Column("0.5", "brightness"), Column("1.5", "brightness")),
        Column("0", "saturation"),
    )
    nan = math.nan
    np.testing.assert_allclose(matrix.values, [[0.85, 0.2, 0.6, nan], [0.7, nan, nan, 0.5]])
    root = math.sqrt(2)
    expected = [[0.1 / root, 0.2 / root, nan, nan], [nan] * 4]
    np.testing.assert_allclose(matrix.spread, expected)
    assert (matrix.trainings, matrix.measure, matrix.grid.column_kind) == (2, "cell IoU", "shift")
    assert matrix.title == "IoU under shift, a"
    assert "mean over up to 2 folds" in matrix.caption
    assert "test samples of d.zarr" in matrix.caption


def test_repeats_are_separate_trainings() -> None:
    """Worked by hand: 0.5 and 0.9 of one fold and 0.4 average to 0.6; the mean of folds is 0.55."""
    first, again, other = (
        replace(PLAIN, fold=fold, repeat=repeat, model_id=f"m{fold}{repeat}", miou=miou)
        for fold, repeat, miou in ((0, 0, 0.5), (0, 1, 0.9), (1, 0, 0.4))
    )
    (matrix,) = matrices_by_domain([first, again, other])
    np.testing.assert_allclose(matrix.values, [[0.6]])
    np.testing.assert_allclose(matrix.spread, [[math.sqrt(0.07)]])
    assert (matrix.trainings, matrix.counts.tolist()) == (3, [[3]])
    assert matrix.by_training[0, 0] == {(0, 0): 0.5, (0, 1): 0.9, (1, 0): 0.4}
    assert "mean over 3 trainings of 2 folds" in matrix.caption
    whole = [*(first, again, other), replace(other, repeat=1, model_id="m11")]
    assert "mean over 2 folds x 2 repeats" in matrices_by_domain(whole)[0].caption


def test_a_model_in_two_tables_counts_once() -> None:
    (once,), (twice,) = matrices_by_shift(FOUND), matrices_by_shift([*FOUND, *map(replace, FOUND)])
    np.testing.assert_array_equal(once.values, twice.values)
    np.testing.assert_array_equal(once.spread, twice.spread)
    assert once.trainings == twice.trainings


def test_table_contains_the_scores() -> None:
    table = iou_exhibit(matrices_by_shift(FOUND)[0]).table
    assert table.title == "cell IoU: IoU under shift, a"
    assert table.columns["shift"] == [
        "original",
        "brightness 0.5",
        "brightness 1.5",
        "saturation 0",
    ]
    assert table.columns["resnet18 baseline"] == pytest.approx([0.85, 0.2, 0.6, None])
    assert table.columns["resnet18 L1-pruned"] == [0.7, None, None, 0.5]


def test_sentence_states_first_and_lowest_score() -> None:
    assert tuple(iou_exhibit(matrices_by_shift(FOUND)[0]).sentences) == (
        "resnet18 baseline: 0.85 (original), lowest 0.20 (brightness 0.5).",
        "resnet18 L1-pruned: 0.70 (original), lowest 0.50 (saturation 0).",
    )
    (without,) = matrices_by_shift(
        [score("baseline", 0, DARK, 0.4), score("baseline", 0, GREY, 0.2)]
    )
    assert tuple(iou_exhibit(without).sentences) == (
        "resnet18 baseline: 0.40 (brightness 0.5), lowest 0.20 (saturation 0).",
    )
    (alone,) = matrices_by_shift([score("baseline", 0, DARK, 0.4)])
    assert tuple(iou_exhibit(alone).sentences) == ()
    (empty,) = matrices_by_shift([score("baseline", 0, shift, math.nan) for shift in (DARK, GREY)])
    assert tuple(iou_exhibit(empty).sentences) == ()


def test_datasets_domains_and_splits_have_a_matrix_each() -> None:
    elsewhere = [
        *(replace(each, domain="b") for each in FOUND[:3]),
        *(replace(each, dataset_id="d2") for each in FOUND[:3]),
        *(replace(each, split="train") for each in FOUND[:3]),
    ]
    assert len(matrices_by_shift([*FOUND, *elsewhere])) == 4


def test_rows_are_grouped_by_encoder_in_paper_order() -> None:
    found = [
        score(pruning, 0, shift, 0.5, encoder=encoder)
        for encoder in ("resnet50", "resnet18")
        for pruning in ("skips-1+3", "L4-pruned", "baseline")
        for shift in (ORIGINAL, DARK)
    ]
    (matrix,) = matrices_by_shift(found)
    assert [(row.group, row.label) for row in matrix.grid.rows] == [
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
    (matrix,) = matrices_by_domain(found)
    groups = ["resnet18", "unetplusplus resnet18", "linknet resnet18"]
    assert matrix.grid.rows == tuple(Row("baseline", group) for group in groups)
    assert matrix.values.tolist() == [[0.2] * 2, [0.4] * 2, [0.6] * 2]
    assert list(iou_exhibit(matrix).table.columns) == [
        "domain",
        *(f"{group} baseline" for group in groups),
    ]
    assert matrix.trainings == 1


def test_factors_with_the_same_label_are_separate_columns() -> None:
    near = Shift.parse("brightness=0.50000001")
    (matrix,) = matrices_by_shift(
        [score("baseline", 0, DARK, 0.4), score("baseline", 0, near, 0.2)]
    )
    assert matrix.values.tolist() == [[0.4, 0.2]]


def test_several_classes_are_named() -> None:
    found = [replace(each, classes=("cell", "debris")) for each in FOUND]
    (matrix,) = matrices_by_shift(found)
    assert matrix.measure == "mean IoU"
    assert matrix.caption.startswith("Mean IoU (mean of cell, debris) from")


def test_unshifted_domains_are_columns() -> None:
    found = [
        score("baseline", fold, ORIGINAL, miou, domain=domain)
        for fold, domain, miou in ((0, "b", 0.4), (1, "b", 0.6), (0, "a", 0.9))
    ]
    (matrix,) = matrices_by_domain([*found, score("baseline", 0, DARK, 0.0, domain="a")])
    assert matrix.grid.columns == (Column("a"), Column("b"))
    np.testing.assert_allclose(matrix.values, [[0.9, 0.5]])
    assert matrix.title == "IoU by domain, d.zarr"
    assert iou_exhibit(matrix).table.columns["domain"] == ["a", "b"]


def test_datasets_tested_with_the_same_networks_share_a_matrix() -> None:
    own = [score("baseline", 0, ORIGINAL, 0.9, domain="a")]
    other = [replace(own[0], dataset="e.zarr", dataset_id="e", domain=d, miou=0.5) for d in "ab"]
    alien = [replace(own[0], dataset="f.zarr", dataset_id="f", model_id="x", domain="c")]
    size = {("d", "a", "test"): (3, 2), ("e", "b", "test"): (9, 4), ("g", "a", "test"): (1, 1)}
    size[own[0].dataset_id, "a", "test"] = (3, 2)
    joined, apart = matrices_by_domain([*own, *other, *alien], size)
    assert joined.title == "IoU by domain, d.zarr and e.zarr"
    assert joined.grid.columns == (Column("a (d.zarr)"), Column("a (e.zarr)"), Column("b"))
    np.testing.assert_allclose(joined.values, [[0.9, 0.5, 0.5]])
    assert joined.images == "3 to 9 samples of 2 to 4 subjects per domain"
    assert apart.title == "IoU by domain, f.zarr"
    assert apart.grid.columns == (Column("c"),)


def test_single_domain_is_shown_without_a_matrix_by_shift() -> None:
    plain = [each for each in FOUND if each.shift == ORIGINAL]
    (matrix,) = matrices_by_domain(plain)
    np.testing.assert_allclose(matrix.values, [[0.85], [0.7]])
    assert matrices_by_shift(plain) == []
    assert matrices_by_domain(FOUND) == []
    assert (
        len(matrices_by_domain([*FOUND, *(replace(each, dataset_id="d2") for each in plain)])) == 1
    )
    assert (matrices_by_shift([]), matrices_by_domain([])) == ([], [])


@pytest.mark.parametrize("folds", [1, 2])
def test_spread_is_drawn_with_several_folds(labels: Check, folds: int) -> None:
    (matrix,) = matrices_by_shift(
        [each for each in FOUND if each.fold is not None and each.fold < folds]
    )
    assert isinstance(matrix, ScoreMatrix)
    texts = labels(iou_exhibit(matrix).draw())
    assert "cell IoU" in texts
    assert ("0.85" in texts) == (folds == 2)
    assert ("one training, hence no spread" in matrix.caption) == (folds == 1)
    assert any("0.07" in text for text in texts) == (folds == 2)


def test_ensemble_is_not_one_of_its_folds() -> None:
    """Worked by hand: folds 0.8 and 0.9, their ensemble 0.95."""
    together = score("baseline", ENSEMBLE_FOLD, ORIGINAL, 0.95)
    darker = score("baseline", ENSEMBLE_FOLD, DARK, 0.4)
    (without,), (matrix,) = matrices_by_shift(FOUND), matrices_by_shift([together, *FOUND, darker])
    labels = [row.label for row in matrix.grid.rows]
    assert labels == ["baseline", "baseline, ensemble", "L1-pruned"]
    np.testing.assert_array_equal(matrix.values[[0, 2]], without.values)
    np.testing.assert_array_equal(matrix.spread[[0, 2]], without.spread)
    assert matrix.trainings == without.trainings == 2
    np.testing.assert_allclose(matrix.values[1], [0.95, 0.4, math.nan, math.nan])
    assert np.isnan(matrix.spread[1]).all()
    assert "Ensemble: the mean of the class probabilities of all trainings" in matrix.caption
    assert "nsemble" not in without.caption
    assert iou_exhibit(matrix).table.columns["resnet18 baseline, ensemble"][:2] == [0.95, 0.4]


def test_each_cell_is_a_row_of_the_report_table() -> None:
    (matrix,) = matrices_by_shift([*FOUND, score("baseline", ENSEMBLE_FOLD, DARK, 0.4)])
    shown = iou_exhibit(matrix)
    numbers = shown.numbers
    assert len(numbers) == matrix.values.size == 12
    assert numbers[1] == {
        "quantity": "IoU",
        "dataset": "d.zarr",
        "domain": "a",
        "split": "test",
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "baseline",
        "fold": None,
        "shift": "brightness",
        "factor": 0.5,
        "value": pytest.approx(0.2),
        "sd_folds": pytest.approx(0.2 / math.sqrt(2)),
        "folds": 2,
    }
    assert (numbers[0]["shift"], numbers[0]["factor"]) == ("original", None)
    assert [number["fold"] for number in numbers[4:8]] == [ENSEMBLE_FOLD] * 4
    assert numbers[2]["folds"] == 1  # the other fold's class is absent
    held = {value for column in shown.table.columns.values() for value in column}
    found = {number["value"] for number in numbers if not math.isnan(float(str(number["value"])))}
    assert found <= held
    assert (shown.topic, shown.heading) == ("iou", matrix.title)


def test_numbers_by_domain_name_the_domain() -> None:
    found = [score("baseline", 0, ORIGINAL, 0.5, domain=domain) for domain in "ba"]
    (matrix,) = matrices_by_domain(found)
    assert [(number["domain"], number["shift"]) for number in iou_exhibit(matrix).numbers] == [
        ("a", "original"),
        ("b", "original"),
    ]


def test_sentences_list_extremes_of_many_architectures() -> None:
    found = [
        score(pruning, 0, shift, 0.9 if shift == ORIGINAL else rank / 100)
        for rank, pruning in enumerate(["skips-1", "baseline", *(f"x{k}" for k in range(20))])
        for shift in (ORIGINAL, DARK)
    ]
    (matrix,) = matrices_by_shift(found)
    assert tuple(iou_exhibit(matrix).sentences) == (
        "resnet18 baseline: 0.90 (original), lowest 0.01 (brightness 0.5).",
        "resnet18 skips-1: 0.90 (original), lowest 0.00 (brightness 0.5).",
        "resnet18 x19: 0.90 (original), lowest 0.21 (brightness 0.5).",
    )


def test_titles_name_splits() -> None:
    held = [replace(one, split="validation") for one in FOUND]
    assert [matrix.title for matrix in matrices_by_shift([*FOUND, *held])] == [
        "IoU under shift, a",
        "IoU under shift, a, validation images",
    ]


GRID = ScoreGrid(
    "shift",
    (Row("baseline", "resnet18"), Row("L1-pruned", "resnet18")),
    (Column("original"), Column("0.5", "brightness")),
    ({"pruning": "baseline"}, {"pruning": "L1-pruned"}),
    ({"shift": "original"}, {"shift": "brightness", "factor": 0.5}),
)
VALUES = np.array([[0.75, np.nan], [0.5, 0.25]])


def test_table_and_numbers_agree() -> None:
    table = GRID.table("t", VALUES)
    assert table.title == "t"
    assert table.columns == {
        "shift": ["original", "brightness 0.5"],
        "resnet18 baseline": [0.75, None],
        "resnet18 L1-pruned": [0.5, 0.25],
    }
    numbers = GRID.numbers("IoU", VALUES, VALUES / 10, np.array([[5, 0], [2, 1]]))
    assert numbers[2] == {
        "quantity": "IoU",
        "pruning": "L1-pruned",
        "shift": "original",
        "value": 0.5,
        "sd_folds": 0.05,
        "folds": 2,
    }
    assert [number["value"] for number in numbers if number["folds"]] == [0.75, 0.5, 0.25]
    assert numbers[3]["factor"] == 0.5


def test_shifts_are_ordered_by_kind_and_factor_after_the_original() -> None:
    texts = ["saturation=0", "contrast=0.5", "brightness=1.5", "brightness=0.5", "original"]
    shifts = sorted(map(Shift.parse, texts), key=shift_order)
    assert shifts[0] == ORIGINAL
    assert [shift_column(shift) for shift in shifts] == [
        *(Column("original"), Column("0.5", "brightness"), Column("1.5", "brightness")),
        *(Column("0.5", "contrast"), Column("0", "saturation")),
    ]


def test_scores_are_shaded_from_0_to_1_and_differences_symmetrically() -> None:
    table = GRID.table("t", VALUES)
    assert (table.shade, set(table.groups)) == (Shade(0.0, 1.0), {row.group for row in GRID.rows})
    assert all(name.startswith(table.groups) for name in [*table.columns][1:])
    most = float(np.nanmax(np.abs(VALUES)))
    differences = GRID.table("t", VALUES, differences=True)
    assert differences.shade == Shade(-most, most, diverging=True)
    assert differences.columns == table.columns


DARK_DIFFERENCES = Shift.parse("brightness=0.5")


def score_of_differences(
    pruning: str, fold: int | None, shift: Shift, miou: float, **new: object
) -> Score:
    facts = {"model_id": f"{pruning} {fold}", **new}
    return replace(PLAIN, pruning=pruning, fold=fold, shift=shift, miou=miou, **facts)


FOUND_DIFFERENCES = [
    *(
        score_of_differences("baseline", 0, ORIGINAL, 0.8),
        score_of_differences("baseline", 1, ORIGINAL, 0.9),
    ),
    *(
        score_of_differences("L1-pruned", 0, ORIGINAL, 0.7),
        score_of_differences("L1-pruned", 1, ORIGINAL, 0.9),
    ),
    *(
        score_of_differences("baseline", 0, DARK_DIFFERENCES, 0.1),
        score_of_differences("baseline", 1, DARK_DIFFERENCES, 0.3),
    ),
    *(
        score_of_differences("L1-pruned", 0, DARK_DIFFERENCES, 0.5),
        score_of_differences("L1-pruned", 2, DARK_DIFFERENCES, 0.9),
    ),
    score_of_differences("L2-pruned", 0, DARK_DIFFERENCES, math.nan),
]


def difference(found: list[Score]) -> ScoreMatrix:
    (matrix,) = matrices_by_shift(found)
    shown = difference_to_baseline(matrix)
    assert shown is not None
    return shown


def exhibit(found: list[Score]) -> Exhibit:
    return difference_exhibit(difference(found), "IoU under shift, a")


def test_difference_to_baseline_of_a_small_example() -> None:
    """Within folds -0.1 and 0.0; under the shift 0.4 in the one fold that both have."""
    shown = difference(FOUND_DIFFERENCES)
    assert shown.grid.rows == (Row("L1-pruned", "resnet18"), Row("L2-pruned", "resnet18"))
    nan = math.nan
    np.testing.assert_allclose(shown.values, [[-0.05, 0.4], [nan, nan]])
    np.testing.assert_allclose(shown.spread, [[0.1 / math.sqrt(2), nan], [nan, nan]])
    assert shown.counts.tolist() == [[2, 1], [0, 0]]
    assert exhibit(FOUND_DIFFERENCES).topic == "difference"
    assert shown.title == "Difference to the baseline: IoU under shift, a"
    assert "mean over 2 trainings" in shown.caption
    assert "colour scale ends at −0.40 and +0.40" in shown.caption


def test_difference_follows_its_matrix() -> None:
    far = [
        score_of_differences(each.pruning, 0, ORIGINAL, 0.5, domain="b")
        for each in FOUND_DIFFERENCES[::2]
    ]
    shown = score_exhibits([*FOUND_DIFFERENCES, *far])
    assert [one.topic for one in shown] == ["iou", "difference"] * 2
    assert [one.heading for one in shown] == [
        *["IoU under shift, a"] * 2,
        *["IoU by domain, d.zarr"] * 2,
    ]


@pytest.mark.parametrize(
    "found",
    [
        [each for each in FOUND_DIFFERENCES if each.pruning != "baseline"],
        [each for each in FOUND_DIFFERENCES if each.pruning == "baseline"],
        [
            FOUND_DIFFERENCES[0],
            FOUND_DIFFERENCES[4],
            score_of_differences("L1-pruned", 1, DARK_DIFFERENCES, 0.5),
        ],  # no fold in common
        [
            FOUND_DIFFERENCES[4],
            score_of_differences("L1-pruned", 0, DARK_DIFFERENCES, 0.5, encoder="resnet34"),
        ],
        [FOUND_DIFFERENCES[4], FOUND_DIFFERENCES[8]],
    ],
)
def test_no_difference_without_a_baseline(found: list[Score]) -> None:
    assert [one.topic for one in score_exhibits(found)] == ["iou"]
    assert score_exhibits([]) == []


def test_rows_without_a_baseline_are_left_out() -> None:
    other = score_of_differences("L3-pruned", 0, DARK_DIFFERENCES, 0.5, encoder="resnet34")
    assert (
        difference([*FOUND_DIFFERENCES, other]).grid.rows == difference(FOUND_DIFFERENCES).grid.rows
    )


def test_ensembles_are_compared_with_the_ensemble() -> None:
    """Worked by hand: 0.6 - 0.5; an ensemble without partner is no row."""
    together = [
        score_of_differences("baseline", ENSEMBLE_FOLD, DARK_DIFFERENCES, 0.5),
        score_of_differences("L1-pruned", ENSEMBLE_FOLD, DARK_DIFFERENCES, 0.6),
    ]
    shown = difference([*FOUND_DIFFERENCES, *together])
    assert [row.label for row in shown.grid.rows] == [
        *("L1-pruned", "L1-pruned, ensemble"),
        "L2-pruned",
    ]
    np.testing.assert_allclose(shown.values[1], [math.nan, 0.1])
    assert [number["fold"] for number in exhibit([*FOUND_DIFFERENCES, *together]).numbers][:4] == [
        *(None, None),
        *(-1, -1),
    ]
    alone = difference([*FOUND_DIFFERENCES, together[1]])
    assert alone.grid.rows == difference(FOUND_DIFFERENCES).grid.rows


def test_several_models_of_a_fold_are_one_value() -> None:
    """The baseline's two models of fold 0 have 0.1 and 0.3: 0.5 - 0.2."""
    shown = difference(
        [
            *FOUND_DIFFERENCES[4:],
            score_of_differences("baseline", 0, DARK_DIFFERENCES, 0.3, model_id="other"),
        ]
    )
    np.testing.assert_allclose(shown.values[0], [0.3])


def test_table_contains_the_differences() -> None:
    shown = exhibit(FOUND_DIFFERENCES)
    table = shown.table
    assert table.shade is not None
    assert table.shade.diverging
    assert table.title == "Difference in cell IoU: IoU under shift, a"
    assert table.columns["resnet18 L2-pruned"] == [None, None]
    numbers = shown.numbers
    assert table.columns["resnet18 L1-pruned"] == [numbers[0]["value"], numbers[1]["value"]]
    assert numbers[1] == {
        "quantity": "difference",
        "dataset": "d.zarr",
        "domain": "a",
        "split": "test",
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "L1-pruned",
        "fold": None,
        "shift": "brightness",
        "factor": 0.5,
        "value": pytest.approx(0.4),
        "sd_folds": pytest.approx(math.nan, nan_ok=True),
        "folds": 1,
    }


def test_sentence_states_extreme_differences() -> None:
    assert tuple(exhibit(FOUND_DIFFERENCES).sentences) == (
        "resnet18, difference to the baseline: highest +0.40 for L1-pruned (brightness 0.5), "
        "lowest −0.05 for L1-pruned (original).",
    )


def test_networks_of_one_fold_and_repeat_are_compared() -> None:
    """Worked by hand: -0.2 and 0.1; the third training of the pruned network has no partner."""
    found = [
        *(
            score_of_differences("baseline", 0, ORIGINAL, 0.8),
            score_of_differences("baseline", 0, ORIGINAL, 0.5, repeat=1),
        ),
        *(
            score_of_differences("L1-pruned", 0, ORIGINAL, 0.6),
            score_of_differences("L1-pruned", 0, ORIGINAL, 0.6, repeat=1),
        ),
        score_of_differences("L1-pruned", 1, ORIGINAL, 0.1, repeat=1),
    ]
    found = [replace(each, model_id=f"{each.model_id} {each.repeat}") for each in found]
    shown = difference_to_baseline(matrices_by_domain(found)[0])
    assert shown is not None
    np.testing.assert_allclose(shown.values, [[-0.05]])
    np.testing.assert_allclose(shown.spread, [[0.3 / math.sqrt(2)]])
    assert shown.counts.tolist() == [[2]]


@pytest.mark.parametrize("folds", [1, 2])
def test_differences_are_drawn_with_signs(labels: Check, folds: int) -> None:
    shown = exhibit(
        [each for each in FOUND_DIFFERENCES if each.fold is not None and each.fold < folds]
    )
    texts = labels(shown.draw())
    assert "+0.40" in texts
    assert "Δ cell IoU" in texts
    assert any(text.startswith("±") for text in texts) == (folds == 2)
    assert ("one training of each, hence no spread" in shown.caption) == (folds == 1)


def test_differences_by_domain() -> None:
    found = [
        score_of_differences(pruning, 0, ORIGINAL, miou, domain=domain)
        for pruning, domain, miou in (
            *(("baseline", "a", 0.5), ("baseline", "b", 0.25)),
            *(("L1-pruned", "a", 0.75), ("L1-pruned", "b", 0.5)),
        )
    ]
    (matrix,) = matrices_by_domain(found)
    shown = difference_to_baseline(matrix)
    assert shown is not None
    assert shown.values.tolist() == [[0.25, 0.25]]
    assert [number["domain"] for number in difference_exhibit(shown, "h").numbers] == [
        *("a", "b"),
    ]


COUNTS = {
    ("unet", "resnet18", "L4-pruned"): 13_535_778,
    ("unet", "resnet34", "baseline"): 24_436_514,
    ("unet", "resnet18", "L1-pruned"): 14_309_922,
    ("linknet", "resnet18", "baseline"): 11_660_000,
    ("unet", "resnet18", "baseline"): 14_328_354,
}


def test_parameter_table_is_table_two_in_any_order() -> None:
    counts = {(encoder, p): n for (arch, encoder, p), n in COUNTS.items() if arch == "unet"}
    assert dict(parameter_table(counts).columns) == {
        "architecture": ["baseline", "L1-pruned", "L4-pruned"],
        "resnet18": [14_328_354, 14_309_922, 13_535_778],
        "resnet34": [24_436_514, None, None],
    }


def test_parameter_table_without_networks_has_only_row_names() -> None:
    assert dict(parameter_table({}).columns) == {"architecture": []}
    assert parameter_exhibits({}) == []


def test_parameter_exhibit_has_a_table_and_no_figure() -> None:
    (shown,) = parameter_exhibits(COUNTS)
    assert (shown.topic, shown.heading) == ("parameters", "Parameters")
    assert shown.draw is None
    assert {
        (row["arch"], row["encoder"], row["pruning"]): row["value"] for row in shown.numbers
    } == COUNTS
    assert {row["quantity"] for row in shown.numbers} == {"parameters"}
    columns = dict(shown.table.columns)
    assert list(columns) == ["architecture", "resnet18", "resnet34", "linknet resnet18"]
    cells = [cell for name in list(columns)[1:] for cell in columns[name] if cell is not None]
    assert sorted(map(int, cells)) == sorted(COUNTS.values())


def test_sentence_states_the_parameters_saved() -> None:
    """Worked by hand: 792,576 of 14,328,354 are 5.53 %."""
    assert tuple(parameter_exhibits(COUNTS)[0].sentences) == (
        "resnet18: L4-pruned has 5.5 % fewer parameters than the baseline.",
    )
    alike = {("linknet", "r", pruning): 7 for pruning in ("baseline", "L4-pruned")}
    assert tuple(parameter_exhibits(alike)[0].sentences) == ()
