"""Export for nnU-Net: the layout of its documentation, and equal data after importing it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from heard import Heard
from skiptool.errors import MismatchError
from skiptool.exports.nnunet import export_nnunet
from skiptool.names import Split
from skiptool.records import SILENT, Sample
from skiptool.steps.extract_images import extract_images
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from small_stores import MAKING, refused, sample, write_dataset


def export(folder: Path, samples: Sequence[Sample]) -> Path:
    write_dataset(folder / "d.zarr", samples)
    return export_nnunet(folder / "d.zarr", folder / "Dataset501_Test", SILENT)


def test_layout_follows_nnunet(tmp_path: Path) -> None:
    """Read by OpenCV, as nnU-Net's own reader would: plain values, no palette."""
    samples = [sample(n, "A", (8, 6, 3)) for n in range(6)]
    folder = export(tmp_path, samples)
    about = json.loads((folder / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert about["labels"] == {"background": 0, "cell": 1, "debris": 2, "ignore": 3}
    assert (about["file_ending"], about["numTraining"]) == (".png", 4)
    assert about["overwrite_image_reader_writer"] == "NaturalImage2DIO"
    for each in samples:
        part = "Tr" if each.split is Split.TRAIN else "Ts"
        image = cv2.imread(str(folder / f"images{part}/{each.id}_0000.png"), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(folder / f"labels{part}/{each.id}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(image[..., ::-1], each.image)
        assert mask.ndim == 2
        assert np.array_equal(mask, np.where(each.mask == 255, 3, each.mask))
    splits = json.loads((folder / "splits_final.json").read_text())
    assert len(splits) == 2
    for fold, split in enumerate(splits):
        validated = {each.id for each in samples if each.fold == fold}
        assert set(split["val"]) == validated
        assert set(split["train"]) == {e.id for e in samples if e.fold >= 0} - validated
    assert not list(tmp_path.glob(".*"))


def test_grey_images_are_32_bit_tiff(tmp_path: Path) -> None:
    grey = replace(sample(1, "A", (8, 6, 1)), mask=np.ones((8, 6), np.uint8))
    folder = export(tmp_path, [grey])
    about = json.loads((folder / "dataset.json").read_text())
    assert (about["channel_names"], about["file_ending"]) == ({"0": "grey"}, ".tif")
    assert "ignore" not in about["labels"]
    found = tifffile.imread(folder / "imagesTr" / "001_0000.tif")
    assert found.dtype == np.float32
    assert np.array_equal(found, grey.image[..., 0])
    assert np.array_equal(tifffile.imread(folder / "labelsTr" / "001.tif"), grey.mask)
    assert not (folder / "splits_final.json").exists()  # a single fold cannot be validated


@pytest.mark.long
@pytest.mark.parametrize("channels", [1, 3])
def test_exported_folder_can_be_imported(tmp_path: Path, channels: int) -> None:
    odd = {0: "a/b", 1: "a:b", 2: "A_B", 3: "é 1", 4: "x_0001", 5: "."}
    samples = [
        replace(sample(n, domain, (8, 6, channels)), id=odd[n]) for n in range(6) for domain in "AB"
    ]
    folder = export(tmp_path, samples)
    again = tmp_path / "again.zarr"
    found = extract_images(again, manifest=folder, pictures=False)
    assert found.failures == ()
    first, second = open_dataset(tmp_path / "d.zarr"), open_dataset(again)
    assert first.classes == second.classes
    assert list(first.domains) == list(second.domains)
    for name, domain in first.domains.items():
        other = second.domain(name)
        for column in ("id", "subject", "split", "fold", "digest"):
            assert list(domain.columns[column]) == list(other.columns[column])
        for index in range(len(domain)):
            pair = [store.samples(name, [index]).read(0) for store in (first, second)]
            assert np.array_equal(pair[0][0], pair[1][0])
            assert np.array_equal(pair[0][1], pair[1][1])


def test_without_a_manifest_cases_are_identified_by_name(tmp_path: Path) -> None:
    folder = export(tmp_path, [sample(n, "A", (8, 6, 3)) for n in range(6)])
    (folder / "manifest.csv").unlink()
    extract_images(tmp_path / "e.zarr", manifest=folder, domain="A", folds=2, pictures=False)
    columns = [open_dataset(tmp_path / name).domain("A").columns for name in ("d.zarr", "e.zarr")]
    digests = [dict(zip(c["id"], c["digest"], strict=True)) for c in columns]
    splits = [dict(zip(c["id"], c["split"], strict=True)) for c in columns]
    assert digests[0] == digests[1]
    assert splits[0] == splits[1]


def test_dataset_without_test_samples_keeps_its_folds(tmp_path: Path) -> None:
    samples = [sample(n, "A", (8, 6, 3)) for n in range(6)]
    folder = export(tmp_path, [each for each in samples if each.split is Split.TRAIN])
    assert extract_images(tmp_path / "e.zarr", manifest=folder, pictures=False).failures == ()
    folds = [
        dict(zip(columns["id"], columns["fold"].tolist(), strict=True))
        for columns in (
            open_dataset(tmp_path / name).domain("A").columns for name in ("d.zarr", "e.zarr")
        )
    ]
    assert folds[0] == folds[1]
    # A case added by hand belongs to no fold.
    for part, name in (("imagesTr", "{}_0000.png"), ("labelsTr", "{}.png")):
        shutil.copy(folder / part / name.format("001"), folder / part / name.format("new"))
    heard = Heard()
    extract_images(
        tmp_path / "f.zarr", manifest=folder, folds=2, pictures=False, domain="A", progress=heard
    )
    assert len(heard.lines) == 2
    assert "identical, pixel by pixel" in heard.lines[1]
    assert "manifest.csv has no fold for 1 cases; folds are assigned anew" in heard.lines[0]
    assert set(open_dataset(tmp_path / "f.zarr").domain("A").columns["split"]) == {"train"}


def test_other_background_name_is_kept(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "d.zarr", ("glass", "tissue", "fold"), MAKING)
    writer.append(sample(1, "A", (8, 6, 3)))
    writer.finish()
    folder = export_nnunet(tmp_path / "d.zarr", tmp_path / "n", SILENT)
    assert json.loads((folder / "dataset.json").read_text())["labels"]["background"] == 0
    how = {"test_fraction": 0.0, "folds": 1, "pictures": False}
    extract_images(tmp_path / "e.zarr", manifest=folder, **how)
    assert open_dataset(tmp_path / "e.zarr").classes == ("glass", "tissue", "fold")


def test_mixed_channels_and_reserved_names_are_refused(tmp_path: Path) -> None:
    with refused(MismatchError, "d.zarr: has domains of 1 and 3 channels"):
        export(tmp_path, [sample(0, "A", (8, 6, 3)), sample(0, "B", (8, 6, 1))])
    for classes in (("background", "ignore", "c"), ("glass", "background", "c")):
        out = tmp_path / f"{classes[0]}.zarr"
        writer = DatasetWriter(out, classes, MAKING)
        writer.append(sample(1, "A", (8, 6, 3)))
        writer.finish()
        with refused(MismatchError, f"a class {classes[1]}, a name that nnU-Net reserves"):
            export_nnunet(out, tmp_path / "n", SILENT)
    assert not (tmp_path / "n").exists()
