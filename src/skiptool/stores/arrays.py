"""NumPy files as features: a ``.npy`` of (N, D) or (N, D, K) is a store of one layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX, open_memmap

from skiptool.errors import FormatError
from skiptool.stores.layers import FORM, Layer, check_form, three_axes

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["BLOCK_BYTES", "open_npy"]

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
    shape = three_axes(found.shape)
    chunk = BLOCK_BYTES // (shape[1] * shape[2] * found.dtype.itemsize)
    native = found.dtype.newbyteorder("=")
    return Layer(values, shape, native, min(max(chunk, 1), shape[0]))
