"""What is wrong with a command is said before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skiptool.errors import ArgumentError, near
from skiptool.sources.volumes.manifest import VolumeRow
from skiptool.steps.extract_mri.settings import ALL, SliceSettings
from skiptool.stores.staging import check_free

__all__ = ["check_domains", "check_places"]


def check_domains(
    rows: Sequence[VolumeRow], settings: SliceSettings, wanted: Sequence[str]
) -> None:
    """Refuse options for domains that the source does not have.

    Raises
    ------
    ArgumentError
        Says which there are.
    """
    found = list(dict.fromkeys(row.domain for row in rows))
    asked = [
        ("domain", wanted),
        ("size", settings.sizes),
        ("centre", settings.centres),
        ("slice-axis", settings.slice_axes),
        ("train-subjects", settings.train_subjects),
        ("test-subjects", settings.test_subjects),
    ]
    for option, names in asked if rows else ():
        for name in names:
            if name != ALL and name not in found:
                raise ArgumentError(
                    f"--{option} {name}: the source's domains are {', '.join(sorted(found))}"
                    f"{near(name, found)}"
                )


def check_places(out: Path, side: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse places that cannot be written.

    Raises
    ------
    SourceError
        If a parent folder is missing or may not be written.
    ExistsError
        If something is there that may not be replaced.
    """
    check_free(out, overwrite=overwrite, resume=resume)
    check_free(side, overwrite=False, resume=True)  # what lies there already is added to
