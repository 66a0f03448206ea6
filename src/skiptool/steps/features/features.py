"""Stores are filled chunk by chunk: all networks, domains and shifts in one reading of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from skiptool.comparison.layer import reference_bins
from skiptool.distances.counting import Binning
from skiptool.errors import ArgumentError, ExistsError
from skiptool.model.device import choose_device, memory_told
from skiptool.model.inference import read_ahead
from skiptool.model.layers import tap
from skiptool.names import Split
from skiptool.records import (
    SILENT,
    Normalisation,
    Outcome,
    Progress,
    Shift,
    Task,
    as_places,
)
from skiptool.shifts import apply_all, swept
from skiptool.steps.features.counting import (
    Counting,
    CountsAsked,
    Grid,
    Part,
    planned_counts,
)
from skiptool.steps.features.jobs import (
    Job,
    TappedNetwork,
    check_jobs,
    planned_job,
    pooled_grid,
    sizes,
    tapped_network,
)
from skiptool.stores.artifacts import check_unchanged, finished, model_folders
from skiptool.stores.counts import open_counts, ranges_id
from skiptool.stores.counts_writer import CountsWriter, begun_bins
from skiptool.stores.dataset import (
    DatasetStore,
    Domain,
    StoredSamples,
    domains_of,
    open_dataset,
    tell_network,
)
from skiptool.stores.features_writer import CHUNK, FeatureWriter, stored_extremes
from skiptool.stores.folds import FOLD, validated_samples
from skiptool.stores.models import StoredModel, open_model
from skiptool.stores.staging import Form, check_free, parents_made, partial_of, staged
from skiptool.stores.transfers import places_may_be_urls

if TYPE_CHECKING:
    from skiptool.records import Float32, Image

    Extremes = tuple[Float32, Float32]

__all__ = ["SPLITS", "Bins", "bins_of", "extract_features"]

# -------------------------------------------------------------------------------------------------
# The first pass of ``--counts``: the ranges of the reference's activations, layer by layer.


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


SPLITS = (*(split.value for split in Split), FOLD, "all")

_HELD = {FOLD: Split.TRAIN.value}
"""The stored split that holds the samples, where it is called otherwise."""

_Writer: TypeAlias = FeatureWriter | CountsWriter


@places_may_be_urls(out=Form.STORES)
def extract_features(
    models: Sequence[Path | str] | Path | str,
    data: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    shifts: Sequence[Shift] = (),
    sweep: str | None = None,
    domains: Sequence[str] = (),
    split: str = "test",
    layers: Sequence[str] = (),
    transmission: bool = False,
    grid: tuple[int, int] | None = None,
    normalise: str | None = None,
    workers: int | None = None,
    dtype: str = "float16",
    counts: bool = False,
    bins: int | None = None,
    ranges: Path | str | None = None,
    reference_domain: str | None = None,
    pool_images: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Extract pooled activations of every model, domain and shift in one reading of the data.

    Section IV.B: each feature map is average-pooled to (p/32) x (p/32) (rounded up where p is no
    multiple of 32) and flattened to K vectors of D channels. The network runs in float32.

    With ``counts`` the activations themselves are not kept, but how many of them are in each bin of
    the range of a reference, for each image (or block of images) and channel. Distances by
    ``measure_shift`` are then those of feature stores with the range rule ``reference``.

    Parameters
    ----------
    models : sequence of Path or str
        Model folders, or folders that hold them; these, ``data`` and ``out`` are paths or URLs.
    data : Path, str or sequence of them
        Dataset stores; with ``fold``, and with ``counts`` without ``ranges``, a single one.
    out : Path or str
        A store where it ends in ``.zarr``, else a folder that is filled with one store for each
        model, domain and shift.
    shifts : sequence of Shift
        The original alone by default.
    sweep : str, optional
        ``paper``, see `predict_dataset`.
    domains : sequence of str
        Domains to read, by default all that hold samples of the split.
    split : str
        ``train``, ``test``, ``all``, or ``fold``: what each model was validated on, which the
        store calls split ``validation``.
    layers : sequence of str
        Names out of ``LAYERS`` and ``DECODER_INPUTS``, or module names of the network; all of
        ``LAYERS`` that it has by default.
    transmission : bool
        Add all ``DECODER_INPUTS`` that it has: what decoder blocks get by skips and from below.
    grid : (rows, columns), optional
        Pool to this grid whatever the size of the images, so that domains of several sizes have
        equally many vectors an image.
    normalise : str, optional
        How images are scaled for networks that others trained, see `predict_dataset`.
    workers : int, optional
        Threads that shift images while a GPU runs; results do not depend on it.
    dtype, device : str
        ``float16``, ``float32``; ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    counts : bool
        Write counts stores. The options below go with it.
    bins : int, optional
        B bins of equal width, 1 to 4,096; by default 100, or those of ``ranges``.
    ranges : Path or str, optional
        Feature store or counts store of the same model whose ranges are taken, or a folder that
        holds one of each model, so that domains or shifts can be added to those counted before. By
        default a first pass over the unshifted images of the reference finds them.
    reference_domain : str, optional
        Domain of the reference: by default the one that a model was trained on, where it is among
        those that are read, else the first of them.
    pool_images : int, optional
        Images that are counted together in one row, of one subject where subjects repeat. By
        default 1 for up to 1,000 images, else as few as make 1,000 rows of the largest domain, or
        as many as in ``ranges``.
    overwrite, resume, dry_run, progress : bool, Progress

    Returns
    -------
    Outcome
        Outputs: the stores, in the order models, domains, shifts. Failures, with ``fold``: models
        that were trained on another split of the data, or elsewhere.

    Raises
    ------
    ArgumentError
        If names are unknown, ``out`` is one store and more would be made, ``normalise`` is missing
        or does not go with the models, or options of counts are given without it.
    FormatError
        If an input is damaged, or an activation is not finite.
    MismatchError
        If a model does not fit the images, the only one was not trained on this split of them, the
        grid is finer than the deepest feature map, or ``ranges`` are of other models or layers.
    SourceError
        If none of several models was trained on this split of the images.
    ExistsError
        If an output exists.
    """
    words = {"split": (split, SPLITS), "dtype": (dtype, ("float16", "float32"))}
    for option, (word, known) in words.items():
        if word not in known:
            raise ArgumentError(f"--{option} {word}: expected {', '.join(known)}")
    scaling = None if normalise is None else Normalisation.parse(normalise)
    out, target = Path(out), choose_device(device)
    stores = [open_dataset(place) for place in as_places(data)]
    _check_several(stores, split, counts=counts and ranges is None)
    chosen = domains_of(stores, domains, _HELD.get(split, split), progress)
    asked = swept(sweep, shifts, [domain for _, found in chosen for domain in found], progress)
    opened = [open_model(path).normalised(scaling) for path in model_folders(as_places(models))]
    source = None if ranges is None else as_places(ranges)[0]
    options = CountsAsked(bins, source, reference_domain, pool_images, grid)
    build = partial(tapped_network, layers=layers, transmission=transmission)
    how = (out, split, dtype, grid, target)
    counting = _checked(options, counts=counts)
    by_store, failures = _planned(chosen, opened, asked, build, how, counting, progress)
    jobs = [job for _, planned in by_store for job in planned]
    check_jobs(jobs, out)
    _tell_rows(jobs, progress)
    done = {
        job.out for job in jobs if finished(job.out, job.making, resume=resume, clear=not dry_run)
    }
    waiting = [job for job in jobs if job.out not in done]
    for job in (job for job in waiting if job.out == out or out.is_dir()):
        check_free(job.out, overwrite=overwrite, resume=resume)
    if dry_run:
        return Outcome(summary=sizes(waiting, dtype), failures=failures)
    for store, planned in by_store:
        own_waiting = [job for job in planned if job.out not in done]
        _extract(planned, own_waiting, store, (target, overwrite, resume), progress)
    return Outcome(tuple(job.out for job in jobs), summary={"stores": len(jobs)}, failures=failures)


def _extract(
    jobs: Sequence[Job],
    waiting: Sequence[Job],
    store: DatasetStore,
    how: tuple[str, bool, bool],
    progress: Progress,
) -> None:
    """Fill the feature stores of one dataset that are not made yet."""
    bins = bins_of(jobs, waiting, store, (how[0], how[2]), progress)
    together: dict[tuple[str, tuple[int, ...]], list[Job]] = {}
    for job in waiting:
        together.setdefault((job.domain.name, tuple(job.indices)), []).append(job)
    tell_network(
        store, [(here[0].domain, len(here[0].indices)) for here in together.values()], progress
    )
    for here in together.values():
        _run(here, store, bins, how, progress)


def _check_several(stores: Sequence[DatasetStore], split: str, *, counts: bool) -> None:
    """Refuse what cannot be done with several datasets at once."""
    if not stores:
        raise ArgumentError("--data: no dataset store is given")
    if len(stores) == 1:
        return
    if split == FOLD:
        raise ArgumentError(f"--split {FOLD} with {len(stores)} --data: give one store at a time")
    if counts:
        raise ArgumentError(
            f"--counts with {len(stores)} --data: give the store that sets the ranges alone first, "
            "then the others with --ranges"
        )


def _checked(options: CountsAsked, *, counts: bool) -> CountsAsked | None:
    """Return the options of counts; None where activations are kept, which takes none of them."""
    if counts:
        return options
    given = {
        "--bins": options.bins,
        "--ranges": options.ranges,
        "--reference-domain": options.reference,
        "--pool-images": options.pool_images,
    }
    for option, value in given.items():
        if value is not None:
            raise ArgumentError(f"{option}: goes with --counts; add it, or drop {option}")
    return None


def _planned(
    chosen: Sequence[tuple[DatasetStore, Sequence[Domain]]],
    models: Sequence[StoredModel],
    shifts: Sequence[Shift],
    build: Callable[[StoredModel], TappedNetwork],
    how: tuple[Path, str, str, Grid | None, str],
    counts: CountsAsked | None,
    progress: Progress,
) -> tuple[list[tuple[DatasetStore, list[Job]]], tuple[str, ...]]:
    """Return the stores to make from each dataset, and which models are left out and why.

    Each network is built once, however many datasets there are.
    """
    split = how[1]
    networks: dict[Path, TappedNetwork] = {}
    planned: list[tuple[DatasetStore, list[Job]]] = []
    failures: tuple[str, ...] = ()
    for store, domains in chosen:
        read, failures = _parts_read(store, domains, models, split)
        for model, _ in read:
            if model.path not in networks:
                networks[model.path] = build(model)
        tapped = [(networks[model.path], parts) for model, parts in read]
        countings: Sequence[Counting | None] = [None] * len(tapped)
        if counts is not None:
            known = [(model, parts, layers) for (model, _, layers), parts in tapped]
            countings = planned_counts(counts, known, store, split, progress)
        jobs = [
            planned_job(network, domain, shift, (store, *how), samples, counting)
            for (network, parts), counting in zip(tapped, countings, strict=True)
            for domain, samples in parts
            for shift in shifts
        ]
        planned.append((store, jobs))
    return planned, failures


def _tell_rows(jobs: Sequence[Job], progress: Progress) -> None:
    """Say where several images are counted together."""
    lines = [
        f"{job.domain.name}: {len(job.indices):,} images in {len(job.rows.first):,} rows of up to "
        f"{job.rows.together} images (--pool-images 1 makes a row of each)"
        for job in jobs
        if job.rows is not None and job.rows.together > 1
    ]
    for line in dict.fromkeys(lines):
        progress.say(line)


def _parts_read(
    store: DatasetStore, domains: Sequence[Domain], models: Sequence[StoredModel], split: str
) -> tuple[list[tuple[StoredModel, list[Part]]], tuple[str, ...]]:
    """Say what is read by each model: a split of all domains, or its validation fold."""
    if split != FOLD:
        return [(model, [(domain, None) for domain in domains]) for model in models], ()
    found, failures = validated_samples(store, domains, models)
    read: list[tuple[StoredModel, list[Part]]] = [
        (models[number], [(store.domain(name), samples)])
        for number, (name, samples) in found.items()
    ]
    return read, tuple(failures)


def _run(
    jobs: Sequence[Job],
    store: DatasetStore,
    bins: Mapping[Counting, Bins],
    how: tuple[str, bool, bool],
    progress: Progress,
) -> None:
    """Fill all stores of the same images of one domain in one reading of them."""
    domain, indices = jobs[0].domain, list(jobs[0].indices)
    columns = {name: values[indices] for name, values in domain.columns.items()}
    with ExitStack() as stack, progress.task(f"features {domain.name}", len(indices)) as task:
        stack.enter_context(parents_made(jobs[0].out))
        writers = []
        for job in jobs:
            partial = stack.enter_context(staged(job.out, overwrite=how[1], resume=how[2]))
            writers.append((job, _writer(job, partial, columns, bins)))
        _fill(writers, store.samples(domain.name, indices), how[0], task)
        check_unchanged(store)
        for _, writer in writers:
            writer.finish()


def _writer(
    job: Job, path: Path, columns: Mapping[str, Any], bins: Mapping[Counting, Bins]
) -> _Writer:
    identity = {**job.making.determinants, "pooling": job.facts["pooling"]}
    identity["input"] = "x / 255"  # further scaling is among the parameters
    if job.counting is None or job.rows is None:
        dtype = job.making.parameters["dtype"]
        return FeatureWriter(path, job.making, identity, job.facts, columns, dtype)
    own = bins[job.counting]
    return CountsWriter(path, job.making, identity, job.facts, columns, job.rows, own)


def _fill(
    writers: Sequence[tuple[Job, _Writer]], reader: StoredSamples, device: str, task: Task
) -> None:
    """Compute chunk by chunk while threads write the block before and read the images to come."""
    begin, whole = min(writer.written for _, writer in writers), range(len(reader))
    chunks = [whole[at : at + CHUNK] for at in whole[begin::CHUNK]]
    task.advance(begin)
    with ThreadPoolExecutor(1) as beside, memory_told(device, f"{CHUNK} images at once"):
        writing = beside.submit(lambda: None)
        for rows, (images, _) in zip(chunks, read_ahead(reader.read_many, chunks), strict=True):
            for writer, blocks in _pooled(writers, images, rows.start, device):
                writing.result()  # a block is handed over when the one before is safe
                writing = beside.submit(writer.append, blocks)
            task.advance(len(rows))
        writing.result()


def _pooled(
    writers: Sequence[tuple[Job, _Writer]], images: Image, start: int, device: str
) -> Iterator[tuple[_Writer, dict[str, Float32]]]:
    """Compute what the stores lack of one chunk, store by store."""
    shifted = cache(partial(apply_all, images))
    for job, writer in writers:
        if start >= writer.written:
            yield (
                writer,
                tap(job.network, shifted(job.shift), job.layers, device, tuple(job.facts["grid"])),
            )
