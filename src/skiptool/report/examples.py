"""Worst and median predictions, as a part of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from skiptool.errors import FormatError
from skiptool.figures.masks import (
    block_side,
    block_told,
    small_image,
    small_mask,
)
from skiptool.figures.sheets import example_sheet
from skiptool.figures.style import in_paper_order, readable
from skiptool.metrics import KEYS, Score, mean_iou, scores
from skiptool.names import ENSEMBLE_FOLD, Kind, ShiftKind
from skiptool.records import ORIGINAL, Shift, Table
from skiptool.shifts import apply
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.masks import MaskStore
from skiptool.stores.tables import MetricTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.metrics import Score
    from skiptool.records import Float64, UInt8
    from skiptool.report.exhibit import Number

__all__ = [
    "Example",
    "ExampleSheet",
    "Masked",
    "check_masks",
    "examples",
    "masked_scores",
    "sample_ious",
    "shift_told",
    "worst_and_median",
]

# -------------------------------------------------------------------------------------------------
# Predicted masks beside the tables that count them: which belong together, how each sample did.


Key: TypeAlias = tuple[str, str, str, str, float | None]
"""Id of the dataset, id of the model, domain, kind and factor of the shift."""


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """A score whose masks are there.

    Attributes
    ----------
    score : Score
    table : MetricTable
        Holds its counts, sample by sample.
    masks : MaskStore
    entry : str
        Name of the entry in it.
    size : tuple of int
        Height and width of its masks.
    """

    score: Score
    table: MetricTable
    masks: MaskStore
    entry: str
    size: tuple[int, ...]

    def has(self, sample: str) -> bool:
        """Say whether the mask of a sample is there."""
        return sample in self.masks.ids(self.entry)

    def labels(self, sample: str) -> UInt8:
        """Read the mask (H, W) of a sample that is there."""
        return self.masks.read_one(self.entry, self.masks.ids(self.entry).index(sample))


def check_masks(datasets: Sequence[DatasetStore], masks: Sequence[MaskStore]) -> None:
    """Refuse masks that were made from none of the datasets.

    Raises
    ------
    FormatError
        If there are such.
    """
    known = {store.lineage.id for store in datasets}
    for store in masks:
        if known and store.lineage.inputs.get("dataset") not in known:
            raise FormatError(
                f"{store.path}: masks predicted from another dataset than "
                f"{', '.join(str(data.path) for data in datasets)}; give the dataset that they "
                "were predicted from"
            )


def masked_scores(tables: Iterable[MetricTable], masks: Iterable[MaskStore]) -> list[Masked]:
    """Pair the scores of prediction tables with masks of the same model, data and shift.

    Each model, split of a domain and shift comes once, from the first table and store that have it.
    """
    places: dict[Key, tuple[MaskStore, str, tuple[int, ...]]] = {}
    for store in masks:
        source = store.lineage.inputs.get("dataset", "")
        for name, (facts, shape) in zip(store.names(), store.entries(), strict=True):
            found = (facts.get(part) for part in ("model_id", "domain", "shift", "factor"))
            places.setdefault((source, *found), (store, name, shape[1:]))  # type: ignore[arg-type]
    kept: dict[tuple[Key, str], Masked] = {}
    for table in tables:
        if table.lineage.kind is not Kind.PREDICTIONS:
            continue
        for score in scores(table.totals(KEYS, "pixels")):
            shift = (score.shift.kind.value, score.shift.factor)
            key = (score.dataset_id, score.model_id, score.domain, *shift)
            if key in places and (key, score.split) not in kept:
                kept[key, score.split] = Masked(score, table, *places[key])
    return list(kept.values())


def sample_ious(found: Masked, classes: Sequence[str]) -> Mapping[str, float]:
    """Mean IoU of each sample over the foreground classes, from its counts.

    Parameters
    ----------
    found : Masked
    classes : sequence of str
        Name of each label from 0.

    Returns
    -------
    mapping of sample id to float
        NaN where a sample holds no foreground, true or predicted.

    Raises
    ------
    FormatError
        If the table counts a class that is none of these.
    """
    score = found.score
    rows = found.table.where(
        {
            **{"model_id": score.model_id, "dataset_id": score.dataset_id, "domain": score.domain},
            **{"split": score.split, **_factor(score.shift), "clean_skips": None},
        }
    ).columns(("sample", "truth", "predicted", "pixels"))
    names, sample = np.unique(np.array(rows["sample"], dtype=str), return_inverse=True)
    labels = {name: label for label, name in enumerate(classes)}
    unknown = {*rows["truth"], *rows["predicted"]} - {*labels}
    if unknown:
        raise FormatError(
            f"{found.table.path}: counts a class {min(unknown)!r} that its dataset does not have; "
            "predict again"
        )
    counts = np.zeros((len(names), len(classes), len(classes)), dtype=np.int64)
    truth = np.array([labels[name] for name in rows["truth"]], dtype=np.int64)
    predicted = np.array([labels[name] for name in rows["predicted"]], dtype=np.int64)
    np.add.at(counts, (sample, truth, predicted), np.array(rows["pixels"], dtype=np.int64))
    return dict(zip(names.tolist(), mean_iou(counts).tolist(), strict=True))


def _factor(shift: Shift) -> Mapping[str, str | float | None]:
    return {"shift": shift.kind.value, "factor": shift.factor}


_SIDE: Final = 256
"""Pixels of a sample in the page."""


@dataclass(frozen=True, slots=True)
class Example:
    """A column: a sample under a shift, and why it was chosen.

    Attributes
    ----------
    index : int
        Place in the domain.
    sample, subject : str
    which : str
        ``worst`` or ``median``.
    shift : Shift
    rated : int
        Samples that it was chosen from.
    """

    index: int
    sample: str
    subject: str
    which: str
    shift: Shift
    rated: int


@dataclass(frozen=True, slots=True, eq=False)
class ExampleSheet:
    """Samples by several networks of one family, read when they are drawn.

    Attributes
    ----------
    store : DatasetStore
    networks : tuple of Score
        One a row, the first the one that samples were chosen by; its ``miou`` is not shown.
    columns : tuple of Example
    masked : tuple of R tuples of C Masked or None
        Where the predictions lie; None where there is none.
    values : float64 (R, C)
        Mean IoU of each sample; NaN without foreground or prediction.
    left_out : int
        Further networks that there was no room for.
    lowest_of : int
        Number of shifts of which the last shown has the lowest IoU.
    """

    store: DatasetStore
    networks: tuple[Score, ...]
    columns: tuple[Example, ...]
    masked: tuple[tuple[Masked | None, ...], ...]
    values: Float64
    left_out: int
    lowest_of: int
    topic: str = "examples"
    heading: str = "Worst and median predictions"

    @property
    def title(self) -> str:
        """Family, domain and split."""
        first = self.networks[0]
        return f"{first.family}, {first.domain}, {first.split}".removeprefix(", ")

    @property
    def caption(self) -> str:
        """What was chosen from how many, and how."""
        first, names = self.networks[0], self._names()
        fold = f" (fold {first.fold})" if first.fold not in (None, ENSEMBLE_FOLD) else ""
        shifts = {column.shift: column.rated for column in self.columns}
        rated = ", ".join(f"n = {number} ({shift_told(s)})" for s, number in shifts.items())
        mean = f" (mean of {', '.join(first.classes)})" if len(first.classes) > 1 else ""
        last = list(shifts)[-1]
        lowest = f" Of {self.lowest_of} shifts its IoU is lowest under {shift_told(last)}."
        further = f" Further architectures, not shown: {self.left_out}." if self.left_out else ""
        return (
            f"Samples of {first.dataset}, domain {first.domain}, {first.split} split, with the "
            f"outlines of truth and prediction: under each shift those of lowest and of median "
            f"IoU{mean} by {names[0]}{fold}, {rated}. All rows ({', '.join(names)}) show the same "
            "samples; below each stands the IoU of this sample alone."
            f"{lowest if self.lowest_of > 1 else ''}{further}{block_told(self._block())}"
        )

    def draw(self) -> Figure:
        """Read the chosen samples and what was predicted, one at a time, and draw them.

        Raises
        ------
        FormatError
            If a chunk of them is damaged.
        """
        block, domain = self._block(), self.networks[0].domain
        reader = self.store.samples(domain, [column.index for column in self.columns])
        images: list[UInt8] = []
        truths: list[UInt8] = []
        for place, column in enumerate(self.columns):
            image, truth = reader.read(place)
            images.append(small_image(apply(image, column.shift), block))
            truths.append(small_mask(truth, block))
        predicted = [
            [self._predicted(found, place, block) for place, found in enumerate(row)]
            for row in self.masked
        ]
        heads = [
            f"{column.which}, {shift_told(column.shift)}\n{column.sample}\n{column.subject}"
            if column.subject != column.sample
            else f"{column.which}, {shift_told(column.shift)}\n{column.sample}"
            for column in self.columns
        ]
        told = [
            [self._told(row, place) for place in range(len(self.columns))]
            for row in range(len(self.networks))
        ]
        names = self._names()
        return example_sheet(images, truths, predicted, self.store.classes, names, heads, told)

    def table(self) -> Table:
        """Return the IoU of each sample, architectures across."""
        cells: dict[str, list[str | int | float | None]] = {
            "chosen as": [column.which for column in self.columns],
            "shift": [shift_told(column.shift) for column in self.columns],
            "sample": [readable(column.sample) for column in self.columns],
            "subject": [readable(column.subject) for column in self.columns],
        }
        for name, row in zip(self._names(), self.values.tolist(), strict=True):
            cells[name] = [None if np.isnan(value) else value for value in row]
        return Table(f"IoU of examples: {self.title}", cells)

    def numbers(self) -> list[Number]:
        """Return the same numbers."""
        return [
            {
                **{"quantity": "IoU", "dataset": one.dataset, "domain": one.domain},
                **{"split": one.split, "arch": one.arch, "encoder": one.encoder},
                **{"pruning": one.pruning, "fold": one.fold, "shift": column.shift.kind.value},
                **{"factor": column.shift.factor, "sample": column.sample},
                **{"subject": column.subject, "value": value},
            }
            for one, row in zip(self.networks, self.values.tolist(), strict=True)
            for column, value in zip(self.columns, row, strict=True)
        ]

    def sentences(self) -> tuple[str, ...]:
        """Say in words what becomes of the worst samples in the other architectures."""
        names, found = self._names(), []
        for place, column in enumerate(self.columns):
            others = self.values[1:, place]
            if column.which != "worst" or np.isnan(others).all():
                continue
            best = 1 + int(np.nanargmax(others))
            found.append(
                f"Worst of {column.rated} samples ({shift_told(column.shift)}): "
                f"{readable(column.sample)}, {names[0]} {self.values[0, place]:.2f}, best of the "
                f"others {names[best]} {self.values[best, place]:.2f}."
            )
        return tuple(found)

    def _names(self) -> list[str]:
        folds = {network.fold for network in self.networks}
        shared = len(folds) == 1 and folds != {ENSEMBLE_FOLD}
        return [_named(network, shared=shared) for network in self.networks]

    def _block(self) -> int:
        domain = self.store.domain(self.networks[0].domain)
        return block_side(domain.height, domain.width, _SIDE)

    def _predicted(self, found: Masked | None, place: int, block: int) -> UInt8 | None:
        if found is None:
            return None
        return small_mask(found.labels(self.columns[place].sample), block)

    def _told(self, row: int, place: int) -> str:
        if self.masked[row][place] is None:
            return "not predicted"
        value = self.values[row, place]
        return "no foreground" if np.isnan(value) else f"IoU {value:.3f}"


def shift_told(shift: Shift) -> str:
    """Write a shift for people.

    Examples
    --------
    >>> shift_told(Shift.parse("brightness=0.50")), shift_told(Shift.parse("original"))
    ('brightness 0.5', 'original')
    """
    if shift.kind is ShiftKind.ORIGINAL or shift.factor is None:
        return "original"
    return f"{shift.kind.value} {shift.factor:g}"


def _named(network: Score, *, shared: bool) -> str:
    if shared or network.fold in (None, ENSEMBLE_FOLD):
        return network.network
    return f"{network.pruning}, fold {network.fold}"


# -------------------------------------------------------------------------------------------------
# Choose which predictions the report shows: the worst and the median of the unpruned network.


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
