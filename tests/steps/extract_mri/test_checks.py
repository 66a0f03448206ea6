from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skiptool.errors import ArgumentError, ExistsError, SourceError
from skiptool.sources.volumes.manifest import VolumeRow
from skiptool.steps.extract_mri.checks import check_domains, check_places
from skiptool.steps.extract_mri.settings import SliceSettings

ROWS = [VolumeRow(Path("a.nii"), None, domain, "p") for domain in ("Siemens", "Philips")]


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ({"sizes": {"": 192, "Simens": 320}}, "size"),
        ({"centres": {"Simens": "1"}}, "centre"),
        ({"train_subjects": {"Simens": 3}}, "train-subjects"),
        ({"test_subjects": {"Simens": 3}}, "test-subjects"),
    ],
)
def test_domains_that_are_not_there_are_refused(asked: dict[str, Any], option: str) -> None:
    words = f"--{option} Simens: the source's domains are Philips, Siemens; did you mean Siemens"
    with pytest.raises(ArgumentError, match=words):
        check_domains(ROWS, SliceSettings(**asked), ())


def test_wanted_domains() -> None:
    check_domains(ROWS, SliceSettings(sizes={"": 192, "Philips": 320}), ("Siemens",))
    with pytest.raises(ArgumentError, match="--domain C: the source's domains"):
        check_domains(ROWS, SliceSettings(), ("C",))


def test_places_that_are_taken(tmp_path: Path) -> None:
    check_places(tmp_path / "d.zarr", tmp_path / "qc", overwrite=False, resume=False)
    (tmp_path / "qc").mkdir()
    check_places(tmp_path / "d.zarr", tmp_path / "qc", overwrite=False, resume=False)
    with pytest.raises(SourceError, match="does not exist"):
        check_places(tmp_path / "d.zarr", tmp_path / "no" / "qc", overwrite=False, resume=False)
    (tmp_path / "d.zarr").mkdir()
    with pytest.raises(ExistsError):
        check_places(tmp_path / "d.zarr", tmp_path / "qc", overwrite=False, resume=False)
