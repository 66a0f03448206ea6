"""The stores that ``skiptool features`` makes: one for each network, domain and shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from skiptool.errors import ArgumentError, MismatchError
from skiptool.model.inference import arithmetic
from skiptool.model.layers import decoder_inputs, existing_layers, grid, tap
from skiptool.model.unet import restore
from skiptool.names import VALIDATION, Precision, in_data_flow
from skiptool.records import Shift
from skiptool.steps.features.counting import Counting, Grid, Part
from skiptool.stores.counts_writer import Rows, dealt, tally_type
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.folds import FOLD
from skiptool.stores.lineage import Lineage, Making
from skiptool.stores.models import StoredModel
from skiptool.stores.staging import check_free

__all__ = [
    "POOLING",
    "Job",
    "Request",
    "TappedNetwork",
    "check_jobs",
    "planned_job",
    "pooled_grid",
    "sizes",
    "tapped_network",
    "trained_on",
]

POOLING = "mean over a grid of ceil(H/32) x ceil(W/32)"


@dataclass(frozen=True, slots=True)
class TappedNetwork:
    """A model, its network, and the layers to extract, in data flow."""

    model: StoredModel
    network: Any
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Options shared by all stores: ``grid`` is None unless the option is given."""

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
    making: Making
    facts: Mapping[str, Any]
    indices: Sequence[int]
    counting: Counting | None = None
    rows: Rows | None = None


def tapped_network(
    model: StoredModel, layers: Sequence[str], *, transmission: bool = False
) -> TappedNetwork:
    """Build the network of a model and choose its layers."""
    network = restore(model.architecture, model.tensors(), model.normalisation)
    chosen = in_data_flow(layers or existing_layers(network))
    joining = decoder_inputs(network) if transmission else ()
    return TappedNetwork(model, network, tuple(in_data_flow([*chosen, *joining])))


def planned_job(
    tapped: TappedNetwork,
    store: DatasetStore,
    part: Part,
    shift: Shift,
    request: Request,
    counting: Counting | None = None,
) -> Job:
    """Return the store to make of some samples of a domain.

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
    making = Making(
        "features",
        (model.path,),
        parameters,
        placement,
        inputs,
        arithmetic=arithmetic(request.device, Precision.FLOAT32),
    )
    facts = {
        **{key: value for key, value in model.facts().items() if key != "model_id"},
        "dataset": store.name,
        "domain": domain.name,
        **trained_on(model.lineage),
        "split": VALIDATION if request.split == FOLD else request.split,
        "shift": shift.kind.value,
        "factor": shift.factor,
        "patch_size": [*size],
        "grid": list(pooled_to),
        "pooling": POOLING if grid is None else f"mean over a grid of {_grid_text(grid)}",
    }
    network, layers = tapped.network, tapped.layers
    job = Job(out, network, layers, domain, shift, making, facts, part.indices)
    return job if counting is None else _with_rows(job, counting, request.dtype)


def _with_rows(job: Job, counting: Counting, dtype: str) -> Job:
    """Assign the images of a store to rows of counts."""
    subjects = job.domain.columns["subject"][list(job.indices)]
    order, rows = dealt(subjects, len(job.indices), counting.together)
    facts = {
        **job.facts,
        "bins": counting.bins,
        "dtype": dtype,
        "pool_images": counting.together,
        "reference_domain": None if counting.reference is None else counting.reference.domain.name,
    }
    indices = [job.indices[position] for position in order]
    return replace(job, facts=facts, indices=indices, counting=counting, rows=rows)


def pooled_grid(domain: Domain, asked: Grid | None, where: str = "") -> Grid:
    """Return the grid that feature maps of a domain are pooled to; refuse too fine a grid."""
    finest = grid(domain.height, domain.width)
    pooled_to = asked or finest
    if pooled_to[0] > finest[0] or pooled_to[1] > finest[1]:
        raise MismatchError(
            f"{where}: --grid {_grid_text(pooled_to)} is finer than the deepest feature map of its "
            f"images, {_grid_text(finest)}; give a coarser one"
        )
    return pooled_to


def trained_on(header: Lineage | None) -> dict[str, Any]:
    """Return the domain and dataset id that a model was trained on, as far as recorded."""
    if header is None:
        return {}
    facts = {
        "training_domain": header.parameters.get("domain"),
        "training_dataset": header.inputs.get("dataset"),
    }
    return {name: value for name, value in facts.items() if isinstance(value, str)}


def _grid_text(pooled_to: Grid) -> str:
    return f"{pooled_to[0]}x{pooled_to[1]}"


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
        check_free(out, overwrite=False, resume=False)


def sizes(jobs: Sequence[Job], dtype: str) -> dict[str, Any]:
    """Count the stores, images and bytes to be written, running networks on 32 x 32 pixels."""
    size, rows = 0, 0
    for job in jobs:
        channels = job.domain.channels
        smallest = np.zeros((1, 32, 32, channels), dtype=np.uint8 if channels == 3 else np.float32)
        pooled = tap(job.network, smallest, job.layers, "cpu").values()
        depth = sum(vectors.shape[1] for vectors in pooled)
        vectors = prod(job.facts["grid"])
        if job.counting is None or job.rows is None:
            size += len(job.indices) * depth * vectors * np.dtype(dtype).itemsize
        else:
            width = job.counting.bins * tally_type(vectors, job.rows).itemsize
            size += len(job.rows.first) * depth * width
            rows += len(job.rows.first)
    summary = {"stores": len(jobs), "images": sum(len(job.indices) for job in jobs)}
    if rows:
        summary["rows"] = rows
    return summary | {"bytes before compression": size}
