from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skiptool.names import Split
from skiptool.records import SILENT, Sample
from skiptool.sources.pictures.files import read_picture
from skiptool.steps.extract_mri.pictures import _captions, draw_sheets, sheets_drawn
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Making


def sample(place: int, domain: str, label: int) -> Sample:
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[8:20, 8:20] = label
    image = np.full((32, 32, 1), 0.4, dtype=np.float32)
    columns = {
        "frame": 0,
        "phase": "ED",
        "slice": place,
        "volume": f"{domain}_{place // 40}",
        "foreground": float(label not in (0, 255)),
    }
    return Sample(f"{place}", image, mask, "p", domain, Split.TEST, -1, columns)


@pytest.mark.long
def test_a_sheet_a_domain(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "d.zarr", ("background", "LV", "MYO", "RV"), Making("x"))
    for place in range(60):
        writer.append(sample(place, "A", 1 + place % 3 if place % 2 else 0))
        writer.append(sample(place, "B", 255))
    writer.finish()
    assert not sheets_drawn(tmp_path / "qc", tmp_path / "d.zarr")
    folder = draw_sheets(tmp_path / "qc", tmp_path / "d.zarr", SILENT)
    assert sorted(path.name for path in folder.iterdir()) == ["slices-A.png", "slices-B.png"]
    assert sheets_drawn(folder, tmp_path / "d.zarr")
    first, second = (read_picture(folder / f"slices-{domain}.png") for domain in "AB")
    assert first.shape[1] == second.shape[1]
    assert first.shape[0] < second.shape[0]  # 30 labelled slices against 48 of 60
    spread = first.max(axis=2).astype(int) - first.min(axis=2)
    assert (spread > 100).any()  # outlines have colours


def test_captions_tell_slices_of_two_volumes_of_a_subject_apart(tmp_path: Path) -> None:
    """Frames of a file each (ED and ES) are all frame 0."""
    writer = DatasetWriter(tmp_path / "d.zarr", ("background", "LV"), Making("x"))
    for volume, phase in (("p_ED", ""), ("p_ES", ""), ("p_cine", "ED")):
        one = sample(0, "A", 1)
        facts = {**one.columns, "volume": volume, "phase": phase}
        writer.append(replace(one, id=volume, columns=facts))
    writer.finish()
    captions = _captions(open_dataset(tmp_path / "d.zarr").domains["A"])
    assert captions == ["p 0 0\np_ED", "p 0 0\np_ES", "p ED 0"]
