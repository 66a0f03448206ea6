"""Tests of ``predict``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
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
from predict_cases import Warned, make_dataset, make_run
from skiptool.errors import ArgumentError, ExistsError, FormatError, MismatchError, SourceError
from skiptool.metrics import mean_iou
from skiptool.names import ENSEMBLE_FOLD, Kind, Precision, Split
from skiptool.records import NO_NORMALISATION, ORIGINAL, Shift
from skiptool.steps.features.features import extract_features
from skiptool.steps.predict import counting, predict
from skiptool.steps.predict.counting import LoadedModel, Run
from skiptool.steps.predict.predict import (
    OutputPaths,
    absent_classes_warning,
    check_options,
    check_substitution,
    fold_parts,
    iou_table,
    load_models,
    predict_dataset,
    split_parts,
    substitution_parameters,
)
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.masks import open_masks
from skiptool.stores.models import open_model
from skiptool.stores.overlays import open_overlays
from skiptool.stores.tables import open_table
from skiptool.stores.zarrs import recorded_failures
from skiptool.substitution import parse_substitutions
from small_models import edit, settled, sibling
from small_stores import refused, sample, set_attributes, set_json, unseal, write_dataset
from small_stores import sample as small_sample

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


def test_masks_agree_with_the_counts(experiment: SimpleNamespace) -> None:
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
def test_ignored_pixels_are_not_counted(
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
def test_copy_of_a_model_is_refused(experiment: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.symlink_to(experiment.baseline)
    with pytest.raises(ArgumentError, match="is the same model as"):
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
def test_damaged_model_is_listed_and_others_predict(
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
    assert open_table(out, Kind.PREDICTIONS).failures == tuple(recorded_failures(masks)) == (line,)
    again = predict_dataset(models, experiment.data, out, masks=masks, **PLAIN, resume=True)
    assert (again.outputs, again.failures) == ((out,), (line,))
    dry = predict_dataset(models, experiment.data, tmp_path / "q", **PLAIN, dry_run=True)
    assert dry.failures == (line,)


@pytest.mark.long
def test_overlays_are_written_with_the_table(
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
def test_class_in_no_mask_is_one_warning(experiment: SimpleNamespace, tmp_path: Path) -> None:
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
def test_device_out_of_memory_leaves_no_table(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any, **__: Any) -> Any:  # noqa: ANN401 - stands for another function
        raise MemoryError("device cuda:0 has not enough memory")

    monkeypatch.setattr(counting, "segment", greedy)
    with pytest.raises(MemoryError, match="cuda:0"):
        predict_dataset([experiment.baseline], experiment.data, tmp_path / "p", **PLAIN)
    assert not (tmp_path / "p").exists()


OUT = Path("p.parquet")
PLAIN_OPTIONS: dict[str, Any] = {
    "shifts": [ORIGINAL],
    "split": "test",
    "ensemble": False,
    "outputs": OutputPaths(OUT, None, None, None),
}


def test_compatible_options_are_accepted() -> None:
    check_options(**PLAIN_OPTIONS)
    check_options(
        **PLAIN_OPTIONS | {"outputs": OutputPaths(OUT, Path("m"), Path("o"), 3), "ensemble": True}
    )
    check_substitution(parse_substitutions(["1"]), "a", False, PLAIN_OPTIONS["outputs"])
    check_substitution((), None, True, OutputPaths(OUT, Path("m"), None, None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "half"}, "--split half: expected train"),
        ({"shifts": [ORIGINAL, ORIGINAL]}, "given twice"),
        ({"split": "fold", "ensemble": True}, "--ensemble with --split fold"),
        ({"outputs": OutputPaths(OUT, None, None, 3)}, "expected --overlays DIR"),
        ({"outputs": OutputPaths(OUT, None, Path("o"), 0)}, "at least 1"),
        ({"outputs": OutputPaths(OUT, OUT, None, None)}, "name one place twice"),
    ],
)
def test_contradictory_options_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        check_options(**PLAIN_OPTIONS | change)


def test_parameters_of_a_substitution() -> None:
    assert substitution_parameters((), (), None) == {}
    assert substitution_parameters(["1", "each"], (), "a") == {
        "clean_skips": ["1", "each"],
        "clean_domain": "a",
    }


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    """Domain a has training and test samples, b only training samples."""
    mixed = [sample(index, "a") for index in range(6)]
    training = [sample(index, "b", split=Split.TRAIN, fold=0) for index in range(2)]
    write_dataset(tmp_path / "d.zarr", [*mixed, *training])
    return open_dataset(tmp_path / "d.zarr")


def test_every_model_segments_the_samples_of_a_split(store: DatasetStore) -> None:
    parts = split_parts([*store.domains.values()], "train", 3)
    assert [(part.domain.name, part.indices) for part in parts] == [
        ("a", (1, 2, 4, 5)),
        ("b", (0, 1)),
    ]
    assert {part.models for part in parts} == {(0, 1, 2)}
    assert [part.indices for part in split_parts([store.domain("a")], "test", 1)] == [(0, 3)]
    assert [part.indices for part in split_parts([store.domain("b")], "all", 1)] == [(0, 1)]


def load(folder: Path, data: Path) -> tuple[DatasetStore, list[LoadedModel]]:
    opened = open_dataset(data)
    domains = [*opened.domains.values()]
    return opened, load_models([folder], [(opened, domains)], "cpu")[0]


@pytest.mark.long
def test_each_model_segments_its_validation_fold(runs: Path, experiment: SimpleNamespace) -> None:
    store, models = load(runs, experiment.data)
    kept, parts, failures = fold_parts(store, [*store.domains.values()], models)
    assert (len(kept), failures) == (3, [])
    assert [part.models for part in parts] == [(0, 2), (1,)]  # both of fold 0 read it together
    columns = store.domain("synthetic").columns
    for part, fold in zip(parts, (0, 1), strict=True):
        assert part.indices == tuple(np.flatnonzero(columns["fold"] == fold))
        assert set(columns["split"][list(part.indices)]) == {"train"}


def test_unread_domains_have_no_fold(experiment: SimpleNamespace) -> None:
    store, models = load(experiment.baseline, experiment.data)
    with refused(MismatchError, experiment.baseline, "in domain synthetic, which --domain leaves"):
        fold_parts(store, [], models)


@pytest.mark.long
def test_models_without_a_fold_are_left_out_of_the_numbering(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    for number, name in enumerate("abc"):
        sibling(experiment.baseline, tmp_path / "m" / name, number)
    edit(tmp_path / "m/a", {"fold": None})
    store, models = load(tmp_path / "m", experiment.data)
    kept, parts, (line,) = fold_parts(store, [*store.domains.values()], models)
    assert [model.stored.fold for model in kept] == [1, 2]
    assert [part.models for part in parts] == [(0,), (1,)]
    assert "does not say which fold" in line


def load_of_loading(paths: Sequence[Path], data: Path) -> tuple[list[LoadedModel], list[str]]:
    store = open_dataset(data)
    return load_models(paths, [(store, [*store.domains.values()])], "cpu", NO_NORMALISATION)


def test_all_models_of_a_folder_are_ready(runs: Path, experiment: SimpleNamespace) -> None:
    models, failures = load_of_loading([runs], experiment.data)
    expected = ["resnet18-L0/fold0", "resnet18-L0/fold1", "resnet18-L1/fold0"]
    assert [model.stored.name for model in models] == expected
    assert failures == []
    assert not any(model.network.training for model in models)


def damage(folder: Path, kind: str) -> None:
    if kind == "cut":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    elif kind == "lost":
        (folder / "config.json").unlink()
    elif kind == "encoder":
        set_json(folder / "config.json", encoder_name="resnet99")
    elif kind == "skips":
        set_json(folder / "config.json", skips=[4])
    else:
        set_json(folder / "config.json", classes=3, class_names=["a", "b", "c"])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["cut", "lost", "encoder", "skips", "classes"])
def test_unusable_model_is_listed_and_others_are_used(
    kind: str, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(experiment.pruned, tmp_path / "bad"))
    damage(bad, kind)
    models, failures = load_of_loading([experiment.baseline, bad], experiment.data)
    assert [model.stored.path for model in models] == [experiment.baseline]
    (line,) = failures
    assert str(bad) in line
    assert "\n" not in line
    with pytest.raises((FormatError, MismatchError, ArgumentError), match=str(bad)):
        load_of_loading([bad], experiment.data)
    again = Path(shutil.copytree(bad, tmp_path / "again"))
    with refused(SourceError, "all 2 models failed, the first: ", bad):
        load_of_loading([bad, again], experiment.data)


@pytest.mark.long
def test_short_folder_names_are_added_to_errors(
    tmp_path: Path, experiment: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = smp.Unet("resnet18", encoder_weights=None, classes=2)
    wide.save_pretrained(tmp_path / "n")
    set_json(tmp_path / "n/config.json", encoder_name="resnet34")
    monkeypatch.chdir(tmp_path)
    with refused(FormatError, "n: weights do not fit resnet34-L0"):
        load_of_loading([Path("n")], experiment.data)


def test_channels_that_differ_are_refused(experiment: SimpleNamespace, tmp_path: Path) -> None:
    write_dataset(tmp_path / "grey.zarr", [small_sample(0, "g", (32, 32, 1))])
    with refused(MismatchError, "domain g", "1 channels", experiment.baseline):
        load_of_loading([experiment.baseline], tmp_path / "grey.zarr")


def test_unsuitable_image_sizes_are_refused(experiment: SimpleNamespace, tmp_path: Path) -> None:
    write_dataset(tmp_path / "odd.zarr", [small_sample(0, "g", (40, 64, 3))])
    smp.Linknet("resnet18", encoder_weights=None, classes=2).save_pretrained(tmp_path / "theirs")
    with refused(MismatchError, "domain g", "40 x 64", "linknet accepts only multiples of 32"):
        load_of_loading([tmp_path / "theirs"], tmp_path / "odd.zarr")
    (model,), _ = load_of_loading([tmp_path / "theirs"], experiment.data)
    assert model.stored.architecture.arch == "linknet"


@pytest.mark.long
def test_copies_are_refused(experiment: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "copy").symlink_to(experiment.baseline)
    with refused(ArgumentError, "is the same model as", "copy", experiment.baseline):
        load_of_loading([experiment.baseline, tmp_path / "copy"], experiment.data)


@pytest.mark.long
def test_smp_folders_are_accepted(experiment: SimpleNamespace, tmp_path: Path) -> None:
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=2)
    theirs.save_pretrained(tmp_path / "theirs")
    models, _ = load_of_loading([experiment.baseline, tmp_path], experiment.data)
    assert [model.stored.fold for model in models] == [0, None]
    narrow = smp.Unet(
        "resnet18", encoder_weights=None, decoder_channels=[64, 32, 16, 8, 8], classes=2
    )
    narrow.save_pretrained(tmp_path / "narrow")
    models, (line,) = load_of_loading([tmp_path], experiment.data)
    assert [model.stored.name for model in models] == ["theirs"]
    assert "decoder_channels is [64, 32, 16, 8, 8], expected [256, 128, 64, 32, 16]" in line


def test_a_pickle_is_never_loaded(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smp.Unet("resnet18", encoder_weights=None, classes=2).save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs/model.safetensors").rename(tmp_path / "theirs/pytorch_model.bin")
    monkeypatch.setattr(torch, "load", None)
    with refused(FormatError, tmp_path / "theirs", "no model.safetensors", "never unpickled"):
        load_of_loading([tmp_path / "theirs"], experiment.data)


@pytest.mark.long
def test_network_too_large_for_memory_is_reported_in_one_line(
    experiment: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any) -> Any:  # noqa: ANN401 - stands for another function
        raise torch.OutOfMemoryError("no\nmore")

    monkeypatch.setattr(predict, "prepare_for_inference", greedy)
    with pytest.raises(MemoryError, match="not enough memory for the network of"):
        load_of_loading([experiment.baseline], experiment.data)


@pytest.fixture
def run(runs: Path, two_sizes: Path) -> Run:
    return make_run(runs, two_sizes, (ORIGINAL, DARK), ensemble=True)


def counts(both: int, missed: int) -> np.ndarray:
    """Return counts of an IoU of ``both / (both + missed)``."""
    return np.array([[5, 0], [missed, both]])


@pytest.mark.long
def test_folds_are_averaged_without_ensembles(run: Run) -> None:
    """Worked by hand: folds at 0.5 and 0.75, the ensemble at 0.9, the other network at 0.25."""
    found = [counts(1, 1), counts(3, 1), counts(1, 3), counts(9, 1)]
    nothing = np.array([[9, 0], [0, 0]])
    totals = {(number, "A", ORIGINAL, None): each for number, each in enumerate(found)}
    totals |= {(number, "A", DARK, None): nothing for number in range(4)}
    totals |= {(0, "B", shift, None): counts(1, 0) for shift in (ORIGINAL, DARK)}
    table = iou_table(run, totals)
    assert dict(table.columns) == {
        "domain": ["A", "A", "B", "B"],
        "shift": ["original", "brightness=0.5"] * 2,
        "resnet18-L0": [0.625, None, 1.0, 1.0],
        "resnet18-L1": [0.25, None, None, None],
        "resnet18-L0/ensemble": [0.9, None, None, None],
    }
    assert table.title == "IoU of cell, test samples, mean over folds"
    folds = iou_table(replace(run, split="fold"), totals)
    assert folds.title == "IoU of cell, samples of each model's validation fold, mean over folds"


def test_foreign_folders_of_equal_name_are_separate_columns(run: Run) -> None:
    first = run.models[0]
    same = replace(first.stored, name="theirs")
    nested = replace(same, architecture=replace(same.architecture, arch="unetplusplus"))
    ours = replace(nested, name="unetplusplus-resnet18-L0/fold0")
    models = [replace(first, stored=stored) for stored in (same, nested, ours)]
    totals = {(n, "A", ORIGINAL, None): counts(n + 1, 1) for n in range(3)}
    table = iou_table(replace(run, models=models, ensembles=[]), totals)
    names = ["theirs", "unetplusplus theirs", "unetplusplus-resnet18-L0"]
    assert [table.columns[name][0] for name in names] == pytest.approx([0.5, 2 / 3, 0.75])


@pytest.mark.long
def test_several_classes_have_rows_after_their_mean(run: Run) -> None:
    """Classes at 0.5 and 0.25, one that is nowhere; the background is no row."""
    three = replace(run.store, classes=("background", "LV", "MYO", "RV"))
    found = np.zeros((4, 4), np.int64)
    found[0, 0], found[1, 1], found[1, 2], found[2, 2], found[2, 0] = 9, 2, 2, 1, 1
    table = iou_table(replace(run, store=three), {(0, "A", ORIGINAL, None): found})
    assert table.columns["class"][:4] == ["mean", "LV", "MYO", "RV"]
    assert table.columns["shift"][:8] == ["original"] * 4 + ["brightness=0.5"] * 4
    assert table.columns["resnet18-L0"][:5] == [0.375, 0.5, 0.25, None, None]


@pytest.mark.long
def test_classes_in_no_mask_are_one_warning(run: Run) -> None:
    there, nowhere = counts(1, 1), np.array([[5, 3], [0, 0]])
    totals = {(number, "A", ORIGINAL, None): there for number in range(4)}
    assert absent_classes_warning(run, totals) is None
    totals |= {(number, "B", ORIGINAL, None): nowhere for number in range(4)}
    line = absent_classes_warning(run, totals)
    assert line is not None
    assert "cell in no mask of domain B" in line
    assert "domain A" not in line
    assert line.count("NaN") == 1
    # A class is there if one model's samples hold it, whatever those of other folds do.
    totals[1, "B", ORIGINAL, None] = there
    assert absent_classes_warning(run, totals) is None


# -------------------------------------------------------------------------------------------------
# Several datasets in one table.


HOW: dict[str, Any] = {"precision": Precision.FLOAT32, "device": "cpu"}


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Return two datasets: domains A and B, and C and another A, of other sizes."""
    made = [tmp_path / "one.zarr", tmp_path / "two.zarr"]
    make_dataset(made[0], [("A", 32, 32), ("B", 40, 40)], number=5)
    make_dataset(made[1], [("C", 48, 32), ("A", 64, 64)], number=3)
    return made


@pytest.mark.long
def test_several_stores_give_the_rows_of_each(
    experiment: SimpleNamespace, stores: list[Path], tmp_path: Path
) -> None:
    out, how = tmp_path / "p.parquet", {**HOW, "shifts": [DARK]}
    found = predict_dataset([experiment.baseline], stores, out, **how)
    rows = pq.read_table(out).to_pylist()
    alone = []
    for number, store in enumerate(stores):
        predict_dataset([experiment.baseline], store, tmp_path / f"{number}", **how)
        alone += pq.read_table(tmp_path / f"{number}").to_pylist()
    assert rows == alone
    assert {row["dataset"] for row in rows} == {"one.zarr", "two.zarr"}
    header = open_table(out, Kind.PREDICTIONS).lineage
    ids = {"dataset": open_dataset(stores[0]).lineage.id}
    ids["dataset1"] = open_dataset(stores[1]).lineage.id
    assert {key: header.inputs[key] for key in ids} == ids
    assert f"--data {stores[0]} --data {stores[1]}" in header.command
    assert [table.columns["domain"] for table in found.tables] == [["A", "B"], ["A", "C"]]
    assert [table.title.partition(":")[0] for table in found.tables] == ["one.zarr", "two.zarr"]


def test_domains_may_be_missing_in_some_stores(
    experiment: SimpleNamespace, stores: list[Path], tmp_path: Path
) -> None:
    out, how = tmp_path / "p.parquet", {**HOW, "domains": ["B", "C"]}
    predict_dataset([experiment.baseline], stores, out, **how)
    found = {(row["dataset"], row["domain"]) for row in pq.read_table(out).to_pylist()}
    assert found == {("one.zarr", "B"), ("two.zarr", "C")}
    with refused(ArgumentError, "two.zarr: has none of the domains B; leave it out"):
        predict_dataset([experiment.baseline], stores, tmp_path / "q", domains=["B"])
    with refused(ArgumentError, "--domain D", "one.zarr", "they have A, B, C"):
        predict_dataset([experiment.baseline], stores, tmp_path / "q", domains=["D", "B"])


@pytest.mark.long
def test_options_refused_for_several_stores(
    experiment: SimpleNamespace, stores: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "p.parquet"
    for more in ({"masks": tmp_path / "m"}, {"overlays": tmp_path / "o"}, {"split": "fold"}):
        with refused(ArgumentError, "with 2 --data: give one store at a time"):
            predict_dataset([experiment.baseline], stores, out, **HOW, **more)
    with refused(ArgumentError, "holds the same as", "its pixels would count twice"):
        predict_dataset([experiment.baseline], [stores[0], stores[1], stores[0]], out, **HOW)
    with refused(ArgumentError, "no dataset store is given"):
        predict_dataset([experiment.baseline], [], out, **HOW)
    set_attributes(unseal(stores[1]), classes=["background", "nucleus"])
    with refused(MismatchError, stores[1], "has classes background, nucleus"):
        predict_dataset([experiment.baseline], stores, out, **HOW)
    assert not out.exists()


@pytest.mark.long
def test_resumed_run_requires_the_same_stores(
    experiment: SimpleNamespace, stores: list[Path], tmp_path: Path
) -> None:
    out = str(tmp_path / "p.parquet")
    predict_dataset(str(experiment.baseline), [str(store) for store in stores], out, **HOW)
    found = predict_dataset(str(experiment.baseline), stores, out, resume=True, **HOW)
    assert found.outputs == (Path(out),)
    with pytest.raises(Exception, match="dataset1 was"):
        predict_dataset(str(experiment.baseline), stores[:1], out, resume=True, **HOW)


# -------------------------------------------------------------------------------------------------
# Networks that others trained, through predict and features, against their own library.


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def saved(folder: Path, classes: int = 2, seed: int = 0, **how: object) -> Path:
    torch.manual_seed(seed)
    network = smp.Unet("resnet18", encoder_weights=None, classes=classes, **how)
    settled(network).save_pretrained(folder)
    return folder


def inputs(data: Path) -> torch.Tensor:
    """Return the test images of the experiment as tensors (N, 3, H, W) in [0, 1]."""
    store = open_dataset(data)
    indices = store.domain("synthetic").select("test")
    images = store.samples("synthetic", indices).read_many(range(len(indices)))[0]
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def scaled(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(part).reshape(1, 3, 1, 1) for part in (MEAN, STD))
    return (images - mean) / std


@pytest.mark.long
def test_images_are_scaled_as_in_training(experiment: SimpleNamespace, tmp_path: Path) -> None:
    folder, images = saved(tmp_path / "m"), inputs(experiment.data)
    theirs = smp.from_pretrained(folder).eval()
    found = {}
    for word in ("imagenet", "none", "0.5/0.25"):
        masks = tmp_path / f"{word[:3]}.zarr"
        out = tmp_path / f"{word[:3]}.parquet"
        how = {**HOW, "normalise": word, "masks": masks}
        predict_dataset([folder], experiment.data, out, **how)
        found[word] = open_masks(masks).read("0")
        assert open_table(out, Kind.PREDICTIONS).lineage.parameters["normalise"] == word
    for word, given in {
        "imagenet": scaled(images),
        "none": images,
        "0.5/0.25": (images - 0.5) / 0.25,
    }.items():
        with torch.inference_mode():
            expected = theirs(given).argmax(dim=1).numpy()
        assert (found[word] == expected).mean() > 0.999
    assert (found["imagenet"] != found["none"]).mean() > 0.01


@pytest.mark.long
def test_the_scaling_is_part_of_the_id(experiment: SimpleNamespace, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    ids, stores = {}, {}
    for number, word in enumerate(("none", "imagenet", "0.5/0.25")):
        out, store = tmp_path / f"{number}.parquet", tmp_path / f"{number}.zarr"
        predict_dataset([folder], experiment.data, out, normalise=word, **HOW)
        how = {"layers": ["head"], "normalise": word}
        extract_features([folder], experiment.data, store, **how)
        (ids[word],) = set(pq.read_table(out)["model_id"].to_pylist())
        stores[word] = open_features(store)
        assert stores[word].lineage is not None
        assert stores[word].lineage.inputs["model"] == ids[word]
        assert f"--normalise {word}" in stores[word].lineage.command
    assert len(set(ids.values())) == len({store.id for store in stores.values()}) == 3
    assert ids["none"] == open_model(folder).id  # as in tables from before there was a choice
    same = "0.485,0.456,0.406/0.229,0.224,0.225"
    out = tmp_path / "same.parquet"
    predict_dataset([folder], experiment.data, out, normalise=same, **HOW)
    assert set(pq.read_table(out)["model_id"].to_pylist()) == {ids["imagenet"]}


def test_the_arithmetic_is_recorded(experiment: SimpleNamespace, tmp_path: Path) -> None:
    out, store = tmp_path / "p.parquet", tmp_path / "f.zarr"
    predict_dataset([experiment.baseline], experiment.data, out, **HOW)
    extract_features([experiment.baseline], experiment.data, store, layers=["head"], device="cpu")
    header = open_features(store).lineage
    assert header is not None
    for found in (open_table(out, Kind.PREDICTIONS).lineage.arithmetic, header.arithmetic):
        assert found["threads"] == torch.get_num_threads()
        assert (found["device"], found["precision"], found["batch_pixels"]) == ("cpu", "32", 2**17)
        assert torch.backends.cpu.get_cpu_capability() in found["instructions"]


@pytest.mark.long
def test_the_input_layer_is_the_image_whatever_the_scaling(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    folder, out = saved(tmp_path / "m"), tmp_path / "f.zarr"
    how = {"layers": ["input", "enc1"], "normalise": "imagenet"}
    extract_features([folder], experiment.data, out, **how)
    plain, store = open_features(experiment.plain), open_features(out)
    assert (store.read("input", slice(None)) == plain.read("input", slice(None))).all()
    images = scaled(inputs(experiment.data))
    with torch.inference_mode():
        maps = smp.from_pretrained(folder).eval().encoder(images)[1]
    pooled = torch.nn.functional.avg_pool2d(maps, 16).flatten(2).numpy()
    np.testing.assert_allclose(store.read("enc1", slice(None)), pooled, rtol=2e-3, atol=2e-3)


@pytest.mark.long
def test_missing_normalisation_is_refused(experiment: SimpleNamespace, tmp_path: Path) -> None:
    folder, out = saved(tmp_path / "m"), tmp_path / "out"
    for call in (predict_dataset, extract_features):
        with refused(ArgumentError, folder, "was not trained by skiptool", "--normalise imagenet"):
            call([folder], experiment.data, out)
        with refused(ArgumentError, "--normalise", experiment.baseline, "was trained by skiptool"):
            call([experiment.baseline, folder], experiment.data, out, normalise="imagenet")
        with refused(ArgumentError, folder, "was not trained by skiptool"):
            call([experiment.baseline, folder], experiment.data, out)
    assert not out.exists()
    predict_dataset([experiment.baseline, folder], experiment.data, out, normalise="none", **HOW)
    assert len(set(pq.read_table(out)["model_id"].to_pylist())) == 2
    with pytest.raises(ArgumentError, match="was trained by skiptool"):
        skiptool.load_model(experiment.baseline, normalise="imagenet")


@pytest.mark.long
def test_scaling_must_match_the_channels(experiment: SimpleNamespace, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", in_channels=1)
    with refused(MismatchError, "--normalise imagenet: has 3 channels", "has 1"):
        predict_dataset([folder], experiment.data, tmp_path / "p", normalise="imagenet")


@pytest.mark.long
def test_a_single_logit_is_two_classes(experiment: SimpleNamespace, tmp_path: Path) -> None:
    folder, out = saved(tmp_path / "m", classes=1, activation="sigmoid"), tmp_path / "p.parquet"
    masks = tmp_path / "masks.zarr"
    predict_dataset([folder], experiment.data, out, normalise="none", masks=masks, **HOW)
    with torch.inference_mode():
        expected = smp.from_pretrained(folder).eval()(inputs(experiment.data))[:, 0] > 0.5
    found = open_masks(masks).read("0")
    assert 0 < found.mean() < 1
    assert (found == expected.numpy()).mean() > 0.999
    rows = pq.read_table(out).to_pylist()
    assert {row["predicted"] for row in rows} == {"background", "cell"}
    assert sum(row["pixels"] for row in rows if row["predicted"] == "cell") == found.sum()
    clean, dark = tmp_path / "clean.parquet", [Shift.parse("brightness=0.5")]
    how = {**HOW, "shifts": dark, "normalise": "none"}
    words = ["1,2,3,4,bottleneck"]
    predict_dataset([folder], experiment.data, clean, clean_skips=words, **how)
    pixels = pq.read_table(clean)["pixels"].to_pylist()
    assert pixels == [row["pixels"] for row in rows]  # all clean: as without a shift
    store = tmp_path / "f.zarr"
    extract_features([folder], experiment.data, store, normalise="none")
    assert open_features(store).shape("head") == (5, 1, 4)


@pytest.mark.long
def test_single_logits_are_averaged_as_probabilities(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    folders = [saved(tmp_path / name, 1, seed) for seed, name in enumerate("ab")]
    how = {**HOW, "normalise": "none", "ensemble": True, "masks": tmp_path / "masks.zarr"}
    predict_dataset(folders, experiment.data, tmp_path / "p.parquet", **how)
    with torch.inference_mode():
        shares = [
            smp.from_pretrained(one).eval()(inputs(experiment.data)).sigmoid() for one in folders
        ]
    expected = ((shares[0] + shares[1]) / 2)[:, 0] > 0.5
    assert (open_masks(tmp_path / "masks.zarr").read("2") == expected.numpy()).mean() > 0.999


@pytest.mark.long
def test_a_single_logit_and_three_classes(experiment: SimpleNamespace, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", classes=1)
    three = Path(shutil.copytree(experiment.data, tmp_path / "three.zarr"))
    set_attributes(three, classes=["background", "cell", "debris"])
    unseal(three)
    with refused(MismatchError, folder, "2 classes (background and foreground, by one logit)"):
        predict_dataset([folder], three, tmp_path / "p", normalise="none")


@pytest.mark.long
@pytest.mark.parametrize("options", [{"act_layer": "gelu"}, {"act_layer": "silu"}], ids=str)
def test_arguments_of_the_encoder_are_honoured(
    options: dict[str, Any], experiment: SimpleNamespace, tmp_path: Path
) -> None:
    folder, out = tmp_path / "m", tmp_path / "p.parquet"
    torch.manual_seed(0)
    network = smp.Unet("tu-resnet18", encoder_weights=None, classes=2, **options)
    settled(network).save_pretrained(folder)
    how = {**HOW, "normalise": "none", "masks": tmp_path / "masks.zarr"}
    predict_dataset([folder], experiment.data, out, **how)
    with torch.inference_mode():
        expected = smp.from_pretrained(folder).eval()(inputs(experiment.data)).argmax(dim=1)
    assert (open_masks(tmp_path / "masks.zarr").read("0") == expected.numpy()).mean() > 0.999
    before = open_model(folder).id
    set_json(folder / "config.json", act_layer=None)
    assert open_model(folder).id != before  # the same weights, another network
    set_json(folder / "config.json", act_layers="gelu")
    with refused(ArgumentError, folder, "act_layers"):
        predict_dataset([folder], experiment.data, tmp_path / "q", normalise="none")


@pytest.mark.long
def test_adding_a_model_requires_another_table(experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    predict_dataset([experiment.baseline], experiment.data, out, **HOW)
    both = [experiment.baseline, experiment.pruned]
    with refused(ExistsError, out, experiment.pruned, "predict the new one alone", "report"):
        predict_dataset(both, experiment.data, out, resume=True, **HOW)
    with refused(ExistsError, "shift was", "now"):
        how = {"shifts": [ORIGINAL, Shift.parse("contrast=2")], "resume": True, **HOW}
        predict_dataset(both, experiment.data, out, **how)
