from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file
from torchvision.transforms.v2.functional import adjust_brightness

import skiptool
from predict_cases import Warned, make_dataset
from skiptool.errors import ArgumentError, ExistsError
from skiptool.metrics import mean_iou
from skiptool.names import ENSEMBLE_FOLD, Kind, Precision
from skiptool.records import ORIGINAL, Shift
from skiptool.steps.predict import counting
from skiptool.steps.predict.step import predict_dataset
from skiptool.stores.dataset import open_dataset
from skiptool.stores.masks import open_masks
from skiptool.stores.overlays import open_overlays
from skiptool.stores.tables import open_table
from skiptool.stores.zarrs import kept_failures

DARK = Shift.parse("brightness=0.5")
PLAIN: dict[str, Any] = {"precision": Precision.FLOAT32}


def forward(model: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Label images (N, H, W, 3) by SMP alone: x / 255 in float32, no skiptool."""
    network = smp.Unet("resnet18", encoder_weights=None, classes=2)
    network.load_state_dict(load_file(model / "model.safetensors"))
    network.eval()
    with torch.inference_mode():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    labels: np.ndarray[Any, Any] = logits.argmax(1).numpy().astype(np.uint8)
    return labels


def matrices(table: pa.Table, **chosen: object) -> np.ndarray[Any, Any]:
    """Collect the counts (N, 2, 2) of some rows, samples in the order of the table."""
    rows = [row for row in table.to_pylist() if all(row[k] == v for k, v in chosen.items())]
    names = ["background", "cell"]
    found: dict[str, np.ndarray[Any, Any]] = {}
    for row in rows:
        counts = found.setdefault(row["sample"], np.full((2, 2), -1))
        place = names.index(row["truth"]), names.index(row["predicted"])
        assert counts[place] == -1  # each pair once
        counts[place] = row["pixels"]
    return np.stack([*found.values()])


def by_hand(truth: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    pairs = [[(truth == t) & (labels == p) for p in (0, 1)] for t in (0, 1)]
    return np.array(pairs).sum(axis=(3, 4)).transpose(2, 0, 1)


def test_counts_equal_a_direct_forward_pass(experiment: SimpleNamespace) -> None:
    table = pq.read_table(experiment.predictions)
    store = open_dataset(experiment.data)
    indices = store.domain("synthetic").select("test")
    images, truth = store.samples("synthetic", indices).read_many(range(len(indices)))
    plain = by_hand(truth, forward(experiment.baseline, np.asarray(images, dtype=np.uint8)))
    chosen = {"model": "resnet18-L0/fold0", "shift": "original"}
    assert (matrices(table, **chosen) == plain).all()
    # Eq. (1) by torchvision, on images whose channels come first there.
    dark = adjust_brightness(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), 0.5)
    shifted = by_hand(truth, forward(experiment.baseline, dark.permute(0, 2, 3, 1).numpy()))
    chosen |= {"shift": "brightness", "factor": 0.5}
    assert (matrices(table, **chosen) == shifted).all()
    assert (plain != shifted).any()


def test_table_holds_every_pair_of_every_sample(experiment: SimpleNamespace) -> None:
    table = pq.read_table(experiment.predictions)
    assert table.num_rows == 2 * 2 * 5 * 4  # models, shifts, samples, pairs
    for model in ("resnet18-L0/fold0", "resnet18-L1/fold0"):
        for shift in ("original", "brightness"):
            assert (matrices(table, model=model, shift=shift).sum(axis=(1, 2)) == 64 * 64).all()
    assert set(table["clean_skips"].to_pylist()) == {None}
    assert set(table["factor"].to_pylist()) == {None, 0.5}
    assert set(table["pruning"].to_pylist()) == {"baseline", "L1-pruned"}
    assert set(table["dataset"].to_pylist()) == {"s.zarr"}  # names, not folders
    assert set(table["split"].to_pylist()) == {"test"}


def test_masks_are_what_was_counted(experiment: SimpleNamespace) -> None:
    table, store = pq.read_table(experiment.predictions), open_dataset(experiment.data)
    indices = store.domain("synthetic").select("test")
    truth = store.samples("synthetic", indices).read_many(range(len(indices)))[1]
    masks = open_masks(experiment.masks)
    assert len(masks.names()) == 4
    for name, (facts, shape) in zip(masks.names(), masks.entries(), strict=True):
        assert shape == (5, 64, 64)
        chosen = {key: facts[key] for key in ("model", "model_id", "domain", "shift", "factor")}
        assert (matrices(table, **chosen) == by_hand(truth, masks.read(name))).all()


@pytest.mark.long
def test_original_is_a_shift_of_factor_1(experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    same = [ORIGINAL, *map(Shift.parse, ("brightness=1", "contrast=1", "saturation=1"))]
    predict_dataset([experiment.baseline], experiment.data, out, shifts=same, **PLAIN)
    table = pq.read_table(out)
    first = matrices(table, shift="original")
    for kind in ("brightness", "contrast", "saturation"):
        assert (matrices(table, shift=kind) == first).all()


@pytest.mark.long
def test_ignored_pixels_are_in_no_pair(
    experiment: SimpleNamespace, two_sizes: Path, tmp_path: Path
) -> None:
    data, out = two_sizes, tmp_path / "p.parquet"
    found = predict_dataset([experiment.baseline], data, out, **PLAIN)
    table, store = pq.read_table(out), open_dataset(data)
    for domain in ("A", "B"):
        images, truth = store.samples(domain, range(18)).read_many(range(18))
        counts = matrices(table, domain=domain)
        assert (counts.sum(axis=(1, 2)) == (truth != 255).sum(axis=(1, 2))).all()
        # Batches are of 16: the last one is short.
        labels = forward(experiment.baseline, np.asarray(images, dtype=np.uint8))
        assert (counts == by_hand(truth, labels)).mean() > 0.99
    (summary,) = found.tables
    assert summary.columns["domain"] == ["A", "B"]
    assert "cell" in summary.title


@pytest.mark.long
def test_summary_is_the_iou_of_summed_counts(experiment: SimpleNamespace, tmp_path: Path) -> None:
    both, out = [experiment.baseline, experiment.pruned], tmp_path / "p.parquet"
    found = predict_dataset(both, experiment.data, out, shifts=[ORIGINAL, DARK], **PLAIN)
    (summary,) = found.tables
    assert summary.columns["shift"] == ["original", "brightness=0.5"]
    table = pq.read_table(out)
    for level in (0, 1):
        model = f"resnet18-L{level}/fold0"
        total = matrices(table, model=model, shift="brightness").sum(axis=0)
        assert summary.columns[f"resnet18-L{level}"][1] == pytest.approx(float(mean_iou(total)))
    assert table.equals(pq.read_table(experiment.predictions))  # the same twice


@pytest.mark.long
def test_dry_run_counts_and_writes_nothing(experiment: SimpleNamespace, tmp_path: Path) -> None:
    both = [experiment.baseline, experiment.pruned]
    out, masks = tmp_path / "p.parquet", tmp_path / "m.zarr"
    found = predict_dataset(
        both, experiment.data, out, shifts=[ORIGINAL, DARK], masks=masks, dry_run=True
    )
    assert found.outputs == found.side_outputs == ()
    expected = {"models": 2, "shifts": 2, "images": 5, "rows": 80}
    size = found.summary["bytes"]
    assert found.summary == expected | {"bytes": size}
    assert list(tmp_path.iterdir()) == []
    made = [path for path in experiment.masks.rglob("*") if path.is_file()]
    written = sum(path.stat().st_size for path in (experiment.predictions, *made))
    assert size == pytest.approx(written, rel=0.2)


@pytest.mark.long
def test_resume(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, masks = tmp_path / "p.parquet", tmp_path / "m.zarr"
    models = [experiment.baseline, experiment.pruned]
    how = {"shifts": [ORIGINAL, DARK], "masks": masks, **PLAIN}
    taken, calls = counting.segment, []

    def interrupted(*words: Any, **how: Any) -> Any:  # noqa: ANN401 - stands for another function
        calls.append(words)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return taken(*words, **how)

    with monkeypatch.context() as patch:
        patch.setattr(counting, "segment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict_dataset(models, experiment.data, out, **how)
    assert not out.exists()
    assert not masks.exists()
    with pytest.raises(ExistsError, match="interrupted run"):
        predict_dataset(models, experiment.data, out, **how)
    predict_dataset(models, experiment.data, out, **how, resume=True)
    assert pq.read_table(out).equals(pq.read_table(experiment.predictions))
    assert {path.name for path in tmp_path.iterdir()} == {"p.parquet", "m.zarr"}
    # Whole: nothing is predicted. Other parameters: refused, for table and masks alike.
    monkeypatch.setattr(counting, "segment", None)
    found = predict_dataset(models, experiment.data, out, **how, resume=True)
    assert (found.outputs, found.side_outputs) == ((out,), (masks,))
    with pytest.raises(ExistsError, match="split was 'test', now 'all'"):
        predict_dataset(models, experiment.data, out, **how, split="all", resume=True)
    out.unlink()
    with pytest.raises(ExistsError, match=r"m\.zarr.*split was 'test', now 'all'"):
        predict_dataset(models, experiment.data, out, **how, split="all", resume=True)


@pytest.mark.long
def test_overwrite_replaces(experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    out.write_text("old")
    with pytest.raises(ExistsError):
        predict_dataset([experiment.baseline], experiment.data, out, **PLAIN)
    predict_dataset([experiment.baseline], experiment.data, out, **PLAIN, overwrite=True)
    assert pq.read_table(out).num_rows == 20


@pytest.mark.long
def test_a_copy_of_a_model_counts_twice(experiment: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.symlink_to(experiment.baseline)
    with pytest.raises(ArgumentError, match="a model is given twice"):
        predict_dataset([experiment.baseline, copy], experiment.data, tmp_path / "p.parquet")


@pytest.mark.long
def test_a_folder_of_runs_with_ensembles(
    experiment: SimpleNamespace, runs: Path, tmp_path: Path
) -> None:
    """Rows of ensembles are those of one model more; all others are as without them."""
    plain, both = tmp_path / "plain.parquet", tmp_path / "both.parquet"
    shifts, warned = [ORIGINAL, DARK], Warned()
    predict_dataset([runs], experiment.data, plain, shifts=shifts, **PLAIN)
    how = {"shifts": shifts, "ensemble": True, "masks": tmp_path / "m.zarr", **PLAIN}
    found = predict_dataset([runs], experiment.data, both, **how, progress=warned)
    assert warned.lines == ["no ensemble of resnet18-L1/fold0: there is only one training of each"]
    table = pq.read_table(both)
    own = table.filter(pc.not_equal(table["fold"], ENSEMBLE_FOLD))
    assert own.equals(pq.read_table(plain))
    rows = table.filter(pc.equal(table["fold"], ENSEMBLE_FOLD))
    assert rows.num_rows == 2 * 5 * 4
    for name, value in (("model", "resnet18-L0/ensemble"), ("pruning", "baseline")):
        assert set(rows[name].to_pylist()) == {value}
    assert set(rows["parameter_count"].to_pylist()) == {None}
    masks = open_masks(tmp_path / "m.zarr")
    assert len(masks.names()) == 4 * 2
    assert "resnet18-L0/ensemble" in found.tables[0].columns
    # Independently: softmax of SMP's own networks, averaged.
    store = open_dataset(experiment.data)
    indices = store.domain("synthetic").select("test")
    images, truth = store.samples("synthetic", indices).read_many(range(len(indices)))
    folds = [runs / "resnet18-L0" / name for name in ("fold0", "fold1")]
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        mean = sum(skiptool.load_model(fold)(inputs).softmax(dim=1) for fold in folds) / 2
    expected = by_hand(truth, mean.argmax(dim=1).numpy())
    ours = matrices(rows, shift="original")
    assert np.abs(ours - expected).max() <= 3  # pixels: other batches, other rounding


@pytest.mark.long
def test_each_model_on_its_own_validation_fold(
    experiment: SimpleNamespace, runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.parquet"
    predict_dataset([runs], experiment.data, out, split="fold", **PLAIN)
    table = pq.read_table(out)
    columns = open_dataset(experiment.data).domain("synthetic").columns
    for fold in (0, 1):
        rows = table.filter(pc.equal(table["fold"], fold))
        assert set(rows["sample"].to_pylist()) == set(columns["id"][columns["fold"] == fold])
    assert set(table["split"].to_pylist()) == {"validation"}
    # Training chose its epoch by just these samples: the score is the one that it wrote down.
    rows = matrices(table, model="resnet18-L0/fold0")
    kept = json.loads((experiment.baseline / "config.json").read_text())["best_mIoU"]
    assert float(mean_iou(rows.sum(axis=0))) == pytest.approx(kept, abs=1e-3)
    with pytest.raises(ArgumentError, match="--ensemble with --split fold"):
        predict_dataset([runs], experiment.data, out, split="fold", ensemble=True)


@pytest.mark.long
def test_a_damaged_model_beside_good_ones(
    experiment: SimpleNamespace, runs: Path, tmp_path: Path
) -> None:
    out, masks = tmp_path / "p.parquet", tmp_path / "m.zarr"
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/config.json").write_text("{")
    models = [tmp_path / "bad", runs]
    found = predict_dataset(models, experiment.data, out, masks=masks, **PLAIN)
    (line,) = found.failures
    assert "bad: no model folder, it has no model.safetensors" in line
    assert len(set(pq.read_table(out)["model"].to_pylist())) == 3
    assert open_table(out, Kind.PREDICTIONS).failures == tuple(kept_failures(masks)) == (line,)
    again = predict_dataset(models, experiment.data, out, masks=masks, **PLAIN, resume=True)
    assert (again.outputs, again.failures) == ((out,), (line,))
    dry = predict_dataset(models, experiment.data, tmp_path / "q", **PLAIN, dry_run=True)
    assert dry.failures == (line,)


@pytest.mark.long
def test_overlays_stand_beside_the_table(
    experiment: SimpleNamespace, runs: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "p.parquet", tmp_path / "o"
    how: dict[str, Any] = {"overlays": folder, "overlay_count": 2, **PLAIN}
    found = predict_dataset([runs], experiment.data, out, **how)
    assert found.side_outputs == (folder,)
    header, pictures = open_overlays(folder)
    assert header.inputs == open_table(out, Kind.PREDICTIONS).lineage.inputs
    assert len(pictures) == 3 * 2
    table = pq.read_table(out)
    for each in pictures:
        counts = matrices(table, model=each["model"], sample=each["sample"])[0]
        assert float(mean_iou(counts)) == pytest.approx(each["mIoU"])
    # the worst of all samples, not of some
    for model in {each["model"] for each in pictures}:
        ious = mean_iou(matrices(table, model=model))
        drawn = [each["mIoU"] for each in pictures if each["model"] == model]
        assert drawn == pytest.approx(sorted(ious)[:2])
    with pytest.raises(ExistsError, match="exists already"):
        predict_dataset([runs], experiment.data, tmp_path / "q", **how)
    assert predict_dataset([runs], experiment.data, out, **how, resume=True).outputs == (out,)
    predict_dataset([runs], experiment.data, out, **how, overwrite=True)
    (folder / "overlays.json").unlink()
    with pytest.raises(ExistsError, match="a folder with other things in it"):
        predict_dataset([runs], experiment.data, out, **how, overwrite=True)


@pytest.mark.long
def test_a_class_in_no_mask_is_told_once(experiment: SimpleNamespace, tmp_path: Path) -> None:
    make_dataset(tmp_path / "d.zarr", [("A", 32, 32), ("B", 32, 32)], labels=(0, 255))
    both, warned = [experiment.baseline, experiment.pruned], Warned()
    how = {"shifts": [ORIGINAL, DARK], **PLAIN}
    predict_dataset(both, tmp_path / "d.zarr", tmp_path / "p", **how, progress=warned)
    (line,) = warned.lines
    assert "cell in no mask of domain A; cell in no mask of domain B" in line


@pytest.mark.long
def test_refusals(experiment: SimpleNamespace, tmp_path: Path) -> None:
    call = partial(predict_dataset, [experiment.baseline], experiment.data, tmp_path / "p")
    for words, how in {
        "expected train, test, fold or all": {"split": "x"},
        "a shift is given twice": {"shifts": [DARK, DARK]},
        "no architecture comes with two trainings": {"ensemble": True},
        "expected --overlays DIR and at least 1": {"overlay_count": 3},
        "at least 1": {"overlay_count": 0, "overlays": tmp_path / "o"},
        "name one place twice": {"overlays": tmp_path / "p"},
    }.items():
        with pytest.raises(ArgumentError, match=words):
            call(**how)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_device_without_memory_leaves_no_table(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any, **__: Any) -> Any:  # noqa: ANN401 - stands for another function
        raise MemoryError("device cuda:0 has not enough memory")

    monkeypatch.setattr(counting, "segment", greedy)
    with pytest.raises(MemoryError, match="cuda:0"):
        predict_dataset([experiment.baseline], experiment.data, tmp_path / "p", **PLAIN)
    assert not (tmp_path / "p").exists()
