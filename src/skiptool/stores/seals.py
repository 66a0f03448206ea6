"""Seals: what finds a changed byte where the formats themselves have no checksum.

Chunks of Zarr end in a CRC-32C, pages of Parquet in a CRC-32; metadata have none. So whoever
finishes an artifact seals it, and whoever reads it compares:

- a Zarr store keeps at its root the attribute ``seal``: for each ``zarr.json`` in it (its folder,
  ``.`` for the root) 8 hex digits, a hash of the JSON without the seal itself;
- a ``config.json`` or ``overlays.json`` keeps under ``seal`` a hash of its other keys;
- a Parquet file keeps under ``skiptool.seal`` in the footer's key-value metadata a hash of all
  bytes of the file, in which the 32 digits of the seal itself count as zeros.

Artifacts without a seal (of early versions, or of other writers) are read as they are. Who changes
one on purpose removes its seal. A store behind a URL is not compared: that would cost a request
for each ``zarr.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from skiptool.errors import FormatError
from skiptool.stores.lineage import ID_DIGITS, digest

__all__ = [
    "SEAL",
    "TABLE_SEAL",
    "UNSEALED",
    "broken_members",
    "check_object",
    "check_store",
    "seal_store",
    "seal_table",
    "sealed_object",
    "table_is_whole",
]

SEAL = "seal"
TABLE_SEAL = "skiptool.seal"

UNSEALED = "0" * ID_DIGITS
"""Stands in a Parquet file until all of it is written."""

_DIGITS = 8
_HERE = "."
_REMEDY = f"the metadata is damaged, make it again (or remove {SEAL!r} if you changed it yourself)"


def seal_store(path: Path) -> None:
    """Seal the metadata of a whole Zarr store, anew where it was sealed before."""
    root = zarr.open_group(path, mode="r+", zarr_format=3)
    # sorted: each file system lists its folders in an order of its own
    root.update_attributes({SEAL: dict(sorted(_members(path).items()))})


def check_store(root: zarr.Group, where: str) -> None:
    """Compare the metadata of a store on a local disk with its seal, where it has one.

    Raises
    ------
    FormatError
        If a ``zarr.json`` is not what was written, is gone, or was added.
    """
    broken = broken_members(root)
    if broken:
        files = ", ".join(_file(name) for name in broken[:3])
        more = f" and {len(broken) - 3} others" if len(broken) > 3 else ""
        raise FormatError(f"{where}: {files}{more}: not as written; {_REMEDY}")


def broken_members(root: zarr.Group) -> list[str]:
    """Return the members of a local store whose metadata is not what was sealed, sorted."""
    seal: object = root.metadata.attributes.get(SEAL)
    if seal is None or not isinstance(root.store, LocalStore):
        return []
    if not isinstance(seal, Mapping):
        return [_HERE]
    found = _members(root.store.root)
    return sorted(name for name in {*seal, *found} if seal.get(name) != found.get(name))


def sealed_object(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its seal as the last key.

    Examples
    --------
    >>> check_object(sealed_object({"a": 1}), "here")
    """
    others = {key: value for key, value in values.items() if key != SEAL}
    return {**others, SEAL: digest(others)}


def check_object(found: Mapping[str, Any], where: str) -> None:
    """Compare a JSON object with its seal, where it has one.

    Raises
    ------
    FormatError
        If it is not what was written.
    """
    if SEAL in found and sealed_object(found)[SEAL] != found[SEAL]:
        raise FormatError(f"{where}: not as written; {_REMEDY}")


def seal_table(path: Path) -> None:
    """Put the seal of a Parquet file in the place that was kept for it."""
    with path.open("r+b") as file:
        content = file.read()
        place = _place(content)
        if place is not None:
            file.seek(place)
            file.write(_hash(content).encode())


def table_is_whole(path: Path) -> bool | None:
    """Say whether a Parquet file is what was written; None where it has no seal."""
    content = path.read_bytes()
    place = _place(content)
    if place is None:
        return None
    end = place + ID_DIGITS
    plain = content[:place] + UNSEALED.encode() + content[end:]
    return content[place:end] == _hash(plain).encode()


def _place(content: bytes) -> int | None:
    """Return where the digits of a seal begin: behind their key, each with Thrift's mark before."""
    key = b"\x18" + bytes([len(TABLE_SEAL)]) + TABLE_SEAL.encode() + b"\x18" + bytes([ID_DIGITS])
    found = content.rfind(key)
    return None if found < 0 else found + len(key)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:ID_DIGITS]


def _members(folder: Path, name: str = _HERE) -> dict[str, str]:
    """Hash the metadata of a group and of all below it; no array holds another."""
    if not (folder / "zarr.json").is_file():
        return {}
    try:
        found: object = json.loads((folder / "zarr.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {name: ""}
    known = {name: digest(_unsealed(found) if name == _HERE else found)[:_DIGITS]}
    if isinstance(found, dict) and found.get("node_type") == "group":
        for entry in os.scandir(folder):
            if entry.is_dir():
                below = entry.name if name == _HERE else f"{name}/{entry.name}"
                known |= _members(Path(entry.path), below)
    return known


def _unsealed(found: object) -> object:
    if isinstance(found, dict) and isinstance(found.get("attributes"), dict):
        kept = {key: value for key, value in found["attributes"].items() if key != SEAL}
        return {**found, "attributes": kept}
    return found


def _file(name: str) -> str:
    return "zarr.json" if name == _HERE else f"{name}/zarr.json"
