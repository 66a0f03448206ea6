"""How each class is drawn over a picture: colour, dashes and marker.

A line lies on a casing, dark below light colours and white below dark ones, so that it is seen on
stained tissue, on grey tissue and on the empty slide alike. Colours are those of the paper's five
networks, told apart under the three forms of colour-blindness; dashes and markers change with
them, so that a print in grey can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.path import Path

from skiptool.figures.style import INK, architecture_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.records import Float64

__all__ = ["PLAIN", "Pen", "class_pens", "compared_pens", "stamp", "stroke"]

_PAPER: Final = architecture_colours(
    ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]
)
_WHITE: Final = "#ffffff"
_DARK: Final = "#15181c"
# in the order in which they stand out from stained tissue, each with its casing
_COLOURS: Final = (
    (_PAPER["L4-pruned"], _WHITE),  # green
    (_PAPER["L2-pruned"], _DARK),  # amber
    (_PAPER["L1-pruned"], _DARK),  # sky
    (_PAPER["L3-pruned"], _WHITE),  # red
    ("#3b4049", _WHITE),  # near black; no tone of the page, which turns in its dark scheme
)
_DASHES: Final = ((), (6.0, 1.8), (2.2, 1.5), (7.0, 1.5, 1.8, 1.5))  # in widths of the line
_MANY: Final = 60_000
"""Corners beyond which lines become dots in SVG and PDF too: noise, that would fill megabytes."""
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True, slots=True)
class Pen:
    """Colour, the colour around it, dashes (none: solid) and the marker of a point."""

    colour: str
    casing: str
    dashes: tuple[float, ...] = ()
    marker: str = "o"

    @property
    def breadth(self) -> float:
        """Of the casing, in widths of the line: dark looks broader than white."""
        return 1.9 if self.casing == _WHITE else 1.5


PLAIN: Final = Pen(INK, _WHITE, (1.2, 2.4), "x")
"""For the background, and for whatever is of no class."""


def class_pens(classes: Iterable[str]) -> dict[str, Pen]:
    """Give each class its pen, in the order of the classes; ``background`` has the plain one.

    The first twenty differ from one another.

    Examples
    --------
    >>> pens = class_pens(["background", "tumor", "non-tumor"])
    >>> pens["tumor"].dashes, pens["non-tumor"].dashes
    ((), (6.0, 1.8))
    """
    pens: dict[str, Pen] = {}
    for name in dict.fromkeys(classes):
        place = len(pens) - ("background" in pens)
        pens[name] = PLAIN if name == "background" else _pen(place)
    return pens


def compared_pens(classes: Iterable[str]) -> dict[str, tuple[Pen, Pen]]:
    """Give each class a pen for its truth and one for its prediction: colour tells which it is.

    Sky and amber are told apart under the three forms of colour-blindness; classes differ by their
    dashes, the first four from one another.

    Examples
    --------
    >>> truth, predicted = compared_pens(["LV", "MYO"])["MYO"]
    >>> truth.colour != predicted.colour, truth.dashes == predicted.dashes
    (True, True)
    """
    truth, predicted = _PAPER["L1-pruned"], _PAPER["L2-pruned"]
    return {
        name: (Pen(truth, _DARK, dashes), Pen(predicted, _DARK, dashes))
        for place, name in enumerate(dict.fromkeys(classes))
        for dashes in (_DASHES[place % len(_DASHES)],)
    }


def _pen(place: int) -> Pen:
    colour, casing = _COLOURS[place % len(_COLOURS)]
    dashes, marker = _DASHES[place % len(_DASHES)], _MARKERS[place % len(_MARKERS)]
    return Pen(colour, casing, dashes, marker)


def stroke(
    axes: Axes, lines: Sequence[Float64], pen: Pen, width: float, *, inside: bool = False
) -> None:
    """Draw lines, each float64 (V, 2), with a pen ``width`` points wide.

    ``inside``, of closed lines, only what lies in the area that they enclose is drawn: colour at
    the edge, casing towards the middle, and nothing on what lies beyond.
    """
    across = 2.0 if inside else 1.0  # half of it falls away
    dashes = tuple(length / across for length in pen.dashes)
    casing = LineCollection(lines, colors=pen.casing, linewidths=across * width * pen.breadth)
    colour = LineCollection(
        lines,
        colors=pen.colour,
        linewidths=across * width,
        linestyles=[(0.0, dashes) if dashes else "solid"],
    )
    area = Path.make_compound_path(*map(Path, lines)) if inside else None
    for drawn in (casing, colour):
        drawn.set_capstyle("butt")
        drawn.set_joinstyle("miter" if inside else "round")
        drawn.set_rasterized(sum(map(len, lines)) > _MANY)
        axes.add_collection(drawn, autolim=False)
        if area is not None:
            drawn.set_snap(False)  # one and the same edge for line and area
            drawn.set_clip_path(area, axes.transData)


def stamp(axes: Axes, places: Float64, pen: Pen, width: float) -> None:
    """Draw points, float64 (V, 2), as markers ``width`` points wide."""
    x, y = np.asarray(places, dtype=np.float64).reshape(-1, 2).T
    area, edge = width**2, width / 8
    if pen.marker in "x+":  # has no face
        axes.scatter(x, y, s=area, c=pen.casing, marker=pen.marker, linewidths=4 * edge)
        axes.scatter(x, y, s=area, c=pen.colour, marker=pen.marker, linewidths=2 * edge)
        return
    axes.scatter(
        x, y, s=area, c=pen.colour, marker=pen.marker, linewidths=edge, edgecolors=pen.casing
    )
