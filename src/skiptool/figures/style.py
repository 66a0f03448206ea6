"""One look for all figures, and their way into files and into the page.

Figures are drawn inside :func:`drawing`, which starts from Matplotlib's own defaults, so that
neither a user's matplotlibrc nor an earlier plot shows. DejaVu Sans is used because it ships
with Matplotlib: layout is the same on every machine. Text stays text: embedded as TrueType in
PDF; in SVG written as text with a generic family behind DejaVu Sans, so that it can be
searched, read aloud and edited, and the anchor of each label (not its measured width) fixes its
place when a browser sets it in another font. Same input, same bytes: no date, no version.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from skiptool.errors import ArgumentError
from skiptool.names import PictureFormat

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from skiptool.records import Float64

__all__ = [
    "BASELINE_COLOUR",
    "HOLE",
    "INK",
    "LINE",
    "ONE_COLUMN",
    "SOFT",
    "TONES",
    "TWO_COLUMNS",
    "architecture_colours",
    "drawing",
    "in_paper_order",
    "inch_axes",
    "picture",
    "readable",
    "round_ticks",
    "save",
    "set_scale",
    "spans_decades",
    "text_width",
]

ONE_COLUMN: Final = 3.5
"""Width of one journal column in inches."""

TWO_COLUMNS: Final = 7.16
"""Width of a figure over two journal columns in inches."""

INK: Final = "#24292f"
"""Text and axes. The page turns this and the next three round in its dark scheme."""

SOFT: Final = "#656d76"
"""Text of second rank."""

LINE: Final = "#d0d7de"
"""Grid lines and rules."""

HOLE: Final = "#eaeef2"
"""Ground of cells without a value and of bands behind data."""

BASELINE_COLOUR: Final = "#3b4048"
"""The unpruned network, wherever it is drawn."""

_PAPER: Final = {
    "baseline": BASELINE_COLOUR,
    "L1-pruned": "#5bb8ec",
    "L2-pruned": "#eca514",
    "L3-pruned": "#c9401f",
    "L4-pruned": "#00875f",
}
_FURTHER: Final = ("#9c2196", "#82bc76", "#5e6ad2", "#d687b8", "#8a6d3b", "#8c959f")
TONES: Final = {INK: "ink", SOFT: "soft", LINE: "line", HOLE: "hole", BASELINE_COLOUR: "baseline"}
"""Colours that must turn round on a dark page, and their names there."""

_STYLE: Final = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.0,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "xtick.labelsize": 6.5,
    "xtick.major.size": 2.0,
    "xtick.major.width": 0.6,
    "ytick.color": SOFT,
    "ytick.labelsize": 6.5,
    "ytick.major.size": 0.0,
    "hatch.linewidth": 0.5,
    "image.composite_image": False,  # pictures that come again can be found
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "skiptool",
    "savefig.dpi": 300,
    "savefig.facecolor": "#ffffff",
}
_METADATA: Final[dict[PictureFormat, dict[str, str | None]]] = {
    PictureFormat.PDF: {"Creator": "skiptool", "Producer": None, "CreationDate": None},
    PictureFormat.SVG: {"Creator": "skiptool", "Date": None},
    PictureFormat.PNG: {"Software": "skiptool"},
}
_JOINERS: Final = "\u200c\u200d"  # needed to spell some languages
_CUT: Final = "\N{HORIZONTAL ELLIPSIS}"


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in this project's style while the context is open; the caller's settings come back.

    A character that DejaVu Sans does not have is left to the reader's browser without a warning.
    """
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def inch_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure whose bare axes are its whole sheet, in inches from the upper left corner."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, width)
    axes.set_ylim(height, 0.0)
    return figure, axes


def in_paper_order(prunings: Iterable[str]) -> list[str]:
    """Sort different pruning labels: baseline, L1 to L4, then other subsets by name.

    Examples
    --------
    >>> in_paper_order(["skips-1+3", "L4-pruned", "baseline", "L1-pruned", "L1-pruned"])
    ['baseline', 'L1-pruned', 'L4-pruned', 'skips-1+3']
    """
    known = list(_PAPER)
    rank = {name: place for place, name in enumerate(known)}
    return sorted(set(prunings), key=lambda name: (rank.get(name, len(known)), name))


def architecture_colours(prunings: Iterable[str]) -> dict[str, str]:
    """Give each pruning label its colour.

    The paper's five always have the same, told apart under the three forms of colour-blindness;
    other subsets take further colours in the order of their names, anew after the sixth.

    Examples
    --------
    >>> architecture_colours(["skips-1+3", "L1-pruned"])
    {'L1-pruned': '#5bb8ec', 'skips-1+3': '#9c2196'}
    """
    ordered = in_paper_order(prunings)
    others = [name for name in ordered if name not in _PAPER]
    further = {name: _FURTHER[place % len(_FURTHER)] for place, name in enumerate(others)}
    return {name: _PAPER.get(name) or further[name] for name in ordered}


def readable(text: str, limit: int = 32) -> str:
    r"""Make a name from data fit for a label: one line, no control characters, not too long.

    Examples
    --------
    >>> readable("slide\x00 one\nof two", limit=11)
    'slide…f two'
    """
    line = " ".join(text.split())
    kept = [c for c in line if c in _JOINERS or not unicodedata.category(c).startswith("C")]
    if len(kept) <= limit:
        return "".join(kept)
    head = limit // 2
    return "".join([*kept[:head], _CUT, *kept[len(kept) - (limit - head - 1) :]])


def text_width(texts: Sequence[str], size: float) -> float:
    """Width in inches of the widest of some labels at a font size in points; 0 without labels."""
    font = FontProperties(size=size)
    measure = TextToPath().get_text_width_height_descent
    return max((measure(text, font, False)[0] for text in texts if text), default=0.0) / 72.0


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PDF, SVG or PNG, by the suffix of its path; same figure, same bytes.

    Raises
    ------
    ArgumentError
        If the suffix is none of the three.
    """
    suffix = path.suffix.removeprefix(".").lower()
    known = [kind.value for kind in PictureFormat]
    if suffix not in known:
        raise ArgumentError(
            f"figure {path.name!r}: unknown picture format {suffix!r}, expected one of "
            f"{', '.join(known)}; give the file such a suffix"
        )
    path.write_bytes(picture(figure, PictureFormat(suffix)))


def picture(figure: Figure, kind: PictureFormat, ground: str = "#ffffff") -> bytes:
    """Return a figure as the bytes of a file, on a ground of some colour (``none`` for none)."""
    sheet = io.BytesIO()
    with drawing():
        figure.savefig(sheet, format=kind.value, metadata=_METADATA[kind], facecolor=ground)
    return sheet.getvalue()


# -------------------------------------------------------------------------------------------------
# Round numbers on an axis, linear or logarithmic, none of them beyond its ends.


_STEPS: Final = (1, 2, 2.5, 5, 10)


def spans_decades(values: Float64, decades: float = 2.0) -> bool:
    """Say whether values are above 0 and their greatest is so many decades above their least.

    Examples
    --------
    >>> spans_decades(np.array([0.01, 1.5])), spans_decades(np.array([0.1, 1.5]))
    (True, False)
    """
    found = values[np.isfinite(values)]
    return bool(found.size and found.min() > 0.0 and found.max() > found.min() * 10.0**decades)


def round_ticks(low: float, high: float, *, log: bool = False, most: int = 5) -> list[float]:
    """Choose round numbers from ``low`` to ``high``: powers of ten on a logarithmic scale.

    Examples
    --------
    >>> round_ticks(1.3, 9.2), round_ticks(0.02, 30.0, log=True)
    ([2.0, 4.0, 6.0, 8.0], [0.1, 1.0, 10.0])
    """
    if log:
        first, last = np.ceil(np.log10(low)), np.floor(np.log10(high))
        step = max(1, -(-int(last - first + 1) // most))
        return [float(10.0**power) for power in np.arange(first, last + 1, step)]
    found = MaxNLocator(most, steps=_STEPS).tick_values(low, high)
    return [float(tick) for tick in found if low <= tick <= high]


def set_scale(axes: Axes, which: Literal["x", "y"], low: float, high: float, *, log: bool) -> None:
    """Let an axis go from ``low`` to ``high``, with round numbers as they are written by hand."""
    kind = "log" if log else "linear"
    if which == "x":
        axes.set_xscale(kind)
    else:
        axes.set_yscale(kind)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(round_ticks(low, high, log=log))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    if which == "x":
        axes.set_xlim(low, high)
    else:
        axes.set_ylim(low, high)
