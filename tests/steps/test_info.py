"""Tests of ``info``."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import zarr
from safetensors.torch import load_file

import skiptool
from remote_hosts import in_memory
from skiptool.errors import ArgumentError, FormatError
from skiptool.steps.info import describe
from skiptool.stores.zarrs import record_failures

KINDS = {
    "data": "dataset",
    "baseline": "model",
    "predictions": "predictions",
    "masks": "masks",
    "plain": "features",
    "shift": "shift",
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_described_and_sound(name: str, experiment: SimpleNamespace) -> None:
    path = getattr(experiment, name)
    found = describe([path], check=True)
    assert found.failures == ()
    entry = found.summary[str(path)]
    assert entry["kind"] == KINDS[name] == entry["lineage"]["kind"]
    assert "checksums and seals hold" in entry["check"]
    keys = {"kind", "format_version", "skiptool_version", "command", "parameters", "created"}
    made_by_a_network = {"arithmetic"} if name in ("predictions", "masks", "plain") else set()
    assert set(entry["lineage"]) == keys | {"id", "inputs"} | made_by_a_network
    json.dumps(found.summary, allow_nan=False)
    assert found.text.splitlines()[0] == str(path)
    assert f"  id: {entry['lineage']['id']}" in found.text.splitlines()


def test_contents_are_described(experiment: SimpleNamespace) -> None:
    def entry(path: Path) -> dict[str, Any]:
        found: dict[str, Any] = describe([path]).summary[str(path)]
        return found

    data = entry(experiment.data)
    assert data["classes"] == ["background", "cell"]
    inside = {"samples": 24, "train": 19, "test": 5, "size": [64, 64, 3], "folds": [0, 1, 2]}
    assert data["domains"] == {"synthetic": inside | {"subjects": 24}}
    contents = data["contents"]["synthetic"]
    assert (contents["samples"], contents["images of one value"]) == (24, 0)
    assert contents["background"] + contents["cell"] == pytest.approx(1)
    model = entry(experiment.pruned)
    assert (model["parameter_count"], model["skips"]) == (14_309_922, [2, 3, 4])
    assert "parameter_count: 14,309,922" in describe([experiment.pruned]).text
    features = entry(experiment.plain)
    assert (features["images"], features["layers"]["enc5"]) == (5, [5, 512, 4])
    assert entry(experiment.predictions)["rows"] == 80
    assert [found["images"] for found in entry(experiment.masks)["entries"]] == [5] * 4


def test_recorded_failures_are_shown(experiment: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "s.zarr"
    shutil.copytree(experiment.data, copy)
    record_failures(copy, ["b.png: cut off"])
    assert describe([copy]).summary[str(copy)]["failures"] == ["b.png: cut off"]
    assert "b.png: cut off" in describe([copy]).text
    assert "failures" not in describe([experiment.data]).text


def test_only_the_command(experiment: SimpleNamespace) -> None:
    found = describe([experiment.data, experiment.baseline], command=True)
    first, second = found.text.split("\n\n")
    assert first.startswith("skiptool synth --n 24 --size 64 --canvas 300 --cells 1:4")
    assert second.startswith(f"skiptool train {experiment.data} ")
    assert "--skips 1,2,3,4" in second


def test_foreign_model_has_no_lineage(tmp_path: Path) -> None:
    smp.Unet("resnet18", encoder_weights=None, classes=3).save_pretrained(tmp_path / "theirs")
    found = describe([tmp_path / "theirs"], check=True)
    entry = found.summary[str(tmp_path / "theirs")]
    assert entry["lineage"] is None
    assert entry["classes"] == ["background", "class1", "class2"]
    command = describe([tmp_path / "theirs"], command=True)
    assert command.text == "# not made by skiptool"


def largest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("data", "synthetic/images/c/*/*/*/*"),
        ("data", "synthetic/masks/c/*/*/*"),
        ("data", "synthetic/samples/digest/c/*"),
        ("plain", "layers/enc3/c/*/*/*"),
        ("plain", "ranges/enc3/low/c/*/*"),
        ("masks", "0/labels/c/*/*/*"),
        ("masks", "0/samples/id/c/*"),
        ("pruned", "model.safetensors"),
        ("pruned", "last.ckpt"),
    ],
)
def test_flipped_bit_is_found(
    name: str, pattern: str, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    original = getattr(experiment, name)
    copy = tmp_path / original.name
    shutil.copytree(original, copy)
    file = largest(copy, pattern)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    with pytest.raises(FormatError, match=copy.name):
        describe([copy], check=True)
    found = describe([copy, original], check=True)
    assert len(found.failures) == 1
    assert list(found.summary) == [str(original)]


def test_flipped_page_of_a_table_is_found(experiment: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "t.parquet"
    content = bytearray(experiment.shift.read_bytes())
    place = len(content) // 4  # pages come first, the footer last
    content[place] ^= 4
    copy.write_bytes(content)
    with pytest.raises(FormatError, match="damaged"):
        describe([copy], check=True)


def test_replaced_pixels_are_found(experiment: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "s.zarr"
    shutil.copytree(experiment.data, copy)
    group: Any = zarr.open_group(copy, mode="r+")
    group["synthetic/masks"][7, 3, 3] = 1 - group["synthetic/masks"][7, 3, 3]
    with pytest.raises(FormatError, match="domain synthetic, samples 00007: pixels are not those"):
        describe([copy], check=True)
    assert describe([copy]).failures == ()


def test_values_out_of_range_are_found(experiment: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "f.zarr"
    shutil.copytree(experiment.plain, copy)
    group: Any = zarr.open_group(copy, mode="r+")
    group["layers/enc2"][2, 1, 0] = 1000.0
    with pytest.raises(FormatError, match="layer enc2: images from 0: values are outside"):
        describe([copy], check=True)


def test_all_fail(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a: no such file.*; .*b: no such file"):
        describe([tmp_path / "a", tmp_path / "b"])


def test_progress_counts_paths(experiment: SimpleNamespace) -> None:
    notes: list[str] = []

    class Counting:
        def task(self, text: str, total: int) -> Any:  # noqa: ANN401 - a context manager
            assert total == 2
            return nullcontext(self)

        def advance(self, steps: int = 1, note: str = "") -> None:
            notes.append(note)

        def warn(self, line: str) -> None:
            raise AssertionError(line)

    describe([experiment.data, experiment.shift], progress=Counting())
    assert notes == ["s.zarr", "shift.parquet"]


def test_baseline_is_smps_own_network(experiment: SimpleNamespace) -> None:
    network = skiptool.load_model(experiment.baseline)
    assert not network.training
    oracle = smp.Unet("resnet18", encoder_weights=None, classes=2).eval()
    oracle.load_state_dict(load_file(experiment.baseline / "model.safetensors"))
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = network(images)
        assert logits.shape == (2, 2, 64, 96)
        assert (logits == oracle(images)).all()


def test_pruned_network_lacks_the_weights_of_its_skip(experiment: SimpleNamespace) -> None:
    whole, pruned = (
        sum(weight.numel() for weight in skiptool.load_model(path).parameters())
        for path in (experiment.baseline, experiment.pruned)
    )
    assert (whole, pruned) == (14_328_354, 14_309_922)  # Table II


def test_folder_saved_by_smp_is_a_model(tmp_path: Path) -> None:
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=2).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = skiptool.load_model(tmp_path / "theirs")
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert (ours(images) == theirs(images)).all()


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no model folder"):
        skiptool.load_model(tmp_path / "gone")


@pytest.mark.long
def test_remote_model(experiment: SimpleNamespace) -> None:
    pytest.importorskip("fsspec", reason="remote models need fsspec (extra remote)")
    with in_memory() as files:
        for name in ("config.json", "model.safetensors"):
            for folder in ("/runs/a", "/runs/b"):
                files.put(str(experiment.pruned / name), f"{folder}/{name}")
        network = skiptool.load_model("memory://runs/a")
        expected = skiptool.load_model(experiment.pruned).state_dict()
        assert all((network.state_dict()[name] == each).all() for name, each in expected.items())
        with pytest.raises(ArgumentError, match="memory://runs: 2 models are below it"):
            skiptool.load_model("memory://runs")
