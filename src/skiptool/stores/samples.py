"""What a sample must be to stand in a dataset store, and what it becomes there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import IGNORE
from skiptool.records import Sample, check_name
from skiptool.stores.contents import Content, content_of
from skiptool.stores.dataset import IDENTITY_COLUMNS, IMAGE_FORMS
from skiptool.stores.header import identifier
from skiptool.stores.journal import JOURNAL
from skiptool.stores.shards import compress

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["Packed", "check_sample", "column_kinds", "pack"]

TAKEN = (JOURNAL, "zarr.json")
"""Names at the root that no domain can have."""


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A sample on its way into a store: checked, hashed and compressed.

    Attributes
    ----------
    domain : str
    row : mapping
        Its columns as JSON types, with the hash of its pixels.
    form : (tuple of int, str)
        Shape and dtype of its image.
    chunks : (bytes, bytes)
        Image and mask.
    content : Content
    """

    domain: str
    row: Mapping[str, Any]
    form: tuple[tuple[int, ...], str]
    chunks: tuple[bytes, bytes]
    content: Content


def pack(sample: Sample, classes: Sequence[str]) -> Packed:
    """Do to a sample all that needs no store: most of the work of writing, in any thread.

    Raises
    ------
    ArgumentError, MismatchError
        As :func:`check_sample`.
    """
    check_sample(sample, classes)
    form = sample.image.shape, str(sample.image.dtype)
    chunks = compress(sample.image), compress(sample.mask)
    return Packed(sample.domain, _row(sample), form, chunks, content_of(sample))


def check_sample(sample: Sample, classes: Sequence[str]) -> None:
    """Check a sample by itself.

    Raises
    ------
    ArgumentError
        If the image or mask is not what :class:`~skiptool.records.Sample` says, or a name in it
        cannot stand in a store.
    MismatchError
        If image and mask differ in size, or the mask holds a label beyond the classes.
    """
    where = f"domain {sample.domain}, sample {sample.id}"
    _check_names(sample, where)
    _check_pixels(sample, where)
    # One more than the highest label: IGNORE, the highest number of eight bits, becomes 0.
    beyond = int((sample.mask + np.uint8(1)).max())
    if beyond > len(classes):
        raise MismatchError(
            f"{where}: mask holds label {beyond - 1}, the classes are 0 "
            f"to {len(classes) - 1} ({', '.join(classes)}) and {IGNORE} for ignored; name every "
            "class or correct the mask"
        )


def column_kinds(columns: Mapping[str, Any]) -> dict[str, str]:
    """Say which of the source's columns a row has, and whether each holds text or a number.

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
        "digest": identifier(_bytes(sample.image), _bytes(sample.mask)),
        **{
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in sample.columns.items()
        },
    }


def _bytes(array: AnyArray) -> memoryview:
    """Return the bytes of an array in order, copied only where they lie apart."""
    return np.ascontiguousarray(array).data.cast("B")


def _check_names(sample: Sample, where: str) -> None:
    check_name(sample.domain, "domain")
    for name in sample.columns:
        check_name(name, f"{where}: column")
    taken = [name for name in sample.columns if name in (*IDENTITY_COLUMNS, *TAKEN)]
    taken += [name for name in TAKEN if name == sample.domain]
    if taken:
        raise ArgumentError(
            f"{where}: {taken[0]!r} means something else in a store; choose another name"
        )
    texts = [value for value in sample.columns.values() if isinstance(value, str)]
    try:
        "".join([sample.domain, sample.id, sample.subject, *sample.columns, *texts]).encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(
            f"domain {sample.domain!r}, sample {sample.id!r}: a name or text is no Unicode "
            f"({error.reason}); rename the file or mend the table that it comes from"
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
            f"{where}: mask is {mask.shape}, image is {image.shape[:2]}; both must have one "
            "height and width, above 0"
        )
    if image.dtype == np.float32 and not (image.min() >= 0.0 and image.max() <= 1.0):
        raise ArgumentError(
            f"{where}: image holds {image.min():g} to {image.max():g}, expected grey values in "
            "[0, 1]; scale it first"
        )
