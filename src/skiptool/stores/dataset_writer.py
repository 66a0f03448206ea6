"""Write dataset stores: whole shards, appended in order, resumable (see ``journal``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from skiptool.errors import FormatError, MismatchError
from skiptool.names import IGNORE_LABEL, Kind
from skiptool.records import Sample
from skiptool.stores.contents import CONTENTS, SampleContent, summarise
from skiptool.stores.dataset import PackedSample, column_kinds, pack
from skiptool.stores.journal import Journal
from skiptool.stores.lineage import Invocation, Lineage, create_lineage
from skiptool.stores.seals import seal_store
from skiptool.stores.shards import keep_shards, write_shard
from skiptool.stores.zarrs import create_array, remove_partial_files, write_columns

if TYPE_CHECKING:
    Arrays = tuple[zarr.Array[Any], zarr.Array[Any]]

SHARD = 16
"""Images in a shard: the unit of writing and of resuming."""

AXES = ("sample", "y", "x", "channel")


class DatasetWriter:
    """Append samples to a growing dataset store.

    A store begun with other parameters is refused, and so is one that does not match its journal.

    Parameters
    ----------
    path : Path
        Folder in which the store grows (see ``staging``).
    classes : sequence of str
        Class names, index = label.
    """

    def __init__(self, path: Path, classes: Sequence[str], invocation: Invocation) -> None:
        self._path = path
        self.classes = tuple(classes)
        self._invocation = invocation
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._contents: dict[str, list[SampleContent]] = {}
        self._arrays: dict[str, Arrays] = {}
        self._buffers: dict[str, list[PackedSample]] = {}
        self._positions: dict[str, dict[str, int]] = {}
        self._journal = Journal(path, invocation)
        if self._journal.begun:
            self._root = zarr.open_group(path, mode="a", zarr_format=3, use_consolidated=False)
            self._resume()
        else:
            self._root = zarr.open_group(path, mode="w", zarr_format=3)
            self._journal.begin()

    def written(self, domain: str) -> int:
        """Return the number of samples of a domain that are safely in the store."""
        return len(self._rows.get(domain, []))

    def holds(self, domain: str, name: str) -> bool:
        """Return whether a sample of this id was appended to a domain, now or before resuming."""
        return name in self._positions.get(domain, {})

    def append(self, sample: Sample | PackedSample) -> None:
        """Append a sample to its domain.

        Samples may be packed beforehand, for the same classes, in other threads.

        Raises
        ------
        ArgumentError, MismatchError
            As of `pack`; or if size, type or columns differ from those of the domain, or the id is
            not unique.
        """
        packed = pack(sample, self.classes) if isinstance(sample, Sample) else sample
        if packed.domain not in self._arrays:
            self._begin(packed.domain, _create(self._root.require_group(packed.domain), packed))
        self._check_fits(packed)
        positions, buffer = self._positions[packed.domain], self._buffers[packed.domain]
        positions[packed.row["id"]] = len(positions)
        buffer.append(packed)
        if len(buffer) == SHARD:
            self._flush(packed.domain)

    def finish(self) -> Lineage:
        """Write the remaining samples, the columns and the header; refuse an empty dataset."""
        if not self._arrays:
            raise FormatError("no samples: the dataset would be empty; check the inputs")
        domains = {}
        for domain, (images, masks) in self._arrays.items():
            self._flush(domain)
            rows = self._rows[domain]
            for array in (images, masks):  # only once: it costs as much as writing a shard
                array.resize((len(rows), *array.shape[1:]))
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            write_columns(self._root.require_group(domain), columns)
            domains[domain] = {"size": images.shape[1:], "dtype": str(images.dtype), "rows": rows}
        identity = {"classes": self.classes, "domains": domains}
        header = create_lineage(Kind.DATASET, self._invocation, identity)
        self._root.update_attributes(
            {
                **header.as_json(),
                "classes": list(self.classes),
                "ignore_index": IGNORE_LABEL,
                **self._summed_contents(),
            }
        )
        seal_store(self._path)
        self._journal.remove()
        return header

    def _summed_contents(self) -> dict[str, Any]:
        """Summarise the contents of each domain, unless an early version began writing."""
        if any(len(self._contents[domain]) != len(rows) for domain, rows in self._rows.items()):
            return {}
        summary = {}
        for domain, contents in self._contents.items():
            ids = [row["id"] for row in self._rows[domain]]
            summary[domain] = summarise(zip(ids, contents, strict=True))
        return {CONTENTS: summary}

    def _resume(self) -> None:
        """Restore whole shards; images of a last incomplete one must be appended again."""
        remove_partial_files(self._path)
        rows: dict[str, list[dict[str, Any]]] = {}
        contents: dict[str, list[SampleContent]] = {}
        for entry in self._journal.entries:
            domain, start = entry["domain"], entry["start"]
            rows.setdefault(domain, [])[start:] = entry["rows"]
            parsed = map(SampleContent.parse, entry.get("contents", ()))
            contents.setdefault(domain, [])[start:] = parsed
        for domain in rows:
            shards = len(rows[domain]) // SHARD
            self._rows[domain] = rows[domain][: shards * SHARD]
            self._contents[domain] = contents[domain][: shards * SHARD]
            images, masks = (self._root.get(f"{domain}/{name}") for name in ("images", "masks"))
            # Shards that were written but not recorded are removed.
            if not (
                isinstance(images, zarr.Array)
                and isinstance(masks, zarr.Array)
                and keep_shards(images, shards)
                and keep_shards(masks, shards)
            ):
                raise FormatError(
                    f"{self._path}: domain {domain} does not match the journal; give --overwrite "
                    "to start again"
                )
            self._begin(domain, (images, masks))

    def _begin(self, domain: str, arrays: Arrays) -> None:
        self._arrays[domain] = arrays
        self._buffers[domain] = []
        rows = self._rows.setdefault(domain, [])
        self._contents.setdefault(domain, [])
        self._positions[domain] = {row["id"]: position for position, row in enumerate(rows)}

    def _check_fits(self, packed: PackedSample) -> None:
        name = packed.row["id"]
        where, positions = f"domain {packed.domain}, sample {name}", self._positions[packed.domain]
        if not positions:
            return
        first, (images, _) = next(iter(positions)), self._arrays[packed.domain]
        shape, dtype = images.shape[1:], str(images.dtype)
        if (packed.shape, packed.dtype) != (shape, dtype):
            raise MismatchError(
                f"{where}: image is {packed.shape} {packed.dtype}, but {first} is {shape} {dtype}; "
                "images of one domain have one size: crop them, or give them another domain"
            )
        if name in positions:
            raise MismatchError(
                f"{where}: is number {len(positions)} of its domain, and number {positions[name]} "
                "has the same id; ids are unique in a domain, rename one"
            )
        written, buffer = self._rows[packed.domain], self._buffers[packed.domain]
        columns = column_kinds(packed.row)
        expected = column_kinds(written[0] if written else buffer[0].row)
        if columns != expected:
            raise MismatchError(
                f"{where}: has columns {columns}, but {first} has {expected}; samples of one "
                "domain have the same columns"
            )

    def _flush(self, domain: str) -> None:
        buffer, self._buffers[domain] = self._buffers[domain], []
        if not buffer:
            return
        start = len(self._rows[domain])
        chunks = zip(*(packed.chunks for packed in buffer), strict=True)
        for array, shard in zip(self._arrays[domain], chunks, strict=True):
            write_shard(array, start // SHARD, shard)
        rows = [dict(packed.row) for packed in buffer]
        contents = [packed.content.as_json() for packed in buffer]
        self._journal.note({"domain": domain, "start": start, "rows": rows, "contents": contents})
        self._rows[domain].extend(rows)
        self._contents[domain].extend(packed.content for packed in buffer)


def _create(group: zarr.Group, packed: PackedSample) -> Arrays:
    shape, size = (0, *packed.shape), (0, *packed.shape[:2])
    images = create_array(group, "images", shape, packed.dtype, chunk=1, shard=SHARD, axes=AXES)
    masks = create_array(group, "masks", size, "uint8", chunk=1, shard=SHARD, axes=AXES[:3])
    return images, masks
