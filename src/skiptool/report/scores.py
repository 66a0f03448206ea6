"""Matrices of IoU from scores: by shift (Fig. 7) and by domain (Fig. 9)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from skiptool.figures.heatmap import Column, Row, difference_matrix, difference_scale, iou_matrix
from skiptool.figures.style import in_paper_order
from skiptool.metrics import Score, mean_and_spread
from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import Shade, Shift, Table, family
from skiptool.report.exhibit import Shown, counted_at_most, of_split, tied_with

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Float64, Int64, Table
    from skiptool.report.exhibit import Number, Shown

__all__ = [
    "DifferenceMatrix",
    "ParameterCounts",
    "ScoreGrid",
    "ScoreMatrix",
    "Sizes",
    "by_domain",
    "by_shift",
    "difference_to_baseline",
    "parameter_exhibit",
    "parameter_table",
    "score_matrices",
    "shift_column",
    "shift_order",
]

# -------------------------------------------------------------------------------------------------
# What the matrices of scores have in common: their rows and columns, tables and numbers.


@dataclass(frozen=True, slots=True, eq=False)
class ScoreGrid:
    """Rows and columns of a matrix, for people and as columns of the table ``report``.

    Attributes
    ----------
    across : str
        What the columns are: shift, domain.
    rows : tuple of Row, length R
    columns : tuple of Column, length C
    row_facts, column_facts : tuple of mapping, lengths R and C
        Columns of the table ``report`` that say what a row and a column are of.
    """

    across: str
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
        """Return values (R, C), scores or differences, as a table, architectures across."""
        cells: dict[str, list[str | int | float | None]] = {self.across: [*self.column_names()]}
        for name, row in zip(self.row_names(), values.tolist(), strict=True):
            cells[name] = [None if math.isnan(value) else value for value in row]
        shade = Shade.of([*cells.values()][1:], diverging=True) if differences else Shade(0.0, 1.0)
        groups = tuple(dict.fromkeys(row.group for row in self.rows))
        return Table(title, cells, shade=shade, groups=groups)

    def numbers(
        self, quantity: str, values: Float64, spread: Float64, counts: Int64
    ) -> list[Number]:
        """Return values (R, C), their spread over trainings and how many these are, as rows."""
        return [
            {
                **{"quantity": quantity, **row, **column},
                **{"value": float(values[r, c]), "sd_folds": float(spread[r, c])},
                "folds": int(counts[r, c]),
            }
            for r, row in enumerate(self.row_facts)
            for c, column in enumerate(self.column_facts)
        ]


def shift_order(shift: Shift) -> tuple[int, float]:
    """Return a key to sort by: the original first, then kinds as they are named, then factors."""
    return list(ShiftKind).index(shift.kind), shift.factor or 0.0


def shift_column(shift: Shift) -> Column:
    """Label a shift by its factor in the block of its kind; the original stands apart.

    Examples
    --------
    >>> shift_column(Shift.parse("brightness=0.5"))
    Column(label='0.5', block='brightness')
    """
    if shift.factor is None:
        return Column("original", "")
    return Column(f"{shift.factor:g}", shift.kind.value)


_TOLD: Final = 12  # rows; of more, the extremes are told
Sizes: TypeAlias = Mapping[tuple[str, str, str], tuple[int, int]]
"""Samples and subjects by id of the dataset, domain and split."""

_Columns: TypeAlias = Mapping[Shift | str, Column]
_Training: TypeAlias = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMatrix:
    """A matrix of mean IoU, architectures down, shifts or domains across.

    Attributes
    ----------
    title, caption, measure : str
        ``measure`` is what the colours mean: ``cell IoU``.
    grid : ScoreGrid
        What the R rows and C columns are.
    values, spread : float64 (R, C)
        Mean and standard deviation over trainings, NaN where nothing was measured, or by one.
    counts : int64 (R, C)
        Trainings behind each value.
    by_training : mapping of (row, column) to mapping of (fold, repeat) to float
        What the values are the means of; where several models have the same fold and repeat, or
        none, their mean.
    trainings : int
        The most trainings behind a value.
    images : str
        How many they are measured on, ``24 samples of 12 subjects``; empty where nobody says.
    """

    title: str
    caption: str
    measure: str
    grid: ScoreGrid
    values: Float64
    spread: Float64
    counts: Int64
    by_training: Mapping[tuple[int, int], Mapping[_Training, float]]
    trainings: int
    images: str = ""

    @property
    def topic(self) -> str:
        """Stem of its anchor."""
        return "iou"

    @property
    def heading(self) -> str:
        """Its title; the difference to the baseline stands in the same section."""
        return self.title

    @property
    def rows(self) -> tuple[Row, ...]:
        """Architectures."""
        return self.grid.rows

    @property
    def columns(self) -> tuple[Column, ...]:
        """Shifts or domains."""
        return self.grid.columns

    @property
    def across(self) -> str:
        """What the columns are: shift, domain."""
        return self.grid.across

    def draw(self) -> Figure:
        """Draw the matrix; the spread stands below each value where there are several trainings."""
        spread = self.spread if self.trainings > 1 else None
        return iou_matrix(self.values, self.rows, self.columns, spread=spread, label=self.measure)

    def table(self) -> Table:
        """Return the same numbers as a table, architectures across."""
        return self.grid.table(f"{self.measure}: {self.title}", self.values)

    def numbers(self) -> list[Number]:
        """Return each cell as a row of the table ``report``."""
        return self.grid.numbers("IoU", self.values, self.spread, self.counts)

    def sentences(self) -> tuple[str, ...]:
        """Say in words where each architecture loses most against its own first column."""
        first = self.values[:, 0]
        if self.values.shape[1] < 2 or np.isnan(first).all():
            return ()
        names = self.grid.column_names()
        told = [(r, int(np.nanargmin(v))) for r, v in enumerate(self.values) if not np.isnan(v[0])]
        if len(told) > _TOLD:
            told = self._ends(told)
        return tuple(
            f"{self.grid.row_names()[r]}: {first[r]:.2f} ({names[0]}), lowest "
            f"{self.values[r, c]:.2f} ({', '.join(self._alike(r, c, names))})."
            for r, c in told
        )

    def _alike(self, row: int, column: int, names: Sequence[str]) -> list[str]:
        """Name the column of a row's lowest value with those of the same two digits."""
        others = tied_with(column, self.values[row].tolist())
        return [names[place] for place in sorted([column, *others])]

    def _ends(self, lowest: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Of each family keep the baseline and the rows whose lowest value is lowest, highest."""
        kept = set()
        for group in dict.fromkeys(row.group for row in self.rows):
            mine = [place for place in lowest if self.rows[place[0]].group == group]
            kept |= {place for place in mine if self.rows[place[0]].label == "baseline"}
            kept |= {end(mine, key=lambda place: self.values[place]) for end in (min, max) if mine}
        return sorted(kept)


def by_shift(found: Sequence[Score], sizes: Sizes | None = None) -> list[ScoreMatrix]:
    """Make one matrix for each dataset, domain and split in which several shifts were measured.

    Parameters
    ----------
    found : sequence of Score
    sizes : mapping of (dataset id, domain, split) to (samples, subjects), optional
    """
    matrices = []
    for group in _groups(found, lambda score: (score.dataset_id, score.domain, score.split)):
        shifts = sorted({score.shift for score in group}, key=shift_order)
        if len(shifts) > 1 or shifts[0].kind is not ShiftKind.ORIGINAL:
            columns: _Columns = {shift: shift_column(shift) for shift in shifts}
            title = f"IoU under shift, {group[0].domain}{of_split(group[0].split)}"
            matrices.append(_matrix(group, title, "shift", columns, sizes or {}))
    return matrices


def by_domain(found: Sequence[Score], sizes: Sizes | None = None) -> list[ScoreMatrix]:
    """Make one matrix for each dataset and split: unshifted images by domain.

    Datasets that the same networks were tested on share a matrix. Domains of one name in several
    of them have the name of their dataset behind their own.

    Parameters
    ----------
    found, sizes
        As in :func:`by_shift`.
    """
    matrices = []
    found, sizes = _together(found, sizes or {})
    plain = [score for score in found if score.shift.kind is ShiftKind.ORIGINAL]
    shifted = {
        (score.dataset_id, score.domain)
        for score in found
        if score.shift.kind is not ShiftKind.ORIGINAL
    }
    for group in _groups(plain, lambda score: (score.dataset_id, score.split)):
        domains = sorted({score.domain for score in group})
        if len(domains) > 1 or (group[0].dataset_id, domains[0]) not in shifted:
            columns: _Columns = {domain: Column(domain) for domain in domains}
            title = f"IoU by domain, {group[0].dataset}{of_split(group[0].split)}"
            matrices.append(_matrix(group, title, "domain", columns, sizes))
    return matrices


def _together(found: Sequence[Score], sizes: Sizes) -> tuple[list[Score], Sizes]:
    """Give datasets that share a network and the classes one name and id, and what is theirs."""
    joined: dict[str, set[str]] = {}
    for used in _groups(found, lambda score: (score.model_id, *score.classes)):
        whole = set().union(*(joined.get(score.dataset_id, {score.dataset_id}) for score in used))
        joined |= dict.fromkeys(whole, whole)
    names: dict[str, str] = {}
    for score in found:
        same = sum(name.partition(" (")[0] == score.dataset for name in names.values())
        names.setdefault(score.dataset_id, score.dataset + (f" ({same + 1})" if same else ""))
    lead = {one: next(name for name in names if name in joined[one]) for one in names}
    titles: dict[str, list[str]] = {}
    for one, first in lead.items():
        titles.setdefault(first, []).append(names[one])
    having: dict[tuple[str, str], set[str]] = {}
    for score in found:
        having.setdefault((lead[score.dataset_id], score.domain), set()).add(score.dataset_id)

    def renamed(dataset: str, domain: str) -> str:
        clash = len(having[lead[dataset], domain]) > 1
        return f"{domain} ({names[dataset]})" if clash else domain

    scores = [
        replace(
            score,
            dataset=" and ".join(titles[lead[score.dataset_id]]),
            dataset_id=lead[score.dataset_id],
            domain=renamed(score.dataset_id, score.domain),
        )
        for score in found
    ]
    return scores, {
        (lead[dataset], renamed(dataset, domain), split): size
        for (dataset, domain, split), size in sizes.items()
        if dataset in lead and (lead[dataset], domain) in having
    }


def _groups(found: Sequence[Score], key: Callable[[Score], tuple[str, ...]]) -> list[list[Score]]:
    groups: dict[tuple[str, ...], list[Score]] = {}
    for score in found:
        groups.setdefault(key(score), []).append(score)
    return list(groups.values())


def _matrix(
    group: Sequence[Score], title: str, across: str, columns: _Columns, sizes: Sizes
) -> ScoreMatrix:
    rows = _rows(group)
    cells: dict[tuple[Row, Shift | str], dict[str, Score]] = {}
    for score in group:
        place = (Row(score.network, score.family), getattr(score, across))
        # By model, so that a model measured in two tables counts once.
        cells.setdefault(place, {})[score.model_id] = score
    found = [[[*cells.get((row, key), {}).values()] for key in columns] for row in rows]
    values = [[[score.miou for score in cell] for cell in line] for line in found]
    stats = np.array([[mean_and_spread(cell) for cell in line] for line in values])
    counts = np.array([[len(cell) - int(np.isnan(cell).sum()) for cell in line] for line in values])
    by_training = {
        (r, c): _by_training(cell) for r, line in enumerate(found) for c, cell in enumerate(line)
    }
    trainings = max(len(models) for models in cells.values())
    classes = group[0].classes
    measure = f"{classes[0]} IoU" if len(classes) == 1 else "mean IoU"
    images = _images(group, sizes)
    caption = _caption(group, measure, [[*models.values()] for models in cells.values()], images)
    facts = tuple(_column_facts(group[0], key) for key in columns)
    grid = ScoreGrid(across, tuple(rows), tuple(columns.values()), tuple(rows.values()), facts)
    mean, spread = stats[..., 0], stats[..., 1]
    return ScoreMatrix(
        title, caption, measure, grid, mean, spread, counts, by_training, trainings, images
    )


def _rows(group: Sequence[Score]) -> dict[Row, Number]:
    """Rows in the order of families and of the paper's prunings, and what each is of."""
    facts: dict[Row, Number] = {
        Row(score.network, score.family): {
            **{"arch": score.arch, "encoder": score.encoder, "pruning": score.pruning},
            "fold": ENSEMBLE_FOLD if score.fold == ENSEMBLE_FOLD else None,
        }
        for score in group
    }
    families = list(dict.fromkeys(score.family for score in group))
    rank = {name: n for n, name in enumerate(in_paper_order(score.pruning for score in group))}
    order = sorted(
        facts,
        key=lambda row: (families.index(row.group), rank[str(facts[row]["pruning"])], row.label),
    )
    return {row: facts[row] for row in order}


def _column_facts(first: Score, key: Shift | str) -> Number:
    domain = key if isinstance(key, str) else first.domain
    shift = first.shift if isinstance(key, str) else key
    return {
        **{"dataset": first.dataset, "domain": domain, "split": first.split},
        **{"shift": shift.kind.value, "factor": shift.factor},
    }


def _by_training(models: Sequence[Score]) -> dict[_Training, float]:
    found: dict[_Training, list[float]] = {}
    for score in models:
        found.setdefault((score.fold, score.repeat), []).append(score.miou)
    return {training: mean_and_spread(values)[0] for training, values in found.items()}


_ENSEMBLE = " Ensemble: the mean of the class probabilities of all trainings, one network more."


def _images(group: Sequence[Score], sizes: Sizes) -> str:
    """Say how many samples and subjects each of the domains has."""
    keys = dict.fromkeys((score.dataset_id, score.domain, score.split) for score in group)
    known = [sizes[key] for key in keys if key in sizes]
    if not known:
        return ""
    samples, subjects = (
        f"{min(each):,}" + (f" to {max(each):,}" if min(each) < max(each) else "")
        for each in zip(*known, strict=True)
    )
    return f"{samples} samples of {subjects} subjects{' a domain' if len(known) > 1 else ''}"


def _caption(
    group: Sequence[Score], measure: str, cells: Sequence[Sequence[Score]], images: str
) -> str:
    first = group[0]
    classes = f" (mean of {', '.join(first.classes)})" if len(first.classes) > 1 else ""
    trained = [
        [(score.fold, score.repeat) for score in cell]
        for cell in cells
        if cell[0].fold != ENSEMBLE_FOLD
    ]
    averaged = (
        f"mean over {counted_at_most(trained)}, standard deviation between trainings below it"
        if max(map(len, trained), default=1) > 1
        else "one training, hence no spread"
    )
    together = any(score.network != score.pruning for score in group)
    return (
        f"{measure[0].upper()}{measure[1:]}{classes} from confusion counts accumulated over the "
        f"{first.split} samples of {first.dataset}{f' (n = {images})' if images else ''}; "
        f"{averaged}. Rows: architectures by number of "
        f"uppermost skip connections removed.{_ENSEMBLE if together else ''}"
    )


# -------------------------------------------------------------------------------------------------
# Matrices of the difference in IoU to the baseline, one behind each matrix of IoU.


_BASELINE = "baseline"


@dataclass(frozen=True, slots=True, eq=False)
class DifferenceMatrix:
    """A matrix of the difference in mean IoU to the baseline, laid out as the matrix of IoU.

    Attributes
    ----------
    title, heading, caption : str
    measure : str
        ``cell IoU``.
    grid : ScoreGrid
        What the R rows and C columns are.
    values, spread : float64 (R, C)
        Mean and standard deviation over trainings of the difference between networks of the same
        fold and repeat; NaN where no training has both, or only one.
    counts : int64 (R, C)
        Trainings behind each value.
    """

    title: str
    heading: str
    caption: str
    measure: str
    grid: ScoreGrid
    values: Float64
    spread: Float64
    counts: Int64

    @property
    def topic(self) -> str:
        """Stem of its anchor."""
        return "difference"

    def draw(self) -> Figure:
        """Draw the matrix; the spread stands below each value where there are several trainings."""
        spread = None if np.isnan(self.spread).all() else self.spread
        label = f"Δ {self.measure}"
        rows, columns = self.grid.rows, self.grid.columns
        return difference_matrix(self.values, rows, columns, spread=spread, label=label)

    def table(self) -> Table:
        """Return the same numbers as a table, architectures across."""
        title = f"Difference in {self.measure}: {self.heading}"
        return self.grid.table(title, self.values, differences=True)

    def numbers(self) -> list[Number]:
        """Return each cell as a row of the table ``report``."""
        return self.grid.numbers("difference", self.values, self.spread, self.counts)

    def sentences(self) -> tuple[str, ...]:
        """Say in words what gains and what loses most against the baseline, by family."""
        scale = difference_scale(self.values)
        rows, columns = self.grid.rows, self.grid.column_names()
        sentences = []
        for group in dict.fromkeys(row.group for row in rows):
            mine = np.array([[row.group == group] for row in rows])
            values = np.where(mine, self.values, np.nan)
            if np.isnan(values).all():
                continue
            ends = []
            for word, place in (
                ("highest", np.nanargmax(values)),
                ("lowest", np.nanargmin(values)),
            ):
                r, c = np.unravel_index(place, values.shape)
                value = scale.written(float(values[r, c]))
                alike = len(tied_with(int(place), values.ravel().tolist()))
                more = f" and {alike} more" if alike else ""
                ends.append(f"{word} {value} for {rows[int(r)].label} ({columns[int(c)]}){more}")
            head = f"{group}, difference to the baseline" if group else "Difference to the baseline"
            sentences.append(f"{head}: {', '.join(ends)}.")
        return tuple(sentences)


def score_matrices(found: Sequence[Score], sizes: Sizes | None = None) -> list[Shown]:
    """Make the matrices of IoU, by shift and by domain, each with its difference to the baseline.

    Parameters
    ----------
    found : sequence of Score
    sizes : mapping of (dataset id, domain, split) to (samples, subjects), optional

    Returns
    -------
    list of Shown
        A difference right behind its matrix, where there is one.
    """
    shown: list[Shown] = []
    for matrix in (*by_shift(found, sizes), *by_domain(found, sizes)):
        difference = difference_to_baseline(matrix)
        shown += [matrix] if difference is None else [matrix, difference]
    return shown


def difference_to_baseline(matrix: ScoreMatrix) -> DifferenceMatrix | None:
    """Compare each row with the baseline of its family, ensembles with ensembles.

    The networks of one fold and repeat are compared, then averaged.

    Returns
    -------
    DifferenceMatrix or None
        Without rows that have no baseline. None where no row has one.
    """
    pairs = _pairs(matrix.grid)
    lines = [
        [
            _differences(matrix.by_training[row, column], matrix.by_training[partner, column])
            for column in range(len(matrix.columns))
        ]
        for row, partner in pairs
    ]
    if all(np.isnan(value) for line in lines for cell in line for value in cell):
        return None
    stats = np.array([[mean_and_spread(cell) for cell in line] for line in lines])
    counts = np.array([[len(cell) - int(np.isnan(cell).sum()) for cell in line] for line in lines])
    grid = ScoreGrid(
        matrix.across,
        tuple(matrix.rows[row] for row, _ in pairs),
        matrix.columns,
        tuple(matrix.grid.row_facts[row] for row, _ in pairs),
        matrix.grid.column_facts,
    )
    values, spread = stats[..., 0], stats[..., 1]
    title = f"Difference to the baseline: {matrix.title}"
    caption = _difference_caption(matrix.measure, values, int(counts.max()), matrix.images)
    return DifferenceMatrix(
        title, matrix.heading, caption, matrix.measure, grid, values, spread, counts
    )


def _pairs(grid: ScoreGrid) -> list[tuple[int, int]]:
    """Places of rows and of their baselines."""
    keys = [(facts["arch"], facts["encoder"], facts["fold"]) for facts in grid.row_facts]
    baselines = {
        key: place
        for place, (key, facts) in enumerate(zip(keys, grid.row_facts, strict=True))
        if facts["pruning"] == _BASELINE
    }
    return [
        (place, baselines[key])
        for place, key in enumerate(keys)
        if key in baselines and baselines[key] != place
    ]


def _differences(
    pruned: Mapping[_Training, float], baseline: Mapping[_Training, float]
) -> list[float]:
    return [value - baseline[which] for which, value in pruned.items() if which in baseline]


def _difference_caption(measure: str, values: Float64, trainings: int, images: str) -> str:
    averaged = (
        f"mean over {trainings} trainings, standard deviation of their differences below it"
        if trainings > 1
        else "one training of each, hence no spread"
    )
    scale = difference_scale(values)
    low, _, high = map(scale.written, scale.ticks)
    return (
        f"{measure[0].upper()}{measure[1:]} of the pruned network minus that of the baseline of "
        f"the same encoder, fold, repeat, domain and shift"
        f"{f', n = {images}' if images else ''}; {averaged}. Blue: better than the "
        f"baseline, red: worse. The colours end at {low} and {high}, the greatest difference."
    )


# -------------------------------------------------------------------------------------------------
# Table II: number of trainable parameters, prunings down and encoders across.


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """Table II of the networks that were measured.

    Attributes
    ----------
    counts : mapping of (arch, encoder, pruning) to int
        Trainable parameters.
    """

    counts: Mapping[tuple[str, str, str], int]
    topic: str = "parameters"
    heading: str = "Parameters"
    title: str = "Trainable parameters"
    caption: str = (
        "Trainable parameters of each network (Table II of the paper): for each pruned level a "
        "U-net loses the skip's input channels of one convolution and nothing else."
    )

    def draw(self) -> None:
        """Return nothing: the table is all there is."""

    def table(self) -> Table:
        """Return the counts, see :func:`parameter_table`."""
        named = {(family(arch, encoder), p): n for (arch, encoder, p), n in self.counts.items()}
        return parameter_table(named)

    def numbers(self) -> list[Number]:
        """Return a row for each network."""
        return [
            {
                **{"quantity": "parameters", "arch": arch, "encoder": encoder, "pruning": pruning},
                "value": count,
            }
            for (arch, encoder, pruning), count in self.counts.items()
        ]

    def sentences(self) -> tuple[str, ...]:
        """Say for each family how many parameters go with its skip connections, at most."""
        found = []
        for name in dict.fromkeys(family(arch, encoder) for arch, encoder, _ in self.counts):
            counts = {p: n for (a, e, p), n in self.counts.items() if family(a, e) == name}
            whole = counts.get("baseline")
            if whole is None or len(counts) < 2:
                continue
            least = min(counts, key=counts.__getitem__)
            if counts[least] < whole:
                share = 100.0 * (whole - counts[least]) / whole
                found.append(f"{name}: {least} has {share:.1f} % fewer parameters than baseline.")
        return tuple(found)


def parameter_exhibit(counts: Mapping[tuple[str, str, str], int]) -> list[Shown]:
    """Make Table II of parameter counts.

    Parameters
    ----------
    counts : mapping of (arch, encoder, pruning) to int
        Trainable parameters of each network.

    Returns
    -------
    list of Shown
        One exhibit; none without networks.
    """
    return [ParameterCounts(dict(counts))] if counts else []


def parameter_table(counts: Mapping[tuple[str, str], int]) -> Table:
    """Lay parameter counts out as in Table II.

    Parameters
    ----------
    counts : mapping of (encoder, pruning) to int
        Trainable parameters of each network; encoders, with the architecture in front where it
        is not ``unet``, stand in the order of their first appearance, prunings in the paper's.

    Returns
    -------
    Table
        Column ``architecture``, then one an encoder; None where a network is not there.

    Examples
    --------
    >>> table = parameter_table(
    ...     {("resnet18", "L1-pruned"): 14_309_922, ("resnet18", "baseline"): 14_328_354}
    ... )
    >>> table.columns["architecture"], table.columns["resnet18"]
    (['baseline', 'L1-pruned'], [14328354, 14309922])
    """
    prunings = in_paper_order(pruning for _, pruning in counts)
    columns: dict[str, list[str | int | float | None]] = {"architecture": [*prunings]}
    for encoder in dict.fromkeys(encoder for encoder, _ in counts):
        columns[encoder] = [counts.get((encoder, pruning)) for pruning in prunings]
    return Table("Trainable parameters", columns)
