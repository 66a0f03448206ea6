"""Where the panels of a figure of curves stand, and what stands around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from skiptool.figures.style import INK, SOFT, TWO_COLUMNS, readable, text_width

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CurveSheet", "plan_curves"]

_LEFT: Final = 0.52
_RIGHT: Final = 0.08
_GUTTER: Final = 0.18
_TITLE: Final = 0.26
_NAME: Final = 0.2
_NARROWEST: Final = 0.1  # width of a layer whose name stands upright
_LEGEND_ROW: Final = 0.135
_HANDLE: Final = 0.5  # inches of a legend's entry beside its text
_HEIGHTS: Final = {1: 2.1, 2: 1.7}
_STEPS: Final = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
_BRACKETS: Final = 0.22


@dataclass(frozen=True, slots=True)
class CurveSheet:
    """Places in inches from the lower left corner.

    Attributes
    ----------
    names : tuple of str
        Layers along each axis.
    size, panel : (float, float)
        Width and height of the sheet, of a panel.
    corners : tuple of (float, float)
        Left and lower edge of each panel.
    columns, legend : int
        Panels side by side; entries of the legend side by side.
    upright : bool
        Names of the layers are turned by 90 degrees.
    """

    names: tuple[str, ...]
    size: tuple[float, float]
    panel: tuple[float, float]
    corners: tuple[tuple[float, float], ...]
    columns: int
    legend: int
    upright: bool

    def bracket(self, depth: float) -> tuple[float, float]:
        """Upper and lower end of a bracket below a panel, in parts of the panel's height.

        ``depth`` is 0 for the outermost and nears 1 for the innermost.
        """
        return -0.03 / self.panel[1], -_BRACKETS * (0.9 - 0.7 * depth) / self.panel[1]

    def frame(self, figure: Figure, place: int, head: str, top: float) -> Axes:
        """Add the axes of a panel, from 0 to the next round number above ``top``."""
        (left, low), (width, height), size = self.corners[place], self.panel, self.size
        axes = figure.add_axes((left / size[0], low / size[1], width / size[0], height / size[1]))
        axes.set_xlim(-0.7, len(self.names) - 0.3)
        ticks = np.asarray(_STEPS.tick_values(0.0, top))
        ticks = ticks[(ticks >= 0.0) & (np.append(-1.0, ticks[:-1]) < top)]
        axes.set_ylim(0.0, ticks[-1] * 1.02)
        axes.set_yticks(ticks)
        axes.grid(axis="y")
        axes.tick_params(axis="y", labelleft=place % self.columns == 0)
        axes.set_xticks(range(len(self.names)), self.names)
        axes.tick_params(axis="x", length=0, pad=_BRACKETS * 72 + 2)
        if self.upright:
            for label in axes.get_xticklabels():
                label.set(rotation=90, rotation_mode="anchor", ha="right", va="center_baseline")
        axes.set_title(readable(head), loc="left", size=7.0, weight="bold", pad=4.0)
        return axes

    def label(self, figure: Figure, title: str, vertical: str, handles: Sequence[Artist]) -> None:
        """Write the title and the names of the vertical axes, and put the legend at the foot."""
        width, height = self.size
        figure.text(0.06 / width, 1 - 0.15 / height, title, size=8.0)
        for left, low in self.corners[:: self.columns]:
            figure.text(
                (left - _LEFT + 0.15) / width,
                (low + self.panel[1] / 2) / height,
                vertical,
                rotation=90,
                rotation_mode="anchor",
                ha="center",
                color=SOFT,
            )
        style: dict[str, Any] = {"borderaxespad": 0.0, "borderpad": 0.2, "frameon": False}
        style |= {"handlelength": 1.8, "columnspacing": 1.6, "labelspacing": 0.3}
        figure.legend(
            handles=[*handles],
            loc="lower left",
            bbox_to_anchor=(_LEFT / width, 0.02 / height),
            ncols=self.legend,
            fontsize=6.5,
            labelcolor=INK,
            **style,
        )


def plan_curves(panels: int, names: Sequence[str], legend: Sequence[str]) -> CurveSheet:
    """Place panels on the width of two columns, with room for layers and a legend below.

    Parameters
    ----------
    panels : int
    names, legend : sequence of str
        Layers, and entries of the legend.

    Returns
    -------
    CurveSheet
        Wider than two columns where a panel needs more for the names of its layers.
    """
    room = TWO_COLUMNS - _LEFT - _RIGHT
    columns = panels if panels <= 3 else 2 if panels == 4 else 3
    narrowest = _NARROWEST * len(names)
    while columns > 1 and (room - _GUTTER * (columns - 1)) / columns < narrowest:
        columns -= 1
    rows = math.ceil(panels / columns)
    width = max((room - _GUTTER * (columns - 1)) / columns, narrowest)
    height = _HEIGHTS.get(rows, 1.4)
    widest = text_width(names, 6.5)
    upright = widest > width / (len(names) + 0.4) - 0.02
    foot = _BRACKETS + (widest if upright else 0.1) + 0.06
    across = max(1, int((TWO_COLUMNS - _LEFT) / (text_width(legend, 6.5) + _HANDLE)))
    below = 0.1 + _LEGEND_ROW * math.ceil(len(legend) / across)
    pitch = _NAME + height + foot
    total = _TITLE + rows * pitch + below
    places = tuple(
        (_LEFT + column * (width + _GUTTER), total - _TITLE - row * pitch - _NAME - height)
        for row, column in (divmod(panel, columns) for panel in range(panels))
    )
    wide = _LEFT + columns * width + (columns - 1) * _GUTTER + _RIGHT
    return CurveSheet(
        *(tuple(names), (wide, total), (width, height), places, columns, across, upright)
    )
