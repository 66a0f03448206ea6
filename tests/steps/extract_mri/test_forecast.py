from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skiptool.records import SILENT
from skiptool.sources.volumes.manifest import VolumeRow
from skiptool.steps.extract_mri.forecast import forecast, summed
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import survey
from skiptool.steps.extract_mri.writing import Plan
from volume_cases import affine, cine, heart


def plan(folder: Path, **asked: Any) -> Plan:  # noqa: ANN401
    matrix = affine((2.0, 2.0, 10.0), [[-0.37, 0.7, 0.6], [-0.85, 0.0, -0.53], [-0.38, -0.71, 0.6]])
    rows = [
        VolumeRow(*cine(folder, "a"), "A", "a"),
        VolumeRow(*cine(folder, "b", shape=(44, 40, 2)), "A", "b"),
        VolumeRow(*cine(folder, "c", matrix=matrix), "B", "c"),
    ]
    settings = SliceSettings(**asked)
    volumes, failures = survey(rows, settings, 1, SILENT)
    assert failures == []
    sizes = {"A": settings.size_of("A") or 64, "B": 64}
    return Plan(settings, volumes, sizes, {"a": 0, "b": -1, "c": 1})


def counts(*shapes: tuple[int, int, int]) -> list[int]:
    found = sum(2 * np.bincount(heart(*shape).ravel(), minlength=4) for shape in shapes)
    return np.asarray(found)[1:].tolist()


def test_a_row_a_domain(tmp_path: Path) -> None:
    found = forecast(plan(tmp_path), {"without masks": 3}, ["one failed"])
    (table,) = found.tables
    lv, myo, rv = counts((40, 40, 3), (44, 40, 2))
    first = {name: cells[0] for name, cells in table.columns.items()}
    assert first == {
        **{"domain": "A", "subjects": 2, "training": 1, "frames": 4, "slices": 10},
        **{"found": "40 x 40, 44 x 40", "size": 64, "spacing": "1.5", "slice_spacing": "8"},
        **{"orientation": "LPS", "labels": f"LV {lv}, MYO {myo}, RV {rv}", "cut off": "none"},
        "bytes": 10 * 64 * 64 * 5,
    }
    assert table.columns["orientation"][1] == "PIR"
    assert table.columns["spacing"][1] == "2"
    assert found.failures == ("one failed",)
    assert found.summary["bytes before compression"] == 16 * 64 * 64 * 5
    assert (found.summary["without masks"], found.summary["failed"]) == (3, 1)


def test_numbers_of_what_was_written(tmp_path: Path) -> None:
    made = plan(tmp_path)
    found = summed(made, made.volumes[1:], {}, [])
    assert found["samples"] == {"A": 4, "B": 6}
    assert (found["subjects"], found["train"], found["test"]) == (2, 6, 4)
    assert found["size"] == {"A": 64, "B": 64}
    assert list(found["voxels in masks"].values()) == counts((44, 40, 2), (40, 40, 3))
    assert found["pixels in the store"] == found["voxels in masks"]
    assert found["labelled pixels cut off"] == found["failed"] == 0
    assert "pixels resampled" not in found


def test_what_cropping_and_resampling_change(tmp_path: Path) -> None:
    made = plan(tmp_path, sizes={"A": 32}, spacing=0.75)
    found = summed(made, made.volumes, {}, [])
    before, after = found["pixels resampled"], found["pixels in the store"]
    assert before["LV"] > found["voxels in masks"]["LV"]
    lost = sum(before.values()) - sum(after.values())
    assert found["labelled pixels cut off"] == lost > 0
    (table,) = forecast(made, {}, []).tables
    assert table.columns["cut off"][0] != "none"
    assert table.columns["cut off"][1] == "none"
