"""The step ``extract_images``: from pictures to a store, splits, tiles, exports."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from heard import Heard
from skiptool.errors import ArgumentError, ExistsError, MismatchError, SourceError
from skiptool.names import ExportFormat
from skiptool.records import SILENT, Progress, Sample
from skiptool.sources.pictures.files import read_picture, write_mask, write_picture
from skiptool.sources.pictures.intensities import Scale
from skiptool.sources.pictures.labels import label_map
from skiptool.sources.pictures.samples import Item, ReadOptions, survey
from skiptool.splits import SplitOptions
from skiptool.steps import extract_images as step
from skiptool.steps.extract_images import (
    DEFAULT_CLASSES,
    assign_images,
    check_formats,
    list_images,
    survey_images,
    write_images,
)
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import SHARD, DatasetWriter
from skiptool.stores.zarrs import recorded_failures
from small_stores import MAKING, refused

Contents = Callable[[Path], dict[str, bytes]]

# Contact sheets are only drawn in tests that look at them.
extract_images = partial(step.extract_images, pictures=False)

COLOURS = [(0, 0, 0), (255, 255, 255)]
HEADER = "image,mask,domain,subject"


def draw(folder: Path, names: list[str], value: int = 1, side: int = 16) -> None:
    """Write pictures with masks whose left half is ``value``."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        image = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        mask = np.zeros((side, side), dtype=np.uint8)
        mask[:, : side // 2] = value
        write_picture(folder / "images" / f"{name}.png", image)
        write_mask(folder / "masks" / f"{name}.png", mask, COLOURS)


def manifest(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_folders_become_a_store(tmp_path: Path) -> None:
    names = [f"{number:02d}" for number in range(10)]
    draw(tmp_path, names, value=200)
    out = tmp_path / "d.zarr"
    found = extract_images(
        out,
        images=tmp_path / "images",
        masks=tmp_path / "masks",
        domain="phone",
        labels={0: "background", 200: "foreground"},
        folds=4,
    )
    assert found.outputs == (out,)
    assert found.summary == {"samples": {"phone": 10}, "train": 8, "test": 2, "failed": 0}
    store = open_dataset(out)
    domain = store.domain("phone")
    assert store.classes == ("background", "foreground")
    assert list(domain.columns["id"]) == names == list(domain.columns["subject"])
    assert sorted(domain.columns["fold"]) == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3]
    assert domain.columns["foreground"].tolist() == [0.5] * 10
    image, mask = store.samples("phone", [3]).read(0)
    assert (image == read_picture(tmp_path / "images" / "03.png")).all()
    assert mask[0].tolist() == [1] * 8 + [0] * 8


def test_subjects_keep_their_split_in_all_domains(tmp_path: Path) -> None:
    names = [f"{number:02d}" for number in range(20)]
    draw(tmp_path, names)
    rows = [f"images/{n}.png,masks/{n}.png,{'AB'[int(n) % 2]},s{int(n) // 2}" for n in names]
    extract_images(tmp_path / "d.zarr", manifest=manifest(tmp_path, rows), folds=2)
    store = open_dataset(tmp_path / "d.zarr")
    assert list(store.domains) == ["A", "B"]
    sides = [
        dict(zip(domain.columns["subject"], domain.columns["fold"], strict=True))
        for domain in store.domains.values()
    ]
    assert sides[0] == sides[1]
    assert set(sides[0].values()) == {-1, 0, 1}


def test_splits_listed_in_the_manifest_are_used(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c", "d"])
    header = HEADER + ",split"
    rows = [f"images/{n}.png,masks/{n}.png,A,{n}" for n in "abcd"]
    splits = ["train", "test", "train", "test"]
    chosen = [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]
    heard = Heard()
    path = manifest(tmp_path, chosen, header)
    extract_images(tmp_path / "d.zarr", manifest=path, folds=2, progress=heard)
    assert list(open_dataset(tmp_path / "d.zarr").domain("A").columns["split"]) == splits
    assert heard.lines == []

    shared = [row.replace(",A,b,", ",A,a,") for row in chosen]
    path = manifest(tmp_path, shared, header)
    extract_images(tmp_path / "e.zarr", manifest=path, folds=2, progress=heard)
    assert len(heard.lines) == 1
    assert "subjects in training and test (a)" in heard.lines[0]

    path = manifest(tmp_path, [f"{rows[0]},", *chosen[1:]], header)
    with pytest.raises(SourceError, match=r"a\.png: split is empty"):
        extract_images(tmp_path / "f.zarr", manifest=path, folds=2)


def test_missing_masks_are_ignored_everywhere(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b"])
    path = manifest(tmp_path, ["images/a.png,,A,a", "images/b.png,masks/b.png,A,b"])
    extract_images(tmp_path / "d.zarr", manifest=path, test_fraction=0.0, folds=2)
    reader = open_dataset(tmp_path / "d.zarr").samples("A", [0, 1])
    assert (reader.read(0)[1] == 255).all()
    assert reader.read(1)[1].max() == 1


def test_masks_of_0_and_255_give_a_warning(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c"], value=255)
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    heard = Heard()
    extract_images(tmp_path / "d.zarr", **where, folds=2, progress=heard)
    assert len(heard.lines) == 2
    assert "--labels 255=foreground" in heard.lines[0]


def test_failed_inputs_do_not_stop_the_others(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c", "d", "e"])
    (tmp_path / "images" / "b.png").write_bytes(b"no picture")
    (tmp_path / "masks" / "d.png").unlink()
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    found = extract_images(tmp_path / "d.zarr", **where, folds=2)
    assert len(found.failures) == 2
    assert any("b.png" in line for line in found.failures)
    assert any("d.png: no mask" in line for line in found.failures)
    assert found.summary["failed"] == 2
    assert list(open_dataset(tmp_path / "d.zarr").domain("images").columns["id"]) == ["a", "c", "e"]
    assert recorded_failures(tmp_path / "d.zarr") == list(found.failures)


def test_error_if_all_inputs_fail(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b"], value=7)
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    with pytest.raises(SourceError, match=r"all 2 inputs failed, the first: .*contains value 7"):
        extract_images(tmp_path / "d.zarr", **where)
    assert not list(tmp_path.glob("*.zarr")) + list(tmp_path.glob(".*"))


def test_different_sizes_in_one_domain_are_refused(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b"])
    draw(tmp_path, ["c"], side=20)
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    for dry in (False, True):
        with pytest.raises(MismatchError, match=r"\(20, 20, 3\).*one size"):
            extract_images(tmp_path / "d.zarr", **where, folds=2, dry_run=dry)
    assert not list(tmp_path.glob(".*"))


def test_dry_run_counts_samples_and_writes_nothing(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c"])
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    found = extract_images(tmp_path / "d.zarr", **where, folds=2, dry_run=True)
    assert found.outputs == ()
    assert found.summary["samples"] == {"images": 3}
    assert found.summary["bytes before compression"] == 3 * 16 * 16 * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "masks"]


def test_store_does_not_depend_on_the_number_of_workers(tmp_path: Path, contents: Contents) -> None:
    draw(tmp_path, [f"{number:02d}" for number in range(20)])
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    for workers in (1, 2):
        extract_images(tmp_path / f"{workers}.zarr", **where, workers=workers)
    assert contents(tmp_path / "1.zarr") == contents(tmp_path / "2.zarr")


def test_interrupted_run_can_be_resumed(
    tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path, [f"{number:02d}" for number in range(20)])
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    out, whole, seen = tmp_path / "d.zarr", tmp_path / "whole.zarr", []
    extract_images(whole, **where)

    class Interrupted(DatasetWriter):
        def append(self, sample: Sample) -> None:
            seen.append(sample.id)
            if len(seen) == 18:
                raise KeyboardInterrupt
            super().append(sample)

    with monkeypatch.context() as patch:
        patch.setattr(step, "DatasetWriter", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract_images(out, **where)
    with pytest.raises(ExistsError, match="seed was 0, now 3"):
        extract_images(out, **where, seed=3, resume=True)
    read: list[str] = []
    samples = step.read_samples
    monkeypatch.setattr(
        step, "read_samples", lambda i, *a: (read.append(i.row["subject"]), samples(i, *a))[1]
    )
    extract_images(out, **where, resume=True)
    assert read == ["16", "17", "18", "19"]
    assert contents(out) == contents(whole)
    # A complete store is left unchanged; other inputs make another dataset.
    assert extract_images(out, **where, resume=True).outputs == (out,)
    draw(tmp_path, ["20"])
    with pytest.raises(ExistsError, match="files was"):
        extract_images(out, **where, resume=True)


def test_manifest_can_be_given_as_text(
    tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path, ["a", "b", "c"])
    rows = [f"images/{n}.png,masks/{n}.png,A,{n}" for n in "abc"]
    path = manifest(tmp_path, rows)
    extract_images(tmp_path / "file.zarr", manifest=path, folds=2)
    monkeypatch.chdir(tmp_path)
    extract_images(tmp_path / "text.zarr", manifest=path.read_text(), folds=2)
    ids = {open_dataset(tmp_path / f"{name}.zarr").lineage.id for name in ("file", "text")}
    assert len(ids) == 1


def where(folder: Path) -> dict[str, Path]:
    return {"images": folder / "images", "masks": folder / "masks"}


def test_tiles_of_images_of_several_sizes_share_a_domain(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b"], side=40)
    draw(tmp_path, ["c"], side=20)
    draw(tmp_path, ["small"], side=8)
    how = {"patch_size": 16, "stride": 12, "test_fraction": 0.4, "folds": 1}
    found = extract_images(tmp_path / "d.zarr", **where(tmp_path), **how)
    assert found.summary["images"] == 3
    assert found.summary["samples"] == {"images": 3 * 3 * 2 + 2 * 2}
    (line,) = found.failures
    assert "small.png: image is 8 x 8 pixels, smaller than --patch-size 16" in line
    store = open_dataset(tmp_path / "d.zarr")
    columns = store.domain("images").columns
    assert columns["x"].tolist()[:3] == [0, 12, 24]
    reader = store.samples("images", range(len(columns["id"])))
    for index, name in enumerate(columns["image"]):
        x, y = int(columns["x"][index]), int(columns["y"][index])
        whole = read_picture(tmp_path / "images" / f"{name}.png")
        assert columns["id"][index] == f"{name}-x{x}-y{y}"
        assert (reader.read(index)[0] == whole[y : y + 16, x : x + 16]).all()
    for name in "abc":
        assert len(set(columns["split"][columns["image"] == name])) == 1
        assert len(set(columns["fold"][columns["image"] == name])) == 1


def test_folders_give_domains_and_a_pattern_gives_subjects(tmp_path: Path) -> None:
    names = [f"{domain}/p{subject}_{n}" for domain in "AB" for subject in range(4) for n in (1, 2)]
    for domain in "AB":
        for part in ("images", "masks"):
            (tmp_path / part / domain).mkdir(parents=True)
    draw(tmp_path, names)
    how = {"pattern": "{domain}/{subject}_{}.png", "folds": 3}
    extract_images(tmp_path / "d.zarr", **where(tmp_path), **how)
    store = open_dataset(tmp_path / "d.zarr")
    for domain in "AB":
        columns = store.domain(domain).columns
        assert list(columns["subject"]) == [f"p{subject}" for subject in range(4) for _ in (1, 2)]
        assert list(columns["id"]) == [f"p{subject}_{n}" for subject in range(4) for n in (1, 2)]
    sides = [
        dict(zip(store.domain(d).columns["subject"], store.domain(d).columns["fold"], strict=True))
        for d in "AB"
    ]
    assert sides[0] == sides[1]


def test_colours_can_be_mapped_to_classes(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c"])
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:4], pixels[4:6] = (255, 0, 0), (0, 0, 255)
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / "masks" / f"{name}.png")
    Image.fromarray(np.dstack([pixels, np.full((16, 16), 255, np.uint8)])).save(
        tmp_path / "masks" / "c.png"
    )
    labels = {(255, 0, 0): "tumor", (0, 0, 255): "ignore"}
    extract_images(tmp_path / "d.zarr", **where(tmp_path), labels=labels, folds=2)
    store = open_dataset(tmp_path / "d.zarr")
    assert store.classes == ("background", "tumor")
    for index in range(3):
        mask = store.samples("images", [index]).read(0)[1]
        assert [int(mask[row, 0]) for row in (0, 3, 4, 6)] == [1, 1, 255, 0]


def test_deep_grey_images_have_one_channel(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c"])
    values = np.random.default_rng(0).integers(0, 65536, (16, 16), dtype=np.uint16)
    for name in "abc":
        Image.fromarray(values).save(tmp_path / "images" / f"{name}.png")
    extract_images(tmp_path / "d.zarr", **where(tmp_path), folds=2)
    image = open_dataset(tmp_path / "d.zarr").samples("images", [0]).read(0)[0]
    assert np.array_equal(image[..., 0], (values / 65535).astype(np.float32))
    draw(tmp_path, ["b"])
    with pytest.raises(MismatchError, match=r"sample b: image is .* uint8, but a .*--channels 3"):
        extract_images(tmp_path / "e.zarr", **where(tmp_path), folds=2)
    extract_images(tmp_path / "e.zarr", **where(tmp_path), folds=2, channels=3)
    assert open_dataset(tmp_path / "e.zarr").domain("images").channels == 3


def test_every_failure_is_one_line_and_the_others_are_extracted(tmp_path: Path) -> None:
    faults = ("page", "png", "jpg", "tif", "size", "value", "twin", "mask", "image")
    draw(tmp_path, ["a", "b", "c", *faults])
    images, masks = tmp_path / "images", tmp_path / "masks"
    page = Image.new("RGB", (16, 16))
    (images / "page.png").unlink()
    page.save(images / "page.tif", save_all=True, append_images=[page])
    for name in ("jpg", "tif"):
        (images / f"{name}.png").unlink()
        noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(images / f"{name}.{name}")
    for name in ("png.png", "jpg.jpg", "tif.tif"):
        (images / name).write_bytes((images / name).read_bytes()[:-120])
    write_mask(masks / "size.png", np.zeros((16, 15), np.uint8), COLOURS)
    write_mask(masks / "value.png", np.full((16, 16), 9, np.uint8), COLOURS)
    page.save(images / "twin.jpg")
    (masks / "mask.png").unlink()
    (images / "image.png").unlink()
    (images / "photo.webp").touch()
    out = tmp_path / "d.zarr"
    found = extract_images(out, **where(tmp_path), folds=2)
    assert list(open_dataset(out).domain("images").columns["id"]) == ["a", "b", "c"]
    expected = (
        ("photo.webp: suffix .webp",),
        ("mask.png: no mask named mask.*",),
        ("twin.jpg, ", "twin.png: 2 pictures of the same name"),
        ("masks/image.png: no image named image.*",),
        ("jpg.jpg: the picture is truncated or damaged",),
        ("page.tif: 2 pages in one file",),
        ("png.png: the picture is truncated or damaged",),
        ("size.png: mask is 16 x 15 pixels, its image 16 x 16",),
        ("tif.tif: the picture is truncated or damaged",),
        ("value.png: mask contains value 9",),
    )
    assert len(found.failures) == len(expected)
    for line, words in zip(found.failures, expected, strict=True):
        assert all(word in line for word in words), line
        assert "\n" not in line
    assert recorded_failures(out) == list(found.failures)


@pytest.mark.long
def test_sheets_and_exports_are_written_and_resumed(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c"])
    out = tmp_path / "d.zarr"
    how = {**where(tmp_path), "folds": 2, "pictures": True}
    for form in ExportFormat:
        made = extract_images(tmp_path / f"{form}.zarr", **how, export=(form, tmp_path / form))
        assert made.side_outputs == (tmp_path / f"{form}-qc", tmp_path / form)
        assert min(read_picture(tmp_path / f"{form}-qc" / "patches-images.png").shape[:2]) > 100
    extract_images(out, **where(tmp_path), folds=2)
    assert not (tmp_path / "d-qc").exists()
    resumed = extract_images(
        out, **how, qc=tmp_path / "qc", export=(ExportFormat.PNG, tmp_path / "late"), resume=True
    )
    assert resumed.side_outputs == (tmp_path / "qc", tmp_path / "late")
    with pytest.raises(ExistsError, match="another dataset"):
        extract_images(
            tmp_path / "png.zarr",
            **{**how, "folds": 2},
            export=(ExportFormat.PNG, other(tmp_path)),
            resume=True,
        )
    with pytest.raises(ExistsError, match="late: exists already"):
        extract_images(tmp_path / "x.zarr", **how, export=(ExportFormat.NNUNET, tmp_path / "late"))
    assert not (tmp_path / "x.zarr").exists()


def other(folder: Path) -> Path:
    """Export another dataset."""
    draw(folder / "o", ["x", "y", "z"], side=8)
    pairs = folder / "others"
    extract_images(
        folder / "o.zarr", **where(folder / "o"), folds=2, export=(ExportFormat.PNG, pairs)
    )
    return pairs


def test_exported_pairs_are_imported_with_their_folds(tmp_path: Path) -> None:
    draw(tmp_path, [f"{number:02d}" for number in range(12)])
    pairs = tmp_path / "pairs"
    export = (ExportFormat.PNG, pairs)
    extract_images(tmp_path / "d.zarr", **where(tmp_path), folds=4, seed=3, export=export)
    extract_images(tmp_path / "e.zarr", manifest=pairs)
    ids = {open_dataset(tmp_path / name).lineage.id for name in ("d.zarr", "e.zarr")}
    assert len(ids) == 1


def test_tiles_do_not_depend_on_the_number_of_workers(tmp_path: Path, contents: Contents) -> None:
    draw(tmp_path, [f"{number:02d}" for number in range(6)], side=30)
    for workers in (1, 3):
        how = {"patch_size": 16, "folds": 2, "scale": "p1", "workers": workers}
        extract_images(tmp_path / f"{workers}.zarr", **where(tmp_path), **how)
    assert contents(tmp_path / "1.zarr") == contents(tmp_path / "3.zarr")


@pytest.mark.long
def test_tiles_of_real_smears(tmp_path: Path, shared_data: Path) -> None:
    """Images of two sizes, with masks in colours drawn from the boxes of BBBC041."""
    folder = shared_data / "bbbc041"
    entries = json.loads((folder / "training_subset.json").read_text())
    entries += json.loads((folder / "test.json").read_text())
    boxes = {Path(each["image"]["pathname"]).name: each["objects"] for each in entries}
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    areas = 0
    for number, path in enumerate(sorted((folder / "images").glob("*.png"))[:2]):
        image = read_picture(path)[: 1200 - 300 * number]
        mask = np.zeros_like(image)
        for each in boxes[path.name]:
            low, high = each["bounding_box"]["minimum"], each["bounding_box"]["maximum"]
            mask[low["r"] : high["r"], low["c"] : high["c"]] = (0, 0, 255)
        areas += int((mask[..., 2] > 0).sum())
        write_picture(tmp_path / "images" / f"{number}.png", image)
        write_picture(tmp_path / "masks" / f"{number}.png", mask)
    how = {"labels": {(0, 0, 255): "cell"}, "patch_size": 300, "folds": 1, "test_fraction": 0.5}
    found = extract_images(tmp_path / "d.zarr", **where(tmp_path), **how)
    assert found.failures == ()
    assert found.summary["samples"] == {"images": 4 * 6 + 3 * 6}
    domain = open_dataset(tmp_path / "d.zarr").samples("images", range(42))
    # 1600 = 5 * 300 + 100: the last column of tiles lies 200 pixels over the one before it.
    columns = open_dataset(tmp_path / "d.zarr").domain("images").columns
    counted = 0
    for index in range(42):
        mask = domain.read(index)[1]
        counted += int((mask[:, 200 if columns["x"][index] == 1300 else 0 :] == 1).sum())
    assert counted == areas


def test_nnunet_export_of_mixed_channels_is_refused_before_any_work(tmp_path: Path) -> None:
    draw(tmp_path, ["colour"])
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(tmp_path / "images" / "deep.png")
    write_mask(tmp_path / "masks" / "deep.png", np.zeros((16, 16), np.uint8), COLOURS)
    rows = [f"images/{n}.png,masks/{n}.png,{n},{n}" for n in ("colour", "deep")]
    out, export = tmp_path / "d.zarr", (ExportFormat.NNUNET, tmp_path / "n")
    with refused(MismatchError, "domains of 1 and 3 channels", "--channels"):
        extract_images(
            out, manifest=manifest(tmp_path, rows), export=export, folds=1, test_fraction=0.0
        )
    assert not out.exists()
    assert not export[1].exists()


def test_broken_files_are_reported_if_there_are_too_many_folds(tmp_path: Path) -> None:
    draw(tmp_path, ["a", "b", "c", "d", "e", "f"])
    for name in ("a", "b"):
        (tmp_path / "images" / f"{name}.png").write_bytes(b"no picture")
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    heard = Heard()
    with refused(ArgumentError, "5 folds of 3 subjects", "besides, 2 inputs failed, the first:"):
        extract_images(tmp_path / "d.zarr", **where, progress=heard)
    assert [line.partition(": ")[0] for line in heard.lines] == ["failed", "failed"]
    assert not (tmp_path / "d.zarr").exists()


def test_upright_rotates_images_by_their_exif_orientation(tmp_path: Path) -> None:
    """Masks match images as displayed: a dark object, stored in all eight orientations."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    shown = np.full((32, 32, 3), 220, np.uint8)
    shown[4:12, 8:28] = 30
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = {5: 5, 6: 8, 8: 6}.get(orientation, orientation)  # the inverse rotation
        turned = ImageOps.exif_transpose(_tagged(shown, exif))
        exif[274] = orientation
        turned.save(tmp_path / "images" / f"{orientation}.png", exif=exif)
        write_mask(
            tmp_path / "masks" / f"{orientation}.png",
            (shown[..., 0] < 100).astype(np.uint8),
            COLOURS,
        )
    where = {"images": tmp_path / "images", "masks": tmp_path / "masks", "folds": 2}
    found = extract_images(tmp_path / "d.zarr", **where, upright=True)
    assert not found.failures
    data = open_dataset(tmp_path / "d.zarr").samples("images", range(8))
    for index in range(8):
        image, mask = data.read(index)
        assert np.array_equal(mask == 1, image[..., 0] < 100)
    left = extract_images(tmp_path / "e.zarr", **where | {"folds": 1}, test_fraction=0)
    assert len(left.failures) == 7
    assert all("stored rotated" in line and "--upright" in line for line in left.failures)


def _tagged(pixels: np.ndarray, exif: Image.Exif) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return Image.open(file)


# -------------------------------------------------------------------------------------------------
# Splits and folds by subject, or as listed in the manifest.


def item(
    subject: str, split: str = "", fold: str = "", foreground: float = 0.5, domain: str = "A"
) -> Item:
    row = {"image": f"{subject}.png", "domain": domain, "subject": subject, "split": split}
    return Item({**row, "fold": fold}, (4, 4, 3), "uint8", None, foreground, 0.0)


def assign(
    items: list[Item],
    fraction: float,
    folds: int,
    seed: int,
    progress: Progress,
    train_domain: str | None = None,
) -> list[int]:
    options = SplitOptions(fraction, folds, seed, train_domain)
    return assign_images(items, options, progress).tolist()


@given(subjects=st.lists(st.integers(0, 9), min_size=12, max_size=40), seed=st.integers(0, 99))
def test_subjects_are_in_one_split_and_one_fold(subjects: list[int], seed: int) -> None:
    subjects = [*subjects, *range(6)]
    heard = Heard()
    items = [item(f"s{subject}") for subject in subjects]
    found = assign(items, 0.25, 3, seed, heard)
    for subject in set(subjects):
        assert len({f for f, s in zip(found, subjects, strict=True) if s == subject}) == 1
    assert set(found) == {-1, 0, 1, 2}
    assert heard.lines == []
    assert assign(items, 0.25, 3, seed, heard) == found


def test_listed_splits_and_folds_are_used() -> None:
    items = [item("a", "test", "-1"), item("b", "train", "1"), item("c", "train", "4")]
    assert assign(items, 0.2, 5, 0, Heard()) == [-1, 1, 4]
    bare = [item("a", "test"), item("b", "train"), item("c", "train")]
    assert sorted(assign(bare, 0.2, 2, 0, Heard())) == [-1, 0, 1]


def test_partly_filled_columns_are_refused() -> None:
    with refused(SourceError, "b.png: split is empty, but other rows have one"):
        assign([item("a", "test"), item("b")], 0.2, 1, 0, Heard())
    with refused(SourceError, "c.png: fold is empty, but other rows have one"):
        assign([item("a", "test"), item("b", "train", "0"), item("c", "train")], 0.2, 1, 0, Heard())


def test_subject_in_both_splits_gives_a_warning() -> None:
    heard = Heard()
    assign([item("a", "test"), item("a", "train"), item("b", "train")], 0.2, 2, 0, heard)
    assert len(heard.lines) == 1
    assert "(a): the test will measure memory too" in heard.lines[0]


def test_more_folds_than_subjects_are_refused() -> None:
    with pytest.raises(ArgumentError, match="3 folds of 2 subjects"):
        assign([item("a"), item("b")], 0.0, 3, 0, Heard())


def test_folds_without_splits_are_refused() -> None:
    with refused(SourceError, "column fold goes with the column split"):
        assign([item("a", fold="0"), item("b", fold="1"), item("c", fold="0")], 0.0, 2, 0, Heard())


def test_subject_in_two_folds_gives_a_warning() -> None:
    heard = Heard()
    items = [item("a", "train", "0"), item("b", "train", "1"), item("a", "train", "1")]
    assert assign(items, 0.0, 2, 0, heard) == [0, 1, 1]
    (line,) = heard.lines
    assert "in several folds (a)" in line


def test_train_domain_tests_all_other_domains() -> None:
    items = [item(f"a{n}") for n in range(10)] + [item(f"b{n}", domain="B") for n in range(5)]
    heard = Heard()
    found = assign(items, 0.2, 4, 0, heard, "A")
    assert (found[:10].count(-1), found[10:]) == (2, [-1] * 5)
    assert set(found) == {-1, 0, 1, 2, 3}
    assert heard.lines == []
    with pytest.raises(ArgumentError, match="--train-domain: the source lists"):
        assign([item("a", "test"), item("b", "train")], 0.2, 1, 0, heard, "A")


def test_untested_images_of_training_subjects_give_a_warning() -> None:
    items = [item(f"p{n}", domain=domain) for domain in "AB" for n in range(5)]
    heard = Heard()
    found = assign(items, 0.2, 2, 0, heard, "B")
    assert found[:5] == found[5:]
    (line,) = heard.lines
    assert line.startswith("--train-domain B: 4 inputs of domain A are of training subjects")


def test_similar_subject_names_give_a_warning() -> None:
    heard = Heard()
    assign([item("1"), item("1.0")], 0.5, 1, 0, heard)
    assert any("are spelled almost alike" in line for line in heard.lines)


# -------------------------------------------------------------------------------------------------
# Writing: every item once, in order.


CLASSES = ("background", "cell")
READING = ReadOptions(label_map(CLASSES, None), patch_size=8)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Five images of 16 px, of four tiles each."""
    rng = np.random.default_rng(0)
    found = []
    for name in "abcde":
        image, mask = tmp_path / f"{name}.png", tmp_path / f"{name}-mask.png"
        write_picture(image, rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        write_mask(mask, rng.integers(0, 2, (16, 16), dtype=np.uint8), ())
        row = {"image": str(image), "mask": str(mask), "domain": "A", "subject": name, "id": name}
        found.append(survey(row, READING))
    return found


def write(out: Path, items: list[Item], threads: int = 1, *, finish: bool = True) -> None:
    writer = DatasetWriter(out, CLASSES, MAKING)
    write_images(writer, items, np.arange(len(items)), READING, threads, SILENT)
    if finish:
        writer.finish()


@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_are_in_the_order_of_their_images(
    tmp_path: Path, items: list[Item], threads: int
) -> None:
    write(tmp_path / "d.zarr", items, threads)
    columns = open_dataset(tmp_path / "d.zarr").domain("A").columns
    assert list(columns["id"]) == [name for item in items for name in item.ids]
    assert list(columns["image"]) == [name for name in "abcde" for _ in range(4)]
    assert list(columns["fold"]) == [fold for fold in range(5) for _ in range(4)]
    assert (columns["x"].tolist()[:4], columns["y"].tolist()[:4]) == ([0, 8, 0, 8], [0, 0, 8, 8])


def test_images_with_stored_tiles_are_not_read_again(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "whole.zarr", items)
    write(tmp_path / "d.zarr", items, finish=False)  # killed: one complete shard is recorded
    seen = []
    plain = step.read_samples
    monkeypatch.setattr(
        step, "read_samples", lambda item, *how: (seen.append(item.name), plain(item, *how))[1]
    )
    write(tmp_path / "d.zarr", items)
    assert seen == ["e"]
    assert SHARD == 16
    ids = {open_dataset(tmp_path / name).lineage.id for name in ("whole.zarr", "d.zarr")}
    assert len(ids) == 1


# -------------------------------------------------------------------------------------------------
# Listing and survey.


WHOLE = ReadOptions(label_map(("background", "cell"), None))


def written_rows(folder: Path, number: int, value: int = 1) -> list[dict[str, str]]:
    found = []
    for place in range(number):
        files = {"image": str(folder / f"{place}.png"), "mask": str(folder / f"{place}-mask.png")}
        write_picture(Path(files["image"]), np.full((4, 4, 3), 200 + place, np.uint8))
        write_mask(Path(files["mask"]), np.full((4, 4), value, np.uint8), ())
        found.append({**files, "domain": "A", "subject": f"s{place}", "id": f"{place}"})
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_survey_keeps_the_order_and_reports_failures(tmp_path: Path, threads: int) -> None:
    given, heard = written_rows(tmp_path, 6), Heard()
    (tmp_path / "2.png").write_bytes(b"\x89PNG")
    (tmp_path / "4-mask.png").unlink()
    items, failures = survey_images(given, WHOLE, threads, heard)
    assert [item.name for item in items] == ["0", "1", "3", "5"]
    assert ["2.png" in failures[0], "4-mask.png" in failures[1]] == [True, True]
    assert heard.lines == []
    assert heard.said == [
        "4 of 4 images are grey and are stored as colour, with three equal channels; --channels 1 "
        "stores one channel"
    ]


def test_survey_fails_if_all_inputs_fail(tmp_path: Path) -> None:
    with refused(
        SourceError, "all 2 inputs failed, the first: ", "0-mask.png: mask contains value 7"
    ):
        survey_images(written_rows(tmp_path, 2, 7), WHOLE, 1, Heard())


def test_masks_of_255_alone_give_a_warning(tmp_path: Path) -> None:
    heard = Heard()
    survey_images(written_rows(tmp_path, 2, 255), WHOLE, 1, heard)
    assert len(heard.lines) == 1
    assert "--labels 255=foreground" in heard.lines[0]
    unlabelled = Heard()
    survey_images([{**row, "mask": ""} for row in written_rows(tmp_path, 2)], WHOLE, 1, unlabelled)
    assert unlabelled.lines == []


@pytest.mark.parametrize(
    ("high", "scale", "lines"), [(4095, "full", 1), (4095, "0:4095", 0), (40_000, "full", 0)]
)
def test_dark_images_give_a_warning(tmp_path: Path, high: int, scale: str, lines: int) -> None:
    given, heard = written_rows(tmp_path, 2), Heard()
    for row in given:
        Image.fromarray(np.full((4, 4), high, np.uint16)).save(row["image"])
    survey_images(given, replace(WHOLE, scale=Scale.parse(scale)), 1, heard)
    assert len(heard.lines) == lines
    assert all("brighter than 6.2%" in line and "--scale 0:4095" in line for line in heard.lines)


RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


@pytest.mark.parametrize(
    ("palettes", "words"),
    [
        (([BLACK, RED], [BLACK, RED, GREEN]), ""),
        (([BLACK, RED], [BLACK, GREEN]), "palette index 1 is #ff0000 in "),
        (([RED, BLACK], [RED, BLACK]), "shows index 0, the background, in #ff0000 and index 1"),
    ],
)
def test_palettes_that_contradict_labels_give_a_warning(
    tmp_path: Path, palettes: list[list[tuple[int, int, int]]], words: str
) -> None:
    """Programs that optimise palettes reorder their colours."""
    given, heard = written_rows(tmp_path, 2), Heard()
    for row, palette in zip(given, palettes, strict=True):
        write_mask(Path(row["mask"]), np.eye(4, dtype=np.uint8), palette)
    survey_images(given, WHOLE, 1, heard)
    assert len(heard.lines) == bool(words)
    assert all(words in line and "--labels '#RRGGBB=CLASS'" in line for line in heard.lines)
    mapped = ReadOptions(label_map(("background", "cell"), {0: "cell", 1: "background"}))
    if palettes[0] == palettes[1]:
        survey_images(given, mapped, 1, quiet := Heard())
        assert quiet.lines == []


def item_of(name: str, domain: str, shape: tuple[int, ...], dtype: str = "uint8") -> Item:
    return Item({"image": name, "domain": domain, "id": name}, shape, dtype, None, 0.5, 0.0)


def test_domain_must_have_one_size_and_type() -> None:
    first = item_of("a", "A", (4, 4, 3))
    check_formats([first, item_of("b", "A", (4, 4, 3)), item_of("c", "B", (5, 4, 1), "float32")])
    with refused(MismatchError, "domain A, sample b", "(5, 4, 3)", "one size", "--patch-size"):
        check_formats([first, item_of("b", "A", (5, 4, 3))])
    with refused(MismatchError, "sample b", "(4, 4, 1) float32", "--channels 3 or 1"):
        check_formats([first, item_of("b", "A", (4, 4, 1), "float32")])


def test_differing_image_is_named_at_any_position() -> None:
    odd, others = (
        item_of("odd", "A", (9, 9, 3)),
        [item_of(name, "A", (4, 4, 3)) for name in "bc"],
    )
    with refused(MismatchError, "sample odd: image is (9, 9, 3)", "one size"):
        check_formats([odd, *others])


def test_only_grey_images_are_reported_as_grey(tmp_path: Path) -> None:
    given, heard = written_rows(tmp_path, 3), Heard()
    write_picture(Path(given[1]["image"]), np.full((4, 4, 3), (9, 9, 8), np.uint8))
    survey_images(given, WHOLE, 1, heard)
    assert heard.said[0].startswith("2 of 3 images are grey")
    asked = Heard()
    survey_images(given, replace(WHOLE, channels=3), 1, asked)
    assert asked.said == []


# -------------------------------------------------------------------------------------------------
# Listing: manifests and folders become rows with ids, and classes.


HEAD = "image,mask,domain,subject,id\n"


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_domains_and_classes_of_folders(tmp_path: Path) -> None:
    images, masks = put(tmp_path / "i", "B/1.png", "A/1.png"), put(tmp_path / "m", "A/1.png")
    put(masks, "B/1.png")
    found = list_images(None, images, masks)
    assert [(row["domain"], row["id"]) for row in found.rows] == [("A", "1"), ("B", "1")]
    assert (found.classes, found.labels) == (DEFAULT_CLASSES, {})
    named = list_images(None, images, masks, labels={(255, 0, 0): "tumor"})
    assert named.classes == ("background", "tumor")
    asked = list_images(None, images, masks, classes=["none", "tumor", "x"], labels={9: "tumor"})
    assert asked.classes == ("none", "tumor", "x")


def test_equal_stems_are_prefixed_with_their_folders() -> None:
    rows = "".join(
        f"{image},,{domain},s,{key}\n"
        for image, domain, key in (
            *(("p1/x/img.png", "A", ""), ("p2/x/img.png", "A", ""), ("p2/y/img.png", "A", "")),
            *(("p1/x/img.png", "B", ""), ("else.png", "A", "own")),
        )
    )
    found = list_images(HEAD + rows, None, None)
    assert [row["id"] for row in found.rows] == ["p1-x-img", "p2-x-img", "y-img", "own", "img"]
    assert found.failures == ()


def test_file_listed_under_two_paths_is_one_sample(tmp_path: Path) -> None:
    """One picture listed for two subjects could be on both sides of a split."""
    put(tmp_path, "a.png", "x/b.png", "m.png")
    (tmp_path / "link.png").symlink_to("a.png")
    text = HEAD + "a.png,m.png,A,1,\nx/../a.png,,A,2,\nlink.png,,B,3,\nx/b.png,x/b.png,A,4,\n"
    (tmp_path / "t.csv").write_text(text + "m.png,,A,5,\n")
    found = list_images(tmp_path / "t.csv", None, None)
    assert [row["subject"] for row in found.rows] == ["1", "5"]
    twice, both, several = found.failures
    assert "x/../a.png: is listed twice in domain A" in twice
    assert "link.png: is listed for subject 1 in domain A and for subject 3 in domain B" in several
    assert "x/b.png: is given both as image and as mask" in both


def test_shared_masks_give_a_warning(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png", "c.png", "m.png")
    (tmp_path / "t.csv").write_text(HEAD + "a.png,m.png,A,1,\nc.png,m.png,B,1,\n")
    assert list_images(tmp_path / "t.csv", None, None).warnings == ()
    (tmp_path / "t.csv").write_text(HEAD + "a.png,m.png,A,1,\nb.png,m.png,A,2,\n")
    (line,) = list_images(tmp_path / "t.csv", None, None).warnings
    assert line.startswith("masks given for several images of one domain: 1 (")


def test_duplicate_rows_and_ids_fail() -> None:
    rows = "x/a.png,,A,s,\nx/a.png,,A,s,\nb.png,,A,s,7\nc.png,,A,s,7\nx/a.png,,B,s,\n"
    found = list_images(HEAD + rows, None, None)
    assert [(row["id"], row["domain"]) for row in found.rows] == [
        ("a", "A"),
        ("7", "A"),
        ("a", "B"),
    ]
    first, second = found.failures
    assert first == "x/a.png: is listed twice in domain A; list it once"
    assert "c.png: has the id 7 in domain A, as b.png has" in second


def test_folder_of_exported_pairs_is_listed(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(HEAD + "images/1.png,masks/1.png,A,s,x\n")
    (tmp_path / "classes.txt").write_text("glass,tumor\n")
    found = list_images(tmp_path, None, None)
    assert found.rows[0]["image"] == str(tmp_path / "images/1.png")
    assert found.classes == ("glass", "tumor")
    assert list_images(tmp_path, None, None, classes=["a", "b"]).classes == ("a", "b")
    assert list_images(tmp_path / "manifest.csv", None, None).classes == DEFAULT_CLASSES


def test_exported_class_names_may_contain_commas(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(HEAD + "images/1.png,masks/1.png,A,s,x\n")
    listed = tmp_path / "classes.txt"
    listed.write_bytes('glass,"cell, dead"\n'.encode("utf-8-sig"))
    assert list_images(tmp_path, None, None).classes == ("glass", "cell, dead")
    listed.write_bytes("glass,cell\n".encode("utf-16"))
    with refused(SourceError, listed, "save it as UTF-8"):
        list_images(tmp_path, None, None)


def test_folder_of_nnunet_is_listed(tmp_path: Path) -> None:
    about = {
        "channel_names": {"0": "x"},
        "labels": {"background": 0, "a": 3},
        "file_ending": ".png",
    }
    put(tmp_path, "imagesTr/c_0000.png", "labelsTr/c.png", "manifest.png")
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    found = list_images(tmp_path, None, None, domain="D")
    assert (found.classes, found.labels) == (("background", "a"), {0: "background", 3: "a"})
    assert (found.rows[0]["domain"], found.rows[0]["id"]) == ("D", "c")
    other = list_images(tmp_path, None, None, labels={3: "b"})
    assert (other.classes, other.labels) == (("background", "b"), {3: "b"})


@pytest.mark.parametrize(
    ("manifest", "images", "masks"),
    [
        (None, None, None),
        ("m", Path("i"), Path("m")),
        (None, Path("i"), None),
        ("m", None, Path("m")),
    ],
)
def test_contradictory_sources_are_refused(
    manifest: str | None, images: Path | None, masks: Path | None
) -> None:
    with refused(ArgumentError, "either a manifest, or both --images DIR and --masks DIR"):
        list_images(manifest, images, masks)


def test_options_of_folders_are_refused_with_a_manifest() -> None:
    for option in ("domain", "pattern"):
        with refused(ArgumentError, f"--{option} goes with folders"):
            list_images(HEAD + "a.png,,A,s,\n", None, None, **{option: "{subject}"})


def test_invalid_domain_names_are_refused(tmp_path: Path) -> None:
    with refused(ArgumentError, "--domain 'a/b'"):
        list_images(None, tmp_path, tmp_path, domain="a/b")
    with refused(ArgumentError, "a.png: domain 'A/B'"):
        list_images(HEAD + "a.png,,A/B,s,\n", None, None)


def test_first_failure_is_reported_if_all_inputs_fail(tmp_path: Path) -> None:
    images, masks = put(tmp_path / "i", "a.png"), put(tmp_path / "m", "b.png")
    with refused(SourceError, "all 2 inputs failed, the first: ", "a.png: no mask named a.*"):
        list_images(None, images, masks)
    (tmp_path / "plain").mkdir()
    with refused(SourceError, "plain: holds neither dataset.json", "--images DIR --masks DIR"):
        list_images(tmp_path / "plain", None, None)


def test_equal_names_of_different_subjects_get_different_ids() -> None:
    """Hospitals A and B have different patients; C has scanned two of A's again."""
    rows = "".join(
        f"{domain}/{number}.png,,{domain},{subject},\n"
        for domain, number, subject in (
            *(("A", 0, "p"), ("A", 1, "q"), ("A", 2, "r")),
            *(("B", 0, "s"), ("C", 0, "p"), ("C", 2, "r")),
        )
    )
    found = list_images(HEAD + rows, None, None)
    assert [(row["domain"], row["id"]) for row in found.rows] == [
        *(("A", "p-0"), ("A", "1"), ("A", "2"), ("B", "s-0"), ("C", "p-0"), ("C", "2"))
    ]
    (line,) = found.warnings
    assert line.startswith("file names that belong to different subjects in several domains: 1;")
    assert "(p-0)" in line


def test_equal_ids_of_different_subjects_give_a_warning() -> None:
    found = list_images(HEAD + "a.png,,A,p,7\nb.png,,B,q,7\nc.png,,B,q,8\n", None, None)
    assert [row["id"] for row in found.rows] == ["7", "7", "8"]
    (line,) = found.warnings
    assert line.startswith("ids that belong to different subjects in several domains: 1 (7, ")


def test_mask_pattern_is_for_folders_only(tmp_path: Path) -> None:
    images, masks = put(tmp_path / "i", "0.png"), put(tmp_path / "m", "0_gt.png")
    found = list_images(None, images, masks, mask_pattern="{}_gt")
    assert found.rows[0]["mask"].endswith("0_gt.png")
    with refused(ArgumentError, "--mask-pattern goes with --images DIR and --masks DIR"):
        list_images(HEAD + "a.png,,A,s,\n", None, None, mask_pattern="{}_gt")
