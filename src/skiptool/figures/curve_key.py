"""What the lines of training curves mean: a pen for each pruning, and the legend below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from matplotlib.lines import Line2D

from skiptool.figures.style import INK, architecture_colours, in_paper_order, readable, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.analysis.training import Run

__all__ = ["KEPT", "CurveKey", "Pen", "curve_key", "stairs"]

Dashes: TypeAlias = Literal["-"] | tuple[int, tuple[float, ...]]

KEPT: Final[dict[str, Any]] = {
    "marker": "o",
    "linestyle": "none",
    "markeredgecolor": "#ffffff",
    "markeredgewidth": 0.4,
}
"""Look of the dot at the epoch whose weights are kept."""

_SOLID: Final[Dashes] = "-"
_DASHED: Final[Dashes] = (0, (3.0, 1.4))
_SECOND: Final[tuple[Dashes, Dashes]] = ((0, (7.0, 1.3, 1.3, 1.3)), (0, (1.0, 1.2)))
"""Validation and training where a colour is used a second time."""

_MOST_TICKS: Final = 12  # a rate that falls more often is a slope, not a stair
_LINE: Final = 0.15
_MARK: Final = 0.42  # a sample of the line, and what is left free around a label


@dataclass(frozen=True, slots=True)
class Pen:
    """How the curves of one pruning are drawn."""

    colour: str
    validation: Dashes = _SOLID
    training: Dashes = _DASHED


@dataclass(frozen=True, slots=True)
class CurveKey:
    """Pens by pruning, and the legend in two blocks: prunings, then kinds of lines.

    Attributes
    ----------
    pens : mapping of str to Pen
        In the paper's order.
    kinds : tuple of Line2D
    width, left : float
        Width of the sheet and where the legend begins, in inches.
    """

    pens: Mapping[str, Pen]
    kinds: tuple[Line2D, ...]
    width: float
    left: float

    @property
    def height(self) -> float:
        """Height that the legend needs, in inches."""
        return (self._lines(self._names) + self._lines(self.kinds)) * _LINE + 0.08

    @property
    def _names(self) -> tuple[Line2D, ...]:
        return tuple(
            Line2D([], [], color=p.colour, lw=1.3, ls=p.validation, label=readable(name) or "–")
            for name, p in self.pens.items()
        )

    def draw(self, figure: Figure) -> None:
        """Write the legend along the foot of a figure."""
        foot = 0.0
        for handles in (self.kinds, self._names):
            figure.legend(
                handles=handles,
                ncols=self._across(handles),
                loc="lower left",
                bbox_to_anchor=(self.left / self.width - 0.01, foot),
                borderaxespad=0.1,
                borderpad=0.25,
                frameon=False,
                handlelength=2.8,
                handletextpad=0.5,
                columnspacing=1.4,
                labelspacing=0.35,
                fontsize=6.5,
                labelcolor=INK,
            )
            foot += self._lines(handles) * _LINE / float(figure.get_size_inches()[1])

    def _across(self, handles: Sequence[Line2D]) -> int:
        widest = text_width([str(handle.get_label()) for handle in handles], 6.5)
        return max(1, int((self.width - self.left) / (widest + _MARK)))

    def _lines(self, handles: Sequence[Line2D]) -> int:
        return -(-len(handles) // self._across(handles))


def curve_key(runs: Sequence[Run], width: float, left: float) -> CurveKey:
    """Choose pens for runs, and say what their legend needs.

    Parameters
    ----------
    runs : sequence of Run
    width, left : float
        Width of the sheet and where the legend begins, in inches.

    Returns
    -------
    CurveKey
        Prunings that share a colour (there are eleven) differ in their dashes.
    """
    colours = architecture_colours(run.pruning for run in runs)
    used: list[str] = []
    pens = {}
    for name in in_paper_order(colours):
        second = colours[name] in used
        pens[name] = Pen(colours[name], *_SECOND) if second else Pen(colours[name])
        used.append(colours[name])
    return CurveKey(pens, tuple(_kinds(runs)), width, left)


def stairs(runs: Sequence[Run]) -> list[int]:
    """Return the epochs at which a learning rate falls; none if they are too many to be marked."""
    drops = sorted({epoch for run in runs for epoch in run.train.drops()})
    return drops if len(drops) <= _MOST_TICKS else []


def _kinds(runs: Sequence[Run]) -> list[Line2D]:
    networks = [(run.family, run.pruning) for run in runs]
    found = []
    if len(set(networks)) < len(networks):
        found.append(Line2D([], [], color=INK, lw=1.3, label="mean over trainings"))
        found.append(Line2D([], [], color=INK, lw=0.45, alpha=0.6, label="one training"))
    if any(run.train.epochs.size for run in runs):
        found.append(Line2D([], [], color=INK, lw=0.8, ls=_DASHED, label="training loss"))
    if any(run.best_epoch is not None for run in runs):
        found.append(Line2D([], [], color=INK, markersize=3.6, label="weights kept", **KEPT))
    if stairs(runs):
        tick: dict[str, Any] = {"marker": "|", "markersize": 5, "linestyle": "none"}
        found.append(Line2D([], [], color=INK, label="learning rate falls", **tick))
    return found
