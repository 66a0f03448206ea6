"""Residual misalignment of scans of one glass slide, from the rows of registration tables."""

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
"""Reason for leaving out a patch that is usable on this scan but not on another one."""

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
        Medians of slides with such a patch, ascending.
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
    slides : int
        Reference slides that have a scan of this domain.
    unaligned : int
        Slides whose scan could not be aligned.
    patches, kept : int
        Patches on the aligned slides, and those that were kept.
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

    Pairs are in the order of first appearance, those of one reference together. ``columns`` of the
    table are ``subject``, ``slide``, ``reference_domain``, ``domain``, ``sample``, ``residual``,
    ``residual_um``, ``kept`` and ``reason``.
    """
    domains = zip(columns["reference_domain"], columns["domain"], strict=True)
    keys, pair = _encode([(str(a or ""), str(b or "")) for a, b in domains])
    _, slide = _encode(list(zip(columns["subject"], columns["slide"], strict=True)))
    reasons, reason = _encode([text or ELSEWHERE for text in columns["reason"]])
    patch = np.array([sample is not None for sample in columns["sample"]], dtype=np.bool_)
    kept = np.array([bool(value) for value in columns["kept"]], dtype=np.bool_) & patch
    values = {
        unit: np.array(columns[name], dtype=np.float64)  # None is NaN
        for unit, name in UNITS.items()
    }
    results = []
    references = list(dict.fromkeys(reference for reference, _ in keys))
    for code in sorted(range(len(keys)), key=lambda code: references.index(keys[code][0])):
        rows = np.flatnonzero(pair == code)
        patches = rows[patch[rows]]
        count, kept_count = int(patches.size), int(kept[patches].sum())
        lost = Counter(reason[patches[~kept[patches]]].tolist())
        results.append(
            Pair(
                reference_domain=keys[code][0],
                domain=keys[code][1],
                slides=int(np.unique(slide[rows]).size),
                unaligned=int(np.unique(slide[rows[~patch[rows]]]).size),
                patches=count,
                kept=kept_count,
                share=kept_count / count if count else math.nan,
                residuals={u: _residuals(v[patches], slide[patches]) for u, v in values.items()},
                lost={reasons[index]: number for index, number in lost.most_common()},
            )
        )
    return results


def residual_limits(scan_pairs: Sequence[Pair]) -> dict[str, float]:
    """Return the largest allowed residual, in pixels, for each reason that names one.

    Examples
    --------
    >>> columns = {name: ["a"] for name in ("subject", "slide", "reference_domain", "domain")}
    >>> columns |= {"sample": ["s"], "residual": [3.0], "residual_um": [0.75], "kept": [False]}
    >>> residual_limits(pairs({**columns, "reason": ["residual above 2 px"]}))
    {'residual above 2 px': 2.0}
    """
    matches = (_LIMIT.fullmatch(reason) for pair in scan_pairs for reason in pair.lost)
    return {match[0]: float(match[1]) for match in matches if match}


def _encode(values: Sequence[Any]) -> tuple[list[Any], Int64]:
    """Return the distinct values in order of first appearance, and the index of each value."""
    index = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return list(index), np.fromiter(map(index.__getitem__, values), np.int64, len(values))


def _residuals(values: Float64, slide: Int64) -> Residuals:
    measured = np.isfinite(values)
    values, slide = values[measured], slide[measured]
    if not values.size:
        return Residuals(0, math.nan, math.nan, math.nan, math.nan, math.nan, by_slide=values)
    low, quarter, median, upper, p90 = np.quantile(values, (0.1, 0.25, 0.5, 0.75, 0.9)).tolist()
    order = np.argsort(slide, kind="stable")
    ends = np.flatnonzero(np.diff(slide[order])) + 1
    medians = np.array([np.median(part) for part in np.split(values[order], ends)])
    return Residuals(int(values.size), low, quarter, median, upper, p90, np.sort(medians))
