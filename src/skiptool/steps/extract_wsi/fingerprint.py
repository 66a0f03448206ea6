"""What an extraction is made from: files by their content, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from skiptool.errors import SourceError
from skiptool.sources.slides.manifest import SlideRow, content_key
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.stores.lineage import digest
from skiptool.stores.models import open_model

__all__ = ["made_from"]


def made_from(rows: Sequence[SlideRow], settings: PatchSettings) -> dict[str, str]:
    """Return the ids of all inputs by role: a resumed run must find the same.

    Raises
    ------
    FormatError
        If the model of ``--mask model`` is missing or damaged.
    """
    found = {"files": _fingerprint(rows)}
    return found if settings.model is None else found | {"model": open_model(settings.model).id}


def _fingerprint(rows: Sequence[SlideRow]) -> str:
    found = []
    for row in rows:
        facts = asdict(row) | {"path": row.path.name, "annotations": None}
        found.append([facts, _known(row.path), _known(row.annotations)])
    return digest(found)


def _known(path: Path | None) -> list[str] | None:
    """Return name and content key of a file, None where there is none to be read."""
    try:
        return None if path is None else [path.name, content_key(path)]
    except SourceError:
        return None
