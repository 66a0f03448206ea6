"""``skiptool features``: activations of named layers, pooled and kept for later analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.model.hardware import choose_device
from skiptool.model.taps import existing_layers, grid, tap
from skiptool.model.unet import restore
from skiptool.names import LAYERS
from skiptool.records import ORIGINAL, SILENT, Outcome, Progress, Shift
from skiptool.shifts.photometric import apply_all
from skiptool.stores.checkpoint import StoredModel, open_model
from skiptool.stores.dataset import DatasetStore, Domain, open_dataset
from skiptool.stores.features_writer import CHUNK, FeatureWriter
from skiptool.stores.header import Making
from skiptool.stores.lookup import finished
from skiptool.stores.parents import parents_made
from skiptool.stores.staging import check_free, staged

if TYPE_CHECKING:
    from skiptool.records import Image

__all__ = ["POOLING", "extract_features"]

POOLING = "mean over a grid of ceil(H/32) x ceil(W/32)"
PREPROCESSING = "x / 255"
SPLITS = ("train", "test", "all")
DTYPES = ("float16", "float32")


@dataclass(frozen=True, slots=True)
class _Network:
    model: StoredModel
    built: Any
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """One store to make: a model, a domain, a shift."""

    out: Path
    network: _Network
    domain: Domain
    shift: Shift
    making: Making
    facts: Mapping[str, Any]
    indices: Sequence[int]


def extract_features(
    models: Sequence[Path],
    data: Path,
    out: Path,
    *,
    shifts: Sequence[Shift] = (ORIGINAL,),
    domains: Sequence[str] = (),
    split: str = "test",
    layers: Sequence[str] = (),
    dtype: str = "float16",
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Extract pooled activations of every model, domain and shift in one reading of the data.

    Section IV.B: each feature map is average-pooled to (p/32) x (p/32) (rounded up where p is no
    multiple of 32) and flattened to K vectors of D channels. The network runs in float32.

    Parameters
    ----------
    models : sequence of Path
        Model folders.
    data : Path
        Dataset store.
    out : Path
        A store where it ends in ``.zarr``, else a folder that is filled with one store for each
        model, domain and shift.
    shifts : sequence of Shift
    domains : sequence of str
        Domains to read, all by default.
    split : str
        ``train``, ``test`` or ``all``.
    layers : sequence of str
        Names out of ``LAYERS``, or module names of the network; all that it has by default.
    dtype, device : str
        ``float16``, ``float32``; ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    overwrite, resume, dry_run : bool
    progress : Progress

    Returns
    -------
    Outcome
        Outputs: the stores, in the order models, domains, shifts.

    Raises
    ------
    ArgumentError
        If names are unknown, or ``out`` is one store and more would be made.
    FormatError
        If an input is damaged, or an activation is not finite.
    MismatchError
        If a model does not fit the images.
    ExistsError
        If an output exists.
    """
    for option, word, known in (("split", split, SPLITS), ("dtype", dtype, DTYPES)):
        if word not in known:
            raise ArgumentError(f"--{option} {word}: expected {', '.join(known)}")
    target = choose_device(device)
    store = open_dataset(data)
    networks = [_network(open_model(path), layers) for path in models]
    jobs = [
        _job(network, store, store.domain(name), shift, (out, split, dtype))
        for network in networks
        for name in domains or store.domains
        for shift in shifts
    ]
    _check(jobs, out, split)
    waiting = [job for job in jobs if not finished(job.out, job.making, resume=resume)]
    for job in waiting:
        if job.out == out or out.is_dir():
            check_free(job.out, overwrite=overwrite, resume=resume)
    if dry_run:
        return Outcome(summary=_forecast(waiting, dtype))
    for name in dict.fromkeys(job.domain.name for job in waiting):
        here = [job for job in waiting if job.domain.name == name]
        _run(here, store, target, (overwrite, resume), progress)
    return Outcome(tuple(job.out for job in jobs), summary={"stores": len(jobs)})


def _network(model: StoredModel, layers: Sequence[str]) -> _Network:
    built = restore(model.architecture, model.tensors())
    # Stores keep layers in the order of data flow, modules by their own names behind them.
    order = {name: place for place, name in enumerate(LAYERS)}
    chosen = sorted(dict.fromkeys(layers), key=lambda name: order.get(name, len(order)))
    return _Network(model, built, tuple(chosen) or existing_layers(built))


def _job(
    network: _Network, store: DatasetStore, domain: Domain, shift: Shift, how: tuple[Path, str, str]
) -> _Job:
    model, (out, split, dtype) = network.model, how
    model.check_fits(domain.channels, f"{store.path}: domain {domain.name}")
    name = f"{model.name.replace('/', '-')}_{domain.name}_{str(shift).replace('=', '-')}.zarr"
    path = out if out.suffix == ".zarr" else out / name
    making = Making(
        "features",
        (model.path,),
        {
            **{"shift": str(shift), "domain": domain.name, "split": split},
            **{"layers": ",".join(network.layers), "dtype": dtype},
        },
        {"data": store.path, "out": path},
        {"model": model.id, "dataset": store.lineage.id},
    )
    facts = {
        **{key: value for key, value in model.facts().items() if key != "model_id"},
        **{"dataset": store.path.name, "domain": domain.name, "split": split},
        **{"shift": shift.kind.value, "factor": shift.factor},
        "patch_size": [domain.height, domain.width],
        **{"grid": list(grid(domain.height, domain.width)), "pooling": POOLING},
    }
    indices = domain.select(None if split == "all" else split)
    return _Job(path, network, domain, shift, making, facts, indices)


def _check(jobs: Sequence[_Job], out: Path, split: str) -> None:
    if out.suffix == ".zarr" and len(jobs) > 1:
        raise ArgumentError(
            f"--out {out}: one store, but {len(jobs)} would be made (models x domains x shifts); "
            "give a folder instead"
        )
    for job in jobs:
        if not job.indices:
            raise ArgumentError(f"domain {job.domain.name}: has no {split} samples to read")
    names = [job.out for job in jobs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ArgumentError(
            f"{twice[0]}: would be made twice; give each model, domain and shift once, and "
            "models of the same encoder, skips and fold each another --out"
        )
    if out.suffix != ".zarr" and not out.is_dir():
        check_free(out, overwrite=False, resume=False)


def _forecast(jobs: Sequence[_Job], dtype: str) -> dict[str, Any]:
    values = 0
    for job in jobs:
        network, channels = job.network, job.domain.channels
        smallest = np.zeros((1, 32, 32, channels), dtype=np.uint8 if channels == 3 else np.float32)
        pooled = tap(network.built, smallest, network.layers, "cpu")
        depth = sum(vectors.shape[1] for vectors in pooled.values())
        values += len(job.indices) * depth * prod(job.facts["grid"])
    size = values * np.dtype(dtype).itemsize
    images = sum(len(job.indices) for job in jobs)
    return {"stores": len(jobs), "images": images, "bytes before compression": size}


def _run(
    jobs: Sequence[_Job],
    store: DatasetStore,
    device: str,
    how: tuple[bool, bool],
    progress: Progress,
) -> None:
    """Fill all stores of one domain in one reading of its images."""
    domain, indices = jobs[0].domain, jobs[0].indices
    columns = {name: values[indices] for name, values in domain.columns.items()}
    reader = store.samples(domain.name, indices)
    with ExitStack() as stack, progress.task(f"features {domain.name}", len(indices)) as task:
        stack.enter_context(parents_made(jobs[0].out))
        writers = []
        for job in jobs:
            partial = stack.enter_context(staged(job.out, overwrite=how[0], resume=how[1]))
            dtype = job.making.parameters["dtype"]
            identity = {**job.making.determinants, "pooling": POOLING, "input": PREPROCESSING}
            writer = FeatureWriter(partial, job.making, identity, job.facts, columns, dtype)
            writers.append((job, writer))
        for start in range(0, len(indices), CHUNK):
            rows = range(start, min(start + CHUNK, len(indices)))
            _extract(writers, reader.read_many(rows)[0], start, device)
            task.advance(len(rows))
        for _, writer in writers:
            writer.finish()


def _extract(
    writers: Sequence[tuple[_Job, FeatureWriter]], images: Image, start: int, device: str
) -> None:
    shifted: dict[Shift, Image] = {}
    for job, writer in writers:
        if start < writer.written:
            continue
        if job.shift not in shifted:
            shifted[job.shift] = apply_all(images, job.shift)
        writer.append(tap(job.network.built, shifted[job.shift], job.network.layers, device))
