from __future__ import annotations

from pathlib import Path

import numpy as np

from skiptool.names import Split
from skiptool.records import SILENT, Sample
from skiptool.sources.pictures import read_picture
from skiptool.steps.extract_mri.pictures import draw_sheets, sheets_drawn
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.header import Making


def sample(place: int, domain: str, label: int) -> Sample:
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[8:20, 8:20] = label
    image = np.full((32, 32, 1), 0.4, dtype=np.float32)
    columns = {
        "frame": 0,
        "phase": "ED",
        "slice": place,
        "foreground": float(label not in (0, 255)),
    }
    return Sample(f"{place}", image, mask, "p", domain, Split.TEST, -1, columns)


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
