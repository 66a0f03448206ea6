"""How well scans of one glass slide were aligned, from the rows of registration tables."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

ELSEWHERE: Final = "lost on another scan"
"""Reason for leaving out a patch that is sound on this scan but not on another one."""

UNITS: Final[Mapping[str, str]] = {"px": "residual", "µm": "residual_um"}
"""Column of each unit."""

_LIMIT: Final = re.compile(r"residual above (\d+(?:\.\d+)?(?:e[-+]?\d+)?) px")


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """Residual misalignment, in one unit.

    Attributes
    ----------
    measured : int
        Patches in which it could be measured, kept or not.
    low, quarter, median, three_quarters, p90 : float
        Quantiles at 0.1, 0.25, 0.5, 0.75 and 0.9 over these patches, interpolated linearly; NaN
        without any.
    by_slide : float64, shape (S,)
        Medians of slides with such a patch, rising.
    """

    measured: int
    low: float
    quarter: float
    median: float
    three_quarters: float
    p90: float
    by_slide: Float64


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Scans of one domain against those of a reference domain.

    Attributes
    ----------
    reference_domain, domain : str
    slides : int
        Reference slides that have a scan of this domain.
    unaligned : int
        Those whose scan could not be aligned.
    patches, kept : int
        On the aligned slides.
    share : float
        Kept share of the patches; NaN without patches.
    residuals : mapping of unit to Residuals
        ``px``, level-0 pixels of the reference, and ``µm``.
    lost : mapping of reason to int
        Patches left out, the most frequent reason first.
    """

    reference_domain: str
    domain: str
    slides: int
    unaligned: int
    patches: int
    kept: int
    share: float
    residuals: Mapping[str, Residuals]
    lost: Mapping[str, int]


def pairs(columns: Mapping[str, Sequence[Any]]) -> list[Pair]:
    """Group the rows of registration tables by reference and domain.

    Parameters
    ----------
    columns : mapping of column name to values
        Of the table ``registration``: ``subject``, ``slide``, ``reference_domain``, ``domain``,
        ``sample``, ``residual``, ``residual_um``, ``kept``, ``reason``.

    Returns
    -------
    list of Pair
        In the order of first appearance, those of one reference together.
    """
    named = zip(columns["reference_domain"], columns["domain"], strict=True)
    keys, pair = _coded([(str(a or ""), str(b or "")) for a, b in named])
    _, slide = _coded(list(zip(columns["subject"], columns["slide"], strict=True)))
    reasons, reason = _coded([why or ELSEWHERE for why in columns["reason"]])
    patch = np.array([sample is not None for sample in columns["sample"]], dtype=np.bool_)
    kept = np.array([bool(value) for value in columns["kept"]], dtype=np.bool_) & patch
    values = {
        unit: np.array(columns[name], dtype=np.float64)  # None is NaN
        for unit, name in UNITS.items()
    }
    found = []
    references = list(dict.fromkeys(reference for reference, _ in keys))
    for code in sorted(range(len(keys)), key=lambda code: references.index(keys[code][0])):
        rows = np.flatnonzero(pair == code)
        sound = rows[patch[rows]]
        count, left = int(sound.size), int(kept[sound].sum())
        why = Counter(reason[sound[~kept[sound]]].tolist())
        found.append(
            Pair(
                reference_domain=keys[code][0],
                domain=keys[code][1],
                slides=int(np.unique(slide[rows]).size),
                unaligned=int(np.unique(slide[rows[~patch[rows]]]).size),
                patches=count,
                kept=left,
                share=left / count if count else math.nan,
                residuals={u: _residuals(v[sound], slide[sound]) for u, v in values.items()},
                lost={reasons[place]: number for place, number in why.most_common()},
            )
        )
    return found


def residual_limits(found: Sequence[Pair]) -> dict[str, float]:
    """Return the largest residual allowed, in pixels, by each reason that names one.

    Examples
    --------
    >>> columns = {name: ["a"] for name in ("subject", "slide", "reference_domain", "domain")}
    >>> columns |= {"sample": ["s"], "residual": [3.0], "residual_um": [0.75], "kept": [False]}
    >>> residual_limits(pairs({**columns, "reason": ["residual above 2 px"]}))
    {'residual above 2 px': 2.0}
    """
    matches = (_LIMIT.fullmatch(reason) for pair in found for reason in pair.lost)
    return {match[0]: float(match[1]) for match in matches if match}


def _coded(values: Sequence[Any]) -> tuple[list[Any], Int64]:
    """Return the different values in order of first appearance, and the index of each value."""
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return list(places), np.fromiter(map(places.__getitem__, values), np.int64, len(values))


def _residuals(values: Float64, slide: Int64) -> Residuals:
    there = np.isfinite(values)
    values, slide = values[there], slide[there]
    if not values.size:
        return Residuals(0, *(math.nan,) * 5, by_slide=values)
    low, quarter, median, upper, p90 = np.quantile(values, (0.1, 0.25, 0.5, 0.75, 0.9)).tolist()
    order = np.argsort(slide, kind="stable")
    ends = np.flatnonzero(np.diff(slide[order])) + 1
    medians = np.array([np.median(part) for part in np.split(values[order], ends)])
    return Residuals(int(values.size), low, quarter, median, upper, p90, np.sort(medians))
