"""Zarr stores that others made, read as feature stores.

A group without our header keeps its layers in ``layers/<name>`` or, where it has no such group, as
arrays of two or three axes at its root. ``samples/`` and ``ranges/<layer>/low``, ``high`` may be
there as in a store of ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.errors import ZarrUserWarning

from skiptool.errors import FormatError
from skiptool.names import in_data_flow
from skiptool.stores.chunks import check_chunks
from skiptool.stores.layers import FLOATS, FORM, Layer, check_form, zarr_layer
from skiptool.stores.remote import explained
from skiptool.stores.zarrs import open_array, read_columns

if TYPE_CHECKING:
    from skiptool.records import AnyArray

    Node = zarr.Array[Any] | zarr.Group

__all__ = ["open_foreign"]


def open_foreign(root: zarr.Group, where: str) -> tuple[dict[str, Layer], dict[str, AnyArray]]:
    """Open the layers of a Zarr group without our header, and the columns of its samples.

    Returns
    -------
    layers : dict of Layer
        Those with names of ours first, in data flow, the rest by name.
    columns : dict of arrays (N,)
        Empty where there is no ``samples/``.

    Raises
    ------
    FormatError
        If there is no layer, or something in the store is damaged or of another form.
    SourceError
        If a remote store cannot be reached.
    """
    members = _members(root, where)
    home = members.get("layers")
    if isinstance(home, zarr.Group):
        found = _members(home, f"{where}: layers")
    else:  # labels and the like may lie beside features
        found = {name: node for name, node in members.items() if _is_table(node)}
    if not found:
        raise FormatError(
            f"{where}: no features are found in it, expected arrays in a group 'layers' or at the "
            "root; where a web server lists no folders, consolidate the metadata"
        )
    ranges = members.get("ranges")
    known = _members(ranges, f"{where}: ranges") if isinstance(ranges, zarr.Group) else {}
    layers = {
        name: _layer(found[name], known.get(name), name, where)
        for name in in_data_flow(sorted(found))
    }
    columns = read_columns(root, where) if isinstance(members.get("samples"), zarr.Group) else {}
    return layers, columns


def _members(group: zarr.Group, where: str) -> Mapping[str, Node]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # of files that are no part of the store
        try:
            return dict(group.members())
        except Exception as error:  # whatever Zarr's reader of JSON trips over
            raise explained(error, where, f"metadata cannot be read ({error})") from error


def _is_table(node: Node) -> bool:
    return isinstance(node, zarr.Array) and node.ndim in (2, 3)


def _layer(values: Node, ranges: Node | None, name: str, where: str) -> Layer:
    where = f"{where}: layer {name}"
    if not isinstance(values, zarr.Array):
        raise FormatError(f"{where} is a group, {FORM}")
    check_form(values.shape, values.dtype, where)
    check_chunks(values, where)
    if not isinstance(ranges, zarr.Group):
        return zarr_layer(values, None)
    low, high = (open_array(ranges, end, f"{where}: ranges", 2, FLOATS) for end in ("low", "high"))
    if not low.shape == high.shape == values.shape[:2]:
        raise FormatError(
            f"{where} is {values.shape}, its ranges {low.shape} and {high.shape}; expected (N, D)"
        )
    # Values lie outside of rounded ranges: better none.
    exact = all(np.can_cast(values.dtype, end.dtype) for end in (low, high))
    return zarr_layer(values, (low, high) if exact else None)
