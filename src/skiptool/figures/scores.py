"""Matrices of IoU from scores: by shift (Fig. 7) and by domain (Fig. 9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from skiptool.figures.grid import Column, Row
from skiptool.figures.matrix import iou_matrix
from skiptool.figures.measures import of_split
from skiptool.figures.score_grid import ScoreGrid, shift_column, shift_order
from skiptool.figures.style import in_paper_order
from skiptool.figures.ties import tied_with
from skiptool.figures.trainings import counted_at_most
from skiptool.metrics import Score, mean_and_spread
from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import Shift, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.figures.exhibit import Number
    from skiptool.records import Float64, Int64

__all__ = ["ScoreMatrix", "Sizes", "by_domain", "by_shift"]

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
