"""``skiptool hellinger``: the distance between two sets of activations, layer by layer.

Reads feature stores or counts stores, without torch, the model or the images. Stores are grouped
by model, each is compared with the reference of its model, and all results go into one shift table.
`compare_features` compares arrays in memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from skiptool.cautions import Caution, merge_cautions
from skiptool.comparison.activations import BINS, PERMUTATIONS, Mapper, Settings, as_activations
from skiptool.comparison.layer import Design
from skiptool.comparison.pairs import (
    PRINTED,
    Pair,
    check_bins,
    counted_settings,
    layer_warnings,
    measure_pairs,
    result_columns,
    sort_results,
    unshared_layers,
)
from skiptool.comparison.results import LayerResult
from skiptool.errors import ArgumentError, FormatError, MismatchError, suggestion
from skiptool.names import Kind, Metric, RangeRule, ShiftKind
from skiptool.parallel import available_cores, dask_mapper, thread_map
from skiptool.records import SILENT, Outcome, Progress, Table, as_path
from skiptool.stores.activations import (
    check_unchanged,
    find_feature_stores,
    is_folder,
    open_activations,
)
from skiptool.stores.addresses import path_or_url, redact
from skiptool.stores.arrays import FeatureStore
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.staging import (
    OutputType,
    atomic_output,
    check_output_type,
    check_writable,
    protect_inputs,
)
from skiptool.stores.urls import accept_urls

if TYPE_CHECKING:
    import pyarrow as pa

REMOTE_READERS = 8
"""Threads that read remote stores: they mostly wait for responses."""

MAX_PRINTED_ROWS = 200
"""Maximum number of rows of several models that are printed as well as written."""

SPARE_COLUMNS = (
    "input_value",
    "value_live",
    "constant_channels",
    "transmission_low",
    "transmission_high",
    "null_mean",
    "transmission",
)
"""Columns left out on a narrow terminal, in this order."""

MODEL_FACTS = ("model", "arch", "encoder", "pruning", "fold", "repeat", "parameter_count")
SET_FACTS = ("domain", "split", "shift", "factor")

Place = Path | str
Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two stores, the design of their comparison, and its results by layer."""

    reference: FeatureStore
    other: FeatureStore
    design: Design
    measured: Sequence[LayerResult]

    @property
    def name(self) -> str:
        return f"{self.other.name} against {self.reference.name}"


@accept_urls(out=OutputType.TABLE)
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

    Each value comes with a bias-corrected estimate and its 95 % interval, the distribution of the
    value when units are permuted, and p-values, all from the same counts. The unit is the subject
    if both stores know subjects and these repeat, else the image. Warnings are in the column
    ``warnings``.

    Parameters
    ----------
    reference : Path or str
        Feature store or counts store of the original images (X in the paper): a folder, a URL, or
        a ``.npy`` file of (N, D) or (N, D, K).
    others : sequence of Path or str, or one
        The same of shifted images (X*), from the same model with the same layers.
    out : Path or str, optional
        Shift table to write; by default only the table of the outcome is made.
    settings : Settings, optional
        Metrics, bins, statistics, memory; by default the paper's distance with B = 100.
    all_pairs : bool
        Compare every store with every later one, not only with the reference.
    per_channel : bool
        List every channel in the outcome's table (the file always does).
    dask : str, optional
        Address of a scheduler, or ``local``: blocks are counted on that cluster.

    Returns
    -------
    Outcome
        Output: the shift table, if asked for. Table: one row per pair and layer (and channel).

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
    others = [others] if isinstance(others, Path | str) else others
    stores = [open_activations(reference), *map(open_activations, others)]
    return _compare_groups(
        [stores],
        as_path(out),
        Invocation("hellinger", [store.where for store in stores]),
        settings or Settings(),
        all_pairs=all_pairs,
        per_channel=per_channel,
        dask=dask,
        overwrite=overwrite,
        progress=progress,
    )


@accept_urls(out=OutputType.TABLE)
def measure_shifts(
    places: Sequence[Place],
    out: Path | str | None = None,
    *,
    references: Sequence[Place] = (),
    settings: Settings | None = None,
    all_pairs: bool = False,
    per_channel: bool = False,
    dask: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Measure shifts of any number of models at once, from stores and folders in any order.

    Stores are sorted by model, and those of each model (and split) are compared with its reference:
    of the unshifted stores (``original``) that of the training domain. Exactly two stores are the
    reference and the other as given. For all else see :func:`measure_shift`.

    Parameters
    ----------
    places : sequence of Path or str
        As in :func:`measure_shift`; a folder stands for all feature stores below it.
    references : sequence of Path or str
        References to use instead, at most one per model; a store without a model serves all models
        without a reference of their own.
    all_pairs : bool
        Compare all pairs of stores of each model.

    Returns
    -------
    Outcome
        Output: one shift table. Failures: stores of a folder that cannot be opened.

    Raises
    ------
    ArgumentError
        If nothing is left to compare, or the reference among the stores of a folder is unclear.
    FormatError, MismatchError, SourceError, ExistsError
        As :func:`measure_shift`.
    """
    explicit = not any(map(is_folder, places))
    placement: dict[str, Any] = {}
    failures: tuple[str, ...] = ()
    with protect_inputs(places):
        if explicit and len(places) == 2 and not references:
            if len({_address(path_or_url(place)) for place in places}) < 2:
                progress.warn(f"{places[0]}: is compared with itself, so all distances are 0")
            groups = [[open_activations(place) for place in places]]
            arguments = [store.where for store in groups[0]]
        else:
            stores, failures = _open_all(places, progress)
            chosen = [open_activations(place) for place in references]
            groups = group_stores(stores, chosen, explicit=explicit, warn=progress.warn)
            arguments = [redact(str(place)) for place in places]
            if chosen:
                placement["reference"] = [store.where for store in chosen]
        outcome = _compare_groups(
            groups,
            as_path(out),
            Invocation("hellinger", arguments, placement=placement),
            settings or Settings(),
            all_pairs=all_pairs,
            per_channel=per_channel,
            dask=dask,
            overwrite=overwrite,
            progress=progress,
        )
    return replace(outcome, failures=failures)


def _check_models(first: FeatureStore, other: FeatureStore) -> None:
    if None not in (first.model_id, other.model_id) and first.model_id != other.model_id:
        raise MismatchError(
            f"{other.where} against {first.where}: features are of different models "
            f"({other.facts['model']}, id {other.model_id}, and {first.facts['model']}, id "
            f"{first.model_id}); extract both with one model"
        )


def _compare_groups(
    groups: Sequence[Sequence[FeatureStore]],
    out: Path | None,
    invocation: Invocation,
    settings: Settings,
    *,
    all_pairs: bool,
    per_channel: bool,
    dask: str | None,
    overwrite: bool,
    progress: Progress,
) -> Outcome:
    """Compare the stores of each group, the first of which is the reference."""
    all_stores = [store for group in groups for store in group]
    pairs = [
        [pair for pair in combinations(range(len(stores)), 2) if all_pairs or pair[0] == 0]
        for stores in groups
    ]
    compared = [
        (stores[first], stores[second])
        for stores, own_pairs in zip(groups, pairs, strict=True)
        for first, second in own_pairs
    ]
    for reference, other in compared:
        _check_models(reference, other)
    settings = counted_settings(all_stores, settings, progress.warn)
    for reference, other in compared:
        check_bins(reference, other)
    several = len(groups) > 1
    with protect_inputs(store.place for store in all_stores), ExitStack() as stack:
        if out is not None:
            check_output_type(out, OutputType.TABLE)
            check_writable(out, overwrite=overwrite, resume=False)
        remote = any(isinstance(store.place, str) for store in all_stores)
        readers = max(settings.workers, REMOTE_READERS) if remote else settings.workers
        mapper: Mapper = partial(thread_map, workers=readers)
        if dask is not None:
            mapper = stack.enter_context(dask_mapper(dask, workers=settings.workers))
        comparisons: list[_Comparison] = []
        with progress.task("models", len(groups)) if several else nullcontext() as task:
            for stores, own_pairs in zip(groups, pairs, strict=True):
                comparisons += _compare_group(
                    stores, own_pairs, settings, mapper, progress, keep=dask is None
                )
                if task is not None:
                    task.advance()
        for store in all_stores:
            check_unchanged(store)
        _warn_of_results(comparisons, progress)
        if out is not None:
            invocation = replace(
                invocation,
                parameters={**settings.options, "all_pairs": all_pairs},
                placement={**invocation.placement, "out": out},
                inputs=_inputs(groups),
            )
            _write_table(out, invocation, comparisons, overwrite)
    table = _printed_table(comparisons, settings, per_channel)
    too_long = out is not None and several and len(table.columns["layer"]) > MAX_PRINTED_ROWS
    return Outcome(
        () if out is None else (out,),
        summary=_summary(groups, settings, comparisons),
        tables=() if too_long else (table,),
    )


def _compare_group(
    stores: Sequence[FeatureStore],
    pairs: Sequence[Pair],
    settings: Settings,
    mapper: Mapper,
    progress: Progress,
    *,
    keep: bool,
) -> list[_Comparison]:
    designs, results = measure_pairs(stores, pairs, settings, mapper, progress, keep=keep)
    return [
        _Comparison(stores[first], stores[second], design, sort_results(measured, settings))
        for (first, second), design, measured in zip(pairs, designs, results, strict=True)
    ]


def _open_all(
    places: Sequence[Place], progress: Progress
) -> tuple[list[FeatureStore], tuple[str, ...]]:
    """Open each store, and each store in a folder, once; return also one line per failure."""
    stores: dict[str, FeatureStore] = {}
    failures = []
    for place in places:
        if not is_folder(place):
            store = open_activations(place)
            if store.where in {other.where for other in stores.values()}:
                progress.warn(f"{store.where}: is given twice; the second is ignored")
            stores.setdefault(_address(store.place), store)
            continue
        folder = path_or_url(place)
        paths, ignored = find_feature_stores(folder)
        where = redact(str(folder))
        if not paths:
            content = f" ({', '.join(ignored)})" if ignored else ""
            raise FormatError(f"{where}: holds no feature store{content}; check the path")
        if ignored:
            progress.warn(f"{where}: left out: {', '.join(ignored)}")
        for path in paths:
            try:
                stores.setdefault(_address(path), open_activations(path))
            except FormatError as error:
                failures.append(str(error))
    if failures and not stores:
        raise FormatError("; ".join(failures))
    return list(stores.values()), tuple(failures)


def _address(place: Place) -> str:
    return place if isinstance(place, str) else os.path.realpath(place)


# Groups of stores of one model and split, and their references


def group_stores(
    stores: Sequence[FeatureStore],
    references: Sequence[FeatureStore] = (),
    *,
    explicit: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> list[list[FeatureStore]]:
    """Group stores by model and split, the reference of each group first.

    Parameters
    ----------
    references : sequence of FeatureStore
        See :func:`measure_shifts`; they may be among the stores.
    explicit : bool
        The stores were given one by one: if no reference is evident, it is the first.
    warn : callable
        Called with a line for each choice that a user may want to change, and each store left out.

    Raises
    ------
    ArgumentError
        If there is nothing to compare, a reference is unclear, or one is of another model.
    """
    models: dict[str | None, list[FeatureStore]] = {}
    for store in stores:
        models.setdefault(store.model_id, []).append(store)
    chosen = _references_by_model(references, models)
    groups: list[list[FeatureStore]] = []
    for model, members in models.items():
        reference = chosen.get(model, chosen.get(None))
        if reference is not None:
            groups.append(_distinct([reference, *members], warn))
            continue
        for split in dict.fromkeys(store.facts["split"] for store in members):
            same = [store for store in members if store.facts["split"] == split]
            first = (
                _choose_reference(same, members, explicit, warn) if len(members) > 1 else members[0]
            )
            groups.append(_distinct([first, *same], warn))
    comparable = [group for group in groups if len(group) > 1]
    if not comparable:
        count = "one feature store" if len(stores) == 1 else f"{len(stores)} feature stores"
        raise ArgumentError(
            f"{count} given, and nothing to compare; name a reference and at least one other of "
            "the same model"
        )
    for group in groups:
        if len(group) == 1:
            warn(f"{group[0].where}: no other store of its model and split, so it is left out")
    return comparable


def _references_by_model(
    references: Sequence[FeatureStore], models: Mapping[str | None, Sequence[FeatureStore]]
) -> dict[str | None, FeatureStore]:
    """Return the chosen references by model."""
    chosen: dict[str | None, FeatureStore] = {}
    for store in references:
        if store.model_id is not None and store.model_id not in models:
            names = sorted({str(m.facts["model"]) for group in models.values() for m in group})
            raise ArgumentError(
                f"--reference {store.where}: is of model {store.facts['model']}, id "
                f"{store.model_id}, and the stores are of others ({', '.join(names)}); features of "
                "different models cannot be compared"
            )
        if store.model_id in chosen:
            raise ArgumentError(
                f"--reference {store.where}: is of the same model as --reference "
                f"{chosen[store.model_id].where}; give one per model"
            )
        chosen[store.model_id] = store
    return chosen


def _choose_reference(
    same: Sequence[FeatureStore],
    members: Sequence[FeatureStore],
    explicit: bool,
    warn: Callable[[str], None],
) -> FeatureStore:
    """Choose the reference among the stores of one split, else among all of a model."""
    candidates = _unshifted(same)
    if not candidates:
        candidates = _unshifted(members)
        if len(candidates) == 1:
            warn(
                f"{candidates[0].where} ({candidates[0].facts['split']} images) is the reference "
                f"of {len(same)} stores of {same[0].facts['split']} images, which have none"
            )
    if len(candidates) == 1:
        if explicit and candidates[0] is not same[0]:
            warn(
                f"{candidates[0].where} is the reference: it is original and of the training "
                "domain; to choose another, give --reference"
            )
        return candidates[0]
    count = "several" if candidates else "none"
    if explicit:
        warn(
            f"{same[0].where} is taken as the reference because it comes first; {count} of the "
            "stores of its model would do (original, of the training domain); to choose one, give "
            "--reference"
        )
        return same[0]
    names = f": {', '.join(store.where for store in candidates[:3])}" if candidates else ""
    raise ArgumentError(
        f"model {same[0].facts['model'] or 'unknown'}: {count} of {len(same)} stores can be the "
        f"reference (original, of the training domain){names}; name one with --reference"
    )


def _unshifted(stores: Sequence[FeatureStore]) -> list[FeatureStore]:
    """Return the distinct stores without a shift, of the training domain if that is known."""
    original = [store for store in stores if store.facts["shift"] == ShiftKind.ORIGINAL]
    first = {_identity(store): store for store in reversed(original)}
    distinct = [store for store in original if first[_identity(store)] is store]
    domains = {store.facts["training_domain"] for store in distinct} - {None}
    if len(domains) == 1:
        distinct = [store for store in distinct if store.facts["domain"] in domains]
    datasets = {store.facts["training_dataset"] for store in distinct} - {None}
    of_training = [store for store in distinct if store.dataset_id in datasets]
    return of_training or distinct  # the images may be of another dataset of the same domain


def _identity(store: FeatureStore) -> str:
    return store.id or _address(store.place)


def _distinct(stores: Sequence[FeatureStore], warn: Callable[[str], None]) -> list[FeatureStore]:
    """Leave out repeated stores: the reference among the others, and equal content."""
    by_key: dict[str, FeatureStore] = {}
    for store in stores:
        first = by_key.setdefault(_identity(store), store)
        if _address(first.place) != _address(store.place):
            warn(f"{store.where}: is the same as {first.where} (equal ids), so it is left out")
    return list(by_key.values())


# Output


def _warn_of_results(comparisons: Sequence[_Comparison], progress: Progress) -> None:
    """Print the warnings in the table, each once for all comparisons and layers."""
    _warn_of_unshared_layers(comparisons, progress)
    cautions: list[Caution] = []
    for comparison in comparisons:
        design, names = comparison.design, (comparison.name,)
        cautions += [Caution(warning, (), names) for warning in design.warnings]
        for measured in comparison.measured:
            cautions += [
                Caution(warning, (measured.layer,), names)
                for warning in layer_warnings(measured, design)
            ]
    for caution in merge_cautions(cautions):
        stretched = "outlying" in caution.text
        remedy = "; compare with --range p0.1 or --bins quantile" if stretched else ""
        progress.warn(f"{_first_and_more(caution.comparisons)}: {caution}{remedy}")


def _warn_of_unshared_layers(comparisons: Sequence[_Comparison], progress: Progress) -> None:
    """Warn of layers that only one store of a pair has, once for pairs with the same layers."""
    by_layers: dict[tuple[str, ...], list[str]] = {}
    for comparison in comparisons:
        layers = unshared_layers(comparison.reference, comparison.other)
        if layers:
            by_layers.setdefault(layers, []).append(comparison.name)
    for layers, names in by_layers.items():
        it = "it" if len(layers) == 1 else "them"
        progress.warn(
            f"{_first_and_more(names)}: {', '.join(layers)}: left out, as only one of the two "
            f"stores has {it}"
        )


def _first_and_more(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _inputs(groups: Sequence[Sequence[FeatureStore]]) -> dict[str, str]:
    inputs: dict[str, str] = {}
    for number, stores in enumerate(groups):
        prefix = f"{number}." if len(groups) > 1 else ""
        for position, store in enumerate(stores):
            role = f"other{position - 1}" if position else "reference"
            if store.id:
                inputs[prefix + role] = store.id
    return inputs


def _write_table(
    out: Path, invocation: Invocation, comparisons: Sequence[_Comparison], overwrite: bool
) -> None:
    from skiptool.stores.tables import TableWriter  # lazy: it imports Arrow

    # Stores without an id are identified by the values measured between them.
    values = []
    if any(None in (pair.reference.id, pair.other.id) for pair in comparisons):
        values = [_values(measured) for pair in comparisons for measured in pair.measured]
    header = create_lineage(Kind.SHIFT, invocation, {**invocation.determinants, "values": values})
    with (
        atomic_output(out, overwrite=overwrite) as partial_out,
        TableWriter(partial_out, header) as table,
    ):
        for pair in comparisons:
            facts = _store_columns(pair.reference, pair.other)
            for measured in pair.measured:
                columns = result_columns(measured, pair.design)
                table.append({**facts, **columns}, len(columns["channel"]))


def _values(measured: LayerResult) -> list[float]:
    mean = np.array([measured.mean["value"]])
    return list(map(float, measured.channels.get("value", mean)))


def _store_columns(reference: FeatureStore, other: FeatureStore) -> dict[str, Any]:
    return {
        "reference": reference.name,
        "reference_id": reference.id,
        "other": other.name,
        "other_id": other.id,
        **{name: other.facts[name] for name in MODEL_FACTS},
        "model_id": other.model_id,
        "dataset": other.facts["dataset"],
        **{f"reference_{name}": reference.facts[name] for name in ("dataset", *SET_FACTS)},
        **{name: other.facts[name] for name in SET_FACTS},
    }


def _summary(
    groups: Sequence[Sequence[FeatureStore]],
    settings: Settings,
    comparisons: Sequence[_Comparison],
) -> dict[str, Any]:
    designs = [comparison.design for comparison in comparisons]
    paired: list[bool] = [design.paired for design in designs]
    units: list[str] = [design.unit for design in designs]
    warnings = [list(design.warnings) for design in designs]
    summary: dict[str, Any] = {}
    if len(groups) > 1:
        summary["models"] = len({group[-1].model_id for group in groups})
        paired, units = list(dict.fromkeys(paired)), list(dict.fromkeys(units))
        warnings = [list(dict.fromkeys(text for texts in warnings for text in texts))]
    summary |= {
        "pairs": len(comparisons),
        "metric": [metric.value for metric in settings.metrics],
        "bins": list(settings.bins),
        "range": settings.range_rule.value,
        "permutations": 0 if settings.literal else settings.permutations,
        "paired": paired,
        "unit": units,
        "reference": list(dict.fromkeys(group[0].name for group in groups)),
    }
    return summary | ({"warnings": warnings} if any(warnings) else {})


def _printed_table(
    comparisons: Sequence[_Comparison], settings: Settings, per_channel: bool
) -> Table:
    rows: list[dict[str, Any]] = []
    for pair in comparisons:
        names = {"reference": pair.reference.name, "other": pair.other.name}
        for measured in pair.measured:
            columns = result_columns(measured, pair.design)
            for row in range(len(columns["channel"]) if per_channel else 1):
                rows.append(names | {name: _cell(columns[name], row) for name in PRINTED})
    hidden = set() if per_channel else {"channel"}
    if all(row["tested"] is None or math.isclose(row["tested"], row["value"]) for row in rows):
        hidden.add("tested")  # equal except for rounding
    shown = [name for name in ("reference", "other", *PRINTED) if name not in hidden]
    bins = ", ".join(map(str, settings.bins))
    title = f"Distance by layer ({settings.range_rule.value}, B = {bins})"
    if len(comparisons) == 1:
        design = comparisons[0].design
        sizes = f"{len(design.reference)} and {len(design.other)}"
        unit = f"paired {design.unit}s" if design.paired else f"{design.unit}s"
        title += f", {comparisons[0].name}, {sizes} {unit}"
    if not settings.literal:
        title += "; corrected for bias, with its 95 % interval"
    columns = {name: [row[name] for row in rows] for name in shown}
    return Table(
        title, columns, uniform=("reference", "metric", "bins", "other"), spare=SPARE_COLUMNS
    )


def _cell(column: object, row: int) -> object:
    return column[row] if isinstance(column, list) else column


def compare_features(
    reference: Any,  # noqa: ANN401 - anything that NumPy accepts as an array
    other: Any,  # noqa: ANN401
    *,
    metrics: str | Sequence[str] = "hellinger",
    bins: int | Sequence[int] = BINS,
    range_rule: str = "minmax",
    permutations: int = PERMUTATIONS,
    groups: tuple[Sequence[object], Sequence[object]] | None = None,
    paired: bool = False,
    seed: int = 0,
    workers: int | None = None,
) -> pa.Table:
    """Measure the distance between two sets of features, by layer and channel.

    Works for the features of any network, not only of U-nets.

    Parameters
    ----------
    reference, other : array, or mapping of str to array, shapes (N, D) or (N, D, K)
        Float features of N images in D channels, K vectors per image. N may differ between the
        two; the layers of a mapping and their channels may not.
    metrics : str or sequence of str
        Names from :class:`skiptool.names.Metric`.
    bins : int or sequence of int
        B, or several.
    range_rule : str
        ``minmax`` (eqs. (6) and (7)), ``p0.1``, ``reference`` or ``quantile``.
    permutations : int
        Relabellings for the null distribution; 0 leaves it out.
    groups : pair of sequences, optional
        Group (patient, slide) of each image of either set, the statistical unit. By default images
        are taken to be independent.
    paired : bool
        Image i (or the group of one name) of both sets belongs together.
    workers : int, optional
        Threads, all cores by default.

    Returns
    -------
    pyarrow.Table
        Columns of a shift table (``skiptool.stores.tables.SHIFT``): for each metric and number of
        bins one row per layer, whose ``channel`` is null, and one per channel. ``covariance``,
        ``classifier`` and ``paired-difference`` (which needs ``paired``) have no rows of channels.
        The column ``warnings`` holds caveats of a layer's numbers.

    Raises
    ------
    ArgumentError
        If an array or an option is not as described.
    MismatchError
        If layers, channels or pairs do not match.
    FormatError
        If a feature is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(2, 50, 8, 16))
    >>> table = compare_features(x, y + 1.0)
    >>> table.num_rows, table["layer"][0].as_py(), round(table["p_value"][0].as_py(), 3)
    (9, 'features', 0.005)
    """
    from skiptool.stores.tables import as_table  # lazy: it imports Arrow

    names = (metrics,) if isinstance(metrics, str) else metrics
    settings = Settings(
        metrics=tuple(_parse_member(name, Metric) for name in names),
        bins=tuple(np.atleast_1d(bins).tolist()),
        range_rule=_parse_member(range_rule, RangeRule),
        permutations=permutations,
        group=None if groups is None else "group",
        paired=paired,
        seed=seed,
        workers=available_cores() if workers is None else workers,
    )
    own_groups, other_groups = groups or (None, None)
    first = as_activations(reference, "reference", own_groups)
    second = as_activations(other, "other", other_groups)
    if unshared_layers(first, second):  # an error, as the warnings of a function are rarely read
        missing = ", ".join(name for name in first.layers if name not in second.layers) or "none"
        extra = ", ".join(name for name in second.layers if name not in first.layers) or "none"
        raise MismatchError(
            f"other against reference: layers differ (missing: {missing}; extra: {extra}); give "
            "both the same layers"
        )
    mapper = partial(thread_map, workers=settings.workers)
    (design,), (measured,) = measure_pairs([first, second], [(0, 1)], settings, mapper)
    columns: dict[str, list[Any]] = {"reference": [], "other": []}
    for result in sort_results(measured, settings):
        values_by_name = result_columns(result, design)
        rows = len(values_by_name["channel"])
        values_by_name |= {"reference": "reference", "other": "other"}
        for name, values in values_by_name.items():
            column = values if isinstance(values, list) else [values] * rows
            columns.setdefault(name, []).extend(column)
    return as_table(Kind.SHIFT, columns, len(columns["layer"]))


def _parse_member(word: str, vocabulary: type[Word]) -> Word:
    if word not in list(vocabulary):
        raise ArgumentError(
            f"{word!r}: expected one of {', '.join(vocabulary)}{suggestion(str(word), vocabulary)}"
        )
    return vocabulary(word)
