"""Choose which predictions the report shows: the worst and the median of the unpruned network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from skiptool.exports.examples import Example, ExampleSheet
from skiptool.exports.predicted import Masked, check_masks, masked_scores, sample_ious
from skiptool.figures.style import in_paper_order
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import ORIGINAL, Shift
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.masks import MaskStore
from skiptool.stores.tables import MetricTable

__all__ = ["examples", "worst_and_median"]

_ROWS: Final = 6
_SHEETS: Final = 6
Network: TypeAlias = Mapping[Shift, Masked]
"""Masks of one model by shift."""


def examples(
    tables: Sequence[MetricTable], datasets: Sequence[DatasetStore], masks: Sequence[MaskStore]
) -> tuple[list[ExampleSheet], list[str]]:
    """Make a sheet of examples for each family, domain and split that masks and images allow.

    Parameters
    ----------
    tables : sequence of MetricTable
        Those that hold no predictions are passed over.
    datasets : sequence of DatasetStore
    masks : sequence of MaskStore

    Returns
    -------
    sheets : list of ExampleSheet
        At most six.
    warnings : list of str
        What could not be shown, and why.

    Raises
    ------
    FormatError
        If masks were predicted from none of the datasets, or a store is damaged.
    """
    if not masks:
        return [], []
    names = ", ".join(store.name for store in masks)
    if not datasets:
        return [], [f"{names}: no examples are drawn, the images are missing; give the dataset too"]
    check_masks(datasets, masks)
    stores = {store.lineage.id: store for store in datasets}
    found = [one for one in masked_scores(tables, masks) if one.score.dataset_id in stores]
    used = {one.masks.path for one in found}
    warnings = [
        f"{store.name}: no examples are drawn, no prediction table has its models and shifts; "
        "give the table that was made with it"
        for store in masks
        if store.path not in used
    ]
    groups: dict[tuple[str, ...], list[Masked]] = {}
    for one in found:
        score = one.score
        key = (score.dataset_id, score.domain, score.split, score.family)
        groups.setdefault(key, []).append(one)
    sheets: list[ExampleSheet] = []
    for (dataset_id, domain, split, family), group in groups.items():
        sheet = _sheet(stores[dataset_id], group)
        told = ", ".join(part for part in (family, domain, split) if part)
        if isinstance(sheet, str):
            warnings.append(f"examples of {told}: {sheet}")
        elif len(sheets) == _SHEETS:
            warnings.append(f"examples of {told} are left out, {_SHEETS} sheets are shown")
        else:
            sheets.append(sheet)
    return sheets, warnings


def worst_and_median(ious: Mapping[str, float]) -> tuple[list[tuple[str, str]], int]:
    """Choose the samples of lowest and of median IoU.

    Parameters
    ----------
    ious : mapping of sample id to float
        Samples with NaN are left out; of equal ones the first by name comes first.

    Returns
    -------
    chosen : list of (str, str)
        ``worst`` and ``median`` with a sample each; of an even number the lower one of the two in
        the middle. One sample alone is ``worst``.
    rated : int
        Number of samples chosen from.

    Examples
    --------
    >>> worst_and_median({"a": 0.9, "b": 0.2, "c": 0.5, "d": float("nan")})
    ([('worst', 'b'), ('median', 'c')], 3)
    """
    ordered = sorted((iou, name) for name, iou in ious.items() if not np.isnan(iou))
    places = {"worst": 0, "median": (len(ordered) - 1) // 2}
    if len(ordered) < 3:  # the lower of two is the worst already
        places = {"worst": 0}
    return [(which, ordered[at][1]) for which, at in places.items() if ordered], len(ordered)


def _sheet(store: DatasetStore, group: Sequence[Masked]) -> ExampleSheet | str:
    """Make the sheet of a family, or say why there is none."""
    networks = _networks(group)
    shown, first = networks[:_ROWS], networks[0]
    one = next(iter(first.values())).score
    reason = _unfit(store, group)
    if reason:
        return reason
    shifts, lowest_of = _shifts(first)
    columns: list[Example] = []
    scores: dict[Shift, list[Mapping[str, float]]] = {}
    where = {str(name): at for at, name in enumerate(store.domain(one.domain).columns["id"])}
    subjects = store.domain(one.domain).columns["subject"]
    for shift in shifts:
        scores[shift] = [
            sample_ious(network[shift], store.classes) if shift in network else {}
            for network in shown
        ]
        chosen, rated = worst_and_median(scores[shift][0])
        unknown = [sample for _, sample in chosen if sample not in where]
        if unknown:
            return f"sample {unknown[0]!r} of the prediction table is not in {store.name}"
        columns += [
            Example(where[sample], sample, str(subjects[where[sample]]), which, shift, rated)
            for which, sample in chosen
        ]
    if not columns:
        return "no sample holds foreground, true or predicted"
    values = [
        [scores[column.shift][row].get(column.sample, float("nan")) for column in columns]
        for row in range(len(shown))
    ]
    masked = tuple(
        tuple(_holding(network.get(column.shift), column.sample) for column in columns)
        for network in shown
    )
    rows = tuple(next(iter(network.values())).score for network in shown)
    further = len(networks) - len(shown)
    return ExampleSheet(store, rows, tuple(columns), masked, np.array(values), further, lowest_of)


def _networks(group: Sequence[Masked]) -> list[Network]:
    """One model of each pruning in the paper's order: of the first fold, or else the ensemble."""
    models: dict[tuple[str, str], dict[Shift, Masked]] = {}
    for one in group:
        models.setdefault((one.score.pruning, one.score.model_id), {})[one.score.shift] = one
    chosen: list[Network] = []
    for pruning in in_paper_order(name for name, _ in models):
        own = [network for (name, _), network in models.items() if name == pruning]
        chosen.append(min(own, key=_fold_order))
    return chosen


def _fold_order(network: Network) -> tuple[bool, bool, int]:
    fold = next(iter(network.values())).score.fold
    return fold is None, fold == ENSEMBLE_FOLD, fold or 0


def _shifts(network: Network) -> tuple[list[Shift], int]:
    """Shifts to show: the original, and the one of lowest IoU; and of how many it is the lowest."""
    rated = {shift: one.score.miou for shift, one in network.items() if shift != ORIGINAL}
    known = [shift for shift, miou in rated.items() if not np.isnan(miou)]
    lowest = sorted(known, key=lambda shift: rated[shift])[:1]
    return [ORIGINAL] * (ORIGINAL in network) + lowest, len(known)


def _unfit(store: DatasetStore, group: Sequence[Masked]) -> str:
    """Say what of a table and masks does not fit the dataset that both name."""
    score = group[0].score
    if score.domain not in store.domains:
        return f"{store.name} has no domain {score.domain!r}"
    domain = store.domains[score.domain]
    size = (domain.height, domain.width)
    other = [one for one in group if one.size != size]
    if other:
        return (
            f"{other[0].masks.name} holds masks of {other[0].size[0]} x {other[0].size[1]} "
            f"pixels, {store.name} images of {size[0]} x {size[1]}"
        )
    unknown = [name for name in score.classes if name not in store.classes]
    if unknown:
        return f"{store.name} has no class {unknown[0]!r}"
    return ""


def _holding(one: Masked | None, sample: str) -> Masked | None:
    return one if one is not None and one.has(sample) else None
