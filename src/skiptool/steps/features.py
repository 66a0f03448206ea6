"""``skiptool features``: activations of named layers, pooled and kept for later analysis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.model.faults import memory_told
from skiptool.model.hardware import choose_device
from skiptool.model.infer import read_ahead
from skiptool.model.layers import decoder_inputs, existing_layers
from skiptool.model.taps import grid, tap
from skiptool.model.unet import restore
from skiptool.names import in_data_flow
from skiptool.records import ORIGINAL, SILENT, Outcome, Progress, Shift, Task
from skiptool.shifts.photometric import apply_all
from skiptool.stores.checkpoint import StoredModel, open_model
from skiptool.stores.dataset import DatasetStore, Domain, StoredSamples, open_dataset
from skiptool.stores.domains import chosen_domains
from skiptool.stores.features_writer import CHUNK, FeatureWriter
from skiptool.stores.header import Making
from skiptool.stores.lookup import finished
from skiptool.stores.parents import parents_made
from skiptool.stores.runs import model_folders
from skiptool.stores.staging import check_free, staged
from skiptool.stores.unchanged import check_unchanged

if TYPE_CHECKING:
    from skiptool.records import Float32, Image

    _Network = tuple[StoredModel, Any, tuple[str, ...]]

__all__ = ["POOLING", "extract_features"]

POOLING = "mean over a grid of ceil(H/32) x ceil(W/32)"


@dataclass(frozen=True, slots=True)
class _Job:
    """One store to make: a network with its layers, a domain, a shift."""

    out: Path
    network: Any
    layers: tuple[str, ...]
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
    transmission: bool = False,
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
        Model folders, or folders that hold them.
    data : Path
        Dataset store.
    out : Path
        A store where it ends in ``.zarr``, else a folder that is filled with one store for each
        model, domain and shift.
    shifts : sequence of Shift
    domains : sequence of str
        Domains to read, by default all that hold samples of the split.
    split : str
        ``train``, ``test`` or ``all``.
    layers : sequence of str
        Names out of ``LAYERS`` and ``DECODER_INPUTS``, or module names of the network; all of
        ``LAYERS`` that it has by default.
    transmission : bool
        Add all ``DECODER_INPUTS`` that the network has: what its skip connections and what the
        layers below contribute to each decoder block.
    dtype, device : str
        ``float16``, ``float32``; ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    overwrite, resume, dry_run, progress : bool, Progress

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
    words = {"split": (split, ("train", "test", "all")), "dtype": (dtype, ("float16", "float32"))}
    for option, (word, known) in words.items():
        if word not in known:
            raise ArgumentError(f"--{option} {word}: expected {', '.join(known)}")
    target, store = choose_device(device), open_dataset(data)
    networks = [_network(open_model(path), layers, transmission) for path in model_folders(models)]
    chosen = chosen_domains(store, domains, split, progress)
    jobs = [
        _job(network, domain, shift, (store, out, split, dtype))
        for network in networks
        for domain in chosen
        for shift in shifts
    ]
    _check(jobs, out)
    how = {"resume": resume, "clear": not dry_run}
    waiting = [job for job in jobs if not finished(job.out, job.making, **how)]
    for job in (job for job in waiting if job.out == out or out.is_dir()):
        check_free(job.out, overwrite=overwrite, resume=resume)
    if dry_run:
        return Outcome(summary=_forecast(waiting, dtype))
    for name in dict.fromkeys(job.domain.name for job in waiting):
        here = [job for job in waiting if job.domain.name == name]
        _run(here, store, (target, overwrite, resume), progress)
    return Outcome(tuple(job.out for job in jobs), summary={"stores": len(jobs)})


def _network(model: StoredModel, layers: Sequence[str], transmission: bool) -> _Network:
    network = restore(model.architecture, model.tensors())
    chosen = in_data_flow(layers or existing_layers(network))
    joining = decoder_inputs(network) if transmission else ()
    return model, network, tuple(in_data_flow([*chosen, *joining]))


def _job(
    tapped: _Network, domain: Domain, shift: Shift, how: tuple[DatasetStore, Path, str, str]
) -> _Job:
    (model, network, layers), (store, out, split, dtype) = tapped, how
    size = (domain.height, domain.width)
    model.check_fits(domain.channels, size, f"{store.path}: domain {domain.name}")
    name = f"{model.name.replace('/', '-')}_{domain.name}_{str(shift).replace('=', '-')}.zarr"
    path = out if out.suffix == ".zarr" else out / name
    making = Making(
        "features",
        (model.path,),
        {
            **{"shift": str(shift), "domain": domain.name, "split": split},
            **{"layers": ",".join(layers), "dtype": dtype},
        },
        {"data": store.path, "out": path},
        {"model": model.id, "dataset": store.lineage.id},
    )
    facts = {
        **{key: value for key, value in model.facts().items() if key != "model_id"},
        **{"dataset": store.path.name, "domain": domain.name, "split": split},
        **{"shift": shift.kind.value, "factor": shift.factor},
        "patch_size": [*size],
        **{"grid": list(grid(*size)), "pooling": POOLING},
    }
    indices = domain.select(None if split == "all" else split)
    return _Job(path, network, layers, domain, shift, making, facts, indices)


def _check(jobs: Sequence[_Job], out: Path) -> None:
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
            "models of the same architecture and fold each another --out"
        )
    if out.suffix != ".zarr" and not out.is_dir():
        check_free(out, overwrite=False, resume=False)


def _forecast(jobs: Sequence[_Job], dtype: str) -> dict[str, Any]:
    values = 0
    for job in jobs:
        channels = job.domain.channels
        smallest = np.zeros((1, 32, 32, channels), dtype=np.uint8 if channels == 3 else np.float32)
        pooled = tap(job.network, smallest, job.layers, "cpu").values()
        depth = sum(vectors.shape[1] for vectors in pooled)
        values += len(job.indices) * depth * prod(job.facts["grid"])
    found = {"stores": len(jobs), "images": sum(len(job.indices) for job in jobs)}
    return found | {"bytes before compression": values * np.dtype(dtype).itemsize}


def _run(
    jobs: Sequence[_Job], store: DatasetStore, how: tuple[str, bool, bool], progress: Progress
) -> None:
    """Fill all stores of one domain in one reading of its images."""
    domain, indices = jobs[0].domain, jobs[0].indices
    columns = {name: values[indices] for name, values in domain.columns.items()}
    with ExitStack() as stack, progress.task(f"features {domain.name}", len(indices)) as task:
        stack.enter_context(parents_made(jobs[0].out))
        writers = []
        for job in jobs:
            partial = stack.enter_context(staged(job.out, overwrite=how[1], resume=how[2]))
            dtype = job.making.parameters["dtype"]
            identity = {**job.making.determinants, "pooling": POOLING, "input": "x / 255"}
            writer = FeatureWriter(partial, job.making, identity, job.facts, columns, dtype)
            writers.append((job, writer))
        _fill(writers, store.samples(domain.name, indices), how[0], task)
        check_unchanged(store)
        for _, writer in writers:
            writer.finish()


def _fill(
    writers: Sequence[tuple[_Job, FeatureWriter]], reader: StoredSamples, device: str, task: Task
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
    writers: Sequence[tuple[_Job, FeatureWriter]], images: Image, start: int, device: str
) -> Iterator[tuple[FeatureWriter, dict[str, Float32]]]:
    """Compute what the stores lack of one chunk, store by store."""
    shifted = cache(partial(apply_all, images))
    for job, writer in writers:
        if start >= writer.written:
            yield writer, tap(job.network, shifted(job.shift), job.layers, device)
