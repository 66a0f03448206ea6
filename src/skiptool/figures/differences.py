"""Matrices of the difference in IoU to the baseline, one behind each matrix of IoU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from skiptool.figures.colour_scale import difference_scale
from skiptool.figures.exhibit import Shown
from skiptool.figures.matrix import difference_matrix
from skiptool.figures.score_grid import ScoreGrid
from skiptool.figures.scores import ScoreMatrix, Sizes, by_domain, by_shift
from skiptool.figures.ties import tied_with
from skiptool.metrics import Score, mean_and_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.figures.exhibit import Number
    from skiptool.records import Float64, Int64, Table

__all__ = ["DifferenceMatrix", "difference_to_baseline", "score_matrices"]

_BASELINE = "baseline"
_Training: TypeAlias = tuple[int | None, int | None]


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
    caption = _caption(matrix.measure, values, int(counts.max()), matrix.images)
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


def _caption(measure: str, values: Float64, trainings: int, images: str) -> str:
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
