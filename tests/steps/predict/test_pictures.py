"""Tests of ``pictures``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from predict_cases import make_run
from skiptool.names import Kind
from skiptool.records import ORIGINAL, SILENT, Shift
from skiptool.steps.predict.counting import Prediction, Run, count_part
from skiptool.steps.predict.pictures import MaskSink, OverlaySink
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.masks import MaskWriter, open_masks
from skiptool.stores.overlays import open_overlays

DARK = Shift.parse("brightness=0.5")


@pytest.fixture
def run(runs: Path, two_sizes: Path) -> Run:
    return make_run(runs / "resnet18-L0", two_sizes, (DARK, ORIGINAL), ensemble=True)


def feed(sink: OverlaySink, run: Run, ious: list[tuple[int, int]], number: int = 0) -> None:
    """Hand a sink samples of known IoU, in two goes."""
    sink.begin(run.parts[1])
    labels = np.zeros((len(ious), 33, 31), dtype=np.uint8)
    counts = np.array([[[9, 0], [missed, both]] for both, missed in ious])
    half = len(ious) // 2
    for rows in (range(half), range(half, len(ious))):
        chosen = slice(rows.start, rows.stop)
        sink.take(number, ORIGINAL, rows, labels[chosen], counts[chosen])


IOUS = [(1, 1), (0, 0), (1, 3), (1, 0), (0, 4), (3, 1)]


@pytest.mark.long
def test_the_lowest_iou_comes_first_and_empty_samples_last(run: Run, tmp_path: Path) -> None:
    sink = OverlaySink(run, tmp_path / "o", None)
    feed(sink, run, IOUS)
    sink.draw(create_lineage(Kind.OVERLAYS, Invocation("predict"), 1), SILENT)
    (folder,) = [path for path in (tmp_path / "o").iterdir() if path.is_dir()]
    assert folder.name == "resnet18-L0-fold0_B"
    assert sorted(path.name for path in folder.iterdir()) == [
        "1_iou-0.000_04.png",
        "2_iou-0.250_02.png",
        "3_iou-0.500_00.png",
        "4_iou-0.750_05.png",
        "5_iou-1.000_03.png",
        "6_iou-none_01.png",
    ]
    _, pictures = open_overlays(tmp_path / "o")
    assert [each["rank"] for each in pictures] == list(range(1, 7))
    assert [each["mIoU"] for each in pictures] == [0, 0.25, 0.5, 0.75, 1, None]
    assert {each["ranks"] for each in pictures} == {6}
    assert (pictures[0]["sample"], pictures[0]["shift"]) == ("04", "original")


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2, 4])
def test_count_limits_the_overlays(run: Run, tmp_path: Path, count: int) -> None:
    sink = OverlaySink(run, tmp_path / "o", count)
    feed(sink, run, IOUS)
    sink.draw(create_lineage(Kind.OVERLAYS, Invocation("predict"), 1), SILENT)
    _, pictures = open_overlays(tmp_path / "o")
    assert [each["sample"] for each in pictures] == ["04", "02", "00", "05"][:count]
    assert {each["ranks"] for each in pictures} == {6}


@pytest.mark.long
def test_overlays_show_the_predictions(run: Run, tmp_path: Path) -> None:
    sink = OverlaySink(run, tmp_path / "o", 2)
    assert (sink.wants(ORIGINAL), sink.wants(DARK)) == (True, False)
    for part in run.parts:
        count_part(run, part, [sink], SILENT)
    sink.draw(create_lineage(Kind.OVERLAYS, Invocation("predict"), 1), SILENT)
    _, pictures = open_overlays(tmp_path / "o")
    assert len(pictures) == 3 * 2 * 2  # two folds and their ensemble, two domains, two samples
    folders = {each["file"].split("/")[0] for each in pictures}
    names = ("fold0", "fold1", "ensemble")
    assert folders == {f"resnet18-L0-{name}_{domain}" for name in names for domain in "AB"}
    for each in pictures:
        with Image.open(tmp_path / "o" / each["file"]) as shown:
            assert min(shown.size) > 500


def test_without_the_original_the_first_shift_is_drawn(runs: Path, two_sizes: Path) -> None:
    bright = Shift.parse("brightness=1.5")
    sink = OverlaySink(make_run(runs, two_sizes, (bright, DARK)), Path("unused"), None)
    assert (sink.wants(bright), sink.wants(DARK)) == (True, False)


@pytest.mark.long
def test_different_models_have_different_folders(run: Run, tmp_path: Path) -> None:
    """Two models of one name, as copies of folders of others may have."""
    twin = make_run(run.models[0].stored.path.parent, run.store.path)
    stored = [model.stored for model in twin.models]
    assert len({model.id for model in stored}) == 2
    object.__setattr__(stored[1], "name", stored[0].name.upper())
    sink = OverlaySink(twin, tmp_path / "o", 1)
    for number in (0, 1):
        feed(sink, twin, IOUS, number)
    sink.draw(create_lineage(Kind.OVERLAYS, Invocation("predict"), 1), SILENT)
    folders = [each["file"].split("/")[0] for each in open_overlays(tmp_path / "o")[1]]
    assert len({name.casefold() for name in folders}) == 2


@pytest.mark.long
def test_an_entry_for_each_model_ensemble_domain_and_shift(
    runs: Path, two_sizes: Path, tmp_path: Path
) -> None:
    shifts = (ORIGINAL, Shift.parse("brightness=0.5"))
    run = make_run(runs, two_sizes, shifts, ensemble=True)
    header = create_lineage(Kind.MASKS, Invocation("predict"), 1)
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
        shift = Shift.parse(_typed(facts["shift"], facts["factor"]))
        prediction = Prediction(names.index(facts["model"]), shift, None)
        part = ["A", "B"].index(facts["domain"])
        domain = run.store.samples(facts["domain"], range(18))
        truth = domain.read_many(range(18))[1]
        known = truth != 255
        right = (known & (labels == truth)).sum(axis=(1, 2))
        assert (np.trace(counts[part][prediction], axis1=1, axis2=2) == right).all()


def _typed(kind: str, factor: float | None) -> str:
    return kind if factor is None else f"{kind}={factor}"
