"""What ``skiptool features`` is to make: a store for each network, domain and shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from skiptool.errors import ArgumentError, MismatchError
from skiptool.model.inference import arithmetic
from skiptool.model.layers import decoder_inputs, existing_layers, grid, tap
from skiptool.model.unet import restore
from skiptool.names import VALIDATION, Precision, in_data_flow
from skiptool.records import Shift
from skiptool.steps.features.counting import Counting, Grid
from skiptool.stores.counts_writer import Rows, dealt, tally_type
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.lineage import Lineage, Making
from skiptool.stores.models import StoredModel
from skiptool.stores.staging import check_free

TappedNetwork: TypeAlias = tuple[StoredModel, Any, tuple[str, ...]]
"""A model, its network, and the layers of it."""

__all__ = [
    "POOLING",
    "Job",
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
class Job:
    """One store to make: a network with its layers, a domain, a shift.

    ``counting`` and ``rows`` are set where activations are counted.
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
    """Build the network of a model; return both with the layers, in data flow, to be extracted.

    Raises
    ------
    FormatError
        If weights are damaged or do not fit.
    """
    network = restore(model.architecture, model.tensors(), model.normalisation)
    chosen = in_data_flow(layers or existing_layers(network))
    joining = decoder_inputs(network) if transmission else ()
    return model, network, tuple(in_data_flow([*chosen, *joining]))


def planned_job(
    tapped: TappedNetwork,
    domain: Domain,
    shift: Shift,
    how: tuple[DatasetStore, Path, str, str, Grid | None, str],
    validated: Sequence[int] | None = None,
    counting: Counting | None = None,
) -> Job:
    """Return the store to make.

    Parameters
    ----------
    tapped : TappedNetwork
    domain : Domain
    shift : Shift
    how : tuple
        Dataset, output, split as typed, data type, the grid asked for, if any, and the device.
    validated : sequence of int, optional
        Samples of the domain that the model was validated on, where the split is its fold.
    counting : Counting, optional
        How activations are counted, where they are.

    Raises
    ------
    MismatchError
        If the model does not fit the images, or the grid is finer than its deepest feature map.
    """
    (model, network, layers), (store, out, split, dtype, asked, device) = tapped, how
    size, where = (domain.height, domain.width), f"{store.path}: domain {domain.name}"
    pooled_to = pooled_grid(domain, asked, where)
    model.check_fits(domain.channels, size, where)
    name = f"{model.name.replace('/', '-')}_{domain.name}_{str(shift).replace('=', '-')}.zarr"
    path = out if out.suffix == ".zarr" else out / name
    making = Making(
        "features",
        (model.path,),
        {
            **{"shift": str(shift), "domain": domain.name, "split": split},
            **{"layers": ",".join(layers), "dtype": dtype},
            **({} if asked is None else {"grid": _written(asked)}),
            **model.normalise_parameter(),
            **({} if counting is None else counting.parameters),
        },
        {
            **{"data": store.path, "out": path},
            **({} if counting is None else {"ranges": counting.source}),
        },
        {
            **{"model": model.id, "dataset": store.lineage.id},
            **({} if counting is None else counting.inputs(layers)),
        },
        arithmetic=arithmetic(device, Precision.FLOAT32),
    )
    facts = {
        **{key: value for key, value in model.facts().items() if key != "model_id"},
        **{"dataset": store.name, "domain": domain.name},
        **trained_on(model.lineage),
        "split": split if validated is None else VALIDATION,
        **{"shift": shift.kind.value, "factor": shift.factor},
        "patch_size": [*size],
        "grid": list(pooled_to),
        "pooling": POOLING if asked is None else f"mean over a grid of {_written(asked)}",
    }
    indices = validated
    if indices is None:
        indices = domain.select(None if split == "all" else split)
    job = Job(path, network, layers, domain, shift, making, facts, indices)
    return job if counting is None else _counted(job, counting, dtype)


def _counted(job: Job, counting: Counting, dtype: str) -> Job:
    """Deal the images of a store to rows of counts."""
    subjects = job.domain.columns["subject"][list(job.indices)]
    order, rows = dealt(subjects, len(job.indices), counting.together)
    reference = counting.reference
    facts = {
        **job.facts,
        **{"bins": counting.bins, "dtype": dtype, "pool_images": counting.together},
        "reference_domain": None if reference is None else reference[0].name,
    }
    indices = [job.indices[place] for place in order]
    return replace(job, facts=facts, indices=indices, counting=counting, rows=rows)


def pooled_grid(domain: Domain, asked: Grid | None, where: str = "") -> Grid:
    """Return the grid that the feature maps of a domain's images are pooled to.

    Raises
    ------
    MismatchError
        If the grid asked for is finer than the deepest feature map.
    """
    finest = grid(domain.height, domain.width)
    found = asked or finest
    if found[0] > finest[0] or found[1] > finest[1]:
        raise MismatchError(
            f"{where}: --grid {_written(found)} is finer than the deepest feature map of its "
            f"images, {_written(finest)}; give a coarser one"
        )
    return found


def trained_on(header: Lineage | None) -> dict[str, Any]:
    """Return domain and dataset id that a model was trained on, as far as it says so."""
    domain = None if header is None else header.parameters.get("domain")
    dataset = None if header is None else header.inputs.get("dataset")
    found = {"training_domain": domain, "training_dataset": dataset}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _written(pooled_to: Grid) -> str:
    return f"{pooled_to[0]}x{pooled_to[1]}"


def check_jobs(jobs: Sequence[Job], out: Path) -> None:
    """Refuse stores that would overwrite one another, or what is there.

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
    """Count the stores, images and bytes to be written; networks run once on 32 x 32 pixels."""
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
    found = {"stores": len(jobs), "images": sum(len(job.indices) for job in jobs)}
    return found | ({"rows": rows} if rows else {}) | {"bytes before compression": size}
