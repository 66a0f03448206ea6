"""Tests of ``examples``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from example_cases import BRIGHT, CLASSES, DARK, SIDE, Predicted, dataset, network
from skiptool.errors import FormatError
from skiptool.names import ENSEMBLE_FOLD, Kind
from skiptool.records import ORIGINAL, Shift
from skiptool.report import examples as module
from skiptool.report.examples import (
    Examples,
    check_masks,
    choose_examples,
    example_exhibit,
    example_exhibits,
    masked_scores,
    sample_ious,
    worst_and_median,
)
from skiptool.report.page import as_svg
from skiptool.shifts import apply_shift
from skiptool.stores.tables import as_table
from small_stores import refused

MISSED = {("baseline", ORIGINAL): [1, 3, 0, 2], ("baseline", DARK): [5, 4, 3, 2]}
BOTH = (network(), network("L1-pruned"))
SHIFTS = (ORIGINAL, DARK)


def made(
    folder: Path,
    networks: Sequence[dict[str, Any]] = BOTH,
    shifts: Sequence[Shift] = SHIFTS,
    **new: Any,  # noqa: ANN401
) -> Examples:
    case = Predicted(folder, dataset(folder / "d.zarr", **new), MISSED)
    table, masks = case.write(networks, shifts, leave_out=[("L1-pruned", DARK)])
    (sheet,), _ = choose_examples([table], [case.store()], [masks])
    return sheet


def test_table_contains_the_numbers(tmp_path: Path) -> None:
    sheet = example_exhibit(made(tmp_path))
    assert (sheet.topic, sheet.heading) == ("examples", "Worst and median predictions")
    assert sheet.title == "resnet18, a, test"
    numbers = sheet.numbers
    assert len(as_table(Kind.REPORT, {k: [n[k] for n in numbers] for k in numbers[0]}, 8)) == 8
    assert numbers[0] | {"value": 0} == {
        "quantity": "IoU",
        "dataset": "d.zarr",
        "domain": "a",
        "split": "test",
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "baseline",
        "fold": 0,
        "shift": "original",
        "factor": None,
        "sample": "s1",
        "subject": "p0",
        "value": 0,
    }
    columns = sheet.table.columns
    assert columns["chosen as"] == ["worst", "median"] * 2
    assert columns["shift"] == ["original"] * 2 + ["brightness 0.5"] * 2
    assert columns["sample"] == ["s1", "s3", "s0", "s1"]
    values = [cell for name in ("baseline", "L1-pruned") for cell in columns[name]]
    assert values[:6] == [number["value"] for number in numbers[:6]]
    assert values[6:] == [None, None]


def test_caption_describes_the_choice(tmp_path: Path) -> None:
    sheet = made(tmp_path)
    caption = example_exhibit(sheet).caption
    for told in (
        "Samples of d.zarr, domain a, test split",
        "by baseline (fold 0), n = 4 (original), n = 4 (brightness 0.5)",
        "All rows (baseline, L1-pruned)",
    ):
        assert told in caption
    assert "shifts its IoU is lowest" not in caption  # there is but one
    assert "not shown" not in caption
    further = example_exhibit(replace(sheet, left_out=3, lowest_of=14)).caption
    assert (
        "Of 14 shifts its IoU is lowest under brightness 0.5. Further architectures, not shown: 3."
        in further
    )
    mean = replace(sheet.networks[0], classes=("cell", "debris"))
    several = replace(sheet, networks=(mean, sheet.networks[1]))
    assert "median IoU (mean of cell, debris) by" in example_exhibit(several).caption


def test_sentence_compares_networks_on_the_worst_sample(tmp_path: Path) -> None:
    assert tuple(example_exhibit(made(tmp_path)).sentences) == (
        "Worst of 4 samples (original): s1, baseline 0.40, best of the others L1-pruned 1.00.",
    )


def test_single_network_has_no_sentence(tmp_path: Path) -> None:
    sheet = example_exhibit(made(tmp_path, [network()], [ORIGINAL]))
    assert tuple(sheet.sentences) == ()
    assert isinstance(sheet.draw(), Figure)


def test_shifted_images_are_drawn_with_both_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(module, "example_sheet", lambda *given: seen.extend(given))
    sheet = made(tmp_path)
    example_exhibit(sheet).draw()
    images, truths, predicted, classes, rows, columns, told = seen
    reader = sheet.store.samples("a", [1, 3, 0, 1])
    for place, column in enumerate(sheet.columns):
        image, truth = reader.read(place)
        np.testing.assert_array_equal(images[place], apply_shift(image, column.shift))
        np.testing.assert_array_equal(truths[place], truth)
    assert [mask.sum() for mask in predicted[0]] == [20, 30, 0, 10]
    assert [None if mask is None else mask.sum() for mask in predicted[1]] == [50, 50, None, None]
    assert classes == CLASSES
    assert rows == ["baseline", "L1-pruned"]
    assert columns[1:3] == ["median, original\ns3\np1", "worst, brightness 0.5\ns0\np0"]
    assert told == [
        ["IoU 0.400", "IoU 0.600", "IoU 0.000", "IoU 0.200"],
        ["IoU 1.000", "IoU 1.000", "not predicted", "not predicted"],
    ]


def test_folds_are_named_if_they_differ(tmp_path: Path) -> None:
    mixed = [network(), network("L1-pruned", 3), network("L2-pruned", ENSEMBLE_FOLD)]
    sheet = example_exhibit(made(tmp_path, mixed, [ORIGINAL]))
    names = ["baseline, fold 0", "L1-pruned, fold 3", "L2-pruned, ensemble"]
    assert list(sheet.table.columns)[4:] == names


@pytest.mark.parametrize("channels", [1, 3])
def test_large_images_are_reduced_and_names_escaped(tmp_path: Path, channels: int) -> None:
    long = {"subject": "<script>" + "x" * 200, "shape": (300, 520, channels)}
    sheet = example_exhibit(made(tmp_path, shifts=[ORIGINAL], **long))
    assert "blocks of 3 x 3 px" in sheet.caption
    svg = as_svg(sheet.draw(), sheet.title, sheet.caption)
    assert "<script>" not in svg
    assert len(svg) < 1_000_000
    assert max(len(str(cell)) for cell in sheet.table.columns["subject"]) <= 32
    assert SIDE * 3 < 300


# -------------------------------------------------------------------------------------------------
# Which samples are shown of which networks, and what is said where they cannot be.


MISSED_PICTURES = {
    ("baseline", ORIGINAL): [1, 3, 0, 2],
    ("baseline", DARK): [5, 4, 3, 2],
    ("baseline", BRIGHT): [1, 1, 2, 1],
    ("L1-pruned", ORIGINAL): [0, 1, 2, 3],
}


@pytest.fixture
def case(tmp_path: Path) -> Predicted:
    return Predicted(tmp_path, dataset(tmp_path / "d.zarr"), MISSED_PICTURES)


def test_all_networks_show_samples_chosen_by_the_baseline(case: Predicted) -> None:
    """Worked by hand: a sample that lacks m of its 5 rows has an IoU of 1 - m / 5."""
    both = [network("L1-pruned"), network()]
    table, masks = case.write(both, (ORIGINAL, BRIGHT, DARK))
    (sheet,), warnings = choose_examples([table], [case.store()], [masks])
    assert warnings == []
    assert [one.pruning for one in sheet.networks] == ["baseline", "L1-pruned"]
    assert [(c.rank, c.sample, c.shift) for c in sheet.columns] == [
        *(("worst", "s1", ORIGINAL), ("median", "s3", ORIGINAL)),
        *(("worst", "s0", DARK), ("median", "s1", DARK)),
    ]
    assert [(c.index, c.subject, c.rated) for c in sheet.columns] == [
        *((1, "p0", 4), (3, "p1", 4), (0, "p0", 4), (1, "p0", 4)),
    ]
    np.testing.assert_allclose(sheet.values, [[0.4, 0.6, 0.0, 0.2], [0.8, 0.4, 1.0, 1.0]])
    assert (sheet.lowest_of, sheet.left_out) == (2, 0)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1) | st.just(math.nan), max_size=12))
def test_worst_and_median_match_their_definition(ious: dict[str, float]) -> None:
    chosen, rated = worst_and_median(ious)
    known = [value for value in ious.values() if not math.isnan(value)]
    assert rated == len(known)
    found = {which: ious[sample] for which, sample in chosen}
    assert len(found) == (0, 1, 1, 2)[min(rated, 3)]
    if rated:
        assert found["worst"] == min(known)
    if rated > 2:
        below = sum(value < found["median"] for value in known)
        above = sum(value > found["median"] for value in known)
        assert below <= rated / 2
        assert above <= rated / 2
        assert len({sample for _, sample in chosen}) == 2


def test_first_fold_is_shown_or_else_the_ensemble(case: Predicted) -> None:
    folds = [network("baseline", fold) for fold in (ENSEMBLE_FOLD, 2, 1)]
    table, masks = case.write([*folds, network("L1-pruned", ENSEMBLE_FOLD)])
    (sheet,), _ = choose_examples([table], [case.store()], [masks])
    assert [(one.pruning, one.fold) for one in sheet.networks] == [
        ("baseline", 1),
        ("L1-pruned", ENSEMBLE_FOLD),
    ]


def test_at_most_six_networks_in_paper_order(case: Predicted) -> None:
    prunings = ["skips-1", "skips-2", *(f"L{n}-pruned" for n in (4, 3, 2, 1)), "baseline"]
    table, masks = case.write([network(name) for name in prunings])
    (sheet,), _ = choose_examples([table], [case.store()], [masks])
    assert [one.pruning for one in sheet.networks] == [
        *("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned", "skips-1"),
    ]
    assert sheet.left_out == 1


def test_first_network_chooses_without_baseline_or_original(case: Predicted) -> None:
    table, masks = case.write([network("L2-pruned"), network("L1-pruned")], (DARK,))
    (sheet,), _ = choose_examples([table], [case.store()], [masks])
    assert [one.pruning for one in sheet.networks] == ["L1-pruned", "L2-pruned"]
    assert {column.shift for column in sheet.columns} == {DARK}
    assert [column.rank for column in sheet.columns] == ["worst", "median"]


@pytest.mark.long
def test_families_and_domains_have_separate_sheets_up_to_a_limit(tmp_path: Path) -> None:
    case = Predicted(tmp_path, dataset(tmp_path / "d.zarr", domains=("a", "b")))
    others = [network(encoder=name, model_id=name) for name in ("A", "B", "C", "D")]
    table, masks = case.write(others)
    sheets, warnings = choose_examples([table], [case.store()], [masks])
    assert [(one.networks[0].encoder, one.networks[0].domain) for one in sheets] == [
        *(("A", "a"), ("A", "b"), ("B", "a"), ("B", "b"), ("C", "a"), ("C", "b")),
    ]
    assert warnings == [
        f"examples of D, {name}, test are left out, 6 sheets are shown" for name in "ab"
    ]


def test_missing_inputs_give_warnings_and_no_exhibit(case: Predicted, tmp_path: Path) -> None:
    table, masks = case.write([network()])
    other, _ = case.write([network(model_id="another")], name="q")
    store = case.store()
    assert example_exhibits([table], [store], []) == ([], [])
    for tables, datasets, word in (
        ([table], [], "the images are missing"),
        ([], [store], "no prediction table has its models"),
        ([other], [store], "no prediction table has its models"),
    ):
        sheets, (warning,) = example_exhibits(tables, datasets, [masks])
        assert sheets == []
        assert warning.startswith("p.zarr: no examples are drawn, ")
        assert word in warning


def test_missing_mask_is_an_empty_cell(case: Predicted) -> None:
    both = [network(), network("L1-pruned")]
    table, masks = case.write(both, (ORIGINAL, DARK), leave_out=[("L1-pruned", DARK)])
    (sheet,), warnings = choose_examples([table], [case.store()], [masks])
    assert warnings == []
    assert [one is None for one in sheet.masked[1]] == [False, False, True, True]
    assert np.isnan(sheet.values[1, 2:]).all()


def test_samples_without_foreground_are_not_chosen(tmp_path: Path) -> None:
    empty = np.zeros((10, 10), dtype=np.uint8)
    case = Predicted(tmp_path, dataset(tmp_path / "d.zarr", mask=empty))
    table, masks = case.write([network()])
    sheets, (warning,) = example_exhibits([table], [case.store()], [masks])
    assert sheets == []
    assert "no sample holds foreground" in warning


def test_mismatch_of_table_and_dataset_gives_a_warning(case: Predicted) -> None:
    table, masks = case.write([network()])
    store = case.store()
    domain = store.domains["a"]
    renamed = replace(domain, columns={**domain.columns, "id": np.array([*"wxyz"])})
    for changed, word in (
        (replace(store, domains={"b": domain}), "no domain 'a'"),
        (replace(store, classes=("background", "debris")), "no class 'cell'"),
        (replace(store, domains={"a": renamed}), "sample 's1' of the prediction table"),
        (replace(store, domains={"a": replace(domain, height=11)}), "10 x 10"),
    ):
        sheets, (warning,) = example_exhibits([table], [changed], [masks])
        assert sheets == []
        assert word in warning


def test_masks_of_other_data_are_refused(case: Predicted, tmp_path: Path) -> None:
    table, masks = case.write([network()])
    other = replace(case.store(), lineage=replace(case.store().lineage, id="0" * 32))
    with refused(FormatError, "p.zarr", "d.zarr"):
        example_exhibits([table], [other], [masks])
    assert len(example_exhibits([table], [other, case.store()], [masks])[0]) == 1


@pytest.fixture
def case_of_predicted(tmp_path: Path) -> Predicted:
    missed = {("baseline", ORIGINAL): [1, 3, 0, 2], ("baseline", DARK): [5, 4, 3, 2]}
    return Predicted(tmp_path, dataset(tmp_path / "d.zarr"), missed)


def test_scores_are_paired_with_masks_by_model_data_domain_and_shift(
    case_of_predicted: Predicted,
) -> None:
    table, masks = case_of_predicted.write([network(), network("L1-pruned")], (ORIGINAL, DARK))
    found = masked_scores([table], [masks])
    assert [(one.score.pruning, one.score.shift, one.entry) for one in found] == [
        *(("baseline", ORIGINAL, "0"), ("baseline", DARK, "1")),
        *(("L1-pruned", ORIGINAL, "2"), ("L1-pruned", DARK, "3")),
    ]
    lower = found[1].labels("s3")
    assert lower.sum() == 30
    assert lower[5:8].all()
    assert found[0].has("s3")
    assert not found[0].has("s4")


def test_masks_of_another_dataset_or_model_are_not_paired(case_of_predicted: Predicted) -> None:
    table, masks = case_of_predicted.write([network()])
    other, elsewhere = case_of_predicted.write(
        [network(model_id="x")], name="q", inputs={"dataset": "0" * 32}
    )
    assert masked_scores([table], [elsewhere]) == []
    assert masked_scores([other], [masks]) == []
    assert len(masked_scores([table, table], [elsewhere, masks, masks])) == 1


def test_sample_iou_is_computed_from_its_counts(case_of_predicted: Predicted) -> None:
    table, masks = case_of_predicted.write([network(), network("L1-pruned")], (ORIGINAL, DARK))
    plain, dark, pruned, _ = masked_scores([table], [masks])
    assert sample_ious(plain, case_of_predicted.store().classes) == pytest.approx(
        {"s0": 0.8, "s1": 0.4, "s2": 1.0, "s3": 0.6}
    )
    assert sample_ious(dark, case_of_predicted.store().classes)["s0"] == 0.0
    assert set(sample_ious(pruned, case_of_predicted.store().classes).values()) == {1.0}


def test_a_sample_without_foreground_has_no_iou(tmp_path: Path) -> None:
    empty = np.zeros((10, 10), dtype=np.uint8)
    case = Predicted(tmp_path, dataset(tmp_path / "d.zarr", samples=1, mask=empty))
    table, masks = case.write([network()])
    (value,) = sample_ious(masked_scores([table], [masks])[0], case.store().classes).values()
    assert np.isnan(value)


def test_a_class_that_the_dataset_does_not_have_is_refused(case_of_predicted: Predicted) -> None:
    table, masks = case_of_predicted.write([network()])
    with refused(FormatError, "p.parquet", "'cell'"):
        sample_ious(masked_scores([table], [masks])[0], ("background", "debris"))


def test_masks_must_belong_to_one_of_the_datasets(case_of_predicted: Predicted) -> None:
    _, masks = case_of_predicted.write([network()])
    check_masks([case_of_predicted.store()], [masks])
    check_masks([], [masks])
    other = replace(
        case_of_predicted.store(), lineage=replace(case_of_predicted.store().lineage, id="0" * 32)
    )
    with refused(FormatError, "p.zarr", "d.zarr", "give the dataset"):
        check_masks([other], [masks])
