"""Two matrices of skip substitution: IoU, and what of it is regained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.analysis.substitution import Substitution, TrainingMean
from skiptool.figures.exhibit import known
from skiptool.figures.matrix import difference_matrix, iou_matrix
from skiptool.figures.score_grid import ScoreGrid
from skiptool.figures.substitution_words import interval_below, shift_words
from skiptool.records import Shade, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.analysis.differences import PairedDifference
    from skiptool.figures.exhibit import Number
    from skiptool.records import Float64

__all__ = ["Place", "RegainedMatrix", "SubstitutionMatrix", "filled"]

_HEADING: Final = "Which skip connection carries the shift"

Place: TypeAlias = tuple[int, int]
"""Row and column of a cell."""


@dataclass(frozen=True, slots=True, eq=False)
class SubstitutionMatrix:
    """Mean IoU by clean inputs of the decoder, of several networks, and by shift.

    Attributes
    ----------
    title, caption, measure : str
        ``measure`` is what the colours mean: ``cell IoU``.
    grid : ScoreGrid
        R rows, of each network first the plain prediction; C shifts.
    means : mapping of (row, column) to TrainingMean
        What was measured, in the order of rows and columns.
    told : tuple of str
        What is to be seen.
    """

    title: str
    caption: str
    measure: str
    grid: ScoreGrid
    means: Mapping[Place, TrainingMean]
    told: tuple[str, ...]
    topic: str = "substitution"
    heading: str = _HEADING

    def draw(self) -> Figure:
        """Draw the matrix; the spread stands below each value of several trainings."""
        values, spread = (filled(self.grid, self._each(name)) for name in ("value", "sd_trainings"))
        known = None if np.isnan(spread).all() else spread
        rows, columns = self.grid.rows, self.grid.columns
        return iou_matrix(values, rows, columns, spread=known, label=self.measure)

    def table(self) -> Table:
        """Return the same numbers as a table, shifts across."""
        values = filled(self.grid, self._each("value"))
        columns: dict[str, Sequence[str | float | None]] = {
            "architecture": [row.group for row in self.grid.rows],
            "clean": [row.label for row in self.grid.rows],
        }
        for name, column in zip(self.grid.column_names(), values.T, strict=True):
            columns[name] = [known(float(value)) for value in column]
        title = f"{self.measure}: {self.title}"
        return Table(title, columns, shade=Shade(0.0, 1.0))

    def numbers(self) -> list[Number]:
        """Return each cell as a row of the table ``report``."""
        return [_iou(self.grid, place, mean) for place, mean in self.means.items()]

    def sentences(self) -> tuple[str, ...]:
        """Say in words what brings each network back."""
        return self.told

    def _each(self, name: str) -> dict[Place, float]:
        return {place: float(getattr(mean, name)) for place, mean in self.means.items()}


@dataclass(frozen=True, slots=True, eq=False)
class RegainedMatrix:
    """What clean inputs of the decoder regain against the plain prediction under the same shift.

    Attributes
    ----------
    title, caption, measure : str
    grid : ScoreGrid
        R rows, C shifts.
    found : mapping of (row, column) to Substitution
        What was measured, in the order of rows and columns.
    adjusted : tuple of float
        p-value of each after Holm's adjustment over all; NaN where there was no test.
    level : float
        Of the intervals.
    """

    title: str
    caption: str
    measure: str
    grid: ScoreGrid
    found: Mapping[Place, Substitution]
    adjusted: tuple[float, ...]
    level: float
    topic: str = "regained"
    heading: str = _HEADING

    def draw(self) -> Figure:
        """Draw the matrix; below each value stands its interval, where cells have room."""
        rows, columns = self.grid.rows, self.grid.columns
        values = filled(self.grid, {at: one.regained.value for at, one in self.found.items()})
        texts = {place: interval_below(one) for place, one in self.found.items()}
        below = [[texts.get((r, c), "") for c in range(len(columns))] for r in range(len(rows))]
        known = below if any(texts.values()) else None
        label = f"regained {self.measure}"
        return difference_matrix(values, rows, columns, below=known, label=label)

    def table(self) -> Table:
        """Return all numbers, a row for each network, choice of clean inputs and shift."""
        rows = [self.grid.rows[row] for row, _ in self.found]
        found = [*self.found.values()]
        regained = [one.regained for one in found]
        columns: dict[str, Sequence[Any]] = {
            "architecture": [row.group for row in rows],
            "clean": [row.label for row in rows],
            "shift": [shift_words(one.shift) for one in regained],
            "IoU": [known(one.clean.value) for one in found],
            "plain IoU": [known(one.plain.value) for one in found],
            "regained": [known(one.value) for one in regained],
            "CI low": [known(one.ci_low) for one in regained],
            "CI high": [known(one.ci_high) for one in regained],
            "p": [known(one.p_value) for one in regained],
            "p (Holm)": [known(p) for p in self.adjusted],
            **self._losses(),
            "subjects": [one.subjects for one in regained],
            "trainings": [one.trainings for one in regained],
        }
        spare = ("p", "subjects", "trainings", "plain IoU")
        title = f"{self.measure}: {self.title}"
        return Table(title, columns, uniform=("architecture",), spare=spare)

    def numbers(self) -> list[Number]:
        """Return what is regained and what is lost, and the IoU that they are differences of."""
        gains: list[Number] = []
        losses: list[Number] = []
        scores: list[Number] = []
        plain: dict[tuple[object, ...], Number] = {}
        for (place, one), p in zip(self.found.items(), self.adjusted, strict=True):
            gain = one.regained
            of = {**self.grid.row_facts[place[0]], **self.grid.column_facts[place[1]]}
            gains.append(
                {
                    **{"quantity": "regained", **of},
                    **_facts(gain, self.level),
                    **{"p_value": gain.p_value, "p_adjusted": p},
                }
            )
            if one.lost is not None:
                losses.append({"quantity": "lost", **of, **_facts(one.lost, self.level)})
            scores.append(_iou(self.grid, place, one.clean))
            key = (self.grid.rows[place[0]].group, gain.shift)
            plain[key] = {**_iou(self.grid, place, one.plain), "clean_skips": None}
        return [*gains, *losses, *scores, *plain.values()]

    def sentences(self) -> tuple[str, ...]:
        """Say nothing more: the matrix of IoU says it all."""
        return ()

    def _losses(self) -> dict[str, list[float | None]]:
        """Columns of what is lost against the clean images, where that is known of any."""
        lost = [one.lost for one in self.found.values()]
        if not any(lost):
            return {}
        names = {"lost": "value", "lost CI low": "ci_low", "lost CI high": "ci_high"}
        return {
            head: [None if one is None else known(getattr(one, name)) for one in lost]
            for head, name in names.items()
        }


def filled(grid: ScoreGrid, values: Mapping[Place, float]) -> Float64:
    """Return values by place as a matrix (R, C), NaN where there is none."""
    matrix = np.full((len(grid.rows), len(grid.columns)), np.nan)
    for place, value in values.items():
        matrix[place] = value
    return matrix


def _facts(found: PairedDifference, level: float) -> Number:
    return {
        **{"value": found.value, "sd_folds": found.sd_trainings, "level": level},
        **{"se_trainings": found.se_trainings, "se_subjects": found.se_subjects},
        **{"ci_low": found.ci_low, "ci_high": found.ci_high},
        **{"folds": found.trainings, "trainings": found.trainings},
        "subjects": found.subjects,
    }


def _iou(grid: ScoreGrid, place: Place, mean: TrainingMean) -> Number:
    return {
        **{"quantity": "IoU", **grid.row_facts[place[0]], **grid.column_facts[place[1]]},
        **{"value": mean.value, "sd_folds": mean.sd_trainings, "folds": mean.trainings},
    }
