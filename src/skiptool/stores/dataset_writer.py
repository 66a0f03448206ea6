"""Writing dataset stores: whole shards, appended in order, resumable (see ``journal``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from skiptool.errors import FormatError, MismatchError
from skiptool.names import IGNORE_LABEL, Kind
from skiptool.records import Sample
from skiptool.stores.contents import CONTENTS, SampleContent, summarise
from skiptool.stores.dataset import Packed, column_kinds, pack
from skiptool.stores.journal import Journal
from skiptool.stores.lineage import Invocation, Lineage, lineage
from skiptool.stores.seals import seal_store
from skiptool.stores.shards import keep_shards, write_shard
from skiptool.stores.zarrs import create_array, remove_partial_files, write_columns

if TYPE_CHECKING:
    Arrays = tuple[zarr.Array[Any], zarr.Array[Any]]

SHARD = 16
"""Images in one shard: the unit of writing and of resuming."""

AXES = ("sample", "y", "x", "channel")


class DatasetWriter:
    """Append samples to a growing dataset store.

    Parameters
    ----------
    path : Path
        Folder in which the store grows (see ``staging``).
    classes : sequence of str
        Class names, index = label.
    invocation : Invocation
        Call of the step; remains of a run with other parameters are refused.

    Raises
    ------
    ExistsError
        If ``path`` holds a store begun with other parameters.
    FormatError
        If ``path`` holds a store that does not match its journal.
    """

    def __init__(self, path: Path, classes: Sequence[str], invocation: Invocation) -> None:
        self._path = path
        self.classes = tuple(classes)
        self._making = invocation
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._contents: dict[str, list[SampleContent]] = {}
        self._arrays: dict[str, Arrays] = {}
        self._buffers: dict[str, list[Packed]] = {}
        self._places: dict[str, dict[str, int]] = {}
        self._journal = Journal(path, invocation)
        if self._journal.begun:
            self._root = zarr.open_group(path, mode="a", zarr_format=3)
            self._resume()
        else:
            self._root = zarr.open_group(path, mode="w", zarr_format=3)
            self._journal.begin()

    def written(self, domain: str) -> int:
        """Return the number of samples of a domain that are safely in the store."""
        return len(self._rows.get(domain, []))

    def holds(self, domain: str, name: str) -> bool:
        """Tell whether a sample of this id was appended to a domain, now or before resuming."""
        return name in self._places.get(domain, {})

    def append(self, sample: Sample | Packed) -> None:
        """Append one sample to its domain.

        A sample may be packed beforehand, for the same classes, to use other threads.

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
        places, buffer = self._places[packed.domain], self._buffers[packed.domain]
        places[packed.row["id"]] = len(places)
        buffer.append(packed)
        if len(buffer) == SHARD:
            self._flush(packed.domain)

    def finish(self) -> Lineage:
        """Write what is left, the columns and the header; refuse an empty dataset."""
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
        header = lineage(Kind.DATASET, self._making, identity)
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
        """Summarise the contents of each domain, unless an early version began the store."""
        if any(len(self._contents[domain]) != len(rows) for domain, rows in self._rows.items()):
            return {}
        summary = {}
        for domain, contents in self._contents.items():
            ids = [row["id"] for row in self._rows[domain]]
            summary[domain] = summarise(zip(ids, contents, strict=True))
        return {CONTENTS: summary}

    def _resume(self) -> None:
        """Take over whole shards; the images of a last incomplete one come again."""
        remove_partial_files(self._path)
        noted: dict[str, list[dict[str, Any]]] = {}
        contents: dict[str, list[SampleContent]] = {}
        for entry in self._journal.entries:
            rows = noted.setdefault(entry["domain"], [])
            rows[entry["start"] :] = entry["rows"]
            counted = contents.setdefault(entry["domain"], [])
            counted[entry["start"] :] = map(SampleContent.parse, entry.get("contents", ()))
        for domain, rows in noted.items():
            whole = len(rows) // SHARD
            self._rows[domain] = rows[: whole * SHARD]
            self._contents[domain] = contents[domain][: whole * SHARD]
            arrays = [self._root.get(f"{domain}/{name}") for name in ("images", "masks")]
            images, masks = (_cut(array, whole) for array in arrays)
            if images is None or masks is None:
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
        self._places[domain] = {row["id"]: place for place, row in enumerate(rows)}

    def _check_fits(self, packed: Packed) -> None:
        name = packed.row["id"]
        where, places = f"domain {packed.domain}, sample {name}", self._places[packed.domain]
        if not places:
            return
        first, (images, _) = next(iter(places)), self._arrays[packed.domain]
        (shape, dtype), expected = packed.form, (images.shape[1:], str(images.dtype))
        if packed.form != expected:
            raise MismatchError(
                f"{where}: image is {shape} {dtype}, but {first} is {expected[0]} {expected[1]}; "
                "images of one domain have one size: crop them, or give them another domain"
            )
        if name in places:
            raise MismatchError(
                f"{where}: is number {len(places)} of its domain, and number {places[name]} "
                "has the same id; ids are unique in a domain, rename one"
            )
        written, waiting = self._rows[packed.domain], self._buffers[packed.domain]
        columns = column_kinds(packed.row)
        known = column_kinds(written[0] if written else waiting[0].row)
        if columns != known:
            raise MismatchError(
                f"{where}: has columns {columns}, but {first} has {known}; samples of one domain "
                "have the same columns"
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
        contents = [packed.content for packed in buffer]
        noted = [content.as_json() for content in contents]
        self._journal.note({"domain": domain, "start": start, "rows": rows, "contents": noted})
        self._rows[domain].extend(rows)
        self._contents[domain].extend(contents)


def _create(group: zarr.Group, packed: Packed) -> Arrays:
    shape, dtype = packed.form
    images = create_array(group, "images", (0, *shape), dtype, chunk=1, shard=SHARD, axes=AXES)
    masks = create_array(
        group, "masks", (0, *shape[:2]), "uint8", chunk=1, shard=SHARD, axes=AXES[:3]
    )
    return images, masks


def _cut(array: zarr.Array[Any] | zarr.Group | None, shards: int) -> zarr.Array[Any] | None:
    """Drop what was written of an array but not noted; None if more was noted than written."""
    return array if isinstance(array, zarr.Array) and keep_shards(array, shards) else None
