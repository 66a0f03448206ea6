from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from skiptool.records import SILENT, Task
from skiptool.sources.volumes.manifest import VolumeRow
from skiptool.steps.extract_mri.notes import tell, tell_cut
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import survey
from skiptool.steps.extract_mri.writing import Plan
from volume_cases import cine, save


class Heard:
    """Progress that keeps the warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def task(self, text: str, total: int) -> AbstractContextManager[Task]:
        return SILENT.task(text, total)

    def warn(self, line: str) -> None:
        self.lines.append(line)


def test_notes_alike_are_counted(tmp_path: Path) -> None:
    row = VolumeRow(*cine(tmp_path, "a"), "A", "a")
    (one,), _ = survey([row], SliceSettings(), 1, SILENT)
    apart = [f"{n}.nii: sform and qform disagree by {n + 0.5} mm; used" for n in range(9)]
    many = [replace(one, notes=(line,)) for line in apart]
    other = replace(one, notes=("x.nii: frame 3 (ES) holds no label",))
    heard = Heard()
    tell([*many, one, other], heard)
    assert heard.lines == [*apart[:3], "... and 6 more notes like the last", *other.notes]


def test_what_is_cut_off_is_told_by_domain(tmp_path: Path) -> None:
    full = np.full((40, 40, 2), 3, dtype=np.uint8)  # nothing but right ventricle
    rows = [
        VolumeRow(
            *(save(tmp_path / f"{name}{part}.nii", full) for part in "im"), name.upper(), name
        )
        for name in "ab"
    ]
    settings = SliceSettings(sizes={"A": 32, "B": 64})
    volumes, _ = survey(rows, settings, 1, SILENT)
    heard = Heard()
    tell_cut(Plan(settings, volumes, {"A": 32, "B": 64}, {"a": 0, "b": 0}), heard)
    assert heard.lines == [
        f"domain A: --size 32 cuts labelled pixels off (RV {2 * (40 * 40 - 32 * 32)}) in 1 of 1 "
        f"volumes, the first: {rows[0].image}; take a larger size to keep them"
    ]
