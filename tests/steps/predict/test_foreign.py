"""Networks that others trained, through predict and features, against their own library."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import segmentation_models_pytorch as smp
import torch

import skiptool
from skiptool.errors import ArgumentError, ExistsError, MismatchError
from skiptool.names import Kind, Precision
from skiptool.records import ORIGINAL, Shift
from skiptool.steps.features.features import extract_features
from skiptool.steps.predict.predict import predict_dataset
from skiptool.stores.dataset import open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.masks import open_masks
from skiptool.stores.models import open_model
from skiptool.stores.tables import open_table
from small_models import settled
from small_stores import refused, set_attributes, set_json, unseal

HOW: dict[str, Any] = {"precision": Precision.FLOAT32, "device": "cpu"}
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
def test_images_are_scaled_as_the_owner_of_the_network_did(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
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
def test_what_is_not_said_is_asked_for(experiment: SimpleNamespace, tmp_path: Path) -> None:
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
def test_channels_of_the_scaling_are_those_of_the_images(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "m", in_channels=1)
    with refused(MismatchError, "--normalise imagenet: is of 3 channels", "has 1"):
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
def test_a_model_is_added_by_a_table_of_its_own(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "p.parquet"
    predict_dataset([experiment.baseline], experiment.data, out, **HOW)
    both = [experiment.baseline, experiment.pruned]
    with refused(ExistsError, out, experiment.pruned, "predict the new one alone", "report"):
        predict_dataset(both, experiment.data, out, resume=True, **HOW)
    with refused(ExistsError, "shift was", "now"):
        how = {"shifts": [ORIGINAL, Shift.parse("contrast=2")], "resume": True, **HOW}
        predict_dataset(both, experiment.data, out, **how)
