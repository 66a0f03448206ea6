"""PNG pairs: equal data after importing them; contact sheets."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skiptool.exports import sheets
from skiptool.exports.png import COLUMNS, export_pairs, write_pairs
from skiptool.exports.sheets import draw_sheets, evenly_spaced, sheet_of
from skiptool.records import SILENT
from skiptool.sources.pictures.files import read_mask, read_picture
from skiptool.sources.pictures.intensities import read_intensities
from skiptool.stores.dataset import open_dataset
from small_stores import CLASSES, sample, write_dataset


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_pairs_keep_all_columns(tmp_path: Path) -> None:
    samples = [sample(n, domain, (8, 8, 3)) for n in range(3) for domain in "BA"]
    write_dataset(tmp_path / "d.zarr", samples)
    folder = export_pairs(tmp_path / "d.zarr", tmp_path / "pairs", SILENT)
    assert folder == tmp_path / "pairs"
    assert (folder / "classes.txt").read_text() == ",".join(CLASSES) + "\n"
    rows = rows_of(folder)
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 6
    by_place = {(each.domain, each.id): each for each in samples}
    for row in rows:
        truth = by_place[row["domain"], row["id"]]
        assert (row["subject"], row["split"]) == (truth.subject, truth.split.value)
        assert int(row["fold"]) == truth.fold
        assert np.array_equal(read_picture(folder / row["image"]), truth.image)
        assert np.array_equal(read_mask(folder / row["mask"]), truth.mask)
    assert not list(tmp_path.glob(".*"))
    # Existing masks may have been corrected by hand.
    (folder / rows[0]["mask"]).write_bytes(b"by hand")
    export_pairs(tmp_path / "d.zarr", folder, SILENT)
    assert (folder / rows[0]["mask"]).read_bytes() == b"by hand"


@pytest.mark.parametrize("levels", [255, 65535])
def test_grey_levels_of_cameras_are_kept(tmp_path: Path, levels: int) -> None:
    values = np.random.default_rng(0).integers(0, levels + 1, (8, 9, 1))
    image = (values.astype(np.float64) / levels).astype(np.float32)
    write_dataset(tmp_path / "d.zarr", [sample(0, "A", (8, 9, 3), image=image)])
    folder = export_pairs(tmp_path / "d.zarr", tmp_path / "pairs", SILENT)
    (row,) = rows_of(folder)
    assert np.array_equal(read_intensities([folder / row["image"]]), image)


def test_other_grey_values_are_rounded_to_16_bits(tmp_path: Path) -> None:
    grey = sample(0, "A", (8, 8, 1))
    write_dataset(tmp_path / "d.zarr", [grey])
    folder = export_pairs(tmp_path / "d.zarr", tmp_path / "pairs", SILENT)
    found = read_intensities([folder / rows_of(folder)[0]["image"]])
    assert np.abs(found - grey.image).max() <= 0.5000001 / 65535


def test_files_can_be_named_by_id_and_masks_coloured(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", [sample(n, "A", (8, 8, 3)) for n in range(2)])
    folder = tmp_path / "pairs"
    folder.mkdir()
    colours = [(0, 0, 0), (9, 8, 7), (1, 2, 3)]
    write_pairs(open_dataset(tmp_path / "d.zarr"), folder, SILENT, by_id=True, colours=colours)
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["000.png", "001.png"]
    mask, shown = read_mask(folder / "masks/000.png"), read_picture(folder / "masks/000.png")
    assert {tuple(colour) for colour in shown[mask == 1]} == {(9, 8, 7)}
    assert [row["mask"] for row in rows_of(folder)] == ["masks/000.png", "masks/001.png"]


# -------------------------------------------------------------------------------------------------
# Contact sheets: one per domain, evenly spaced samples, limited size.


def test_every_domain_has_a_contact_sheet(tmp_path: Path) -> None:
    grey = [sample(n, "grey", (16, 24, 1)) for n in range(2)]
    colour = [sample(n, "colour", (16, 16, 3)) for n in range(3)]
    write_dataset(tmp_path / "d.zarr", [*grey, *colour])
    draw_sheets(tmp_path, open_dataset(tmp_path / "d.zarr"), "images")
    for name in ("grey", "colour"):
        assert min(read_picture(sheet_of(tmp_path, name)).shape[:2]) > 100


def test_contact_sheet_shows_fewer_large_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path / "d.zarr", [sample(n, "A", (16, 16, 3)) for n in range(9)])
    seen: list[str] = []
    plain = sheets.contact_sheet

    def sheet(images: Any, masks: Any, classes: Any, titles: list[str], **how: Any) -> Any:  # noqa: ANN401
        seen.extend([*titles, how["notes"]])
        return plain(images, masks, classes, titles, **how)

    monkeypatch.setattr(sheets, "contact_sheet", sheet)
    monkeypatch.setattr(sheets, "PIXELS", 3 * 16 * 16)
    draw_sheets(tmp_path, open_dataset(tmp_path / "d.zarr"))
    assert seen == ["000", "004", "008", "3 of 9 patches of 16 px"]


@pytest.mark.parametrize(("number", "most"), [(1, 48), (48, 48), (49, 48), (1000, 48), (5, 1)])
def test_indices_are_evenly_spaced(number: int, most: int) -> None:
    found = evenly_spaced(number, most).tolist()
    assert len(found) == min(number, most) == len(set(found))
    assert found[0] == 0
    assert found == sorted(found)
    assert most == 1 or found[-1] == number - 1
