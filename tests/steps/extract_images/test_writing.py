"""Items into the store, each once, and what lies beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skiptool.names import ExportFormat
from skiptool.records import SILENT
from skiptool.sources.pictures.files import write_mask, write_picture
from skiptool.sources.pictures.labels import label_map
from skiptool.sources.pictures.samples import Item, Reading, survey
from skiptool.steps.extract_images import writing
from skiptool.steps.extract_images.writing import EXPORTS, write_beside, write_items
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import SHARD, DatasetWriter
from small_stores import MAKING, sample, write_dataset

CLASSES = ("background", "cell")
READING = Reading(label_map(CLASSES, None), patch_size=8)


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
    write_items(writer, items, np.arange(len(items)), READING, threads, SILENT)
    if finish:
        writer.finish()


@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_stand_in_the_order_of_their_images(
    tmp_path: Path, items: list[Item], threads: int
) -> None:
    write(tmp_path / "d.zarr", items, threads)
    columns = open_dataset(tmp_path / "d.zarr").domain("A").columns
    assert list(columns["id"]) == [name for item in items for name in item.ids]
    assert list(columns["image"]) == [name for name in "abcde" for _ in range(4)]
    assert list(columns["fold"]) == [fold for fold in range(5) for _ in range(4)]
    assert (columns["x"].tolist()[:4], columns["y"].tolist()[:4]) == ([0, 8, 0, 8], [0, 0, 8, 8])


def test_images_whose_tiles_are_there_are_not_read_again(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "whole.zarr", items)
    write(tmp_path / "d.zarr", items, finish=False)  # killed: one whole shard is noted
    seen = []
    plain = writing.read_samples
    monkeypatch.setattr(
        writing, "read_samples", lambda item, *how: (seen.append(item.name), plain(item, *how))[1]
    )
    write(tmp_path / "d.zarr", items)
    assert seen == ["e"]
    assert SHARD == 16
    ids = {open_dataset(tmp_path / name).lineage.id for name in ("whole.zarr", "d.zarr")}
    assert len(ids) == 1


@pytest.mark.long
def test_every_form_has_its_writer(tmp_path: Path) -> None:
    assert set(EXPORTS) == set(ExportFormat)
    write_dataset(tmp_path / "d.zarr", [sample(n, "A", (16, 16, 3)) for n in range(3)])
    out, sheets = tmp_path / "d.zarr", tmp_path / "qc"
    for form in ExportFormat:
        folder = tmp_path / form
        made = write_beside(out, sheets, (form, folder), "images", SILENT)
        assert made == (sheets, folder)
        assert (folder / "manifest.csv").is_file()
        assert (sheets / "patches-A.png").is_file()
    assert write_beside(out, None, None, "images", SILENT) == ()
