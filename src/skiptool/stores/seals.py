"""Seals: hashes that reveal changed bytes where the formats themselves have no checksum.

Zarr chunks end in a CRC-32C and Parquet pages in a CRC-32, but metadata has no checksum. Therefore
every finished artifact is sealed, and the seal is verified on reading:

- a Zarr store has at its root the attribute ``seal``: for each ``zarr.json`` in it (its folder,
  ``.`` for the root) 8 hex digits, a hash of the JSON without the seal itself. The metadata of all
  members is also copied into the ``zarr.json`` of the root ("consolidated metadata", since version
  0.2): other programs need one request for it, and no list of folders, which web servers lack;
- a ``config.json`` or ``overlays.json`` has under ``seal`` a hash of its other keys;
- a Parquet file has under ``skiptool.seal`` in the footer's key-value metadata a hash of all bytes
  of the file, in which the 32 digits of the seal itself count as zeros.

Artifacts without a seal (from early versions or other writers) are read without this check. To
change an artifact on purpose, remove its seal. Stores behind URLs are not verified: that would take
a request for each ``zarr.json``.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.errors import ZarrUserWarning
from zarr.storage import LocalStore

from skiptool.errors import FormatError
from skiptool.stores.lineage import ID_DIGITS, hash_bytes, hash_json

SEAL = "seal"
TABLE_SEAL = "skiptool.seal"

UNSEALED = "0" * ID_DIGITS
"""Placeholder in a Parquet file until all of it is written."""

_DIGITS = 8
_ROOT = "."
_REMEDY = f"the metadata is damaged, make it again (or remove {SEAL!r} if you changed it yourself)"


def seal_store(path: Path) -> None:
    """Consolidate and seal the metadata of a complete Zarr store, replacing an earlier seal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # not yet in the specification of Zarr
        root = zarr.consolidate_metadata(path, zarr_format=3)
    # sorted, as the order of directory listings depends on the file system
    root.update_attributes({SEAL: dict(sorted(_hash_members(path).items()))})


def check_store(root: zarr.Group, where: str) -> None:
    """Verify the seal of a store on a local disk, if it has one."""
    broken = broken_members(root)
    if broken:
        files = ", ".join(f"{name}/zarr.json".removeprefix("./") for name in broken[:3])
        more = f" and {len(broken) - 3} others" if len(broken) > 3 else ""
        raise FormatError(f"{where}: {files}{more}: not as written; {_REMEDY}")


def broken_members(root: zarr.Group) -> list[str]:
    """Return the members of a local store whose metadata does not match the seal, sorted."""
    seal: object = root.metadata.attributes.get(SEAL)
    if seal is None or not isinstance(root.store, LocalStore):
        return []
    if not isinstance(seal, Mapping):
        return [_ROOT]
    hashes = _hash_members(root.store.root)
    return sorted(name for name in {*seal, *hashes} if seal.get(name) != hashes.get(name))


def sealed_object(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its seal as the last key.

    Examples
    --------
    >>> check_object(sealed_object({"a": 1}), "here")
    """
    others = {key: value for key, value in values.items() if key != SEAL}
    return {**others, SEAL: hash_json(others)}


def check_object(values: Mapping[str, Any], where: str) -> None:
    """Verify the seal of a JSON object, if it has one."""
    if SEAL in values and sealed_object(values)[SEAL] != values[SEAL]:
        raise FormatError(f"{where}: not as written; {_REMEDY}")


def seal_table(path: Path) -> None:
    """Replace the placeholder in a Parquet file by its seal."""
    with path.open("r+b") as file:
        content = file.read()
        position = _seal_position(content)
        if position is not None:
            file.seek(position)
            file.write(hash_bytes(content).encode())


def table_matches_seal(path: Path) -> bool | None:
    """Return whether a Parquet file matches its seal, or None if it has none."""
    content = path.read_bytes()
    position = _seal_position(content)
    if position is None:
        return None
    end = position + ID_DIGITS
    unsealed = content[:position] + UNSEALED.encode() + content[end:]
    return content[position:end] == hash_bytes(unsealed).encode()


def _seal_position(content: bytes) -> int | None:
    """Return the position of the digits of a seal: after the key, each with a Thrift prefix."""
    key = b"\x18" + bytes([len(TABLE_SEAL)]) + TABLE_SEAL.encode() + b"\x18" + bytes([ID_DIGITS])
    start = content.rfind(key)
    return None if start < 0 else start + len(key)


def _hash_members(folder: Path, name: str = _ROOT) -> dict[str, str]:
    """Hash the metadata of a group and of all its members, recursively."""
    if not (folder / "zarr.json").is_file():
        return {}
    try:
        metadata: object = json.loads((folder / "zarr.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {name: ""}
    if name == _ROOT:
        metadata = _without_seal(metadata)
    hashes = {name: hash_json(metadata)[:_DIGITS]}
    if isinstance(metadata, dict) and metadata.get("node_type") == "group":
        for entry in os.scandir(folder):
            if entry.is_dir():
                member = entry.name if name == _ROOT else f"{name}/{entry.name}"
                hashes |= _hash_members(Path(entry.path), member)
    return hashes


def _without_seal(metadata: object) -> object:
    if isinstance(metadata, dict) and isinstance(metadata.get("attributes"), dict):
        others = {key: value for key, value in metadata["attributes"].items() if key != SEAL}
        return {**metadata, "attributes": others}
    return metadata
