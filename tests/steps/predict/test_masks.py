from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from predict_cases import make_run
from skiptool.names import Kind
from skiptool.records import ORIGINAL, SILENT, Shift
from skiptool.steps.predict.counting import count_part
from skiptool.steps.predict.masks import MaskSink
from skiptool.stores.lineage import Making, lineage
from skiptool.stores.masks import MaskWriter, open_masks


@pytest.mark.long
def test_an_entry_for_each_model_ensemble_domain_and_shift(
    runs: Path, two_sizes: Path, tmp_path: Path
) -> None:
    shifts = (ORIGINAL, Shift.parse("brightness=0.5"))
    run = make_run(runs, two_sizes, shifts, ensemble=True)
    header = lineage(Kind.MASKS, Making("predict"), 1)
    sink = MaskSink(run, MaskWriter(tmp_path / "m.zarr", header, run.store.classes))
    assert sink.wants(shifts[1])
    counts = [count_part(run, part, [sink], SILENT) for part in run.parts]
    store = open_masks(tmp_path / "m.zarr")
    entries = store.entries()
    assert len(entries) == 2 * 4 * 2
    assert {shape for _, shape in entries} == {(18, 40, 72), (18, 33, 31)}
    names = [run.predictor(number).name for number in range(4)]
    for name, (facts, _) in zip(store.names(), entries, strict=True):
        labels = store.read(name)
        place = names.index(facts["model"]), Shift.parse(_typed(facts["shift"], facts["factor"]))
        part = ["A", "B"].index(facts["domain"])
        domain = run.store.samples(facts["domain"], range(18))
        truth = domain.read_many(range(18))[1]
        known = truth != 255
        right = (known & (labels == truth)).sum(axis=(1, 2))
        assert (np.trace(counts[part][place], axis1=1, axis2=2) == right).all()


def _typed(kind: str, factor: float | None) -> str:
    return kind if factor is None else f"{kind}={factor}"
