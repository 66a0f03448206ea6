"""``skiptool hellinger``: the distance between two sets of activations, layer by layer.

Reads feature stores, or counts stores: neither torch nor the model nor the images are needed.
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

from skiptool.cautions import Caution, joined
from skiptool.comparison.activations import BINS, PERMUTATIONS, Mapper, Settings, as_activations
from skiptool.comparison.counted import check_bins, counted_settings
from skiptool.comparison.layer import Design
from skiptool.comparison.pairs import (
    PRINTED,
    Pair,
    columns_of,
    in_order,
    layer_warnings,
    left_out,
    measure_pairs,
)
from skiptool.comparison.results import Measured
from skiptool.errors import ArgumentError, FormatError, MismatchError, near
from skiptool.names import Kind, Metric, RangeRule, ShiftKind
from skiptool.parallel import available_cores, dask_mapper, threaded
from skiptool.records import SILENT, Outcome, Progress, Table, as_path
from skiptool.stores.addresses import located, public
from skiptool.stores.artifacts import check_unchanged, feature_folder, is_folder
from skiptool.stores.counts import open_activations
from skiptool.stores.features import FeatureStore
from skiptool.stores.lineage import Making, lineage
from skiptool.stores.staging import Form, check_form, check_free, guarded, staged
from skiptool.stores.tables import TableWriter, as_table
from skiptool.stores.transfers import places_may_be_urls

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["compare_features", "grouped", "measure_shift", "measure_shifts"]

REMOTE_READERS = 8
"""Threads that read stores behind a URL: most of their time they wait for an answer."""

MOST_SHOWN = 200
"""Rows that are printed beside a table of several models that was written."""

Place = Path | str
_Result = tuple[FeatureStore, FeatureStore, Design, Sequence[Measured]]
"""Reference, other, how they were compared, and the results layer by layer."""


@places_may_be_urls(out=Form.TABLE)
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
        Feature store or counts store of the original images (X in the paper): a folder, a URL, or
        a ``.npy`` file of (N, D) or (N, D, K).
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
    stores = [open_activations(place) for place in (reference, *others)]
    for first, second in _pairs(len(stores), all_pairs):
        _check_models(stores[first], stores[second])
    how = _How(settings or Settings(), all_pairs, per_channel, dask, overwrite)
    arguments = [store.where for store in stores]
    return _measured([stores], out, how, Making("hellinger", arguments), progress)


@places_may_be_urls(out=Form.TABLE)
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
    """Measure shifts of any number of models at once: stores, and folders of them, as they come.

    Stores are sorted by model, and in each model (and split) compared with its reference: of the
    stores without a shift (``original``) that of the domain that the model was trained on. Two
    stores, and nothing else, are the reference and the other as they stand. For all else see
    :func:`measure_shift`.

    Parameters
    ----------
    places : sequence of Path or str
        As in :func:`measure_shift`; a folder stands for all feature stores below it.
    out : Path, optional
    references : sequence of Path or str
        References to take instead, at most one a model; one that others made, without a model,
        serves all models without another.
    settings, all_pairs, per_channel, dask, overwrite, progress
        As in :func:`measure_shift`; ``all_pairs`` are those of each model.

    Returns
    -------
    Outcome
        Output: one shift table. Failures: stores of a folder that cannot be opened.

    Raises
    ------
    ArgumentError
        If nothing is left to compare, or no store of a folder can be told to be the reference.
    FormatError, MismatchError, SourceError, ExistsError
        As :func:`measure_shift`.
    """
    out = as_path(out)
    how = _How(settings or Settings(), all_pairs, per_channel, dask, overwrite)
    by_hand = not any(map(is_folder, places))
    if by_hand and len(places) == 2 and not references:
        if len({_address(located(place)) for place in places}) < 2:
            progress.warn(f"{places[0]}: is compared with itself: all distances are 0")
        return measure_shift(
            places[0], places[1:], out, **how.given, overwrite=overwrite, progress=progress
        )
    with guarded(places):
        opened, failures = _opened(places, progress)
        named = [open_activations(place) for place in references]
        groups = grouped(opened, named, by_hand=by_hand, warn=progress.warn)
        making = Making(
            "hellinger",
            [public(str(place)) for place in places],
            placement={"reference": [store.where for store in named]} if named else {},
        )
        found = _measured(groups, out, how, making, progress)
    return replace(found, failures=failures)


@dataclass(frozen=True, slots=True)
class _How:
    """What is asked for beside the stores."""

    settings: Settings
    all_pairs: bool
    per_channel: bool
    dask: str | None
    overwrite: bool

    @property
    def given(self) -> dict[str, Any]:
        """Parameters of :func:`measure_shift`."""
        names = ("settings", "all_pairs", "per_channel", "dask")
        return {name: getattr(self, name) for name in names}


def _pairs(stores: int, all_pairs: bool) -> list[Pair]:
    numbers = range(stores)
    return list(combinations(numbers, 2)) if all_pairs else [(0, i) for i in numbers[1:]]


def _measured(
    groups: Sequence[Sequence[FeatureStore]],
    out: Path | None,
    how: _How,
    making: Making,
    progress: Progress,
) -> Outcome:
    """Compare the stores of each group, whose first is its reference."""
    every = [store for group in groups for store in group]
    chosen = counted_settings(every, how.settings, progress.warn)
    how = replace(how, settings=chosen)
    for stores in groups:
        for first, second in _pairs(len(stores), how.all_pairs):
            check_bins(stores[first], stores[second])
    with guarded(store.place for store in every), ExitStack() as stack:
        if out is not None:
            check_form(out, Form.TABLE)
            check_free(out, overwrite=how.overwrite, resume=False)
        remote = any(isinstance(store.place, str) for store in every)
        readers = max(chosen.workers, REMOTE_READERS) if remote else chosen.workers
        mapper: Mapper = partial(threaded, workers=readers)
        if how.dask is not None:
            mapper = stack.enter_context(dask_mapper(how.dask, workers=chosen.workers))
        found: list[_Result] = []
        several = len(groups) > 1
        with progress.task("models", len(groups)) if several else nullcontext() as task:
            for stores in groups:
                found += _compared(stores, how, mapper, progress)
                if task is not None:
                    task.advance()
        for store in every:
            check_unchanged(store)
        _warn(found, progress)
        if out is not None:
            _write(out, _making(out, groups, how, making), found, how.overwrite)
    rows = _table(found, chosen, how.per_channel)
    long = out is not None and several and len(rows.columns["layer"]) > MOST_SHOWN
    return Outcome(
        () if out is None else (out,),
        summary=_summary(groups, chosen, found),
        tables=() if long else (rows,),
    )


def _compared(
    stores: Sequence[FeatureStore], how: _How, mapper: Mapper, progress: Progress
) -> list[_Result]:
    pairs = _pairs(len(stores), how.all_pairs)
    keep = how.dask is None
    designs, results = measure_pairs(stores, pairs, how.settings, mapper, progress, keep=keep)
    return [
        (stores[first], stores[second], design, in_order(each, how.settings))
        for (first, second), design, each in zip(pairs, designs, results, strict=True)
    ]


def _opened(
    places: Sequence[Place], progress: Progress
) -> tuple[list[FeatureStore], tuple[str, ...]]:
    """Open stores and those of folders, each once; return lines about those that cannot be."""
    found: dict[str, FeatureStore] = {}
    failures = []
    for place in places:
        folder = located(place) if is_folder(place) else None
        if folder is None:
            store = open_activations(place)
            if store.where in {each.where for each in found.values()}:
                progress.warn(f"{store.where}: is given twice and counts once")
            found.setdefault(_address(store.place), store)
            continue
        stores, left_out = feature_folder(folder)
        if not stores:
            others = f" ({', '.join(left_out)})" if left_out else ""
            where = public(str(folder))
            raise FormatError(f"{where}: holds no feature store{others}; check the path")
        if left_out:
            progress.warn(f"{public(str(folder))}: left out: {', '.join(left_out)}")
        for path in stores:
            try:
                store = open_activations(path)
            except FormatError as error:
                failures.append(str(error))
            else:
                found.setdefault(_address(path), store)
    if failures and not found:
        raise FormatError("; ".join(failures))
    return list(found.values()), tuple(failures)


def _address(place: Place) -> str:
    return place if isinstance(place, str) else os.path.realpath(place)


def grouped(
    stores: Sequence[FeatureStore],
    references: Sequence[FeatureStore] = (),
    *,
    by_hand: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> list[list[FeatureStore]]:
    """Sort stores by model and split, the reference of each group first.

    Parameters
    ----------
    stores : sequence of FeatureStore
    references : sequence of FeatureStore
        See :func:`measure_shifts`; they may be among the stores.
    by_hand : bool
        The stores were named one by one: where nothing tells the reference, it is the first.
    warn : callable
        Takes a line about each choice that a user may want to be another, and what is left out.

    Raises
    ------
    ArgumentError
        If there is nothing to compare, no reference can be told, or one is of another model.
    """
    models: dict[str | None, list[FeatureStore]] = {}
    for store in stores:
        models.setdefault(store.model_id, []).append(store)
    named = _by_model(references, models)
    groups: list[list[FeatureStore]] = []
    for model, members in models.items():
        reference = named.get(model, named.get(None))
        if reference is not None:
            groups.append(_without_twins([reference, *members], warn))
            continue
        for split in dict.fromkeys(store.facts["split"] for store in members):
            here = [store for store in members if store.facts["split"] == split]
            first = _reference(here, members, by_hand, warn) if len(members) > 1 else members[0]
            groups.append(_without_twins([first, *here], warn))
    found = [group for group in groups if len(group) > 1]
    if not found:
        count = "one feature store" if len(stores) == 1 else f"{len(stores)} feature stores"
        raise ArgumentError(
            f"{count} given, and nothing to compare; name a reference and at least one other of "
            "the same model"
        )
    for group in groups:
        if len(group) == 1:
            warn(f"{group[0].where}: no other store of its model and split, so it is left out")
    return found


def _by_model(
    references: Sequence[FeatureStore], models: Mapping[str | None, Sequence[FeatureStore]]
) -> dict[str | None, FeatureStore]:
    named: dict[str | None, FeatureStore] = {}
    for store in references:
        if store.model_id is not None and store.model_id not in models:
            known = sorted({str(m.facts["model"]) for group in models.values() for m in group})
            raise ArgumentError(
                f"--reference {store.where}: is of model {store.facts['model']}, id "
                f"{store.model_id}, and the stores are of others ({', '.join(known)}); features of "
                "different models cannot be compared"
            )
        if store.model_id in named:
            raise ArgumentError(
                f"--reference {store.where}: is of the same model as --reference "
                f"{named[store.model_id].where}; give one a model"
            )
        named[store.model_id] = store
    return named


def _reference(
    here: Sequence[FeatureStore],
    members: Sequence[FeatureStore],
    by_hand: bool,
    warn: Callable[[str], None],
) -> FeatureStore:
    """Choose the reference of the stores of one split, else of all of a model."""
    known = _candidates(here)
    if not known:
        known = _candidates(members)
        if len(known) == 1:
            warn(
                f"{known[0].where} ({known[0].facts['split']} images) is the reference of "
                f"{len(here)} stores of {here[0].facts['split']} images, which have none"
            )
    if len(known) == 1:
        if by_hand and known[0] is not here[0]:
            warn(
                f"{known[0].where} is the reference: it is original and of the training domain; "
                "--reference names another"
            )
        return known[0]
    why = "several" if known else "none"
    if by_hand:
        warn(
            f"{here[0].where} is taken for the reference because it comes first; {why} of the "
            "stores of its model would do (original, of the training domain); --reference names one"
        )
        return here[0]
    what = f": {', '.join(store.where for store in known[:3])}" if known else ""
    raise ArgumentError(
        f"model {here[0].facts['model'] or 'unknown'}: {why} of {len(here)} stores can be the "
        f"reference (original, of the training domain){what}; name one with --reference"
    )


def _candidates(stores: Sequence[FeatureStore]) -> list[FeatureStore]:
    """Return the stores without a shift, of the training domain as far as it is known."""
    plain = [store for store in stores if store.facts["shift"] == ShiftKind.ORIGINAL]
    first = {_key(store): store for store in reversed(plain)}
    found = [store for store in plain if first[_key(store)] is store]
    domains = {store.facts["training_domain"] for store in found} - {None}
    if len(domains) == 1:
        found = [store for store in found if store.facts["domain"] in domains]
    datasets = {store.facts["training_dataset"] for store in found} - {None}
    of_training = [store for store in found if store.dataset_id in datasets]
    return of_training or found  # the images may be of another dataset of the same domain


def _key(store: FeatureStore) -> str:
    return store.id or _address(store.place)


def _without_twins(
    stores: Sequence[FeatureStore], warn: Callable[[str], None]
) -> list[FeatureStore]:
    """Leave out what comes again: the reference among the others, stores of one content."""
    found: dict[str, FeatureStore] = {}
    for store in stores:
        known = found.setdefault(_key(store), store)
        if _address(known.place) != _address(store.place):
            warn(f"{store.where}: is the same as {known.where} (equal ids), so it is left out")
    return list(found.values())


def _check_models(first: FeatureStore, other: FeatureStore) -> None:
    if None not in (first.model_id, other.model_id) and first.model_id != other.model_id:
        raise MismatchError(
            f"{other.where} against {first.where}: features are of different models "
            f"({other.facts['model']}, id {other.model_id}, and {first.facts['model']}, id "
            f"{first.model_id}); extract both with one model"
        )


def _warn(found: Sequence[_Result], progress: Progress) -> None:
    """Say what is in the table's column ``warnings``, once for all comparisons and layers."""
    _tell_left_out(found, progress)
    cautions: list[Caution] = []
    for reference, other, design, measured in found:
        names = (f"{other.name} against {reference.name}",)
        cautions += [Caution(warning, (), names) for warning in design.warnings]
        for each in measured:
            cautions += [
                Caution(warning, (each.layer,), names) for warning in layer_warnings(each, design)
            ]
    for caution in joined(cautions):
        stretched = "outlying" in caution.text
        remedy = "; compare with --range p0.1 or --bins quantile" if stretched else ""
        progress.warn(f"{_with_more(caution.comparisons)}: {caution}{remedy}")


def _with_more(names: Sequence[str]) -> str:
    """Name the first, and count the others."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _tell_left_out(found: Sequence[_Result], progress: Progress) -> None:
    """Say which layers only one store of a pair has; alike for several pairs, once."""
    pairs: dict[tuple[str, ...], list[str]] = {}
    for reference, other, _, _ in found:
        layers = left_out(reference, other)
        if layers:
            pairs.setdefault(layers, []).append(f"{other.name} against {reference.name}")
    for layers, names in pairs.items():
        it = "it" if len(layers) == 1 else "them"
        progress.warn(
            f"{_with_more(names)}: {', '.join(layers)}: left out, as only one of the two stores "
            f"has {it}"
        )


def _making(
    out: Path, groups: Sequence[Sequence[FeatureStore]], how: _How, making: Making
) -> Making:
    inputs: dict[str, str] = {}
    for number, stores in enumerate(groups):
        mark = f"{number}." if len(groups) > 1 else ""
        roles = [f"{mark}reference", *(f"{mark}other{place}" for place in range(len(stores) - 1))]
        inputs |= {role: store.id for role, store in zip(roles, stores, strict=True) if store.id}
    asked = {**how.settings.asked, "all_pairs": how.all_pairs}
    placement = {**making.placement, "out": out}
    return replace(making, parameters=asked, placement=placement, inputs=inputs)


def _write(out: Path, making: Making, found: Sequence[_Result], overwrite: bool) -> None:
    # Stores without an id are known by what was measured between them.
    unknown = any(None in (first.id, other.id) for first, other, _, _ in found)
    values = [_values(each) for _, _, _, m in found for each in m] if unknown else []
    header = lineage(Kind.SHIFT, making, {**making.determinants, "values": values})
    with staged(out, overwrite=overwrite) as partial_out, TableWriter(partial_out, header) as table:
        for reference, other, design, measured in found:
            facts = _facts(reference, other)
            for each in measured:
                columns = columns_of(each, design)
                table.append({**facts, **columns}, len(columns["channel"]))


def _values(measured: Measured) -> list[float]:
    alone = np.array([measured.mean["value"]])
    return list(map(float, measured.channels.get("value", alone)))


def _facts(first: FeatureStore, other: FeatureStore) -> dict[str, Any]:
    model = ("model", "arch", "encoder", "pruning", "fold", "repeat", "parameter_count")
    side = ("domain", "split", "shift", "factor")
    reference = ("dataset", *side)
    return {
        "reference": first.name,
        "reference_id": first.id,
        "other": other.name,
        "other_id": other.id,
        **{name: other.facts[name] for name in model},
        "model_id": other.model_id,
        "dataset": other.facts["dataset"],
        **{f"reference_{name}": first.facts[name] for name in reference},
        **{name: other.facts[name] for name in side},
    }


def _summary(
    groups: Sequence[Sequence[FeatureStore]], settings: Settings, found: Sequence[_Result]
) -> dict[str, Any]:
    warnings = [list(design.warnings) for _, _, design, _ in found]
    paired, units = ([getattr(one[2], name) for one in found] for name in ("paired", "unit"))
    several = len(groups) > 1
    if several:
        paired, units = (list(dict.fromkeys(values)) for values in (paired, units))
        warnings = [list(dict.fromkeys(text for texts in warnings for text in texts))]
    return {
        **({"models": len({_model(group) for group in groups})} if several else {}),
        **{"pairs": len(found), "metric": [metric.value for metric in settings.metrics]},
        **{"bins": list(settings.bins), "range": settings.range_rule.value},
        "permutations": 0 if settings.literal else settings.permutations,
        **{"paired": paired, "unit": units},
        "reference": list(dict.fromkeys(group[0].name for group in groups)),
        **({"warnings": warnings} if any(warnings) else {}),
    }


def _model(group: Sequence[FeatureStore]) -> str | None:
    return group[-1].model_id


def _table(found: Sequence[_Result], settings: Settings, per_channel: bool) -> Table:
    rows: list[Mapping[str, Any]] = []
    for reference, other, design, measured in found:
        names = {"reference": reference.name, "other": other.name}
        for each in measured:
            columns = columns_of(each, design)
            for row in range(len(columns["channel"]) if per_channel else 1):
                rows.append(names | {name: _cell(columns[name], row) for name in PRINTED})
    left = set() if per_channel else {"channel"}
    if all(row["tested"] is None or math.isclose(row["tested"], row["value"]) for row in rows):
        left.add("tested")  # but for the last bit
    shown = [name for name in ("reference", "other", *PRINTED) if name not in left]
    between = f", {rows[0]['other']} against {rows[0]['reference']}" if len(found) == 1 else ""
    design = found[0][2]
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


# -------------------------------------------------------------------------------------------------
# Compare anybody's features: arrays in, a shift table out. Nothing is read or written.


Word = TypeVar("Word", bound=StrEnum)


def compare_features(
    reference: Any,  # noqa: ANN401 - whatever NumPy takes for an array
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
    """Measure how far two sets of features are apart, layer by layer and channel by channel.

    Works on the features of any network: nothing here knows of U-nets.

    Parameters
    ----------
    reference, other : array, or mapping of str to array, shapes (N, D) or (N, D, K)
        Float features of N images in D channels, K vectors an image. N may differ between the
        two; the layers of a mapping and their channels may not.
    metrics : str or sequence of str
        Names out of :class:`skiptool.names.Metric`.
    bins : int or sequence of int
        B; several are counted once.
    range_rule : str
        ``minmax`` (eqs. (6) and (7)), ``p0.1``, ``reference`` or ``quantile``.
    permutations : int
        Relabellings behind the null; 0 leaves it out.
    groups : pair of sequences, optional
        Group (patient, slide) of each image of either set: the unit of statistics. Without it
        images are taken to be independent.
    paired : bool
        Image i (or the group of one name) of both sets belongs together.
    seed : int
    workers : int, optional
        Threads; all cores by default.

    Returns
    -------
    pyarrow.Table
        Columns of a shift table (``skiptool.stores.tables.SHIFT``): for each metric and number
        of bins a row a layer, whose ``channel`` is null, and a row a channel. ``covariance``,
        ``classifier`` and ``paired-difference`` (which needs ``paired``) have no rows of channels.
        What a reader must know of the numbers of a layer is in the column ``warnings``.

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
    names = (metrics,) if isinstance(metrics, str) else metrics
    settings = Settings(
        metrics=tuple(_known(name, Metric) for name in names),
        bins=tuple(np.atleast_1d(bins).tolist()),
        range_rule=_known(range_rule, RangeRule),
        permutations=permutations,
        group=None if groups is None else "group",
        paired=paired,
        seed=seed,
        workers=available_cores() if workers is None else workers,
    )
    mine, theirs = groups or (None, None)
    sets = [
        as_activations(reference, "reference", mine),
        as_activations(other, "other", theirs),
    ]
    missing, extra = (
        ", ".join(name for name in one.layers if name not in two.layers) or "none"
        for one, two in (sets, sets[::-1])
    )
    if left_out(*sets):  # nobody reads a warning of a function
        raise MismatchError(
            f"other against reference: layers differ (missing: {missing}; extra: {extra}); give "
            "both the same layers"
        )
    mapper = partial(threaded, workers=settings.workers)
    (design,), (measured,) = measure_pairs(sets, [(0, 1)], settings, mapper)
    columns: dict[str, list[Any]] = {"reference": [], "other": []}
    for each in in_order(measured, settings):
        made = columns_of(each, design)
        rows = len(made["channel"])
        for name, values in made.items():
            column = values if isinstance(values, list) else [values] * rows
            columns.setdefault(name, []).extend(column)
    size = len(columns["layer"])
    columns["reference"], columns["other"] = ["reference"] * size, ["other"] * size
    return as_table(Kind.SHIFT, columns, size)


def _known(word: str, vocabulary: type[Word]) -> Word:
    if word not in list(vocabulary):
        raise ArgumentError(
            f"{word!r}: expected one of {', '.join(vocabulary)}{near(str(word), vocabulary)}"
        )
    return vocabulary(word)
