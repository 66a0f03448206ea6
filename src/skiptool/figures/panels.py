"""Where the small panels of a figure stand: prunings below one another, encoders side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from skiptool.figures.style import INK, SOFT, TWO_COLUMNS, in_paper_order, readable, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Panel", "Sheet", "plan_panels"]

_LEFT: Final = 0.52
_RIGHT: Final = 0.06
_GUTTER: Final = 0.14
_NARROWEST: Final = 2.05
_TITLE: Final = 0.24
_ENCODERS: Final = 0.2
_NAME: Final = 0.2
_BRACKETS: Final = 0.22
_LEGEND: Final = 0.26
_HEIGHTS: Final = {1: 1.9, 2: 1.4, 3: 1.15}
_LOWEST: Final = (0.95, 0.55)  # height of many panels: where a page holds them, and at least
_PAGE: Final = 9.2
_NAME_ROOM: Final = 0.1  # width of a layer whose name stands upright
_WRAP: Final = 6  # more networks of one encoder stand in two columns
_BESIDE: Final = 3  # networks of more encoders stand one after the other, in as many columns


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, its rectangle in inches from the lower left corner of the sheet."""

    name: str
    left: float
    bottom: float
    width: float
    height: float
    first: bool  # carries the numbers of the vertical axis
    last: bool  # carries the names of the layers

    def bracket(self, depth: float) -> tuple[float, float]:
        """Upper and lower end of a bracket below the panel, in parts of the panel's height.

        ``depth`` is 0 for the outermost and nears 1 for the innermost.
        """
        return -0.03 / self.height, -_BRACKETS * (0.9 - 0.7 * depth) / self.height


@dataclass(frozen=True, slots=True)
class Sheet:
    """All panels, in the order asked for, and what stands around them."""

    panels: tuple[Panel, ...]
    encoders: tuple[tuple[str, float], ...]  # name, left edge
    size: tuple[float, float]
    upright: bool  # names of the layers turned by 90 degrees

    @property
    def label_pad(self) -> float:
        """Points between a panel and the names of its layers: room for the brackets."""
        return _BRACKETS * 72 + 2

    def rectangle(self, panel: Panel) -> tuple[float, float, float, float]:
        """Return the place of a panel as fractions of the sheet, as Matplotlib wants it."""
        width, height = self.size
        return (
            panel.left / width,
            panel.bottom / height,
            panel.width / width,
            panel.height / height,
        )

    def head(self, figure: Figure, panel: Panel, colour: str) -> None:
        """Write a panel's name above it, after a square of its colour."""
        x, y = panel.left / self.size[0], (panel.bottom + panel.height + 0.06) / self.size[1]
        figure.text(x, y, "■", color=colour, size=7.0)
        figure.text(x + 0.11 / self.size[0], y, panel.name, size=7.0)

    def label(self, figure: Figure, title: str, vertical: str) -> None:
        """Write the title, the encoders and the name of the vertical axis."""
        width, height = self.size
        figure.text(0.06 / width, 1 - 0.15 / height, title, size=8.0)
        for name, left in self.encoders:
            place = 1 - (_TITLE + 0.14) / height
            figure.text(left / width, place, name, weight="bold", size=7.0)
        lowest = min(panel.bottom for panel in self.panels)
        highest = max(panel.bottom + panel.height for panel in self.panels)
        figure.text(
            0.15 / width,
            (lowest + highest) / 2 / height,
            vertical,
            rotation=90,
            rotation_mode="anchor",
            ha="center",
            color=SOFT,
        )

    def legend_place(self) -> dict[str, Any]:
        """Return the arguments that put a legend along the foot of the sheet."""
        return {
            "loc": "lower left",
            "bbox_to_anchor": (_LEFT / self.size[0], 0.02 / self.size[1]),
            "borderaxespad": 0.0,
            "borderpad": 0.2,
            "frameon": False,
            "ncols": 5,
            "handlelength": 1.4,
            "columnspacing": 1.6,
            "fontsize": 6.5,
            "labelcolor": INK,
        }


def plan_panels(keys: Sequence[tuple[str, str]], layers: Sequence[str]) -> Sheet:
    """Place one panel for each (pruning, encoder), with room for the names of the layers."""
    cells = _cells(keys)
    rows, columns = (1 + max(place) for place in zip(*cells, strict=True))
    room = TWO_COLUMNS - _LEFT - _RIGHT - _GUTTER * (columns - 1)
    width = max(_NARROWEST, room / columns, _NAME_ROOM * len(layers))
    widest = text_width(layers, 6.5)
    upright = widest > width / (len(layers) + 0.4) - 0.02
    names = (widest if upright else 0.1) + 0.06
    lefts = [_LEFT + column * (width + _GUTTER) for column in range(columns)]
    headed = _headed(keys)
    head = _TITLE + (_ENCODERS if headed else 0.0)
    free = (_PAGE - head - names - _LEGEND) / rows - _NAME - _BRACKETS
    height = _HEIGHTS.get(rows, min(_LOWEST[0], max(_LOWEST[1], free)))
    pitch = _NAME + height + _BRACKETS
    total = head + rows * pitch + names + _LEGEND
    lowest = {column: max(r for r, c in cells if c == column) for _, column in cells}
    leftmost = {row: min(c for r, c in cells if r == row) for row, _ in cells}
    panels = tuple(
        Panel(
            name=readable(pruning if headed else f"{encoder} {pruning}".strip()),
            left=lefts[column],
            bottom=total - head - row * pitch - _NAME - height,
            width=width,
            height=height,
            first=column == leftmost[row],
            last=row == lowest[column],
        )
        for (pruning, encoder), (row, column) in zip(keys, cells, strict=True)
    )
    encoders = _encoders(keys) if headed else []
    size = (lefts[-1] + width + _RIGHT, total)
    named = map(readable, encoders)
    heads = tuple(zip(named, lefts, strict=False))  # one encoder may fill two columns
    return Sheet(panels, heads, size, upright)


def _encoders(keys: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(encoder for _, encoder in keys))


def _headed(keys: Sequence[tuple[str, str]]) -> bool:
    """Whether each encoder heads a column."""
    encoders = _encoders(keys)
    return len(encoders) <= _BESIDE and any(encoders)


def _cells(keys: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Row and column of each panel."""
    prunings = in_paper_order(pruning for pruning, _ in keys)
    encoders = _encoders(keys)
    if len(encoders) > _BESIDE:
        ranked = sorted(keys, key=lambda key: (encoders.index(key[1]), prunings.index(key[0])))
        return [divmod(ranked.index(key), _BESIDE) for key in keys]
    if len(encoders) == 1 and len(prunings) > _WRAP:
        return [divmod(prunings.index(pruning), 2) for pruning, _ in keys]
    return [(prunings.index(pruning), encoders.index(encoder)) for pruning, encoder in keys]
