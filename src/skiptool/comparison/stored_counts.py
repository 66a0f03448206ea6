"""Sets that hold counts instead of activations.

Counts know their bins and nothing else of the values: whatever needs other bins, or the values
themselves, is refused before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from skiptool.comparison.activations import Activations, Settings, vectors_of
from skiptool.comparison.units import EqualDraw, Units, exchangeable_rows
from skiptool.distances.binned import DISTANCES
from skiptool.distances.bins import Binning
from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import RangeRule

_ACTIVATIONS: Final = "compare feature stores (extract without --counts)"


def counted_settings(
    sets: Sequence[Activations], settings: Settings, warn: Callable[[str], None]
) -> Settings:
    """Return the settings of a comparison in which some sets may hold counts.

    ``warn`` is called if the range of the reference replaces the default one.

    Raises
    ------
    ArgumentError
        If the settings ask for something that counts cannot tell.
    """
    counts = [(each.where, c) for each in sets if (c := each.counted(each.layers[0])) is not None]
    if not counts:
        return settings
    first = counts[0][0]
    for metric in settings.metrics:
        if metric not in DISTANCES:
            raise ArgumentError(
                f"--metric {metric.value}: needs activations, but {first} holds counts; drop it, "
                f"or {_ACTIVATIONS}"
            )
    if settings.range_rule not in (RangeRule.MINMAX, RangeRule.REFERENCE):
        options = {RangeRule.QUANTILE: "--bins quantile", RangeRule.LITERAL: "--literal-eq5"}
        option = options.get(settings.range_rule, f"--range {settings.range_rule.value}")
        raise ArgumentError(
            f"{option}: {first} holds counts in bins of equal width of the reference's range; drop "
            f"it, or {_ACTIVATIONS}"
        )
    for where, known in counts:
        bins = known.binning.bins
        if settings.bins != (bins,):
            option = "--sweep-bins" if len(settings.bins) > 1 else "--bins"
            raise ArgumentError(
                f"{option} {', '.join(map(str, settings.bins))}: {where} holds counts in {bins} "
                f"bins; give --bins {bins}, or {_ACTIVATIONS}"
            )
    if settings.range_rule is RangeRule.MINMAX:
        more = "" if len(counts) == 1 else f" and {len(counts) - 1} more"
        warn(
            f"{first}{more}: counts have the range of their reference (--range reference), "
            "so that is the range of all distances"
        )
    return replace(settings, range_rule=RangeRule.REFERENCE)


def equal_bins(first: Binning, second: Binning) -> bool:
    """Return whether two binnings of equal width sort all values into the same bins."""
    ranges = np.array_equal(first.low, second.low) and np.array_equal(first.span, second.span)
    return ranges and first.bins == second.bins


def check_bins(reference: Activations, other: Activations) -> None:
    """Raise MismatchError if two sets hold counts in different bins."""
    for layer in (name for name in reference.layers if name in other.layers):
        first, second = reference.counted(layer), other.counted(layer)
        if first and second and not equal_bins(first.binning, second.binning):
            raise MismatchError(
                f"{other.where} against {reference.where}: layer {layer} was counted in other "
                f"bins; extract one of them again with --ranges of the other (skiptool features "
                f"--counts --ranges {reference.where})"
            )


def permutable_units(
    sets: tuple[Activations, Activations], units: tuple[Units, Units], *, paired: bool
) -> tuple[EqualDraw | None, tuple[str, ...]]:
    """Return the units that can be permuted, and warnings about them.

    Returns
    -------
    draw : EqualDraw or None
        The units given, without rows that hold fewer images; None if counts allow no test.
    warnings : tuple of str
    """
    if all(each.counted(each.layers[0]) is None for each in sets):
        return EqualDraw(*units), ()
    for layer in (name for name in sets[0].layers if name in sets[1].layers):
        vectors = [vectors_of(each, layer) for each in sets]
        if vectors[0] != vectors[1]:
            return None, (
                f"no p-value: images of {vectors[0]} and {vectors[1]} vectors are compared, and no "
                "equal draw can be made from counts (extract both with one --grid)",
            )
    draw = exchangeable_rows(*units, paired=paired)
    if draw is None:
        held = [1 if each.held is None else int(each.held.max()) for each in units]
        return None, (
            f"no p-value: counts are of {held[0]} and {held[1]} images together, and no equal draw "
            "can be made from them (extract both with one --pool-images)",
        )
    rows = sum(len(each.order) for each in units)
    left = rows - len(draw.reference.order) - len(draw.other.order)
    if not left:
        return draw, ()
    return draw, (
        f"the test leaves out {left} of {rows} blocks, as they hold fewer images than the others",
    )
