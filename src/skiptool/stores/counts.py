"""Counts store: activations counted in bins. Format ``counts``, version 1.

::

    counts.zarr/                    Zarr format 3
      zarr.json                     attributes: those of a feature store (see ``features``), and
                                    ``bins`` (B), ``dtype`` that activations were rounded to before
                                    counting, ``vectors`` (K of one image), ``pool_images`` (images
                                    in a row, at most), ``ranges_id`` (a hash of all bins),
                                    ``reference_domain`` (whose unshifted images define the ranges;
                                    null if those of another store were used)
      counts/<name>   (N, D, B)     uint16, or uint32 if a row holds more than 65,535 values
      bins/<name>/
        low, span     (D,)          float64: range divided into B bins of equal width; values
                                    outside it are counted in the end bins
      ranges/<name>/
        low, high     (N, D)        float32, of the values of each row and channel
      samples/        ...           columns of the rows

A row is an image, or a block of up to ``pool_images`` images in the order of the data: of the same
subject if subjects repeat, of any subjects if every image is of a different one. Rows of blocks
have the column ``images``, the number of images in the block; their ``id`` is that of the first
image, and other columns are kept if they agree within every block.

A value x is in bin floor((x - low) * B / span), see
`skiptool.distances.counting.count_activations`. The range is that of the reference, the values of
the unshifted images of the training domain. The range of a channel that is constant there is
widened minimally: one bin for the constant, one below and one above. Stores are comparable if
their bins are equal.

Arrays of rows are sharded as in feature stores: up to 64 chunks in a file, 16 rows in a chunk
(fewer if rows are blocks: about 16 images). Counts are compressed with Zstandard after a bit
shuffle, everything else with LZ4, and every chunk ends in a CRC-32C.

The id is a hash of weights, data, domain, split, shift, preprocessing, layers, pooling, dtype,
number of bins and of images in a row, and the source of the ranges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.distances.bins import MAX_BINS, Binning, CountLayout
from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.addresses import path_or_url, redact
from skiptool.stores.arrays import FACTS, FeatureStore, Layer, read_rows
from skiptool.stores.features import (
    check_finished,
    check_lengths,
    facts_of,
    layer_names,
    open_features,
)
from skiptool.stores.lineage import hash_bytes, parse_lineage
from skiptool.stores.remote import map_items
from skiptool.stores.seals import check_store
from skiptool.stores.shards import row_reader
from skiptool.stores.zarrs import open_array, open_group, open_root, read_columns

if TYPE_CHECKING:
    from skiptool.records import Int64
    from skiptool.stores.arrays import Rows

COUNTING = ("bins", "dtype", "vectors", "pool_images", "ranges_id", "reference_domain")
"""Attributes that a counts store has in addition to those of a feature store."""

IMAGES = "images"
"""Column of rows of several images: number of images in each."""

_ROWS_PER_READ = 64
"""Rows read at once, as chunks may be far smaller."""

_REMEDY = "count the activations again"


@dataclass(frozen=True)
class CountsStore(FeatureStore):
    """An open counts store: a feature store whose blocks are counts (n, D, B).

    Attributes
    ----------
    edges : mapping
        Layer to low and span (D,) of its bins, read on demand.
    """

    edges: Mapping[str, tuple[Rows, Rows]] = field(default_factory=dict)
    _counted: dict[str, CountLayout] = field(default_factory=dict, repr=False, compare=False)

    @property
    def images(self) -> Int64:
        """Images in each row, (N,)."""
        if self.facts["pool_images"] == 1:
            return np.ones(len(self), dtype=np.int64)
        return np.asarray(self.columns[IMAGES], dtype=np.int64)

    def count_layout(self, layer: str) -> CountLayout:
        """Return how the values of a layer were counted."""
        _, channels, bins = self._layer(layer).shape
        if layer not in self._counted:
            binning = _binning(self.edges[layer], bins, f"{self.where}: bins of {layer}")
            if len(binning.low) != channels:
                raise FormatError(
                    f"{self.where}: bins of {layer} are of {len(binning.low)} channels, the layer "
                    f"has {channels}; {_REMEDY}"
                )
            self._counted[layer] = CountLayout(binning, int(self.facts["vectors"]), self.images)
        return self._counted[layer]


def open_features_or_counts(place: Path | str) -> FeatureStore:
    """Open a store of features or of counts; see :func:`open_features`."""
    path = path_or_url(place)
    check_finished(path, redact(str(place)))
    attributes: dict[str, Any] = dict(open_root(path, "feature", (3, 2)).attrs)
    return open_counts(place) if attributes.get("kind") == Kind.COUNTS else open_features(place)


def open_counts(place: Path | str) -> CountsStore:
    """Open a counts store and check its layout."""
    where, place = redact(str(place)), path_or_url(place)
    check_finished(place, where)
    root = open_root(place, "counts")
    attributes: dict[str, Any] = dict(root.attrs)
    lineage = parse_lineage(attributes, where, Kind.COUNTS)
    facts = facts_of(attributes, where, (*FACTS, *COUNTING))
    columns = read_columns(root, where)
    layers = open_count_layers(root, layer_names(attributes, where), where)
    _check_facts(facts, columns, layers, where)
    check_lengths(columns, layers, where)
    check_store(root, where)
    edges = open_bins(root, tuple(layers), where)
    return CountsStore(place, where, lineage, facts, tuple(layers), columns, layers, edges=edges)


def _check_facts(
    facts: Mapping[str, Any], columns: Mapping[str, Any], layers: Mapping[str, Layer], where: str
) -> None:
    for name, most in (("bins", MAX_BINS), ("vectors", None), ("pool_images", None)):
        value = facts[name]
        if value is None or value < 1 or (most is not None and value > most):
            raise FormatError(f"{where}: attribute {name} is {value}; {_REMEDY}")
    if not len(columns.get("id", ())):
        raise FormatError(f"{where}: holds no row of counts; {_REMEDY}")
    if facts["pool_images"] > 1:
        images = columns.get(IMAGES)
        if images is None or images.dtype.kind not in "iu" or (images < 1).any():
            raise FormatError(f"{where}: column {IMAGES} holds no numbers of images; {_REMEDY}")
    for name, layer in layers.items():
        if layer.shape[2] != facts["bins"]:
            raise FormatError(
                f"{where}: layer {name} has {layer.shape[2]} bins, the store {facts['bins']}; "
                f"{_REMEDY}"
            )


def open_count_layers(root: zarr.Group, names: Sequence[str], where: str) -> dict[str, Layer]:
    """Open the counts of layers and the ranges of their rows, and check for missing chunks."""
    counts, ranges = (open_group(root, name, where) for name in ("counts", "ranges"))

    def open_layer(name: str) -> Layer:
        values = open_array(counts, name, f"{where}: counts", 3, ["uint16", "uint32"])
        low, high = (
            open_array(ranges, f"{name}/{end}", f"{where}: ranges", 2, ["float32"])
            for end in ("low", "high")
        )
        if not low.shape == high.shape == values.shape[:2]:
            raise FormatError(
                f"{where}: ranges of layer {name} are {low.shape} and {high.shape}, its counts "
                f"{values.shape}; {_REMEDY}"
            )
        rows, channels, bins = values.shape
        return Layer(
            row_reader(values),
            (rows, channels, bins),
            values.dtype.newbyteorder("="),
            max(1, min(_ROWS_PER_READ, rows)),
            (row_reader(low), row_reader(high)),
        )

    return dict(zip(names, map_items(root.store, open_layer, names), strict=True))


def open_bins(
    root: zarr.Group, names: Sequence[str], where: str
) -> dict[str, tuple[zarr.Array[Any], zarr.Array[Any]]]:
    """Open low and span of the bins of layers."""
    bins = open_group(root, "bins", where)

    def open_edges(name: str) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
        low, span = (
            open_array(bins, f"{name}/{end}", f"{where}: bins", 1, ["float64"])
            for end in ("low", "span")
        )
        return low, span

    return dict(zip(names, map_items(root.store, open_edges, names), strict=True))


def read_bins(root: zarr.Group, names: Sequence[str], bins: int, where: str) -> dict[str, Binning]:
    """Read the bins of layers, even if the store is still growing."""
    edges = open_bins(root, names, where)
    return {name: _binning(edges[name], bins, f"{where}: bins of {name}") for name in names}


def _binning(edges: tuple[Rows, Rows], bins: int, where: str) -> Binning:
    low, span = (read_rows(values, slice(None), where).astype(np.float64) for values in edges)
    finite = bool(np.isfinite(low).all() and np.isfinite(span).all())
    if low.shape != span.shape or not finite or not (span > 0).all():
        raise FormatError(f"{where}: are not valid ranges; {_REMEDY}")
    return Binning(bins, low, span, clamp=True)


def ranges_id(bins: Mapping[str, Binning]) -> str:
    """Hash the bins of all layers to 32 hex digits."""
    parts: list[bytes] = []
    for name, binning in bins.items():
        edges = (binning.low, binning.span)
        parts.append(f"{name}\0{binning.bins}\0".encode())
        parts += [values.astype("<f8").tobytes() for values in edges]
    return hash_bytes(*parts)
