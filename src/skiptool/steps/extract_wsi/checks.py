"""What is wrong with a command is said before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skiptool.errors import ArgumentError, ExistsError, near
from skiptool.exports.folders import check_export
from skiptool.names import Split
from skiptool.sources.slides.manifest import SlideRow
from skiptool.steps.extract_wsi.notes import notes_of
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.stores.staging import check_free

__all__ = ["check_places", "check_words"]


def check_words(
    rows: Sequence[SlideRow], settings: PatchSettings, wanted: Sequence[str], split: str
) -> None:
    """Refuse domains that the manifest does not have, and splits that do not exist.

    Raises
    ------
    ArgumentError
        Says which there are.
    """
    if split not in ("all", *Split):
        raise ArgumentError(f"--split {split}: expected train, test or all")
    found = dict.fromkeys(row.domain for row in rows)
    asked = [("domain", name) for name in wanted]
    if settings.register is not None:
        asked.append(("register", settings.register))
    for option, name in asked if rows else ():
        if name not in found or (wanted and name not in wanted):
            known = [each for each in found if each in wanted or not wanted or option == "domain"]
            raise ArgumentError(
                f"--{option} {name}: the manifest's domains are {', '.join(known)}"
                f"{near(name, known)}"
            )


def check_places(
    out: Path, side: Path, export: Path | None, *, overwrite: bool, resume: bool
) -> None:
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
    if notes_of(out).exists() and not (overwrite or resume):
        raise ExistsError(
            f"{out}: {notes_of(out).name} is left of an interrupted run, or another process writes "
            "it now; give --resume to go on with it or --overwrite to start again"
        )
    if export is not None:
        check_export(export, out, resume=resume)
