"""``skiptool features``: pooled activations of all networks, domains and shifts in one pass.

Every combination of network, domain and shift is a job, which makes one store. Jobs on the same
images run together, chunk by chunk. With ``--counts`` a first pass over the images of the reference
measures the range of every layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from skiptool.comparison.layer import reference_bins
from skiptool.distances.bins import Binning
from skiptool.errors import ArgumentError, ExistsError, MismatchError
from skiptool.model.device import choose_device, explain_memory_errors
from skiptool.model.inference import arithmetic_facts, read_ahead
from skiptool.model.layers import decoder_inputs, existing_layers, pooled_activations, pooled_size
from skiptool.model.unet import restore_network
from skiptool.names import VALIDATION, Precision, Split, in_data_flow
from skiptool.records import SILENT, Normalisation, Outcome, Progress, Shift, Task, as_paths_or_urls
from skiptool.shifts import apply_shifts, shifts_to_apply
from skiptool.steps.features.counting import Counting, CountsOptions, Grid, Part, plan_counts
from skiptool.stores.artifacts import check_unchanged, is_complete, model_folders
from skiptool.stores.counts import open_counts, ranges_id
from skiptool.stores.counts_writer import (
    CountsWriter,
    RowAssignment,
    assign_rows,
    count_dtype,
    resumed_bins,
)
from skiptool.stores.dataset import (
    DatasetStore,
    Domain,
    StoredSamples,
    announce_download,
    choose_domains,
    open_dataset,
)
from skiptool.stores.features_writer import CHUNK, FeatureWriter, stored_extremes
from skiptool.stores.folds import FOLD, find_validation_samples
from skiptool.stores.lineage import Invocation, Lineage
from skiptool.stores.models import StoredModel, open_model
from skiptool.stores.staging import (
    OutputType,
    atomic_output,
    check_writable,
    make_parents,
    partial_path,
)
from skiptool.stores.urls import accept_urls

if TYPE_CHECKING:
    from skiptool.records import Float32, Image

    Extremes = tuple[Float32, Float32]


SPLITS = (*(split.value for split in Split), FOLD, "all")
"""Values of ``--split``."""


POOLING = "mean over a grid of ceil(H/32) x ceil(W/32)"


Bins: TypeAlias = Mapping[str, Binning]
"""Bins of the layers of one model."""


Writer: TypeAlias = FeatureWriter | CountsWriter


@accept_urls(out=OutputType.STORES)
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
    """Extract pooled activations of every model, domain and shift, reading the data once.

    Section IV.B: each feature map is average-pooled to (p/32) x (p/32) (rounded up where p is no
    multiple of 32) and flattened to K vectors of D channels. The network runs in float32.

    With ``counts`` the store holds, instead of activations, how many of them fall into each bin of
    the range of a reference, for each image (or block of images) and channel. Distances by
    ``measure_shift`` are then those of feature stores with the range rule ``reference``.

    Parameters
    ----------
    models : sequence of Path or str
        Model folders, or folders that hold them; these, ``data`` and ``out`` are paths or URLs.
    data : Path, str or sequence of them
        Dataset stores; with ``fold``, and with ``counts`` without ``ranges``, a single one.
    out : Path or str
        A store if it ends in ``.zarr``, else a folder that is filled with one store for each
        model, domain and shift.
    shifts : sequence of Shift
        By default the original alone.
    sweep : str, optional
        ``paper``, see `predict_dataset`.
    domains : sequence of str
        Domains to read, by default all that hold samples of the split.
    split : str
        ``train``, ``test``, ``all``, or ``fold``: the samples each model was validated on, which
        the store calls split ``validation``.
    layers : sequence of str
        Names from ``LAYERS`` and ``DECODER_INPUTS``, or module names of the network; by default
        all of ``LAYERS`` that it has.
    transmission : bool
        Add all ``DECODER_INPUTS`` that it has: inputs of decoder blocks by skips and from below.
    grid : (rows, columns), optional
        Pool to this grid whatever the size of the images, so that domains of several sizes have
        the same number of vectors per image.
    normalise : str, optional
        Input scaling of networks trained elsewhere, see `predict_dataset`.
    workers : int, optional
        Threads that shift images while a GPU runs; results do not depend on it.
    dtype : str
        ``float16`` or ``float32``.
    counts : bool
        Write counts stores. The following options require it.
    bins : int, optional
        B bins of equal width, 1 to 4,096; by default 100, or those of ``ranges``.
    ranges : Path or str, optional
        Feature store or counts store of the same model whose ranges are used, or a folder that
        holds one of each model, so that domains or shifts can be added to earlier counts. By
        default a first pass over the unshifted images of the reference measures them.
    reference_domain : str, optional
        Domain of the reference: by default the training domain of a model if it is among those
        read, else the first of them.
    pool_images : int, optional
        Images counted together in one row, of one subject where subjects repeat. By default 1 for
        up to 1,000 images, else as few as make 1,000 rows of the largest domain, or as many as in
        ``ranges``.

    Returns
    -------
    Outcome
        Outputs: the stores, in the order models, domains, shifts. Failures, with ``fold``: models
        that were trained on another split of the data, or elsewhere.

    Raises
    ------
    ArgumentError
        If names are unknown, ``out`` is one store and more would be made, ``normalise`` is missing
        or does not suit the models, or options of counts are given without it.
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
    for option, word, known in (
        ("split", split, SPLITS),
        ("dtype", dtype, ("float16", "float32")),
    ):
        if word not in known:
            raise ArgumentError(f"--{option} {word}: expected {', '.join(known)}")
    scaling = None if normalise is None else Normalisation.parse(normalise)
    out, device = Path(out), choose_device(device)
    stores = [open_dataset(place) for place in as_paths_or_urls(data)]
    _check_several(stores, split, counts=counts and ranges is None)
    held_split = Split.TRAIN.value if split == FOLD else split
    chosen = choose_domains(stores, domains, held_split, progress)
    shifts = shifts_to_apply(
        sweep, shifts, [domain for _, own in chosen for domain in own], progress
    )
    opened = [
        open_model(path).with_normalisation(scaling)
        for path in model_folders(as_paths_or_urls(models))
    ]
    source = None if ranges is None else as_paths_or_urls(ranges)[0]
    options = CountsOptions(bins, source, reference_domain, pool_images, grid)
    if not counts:
        _check_without_counts(options)
    request = Request(out, split, layers, transmission, dtype, grid, device)
    planned, failures = _plan_jobs(
        chosen, opened, shifts, request, options if counts else None, progress
    )
    jobs = [job for _, own_jobs in planned for job in own_jobs]
    check_jobs(jobs, out)
    _report_pooled_rows(jobs, progress)
    done = {
        job.out
        for job in jobs
        if is_complete(job.out, job.invocation, resume=resume, clear=not dry_run)
    }
    waiting = [job for job in jobs if job.out not in done]
    for job in waiting:
        if job.out == out or out.is_dir():
            check_writable(job.out, overwrite=overwrite, resume=resume)
    if dry_run:
        return Outcome(summary=dry_run_summary(waiting, dtype), failures=failures)
    for store, own_jobs in planned:
        own_waiting = [job for job in own_jobs if job.out not in done]
        _extract(own_jobs, own_waiting, store, device, overwrite, resume, progress)
    return Outcome(tuple(job.out for job in jobs), summary={"stores": len(jobs)}, failures=failures)


def _check_several(stores: Sequence[DatasetStore], split: str, *, counts: bool) -> None:
    """Refuse several datasets for options that need a single one."""
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


def _check_without_counts(options: CountsOptions) -> None:
    """Refuse options of ``--counts`` without it."""
    values = {
        "--bins": options.bins,
        "--ranges": options.ranges,
        "--reference-domain": options.reference,
        "--pool-images": options.pool_images,
    }
    for option, value in values.items():
        if value is not None:
            raise ArgumentError(f"{option}: requires --counts; add it, or drop {option}")


# Stores to make


@dataclass(frozen=True, slots=True)
class TappedNetwork:
    """A model, its network, and the layers to extract, in the order of the data flow."""

    model: StoredModel
    network: Any
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Options shared by all stores; ``grid`` is None unless the option is given."""

    out: Path
    split: str
    layers: Sequence[str]
    transmission: bool
    dtype: str
    grid: Grid | None
    device: str


@dataclass(frozen=True, slots=True)
class Job:
    """One store to make: a network with its layers, a domain, a shift.

    ``counting`` and ``rows`` are set only for counts.
    """

    out: Path
    network: Any
    layers: tuple[str, ...]
    domain: Domain
    shift: Shift
    invocation: Invocation
    facts: Mapping[str, Any]
    indices: Sequence[int]
    counting: Counting | None = None
    rows: RowAssignment | None = None


def _plan_jobs(
    chosen: Sequence[tuple[DatasetStore, Sequence[Domain]]],
    models: Sequence[StoredModel],
    shifts: Sequence[Shift],
    request: Request,
    counts: CountsOptions | None,
    progress: Progress,
) -> tuple[list[tuple[DatasetStore, list[Job]]], tuple[str, ...]]:
    """Return the jobs of each dataset, and a line for each model left out.

    Each network is built once for all datasets.
    """
    networks: dict[Path, TappedNetwork] = {}
    planned: list[tuple[DatasetStore, list[Job]]] = []
    failures: tuple[str, ...] = ()
    for store, domains in chosen:
        read, failures = _parts_by_model(store, domains, models, request.split)
        for model, _ in read:
            if model.path not in networks:
                networks[model.path] = tapped_network(
                    model, request.layers, transmission=request.transmission
                )
        tapped = [networks[model.path] for model, _ in read]
        parts = [own for _, own in read]
        countings: Sequence[Counting | None] = [None] * len(read)
        if counts is not None:
            layers = [(network.model, network.layers) for network in tapped]
            countings = plan_counts(counts, layers, parts, store, request.split, progress)
        jobs = [
            plan_job(network, store, part, shift, request, counting)
            for network, own, counting in zip(tapped, parts, countings, strict=True)
            for part in own
            for shift in shifts
        ]
        planned.append((store, jobs))
    return planned, failures


def _parts_by_model(
    store: DatasetStore, domains: Sequence[Domain], models: Sequence[StoredModel], split: str
) -> tuple[list[tuple[StoredModel, list[Part]]], tuple[str, ...]]:
    """Return the parts that each model reads, and a line for each model left out."""
    if split != FOLD:
        parts = [Part.of(domain, split) for domain in domains]
        return [(model, parts) for model in models], ()
    validated, failures = find_validation_samples(store, domains, models)
    read = [
        (models[number], [Part(store.domain(name), samples)])
        for number, (name, samples) in validated.items()
    ]
    return read, tuple(failures)


def tapped_network(
    model: StoredModel, layers: Sequence[str], *, transmission: bool = False
) -> TappedNetwork:
    """Build the network of a model and choose its layers."""
    network = restore_network(model.architecture, model.tensors(), model.normalisation)
    chosen = in_data_flow(layers or existing_layers(network))
    joining = decoder_inputs(network) if transmission else ()
    return TappedNetwork(model, network, tuple(in_data_flow([*chosen, *joining])))


def plan_job(
    tapped: TappedNetwork,
    store: DatasetStore,
    part: Part,
    shift: Shift,
    request: Request,
    counting: Counting | None = None,
) -> Job:
    """Return the job for some samples of a domain under a shift.

    Raises
    ------
    MismatchError
        If the model does not fit the images, or the grid is finer than its deepest feature map.
    """
    model, domain, grid = tapped.model, part.domain, request.grid
    size, where = (domain.height, domain.width), f"{store.path}: domain {domain.name}"
    pooled_to = pooled_grid(domain, grid, where)
    model.check_fits(domain.channels, size, where)
    name = f"{model.name.replace('/', '-')}_{domain.name}_{str(shift).replace('=', '-')}.zarr"
    out = request.out if request.out.suffix == ".zarr" else request.out / name
    parameters: dict[str, Any] = {
        "shift": str(shift),
        "domain": domain.name,
        "split": request.split,
        "layers": ",".join(tapped.layers),
        "dtype": request.dtype,
    }
    if grid is not None:
        parameters["grid"] = _grid_text(grid)
    parameters |= model.normalise_parameter()
    placement: dict[str, Any] = {"data": store.path, "out": out}
    inputs = {"model": model.id, "dataset": store.lineage.id}
    if counting is not None:
        parameters |= counting.parameters
        placement["ranges"] = counting.source
        inputs |= counting.inputs(tapped.layers)
    invocation = Invocation(
        "features",
        (model.path,),
        parameters,
        placement,
        inputs,
        arithmetic=arithmetic_facts(request.device, Precision.FLOAT32),
    )
    facts = {
        **{key: value for key, value in model.facts().items() if key != "model_id"},
        "dataset": store.name,
        "domain": domain.name,
        **training_facts(model.lineage),
        "split": VALIDATION if request.split == FOLD else request.split,
        "shift": shift.kind.value,
        "factor": shift.factor,
        "patch_size": [*size],
        "grid": list(pooled_to),
        "pooling": POOLING if grid is None else f"mean over a grid of {_grid_text(grid)}",
    }
    network, layers = tapped.network, tapped.layers
    job = Job(out, network, layers, domain, shift, invocation, facts, part.indices)
    return job if counting is None else _with_pooled_rows(job, counting, request.dtype)


def _with_pooled_rows(job: Job, counting: Counting, dtype: str) -> Job:
    """Assign the images of a job to rows of counts."""
    subjects = job.domain.columns["subject"][list(job.indices)]
    order, rows = assign_rows(subjects, len(job.indices), counting.pool_images)
    facts = {
        **job.facts,
        "bins": counting.bins,
        "dtype": dtype,
        "pool_images": counting.pool_images,
        "reference_domain": None if counting.reference is None else counting.reference.domain.name,
    }
    indices = [job.indices[position] for position in order]
    return replace(job, facts=facts, indices=indices, counting=counting, rows=rows)


def pooled_grid(domain: Domain, asked: Grid | None, where: str = "") -> Grid:
    """Return the grid to which feature maps of a domain are pooled, if it is not too fine."""
    finest = pooled_size(domain.height, domain.width)
    pooled_to = asked or finest
    if pooled_to[0] > finest[0] or pooled_to[1] > finest[1]:
        raise MismatchError(
            f"{where}: --grid {_grid_text(pooled_to)} is finer than the deepest feature map of its "
            f"images, {_grid_text(finest)}; give a coarser one"
        )
    return pooled_to


def _grid_text(pooled_to: Grid) -> str:
    return f"{pooled_to[0]}x{pooled_to[1]}"


def training_facts(header: Lineage | None) -> dict[str, Any]:
    """Return the domain and dataset id on which a model was trained, as far as recorded."""
    if header is None:
        return {}
    facts = {
        "training_domain": header.parameters.get("domain"),
        "training_dataset": header.inputs.get("dataset"),
    }
    return {name: value for name, value in facts.items() if isinstance(value, str)}


def check_jobs(jobs: Sequence[Job], out: Path) -> None:
    """Refuse stores that would overwrite one another, or a file.

    Raises
    ------
    ArgumentError
        If ``out`` is one store and more would be made, or one would be made twice.
    ExistsError
        If ``out`` is a file.
    """
    if out.suffix == ".zarr" and len(jobs) > 1:
        raise ArgumentError(
            f"--out {out}: one store, but {len(jobs)} would be made (models x domains x shifts); "
            "give a folder instead"
        )
    names = [job.out for job in jobs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ArgumentError(
            f"{twice[0]}: would be made twice; give each model, domain and shift once, and "
            "models of the same architecture, fold and repeat, or datasets with domains of the "
            "same name, another --out each"
        )
    if out.suffix != ".zarr" and not out.is_dir():
        check_writable(out, overwrite=False, resume=False)


def _report_pooled_rows(jobs: Sequence[Job], progress: Progress) -> None:
    """Print which domains have several images per row."""
    lines = [
        f"{job.domain.name}: {len(job.indices):,} images in {len(job.rows):,} rows of up to "
        f"{job.rows.max_images} images (--pool-images 1 makes a row of each)"
        for job in jobs
        if job.rows is not None and job.rows.max_images > 1
    ]
    for line in dict.fromkeys(lines):
        progress.say(line)


def dry_run_summary(jobs: Sequence[Job], dtype: str) -> dict[str, Any]:
    """Count the stores, images and bytes to be written, running networks on 32 x 32 pixels."""
    size, rows = 0, 0
    for job in jobs:
        channels = job.domain.channels
        smallest = np.zeros((1, 32, 32, channels), dtype=np.uint8 if channels == 3 else np.float32)
        pooled = pooled_activations(job.network, smallest, job.layers, "cpu").values()
        depth = sum(vectors.shape[1] for vectors in pooled)
        vectors = prod(job.facts["grid"])
        if job.counting is None or job.rows is None:
            size += len(job.indices) * depth * vectors * np.dtype(dtype).itemsize
        else:
            width = job.counting.bins * count_dtype(vectors, job.rows).itemsize
            size += len(job.rows) * depth * width
            rows += len(job.rows)
    summary = {"stores": len(jobs), "images": sum(len(job.indices) for job in jobs)}
    if rows:
        summary["rows"] = rows
    return summary | {"bytes before compression": size}


# Bins of ``--counts``: a first pass over the images of the reference


def _find_bins(
    jobs: Sequence[Job],
    waiting: Sequence[Job],
    store: DatasetStore,
    device: str,
    resume: bool,
    progress: Progress,
) -> dict[Counting, Bins]:
    """Return the bins of every model that has stores to make.

    They are those of a store (``--ranges``), those of an interrupted run with the same parameters,
    or come from the unshifted images of the reference, read once for all models.

    Raises
    ------
    ExistsError
        If earlier runs have made stores of different bins.
    FormatError, ArgumentError
        If an activation is not finite or cannot be stored.
    """
    bins: dict[Counting, Bins] = {}
    unknown: dict[tuple[str, tuple[int, ...]], dict[Counting, Job]] = {}
    for job in waiting:
        counting = job.counting
        if counting is None or counting in bins:
            continue
        given: Bins | None = counting.bins_of(job.layers)
        if given is None and resume:
            given = _bins_of_earlier_run(counting, jobs, waiting)
        if given is not None:
            bins[counting] = given
        elif counting.reference is not None:
            key = (counting.reference.domain.name, counting.reference.indices)
            unknown.setdefault(key, {}).setdefault(counting, job)
    for (name, indices), by_counting in unknown.items():
        domain = store.domain(name)
        with progress.task(f"ranges {name}", len(indices)) as task:
            reader = store.samples(name, indices)
            bins |= _measure_bins(by_counting, domain, reader, device, task)
    return bins


def _bins_of_earlier_run(
    counting: Counting, jobs: Sequence[Job], waiting: Sequence[Job]
) -> Bins | None:
    """Return the bins used by earlier runs, if any."""
    by_id: dict[str, tuple[Job, Bins]] = {}
    for job in jobs:
        if job.counting is not counting:
            continue
        bins: Bins | None
        if any(job is unfinished for unfinished in waiting):
            bins = resumed_bins(partial_path(job.out), job.invocation, job.layers)
        else:
            made = open_counts(job.out)
            bins = {layer: made.count_layout(layer).binning for layer in job.layers}
        if bins is not None:
            by_id.setdefault(ranges_id(bins), (job, bins))
    if len(by_id) > 1:
        (first, _), (second, _) = [*by_id.values()][:2]
        raise ExistsError(
            f"{first.out} and {second.out}: have different bins despite equal options; give "
            "--overwrite to count all of them again"
        )
    return next((bins for _, bins in by_id.values()), None)


def _measure_bins(
    by_counting: Mapping[Counting, Job],
    domain: Domain,
    reader: StoredSamples,
    device: str,
    task: Task,
) -> dict[Counting, Bins]:
    """Read the images of a reference, and return the bins of all models that use it."""
    ids, total = domain.columns["id"][list(reader.indices)], len(reader)
    chunks = [range(first, min(first + CHUNK, total)) for first in range(0, total, CHUNK)]
    extremes: dict[Counting, dict[str, Extremes]] = {counting: {} for counting in by_counting}
    with explain_memory_errors(device, f"{CHUNK} images at once"):
        for rows, (images, _) in zip(chunks, read_ahead(reader.read_many, chunks), strict=True):
            names = ids[rows.start : rows.stop]
            for counting, job in by_counting.items():
                grid = pooled_grid(domain, counting.grid, f"domain {domain.name}")
                dtype, own = job.invocation.parameters["dtype"], extremes[counting]
                for layer, block in pooled_activations(
                    job.network, images, job.layers, device, grid
                ).items():
                    low, high = stored_extremes(layer, block, dtype, names)
                    low, high = low.min(axis=0), high.max(axis=0)
                    if layer in own:
                        low, high = np.minimum(own[layer][0], low), np.maximum(own[layer][1], high)
                    own[layer] = low, high
            task.advance(len(rows))
    return {
        counting: {
            layer: reference_bins(*extremes[counting][layer], counting.bins) for layer in job.layers
        }
        for counting, job in by_counting.items()
    }


# Activations


def _extract(
    jobs: Sequence[Job],
    waiting: Sequence[Job],
    store: DatasetStore,
    device: str,
    overwrite: bool,
    resume: bool,
    progress: Progress,
) -> None:
    """Fill the stores of one dataset that are not finished."""
    bins = _find_bins(jobs, waiting, store, device, resume, progress)
    by_images: dict[tuple[str, tuple[int, ...]], list[Job]] = {}
    for job in waiting:
        by_images.setdefault((job.domain.name, tuple(job.indices)), []).append(job)
    read = [(group[0].domain, len(group[0].indices)) for group in by_images.values()]
    announce_download(store, read, progress)
    for group in by_images.values():
        domain, indices = group[0].domain, list(group[0].indices)
        columns = {name: values[indices] for name, values in domain.columns.items()}
        with ExitStack() as stack, progress.task(f"features {domain.name}", len(indices)) as task:
            stack.enter_context(make_parents(group[0].out))
            writers = []
            for job in group:
                growing = stack.enter_context(
                    atomic_output(job.out, overwrite=overwrite, resume=resume)
                )
                writers.append((job, _open_writer(job, growing, columns, bins)))
            _fill(writers, store.samples(domain.name, indices), device, task)
            check_unchanged(store)
            for _, writer in writers:
                writer.finish()


def _open_writer(
    job: Job, path: Path, columns: Mapping[str, Any], bins: Mapping[Counting, Bins]
) -> Writer:
    identity = {**job.invocation.determinants, "pooling": job.facts["pooling"]}
    identity["input"] = "x / 255"  # further scaling is among the parameters
    if job.counting is None or job.rows is None:
        dtype = job.invocation.parameters["dtype"]
        return FeatureWriter(path, job.invocation, identity, job.facts, columns, dtype)
    own = bins[job.counting]
    return CountsWriter(path, job.invocation, identity, job.facts, columns, job.rows, own)


def _fill(
    writers: Sequence[tuple[Job, Writer]], reader: StoredSamples, device: str, task: Task
) -> None:
    """Compute chunk by chunk while threads write the previous block and read the next images."""
    start, total = min(writer.written for _, writer in writers), len(reader)
    chunks = [range(first, min(first + CHUNK, total)) for first in range(start, total, CHUNK)]
    task.advance(start)
    with ThreadPoolExecutor(1) as thread, explain_memory_errors(device, f"{CHUNK} images at once"):
        writing = thread.submit(lambda: None)
        for rows, (images, _) in zip(chunks, read_ahead(reader.read_many, chunks), strict=True):
            for writer, blocks in _pooled_blocks(writers, images, rows.start, device):
                writing.result()  # wait for the previous block
                writing = thread.submit(writer.append, blocks)
            task.advance(len(rows))
        writing.result()


def _pooled_blocks(
    writers: Sequence[tuple[Job, Writer]], images: Image, start: int, device: str
) -> Iterator[tuple[Writer, dict[str, Float32]]]:
    """Compute, store by store, the blocks of one chunk that are not yet written."""
    shifted = cache(partial(apply_shifts, images))
    for job, writer in writers:
        if start >= writer.written:
            grid = tuple(job.facts["grid"])
            yield (
                writer,
                pooled_activations(job.network, shifted(job.shift), job.layers, device, grid),
            )
