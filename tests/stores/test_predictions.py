from __future__ import annotations

from pathlib import Path

import numpy as np

from skiptool.names import Kind
from skiptool.records import ORIGINAL, Architecture, Shift
from skiptool.stores.checkpoint import StoredModel
from skiptool.stores.dataset import open_dataset
from skiptool.stores.header import Making, lineage
from skiptool.stores.predictions import prediction_columns
from skiptool.stores.schemas import PREDICTIONS
from skiptool.stores.table_writer import write_table
from skiptool.stores.tables import open_table
from small_stores import CLASSES

MODEL = StoredModel(
    *(Path("m"), "resnet18-L0/fold2", "ab", Architecture("resnet18", (1, 2, 3, 4), CLASSES), 2),
    *(1, 9),
    config={},
    lineage=None,
)


def test_counts_are_laid_out_truth_by_prediction_sample_by_sample(
    dataset: Path, tmp_path: Path
) -> None:
    """Worked by hand: cell (sample, truth, predicted) holds 100 sample + 10 truth + predicted."""
    store = open_dataset(dataset)
    indices = [3, 0, 7]
    matrices = np.array(
        [[[100 * s + 10 * t + p for p in range(3)] for t in range(3)] for s in indices]
    )
    shift = Shift.parse("brightness=0.5")
    columns = prediction_columns(MODEL.facts(), store, store.domain("a"), shift, indices, matrices)
    assert set(columns) == set(PREDICTIONS)
    assert columns["clean_skips"] is None
    write_table(tmp_path / "p", lineage(Kind.PREDICTIONS, Making("p"), 1), columns, matrices.size)
    table = open_table(tmp_path / "p", Kind.PREDICTIONS)
    assert len(table) == 27
    found = table.columns(["sample", "subject", "split", "truth", "predicted", "pixels"])
    expected = [
        (f"{s:03d}", f"pätient {s // 2}", split, CLASSES[t], CLASSES[p], 100 * s + 10 * t + p)
        for s, split in zip(indices, ("test", "test", "train"), strict=True)
        for t in range(3)
        for p in range(3)
    ]
    assert list(zip(*found.values(), strict=True)) == expected
    same = {name: set(values) for name, values in table.columns(list(PREDICTIONS)[:15]).items()}
    assert same == {
        **{"model": {"resnet18-L0/fold2"}, "model_id": {"ab"}, "arch": {"unet"}},
        **{"encoder": {"resnet18"}, "pruning": {"baseline"}, "fold": {2}, "repeat": {1}},
        "parameter_count": {9},
        **{"dataset": {"d.zarr"}, "dataset_id": {store.lineage.id}, "domain": {"a"}},
        **{"split": {"test", "train"}, "shift": {"brightness"}, "factor": {0.5}},
        "clean_skips": {None},
    }


def test_an_unshifted_image_has_no_factor(dataset: Path) -> None:
    store = open_dataset(dataset)
    columns = prediction_columns(
        MODEL.facts(),
        store,
        store.domain("b grey"),
        ORIGINAL,
        [0],
        np.zeros((1, 3, 3), dtype=np.int64),
    )
    assert (columns["shift"], columns["factor"], columns["domain"]) == ("original", None, "b grey")
