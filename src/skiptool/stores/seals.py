"""Seals: hashes that reveal changed bytes where the formats themselves have no checksum.

Chunks of Zarr end in a CRC-32C, pages of Parquet in a CRC-32; metadata have none. Therefore every
finished artifact is sealed, and the seal is compared on reading:

- a Zarr store has at its root the attribute ``seal``: for each ``zarr.json`` in it (its folder,
  ``.`` for the root) 8 hex digits, a hash of the JSON without the seal itself;
- a ``config.json`` or ``overlays.json`` has under ``seal`` a hash of its other keys;
- a Parquet file has under ``skiptool.seal`` in the footer's key-value metadata a hash of all bytes
  of the file, in which the 32 digits of the seal itself count as zeros.

Artifacts without a seal (of early versions, or of other writers) are read without this check. To
change an artifact on purpose, remove its seal. A store behind a URL is not compared: that would
cost a request for each ``zarr.json``.
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

SEAL = "seal"
TABLE_SEAL = "skiptool.seal"

UNSEALED = "0" * ID_DIGITS
"""Placeholder in a Parquet file until all of it is written."""

_DIGITS = 8
_HERE = "."
_REMEDY = f"the metadata is damaged, make it again (or remove {SEAL!r} if you changed it yourself)"


def seal_store(path: Path) -> None:
    """Seal the metadata of a complete Zarr store, replacing an earlier seal."""
    root = zarr.open_group(path, mode="r+", zarr_format=3)
    # sorted: each file system lists its folders in an order of its own
    root.update_attributes({SEAL: dict(sorted(_members(path).items()))})


def check_store(root: zarr.Group, where: str) -> None:
    """Compare the metadata of a store on a local disk with its seal, if it has one."""
    broken = broken_members(root)
    if broken:
        files = ", ".join(_file(name) for name in broken[:3])
        more = f" and {len(broken) - 3} others" if len(broken) > 3 else ""
        raise FormatError(f"{where}: {files}{more}: not as written; {_REMEDY}")


def broken_members(root: zarr.Group) -> list[str]:
    """Return the members of a local store whose metadata does not match the seal, sorted."""
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
    """Compare a JSON object with its seal, if it has one."""
    if SEAL in found and sealed_object(found)[SEAL] != found[SEAL]:
        raise FormatError(f"{where}: not as written; {_REMEDY}")


def seal_table(path: Path) -> None:
    """Replace the placeholder in a Parquet file by its seal."""
    with path.open("r+b") as file:
        content = file.read()
        place = _place(content)
        if place is not None:
            file.seek(place)
            file.write(_hash(content).encode())


def table_is_whole(path: Path) -> bool | None:
    """Tell whether a Parquet file matches its seal; None without a seal."""
    content = path.read_bytes()
    place = _place(content)
    if place is None:
        return None
    end = place + ID_DIGITS
    plain = content[:place] + UNSEALED.encode() + content[end:]
    return content[place:end] == _hash(plain).encode()


def _place(content: bytes) -> int | None:
    """Return the position of the digits of a seal, after the key; Thrift marks precede both."""
    key = b"\x18" + bytes([len(TABLE_SEAL)]) + TABLE_SEAL.encode() + b"\x18" + bytes([ID_DIGITS])
    found = content.rfind(key)
    return None if found < 0 else found + len(key)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:ID_DIGITS]


def _members(folder: Path, name: str = _HERE) -> dict[str, str]:
    """Hash the metadata of a group and of all below it; arrays have no members."""
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
