"""Tests of ``features``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file
from torch.nn.functional import avg_pool2d

from skiptool.errors import ArgumentError, ExistsError, FormatError, MismatchError
from skiptool.names import DECODER_INPUTS, LAYERS, Split, in_data_flow
from skiptool.records import ORIGINAL, Shift
from skiptool.shifts import apply_shift
from skiptool.steps.features import features
from skiptool.steps.features.counting import Part
from skiptool.steps.features.features import (
    Job,
    Request,
    check_jobs,
    dry_run_summary,
    extract_features,
    plan_job,
    tapped_network,
)
from skiptool.stores.arrays import FeatureStore
from skiptool.stores.dataset import StoredSamples, open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.features_writer import FeatureWriter
from skiptool.stores.models import open_model
from small_models import sibling
from small_stores import sample, write_dataset

Contents = Callable[[Path], dict[str, bytes]]

DARK = Shift.parse("brightness=0.5")


def values(store: FeatureStore, layer: str) -> np.ndarray[Any, Any]:
    return np.concatenate([block for _, block in store.blocks(layer)])


def forward(model: Path, images: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Run encoder, decoder and head of SMP one after the other and pool to 2 x 2; no hooks."""
    network = smp.Unet("resnet18", encoder_weights=None, classes=2)
    network.load_state_dict(load_file(model / "model.safetensors"))
    network.eval()
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        stages = network.encoder(x)
        found = dict(zip(("input", "enc1", "enc2", "enc3", "enc4", "enc5"), stages, strict=True))
        decoded = stages[5]
        for level in (4, 3, 2, 1, 0):
            skip = stages[level] if level else None
            size = stages[level].shape[2:]
            decoded = network.decoder.blocks[4 - level](decoded, *size, skip_connection=skip)
            found[f"dec{level}"] = decoded
        found["head"] = network.segmentation_head(decoded)
        pooled = {k: avg_pool2d(t, t.shape[2] // 2).flatten(2) for k, t in found.items()}
    return {layer: vectors.numpy() for layer, vectors in pooled.items()}


def test_values_are_pooled_activations(experiment: SimpleNamespace) -> None:
    data = open_dataset(experiment.data)
    indices = data.domain("synthetic").select("test")
    images = data.samples("synthetic", indices).read_many(range(len(indices)))[0]
    shifted = np.stack([apply_shift(image, DARK) for image in images]).astype(np.uint8)
    store = open_features(experiment.dark)
    assert store.layers == LAYERS
    expected = forward(experiment.baseline, shifted)
    for layer in LAYERS:
        found = values(store, layer)
        assert found.dtype == np.float16
        assert found.shape == (5, expected[layer].shape[1], 4)  # K = (64 / 32)^2
        np.testing.assert_allclose(found, expected[layer], rtol=2e-3, atol=2e-3)
        low, high = store.ranges(layer)
        assert (low == found.min(axis=2)).all()
        assert (high == found.max(axis=2)).all()


def test_store_describes_its_contents(experiment: SimpleNamespace) -> None:
    store, data = open_features(experiment.dark_pruned), open_dataset(experiment.data)
    expected = {"model": "resnet18-L1/fold0", "dataset": "s.zarr", "domain": "synthetic"}
    expected |= {"split": "test", "shift": "brightness", "pruning": "L1-pruned"}
    assert {name: store.facts[name] for name in expected} == expected
    assert (store.facts["factor"], store.facts["grid"]) == (0.5, [2, 2])
    assert store.lineage.inputs["dataset"] == data.lineage.id
    domain = data.domain("synthetic")
    indices = domain.select("test")
    assert set(store.columns) == set(domain.columns)
    for name, column in domain.columns.items():
        assert (store.columns[name] == column[indices]).all()
    assert open_features(experiment.plain_pruned).facts["factor"] is None


@pytest.mark.long
def test_same_bytes_twice(experiment: SimpleNamespace, tmp_path: Path, contents: Contents) -> None:
    out = tmp_path / "f.zarr"
    found = extract_features([experiment.baseline], experiment.data, out, shifts=[DARK])
    assert found.outputs == (out,)
    assert contents(out) == contents(experiment.dark)


@pytest.mark.long
def test_layers_are_in_data_flow_order(experiment: SimpleNamespace, tmp_path: Path) -> None:
    layers = ["encoder.layer1.0.relu@2", "head", "enc2", "head"]
    extract_features([experiment.baseline], experiment.data, tmp_path / "f.zarr", layers=layers)
    store = open_features(tmp_path / "f.zarr")
    assert store.layers == ("enc2", "head", "encoder.layer1.0.relu@2")
    plain = open_features(experiment.plain)
    assert (values(store, "enc2") == values(plain, "enc2")).all()


@pytest.mark.long
def test_inputs_of_decoder_blocks_are_added(experiment: SimpleNamespace, tmp_path: Path) -> None:
    models, how = [experiment.baseline, experiment.pruned], {"transmission": True}
    found = extract_features(models, experiment.data, tmp_path / "f", **how)
    whole, pruned = map(open_features, found.outputs)
    assert whole.layers == tuple(in_data_flow([*LAYERS, *DECODER_INPUTS]))
    assert set(whole.layers) - set(pruned.layers) == {"dec1.from_skip"}
    plain = open_features(experiment.plain)
    assert (values(whole, "dec1") == values(plain, "dec1")).all()
    assert whole.id != plain.id
    parts = values(whole, "dec1.from_skip").astype(float) + values(whole, "dec1.from_below")
    out = tmp_path / "g.zarr"
    conv = "decoder.blocks.3.conv1.0"
    extract_features([experiment.baseline], experiment.data, out, layers=[conv])
    np.testing.assert_allclose(parts, values(open_features(out), conv), rtol=5e-3, atol=5e-3)


@pytest.mark.long
def test_float32_is_more_precise(experiment: SimpleNamespace, tmp_path: Path) -> None:
    how = {"layers": ["enc5"], "dtype": "float32"}
    extract_features([experiment.baseline], experiment.data, tmp_path / "f.zarr", **how)
    found = values(open_features(tmp_path / "f.zarr"), "enc5")
    assert found.dtype == np.float32
    narrow = values(open_features(experiment.plain), "enc5")
    assert (found.astype(np.float16) == narrow).all()
    assert (found != narrow).any()


@pytest.mark.long
def test_folder_is_filled_in_one_pass(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, read = [], StoredSamples.read_many
    monkeypatch.setattr(
        StoredSamples, "read_many", lambda self, rows: (calls.append(rows), read(self, rows))[1]
    )
    both, out = [experiment.baseline, experiment.pruned], tmp_path / "stores"
    found = extract_features(
        both, experiment.data, out, shifts=[ORIGINAL, DARK], layers=["enc1"], split="all"
    )
    assert [len(rows) for rows in calls] == [16, 8]
    assert [path.name for path in found.outputs] == [
        f"resnet18-L{level}-fold0_synthetic_{shift}.zarr"
        for level in (0, 1)
        for shift in ("original", "brightness-0.5")
    ]
    assert sorted(out.iterdir()) == sorted(found.outputs)
    # More stores join the folder; those that are there are refused, or skipped by --resume.
    more = {"layers": ["enc1"], "split": "all"}
    with pytest.raises(ExistsError):
        extract_features(both, experiment.data, out, shifts=[DARK], **more)
    new = Shift.parse("contrast=2")
    extract_features(both[:1], experiment.data, out, shifts=[new], **more)
    before = len(calls)
    extract_features(both[:1], experiment.data, out, shifts=[DARK, new], **more, resume=True)
    assert len(calls) == before
    assert len(list(out.iterdir())) == 5


@pytest.mark.long
def test_dry_run_counts_and_writes_nothing(experiment: SimpleNamespace, tmp_path: Path) -> None:
    how = {"shifts": [ORIGINAL, DARK], "layers": ["input", "enc1"], "dry_run": True}
    out = tmp_path / "stores"
    found = extract_features([experiment.baseline], experiment.data, out, **how)
    assert found.outputs == ()
    size = 2 * 5 * (3 + 64) * 4 * 2  # stores, images, channels, vectors, bytes
    assert found.summary == {"stores": 2, "images": 10, "bytes before compression": size}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_interrupted_run_can_be_resumed(
    experiment: SimpleNamespace,
    tmp_path: Path,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how = {"layers": ["enc1", "head"], "split": "all", "shifts": [DARK]}
    out, whole, tap, sizes = (
        tmp_path / "f.zarr",
        tmp_path / "whole.zarr",
        features.pooled_activations,
        [],
    )
    extract_features([experiment.baseline], experiment.data, whole, **how)

    def interrupted(network: Any, images: Any, *words: Any) -> Any:  # noqa: ANN401
        sizes.append(len(images))
        if sizes == [16, 8]:
            raise KeyboardInterrupt
        return tap(network, images, *words)

    monkeypatch.setattr(features, "pooled_activations", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_features([experiment.baseline], experiment.data, out, **how)
    assert not out.exists()
    with pytest.raises(ExistsError, match="interrupted run"):
        extract_features([experiment.baseline], experiment.data, out, **how)
    other = how | {"shifts": [ORIGINAL]}
    with pytest.raises(ExistsError, match=r"shift was 'brightness=0\.5', now 'original'"):
        extract_features([experiment.baseline], experiment.data, out, **other, resume=True)
    extract_features([experiment.baseline], experiment.data, out, **how, resume=True)
    assert sizes == [16, 8, 8]  # the first chunk was safe
    assert contents(out) == contents(whole)
    other = how | {"split": "test"}
    with pytest.raises(ExistsError, match="split was 'all', now 'test'"):
        extract_features([experiment.baseline], experiment.data, out, **other, resume=True)


@pytest.mark.long
def test_full_disk_keeps_recorded_chunks(
    experiment: SimpleNamespace,
    tmp_path: Path,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how = {
        "layers": ["head"],
        "split": "all",
        "shifts": [ORIGINAL, DARK, Shift.parse("contrast=2")],
    }
    taps, appends, tap, append = [], [], features.pooled_activations, FeatureWriter.append

    def full(self: FeatureWriter, blocks: Any) -> None:  # noqa: ANN401
        appends.append(threading.current_thread() is threading.main_thread())
        if len(appends) == 2:
            raise OSError(28, "No space left on device")
        append(self, blocks)

    with monkeypatch.context() as patch:
        patch.setattr(
            features, "pooled_activations", lambda *words: (taps.append(words), tap(*words))[1]
        )
        patch.setattr(FeatureWriter, "append", full)
        with pytest.raises(OSError, match="No space left"):
            extract_features([experiment.baseline], experiment.data, tmp_path / "f", **how)
    assert appends == [False, False]  # nothing is written behind the failed block
    assert len(taps) == 3  # of six: the third was on its way
    extract_features([experiment.baseline], experiment.data, tmp_path / "f", **how, resume=True)
    extract_features([experiment.baseline], experiment.data, tmp_path / "whole", **how)
    for path in (tmp_path / "whole").iterdir():
        assert contents(tmp_path / "f" / path.name) == contents(path)


@pytest.mark.long
def test_written_chunks_are_not_read_again(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"layers": ["head"], "split": "all"}
    calls, read = [], StoredSamples.read_many
    with monkeypatch.context() as patch:
        patch.setattr(FeatureWriter, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            extract_features([experiment.baseline], experiment.data, tmp_path / "f.zarr", **how)
    monkeypatch.setattr(
        StoredSamples, "read_many", lambda self, rows: (calls.append(rows), read(self, rows))[1]
    )
    extract_features(
        [experiment.baseline], experiment.data, tmp_path / "f.zarr", **how, resume=True
    )
    assert calls == []


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.long
def test_each_model_uses_its_validation_images(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stores hold what a store of all training images holds of the fold, under its own name."""
    for fold in (1, 2):
        sibling(experiment.baseline, tmp_path / f"runs/fold{fold}", fold)
    sibling(experiment.pruned, tmp_path / "runs/L1", 1)
    calls, read = [], StoredSamples.read_many
    monkeypatch.setattr(
        StoredSamples, "read_many", lambda self, rows: (calls.append(rows), read(self, rows))[1]
    )
    how: dict[str, Any] = {"layers": ["head"], "shifts": [ORIGINAL, DARK]}
    found = extract_features(
        [tmp_path / "runs"], experiment.data, tmp_path / "f", split="fold", **how
    )
    columns = open_dataset(experiment.data).domain("synthetic").columns
    assert [len(rows) for rows in calls] == [
        int((columns["fold"] == fold).sum()) for fold in (1, 2)
    ]
    assert (len(found.outputs), found.failures) == (6, ())
    whole = extract_features(
        [tmp_path / "runs"], experiment.data, tmp_path / "train", split="train", **how
    )
    for path, other in zip(found.outputs, whole.outputs, strict=True):
        store, all_ = open_features(path), open_features(other)
        own = all_.columns["fold"] == store.facts["fold"]
        assert (store.facts["split"], all_.facts["split"]) == ("validation", "train")
        assert store.columns["id"].tolist() == all_.columns["id"][own].tolist()
        np.testing.assert_array_equal(values(store, "head"), values(all_, "head")[own])
        assert store.id != all_.id
        assert store.lineage.parameters["split"] == "fold"


@pytest.mark.long
def test_models_of_another_split_are_listed_and_others_used(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"layers": ["head"], "split": "fold", "normalise": "none"}
    sibling(experiment.baseline, tmp_path / "runs/good", 1)
    theirs = tmp_path / "runs/theirs"
    smp.Unet("resnet18", encoder_weights=None, classes=2).save_pretrained(theirs)
    found = extract_features([tmp_path / "runs"], experiment.data, tmp_path / "f", **how)
    assert [path.name for path in found.outputs] == ["resnet18-L0-fold1_synthetic_original.zarr"]
    (line,) = found.failures
    assert line == (
        f"{theirs}: does not say which fold it was validated on, --split fold needs a model of "
        "'skiptool train'; choose another --split"
    )
    with pytest.raises(MismatchError, match="does not say which fold"):
        extract_features([theirs], experiment.data, tmp_path / "g", **how)
    assert not (tmp_path / "g").exists()


@pytest.mark.long
def test_a_run_over_the_folds_is_resumed_for_the_same_split_only(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    models, out = [experiment.baseline], tmp_path / "f.zarr"
    how: dict[str, Any] = {"layers": ["head"], "resume": True}
    extract_features(models, experiment.data, out, split="fold", **how)
    first = open_features(out).id
    extract_features(models, experiment.data, out, split="fold", **how)
    assert open_features(out).id == first
    with pytest.raises(ExistsError, match="split was 'fold', now 'test'"):
        extract_features(models, experiment.data, out, split="test", **how)
    with pytest.raises(ArgumentError, match="expected train, test, fold, all"):
        extract_features(models, experiment.data, out, split="validation", **how)


@pytest.mark.long
def test_sizes_that_32_does_not_divide(experiment: SimpleNamespace, tmp_path: Path) -> None:
    samples = [sample(index, "odd", (50, 70, 3), split=Split.TEST) for index in range(2)]
    write_dataset(tmp_path / "d.zarr", samples)
    extract_features([experiment.baseline], tmp_path / "d.zarr", tmp_path / "f.zarr")
    store = open_features(tmp_path / "f.zarr")
    assert (store.facts["patch_size"], store.facts["grid"]) == ([50, 70], [2, 3])
    assert [values(store, layer).shape[2] for layer in LAYERS] == [6] * 12
    # The first window of the input: rows 0 to 24, columns 0 to 23 (a third of 70, rounded up).
    window = samples[0].image[:25, :24] / 255
    np.testing.assert_allclose(values(store, "input")[0, :, 0], window.mean(axis=(0, 1)), rtol=2e-3)


@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [(np.nan, FormatError, "not finite"), (1e6, ArgumentError, "--dtype float32")],
)
def test_invalid_activations_leave_no_store(
    value: float,
    error: type[Exception],
    reason: str,
    experiment: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_network: object, images: Any, layers: Any, *_: object) -> Any:  # noqa: ANN401
        found = np.ones((len(images), 2, 4), dtype=np.float32)
        found[3, 1, 2] = value
        return dict.fromkeys(layers, found)

    monkeypatch.setattr(features, "pooled_activations", broken)
    name = open_dataset(experiment.data).domain("synthetic").select("test")[3]
    with pytest.raises(error, match=f"layer enc1, image {name:05d}.*{reason}"):
        extract_features(
            [experiment.baseline], experiment.data, tmp_path / "stores", layers=["enc1"]
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_overwrite_replaces(experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "f.zarr"
    extract_features([experiment.baseline], experiment.data, out, layers=["head"])
    first = open_features(out).lineage.id
    extract_features([experiment.pruned], experiment.data, out, layers=["head"], overwrite=True)
    assert open_features(out).lineage.id != first
    assert [path.name for path in tmp_path.iterdir()] == ["f.zarr"]


@pytest.mark.long
def test_a_folder_of_models_stands_for_all_of_them(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    """One of ours and one that segmentation-models-pytorch saved itself."""
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=2).eval()
    theirs.save_pretrained(tmp_path / "models/theirs")
    (tmp_path / "models/ours").symlink_to(experiment.baseline)
    out = tmp_path / "f"
    how: dict[str, Any] = {"layers": ["head"], "normalise": "none"}
    found = extract_features([tmp_path / "models"], experiment.data, out, **how)
    names = ["resnet18-L0-fold0_synthetic_original.zarr", "theirs_synthetic_original.zarr"]
    assert [path.name for path in found.outputs] == names
    store = open_features(found.outputs[1])
    assert (store.facts["fold"], store.facts["pruning"]) == (None, "baseline")
    plain = open_features(experiment.plain).read("head", slice(None))
    assert (open_features(found.outputs[0]).read("head", slice(None)) == plain).all()


@pytest.mark.long
def test_one_grid_for_all_sizes(experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "f.zarr"
    extract_features([experiment.baseline], experiment.data, out, shifts=[DARK], grid=(1, 1))
    store, plain = open_features(out), open_features(experiment.dark)
    assert (store.facts["grid"], store.grid) == ([1, 1], (1, 1))
    assert store.facts["pooling"] == "mean over a grid of 1x1"
    assert store.id != plain.id
    assert store.lineage is not None
    assert "--grid 1x1" in store.lineage.command
    for layer in LAYERS:
        mean = values(plain, layer).astype(np.float32).mean(axis=2, keepdims=True)
        np.testing.assert_allclose(values(store, layer), mean, rtol=4e-3, atol=4e-3)


def test_a_grid_finer_than_the_bottleneck_is_refused(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "f.zarr"
    with pytest.raises(MismatchError, match=r"--grid 2x3 is finer than the deepest .* 2x2"):
        extract_features([experiment.baseline], experiment.data, out, grid=(2, 3))
    assert not out.exists()


@pytest.mark.long
def test_several_datasets_fill_one_folder(experiment: SimpleNamespace, tmp_path: Path) -> None:
    other, out = tmp_path / "other.zarr", tmp_path / "f"
    write_dataset(other, [sample(i, "b", (64, 64, 3), split=Split.TEST, fold=-1) for i in range(3)])
    both = [experiment.data, other]
    made = extract_features([experiment.baseline], both, out, layers=["head"]).outputs
    stores = [open_features(path) for path in made]
    assert [store.facts["domain"] for store in stores] == ["synthetic", "b"]
    assert [store.facts["dataset"] for store in stores] == ["s.zarr", "other.zarr"]
    alone = extract_features(
        [experiment.baseline], other, tmp_path / "one.zarr", layers=["head"]
    ).outputs
    assert (values(open_features(alone[0]), "head") == values(stores[1], "head")).all()


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"split": "fold"}, "--split fold with 2 --data"),
        ({"counts": True}, "with --ranges"),
        ({"domains": ["c"]}, "in none of"),
        ({"domains": ["b"]}, "has none of the domains b"),
    ],
)
def test_options_refused_for_several_datasets(
    experiment: SimpleNamespace, tmp_path: Path, how: dict[str, Any], why: str
) -> None:
    other = tmp_path / "other.zarr"
    write_dataset(other, [sample(i, "b", (64, 64, 3), split=Split.TEST, fold=-1) for i in range(3)])
    with pytest.raises(ArgumentError, match=why):
        extract_features([experiment.baseline], [experiment.data, other], tmp_path / "f", **how)
    assert not (tmp_path / "f").exists()


@pytest.mark.long
def test_equal_domain_names_need_different_folders(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    other = tmp_path / "other.zarr"
    how: dict[str, Any] = {"split": Split.TEST, "fold": -1}
    write_dataset(other, [sample(i, "synthetic", (64, 64, 3), **how) for i in range(3)])
    with pytest.raises(ArgumentError, match="domains of the same name"):
        extract_features([experiment.baseline], [experiment.data, other], tmp_path / "f")


def request(out: Path) -> Request:
    return Request(out, "test", (), False, "float16", None, "cpu")


@pytest.fixture
def job(experiment: SimpleNamespace, tmp_path: Path) -> Job:
    store = open_dataset(experiment.data)
    tapped = tapped_network(open_model(experiment.baseline), ["head", "enc1"])
    part = Part.of(store.domain("synthetic"), "test")
    return plan_job(tapped, store, part, DARK, request(tmp_path))


def test_job_describes_its_store(job: Job, tmp_path: Path) -> None:
    assert job.out == tmp_path / "resnet18-L0-fold0_synthetic_brightness-0.5.zarr"
    assert job.layers == ("enc1", "head")
    assert job.invocation.parameters["layers"] == "enc1,head"
    assert (job.facts["shift"], job.facts["factor"]) == ("brightness", 0.5)
    assert len(job.indices) == 5


@pytest.mark.long
def test_layers_of_a_network(experiment: SimpleNamespace) -> None:
    model = open_model(experiment.pruned)
    assert tapped_network(model, []).layers == LAYERS
    added = tapped_network(model, ["enc1"], transmission=True).layers
    kept = [name for name in DECODER_INPUTS if name != "dec1.from_skip"]
    assert added == ("enc1", *kept)
    whole = tapped_network(open_model(experiment.baseline), [], transmission=True).layers
    assert whole == tuple(in_data_flow([*LAYERS, *DECODER_INPUTS]))


def test_estimated_sizes_equal_the_stored_ones(job: Job) -> None:
    vectors = 5 * (64 + 2) * 4  # images, channels of enc1 and head, places
    expected = {"stores": 2, "images": 10, "bytes before compression": 2 * 2 * vectors}
    assert dry_run_summary([job, job], "float16") == expected


def test_colliding_jobs_are_refused(job: Job, tmp_path: Path) -> None:
    check_jobs([job], tmp_path)
    with pytest.raises(ArgumentError, match="would be made twice"):
        check_jobs([job, job], tmp_path)
    with pytest.raises(ArgumentError, match=r"one store, but 2 would be made"):
        check_jobs([job, job], tmp_path / "one.zarr")


@pytest.mark.long
def test_unsuitable_images_are_refused(
    experiment: SimpleNamespace, job: Job, tmp_path: Path
) -> None:
    store = open_dataset(experiment.data)
    grey = replace(store.domain("synthetic"), name="grey", channels=1)
    tapped = tapped_network(open_model(experiment.baseline), job.layers)
    with pytest.raises(MismatchError):
        plan_job(tapped, store, Part(grey, (0,)), ORIGINAL, request(tmp_path))
