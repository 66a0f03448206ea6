"""Residuals of aligned scans: a row for each domain, in pixels, in micrometres, and what is lost.

In each row a line from the 10 % to the 90 % quantile, a box over the quartiles, the median, and
below it a mark at the median of each slide; then a bar of the patches kept and left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from skiptool.analysis.registration import ELSEWHERE, UNITS, residual_limits
from skiptool.errors import ArgumentError
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    TWO_COLUMNS,
    drawing,
    readable,
    set_scale,
    spans_decades,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.analysis.registration import Pair

__all__ = ["draw_alignment"]

_MARGIN: Final = 0.06
_GAP: Final = 0.26
_TALLY: Final = 0.85
_HEAD: Final = 0.26
_GROUP: Final = 0.26
_AXIS: Final = 0.26
_LEGEND: Final = 0.17
_ROW: Final = 0.36
_BOX: Final = "#6d92c0"
_KEPT: Final = "#6d92c0"
_LOST: Final = ("#c9822b", "#8a4fa3", "#b3474e", "#6f7d2f")


def draw_alignment(pairs: Sequence[Pair]) -> Figure:
    """Draw what is left of the misalignment of each domain, and how many patches are kept.

    Parameters
    ----------
    pairs : sequence of Pair
        Those of one reference together.

    Returns
    -------
    Figure
        As wide as two journal columns.

    Raises
    ------
    ArgumentError
        If there is no pair.
    """
    if not pairs:
        raise ArgumentError("registration: found no pair of domains, expected at least one")
    colours = _colours(pairs)
    with drawing():
        tops, depth = _rows(pairs)
        labels = text_width([readable(pair.domain, 24) for pair in pairs], 7.0)
        notes = text_width([_slides(pair) for pair in pairs], 5.8)
        heads = 1.15 * text_width([_against(pair) for pair in pairs], 7.0)  # they are bold
        left = _MARGIN + max(labels, notes, heads) + 0.14
        lines = -(-len(colours) // _across(list(colours), left))
        total = _HEAD + depth + _AXIS + lines * _LEGEND + 0.06
        figure = Figure(figsize=(TWO_COLUMNS, total))
        width = (TWO_COLUMNS - left - 2 * _GAP - _TALLY) / 3
        frames = []
        for column, title in enumerate(("residual, px", "residual, µm", "patches, %")):
            x = left + column * (width + _GAP)
            low = total - _HEAD - depth
            axes = figure.add_axes(
                (x / TWO_COLUMNS, low / total, width / TWO_COLUMNS, depth / total)
            )
            axes.set_ylim(depth, 0.0)
            axes.set_yticks([])
            axes.grid(axis="x")
            figure.text(x / TWO_COLUMNS, 1 - 0.15 / total, title, size=8.0)
            frames.append(axes)
        _names(figure, pairs, tops, total)
        for axes, unit in zip(frames, UNITS, strict=False):
            _boxes(axes, pairs, tops, unit)
        _limit(frames[0], pairs)
        _bars(frames[2], pairs, tops, colours)
        handles = [Patch(color=colour, label=readable(name)) for name, colour in colours.items()]
        figure.legend(handles=handles, ncols=_across(list(colours), left), **_legend_place(left))
    return figure


def _colours(pairs: Sequence[Pair]) -> dict[str, str]:
    lost = list(dict.fromkeys(reason for pair in pairs for reason in pair.lost))
    limits = residual_limits(pairs)
    own = sorted((why for why in lost if why != ELSEWHERE), key=lambda why: why not in limits)
    colours = {"kept": _KEPT, **dict(zip(own, cycle(_LOST), strict=False))}
    return colours | ({ELSEWHERE: LINE} if ELSEWHERE in lost else {})


def _rows(pairs: Sequence[Pair]) -> tuple[list[float], float]:
    """Top of each row below that of the panels, and the height of all, in inches."""
    tops, below, previous = [], 0.0, None
    for pair in pairs:
        below += _GROUP if pair.reference_domain != previous else 0.0
        tops.append(below)
        below += _ROW
        previous = pair.reference_domain
    return tops, below + 0.04


def _against(pair: Pair) -> str:
    return f"against {readable(pair.reference_domain, 18)}"


def _slides(pair: Pair) -> str:
    slides = f"{pair.slides} slide{'' if pair.slides == 1 else 's'}"
    return f"{slides}, {pair.unaligned} not aligned" if pair.unaligned else slides


def _names(figure: Figure, pairs: Sequence[Pair], tops: Sequence[float], total: float) -> None:
    previous = None
    for pair, top in zip(pairs, tops, strict=True):
        x = _MARGIN / TWO_COLUMNS

        def place(below: float, top: float = top) -> float:
            return 1 - (_HEAD + top + below) / total

        if pair.reference_domain != previous:
            figure.text(x, place(-0.08), _against(pair), weight="bold", size=7.0)
        figure.text(x, place(0.15), readable(pair.domain, 24), size=7.0)
        figure.text(x, place(0.28), _slides(pair), size=5.8, color=SOFT)
        previous = pair.reference_domain


def _boxes(axes: Axes, pairs: Sequence[Pair], tops: Sequence[float], unit: str) -> None:
    found = [pair.residuals[unit] for pair in pairs]
    ends = [value for r in found if r.measured for value in (r.low, r.p90, *r.by_slide)]
    high = max(ends, default=1.0) or 1.0
    least = min((value for value in ends if value > 0.0), default=high)
    floor = max(least, high / 1e4)
    log = spans_decades(np.array([floor, high]))
    least_shown = floor / 1.3 if log else 0.0  # what is less lies at the edge
    set_scale(axes, "x", least_shown, high * (1.3 if log else 1.05), log=log)
    for r, top in zip(found, tops, strict=True):
        middle = top + 0.14
        if not r.measured:
            axes.text(0.02, middle, "not measured", **_beside(axes), color=SOFT, size=6.0)
            continue
        low, quarter, median, upper, p90 = (
            max(value, least_shown)
            for value in (r.low, r.quarter, r.median, r.three_quarters, r.p90)
        )
        axes.plot([low, p90], [middle] * 2, color=INK, linewidth=0.7, solid_capstyle="butt")
        axes.fill_betweenx([middle - 0.06, middle + 0.06], quarter, upper, color=_BOX, lw=0)
        axes.plot([median] * 2, [middle - 0.085, middle + 0.085], color=INK, linewidth=1.3)
        marks = np.maximum(r.by_slide, least_shown)
        axes.vlines(marks, top + 0.25, top + 0.31, color=INK, linewidth=0.5)


def _beside(axes: Axes) -> Mapping[str, Any]:
    return {"transform": axes.get_yaxis_transform(), "va": "center_baseline"}


def _limit(axes: Axes, pairs: Sequence[Pair]) -> None:
    """Draw the largest residual that was allowed, if it is one for all."""
    limits = set(residual_limits(pairs).values())
    if len(limits) == 1:
        (limit,) = limits
        if axes.get_xlim()[0] <= limit <= axes.get_xlim()[1]:
            axes.axvline(
                limit, color=_LOST[0], linewidth=0.9, linestyle=(0, (3.0, 1.4)), zorder=0.9
            )


def _bars(
    axes: Axes, pairs: Sequence[Pair], tops: Sequence[float], colours: Mapping[str, str]
) -> None:
    axes.set_xlim(0.0, 100.0)
    axes.set_xticks([0, 50, 100])
    for pair, top in zip(pairs, tops, strict=True):
        middle = top + 0.14
        tally = f"{pair.kept:,} of {pair.patches:,}" if pair.patches else "no patches"
        axes.text(1.05, middle, tally, **_beside(axes), size=6.5)
        if not pair.patches:
            axes.barh(middle, 100.0, 0.17, color=HOLE)
            continue
        begin = 0.0
        for name in colours:
            share = 100.0 * (pair.kept if name == "kept" else pair.lost.get(name, 0)) / pair.patches
            if share and math.isfinite(share):
                axes.barh(middle, share, 0.17, left=begin, color=colours[name], linewidth=0)
                begin += share


def _across(names: Sequence[str], left: float) -> int:
    widest = text_width([readable(name) for name in names], 6.5)
    return max(1, int((TWO_COLUMNS - left) / (widest + 0.42)))


def _legend_place(left: float) -> dict[str, Any]:
    return {
        "loc": "lower left",
        "bbox_to_anchor": (left / TWO_COLUMNS, 0.0),
        "borderaxespad": 0.1,
        "borderpad": 0.2,
        "frameon": False,
        "handlelength": 1.2,
        "handletextpad": 0.5,
        "columnspacing": 1.6,
        "fontsize": 6.5,
        "labelcolor": INK,
    }
