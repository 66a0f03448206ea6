"""``skiptool hellinger``: the distance between two sets of activations, layer by layer.

Reads feature stores only: neither torch nor the model nor the images are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.pairs import Pair, measure_pairs
from skiptool.comparison.reading import Mapper
from skiptool.comparison.results import Measured
from skiptool.comparison.rows import PRINTED, columns_of, in_order, layer_warnings
from skiptool.comparison.sets import Settings
from skiptool.engine import dask_mapper, threaded
from skiptool.errors import MismatchError
from skiptool.names import Kind
from skiptool.records import SILENT, Outcome, Progress, Table, as_path
from skiptool.stores.features import FeatureStore, open_features
from skiptool.stores.header import Making, lineage
from skiptool.stores.staging import check_free, staged
from skiptool.stores.table_writer import TableWriter
from skiptool.stores.unchanged import check_unchanged

__all__ = ["measure_shift"]

REMOTE_READERS = 8
"""Threads that read stores behind a URL: most of their time they wait for an answer."""

Place = Path | str
Found = Sequence[tuple[Pair, Design, Sequence[Measured]]]


def measure_shift(
    reference: Place,
    others: Sequence[Place] | Place,
    out: Path | str | None = None,
    *,
    settings: Settings | None = None,
    all_pairs: bool = False,
    per_channel: bool = False,
    dask: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Measure the distance of every layer and channel between stores, eqs. (4) to (10).

    Each value comes with an estimate corrected for bias and its 95 % interval, the distribution
    of the value when units are permuted, and p-values, all from the same counts. The unit is the
    subject where both stores know subjects and they repeat, else the image. Warnings are in the
    column ``warnings``.

    Parameters
    ----------
    reference : Path or str
        Feature store of the original images (X in the paper): a folder, a URL, or a ``.npy`` file
        of (N, D) or (N, D, K).
    others : sequence of Path or str, or one
        The same of shifted images (X*), from the same model with the same layers.
    out : Path or str, optional
        Shift table to write; without it only the outcome's table is made.
    settings : Settings, optional
        Metrics, bins, statistics, memory; by default the paper's distance with B = 100.
    all_pairs : bool
        Compare every store with every later one, not only with the reference.
    per_channel : bool
        The outcome's table lists every channel (the file always does).
    dask : str, optional
        Address of a scheduler, or ``local``: blocks are counted on that cluster.
    overwrite : bool
    progress : Progress

    Returns
    -------
    Outcome
        Output: the shift table, if asked for. Table: one row a pair and layer (and channel).

    Raises
    ------
    FormatError
        If a store is missing, damaged, empty or of another kind, or an activation not finite.
    MismatchError
        If the stores are of different models, layers or, where paired, images.
    ArgumentError
        If a store lacks the column to group by, or the cluster cannot be reached.
    SourceError
        If the folder of ``out`` does not exist, a remote store cannot be reached, or the disk of
        temporary files is full.
    ExistsError
        If ``out`` exists.
    """
    out, others = as_path(out), [others] if isinstance(others, Path | str) else others
    chosen = settings or Settings()
    if out is not None:
        check_free(out, overwrite=overwrite, resume=False)
    stores = [open_features(place) for place in (reference, *others)]
    numbers = range(len(stores))
    pairs = list(combinations(numbers, 2)) if all_pairs else [(0, i) for i in numbers[1:]]
    for first, second in pairs:
        _check_models(stores[first], stores[second])
    with ExitStack() as stack:
        remote = any(isinstance(store.place, str) for store in stores)
        readers = max(chosen.workers, REMOTE_READERS) if remote else chosen.workers
        mapper: Mapper = partial(threaded, workers=readers)
        if dask is not None:
            mapper = stack.enter_context(dask_mapper(dask, workers=chosen.workers))
        keep = dask is None
        designs, results = measure_pairs(stores, pairs, chosen, mapper, progress, keep=keep)
    for store in stores:
        check_unchanged(store)
    found = list(zip(pairs, designs, (in_order(each, chosen) for each in results), strict=True))
    _warn(stores, found, progress)
    if out is not None:
        _write(out, _making(out, stores, chosen, all_pairs), stores, found,
               chosen, overwrite)  # fmt: skip
    return Outcome(
        () if out is None else (out,),
        summary=_summary(chosen, found),
        tables=(_table(stores, found, chosen, per_channel),),
    )


def _check_models(first: FeatureStore, other: FeatureStore) -> None:
    if None not in (first.model_id, other.model_id) and first.model_id != other.model_id:
        raise MismatchError(
            f"{other.where} against {first.where}: features are of different models "
            f"({other.facts['model']}, id {other.model_id}, and {first.facts['model']}, id "
            f"{first.model_id}); extract both with one model"
        )


def _warn(stores: Sequence[FeatureStore], found: Found, progress: Progress) -> None:
    """Say what stands in the table's column ``warnings``; alike for several layers, once."""
    for (first, second), design, measured in found:
        names = f"{stores[second].name} against {stores[first].name}"
        for warning in design.warnings:
            progress.warn(f"{names}: {warning}")
        by_text: dict[str, list[str]] = {}
        for each in measured:
            for warning in layer_warnings(each, design):
                layers = by_text.setdefault(warning, [])
                if each.layer not in layers:
                    layers.append(each.layer)
        for warning, layers in by_text.items():
            remedy = (
                "; compare with --range p0.1 or --bins quantile" if "outlying" in warning else ""
            )
            progress.warn(f"{names}: {', '.join(layers)}: {warning}{remedy}")


def _making(
    out: Path, stores: Sequence[FeatureStore], settings: Settings, all_pairs: bool
) -> Making:
    roles = ["reference", *(f"other{number}" for number in range(len(stores) - 1))]
    inputs = {role: store.id for role, store in zip(roles, stores, strict=True) if store.id}
    asked = {**settings.asked, "all_pairs": all_pairs}
    return Making("hellinger", [store.where for store in stores], asked, {"out": out}, inputs)


def _write(
    out: Path,
    making: Making,
    stores: Sequence[FeatureStore],
    found: Found,
    settings: Settings,
    overwrite: bool,
) -> None:
    # Stores without an id are known by what was measured between them.
    unknown = any(store.id is None for store in stores)
    values = [_values(each) for _, _, m in found for each in m] if unknown else []
    header = lineage(Kind.SHIFT, making, {**making.determinants, "values": values})
    with staged(out, overwrite=overwrite) as partial_out, TableWriter(partial_out, header) as table:
        for (first, second), design, measured in found:
            facts = _facts(stores[first], stores[second])
            for each in measured:
                columns = columns_of(each, design)
                table.append({**facts, **columns}, len(columns["channel"]))


def _values(measured: Measured) -> list[float]:
    alone = np.array([measured.mean["value"]])
    return list(map(float, measured.channels.get("value", alone)))


def _facts(first: FeatureStore, other: FeatureStore) -> dict[str, Any]:
    model = ("model", "arch", "encoder", "pruning", "fold", "repeat", "parameter_count")
    side = ("domain", "split", "shift", "factor")
    return {
        "reference": first.name,
        "reference_id": first.id,
        "other": other.name,
        "other_id": other.id,
        **{name: other.facts[name] for name in model},
        "model_id": other.model_id,
        "dataset": other.facts["dataset"],
        **{f"reference_{name}": first.facts[name] for name in side},
        **{name: other.facts[name] for name in side},
    }


def _summary(settings: Settings, found: Found) -> dict[str, Any]:
    warnings = [list(design.warnings) for _, design, _ in found]
    return {
        **{"pairs": len(found), "metric": [metric.value for metric in settings.metrics]},
        **{"bins": list(settings.bins), "range": settings.range_rule.value},
        "permutations": 0 if settings.literal else settings.permutations,
        "paired": [design.paired for _, design, _ in found],
        "unit": [design.unit for _, design, _ in found],
        **({"warnings": warnings} if any(warnings) else {}),
    }


def _table(
    stores: Sequence[FeatureStore], found: Found, settings: Settings, per_channel: bool
) -> Table:
    rows: list[Mapping[str, Any]] = []
    for (first, second), design, measured in found:
        names = {"reference": stores[first].name, "other": stores[second].name}
        for each in measured:
            columns = columns_of(each, design)
            for row in range(len(columns["channel"]) if per_channel else 1):
                rows.append(names | {name: _cell(columns[name], row) for name in PRINTED})
    shown = [name for name in ("reference", "other", *PRINTED) if per_channel or name != "channel"]
    between = f", {rows[0]['other']} against {rows[0]['reference']}" if len(found) == 1 else ""
    design = found[0][1]
    if len(found) == 1:
        sizes = f"{len(design.reference)} and {len(design.other)}"
        between += f", {sizes} {'paired ' if design.paired else ''}{design.unit}s"
    title = (
        f"Distance by layer ({settings.range_rule.value}, B = {', '.join(map(str, settings.bins))})"
        f"{between}{'' if settings.literal else '; corrected for bias, with its 95 % interval'}"
    )
    columns = {name: [row[name] for row in rows] for name in shown}
    return Table(title, columns, uniform=("reference", "metric", "bins", "other"), spare=SPARE)


SPARE = (
    *("input_value", "value_live", "constant_channels"),
    *("transmission_low", "transmission_high", "null_mean", "transmission"),
)
"""Columns that a narrow terminal does without, the last one last."""


def _cell(column: object, row: int) -> object:
    return column[row] if isinstance(column, list) else column
