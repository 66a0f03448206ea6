"""``skiptool hellinger``: the distance between two sets of activations, layer by layer.

Reads feature stores only: neither torch nor the model nor the images are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.distances.binned import DISTANCES, hellinger_literal, layer_mean
from skiptool.distances.histograms import Range, constant_channels, count, frequencies, joint_range
from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import Kind, Metric, RangeRule
from skiptool.records import SILENT, Outcome, Progress, Table
from skiptool.stores.features import FeatureStore, open_features
from skiptool.stores.header import Making, lineage
from skiptool.stores.staging import check_free, staged
from skiptool.stores.tables import TableWriter

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = ["BINS", "measure_shift"]

BINS = 100
"""Bins B of eq. (4); the paper does not state its number."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """Distances of one layer between two stores: per channel, eq. (9), and constancy.

    ``mean`` is eq. (10), ``live`` the same over the channels that vary, None where none does.
    """

    name: str
    index: int
    values: Float64
    constant: Bool
    mean: float
    live: float | None


def measure_shift(
    reference: Path,
    others: Sequence[Path],
    out: Path | None = None,
    *,
    bins: int = BINS,
    literal_eq5: bool = False,
    per_channel: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Measure the Hellinger distance of every layer and channel, eqs. (4) to (10).

    Parameters
    ----------
    reference : Path
        Feature store of the original images (X in the paper).
    others : sequence of Path
        Feature stores of shifted images (X*), from the same model with the same layers.
    out : Path, optional
        Shift table to write; without it only the outcome's table is made.
    bins : int
        B, equal-width bins over the joint range of each channel.
    literal_eq5 : bool
        Read eq. (5) as printed: the joint maximum is in no bin, a channel without any spread has
        distance 1. For audit only.
    per_channel : bool
        The outcome's table lists every channel (the file always does).
    overwrite : bool
    progress : Progress

    Returns
    -------
    Outcome
        Output: the shift table, if asked for. Table: one row a store and layer (and channel).

    Raises
    ------
    ArgumentError
        If ``bins`` is below 1.
    FormatError
        If a store is missing, damaged, empty or of another kind.
    MismatchError
        If the stores are of different models or layers.
    ExistsError
        If ``out`` exists.
    """
    if bins < 1:
        raise ArgumentError(f"--bins {bins}: expected at least 1")
    if out is not None:
        check_free(out, overwrite=overwrite, resume=False)
    first = open_features(reference)
    stores = [open_features(path) for path in others]
    for store in stores:
        _check_pair(first, store)
    measured = []
    with progress.task("hellinger", len(stores) * len(first.layers)) as task:
        for store in stores:
            layers = []
            for index, name in enumerate(first.layers):
                layers.append(_measure(first, store, name, index, bins, literal_eq5))
                task.advance(note=name)
            measured.append(layers)
    if out is not None:
        making = Making(
            "hellinger",
            (reference, *others),
            {"bins": bins, "literal_eq5": literal_eq5},
            {"out": out},
            {"reference": first.lineage.id}
            | {f"other{i}": store.lineage.id for i, store in enumerate(stores)},
        )
        _write(out, making, first, stores, measured, overwrite)
    return Outcome(
        () if out is None else (out,),
        summary={"bins": bins, "range": RangeRule.MINMAX.value},
        tables=(_table(stores, measured, bins, per_channel),),
    )


def _check_pair(first: FeatureStore, other: FeatureStore) -> None:
    where = f"{other.path} against {first.path}"
    ours, theirs = first.lineage.inputs.get("model"), other.lineage.inputs.get("model")
    if ours != theirs:
        raise MismatchError(
            f"{where}: features are of different models ({other.facts['model']}, id {theirs}, "
            f"and {first.facts['model']}, id {ours}); extract both with one model"
        )
    if other.layers != first.layers:
        missing = [name for name in first.layers if name not in other.layers]
        extra = [name for name in other.layers if name not in first.layers]
        raise MismatchError(
            f"{where}: layers differ (missing: {', '.join(missing) or 'none'}; extra: "
            f"{', '.join(extra) or 'none'}); extract both with the same --layers"
        )
    for name in first.layers:
        channels = first.shape(name)[1], other.shape(name)[1]
        if channels[0] != channels[1]:
            raise MismatchError(
                f"{where}: layer {name} has {channels[1]} channels, the reference {channels[0]}; "
                "extract both with one model"
            )


def _measure(
    first: FeatureStore, other: FeatureStore, layer: str, index: int, bins: int, literal: bool
) -> _Layer:
    joint = joint_range(first.ranges(layer), other.ranges(layer))
    p, q = (
        frequencies(_total(store, layer, joint, bins, literal), prod(store.shape(layer)[::2]))
        for store in (first, other)
    )
    distance = hellinger_literal if literal else DISTANCES[Metric.HELLINGER]
    values, constant = distance(p, q), constant_channels(joint)
    mean, live = layer_mean(values, constant)
    return _Layer(layer, index, values, constant, mean, None if np.isnan(live) else live)


def _total(store: FeatureStore, layer: str, joint: Range, bins: int, literal: bool) -> Int64:
    """Sum the counts (D, B) of a layer over its images, block by block."""
    total = np.zeros((store.shape(layer)[1], bins), dtype=np.int64)
    for _, block in store.blocks(layer):
        total += count(block, joint, bins, literal=literal).sum(axis=0)
    return total


def _write(
    out: Path,
    making: Making,
    first: FeatureStore,
    stores: Sequence[FeatureStore],
    measured: Sequence[Sequence[_Layer]],
    overwrite: bool,
) -> None:
    header = lineage(Kind.SHIFT, making, making.determinants)
    with staged(out, overwrite=overwrite) as partial, TableWriter(partial, header) as writer:
        for store, layers in zip(stores, measured, strict=True):
            for layer in layers:
                values = [layer.mean, *layer.values.tolist()]
                columns = {
                    **_facts(first, store, making.parameters),
                    **{"layer": layer.name, "layer_index": layer.index},
                    "channel": [None, *range(len(layer.values))],
                    "value": values,
                    "value_live": [layer.live, *[None] * len(layer.values)],
                    "constant_channels": [
                        int(layer.constant.sum()),
                        *layer.constant.astype(int).tolist(),
                    ],
                }
                writer.append(columns, len(values))


def _facts(first: FeatureStore, other: FeatureStore, made: Mapping[str, Any]) -> dict[str, Any]:
    rule = RangeRule.LITERAL if made["literal_eq5"] else RangeRule.MINMAX
    model = ("model", "arch", "encoder", "pruning", "fold", "parameter_count")
    return {
        "reference": first.path.name,
        "reference_id": first.lineage.id,
        "other": other.path.name,
        "other_id": other.lineage.id,
        **{name: other.facts[name] for name in model},
        "model_id": other.lineage.inputs.get("model"),
        "dataset": other.facts["dataset"],
        **{f"reference_{name}": first.facts[name] for name in ("domain", "shift", "factor")},
        **{name: other.facts[name] for name in ("domain", "shift", "factor")},
        "metric": Metric.HELLINGER.value,
        "bins": made["bins"],
        "range_rule": rule.value,
        "n_reference": len(first),
        "n_other": len(other),
    }


def _table(
    stores: Sequence[FeatureStore],
    measured: Sequence[Sequence[_Layer]],
    bins: int,
    per_channel: bool,
) -> Table:
    rows: list[tuple[str, str, int | None, float, float | None, int, int]] = []
    for store, layers in zip(stores, measured, strict=True):
        for layer in layers:
            constant, size = int(layer.constant.sum()), len(layer.values)
            mean = (layer.mean, layer.live, constant, size)
            rows.append((store.path.name, layer.name, None, *mean))
            if per_channel:
                rows += [
                    (store.path.name, layer.name, channel, float(value), None, int(dead), 1)
                    for channel, (value, dead) in enumerate(
                        zip(layer.values, layer.constant, strict=True)
                    )
                ]
    names = ["other", "layer", "channel", "value", "value_live", "constant_channels", "channels"]
    columns: dict[str, Sequence[Any]] = {
        name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }
    if not per_channel:
        del columns["channel"]
    title = f"Hellinger distance by layer, B = {bins}, joint range of each channel"
    return Table(title, columns)
