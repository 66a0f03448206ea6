"""Matrices of IoU from scores: by shift (Fig. 7) and by domain (Fig. 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.figures.grid import Column, Row
from skiptool.figures.matrix import iou_matrix
from skiptool.figures.style import in_paper_order
from skiptool.metrics.scores import Score, mean_and_spread
from skiptool.names import ShiftKind
from skiptool.records import Shade, Shift, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Float64

__all__ = ["ScoreMatrix", "by_domain", "by_shift"]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMatrix:
    """A matrix of mean IoU, architectures down, shifts or domains across.

    Attributes
    ----------
    title, caption, measure : str
        ``measure`` is what the colours mean: ``cell IoU``.
    rows : tuple of Row
    columns : tuple of Column
    values, spread : float64 (R, C)
        Mean and standard deviation over folds, NaN where nothing was measured or folds are one.
    folds : int
        The most folds behind a value.
    across : str
        What the columns are: shift, domain.
    """

    title: str
    caption: str
    measure: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    values: Float64
    spread: Float64
    folds: int
    across: str

    def draw(self) -> Figure:
        """Draw the matrix; the spread stands below each value where there are several folds."""
        spread = self.spread if self.folds > 1 else None
        return iou_matrix(self.values, self.rows, self.columns, spread=spread, label=self.measure)

    def table(self) -> Table:
        """Return the same numbers as a table, architectures across."""
        cells: dict[str, list[str | int | float | None]] = {
            self.across: [f"{column.block} {column.label}".strip() for column in self.columns]
        }
        for row, values in zip(self.rows, self.values, strict=True):
            found: list[float | None] = [None if np.isnan(v) else float(v) for v in values]
            cells[f"{row.group} {row.label}"] = [*found]
        groups = tuple(dict.fromkeys(row.group for row in self.rows))
        return Table(f"{self.measure}: {self.title}", cells, shade=Shade(0.0, 1.0), groups=groups)

    def sentences(self) -> tuple[str, ...]:
        """Say in words where each architecture loses most against its own first column."""
        first = self.values[:, 0]
        if self.values.shape[1] < 2 or np.isnan(first).all():
            return ()
        sentences = []
        for row, values in zip(self.rows, self.values, strict=True):
            if np.isnan(values).all() or np.isnan(values[0]):
                continue
            worst = int(np.nanargmin(values))
            begin, end = (
                f"{column.block} {column.label}".strip()
                for column in (self.columns[0], self.columns[worst])
            )
            sentences.append(
                f"{row.group} {row.label}: {values[0]:.2f} ({begin}), lowest {values[worst]:.2f} "
                f"({end})."
            )
        return tuple(sentences)


def by_shift(found: Sequence[Score]) -> list[ScoreMatrix]:
    """Make one matrix for each dataset, domain and split in which several shifts were measured."""
    matrices = []
    for group in _groups(found, lambda score: (score.dataset_id, score.domain, score.split)):
        shifts = sorted({score.shift for score in group}, key=_shift_order)
        if len(shifts) > 1 or shifts[0].kind is not ShiftKind.ORIGINAL:
            columns = tuple(_shift_column(shift) for shift in shifts)
            title = f"IoU under shift, {group[0].domain}"
            matrices.append(_matrix(group, title, "shift", columns, shifts))
    return matrices


def by_domain(found: Sequence[Score]) -> list[ScoreMatrix]:
    """Make one matrix for each dataset and split: unshifted images by domain."""
    matrices = []
    plain = [score for score in found if score.shift.kind is ShiftKind.ORIGINAL]
    shifted = {
        (score.dataset_id, score.domain)
        for score in found
        if score.shift.kind is not ShiftKind.ORIGINAL
    }
    for group in _groups(plain, lambda score: (score.dataset_id, score.split)):
        domains = sorted({score.domain for score in group})
        if len(domains) > 1 or (group[0].dataset_id, domains[0]) not in shifted:
            columns = tuple(Column(domain) for domain in domains)
            title = f"IoU by domain, {group[0].dataset}"
            matrices.append(_matrix(group, title, "domain", columns, domains))
    return matrices


def _groups(found: Sequence[Score], key: Callable[[Score], tuple[str, ...]]) -> list[list[Score]]:
    groups: dict[tuple[str, ...], list[Score]] = {}
    for score in found:
        groups.setdefault(key(score), []).append(score)
    return list(groups.values())


def _shift_order(shift: Shift) -> tuple[int, float]:
    return list(ShiftKind).index(shift.kind), shift.factor or 0.0


def _shift_column(shift: Shift) -> Column:
    if shift.factor is None:
        return Column("original", "")
    return Column(f"{shift.factor:g}", shift.kind.value)


def _matrix(
    group: Sequence[Score],
    title: str,
    across: str,
    columns: tuple[Column, ...],
    keys: Sequence[Shift | str],
) -> ScoreMatrix:
    families = list(dict.fromkeys(score.family for score in group))
    rows = tuple(
        Row(network, family)
        for family in families
        for pruning in in_paper_order({s.pruning for s in group if s.family == family})
        for network in sorted(
            {s.network for s in group if (s.family, s.pruning) == (family, pruning)}
        )
    )
    cells: dict[tuple[str, str, Shift | str], dict[str, float]] = {}
    for score in group:
        place = (score.family, score.network, getattr(score, across))
        # By model, so that a model measured in two tables counts once.
        cells.setdefault(place, {})[score.model_id] = score.miou
    stats = np.array(
        [
            [mean_and_spread([*cells.get((row.group, row.label, k), {}).values()]) for k in keys]
            for row in rows
        ]
    )
    folds = max(len(models) for models in cells.values())
    classes = group[0].classes
    measure = f"{classes[0]} IoU" if len(classes) == 1 else "mean IoU"
    caption = _caption(group, measure, folds)
    values, spread = stats[..., 0], stats[..., 1]
    return ScoreMatrix(title, caption, measure, rows, columns, values, spread, folds, across)


_ENSEMBLE = " Ensemble: the mean of the class probabilities of all folds, one network more."


def _caption(group: Sequence[Score], measure: str, folds: int) -> str:
    first = group[0]
    classes = f" (mean of {', '.join(first.classes)})" if len(first.classes) > 1 else ""
    averaged = (
        f"mean over {folds} folds, standard deviation below it"
        if folds > 1
        else "one fold, hence no spread"
    )
    together = any(score.network != score.pruning for score in group)
    return (
        f"{measure[0].upper()}{measure[1:]}{classes} from confusion counts accumulated over the "
        f"{first.split} samples of {first.dataset}; {averaged}. Rows: architectures by number of "
        f"uppermost skip connections removed.{_ENSEMBLE if together else ''}"
    )
