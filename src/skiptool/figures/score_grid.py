"""What the matrices of scores have in common: their rows and columns, tables and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skiptool.figures.grid import Column, Row
from skiptool.names import ShiftKind
from skiptool.records import Shade, Shift, Table

if TYPE_CHECKING:
    from skiptool.figures.exhibit import Number
    from skiptool.records import Float64, Int64

__all__ = ["ScoreGrid", "shift_column", "shift_order"]


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
