from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from example_cases import DARK, Predicted, dataset, network
from skiptool.errors import FormatError
from skiptool.exports.predicted import check_masks, masked_scores, sample_ious
from skiptool.records import ORIGINAL
from small_stores import refused


@pytest.fixture
def case(tmp_path: Path) -> Predicted:
    missed = {("baseline", ORIGINAL): [1, 3, 0, 2], ("baseline", DARK): [5, 4, 3, 2]}
    return Predicted(tmp_path, dataset(tmp_path / "d.zarr"), missed)


def test_scores_find_their_masks_by_model_data_domain_and_shift(case: Predicted) -> None:
    table, masks = case.write([network(), network("L1-pruned")], (ORIGINAL, DARK))
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


def test_masks_of_another_dataset_or_model_are_not_taken(case: Predicted) -> None:
    table, masks = case.write([network()])
    other, elsewhere = case.write([network(model_id="x")], name="q", inputs={"dataset": "0" * 32})
    assert masked_scores([table], [elsewhere]) == []
    assert masked_scores([other], [masks]) == []
    assert len(masked_scores([table, table], [elsewhere, masks, masks])) == 1


def test_the_iou_of_each_sample_follows_from_its_own_counts(case: Predicted) -> None:
    table, masks = case.write([network(), network("L1-pruned")], (ORIGINAL, DARK))
    plain, dark, pruned, _ = masked_scores([table], [masks])
    assert sample_ious(plain, case.store().classes) == pytest.approx(
        {"s0": 0.8, "s1": 0.4, "s2": 1.0, "s3": 0.6}
    )
    assert sample_ious(dark, case.store().classes)["s0"] == 0.0
    assert set(sample_ious(pruned, case.store().classes).values()) == {1.0}


def test_a_sample_without_foreground_has_no_iou(tmp_path: Path) -> None:
    empty = np.zeros((10, 10), dtype=np.uint8)
    case = Predicted(tmp_path, dataset(tmp_path / "d.zarr", samples=1, mask=empty))
    table, masks = case.write([network()])
    (value,) = sample_ious(masked_scores([table], [masks])[0], case.store().classes).values()
    assert np.isnan(value)


def test_a_class_that_the_dataset_does_not_have_is_refused(case: Predicted) -> None:
    table, masks = case.write([network()])
    with refused(FormatError, "p.parquet", "'cell'"):
        sample_ious(masked_scores([table], [masks])[0], ("background", "debris"))


def test_masks_must_belong_to_one_of_the_datasets(case: Predicted) -> None:
    _, masks = case.write([network()])
    check_masks([case.store()], [masks])
    check_masks([], [masks])
    other = replace(case.store(), lineage=replace(case.store().lineage, id="0" * 32))
    with refused(FormatError, "p.zarr", "d.zarr", "give the dataset"):
        check_masks([other], [masks])
