"""How much of a shift at the input is left at each layer: distances in shares of the input's.

For a layer l with the corrected distance c_l, see `skiptool.stats.jackknife`, its transmission is
c_l / c_input. Numerator and denominator are of the same images: leaving one out changes both, and
the interval is that of the ratio, which is narrower than either interval would suggest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.results import Measured
from skiptool.names import INPUT
from skiptool.stats.jackknife import interval

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["add_transmission"]


def add_transmission(measured: Sequence[Measured]) -> None:
    """Add to the means of layers what stands beside the distance of the input.

    Parameters
    ----------
    measured : sequence of Measured
        All layers of one pair, by one metric with one number of bins. Where ``input`` is among
        them, each gets ``input_value``, and where the interval of its distance lies above 0 also
        ``transmission``, ``transmission_low`` and ``transmission_high`` (95 %, cut at 0).
    """
    source = next((each for each in measured if each.layer == INPUT), None)
    if source is None:
        return
    for each in measured:
        each.mean["input_value"] = source.mean["value"]
        if source.mean.get("ci_low", 0.0) > 0 and source.replicates:
            ends = _share(each, source)
            found = np.clip(ends, 0.0, None)
            names = ("transmission", "transmission_low", "transmission_high")
            each.mean.update(zip(names, map(float, found), strict=True))


def _share(each: Measured, source: Measured) -> tuple[float, float, float]:
    if each is source:
        return 1.0, 1.0, 1.0
    share = each.estimate / source.estimate
    pairs = zip(each.replicates, source.replicates, strict=True)
    replicates = [_ratio(own, other) for own, other in pairs]
    # Both corrections are unsure, and their errors may add up.
    unsure = np.hypot(_correction(each), share * _correction(source)) / source.estimate
    low, high = interval(np.asarray(share), replicates, correction=unsure)
    return share, float(low), float(high)


def _ratio(own: Float64, other: Float64) -> Float64:
    """Divide replicates; without a unit on which all depends nothing is known."""
    return np.divide(own, other, out=np.full_like(own, np.nan), where=other > 0)


def _correction(each: Measured) -> float:
    return each.mean["value"] - each.estimate
