"""Which samples are shown of which networks, and what is said where they cannot be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from example_cases import BRIGHT, DARK, Predicted, dataset, network
from skiptool.errors import FormatError
from skiptool.exports.pictures import examples, worst_and_median
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL
from small_stores import refused

MISSED = {
    ("baseline", ORIGINAL): [1, 3, 0, 2],
    ("baseline", DARK): [5, 4, 3, 2],
    ("baseline", BRIGHT): [1, 1, 2, 1],
    ("L1-pruned", ORIGINAL): [0, 1, 2, 3],
}


@pytest.fixture
def case(tmp_path: Path) -> Predicted:
    return Predicted(tmp_path, dataset(tmp_path / "d.zarr"), MISSED)


def test_the_baseline_chooses_and_all_show_its_samples(case: Predicted) -> None:
    """Worked by hand: a sample that lacks m of its 5 rows has an IoU of 1 - m / 5."""
    both = [network("L1-pruned"), network()]
    table, masks = case.write(both, (ORIGINAL, BRIGHT, DARK))
    (sheet,), warnings = examples([table], [case.store()], [masks])
    assert warnings == []
    assert [one.pruning for one in sheet.networks] == ["baseline", "L1-pruned"]
    assert [(c.which, c.sample, c.shift) for c in sheet.columns] == [
        *(("worst", "s1", ORIGINAL), ("median", "s3", ORIGINAL)),
        *(("worst", "s0", DARK), ("median", "s1", DARK)),
    ]
    assert [(c.index, c.subject, c.rated) for c in sheet.columns] == [
        *((1, "p0", 4), (3, "p1", 4), (0, "p0", 4), (1, "p0", 4)),
    ]
    np.testing.assert_allclose(sheet.values, [[0.4, 0.6, 0.0, 0.2], [0.8, 0.4, 1.0, 1.0]])
    assert (sheet.lowest_of, sheet.left_out) == (2, 0)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1) | st.just(math.nan), max_size=12))
def test_worst_and_median_against_their_definition(ious: dict[str, float]) -> None:
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


def test_the_first_fold_is_shown_and_the_ensemble_where_there_is_no_fold(case: Predicted) -> None:
    folds = [network("baseline", fold) for fold in (ENSEMBLE_FOLD, 2, 1)]
    table, masks = case.write([*folds, network("L1-pruned", ENSEMBLE_FOLD)])
    (sheet,), _ = examples([table], [case.store()], [masks])
    assert [(one.pruning, one.fold) for one in sheet.networks] == [
        ("baseline", 1),
        ("L1-pruned", ENSEMBLE_FOLD),
    ]


def test_six_networks_at_most_and_the_paper_s_before_others(case: Predicted) -> None:
    prunings = ["skips-1", "skips-2", *(f"L{n}-pruned" for n in (4, 3, 2, 1)), "baseline"]
    table, masks = case.write([network(name) for name in prunings])
    (sheet,), _ = examples([table], [case.store()], [masks])
    assert [one.pruning for one in sheet.networks] == [
        *("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned", "skips-1"),
    ]
    assert sheet.left_out == 1


def test_without_baseline_or_original_the_first_there_is_chooses(case: Predicted) -> None:
    table, masks = case.write([network("L2-pruned"), network("L1-pruned")], (DARK,))
    (sheet,), _ = examples([table], [case.store()], [masks])
    assert [one.pruning for one in sheet.networks] == ["L1-pruned", "L2-pruned"]
    assert {column.shift for column in sheet.columns} == {DARK}
    assert [column.which for column in sheet.columns] == ["worst", "median"]


@pytest.mark.long
def test_families_and_domains_have_sheets_of_their_own_but_not_without_end(tmp_path: Path) -> None:
    case = Predicted(tmp_path, dataset(tmp_path / "d.zarr", domains=("a", "b")))
    others = [network(encoder=name, model_id=name) for name in ("A", "B", "C", "D")]
    table, masks = case.write(others)
    sheets, warnings = examples([table], [case.store()], [masks])
    assert [(one.networks[0].encoder, one.networks[0].domain) for one in sheets] == [
        *(("A", "a"), ("A", "b"), ("B", "a"), ("B", "b"), ("C", "a"), ("C", "b")),
    ]
    assert warnings == [
        f"examples of D, {name}, test are left out, 6 sheets are shown" for name in "ab"
    ]


def test_what_is_missing_is_told_and_nothing_is_drawn(case: Predicted, tmp_path: Path) -> None:
    table, masks = case.write([network()])
    other, _ = case.write([network(model_id="another")], name="q")
    store = case.store()
    assert examples([table], [store], []) == ([], [])
    for tables, datasets, word in (
        ([table], [], "the images are missing"),
        ([], [store], "no prediction table has its models"),
        ([other], [store], "no prediction table has its models"),
    ):
        sheets, (warning,) = examples(tables, datasets, [masks])
        assert sheets == []
        assert warning.startswith("p.zarr: no examples are drawn, ")
        assert word in warning


def test_a_network_without_a_mask_is_an_empty_cell(case: Predicted) -> None:
    both = [network(), network("L1-pruned")]
    table, masks = case.write(both, (ORIGINAL, DARK), leave_out=[("L1-pruned", DARK)])
    (sheet,), warnings = examples([table], [case.store()], [masks])
    assert warnings == []
    assert [one is None for one in sheet.masked[1]] == [False, False, True, True]
    assert np.isnan(sheet.values[1, 2:]).all()


def test_samples_without_foreground_are_not_chosen(tmp_path: Path) -> None:
    empty = np.zeros((10, 10), dtype=np.uint8)
    case = Predicted(tmp_path, dataset(tmp_path / "d.zarr", mask=empty))
    table, masks = case.write([network()])
    sheets, (warning,) = examples([table], [case.store()], [masks])
    assert sheets == []
    assert "no sample holds foreground" in warning


def test_a_table_that_does_not_fit_its_dataset_is_told(case: Predicted) -> None:
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
        sheets, (warning,) = examples([table], [changed], [masks])
        assert sheets == []
        assert word in warning


def test_masks_of_other_data_are_refused_by_name(case: Predicted, tmp_path: Path) -> None:
    table, masks = case.write([network()])
    other = replace(case.store(), lineage=replace(case.store().lineage, id="0" * 32))
    with refused(FormatError, "p.zarr", "d.zarr"):
        examples([table], [other], [masks])
    assert len(examples([table], [other, case.store()], [masks])[0]) == 1
