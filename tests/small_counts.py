"""Small counts stores, made of activations as feature stores are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skiptool.comparison.layer import reference_bins
from skiptool.distances.bins import Binning
from skiptool.names import in_data_flow
from skiptool.stores.counts_writer import CountsWriter, assign_rows
from skiptool.stores.features_writer import CHUNK
from skiptool.stores.lineage import Invocation
from small_activations import numbered

BINS = 8


def bins_of(
    layers: Mapping[str, Any], bins: int = BINS, dtype: str = "float16"
) -> dict[str, Binning]:
    """Bins of the range of a reference, whose layers (N, D, K) these are."""
    stored = {name: layers[name].astype(dtype) for name in in_data_flow(layers)}
    return {
        name: reference_bins(values.min(axis=2), values.max(axis=2), bins)
        for name, values in stored.items()
    }


def counts_writer(
    path: Path,
    size: int,
    bins: Mapping[str, Binning],
    vectors: int,
    /,
    *,
    together: int = 1,
    model: str = "m",
    dataset: str | None = "d",
    dtype: str = "float16",
    facts: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    **columns: Sequence[object],
) -> tuple[Any, CountsWriter]:
    """Return the order in which images are to be counted, and what counts them."""
    inputs = {"model": model} | ({} if dataset is None else {"dataset": dataset})
    number = next(iter(bins.values())).bins
    invocation = Invocation("features", (), {"bins": number, **(parameters or {})}, {}, inputs)
    told = {
        "model": model,
        "domain": "A",
        "shift": "original",
        "dataset": "d.zarr",
        "grid": [1, vectors],
        "bins": number,
        "dtype": dtype,
        "pool_images": together,
    }
    ids = {"id": numbered(size), **columns}
    order, rows = assign_rows(ids.get("subject", ()), size, together)
    of_images = {name: np.asarray(values)[order] for name, values in ids.items()}
    identity = [path.name, invocation.determinants]
    how = (path, invocation, identity, told | dict(facts or {}), of_images, rows, bins)
    return order, CountsWriter(*how)


def counted(
    path: Path,
    layers: Mapping[str, Any],
    reference: Mapping[str, Any] | None = None,
    *,
    bins: int = BINS,
    stop: int | None = None,
    **how: Any,  # noqa: ANN401
) -> Path:
    """Write layers (N, D, K) as a counts store, or go on with it; ``stop`` ends before that image.

    The bins are those of the layers themselves where there is no reference.
    """
    images, _, vectors = next(iter(layers.values())).shape
    own = bins_of(layers if reference is None else reference, bins, how.get("dtype", "float16"))
    order, writer = counts_writer(path, images, own, vectors, **how)
    for start in range(writer.written, images if stop is None else stop, CHUNK):
        here = order[start : start + CHUNK]
        writer.append({name: values[here].astype(np.float32) for name, values in layers.items()})
    if stop is None:
        writer.finish()
    return path
