"""Dataset store: images, masks and their origin. Format ``dataset``, version 1.

::

    data.zarr/                      Zarr format 3
      zarr.json                     attributes: the header (see ``lineage``), ``classes`` (names,
                                    index = label), ``ignore_index`` (255), ``contents``
                                    (contents of each domain, see ``contents``), ``seal``
      <domain>/                     one group for each domain, nothing else at the root
        images    (N, H, W, 3) uint8, or (N, H, W, 1) float32 in [0, 1]
        masks     (N, H, W) uint8, labels; 255 = ignored
        samples/
          id      (N,) string       unique in its domain; the same id and subject in two
                                    domains mean the same location
          subject (N,) string       unit of splits and statistics
          split   (N,) string       train, test
          fold    (N,) int64        validation fold, -1 for test
          digest  (N,) string       hash of the sample's image and mask (other writers may omit
                                    it)
          ...     (N,)              columns of the source (cells, x, y, mpp, slice ...); ``draw``
                                    (int64, 0..E-1): training epoch e takes draw e modulo E

Inner chunk: one image. Shards hold 16 images and are written once; chunks are compressed with LZ4
and end in a CRC-32C. The id is the hash of the classes and, domain by domain, of size, type and all
columns under ``samples``, which include the hashes of the pixels, in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, FormatError, MismatchError, suggestion
from skiptool.names import IGNORE_LABEL, Kind, Split
from skiptool.records import Progress, Sample, check_name, is_name
from skiptool.stores.addresses import OpenStore, path_or_url, redact
from skiptool.stores.arrays import read_rows
from skiptool.stores.contents import SampleContent, count_content
from skiptool.stores.journal import JOURNAL
from skiptool.stores.lineage import Lineage, hash_bytes, parse_lineage
from skiptool.stores.remote import map_items
from skiptool.stores.seals import check_store
from skiptool.stores.shards import compress, row_reader
from skiptool.stores.zarrs import member_names, open_array, open_group, open_root, read_columns

if TYPE_CHECKING:
    from zarr.abc.store import Store

    from skiptool.records import AnyArray, Image, UInt8
    from skiptool.stores.arrays import Rows

    Arrays = tuple[zarr.Array[Any], zarr.Array[Any]]

IDENTITY_COLUMNS = ("id", "subject", "split", "fold", "digest")
"""Columns under ``samples/`` of every dataset; other writers may omit the last."""

IMAGE_FORMS = (("uint8", 3), ("float32", 1))
"""Data types and numbers of channels C of images."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain of an open store.

    Attributes
    ----------
    height, width, channels : int
        Size of its images in pixels, and C.
    columns : mapping of str to array (N,)
        Columns under ``samples/``.
    """

    name: str
    height: int
    width: int
    channels: int
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns["id"])

    @property
    def sample_bytes(self) -> int:
        """Bytes of one image and its mask before compression."""
        dtype = next(dtype for dtype, channels in IMAGE_FORMS if channels == self.channels)
        return self.height * self.width * (self.channels * np.dtype(dtype).itemsize + 1)

    def select(self, split: str | None) -> list[int]:
        """Return the indices of the samples of a split, or of all samples with None."""
        splits = self.columns["split"]
        return [index for index in range(len(self)) if split in (None, splits[index])]


@dataclass(frozen=True, slots=True)
class DatasetStore(OpenStore):
    """An open dataset: its header, classes and domains; pixels are read on demand.

    Attributes
    ----------
    copy : Path, optional
        Local copy of domains behind a URL, from which their pixels are read.
    """

    lineage: Lineage
    classes: tuple[str, ...]
    domains: Mapping[str, Domain]
    copy: Path | None = None

    def domain(self, name: str) -> Domain:
        """Return a domain; refuse an unknown name."""
        if name not in self.domains:
            raise ArgumentError(
                f"{self.path}: has no domain {name!r}, it has {', '.join(self.domains)}"
                f"{suggestion(name, self.domains)}"
            )
        return self.domains[name]

    def samples(self, domain: str, indices: Sequence[int]) -> StoredSamples:
        """Return a reader of samples of a domain, in the order of ``indices``."""
        return StoredSamples(self.place, self.domain(domain).name, tuple(indices), self.copy)


@dataclass(slots=True)
class StoredSamples:
    """Reader of samples of a domain, in the order of ``indices``.

    It is a picklable :class:`~skiptool.records.SampleReader`, which opens the store on first use.
    """

    place: Path | str
    domain: str
    indices: tuple[int, ...]
    copy: Path | None = None
    _arrays: tuple[Store, Rows, Rows] | None = None
    _process: int = 0

    def __len__(self) -> int:
        return len(self.indices)

    def __getstate__(self) -> tuple[Path | str, str, tuple[int, ...], Path | None]:
        return self.place, self.domain, self.indices, self.copy

    def __setstate__(self, state: tuple[Path | str, str, tuple[int, ...], Path | None]) -> None:
        self.place, self.domain, self.indices, self.copy = state
        self._arrays, self._process = None, 0

    def read(self, index: int) -> tuple[Image, UInt8]:
        """Return image (H, W, C) and mask (H, W) of one sample."""
        image, mask = self.read_many([index])
        return image[0], mask[0]

    def read_many(self, positions: Sequence[int]) -> tuple[Image, UInt8]:
        """Return images (n, H, W, C) and masks (n, H, W) of several samples, n > 0."""
        store, images, masks = self._open()
        runs = _consecutive_runs([self.indices[position] for position in positions])
        parts = [(array, run) for array in (images, masks) for run in runs]
        blocks = map_items(store, self._read_run, parts)
        return _concatenate(blocks[: len(runs)]), _concatenate(blocks[len(runs) :])

    def _read_run(self, part: tuple[Rows, range]) -> AnyArray:
        array, run = part
        samples = f"samples {run[0]} to {run[-1]}" if len(run) > 1 else f"sample {run[0]}"
        where = f"{redact(str(self.place))}: domain {self.domain}, {samples}"
        return read_rows(array, slice(run.start, run.stop), where)

    def _open(self) -> tuple[Store, Rows, Rows]:
        # connections must not be shared with a forked process
        if self._arrays is None or (isinstance(self.place, str) and self._process != os.getpid()):
            where = redact(str(self.place))
            root = open_root(self.copy or self.place, "dataset")
            group = open_group(root, self.domain, where)
            images, masks = _open_pixels(group, f"{where}: domain {self.domain}")
            self._arrays = root.store, row_reader(images), row_reader(masks)
            self._process = os.getpid()
        return self._arrays


def _concatenate(parts: Sequence[AnyArray]) -> AnyArray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _consecutive_runs(rows: Sequence[int]) -> list[range]:
    """Split rows, in their order, into runs of consecutive numbers.

    Examples
    --------
    >>> _consecutive_runs([4, 5, 6, 9, 2, 3])
    [range(4, 7), range(9, 10), range(2, 4)]
    """
    runs: list[range] = []
    for row in rows:
        if runs and row == runs[-1].stop:
            runs[-1] = range(runs[-1].start, row + 1)
        else:
            runs.append(range(row, row + 1))
    return runs


def open_dataset(place: Path | str) -> DatasetStore:
    """Open a dataset store, a local folder or a URL, and check its layout.

    Raises
    ------
    FormatError
        If there is none, or it is of another kind or version, incomplete, or inconsistent.
    SourceError, ArgumentError
        If a URL cannot be read.
    """
    where, place = redact(str(place)), path_or_url(place)
    root = open_root(place, "dataset")
    attributes: dict[str, Any] = dict(root.attrs)
    lineage = parse_lineage(attributes, where, Kind.DATASET)
    classes = attributes.get("classes")
    valid = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if attributes.get("ignore_index") != IGNORE_LABEL or not valid or not classes:
        raise FormatError(
            f"{where}: attributes lack 'classes' (names) or 'ignore_index' {IGNORE_LABEL}; make "
            "the dataset again"
        )
    names = member_names(root, where)
    if not names:
        remedy = "make the dataset again"
        if isinstance(place, str):
            remedy = "or its host lists none; make the dataset again, or copy it here first"
        raise FormatError(f"{where}: holds no domain; {remedy}")
    domains = map_items(root.store, lambda name: open_domain(where, root, name), names)
    check_store(root, where)
    return DatasetStore(place, lineage, tuple(classes), dict(zip(names, domains, strict=True)))


def open_domain(path: str, root: zarr.Group, name: str) -> Domain:
    """Open one domain and check its layout."""
    group, where = open_group(root, name, path), f"{path}: domain {name}"
    if not is_name(name):  # it becomes part of file names and messages
        raise FormatError(f"{where!r}: not a name that skiptool writes; make the dataset again")
    images, _ = _open_pixels(group, where)
    columns = read_columns(group, where)
    missing = [column for column in IDENTITY_COLUMNS[:-1] if column not in columns]
    if missing:
        raise FormatError(f"{where}: has no column {', '.join(missing)}; make the dataset again")
    samples, ids = images.shape[0], len(columns["id"])
    lengths = {name: len(values) for name, values in columns.items() if len(values) != ids}
    if lengths or samples != ids or not samples:
        others = "".join(f", {length} of column {name}" for name, length in lengths.items())
        raise FormatError(
            f"{where}: {samples} images, {ids} ids{others}; expected one of each for every sample, "
            "at least one; make the dataset again"
        )
    _check_columns(columns, where)
    return Domain(name, images.shape[1], images.shape[2], images.shape[3], columns)


def _open_pixels(group: zarr.Group, where: str) -> Arrays:
    images = open_array(group, "images", where, 4, [dtype for dtype, _ in IMAGE_FORMS])
    masks = open_array(group, "masks", where, 3, ["uint8"])
    if (str(images.dtype), images.shape[3]) not in IMAGE_FORMS or images.shape[:3] != masks.shape:
        raise FormatError(
            f"{where}: images are {images.shape} {images.dtype}, masks {masks.shape}; expected "
            "(N, H, W, 3) uint8 or (N, H, W, 1) float32, and (N, H, W); make the dataset again"
        )
    return images, masks


def _check_columns(columns: Mapping[str, Any], where: str) -> None:
    texts = [name for name in IDENTITY_COLUMNS if name != "fold" and name in columns]
    invalid = [name for name in texts if columns[name].dtype != object]
    if columns["fold"].dtype.kind != "i":
        invalid.append("fold")
    elif not invalid and not set(columns["split"]) <= set(Split):
        invalid.append("split")
    if invalid:
        raise FormatError(f"{where}: column {invalid[0]} holds invalid values; make it again")


# Samples to be stored

RESERVED = (JOURNAL, "zarr.json")
"""Files at the root of a store, after which no domain can be named."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedSample:
    """A sample ready for a store: checked, hashed and compressed.

    Attributes
    ----------
    row : mapping
        Its columns as JSON types, with the hash of its pixels.
    shape : (H, W, C)
        Shape of its image.
    dtype : str
        Data type of its image.
    chunks : (bytes, bytes)
        Image and mask.
    """

    domain: str
    row: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[bytes, bytes]
    content: SampleContent


def pack(sample: Sample, classes: Sequence[str]) -> PackedSample:
    """Check, hash and compress a sample; thread-safe, as it needs no store.

    Raises
    ------
    ArgumentError
        If image or mask are not as described in :class:`~skiptool.records.Sample`, or a name is not
        allowed in a store.
    MismatchError
        If image and mask differ in size, or the mask holds a label without a class.
    """
    check_sample(sample, classes)
    return PackedSample(
        sample.domain,
        _row(sample),
        sample.image.shape,
        str(sample.image.dtype),
        (compress(sample.image), compress(sample.mask)),
        count_content(sample),
    )


def check_sample(sample: Sample, classes: Sequence[str]) -> None:
    """Check a single sample; for the errors, see `pack`."""
    where = f"domain {sample.domain}, sample {sample.id}"
    _check_names(sample, where)
    _check_pixels(sample, where)
    # One more than the highest label; IGNORE, the highest 8-bit number, wraps to 0.
    labels = int((sample.mask + np.uint8(1)).max())
    if labels > len(classes):
        raise MismatchError(
            f"{where}: mask holds label {labels - 1}, the classes are 0 "
            f"to {len(classes) - 1} ({', '.join(classes)}) and {IGNORE_LABEL} for ignored; name "
            "every class or correct the mask"
        )


def column_kinds(columns: Mapping[str, Any]) -> dict[str, str]:
    """Return the source's columns in a row, and whether each is text or a number.

    Examples
    --------
    >>> column_kinds({"id": "a", "mpp": 0.25, "organ": "skin"})
    {'mpp': 'number', 'organ': 'text'}
    """
    return {
        name: "text" if isinstance(columns[name], str) else "number"
        for name in sorted(set(columns) - set(IDENTITY_COLUMNS))
    }


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "subject": sample.subject,
        "split": sample.split.value,
        "fold": int(sample.fold),
        "digest": hash_bytes(_bytes(sample.image), _bytes(sample.mask)),
        **{
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in sample.columns.items()
        },
    }


def _bytes(array: AnyArray) -> memoryview:
    """Return the bytes of an array in C order, copied only if it is not contiguous."""
    return np.ascontiguousarray(array).data.cast("B")


def _check_names(sample: Sample, where: str) -> None:
    check_name(sample.domain, "domain")
    for name in sample.columns:
        check_name(name, f"{where}: column")
    reserved = [name for name in sample.columns if name in (*IDENTITY_COLUMNS, *RESERVED)]
    if sample.domain in RESERVED:
        reserved.append(sample.domain)
    if reserved:
        raise ArgumentError(f"{where}: {reserved[0]!r} is reserved in a store; choose another name")
    texts = [value for value in sample.columns.values() if isinstance(value, str)]
    try:
        "".join([sample.domain, sample.id, sample.subject, *sample.columns, *texts]).encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(
            f"domain {sample.domain!r}, sample {sample.id!r}: a name or text is not valid Unicode "
            f"({error.reason}); rename the file or correct the table that it comes from"
        ) from None


def _check_pixels(sample: Sample, where: str) -> None:
    image, mask = sample.image, sample.mask
    form = (str(image.dtype), *image.shape[2:])
    if image.ndim != 3 or form not in IMAGE_FORMS or mask.dtype != np.uint8:
        raise ArgumentError(
            f"{where}: image is {image.shape} {image.dtype}, mask {mask.shape} {mask.dtype}; "
            "expected uint8 (H, W, 3) or float32 (H, W, 1), and uint8 (H, W)"
        )
    if mask.shape != image.shape[:2] or not image.size:
        raise MismatchError(
            f"{where}: mask is {mask.shape}, image is {image.shape[:2]}; both must have the same "
            "height and width, above 0"
        )
    if image.dtype == np.float32 and not (image.min() >= 0.0 and image.max() <= 1.0):
        raise ArgumentError(
            f"{where}: image holds {image.min():g} to {image.max():g}, expected grey values in "
            "[0, 1]; scale it first"
        )


# Choice of domains


def choose_domains_in_store(
    store: DatasetStore, names: Sequence[str], split: str, progress: Progress
) -> list[Domain]:
    """Return the named domains of a store, or all that have samples of the split.

    Unknown and repeated names, and named domains without samples of the split, are refused.

    Parameters
    ----------
    names : sequence of str
        Empty for all domains; those without samples of the split are skipped with a warning.
    split : str
        ``train``, ``test`` or ``all``.
    """
    if len(set(names)) < len(names):
        raise ArgumentError("a domain is given twice, so its pixels would count twice; drop one")
    domains = [store.domain(name) for name in names or store.domains]
    selected = None if split == "all" else split
    empty = [domain.name for domain in domains if not domain.select(selected)]
    if empty and (names or len(empty) == len(domains)):
        raise ArgumentError(
            f"{store.path}: domain {empty[0]} has no {split} samples; choose by --domain, --split"
        )
    if empty:
        progress.warn(f"{store.path}: no {split} samples in {', '.join(empty)}; left out")
    return [domain for domain in domains if domain.name not in empty]


def choose_domains(
    stores: Sequence[DatasetStore], names: Sequence[str], split: str, progress: Progress
) -> list[tuple[DatasetStore, list[Domain]]]:
    """Return the domains to read from each store; each name must be in at least one of them.

    For parameters and errors, see `choose_domains_in_store`.
    """
    if len(stores) == 1:
        return [(stores[0], choose_domains_in_store(stores[0], names, split, progress))]
    available = [name for store in stores for name in store.domains]
    unknown = [name for name in names if name not in available]
    if unknown:
        raise ArgumentError(
            f"--domain {unknown[0]}: in none of {', '.join(str(store.path) for store in stores)}, "
            f"they have {', '.join(dict.fromkeys(available))}{suggestion(unknown[0], available)}"
        )
    chosen = []
    for store in stores:
        own = [name for name in names if name in store.domains]
        if names and not own:
            raise ArgumentError(
                f"--data {store.path}: has none of the domains {', '.join(names)}; leave it out"
            )
        chosen.append((store, choose_domains_in_store(store, own, split, progress)))
    return chosen


def announce_download(
    store: DatasetStore, samples: Iterable[tuple[Domain, int]], progress: Progress
) -> None:
    """Announce the amount of data to be read from a dataset behind a URL.

    Parameters
    ----------
    samples : iterable of (Domain, int)
        Domains, and the number of samples to be read from each.
    """
    if isinstance(store.place, str):
        size = sum(domain.sample_bytes * count for domain, count in samples)
        progress.say(
            f"{store.path}: is read over the network, {size:,} bytes before compression; copy it "
            "to this machine first if you read it often"
        )
