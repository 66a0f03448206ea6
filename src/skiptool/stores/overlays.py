"""Folder of pictures of predictions. Format ``overlays``, version 1.

::

    overlays/
      overlays.json                 the header (see ``lineage``) and ``pictures``, a list of
                                    objects: ``file`` (below this folder), ``model``, ``model_id``,
                                    ``domain``, ``shift``, ``factor``, ``sample``, ``subject``,
                                    ``mIoU`` of the sample (null if it has no foreground),
                                    ``rank`` (1 is the lowest IoU), ``ranks`` (number of samples),
                                    ``digest`` of the file's bytes; ``seal`` (see ``seals``)
      <model>_<domain>/             one folder for each model or ensemble, and domain
        <rank>_iou-<mIoU>_<sample>.png
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from reprlib import repr as brief
from typing import Any

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.lineage import Lineage, hash_bytes, parse_lineage
from skiptool.stores.seals import check_object, sealed_object

INDEX = "overlays.json"

MAX_NAME_LENGTH = 60
"""Characters of a name within a file name, at most."""


def safe_name(name: str) -> str:
    """Turn a name into part of a file name: letters, digits, ``-``, ``_`` and ``.`` stay.

    Examples
    --------
    >>> safe_name("resnet18-L0/fold0"), safe_name("../a b"), safe_name("")
    ('resnet18-L0-fold0', '-a_b', '_')
    """
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name.replace("/", "-"))
    return safe.lstrip(".")[:MAX_NAME_LENGTH] or "_"


def write_index(
    folder: Path, header: Lineage, pictures: Sequence[Mapping[str, str | int | float | None]]
) -> None:
    """Write the header of a folder of pictures and the description of each picture."""
    entries = [{**entry, "digest": _digest(folder / str(entry["file"]))} for entry in pictures]
    index = sealed_object({**header.as_json(), "pictures": entries})
    text = json.dumps(index, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def open_overlays(folder: Path) -> tuple[Lineage, list[dict[str, Any]]]:
    """Read the header of a folder of pictures and the descriptions of the pictures.

    A damaged index and missing pictures are refused.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{folder / INDEX}: not readable as JSON ({error})") from error
    header = parse_lineage(index, str(folder / INDEX), Kind.OVERLAYS)
    pictures = index.get("pictures")
    if not isinstance(pictures, list) or not all(isinstance(entry, dict) for entry in pictures):
        raise FormatError(f"{folder / INDEX}: lists no pictures; predict again")
    for entry in pictures:
        file = PurePosixPath(str(entry.get("file")))
        if file.is_absolute() or ".." in file.parts:
            raise FormatError(
                f"{folder / INDEX}: the picture {brief(str(file))} is outside this folder; "
                "predict again"
            )
        if not (folder / file).is_file():
            raise FormatError(f"{folder}: the picture {file} is missing; predict again")
    check_object(index, str(folder / INDEX))
    return header, pictures


def damaged_pictures(folder: Path, pictures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the files of pictures whose bytes have changed."""
    return [
        str(entry["file"])
        for entry in pictures
        if entry.get("digest") not in (None, _digest(folder / str(entry["file"])))
    ]


def _digest(file: Path) -> str:
    return hash_bytes(file.read_bytes())
