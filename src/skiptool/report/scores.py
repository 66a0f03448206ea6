"""Scores: matrices of IoU by shift (Fig. 7) and by domain (Fig. 9), and parameters (Table II)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.figures.heatmap import Column, Row, difference_matrix, difference_scale, iou_matrix
from skiptool.figures.style import in_paper_order
from skiptool.metrics import Score, mean_and_spread
from skiptool.names import ENSEMBLE_FOLD, Kind, ShiftKind
from skiptool.records import Shade, Shift, Table, architecture_family
from skiptool.report.exhibit import Cell, Exhibit, group_by, nan_to_none
from skiptool.report.wording import (
    Training,
    capitalised,
    iou_name,
    most_trainings,
    number_range,
    split_suffix,
    tied_with,
)

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64
    from skiptool.report.exhibit import Number

_MAX_SENTENCES: Final = 12  # of more rows, the extremes are listed
_BASELINE: Final = "baseline"
_ENSEMBLE: Final = (
    " Ensemble: the mean of the class probabilities of all trainings, shown as another network."
)

_Sizes: TypeAlias = Mapping[tuple[str, str, str], tuple[int, int]]
"""Samples and subjects by id of the dataset, domain and split."""

_Columns: TypeAlias = Mapping[Shift | str, Column]
_ByTraining: TypeAlias = Mapping[Training, float]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreGrid:
    """Rows and columns of a matrix, as labels and as columns of the table ``report``.

    Attributes
    ----------
    column_kind : str
        ``shift`` or ``domain``.
    rows : tuple of Row, length R
    columns : tuple of Column, length C
    row_facts, column_facts : tuple of mapping, lengths R and C
        Columns of the table ``report`` that identify a row or a column.
    """

    column_kind: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    row_facts: tuple[Number, ...]
    column_facts: tuple[Number, ...]

    def row_names(self) -> list[str]:
        """Name each row."""
        return [f"{row.group} {row.label}" for row in self.rows]

    def column_names(self) -> list[str]:
        """Name each column."""
        return [f"{column.block} {column.label}".strip() for column in self.columns]

    def table(self, title: str, values: Float64, *, differences: bool = False) -> Table:
        """Return scores or differences (R, C) as a table, with a column for each architecture."""
        cells: dict[str, list[Cell]] = {self.column_kind: [*self.column_names()]}
        for name, row in zip(self.row_names(), values.tolist(), strict=True):
            cells[name] = [nan_to_none(value) for value in row]
        shade = Shade.of([*cells.values()][1:], diverging=True) if differences else Shade(0.0, 1.0)
        groups = tuple(dict.fromkeys(row.group for row in self.rows))
        return Table(title, cells, shade=shade, groups=groups)

    def numbers(
        self, quantity: str, values: Float64, spread: Float64, counts: Int64
    ) -> list[Number]:
        """Return values (R, C), their spread over trainings and the number of trainings as rows."""
        return [
            {
                "quantity": quantity,
                **row,
                **column,
                "value": float(values[r, c]),
                "sd_folds": float(spread[r, c]),
                "folds": int(counts[r, c]),
            }
            for r, row in enumerate(self.row_facts)
            for c, column in enumerate(self.column_facts)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMatrix:
    """Mean IoU of architectures by shift or domain, or its difference to the baseline.

    Attributes
    ----------
    measure : str
        Name of the score: ``cell IoU``.
    grid : ScoreGrid
        R rows and C columns.
    values, spread : float64 (R, C)
        Mean and standard deviation over trainings. The mean is NaN without a value, the deviation
        also with a single one.
    counts : int64 (R, C)
        Trainings behind each value.
    by_training : mapping of (row, column) to mapping of (fold, repeat) to float
        Values behind each mean. Models with the same fold and repeat, or with neither, are averaged
        to one value.
    trainings : int
        Largest number of trainings behind a value.
    images : str
        Sample size, ``24 samples of 12 subjects``; empty if unknown.
    """

    title: str
    caption: str
    measure: str
    grid: ScoreGrid
    values: Float64
    spread: Float64
    counts: Int64
    by_training: Mapping[tuple[int, int], _ByTraining]
    trainings: int
    images: str = ""


def score_exhibits(scores: Sequence[Score], sizes: _Sizes | None = None) -> list[Exhibit]:
    """Show IoU by shift and by domain, each followed by its difference to the baseline, if any.

    Parameters
    ----------
    sizes : mapping of (dataset id, domain, split) to (samples, subjects), optional
    """
    exhibits = []
    for matrix in (*matrices_by_shift(scores, sizes), *matrices_by_domain(scores, sizes)):
        exhibits.append(iou_exhibit(matrix))
        difference = difference_to_baseline(matrix)
        if difference is not None:
            exhibits.append(difference_exhibit(difference, matrix.title))
    return exhibits


def shift_order(shift: Shift) -> tuple[int, float]:
    """Return a sort key: the original, then kinds in the order of `ShiftKind`, by factor."""
    return list(ShiftKind).index(shift.kind), shift.factor or 0.0


def shift_column(shift: Shift) -> Column:
    """Label a shift by its factor within the block of its kind; the original has no block.

    Examples
    --------
    >>> shift_column(Shift.parse("brightness=0.5"))
    Column(label='0.5', block='brightness')
    """
    if shift.factor is None:
        return Column("original", "")
    return Column(f"{shift.factor:g}", shift.kind.value)


# The matrix of IoU.


def iou_exhibit(matrix: ScoreMatrix) -> Exhibit:
    """Show mean IoU, with the spread below each value if there are several trainings."""
    grid, title = matrix.grid, matrix.title
    spread = matrix.spread if matrix.trainings > 1 else None
    return Exhibit(
        topic="iou",
        heading=title,
        title=title,
        caption=matrix.caption,
        sentences=_lowest_scores(matrix),
        table=grid.table(f"{matrix.measure}: {title}", matrix.values),
        numbers=grid.numbers("IoU", matrix.values, matrix.spread, matrix.counts),
        draw=lambda: iou_matrix(
            matrix.values, grid.rows, grid.columns, spread=spread, label=matrix.measure
        ),
        sources=(Kind.PREDICTIONS,),
    )


def _lowest_scores(matrix: ScoreMatrix) -> list[str]:
    """State the first and the lowest score of each architecture."""
    values, grid = matrix.values, matrix.grid
    if values.shape[1] < 2 or np.isnan(values[:, 0]).all():
        return []
    lowest = [(r, int(np.nanargmin(v))) for r, v in enumerate(values) if not np.isnan(v[0])]
    if len(lowest) > _MAX_SENTENCES:
        lowest = _extremes(matrix, lowest)
    rows, columns = grid.row_names(), grid.column_names()
    sentences = []
    for r, c in lowest:
        tied = sorted([c, *tied_with(c, values[r].tolist())])
        names = ", ".join(columns[index] for index in tied)
        sentences.append(
            f"{rows[r]}: {values[r, 0]:.2f} ({columns[0]}), lowest {values[r, c]:.2f} ({names})."
        )
    return sentences


def _extremes(matrix: ScoreMatrix, lowest: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Select the baseline of each family, and its rows with the lowest and highest minimum."""
    rows = matrix.grid.rows
    selected = set()
    for cells in group_by(lowest, lambda cell: rows[cell[0]].group).values():
        selected |= {cell for cell in cells if rows[cell[0]].label == _BASELINE}
        selected.add(min(cells, key=matrix.values.__getitem__))
        selected.add(max(cells, key=matrix.values.__getitem__))
    return sorted(selected)


def matrices_by_shift(scores: Sequence[Score], sizes: _Sizes | None = None) -> list[ScoreMatrix]:
    """Make a matrix for each dataset, domain and split that has shifted images."""
    matrices = []
    groups = group_by(scores, lambda score: (score.dataset_id, score.domain, score.split))
    for (_, domain, split), group in groups.items():
        shifts = sorted({score.shift for score in group}, key=shift_order)
        if len(shifts) > 1 or shifts[0].kind is not ShiftKind.ORIGINAL:
            columns: _Columns = {shift: shift_column(shift) for shift in shifts}
            title = f"IoU under shift, {domain}{split_suffix(split)}"
            matrices.append(_matrix(group, title, "shift", columns, sizes or {}))
    return matrices


def matrices_by_domain(scores: Sequence[Score], sizes: _Sizes | None = None) -> list[ScoreMatrix]:
    """Make a matrix of unshifted images by domain for each dataset and split.

    Datasets on which the same networks were tested share a matrix. A single domain that has a
    matrix by shift is left out.
    """
    matrices = []
    scores, sizes = _merge_datasets(scores, sizes or {})
    plain = [score for score in scores if score.shift.kind is ShiftKind.ORIGINAL]
    shifted = {
        (score.dataset_id, score.domain)
        for score in scores
        if score.shift.kind is not ShiftKind.ORIGINAL
    }
    groups = group_by(plain, lambda score: (score.dataset_id, score.split))
    for (dataset_id, split), group in groups.items():
        domains = sorted({score.domain for score in group})
        if len(domains) > 1 or (dataset_id, domains[0]) not in shifted:
            columns: _Columns = {domain: Column(domain) for domain in domains}
            title = f"IoU by domain, {group[0].dataset}{split_suffix(split)}"
            matrices.append(_matrix(group, title, "domain", columns, sizes))
    return matrices


def _merge_datasets(scores: Sequence[Score], sizes: _Sizes) -> tuple[list[Score], _Sizes]:
    """Give datasets on which the same networks were tested one name and id, in scores and sizes.

    A domain that several of them have is followed by the name of its dataset.
    """
    connected: dict[str, set[str]] = {}
    for tested in group_by(scores, lambda score: (score.model_id, *score.classes)).values():
        ids = [score.dataset_id for score in tested]
        union = set().union(*(connected.get(dataset, {dataset}) for dataset in ids))
        connected |= dict.fromkeys(union, union)
    names = _dataset_names(scores)
    first = {
        dataset: next(other for other in names if other in connected[dataset]) for dataset in names
    }
    members = group_by(names, first.__getitem__)
    owners: dict[tuple[str, str], set[str]] = {}
    for score in scores:
        owners.setdefault((first[score.dataset_id], score.domain), set()).add(score.dataset_id)

    def unique_domain(dataset: str, domain: str) -> str:
        shared = len(owners[first[dataset], domain]) > 1
        return f"{domain} ({names[dataset]})" if shared else domain

    merged_scores = [
        replace(
            score,
            dataset=" and ".join(names[member] for member in members[first[score.dataset_id]]),
            dataset_id=first[score.dataset_id],
            domain=unique_domain(score.dataset_id, score.domain),
        )
        for score in scores
    ]
    merged_sizes = {
        (first[dataset], unique_domain(dataset, domain), split): size
        for (dataset, domain, split), size in sizes.items()
        if dataset in first and (first[dataset], domain) in owners
    }
    return merged_scores, merged_sizes


def _dataset_names(scores: Sequence[Score]) -> dict[str, str]:
    """Name datasets by id, numbering those of the same name."""
    names: dict[str, str] = {}
    for score in scores:
        namesakes = sum(name.partition(" (")[0] == score.dataset for name in names.values())
        number = f" ({namesakes + 1})" if namesakes else ""
        names.setdefault(score.dataset_id, score.dataset + number)
    return names


def _matrix(
    group: Sequence[Score], title: str, column_kind: str, columns: _Columns, sizes: _Sizes
) -> ScoreMatrix:
    rows = _rows(group)
    cells: dict[tuple[Row, Shift | str], dict[str, Score]] = {}
    for score in group:
        key = (Row(score.network, score.family), getattr(score, column_kind))
        # By id, so that a model measured in two tables counts once.
        cells.setdefault(key, {})[score.model_id] = score
    models = [[[*cells.get((row, key), {}).values()] for key in columns] for row in rows]
    mean, spread, counts = _statistics(
        [[[score.miou for score in cell] for cell in row] for row in models]
    )
    measure, images = iou_name(group[0].classes), _images(group, sizes)
    return ScoreMatrix(
        title=title,
        caption=_caption(group, measure, [[*cell.values()] for cell in cells.values()], images),
        measure=measure,
        grid=ScoreGrid(
            column_kind,
            tuple(rows),
            tuple(columns.values()),
            tuple(rows.values()),
            tuple(_column_facts(group[0], key) for key in columns),
        ),
        values=mean,
        spread=spread,
        counts=counts,
        by_training={
            (r, c): _by_training(cell) for r, row in enumerate(models) for c, cell in enumerate(row)
        },
        trainings=max(map(len, cells.values())),
        images=images,
    )


def _statistics(cells: Sequence[Sequence[Sequence[float]]]) -> tuple[Float64, Float64, Int64]:
    """Return mean, spread and number (R, C) of the values in each cell, NaN not counted."""
    stats = np.array([[mean_and_spread(cell) for cell in row] for row in cells])
    counts = np.array([[len(cell) - int(np.isnan(cell).sum()) for cell in row] for row in cells])
    return stats[..., 0], stats[..., 1], counts


def _rows(group: Sequence[Score]) -> dict[Row, Number]:
    """Return rows with their facts, in the order of families and of the paper's prunings."""
    facts: dict[Row, Number] = {
        Row(score.network, score.family): {
            "arch": score.arch,
            "encoder": score.encoder,
            "pruning": score.pruning,
            "fold": ENSEMBLE_FOLD if score.fold == ENSEMBLE_FOLD else None,
        }
        for score in group
    }
    families = list(dict.fromkeys(score.family for score in group))
    prunings = in_paper_order(score.pruning for score in group)

    def rank(row: Row) -> tuple[int, int, str]:
        pruning = prunings.index(str(facts[row]["pruning"]))
        return families.index(row.group), pruning, row.label

    return {row: facts[row] for row in sorted(facts, key=rank)}


def _column_facts(first: Score, key: Shift | str) -> Number:
    domain = key if isinstance(key, str) else first.domain
    shift = first.shift if isinstance(key, str) else key
    return {
        "dataset": first.dataset,
        "domain": domain,
        "split": first.split,
        "shift": shift.kind.value,
        "factor": shift.factor,
    }


def _by_training(models: Sequence[Score]) -> dict[Training, float]:
    groups = group_by(models, lambda score: (score.fold, score.repeat))
    return {
        training: mean_and_spread([score.miou for score in group])[0]
        for training, group in groups.items()
    }


def _images(group: Sequence[Score], sizes: _Sizes) -> str:
    """Count the samples and subjects of the domains."""
    keys = dict.fromkeys((score.dataset_id, score.domain, score.split) for score in group)
    counts = [sizes[key] for key in keys if key in sizes]
    if not counts:
        return ""
    samples, subjects = (number_range(numbers, ",") for numbers in zip(*counts, strict=True))
    return f"{samples} samples of {subjects} subjects{' per domain' if len(counts) > 1 else ''}"


def _caption(
    group: Sequence[Score], measure: str, cells: Sequence[Sequence[Score]], images: str
) -> str:
    first = group[0]
    classes = f" (mean of {', '.join(first.classes)})" if len(first.classes) > 1 else ""
    trainings = [
        [(score.fold, score.repeat) for score in cell]
        for cell in cells
        if cell[0].fold != ENSEMBLE_FOLD
    ]
    averaged = (
        f"mean over {most_trainings(trainings)}, standard deviation between trainings below it"
        if max(map(len, trainings), default=1) > 1
        else "one training, hence no spread"
    )
    ensemble = _ENSEMBLE if any(score.network != score.pruning for score in group) else ""
    return (
        f"{capitalised(measure)}{classes} from confusion counts accumulated over the "
        f"{first.split} samples of {first.dataset}{f' (n = {images})' if images else ''}; "
        f"{averaged}. Rows: architectures, by the number "
        f"of uppermost skip connections removed.{ensemble}"
    )


# The matrix of differences to the baseline.


def difference_exhibit(matrix: ScoreMatrix, heading: str) -> Exhibit:
    """Show differences in IoU, in the section of the matrix that they follow."""
    grid = matrix.grid
    spread = None if np.isnan(matrix.spread).all() else matrix.spread
    return Exhibit(
        topic="difference",
        heading=heading,
        title=matrix.title,
        caption=matrix.caption,
        sentences=_extreme_differences(matrix),
        table=grid.table(
            f"Difference in {matrix.measure}: {heading}", matrix.values, differences=True
        ),
        numbers=grid.numbers("difference", matrix.values, matrix.spread, matrix.counts),
        draw=lambda: difference_matrix(
            matrix.values, grid.rows, grid.columns, spread=spread, label=f"Δ {matrix.measure}"
        ),
        sources=(Kind.PREDICTIONS,),
    )


def _extreme_differences(matrix: ScoreMatrix) -> list[str]:
    """State the highest and lowest difference of each family."""
    scale = difference_scale(matrix.values)
    rows, columns = matrix.grid.rows, matrix.grid.column_names()
    sentences = []
    for group in dict.fromkeys(row.group for row in rows):
        members = np.array([[row.group == group] for row in rows])
        values = np.where(members, matrix.values, np.nan)
        if np.isnan(values).all():
            continue
        extremes = []
        for word, index in (("highest", np.nanargmax(values)), ("lowest", np.nanargmin(values))):
            r, c = np.unravel_index(index, values.shape)
            value = scale.written(float(values[r, c]))
            tied = len(tied_with(int(index), values.ravel().tolist()))
            more = f" and {tied} more" if tied else ""
            extremes.append(f"{word} {value} for {rows[int(r)].label} ({columns[int(c)]}){more}")
        subject = f"{group}, difference to the baseline" if group else "Difference to the baseline"
        sentences.append(f"{subject}: {', '.join(extremes)}.")
    return sentences


def difference_to_baseline(matrix: ScoreMatrix) -> ScoreMatrix | None:
    """Subtract from each row the baseline of its family, or that baseline's ensemble.

    Networks of the same fold and repeat are compared, then averaged. Rows without a baseline are
    left out. None if no difference can be computed.
    """
    pairs = _baseline_pairs(matrix.grid)
    by_training = {
        (r, c): _differences(matrix.by_training[row, c], matrix.by_training[baseline, c])
        for r, (row, baseline) in enumerate(pairs)
        for c in range(len(matrix.grid.columns))
    }
    if all(np.isnan(value) for cell in by_training.values() for value in cell.values()):
        return None
    cells = [
        [[*by_training[r, c].values()] for c in range(len(matrix.grid.columns))]
        for r in range(len(pairs))
    ]
    values, spread, counts = _statistics(cells)
    trainings = int(counts.max())
    return ScoreMatrix(
        title=f"Difference to the baseline: {matrix.title}",
        caption=_difference_caption(matrix.measure, values, trainings, matrix.images),
        measure=matrix.measure,
        grid=replace(
            matrix.grid,
            rows=tuple(matrix.grid.rows[row] for row, _ in pairs),
            row_facts=tuple(matrix.grid.row_facts[row] for row, _ in pairs),
        ),
        values=values,
        spread=spread,
        counts=counts,
        by_training=by_training,
        trainings=trainings,
        images=matrix.images,
    )


def _baseline_pairs(grid: ScoreGrid) -> list[tuple[int, int]]:
    """Return the index of each row that has a baseline, and of that baseline."""
    keys = [(facts["arch"], facts["encoder"], facts["fold"]) for facts in grid.row_facts]
    baselines = {
        key: row
        for row, (key, facts) in enumerate(zip(keys, grid.row_facts, strict=True))
        if facts["pruning"] == _BASELINE
    }
    return [
        (row, baselines[key])
        for row, key in enumerate(keys)
        if key in baselines and baselines[key] != row
    ]


def _differences(pruned: _ByTraining, baseline: _ByTraining) -> _ByTraining:
    return {key: value - baseline[key] for key, value in pruned.items() if key in baseline}


def _difference_caption(measure: str, values: Float64, trainings: int, images: str) -> str:
    averaged = (
        f"mean over {trainings} trainings, standard deviation of their differences below it"
        if trainings > 1
        else "one training of each, hence no spread"
    )
    scale = difference_scale(values)
    low, _, high = map(scale.written, scale.ticks)
    return (
        f"{capitalised(measure)} of the pruned network minus that of the baseline of "
        f"the same encoder, fold, repeat, domain and shift"
        f"{f', n = {images}' if images else ''}; {averaged}. Blue: better than the "
        f"baseline, red: worse. The colour scale ends at {low} and {high}, the largest difference."
    )


# Table II: trainable parameters.


def parameter_exhibits(counts: Mapping[tuple[str, str, str], int]) -> list[Exhibit]:
    """Show Table II of the paper, the size of each network; empty without networks.

    Parameters
    ----------
    counts : mapping of (arch, encoder, pruning) to int
        Trainable parameters of each network.
    """
    if not counts:
        return []
    by_family = {
        (architecture_family(arch, encoder), p): n for (arch, encoder, p), n in counts.items()
    }
    numbers: list[dict[str, Any]] = [
        {
            "quantity": "parameters",
            "arch": arch,
            "encoder": encoder,
            "pruning": pruning,
            "value": count,
        }
        for (arch, encoder, pruning), count in counts.items()
    ]
    exhibit = Exhibit(
        topic="parameters",
        heading="Parameters",
        title="Trainable parameters",
        caption="Trainable parameters of each network (Table II of the paper): each pruned "
        "level removes the input channels of one convolution that come from its skip connection, "
        "and nothing else.",
        sentences=_fewest_parameters(by_family),
        table=parameter_table(by_family),
        numbers=numbers,
        sources=(Kind.PREDICTIONS, Kind.SHIFT),
        printed=False,
    )
    return [exhibit]


def _fewest_parameters(by_family: Mapping[tuple[str, str], int]) -> list[str]:
    """State how many parameters the smallest network of each family saves."""
    sentences = []
    for name in dict.fromkeys(name for name, _ in by_family):
        counts = {pruning: n for (family, pruning), n in by_family.items() if family == name}
        baseline = counts.get(_BASELINE)
        if baseline is None:
            continue
        smallest = min(counts, key=counts.__getitem__)
        if counts[smallest] < baseline:
            share = 100.0 * (baseline - counts[smallest]) / baseline
            sentences.append(
                f"{name}: {smallest} has {share:.1f} % fewer parameters than the baseline."
            )
    return sentences


def parameter_table(counts: Mapping[tuple[str, str], int]) -> Table:
    """Lay out parameter counts as in Table II, with prunings as rows and encoders as columns.

    Parameters
    ----------
    counts : mapping of (family, pruning) to int
        Families keep their order; prunings are in the order of the paper.

    Examples
    --------
    >>> table = parameter_table(
    ...     {("resnet18", "L1-pruned"): 14_309_922, ("resnet18", "baseline"): 14_328_354}
    ... )
    >>> table.columns["architecture"], table.columns["resnet18"]
    (['baseline', 'L1-pruned'], [14328354, 14309922])
    """
    prunings = in_paper_order(pruning for _, pruning in counts)
    columns: dict[str, list[Cell]] = {"architecture": [*prunings]}
    for encoder in dict.fromkeys(encoder for encoder, _ in counts):
        columns[encoder] = [counts.get((encoder, pruning)) for pruning in prunings]
    return Table("Trainable parameters", columns)
