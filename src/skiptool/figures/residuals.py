"""Residual misalignment of scans, in pixels and micrometres, and patches left out because of it.

Each row is a domain: a line from the 10 % to the 90 % quantile, a box between the quartiles, the
median, and below it marks at the medians of slides; then a bar of patches kept and left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.patches import Patch

from skiptool.analysis.registration import ELSEWHERE, UNITS, residual_limits
from skiptool.errors import ArgumentError
from skiptool.figures.panels import fit_layout, legend_below, panel_grid
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    drawing_style,
    label_text,
    set_scale,
    spans_decades,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.analysis.registration import Pair

_GROUP: Final = 0.26  # inches above the rows of a reference
_ROW: Final = 0.36  # inches
_KEPT: Final = "#6d92c0"
_LOST: Final = ("#c9822b", "#8a4fa3", "#b3474e", "#6f7d2f")


def draw_alignment(pairs: Sequence[Pair]) -> Figure:
    """Draw the residual misalignment of each domain, and the share of patches kept.

    Parameters
    ----------
    pairs : sequence of Pair
        Pairs of the same reference are adjacent.

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
    with drawing_style():
        figure, panels = panel_grid([(0, 0), (0, 1), (0, 2)], sharex=False)
        titles = ("residual, px", "residual, µm", "patches, %")
        for axes, title in zip(panels, titles, strict=True):
            axes.set_title(title, size=8.0)
        for axes, unit in zip(panels, UNITS, strict=False):
            draw_residuals(axes, pairs, unit)
        limits = set(residual_limits(pairs).values())
        low, high = panels[0].get_xlim()
        if len(limits) == 1 and low <= min(limits) <= high:
            limit = panels[0].axvline(*limits, color=_LOST[0], linewidth=0.9, zorder=0.9)
            limit.set_linestyle((0, (3.0, 1.4)))
        draw_kept(panels[2], pairs)
        _name_groups(panels[0], pairs)
        colours = _colours(pairs)
        handles = [Patch(color=colour, label=label_text(name)) for name, colour in colours.items()]
        legend_below(figure, handles)
        fit_layout(figure, [_rows(pairs)[1]])
    return figure


def draw_residuals(axes: Axes, pairs: Sequence[Pair], unit: str) -> None:
    """Draw the quantiles of residuals and the medians of slides into Axes, a row for each pair."""
    residuals = [pair.residuals[unit] for pair in pairs]
    ends = [value for r in residuals if r.measured for value in (r.low, r.p90, *r.by_slide)]
    high = max(ends, default=1.0) or 1.0
    smallest = min((value for value in ends if value > 0.0), default=high)
    floor = max(smallest, high / 1e4)
    log = spans_decades(np.array([floor, high]))
    low_end = floor / 1.3 if log else 0.0  # lower values are drawn at the edge
    _name_rows(axes, pairs)
    set_scale(axes, "x", low_end, high * (1.3 if log else 1.05), log=log)
    for r, top in zip(residuals, _rows(pairs)[0], strict=True):
        middle = top + 0.14
        if not r.measured:
            axes.text(0.02, middle, "not measured", **_text_style(axes), color=SOFT, size=6.0)
            continue
        quantiles = (r.low, r.quarter, r.median, r.three_quarters, r.p90)
        low, quarter, median, upper, p90 = (max(value, low_end) for value in quantiles)
        axes.plot([low, p90], [middle] * 2, color=INK, linewidth=0.7, solid_capstyle="butt")
        axes.fill_betweenx([middle - 0.06, middle + 0.06], quarter, upper, color=_KEPT, lw=0)
        axes.plot([median] * 2, [middle - 0.085, middle + 0.085], color=INK, linewidth=1.3)
        marks = np.maximum(r.by_slide, low_end)
        axes.vlines(marks, top + 0.25, top + 0.31, color=INK, linewidth=0.5)


def draw_kept(axes: Axes, pairs: Sequence[Pair]) -> None:
    """Draw the shares of patches kept and left out, by reason, into Axes."""
    colours = _colours(pairs)
    _name_rows(axes, pairs)
    axes.set_xlim(0.0, 100.0)
    axes.set_xticks([0, 50, 100])
    for pair, top in zip(pairs, _rows(pairs)[0], strict=True):
        middle = top + 0.14
        tally = f"{pair.kept:,} of {pair.patches:,}" if pair.patches else "no patches"
        axes.text(1.05, middle, tally, **_text_style(axes), size=6.5)
        if not pair.patches:
            axes.barh(middle, 100.0, 0.17, color=HOLE)
            continue
        begin = 0.0
        for name in colours:
            share = 100.0 * (pair.kept if name == "kept" else pair.lost.get(name, 0)) / pair.patches
            if share and math.isfinite(share):
                axes.barh(middle, share, 0.17, left=begin, color=colours[name], linewidth=0)
                begin += share


def _text_style(axes: Axes) -> Mapping[str, Any]:
    return {"transform": axes.get_yaxis_transform(), "va": "center_baseline"}


def _colours(pairs: Sequence[Pair]) -> dict[str, str]:
    lost = list(dict.fromkeys(reason for pair in pairs for reason in pair.lost))
    limits = residual_limits(pairs)
    own = sorted((why for why in lost if why != ELSEWHERE), key=lambda why: why not in limits)
    colours = {"kept": _KEPT, **dict(zip(own, cycle(_LOST), strict=False))}
    return colours | ({ELSEWHERE: LINE} if ELSEWHERE in lost else {})


def _rows(pairs: Sequence[Pair]) -> tuple[list[float], float]:
    """Return the top of each row, from the top of the panels, and the total height, in inches."""
    tops, below, previous = [], 0.0, None
    for pair in pairs:
        below += _GROUP if pair.reference_domain != previous else 0.0
        tops.append(below)
        below += _ROW
        previous = pair.reference_domain
    return tops, below + 0.04


def _name_rows(axes: Axes, pairs: Sequence[Pair]) -> None:
    """Label rows with their domain and, in small type, the number of its slides."""
    tops, depth = _rows(pairs)
    axes.set_ylim(depth, 0.0)
    axes.set_yticks(np.add(tops, 0.13), [label_text(pair.domain, 24) for pair in pairs])
    axes.set_yticks(np.add(tops, 0.26), [_slides(pair) for pair in pairs], minor=True)
    axes.tick_params("y", labelsize=7.0, labelcolor=INK)
    axes.tick_params("y", which="minor", length=0.0, labelsize=5.8, labelcolor=SOFT)
    axes.grid(axis="x")


def _name_groups(axes: Axes, pairs: Sequence[Pair]) -> None:
    previous = None
    for pair, top in zip(pairs, _rows(pairs)[0], strict=True):
        if pair.reference_domain != previous:
            axes.annotate(
                f"against {label_text(pair.reference_domain, 18)}",
                (0.0, top),
                (-3.5, 3.0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                weight="bold",
            )
        previous = pair.reference_domain


def _slides(pair: Pair) -> str:
    slides = f"{pair.slides} slide{'' if pair.slides == 1 else 's'}"
    return f"{slides}, {pair.unaligned} not aligned" if pair.unaligned else slides
