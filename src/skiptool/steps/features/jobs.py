"""What ``skiptool features`` is to make: a store for each network, domain and shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from skiptool.errors import ArgumentError, MismatchError
from skiptool.model.infer import arithmetic
from skiptool.model.layers import decoder_inputs, existing_layers
from skiptool.model.taps import grid, tap
from skiptool.model.unet import restore
from skiptool.names import VALIDATION, Precision, in_data_flow
from skiptool.records import Shift
from skiptool.stores.checkpoint import StoredModel
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.header import Lineage, Making
from skiptool.stores.staging import check_free

TappedNetwork: TypeAlias = tuple[StoredModel, Any, tuple[str, ...]]
"""A model, its network, and the layers of it."""

__all__ = [
    "POOLING",
    "Job",
    "TappedNetwork",
    "check_jobs",
    "planned_job",
    "sizes",
    "tapped_network",
    "trained_on",
]

Grid = tuple[int, int]
"""Rows and columns that feature maps are pooled to."""

POOLING = "mean over a grid of ceil(H/32) x ceil(W/32)"


@dataclass(frozen=True, slots=True)
class Job:
    """One store to make: a network with its layers, a domain, a shift."""

    out: Path
    network: Any
    layers: tuple[str, ...]
    domain: Domain
    shift: Shift
    making: Making
    facts: Mapping[str, Any]
    indices: Sequence[int]


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

    Raises
    ------
    MismatchError
        If the model does not fit the images, or the grid is finer than its deepest feature map.
    """
    (model, network, layers), (store, out, split, dtype, asked, device) = tapped, how
    size = (domain.height, domain.width)
    pooled_to = asked or grid(*size)
    if pooled_to[0] > grid(*size)[0] or pooled_to[1] > grid(*size)[1]:
        raise MismatchError(
            f"{store.path}: domain {domain.name}: --grid {_written(pooled_to)} is finer than the "
            f"deepest feature map of its images, {_written(grid(*size))}; give a coarser one"
        )
    model.check_fits(domain.channels, size, f"{store.path}: domain {domain.name}")
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
        },
        {"data": store.path, "out": path},
        {"model": model.id, "dataset": store.lineage.id},
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
    return Job(path, network, layers, domain, shift, making, facts, indices)


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
            "models of the same architecture, fold and repeat another --out each"
        )
    if out.suffix != ".zarr" and not out.is_dir():
        check_free(out, overwrite=False, resume=False)


def sizes(jobs: Sequence[Job], dtype: str) -> dict[str, Any]:
    """Count the stores, images and bytes to be written; networks run once on 32 x 32 pixels."""
    values = 0
    for job in jobs:
        channels = job.domain.channels
        smallest = np.zeros((1, 32, 32, channels), dtype=np.uint8 if channels == 3 else np.float32)
        pooled = tap(job.network, smallest, job.layers, "cpu").values()
        depth = sum(vectors.shape[1] for vectors in pooled)
        values += len(job.indices) * depth * prod(job.facts["grid"])
    found = {"stores": len(jobs), "images": sum(len(job.indices) for job in jobs)}
    return found | {"bytes before compression": values * np.dtype(dtype).itemsize}
