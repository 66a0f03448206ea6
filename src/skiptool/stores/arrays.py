"""NumPy files as features: a ``.npy`` of (N, D) or (N, D, K) is a store of one layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import (
    MAGIC_PREFIX,
    open_memmap,
    read_array_header_1_0,
    read_array_header_2_0,
    read_magic,
)

from skiptool.errors import FormatError
from skiptool.stores.layers import FORM, Layer, check_form, three_axes

if TYPE_CHECKING:
    from skiptool.records import AnyArray
    from skiptool.stores.zarrs import Rows

__all__ = ["BLOCK_BYTES", "npy_in_memory", "open_npy"]

BLOCK_BYTES = 4 << 20
"""About so much of a file is read at once; chunks of feature stores are of this order."""


@dataclass(frozen=True, slots=True)
class _NumpyFile:
    """An array in a file; it is mapped for one reading at a time, so that memory stays free."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    order: str

    def __getitem__(self, rows: slice | int, /) -> AnyArray:
        order: Any = self.order
        whole = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order)
        return np.array(whole[rows], order="C")


def open_npy(path: Path) -> Layer:
    """Open a NumPy file.

    Raises
    ------
    FormatError
        If it is missing, truncated, an archive or a pickle, or of another form.
    """
    if path.suffix == ".npz":
        raise FormatError(
            f"{path}: is an archive of arrays, expected one array; np.save each as .npy"
        )
    try:
        with path.open("rb") as file:
            known = file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX
        found = open_memmap(path, mode="r") if known else None
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; check the path") from None
    except Exception as error:  # whatever NumPy's reader trips over
        reason = str(error).partition("\n")[0]
        raise FormatError(
            f"{path}: cannot be read as a NumPy array ({reason}); np.save it again, {FORM}"
        ) from error
    if found is None:  # an archive, a pickle, text: nothing of it is looked into
        raise FormatError(f"{path}: is no NumPy array; np.save it again, {FORM}")
    check_form(found.shape, found.dtype, str(path))
    values = _NumpyFile(
        path, found.dtype, found.offset, found.shape, "C" if found.flags.c_contiguous else "F"
    )
    return _layer(values, found.shape, found.dtype)


def npy_in_memory(content: bytes, where: str) -> Layer:
    """Read the bytes of a NumPy file that was fetched from elsewhere.

    Raises
    ------
    FormatError
        As :func:`open_npy`.
    """
    file = BytesIO(content)
    try:
        version = read_magic(file)
        header = read_array_header_1_0 if version == (1, 0) else read_array_header_2_0
        shape, in_columns, dtype = header(file)
        if dtype.hasobject or min(shape, default=0) < 0:
            raise ValueError("it holds Python objects, or a size is negative")
        whole = np.frombuffer(content, dtype, math.prod(shape), file.tell())
        values = whole.reshape(shape, order="F" if in_columns else "C")
    except Exception as error:  # whatever NumPy's reader trips over
        reason = str(error).partition("\n")[0]
        raise FormatError(
            f"{where}: cannot be read as a NumPy array ({reason}); np.save it again, {FORM}"
        ) from error
    check_form(shape, dtype, where)
    return _layer(values, shape, dtype)


def _layer(values: Rows, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Layer:
    axes = three_axes(shape)
    chunk = BLOCK_BYTES // (axes[1] * axes[2] * dtype.itemsize)
    return Layer(values, axes, dtype.newbyteorder("="), min(max(chunk, 1), axes[0]))
