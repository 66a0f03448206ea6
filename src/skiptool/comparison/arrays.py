"""Plain arrays as activations, so that anybody's features can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.distances.counting import check_features
from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["ArrayActivations", "as_activations"]

_BLOCK = 4_000_000
"""Bytes read at once: they stay in a cache while they are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayActivations:
    """Activations in memory (see :class:`skiptool.comparison.sets.Activations`)."""

    where: str
    arrays: Mapping[str, AnyArray]
    columns: Mapping[str, Any] = field(default_factory=dict)
    dataset_id: str | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names in the order of the mapping."""
        return tuple(self.arrays)

    @property
    def grid(self) -> None:
        """Say that nobody kept it."""

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (N, D, K)."""
        images, channels, vectors = self.arrays[layer].shape
        return images, channels, vectors

    def dtype(self, layer: str) -> np.dtype[Any]:
        """Return the type of the values."""
        return self.arrays[layer].dtype

    def counted(self, layer: str) -> None:
        """Say that the values themselves are at hand."""

    def chunk(self, layer: str) -> int:
        """Return how many images are counted at once."""
        array = self.arrays[layer]
        return max(1, _BLOCK * len(array) // max(1, array.nbytes))

    def read(self, layer: str, rows: slice) -> AnyArray:
        """Return the activations (n, D, K) of some images."""
        return np.ascontiguousarray(self.arrays[layer][rows])

    def ranges(self, layer: str) -> None:
        """Say that nobody kept them."""


def as_activations(
    found: object, where: str, groups: Sequence[object] | None = None
) -> ArrayActivations:
    """Take an array, or a mapping from layers to arrays, for activations.

    Parameters
    ----------
    found : array, or mapping of str to array, shapes (N, D) or (N, D, K)
        Floats; whatever ``numpy.asarray`` takes. An array alone is the layer ``features``.
    where : str
        How messages call it.
    groups : sequence, optional
        Group of each image.

    Raises
    ------
    ArgumentError
        If there is no array or image, a shape or type is another, or the layers differ in N.
    """
    given = found if isinstance(found, Mapping) else {"features": found}
    arrays = {str(name): _checked(array, f"{where}: {name}") for name, array in given.items()}
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise ArgumentError(
            f"{where}: images by layer are {sizes or 'none'}; expected one number, at least 1"
        )
    columns = {} if groups is None else {"group": np.asarray(groups, dtype=object)}
    made = ArrayActivations(where, arrays, columns)
    if groups is not None and len(groups) != len(made):
        raise ArgumentError(f"{where}: {len(groups)} groups for {len(made)} images; give one each")
    return made


def _checked(array: object, where: str) -> AnyArray:
    values = np.asarray(array)
    values = values[:, :, np.newaxis] if values.ndim == 2 else values
    try:
        check_features(values)
    except ArgumentError as error:
        raise ArgumentError(f"{where}: {str(error).removeprefix('features: ')}") from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)
