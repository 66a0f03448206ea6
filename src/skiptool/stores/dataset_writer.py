"""Writing dataset stores: whole shards, appended in order, resumable.

While a store grows, ``rows.jsonl`` in it holds the columns of every sample whose shard is
written; a resumed run goes on behind the last row. The file is gone when the store is whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from skiptool.errors import FormatError, MismatchError
from skiptool.names import IGNORE, Kind
from skiptool.records import Sample, check_name
from skiptool.stores.dataset import IDENTITY_COLUMNS
from skiptool.stores.header import Lineage, Making, check_same, identifier, lineage
from skiptool.stores.zarrs import create_array, write_columns

__all__ = ["SHARD", "DatasetWriter"]

SHARD = 16
"""Images in one shard: the unit of writing and of resuming."""

ROWS = "rows.jsonl"
PLAN = "plan.json"


class DatasetWriter:
    """Append samples to a growing dataset store.

    Parameters
    ----------
    path : Path
        Folder in which the store grows (see ``staging``).
    classes : sequence of str
        Class names, index = label.
    making : Making
        How the step was called; a leftover begun with other parameters is refused.

    Raises
    ------
    ExistsError
        If ``path`` holds a store begun with other parameters.
    """

    def __init__(self, path: Path, classes: Sequence[str], making: Making) -> None:
        self._path = path
        self._classes = tuple(classes)
        self._making = making
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._buffers: dict[str, list[Sample]] = {}
        self._sizes: dict[str, tuple[tuple[int, ...], np.dtype[Any], str]] = {}
        self._ids: dict[str, set[str]] = {}
        if (path / PLAN).exists():
            self._resume()
        self._root = zarr.open_group(path, mode="a", zarr_format=3)
        (path / PLAN).write_text(json.dumps(making.determinants))

    def written(self, domain: str) -> int:
        """Return how many samples of a domain are safely in the store."""
        return len(self._rows.get(domain, []))

    def append(self, sample: Sample) -> None:
        """Add one sample behind those of its domain.

        Raises
        ------
        MismatchError
            If its size or type differs from the domain's, its id is there already, or its mask
            holds a label beyond the classes.
        """
        if sample.domain not in self._sizes:
            self._begin(sample)
        self._check(sample)
        buffer = self._buffers[sample.domain]
        buffer.append(sample)
        if len(buffer) == SHARD:
            self._flush(sample.domain)

    def finish(self) -> Lineage:
        """Write what is left, the columns and the header.

        Raises
        ------
        FormatError
            If nothing was appended.
        """
        if not self._rows:
            raise FormatError("no sample at all: the dataset would be empty; check the inputs")
        for domain in self._buffers:
            self._flush(domain)
        identity: dict[str, Any] = {"classes": self._classes}
        for domain, rows in self._rows.items():
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            write_columns(self._group(domain), columns)
            identity[domain] = [[row[name] for name in IDENTITY_COLUMNS] for row in rows]
        header = lineage(Kind.DATASET, self._making, identity)
        self._root.attrs.update(
            {**header.as_json(), "classes": list(self._classes), "ignore_index": IGNORE}
        )
        (self._path / ROWS).unlink()
        (self._path / PLAN).unlink()
        return header

    def _resume(self) -> None:
        found = json.loads((self._path / PLAN).read_text())
        check_same(found, self._making, str(self._path))
        if (self._path / ROWS).exists():
            for line in (self._path / ROWS).read_text().splitlines():
                entry = json.loads(line)
                self._rows.setdefault(entry["domain"], []).extend(entry["rows"])

    def _begin(self, sample: Sample) -> None:
        domain = check_name(sample.domain, "domain")
        self._sizes[domain] = (sample.image.shape, sample.image.dtype, sample.id)
        self._buffers[domain] = []
        self._rows.setdefault(domain, [])
        self._ids[domain] = {row["id"] for row in self._rows[domain]}
        group = self._root.require_group(domain)
        if "images" not in group:
            for name, array in (("images", sample.image), ("masks", sample.mask)):
                shape = (0, *array.shape)
                create_array(group, name, shape, str(array.dtype), chunk=1, shard=SHARD)

    def _check(self, sample: Sample) -> None:
        where = f"domain {sample.domain}, sample {sample.id}"
        shape, dtype, first = self._sizes[sample.domain]
        if sample.image.shape != shape or sample.image.dtype != dtype:
            raise MismatchError(
                f"{where}: image is {sample.image.shape} {sample.image.dtype}, but {first} is "
                f"{shape} {dtype}; images of one domain have one size: crop them, or give them "
                "another domain"
            )
        if sample.mask.shape != sample.image.shape[:2]:
            raise MismatchError(
                f"{where}: mask is {sample.mask.shape}, image is {sample.image.shape[:2]}; both "
                "must have one height and width"
            )
        if sample.id in self._ids[sample.domain]:
            raise MismatchError(f"{where}: this id is there twice; ids are unique in a domain")
        labels = np.bincount(sample.mask.ravel(), minlength=IGNORE + 1)[len(self._classes) : IGNORE]
        if labels.any():
            raise MismatchError(
                f"{where}: mask holds label {len(self._classes) + int(labels.argmax())}, the "
                f"classes are 0 to {len(self._classes) - 1} ({', '.join(self._classes)}) and "
                f"{IGNORE} for ignored; name every class or correct the mask"
            )
        self._ids[sample.domain].add(sample.id)

    def _flush(self, domain: str) -> None:
        buffer, self._buffers[domain] = self._buffers[domain], []
        if not buffer:
            return
        group, start = self._group(domain), len(self._rows[domain])
        for name in ("images", "masks"):
            array = group[name]
            if not isinstance(array, zarr.Array):
                raise FormatError(f"{self._path}: {domain}/{name} is no array; start again")
            parts = [sample.image if name == "images" else sample.mask for sample in buffer]
            array.resize((start + len(buffer), *array.shape[1:]))
            array[start : start + len(buffer)] = np.stack(parts)
        rows = [_row(sample) for sample in buffer]
        with (self._path / ROWS).open("a") as file:
            file.write(json.dumps({"domain": domain, "rows": rows}) + "\n")
        self._rows[domain].extend(rows)

    def _group(self, domain: str) -> zarr.Group:
        return self._root.require_group(domain)


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "subject": sample.subject,
        "split": sample.split.value,
        "fold": sample.fold,
        "digest": identifier(sample.image.tobytes(), sample.mask.tobytes()),
        **sample.columns,
    }
