"""The first pass of ``--counts``: the ranges of the reference's activations, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from skiptool.comparison.layer import reference_bins
from skiptool.distances.counting import Binning
from skiptool.errors import ExistsError
from skiptool.model.device import memory_told
from skiptool.model.inference import read_ahead
from skiptool.model.layers import tap
from skiptool.records import Progress, Task
from skiptool.steps.features.counting import Counting
from skiptool.steps.features.jobs import Job, pooled_grid
from skiptool.stores.counts import open_counts, ranges_id
from skiptool.stores.counts_writer import begun_bins
from skiptool.stores.dataset import DatasetStore, Domain, StoredSamples
from skiptool.stores.features_writer import CHUNK, stored_extremes
from skiptool.stores.staging import partial_of

if TYPE_CHECKING:
    from skiptool.records import Float32

    Extremes = tuple[Float32, Float32]

__all__ = ["Bins", "bins_of"]

Bins: TypeAlias = Mapping[str, Binning]
"""Bins of the layers of one model."""


def bins_of(
    jobs: Sequence[Job],
    waiting: Sequence[Job],
    store: DatasetStore,
    how: tuple[str, bool],
    progress: Progress,
) -> dict[Counting, Bins]:
    """Find the bins of every model that waits to be counted.

    Those of a store (``--ranges``), of what an interrupted run has made with the same parameters,
    or of the unshifted images of the reference, which are read once for all models.

    Parameters
    ----------
    jobs, waiting : sequence of Job
        All stores that are asked for, and those that are not made yet.
    store : DatasetStore
    how : (str, bool)
        Device, and whether the run goes on with what an earlier one left.
    progress : Progress

    Raises
    ------
    ExistsError
        If earlier runs have made stores of different bins.
    FormatError, ArgumentError
        If an activation is not finite or cannot be stored.
    """
    found: dict[Counting, Bins] = {}
    measured: dict[tuple[str, tuple[int, ...]], dict[Counting, Job]] = {}
    for job in waiting:
        counting = job.counting
        if counting is None or counting in found:
            continue
        known: Bins | None = counting.chosen(job.layers)
        if known is None and how[1]:
            known = _made(counting, jobs, waiting)
        if known is not None:
            found[counting] = known
        elif counting.reference is not None:
            domain, samples = counting.reference
            measured.setdefault((domain.name, samples), {}).setdefault(counting, job)
    for (name, samples), together in measured.items():
        domain = store.domain(name)
        with progress.task(f"ranges {name}", len(samples)) as task:
            found |= _measured(together, domain, store.samples(name, samples), how[0], task)
    return found


def _made(counting: Counting, jobs: Sequence[Job], waiting: Sequence[Job]) -> Bins | None:
    """Return the bins that earlier runs have counted in, None where there were none."""
    found: dict[str, tuple[Job, Bins]] = {}
    for job in jobs:
        if job.counting is not counting:
            continue
        bins: Bins | None
        if any(job is each for each in waiting):
            bins = begun_bins(partial_of(job.out), job.making, job.layers)
        else:
            made = open_counts(job.out)
            bins = {layer: made.counted(layer).binning for layer in job.layers}
        if bins is not None:
            found.setdefault(ranges_id(bins), (job, bins))
    if len(found) > 1:
        (first, _), (second, _) = [*found.values()][:2]
        raise ExistsError(
            f"{first.out} and {second.out}: were counted in other bins, although asked for alike; "
            "give --overwrite to count all of them again"
        )
    return next((bins for _, bins in found.values()), None)


def _measured(
    together: Mapping[Counting, Job],
    domain: Domain,
    reader: StoredSamples,
    device: str,
    task: Task,
) -> dict[Counting, Bins]:
    """Read the images of one reference, and return the bins of all models that have it."""
    ids, whole = domain.columns["id"][list(reader.indices)], range(len(reader))
    chunks = [whole[at : at + CHUNK] for at in whole[::CHUNK]]
    ends: dict[Counting, dict[str, Extremes]] = {counting: {} for counting in together}
    with memory_told(device, f"{CHUNK} images at once"):
        for rows, (images, _) in zip(chunks, read_ahead(reader.read_many, chunks), strict=True):
            names = ids[rows.start : rows.stop]
            for counting, job in together.items():
                grid = pooled_grid(domain, counting.grid, f"domain {domain.name}")
                dtype, known = job.making.parameters["dtype"], ends[counting]
                for layer, block in tap(job.network, images, job.layers, device, grid).items():
                    low, high = stored_extremes(layer, block, dtype, names)
                    known[layer] = _joined(known.get(layer), low.min(axis=0), high.max(axis=0))
            task.advance(len(rows))
    return {
        counting: {
            layer: reference_bins(*ends[counting][layer], counting.bins) for layer in job.layers
        }
        for counting, job in together.items()
    }


def _joined(known: Extremes | None, low: Float32, high: Float32) -> Extremes:
    if known is None:
        return low, high
    return np.minimum(known[0], low), np.maximum(known[1], high)
