"""Where many small panels of one kind and their legends stand on a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from skiptool.figures.style import ONE_COLUMN, SOFT, TWO_COLUMNS, readable, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["Facets", "plan_facets"]

_LEFT, _RIGHT, _TOP, _GUTTER = 0.46, 0.08, 0.06, 0.18  # inches, as all that follows
_HEAD: Final = 0.3  # two lines above a panel
_TICKS: Final = 0.24
_FOOT: Final = 0.22  # name of the horizontal axis
_LINE: Final = 0.145  # of a legend
_HANDLE: Final = 0.34  # before and behind an entry of a legend
_ACROSS: Final = 4
_HEIGHTS: Final = (1.15, 1.9)


@dataclass(frozen=True, slots=True)
class Facets:
    """Panels, row by row, and legends, in inches from the upper left corner of the sheet.

    Attributes
    ----------
    lefts, tops : tuple of float
        Edges of the columns and rows of panels.
    panel : (float, float)
        Width and height of each.
    legends : tuple of (entries, columns, top)
    size : (float, float)
        Width and height of the sheet.
    """

    lefts: tuple[float, ...]
    tops: tuple[float, ...]
    panel: tuple[float, float]
    legends: tuple[tuple[Sequence[Line2D], int, float], ...]
    size: tuple[float, float]

    def rectangle(self, number: int) -> tuple[float, float, float, float]:
        """Return the place of a panel as fractions of the sheet, as Matplotlib wants it."""
        row, column = divmod(number, len(self.lefts))
        (width, height), panel = self.size, self.panel
        bottom = 1 - (self.tops[row] + panel[1]) / height
        return self.lefts[column] / width, bottom, panel[0] / width, panel[1] / height

    def first(self, number: int) -> bool:
        """Whether a panel carries the numbers of the vertical axis."""
        return number % len(self.lefts) == 0

    def surround(self, figure: Figure, horizontal: str, vertical: str) -> None:
        """Write the names of the axes, and the legends below them."""
        width, height = self.size
        bottom = self.tops[-1] + self.panel[1]
        right = self.lefts[-1] + self.panel[0]
        figure.text(
            0.12 / width,
            1 - (self.tops[0] + bottom) / 2 / height,
            readable(vertical, 60),
            rotation=90,
            rotation_mode="anchor",
            ha="center",
            color=SOFT,
        )
        across, foot = (self.lefts[0] + right) / 2 / width, 1 - (bottom + _TICKS + 0.08) / height
        figure.text(across, foot, readable(horizontal, 60), ha="center", color=SOFT)
        for entries, columns, top in self.legends:
            figure.legend(
                handles=entries,
                ncols=columns,
                loc="upper left",
                bbox_to_anchor=(self.lefts[0] / width, 1 - top / height),
                borderaxespad=0.0,
                borderpad=0.0,
                labelspacing=0.25,
                handlelength=1.2,
                handletextpad=0.4,
                columnspacing=1.2,
                frameon=False,
                fontsize=6.5,
            )


def plan_facets(panels: int, legends: Sequence[Sequence[Line2D]]) -> Facets:
    """Place panels, at most four in a row and rows as even as may be, over two journal columns.

    One or two panels stand in one journal column. Each legend takes the lines that its labels need.
    """
    width = ONE_COLUMN if panels < 3 else TWO_COLUMNS
    rows = -(-panels // _ACROSS)
    columns = -(-panels // rows)
    across = (width - _LEFT - _RIGHT - _GUTTER * (columns - 1)) / columns
    tall = min(max(0.75 * across, _HEIGHTS[0]), _HEIGHTS[1])
    pitch = _HEAD + tall + _TICKS
    top = _TOP + rows * pitch + _FOOT
    placed = []
    for entries in legends:
        widest = text_width([str(entry.get_label()) for entry in entries], 6.5) + _HANDLE
        fitting = max(1, min(len(entries), int((width - _LEFT) / widest)))
        placed.append((entries, fitting, top))
        top += _LINE * -(-len(entries) // fitting) + 0.03
    return Facets(
        lefts=tuple(_LEFT + column * (across + _GUTTER) for column in range(columns)),
        tops=tuple(_TOP + row * pitch + _HEAD for row in range(rows)),
        panel=(across, tall),
        legends=tuple(placed),
        size=(width, top + 0.05),
    )
