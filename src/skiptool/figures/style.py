"""Common style of all figures, and their output as files.

Figures are drawn inside :func:`drawing_style`, which starts from Matplotlib's defaults, so that
neither a user's matplotlibrc nor an earlier plot affects them. DejaVu Sans ships with Matplotlib,
so the layout is the same on every machine. Text is embedded as TrueType in PDF and written as text
in SVG, so that it can be searched, read aloud and edited. Output is deterministic, without date or
version.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING, Final, Literal

import matplotlib.style
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from skiptool.errors import ArgumentError
from skiptool.names import PictureFormat
from skiptool.records import luminance

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from skiptool.records import Float64

ONE_COLUMN: Final = 3.5
"""Width of one journal column in inches."""

TWO_COLUMNS: Final = 7.16
"""Width of a figure over two journal columns in inches."""

INK: Final = "#24292f"
"""Text and axes. The page inverts this and the next three colours in its dark scheme."""

SOFT: Final = "#656d76"
"""Secondary text."""

LINE: Final = "#d0d7de"
"""Grid lines and rules."""

HOLE: Final = "#eaeef2"
"""Cells without a value, and bands behind data."""

BASELINE_COLOUR: Final = "#3b4048"
"""The unpruned network."""

_PAPER: Final = {
    "baseline": BASELINE_COLOUR,
    "L1-pruned": "#5bb8ec",
    "L2-pruned": "#eca514",
    "L3-pruned": "#c9401f",
    "L4-pruned": "#00875f",
}
_FURTHER: Final = ("#9c2196", "#82bc76", "#5e6ad2", "#d687b8", "#8a6d3b", "#8c959f")
TONES: Final = {INK: "ink", SOFT: "soft", LINE: "line", HOLE: "hole", BASELINE_COLOUR: "baseline"}
"""Names of colours that are inverted on a dark page."""

_STYLE: Final = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.0,
    "text.color": INK,
    "text.hinting": "no_hinting",  # text has the same width at any resolution
    "text.parse_math": False,  # names may contain dollar signs
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": SOFT,
    "axes.labelsize": 7.0,
    "axes.linewidth": 0.6,
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.titlesize": 7.0,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.hspace": 0.0,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.wspace": 0.0,
    "figure.labelsize": 7.0,
    "figure.titlesize": 8.0,
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
    "legend.borderaxespad": 0.6,
    "legend.borderpad": 0.0,
    "legend.columnspacing": 1.6,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.5,
    "legend.labelcolor": INK,
    "legend.labelspacing": 0.3,
    "image.composite_image": False,  # repeated pictures can be shared
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
_MAX_LABEL: Final = 200  # characters of a fitted label
_DARK: Final = "#1b1b1b"


@contextmanager
def drawing_style() -> Iterator[None]:
    """Apply the style of the project within a context, then restore the caller's settings.

    Warnings about characters missing from DejaVu Sans are suppressed; viewers substitute them.
    """
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def in_paper_order(prunings: Iterable[str]) -> list[str]:
    """Sort distinct pruning labels: baseline, L1 to L4, then other subsets by name.

    Examples
    --------
    >>> in_paper_order(["skips-1+3", "L4-pruned", "baseline", "L1-pruned", "L1-pruned"])
    ['baseline', 'L1-pruned', 'L4-pruned', 'skips-1+3']
    """
    rank = {name: n for n, name in enumerate(_PAPER)}
    return sorted(set(prunings), key=lambda name: (rank.get(name, len(rank)), name))


def architecture_colours(prunings: Iterable[str]) -> dict[str, str]:
    """Assign a colour to each pruning label.

    The five of the paper are fixed and distinguishable under the three forms of colour blindness.
    Other subsets take further colours in the order of their names, repeating after the sixth.

    Examples
    --------
    >>> architecture_colours(["skips-1+3", "L1-pruned"])
    {'L1-pruned': '#5bb8ec', 'skips-1+3': '#9c2196'}
    """
    ordered = in_paper_order(prunings)
    others = [name for name in ordered if name not in _PAPER]
    further = dict(zip(others, cycle(_FURTHER), strict=False))
    return {name: _PAPER.get(name) or further[name] for name in ordered}


def label_text(text: str, limit: int = 32) -> str:
    r"""Turn a name from data into a label: one line, no control characters, limited length.

    Examples
    --------
    >>> label_text("slide\x00 one\nof two", limit=11)
    'slide…f two'
    """
    line = " ".join(text.split())
    text = "".join(
        char for char in line if char in _JOINERS or not unicodedata.category(char).startswith("C")
    )
    if len(text) <= limit:
        return text
    head = limit // 2
    tail = limit - head - 1
    return text[:head] + _CUT + text[len(text) - tail :]


def text_width(texts: Sequence[str], size: float) -> float:
    """Return the width in inches of the widest label at a font size in points; 0 without labels."""
    return max((_width(text, size) for text in texts if text), default=0.0)


@cache
def _width(text: str, size: float) -> float:
    width, _, _ = TextToPath().get_text_width_height_descent(text, FontProperties(size=size), False)
    return float(width) / 72.0


def shorten(text: str, size: float, width: float) -> str:
    """Cut the middle out of a text until it is at most ``width`` inches wide at ``size`` points.

    Examples
    --------
    >>> shorten("CMU-1-Small-Region", 6.0, 2 / 3), shorten("CMU-1", 6.0, 2 / 3)
    ('CMU-1-…egion', 'CMU-1')
    """
    low, high = 1, min(len(text), _MAX_LABEL)
    while low < high:  # bisect for the longest text that fits
        middle = (low + high + 1) // 2
        if text_width([label_text(text, middle)], size) <= width:
            low = middle
        else:
            high = middle - 1
    return label_text(text, low).strip()


def ink_on(colour: str | Float64) -> str:
    """Choose dark or white ink, whichever has the greater WCAG contrast on a background.

    Examples
    --------
    >>> ink_on("#ffffff"), ink_on("#000000")
    ('#1b1b1b', '#ffffff')
    """
    red, green, blue = to_rgb(colour) if isinstance(colour, str) else colour[:3]
    ground, dark = luminance(red, green, blue) + 0.05, luminance(*to_rgb(_DARK)) + 0.05
    return _DARK if ground / dark > 1.05 / ground else "#ffffff"


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PDF, SVG or PNG, depending on the suffix of the path.

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
    path.write_bytes(figure_bytes(figure, PictureFormat(suffix)))


def figure_bytes(figure: Figure, kind: PictureFormat, ground: str = "#ffffff") -> bytes:
    """Return a figure as the bytes of a file, on a background colour (``none`` for none)."""
    sheet = io.BytesIO()
    with drawing_style():
        figure.savefig(sheet, format=kind.value, metadata=_METADATA[kind], facecolor=ground)
    return sheet.getvalue()


# Round tick values, linear or logarithmic, within the axis limits

_STEPS: Final = (1, 2, 2.5, 5, 10)


def spans_decades(values: Float64, decades: float = 2.0) -> bool:
    """Return whether all values are positive and span more than a number of decades.

    Examples
    --------
    >>> spans_decades(np.array([0.01, 1.5])), spans_decades(np.array([0.1, 1.5]))
    (True, False)
    """
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0.0 and finite.max() > finite.min() * 10.0**decades)


def round_ticks(low: float, high: float, *, log: bool = False, most: int = 5) -> list[float]:
    """Choose round ticks from ``low`` to ``high``, powers of ten on a logarithmic scale.

    Examples
    --------
    >>> round_ticks(1.3, 9.2), round_ticks(0.02, 30.0, log=True)
    ([2.0, 4.0, 6.0, 8.0], [0.1, 1.0, 10.0])
    """
    if log:
        first, last = np.ceil(np.log10(low)), np.floor(np.log10(high))
        step = max(1, -(-int(last - first + 1) // most))
        return [float(10.0**power) for power in np.arange(first, last + 1, step)]
    return RoundLocator(most).tick_values(low, high)


class RoundLocator(MaxNLocator):
    """Locate about ``most`` round ticks, none within a share ``edge`` of either end of the axis."""

    def __init__(self, most: int = 5, *, edge: float = 0.0, integer: bool = False) -> None:
        steps = (1, 2, 5, 10) if integer else _STEPS
        super().__init__(most, steps=steps, integer=integer, min_n_ticks=1)
        self._edge = edge

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the ticks between two ends."""
        ticks = np.asarray(super().tick_values(vmin, vmax))
        ticks[abs(ticks) < 1e-9 * (vmax - vmin)] = 0.0  # remainders of rounding
        free = self._edge * (vmax - vmin)
        return [float(tick) for tick in ticks if vmin + free <= tick <= vmax - free]


def set_scale(axes: Axes, which: Literal["x", "y"], low: float, high: float, *, log: bool) -> None:
    """Set the limits of an axis, with round ticks in plain decimal notation."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log" if log else "linear"})
    axis.set_ticks(round_ticks(low, high, log=log))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axes.set(**{f"{which}lim": (low, high)})
