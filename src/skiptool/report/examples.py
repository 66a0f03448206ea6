"""Examples: the worst and the median predictions of each family of networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.errors import FormatError
from skiptool.figures.masks import block_note, block_side, small_image, small_mask
from skiptool.figures.sheets import example_sheet
from skiptool.figures.style import in_paper_order, label_text
from skiptool.metrics import GROUP_COLUMNS, Score, mean_iou, scores
from skiptool.names import ENSEMBLE_FOLD, Kind
from skiptool.records import ORIGINAL, Shift, Table
from skiptool.report.exhibit import Cell, Exhibit, group_by, nan_to_none
from skiptool.report.wording import shift_text
from skiptool.shifts import apply_shift
from skiptool.stores.dataset import DatasetStore
from skiptool.stores.masks import MaskStore
from skiptool.stores.tables import MetricTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Float64, UInt8
    from skiptool.report.exhibit import Number

_MAX_ROWS: Final = 6
_MAX_SHEETS: Final = 6
_MAX_SIDE: Final = 256  # pixels of a sample in the page


@dataclass(frozen=True, slots=True, eq=False)
class MaskedScore:
    """A score and the predicted masks that it was computed from.

    Attributes
    ----------
    table : MetricTable
        Contains its counts by sample.
    entry : str
        Name of the entry of ``masks``.
    size : tuple of int
        Height and width of the masks.
    """

    score: Score
    table: MetricTable
    masks: MaskStore
    entry: str
    size: tuple[int, ...]

    def has(self, sample: str) -> bool:
        """Return whether a sample has a mask."""
        return sample in self.masks.ids(self.entry)

    def labels(self, sample: str) -> UInt8:
        """Read the mask (H, W) of a sample."""
        return self.masks.read_one(self.entry, self.masks.ids(self.entry).index(sample))


_Network: TypeAlias = Mapping[Shift, MaskedScore]
"""Masks of one model by shift."""


@dataclass(frozen=True, slots=True)
class Example:
    """A sample under a shift, one column of a sheet.

    Attributes
    ----------
    index : int
        Index in the domain of the dataset.
    rank : str
        ``worst`` or ``median``.
    rated : int
        Number of samples it was chosen from.
    """

    index: int
    sample: str
    subject: str
    rank: str
    shift: Shift
    rated: int


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Samples chosen for a sheet, with predictions of networks of one family.

    Attributes
    ----------
    networks : tuple of Score, length R
        One for each row. The samples were chosen by the scores of the first.
    columns : tuple of Example, length C
    masked : tuple of R tuples of C MaskedScore or None
        Predictions; None where a sample was not predicted.
    values : float64 (R, C)
        Mean IoU of each sample; NaN without foreground or prediction.
    left_out : int
        Number of further networks, which are not shown.
    lowest_of : int
        Number of shifts from which that of the last column was chosen for its lowest IoU.
    """

    store: DatasetStore
    networks: tuple[Score, ...]
    columns: tuple[Example, ...]
    masked: tuple[tuple[MaskedScore | None, ...], ...]
    values: Float64
    left_out: int
    lowest_of: int


def example_exhibits(
    tables: Sequence[MetricTable], datasets: Sequence[DatasetStore], masks: Sequence[MaskStore]
) -> tuple[list[Exhibit], list[str]]:
    """Show example predictions of each family, domain and split that has masks and images.

    Parameters
    ----------
    tables : sequence of MetricTable
        Tables of other kinds than predictions are ignored.

    Returns
    -------
    exhibits : list of Exhibit
        At most six.
    warnings : list of str
        Reasons why examples could not be shown.
    """
    chosen, warnings = choose_examples(tables, datasets, masks)
    return [example_exhibit(sheet) for sheet in chosen], warnings


def choose_examples(
    tables: Sequence[MetricTable], datasets: Sequence[DatasetStore], masks: Sequence[MaskStore]
) -> tuple[list[Examples], list[str]]:
    """Choose the samples and networks of :func:`example_exhibits`, with the same warnings."""
    if not masks:
        return [], []
    if not datasets:
        names = ", ".join(store.name for store in masks)
        return [], [f"{names}: no examples are drawn, the images are missing; give the dataset too"]
    check_masks(datasets, masks)
    stores = {store.lineage.id: store for store in datasets}
    candidates = [
        masked for masked in masked_scores(tables, masks) if masked.score.dataset_id in stores
    ]
    used = {masked.masks.path for masked in candidates}
    warnings = [
        f"{store.name}: no examples are drawn, no prediction table has its models and shifts; "
        "give the table that was made with it"
        for store in masks
        if store.path not in used
    ]

    def key(masked: MaskedScore) -> tuple[str, str, str, str]:
        score = masked.score
        return score.dataset_id, score.domain, score.split, score.family

    sheets: list[Examples] = []
    for (dataset_id, domain, split, family), group in group_by(candidates, key).items():
        sheet = _choose(stores[dataset_id], group)
        name = ", ".join(part for part in (family, domain, split) if part)
        if isinstance(sheet, str):
            warnings.append(f"examples of {name}: {sheet}")
        elif len(sheets) == _MAX_SHEETS:
            warnings.append(f"examples of {name} are left out, {_MAX_SHEETS} sheets are shown")
        else:
            sheets.append(sheet)
    return sheets, warnings


# Predicted masks and the tables that count them.


def check_masks(datasets: Sequence[DatasetStore], masks: Sequence[MaskStore]) -> None:
    """Raise `FormatError` if masks were predicted from none of the datasets."""
    known = {store.lineage.id for store in datasets}
    for store in masks:
        if known and store.lineage.inputs.get("dataset") not in known:
            raise FormatError(
                f"{store.path}: masks predicted from another dataset than "
                f"{', '.join(str(data.path) for data in datasets)}; give the dataset that they "
                "were predicted from"
            )


def masked_scores(tables: Iterable[MetricTable], masks: Iterable[MaskStore]) -> list[MaskedScore]:
    """Pair the scores of prediction tables with masks of the same model, data and shift.

    Each model, split of a domain and shift occurs once, from the first table and store with it.
    """
    entries: dict[tuple[Any, ...], tuple[MaskStore, str, tuple[int, ...]]] = {}
    for store in masks:
        source = store.lineage.inputs.get("dataset", "")
        for name, (facts, shape) in zip(store.names(), store.entries(), strict=True):
            predicted = (facts.get(key) for key in ("model_id", "domain", "shift", "factor"))
            entries.setdefault((source, *predicted), (store, name, shape[1:]))
    paired: dict[tuple[Any, ...], MaskedScore] = {}
    for table in tables:
        if table.lineage.kind is not Kind.PREDICTIONS:
            continue
        for score in scores(table.totals(GROUP_COLUMNS, "pixels")):
            shift = (score.shift.kind.value, score.shift.factor)
            key = (score.dataset_id, score.model_id, score.domain, *shift)
            if key in entries:
                paired.setdefault((key, score.split), MaskedScore(score, table, *entries[key]))
    return list(paired.values())


def sample_ious(masked: MaskedScore, classes: Sequence[str]) -> Mapping[str, float]:
    """Compute the mean IoU over the foreground classes of each sample from its counts.

    Parameters
    ----------
    classes : sequence of str
        Names of the labels, from 0.

    Returns
    -------
    mapping of sample id to float
        NaN for a sample without foreground, true or predicted.

    Raises
    ------
    FormatError
        If the table counts a class that is not among the labels.
    """
    score = masked.score
    rows = masked.table.where(
        {
            "model_id": score.model_id,
            "dataset_id": score.dataset_id,
            "domain": score.domain,
            "split": score.split,
            "shift": score.shift.kind.value,
            "factor": score.shift.factor,
            "clean_skips": None,
        }
    ).columns(("sample", "truth", "predicted", "pixels"))
    names, sample = np.unique(np.array(rows["sample"], dtype=str), return_inverse=True)
    labels = {name: label for label, name in enumerate(classes)}
    unknown = {*rows["truth"], *rows["predicted"]} - {*labels}
    if unknown:
        raise FormatError(
            f"{masked.table.path}: counts a class {min(unknown)!r} that its dataset does not have; "
            "predict again"
        )
    counts = np.zeros((len(names), len(classes), len(classes)), dtype=np.int64)
    truth = np.array([labels[name] for name in rows["truth"]], dtype=np.int64)
    predicted = np.array([labels[name] for name in rows["predicted"]], dtype=np.int64)
    np.add.at(counts, (sample, truth, predicted), np.array(rows["pixels"], dtype=np.int64))
    return dict(zip(names.tolist(), mean_iou(counts).tolist(), strict=True))


# The choice of networks, shifts and samples.


def worst_and_median(ious: Mapping[str, float]) -> tuple[list[tuple[str, str]], int]:
    """Choose the samples of lowest and of median IoU.

    Parameters
    ----------
    ious : mapping of sample id to float
        Samples with NaN are left out, ties are ordered by name.

    Returns
    -------
    chosen : list of (str, str)
        ``worst`` and ``median``, each with a sample. The median of an even number of samples is the
        lower of the two in the middle; with fewer than three samples there is only a ``worst``.
    rated : int
        Number of samples chosen from.

    Examples
    --------
    >>> worst_and_median({"a": 0.9, "b": 0.2, "c": 0.5, "d": float("nan")})
    ([('worst', 'b'), ('median', 'c')], 3)
    """
    ordered = [name for _, name in sorted((v, name) for name, v in ious.items() if not np.isnan(v))]
    chosen = [("worst", name) for name in ordered[:1]]
    if len(ordered) > 2:  # of two, the lower is the worst already
        chosen.append(("median", ordered[(len(ordered) - 1) // 2]))
    return chosen, len(ordered)


def _choose(store: DatasetStore, group: Sequence[MaskedScore]) -> Examples | str:
    """Choose the examples of a family, or return the reason why there are none."""
    networks = _networks(group)
    shown, first = networks[:_MAX_ROWS], networks[0]
    reason = _mismatch(store, group)
    if reason:
        return reason
    shifts, lowest_of = _shifts(first)
    columns: list[Example] = []
    ious: dict[Shift, list[Mapping[str, float]]] = {}
    domain = store.domain(group[0].score.domain)
    indices = {str(name): index for index, name in enumerate(domain.columns["id"])}
    subjects = domain.columns["subject"]
    for shift in shifts:
        ious[shift] = [
            sample_ious(network[shift], store.classes) if shift in network else {}
            for network in shown
        ]
        chosen, rated = worst_and_median(ious[shift][0])
        unknown = [sample for _, sample in chosen if sample not in indices]
        if unknown:
            return f"sample {unknown[0]!r} of the prediction table is not in {store.name}"
        for rank, sample in chosen:
            index = indices[sample]
            columns.append(Example(index, sample, str(subjects[index]), rank, shift, rated))
    if not columns:
        return "no sample holds foreground, true or predicted"
    values = [
        [ious[column.shift][row].get(column.sample, float("nan")) for column in columns]
        for row in range(len(shown))
    ]
    return Examples(
        store=store,
        networks=tuple(next(iter(network.values())).score for network in shown),
        columns=tuple(columns),
        masked=tuple(
            tuple(_with_mask(network.get(column.shift), column.sample) for column in columns)
            for network in shown
        ),
        values=np.array(values),
        left_out=len(networks) - len(shown),
        lowest_of=lowest_of,
    )


def _networks(group: Sequence[MaskedScore]) -> list[_Network]:
    """Choose the first fold of each pruning, or else the ensemble, in the paper's order."""
    models: dict[tuple[str, str], dict[Shift, MaskedScore]] = {}
    for masked in group:
        models.setdefault((masked.score.pruning, masked.score.model_id), {})[masked.score.shift] = (
            masked
        )
    chosen: list[_Network] = []
    for pruning in in_paper_order(name for name, _ in models):
        candidates = [network for (name, _), network in models.items() if name == pruning]
        chosen.append(min(candidates, key=_fold_order))
    return chosen


def _fold_order(network: _Network) -> tuple[bool, bool, int]:
    fold = next(iter(network.values())).score.fold
    return fold is None, fold == ENSEMBLE_FOLD, fold or 0


def _shifts(network: _Network) -> tuple[list[Shift], int]:
    """Choose the original and the shift of lowest IoU; also return the number of rated shifts."""
    rated = {
        shift: masked.score.miou
        for shift, masked in network.items()
        if shift != ORIGINAL and not np.isnan(masked.score.miou)
    }
    lowest = [min(rated, key=rated.__getitem__)] if rated else []
    return [*([ORIGINAL] if ORIGINAL in network else []), *lowest], len(rated)


def _mismatch(store: DatasetStore, group: Sequence[MaskedScore]) -> str:
    """Describe how a table or masks contradict their dataset; empty if they do not."""
    score = group[0].score
    if score.domain not in store.domains:
        return f"{store.name} has no domain {score.domain!r}"
    domain = store.domains[score.domain]
    size = (domain.height, domain.width)
    resized = [masked for masked in group if masked.size != size]
    if resized:
        height, width = resized[0].size
        return (
            f"{resized[0].masks.name} holds masks of {height} x {width} "
            f"pixels, {store.name} images of {size[0]} x {size[1]}"
        )
    unknown = [name for name in score.classes if name not in store.classes]
    return f"{store.name} has no class {unknown[0]!r}" if unknown else ""


def _with_mask(masked: MaskedScore | None, sample: str) -> MaskedScore | None:
    return masked if masked is not None and masked.has(sample) else None


# The exhibit.


def example_exhibit(chosen: Examples) -> Exhibit:
    """Show predictions by networks of one family; images are read when the figure is drawn."""
    first, names = chosen.networks[0], _names(chosen)
    title = f"{first.family}, {first.domain}, {first.split}".removeprefix(", ")
    cells: dict[str, list[Cell]] = {
        "chosen as": [column.rank for column in chosen.columns],
        "shift": [shift_text(column.shift) for column in chosen.columns],
        "sample": [label_text(column.sample) for column in chosen.columns],
        "subject": [label_text(column.subject) for column in chosen.columns],
    }
    for name, row in zip(names, chosen.values.tolist(), strict=True):
        cells[name] = [*map(nan_to_none, row)]
    return Exhibit(
        topic="examples",
        heading="Worst and median predictions",
        title=title,
        caption=_caption(chosen, names),
        sentences=_worst(chosen, names),
        table=Table(f"IoU of examples: {title}", cells),
        numbers=_numbers(chosen),
        draw=partial(_draw, chosen, names),
        sources=(Kind.DATASET, Kind.PREDICTIONS, Kind.MASKS),
    )


def _names(chosen: Examples) -> list[str]:
    """Name the networks, with their folds if they differ."""
    folds = {network.fold for network in chosen.networks}
    same_fold = len(folds) == 1 and folds != {ENSEMBLE_FOLD}
    return [
        network.network
        if same_fold or network.fold in (None, ENSEMBLE_FOLD)
        else f"{network.pruning}, fold {network.fold}"
        for network in chosen.networks
    ]


def _caption(chosen: Examples, names: Sequence[str]) -> str:
    first = chosen.networks[0]
    fold = f" (fold {first.fold})" if first.fold not in (None, ENSEMBLE_FOLD) else ""
    shifts = {column.shift: column.rated for column in chosen.columns}
    rated = ", ".join(f"n = {number} ({shift_text(s)})" for s, number in shifts.items())
    mean = f" (mean of {', '.join(first.classes)})" if len(first.classes) > 1 else ""
    last = chosen.columns[-1].shift
    lowest = f" Of {chosen.lowest_of} shifts its IoU is lowest under {shift_text(last)}."
    further = f" Further architectures, not shown: {chosen.left_out}." if chosen.left_out else ""
    return (
        f"Samples of {first.dataset}, domain {first.domain}, {first.split} split, with the "
        f"outlines of truth and prediction: under each shift those of lowest and of median "
        f"IoU{mean} by {names[0]}{fold}, {rated}. All rows ({', '.join(names)}) show the same "
        "samples; the IoU below each is that of this sample alone."
        f"{lowest if chosen.lowest_of > 1 else ''}{further}{block_note(_block(chosen))}"
    )


def _worst(chosen: Examples, names: Sequence[str]) -> list[str]:
    """State how well the other architectures segment the worst samples."""
    sentences = []
    for index, column in enumerate(chosen.columns):
        others = chosen.values[1:, index]
        if column.rank != "worst" or np.isnan(others).all():
            continue
        best = 1 + int(np.nanargmax(others))
        sentences.append(
            f"Worst of {column.rated} samples ({shift_text(column.shift)}): "
            f"{label_text(column.sample)}, {names[0]} {chosen.values[0, index]:.2f}, best of the "
            f"others {names[best]} {chosen.values[best, index]:.2f}."
        )
    return sentences


def _numbers(chosen: Examples) -> list[Number]:
    return [
        {
            "quantity": "IoU",
            "dataset": network.dataset,
            "domain": network.domain,
            "split": network.split,
            "arch": network.arch,
            "encoder": network.encoder,
            "pruning": network.pruning,
            "fold": network.fold,
            "shift": column.shift.kind.value,
            "factor": column.shift.factor,
            "sample": column.sample,
            "subject": column.subject,
            "value": value,
        }
        for network, row in zip(chosen.networks, chosen.values.tolist(), strict=True)
        for column, value in zip(chosen.columns, row, strict=True)
    ]


def _block(chosen: Examples) -> int:
    domain = chosen.store.domain(chosen.networks[0].domain)
    return block_side(domain.height, domain.width, _MAX_SIDE)


def _draw(chosen: Examples, names: Sequence[str]) -> Figure:
    """Read the chosen samples and their predictions, one at a time, and draw them."""
    block, columns = _block(chosen), chosen.columns
    reader = chosen.store.samples(chosen.networks[0].domain, [column.index for column in columns])
    images: list[UInt8] = []
    truths: list[UInt8] = []
    for index, column in enumerate(columns):
        image, truth = reader.read(index)
        images.append(small_image(apply_shift(image, column.shift), block))
        truths.append(small_mask(truth, block))
    predicted = [
        [
            None if masked is None else small_mask(masked.labels(column.sample), block)
            for masked, column in zip(row, columns, strict=True)
        ]
        for row in chosen.masked
    ]
    heads = [
        f"{column.rank}, {shift_text(column.shift)}\n{column.sample}"
        + (f"\n{column.subject}" if column.subject != column.sample else "")
        for column in columns
    ]
    notes = [
        [_note(masked, value) for masked, value in zip(*row, strict=True)]
        for row in zip(chosen.masked, chosen.values.tolist(), strict=True)
    ]
    return example_sheet(images, truths, predicted, chosen.store.classes, names, heads, notes)


def _note(masked: MaskedScore | None, value: float) -> str:
    if masked is None:
        return "not predicted"
    return "no foreground" if np.isnan(value) else f"IoU {value:.3f}"
