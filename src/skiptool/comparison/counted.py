"""Sets that hold counts in place of activations: what can be asked of them, and what cannot.

Counts know their bins and nothing else of the values: whatever needs other bins, or the values
themselves, is refused before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from skiptool.comparison.activations import Activations, Settings, vectors_of
from skiptool.comparison.units import Draw, Units, equal_rows
from skiptool.distances.binned import DISTANCES
from skiptool.distances.counting import Binning
from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import RangeRule

__all__ = ["check_bins", "counted_settings", "permutable", "same_bins"]

_ACTIVATIONS: Final = "compare feature stores (extract without --counts)"


def counted_settings(
    sets: Sequence[Activations], settings: Settings, warn: Callable[[str], None]
) -> Settings:
    """Return the settings of a comparison in which some sets may hold counts.

    Parameters
    ----------
    sets : sequence of Activations
    settings : Settings
    warn : callable
        Takes the line that says so where the range of the reference takes the place of the
        default one.

    Raises
    ------
    ArgumentError
        If something is asked for that counts cannot tell.
    """
    found = [(each.where, known) for each in sets if (known := each.counted(each.layers[0]))]
    if not found:
        return settings
    first = found[0][0]
    for metric in settings.metrics:
        if metric not in DISTANCES:
            raise ArgumentError(
                f"--metric {metric.value}: needs activations, and {first} holds counts of them; "
                f"drop it, or {_ACTIVATIONS}"
            )
    if settings.range_rule not in (RangeRule.MINMAX, RangeRule.REFERENCE):
        option = {RangeRule.QUANTILE: "--bins quantile", RangeRule.LITERAL: "--literal-eq5"}
        asked = option.get(settings.range_rule, f"--range {settings.range_rule.value}")
        raise ArgumentError(
            f"{asked}: {first} holds counts in bins of equal width of the reference's range; drop "
            f"it, or {_ACTIVATIONS}"
        )
    for where, known in found:
        bins = known.binning.bins
        if settings.bins != (bins,):
            asked = ", ".join(map(str, settings.bins))
            raise ArgumentError(
                f"--{'sweep-' if len(settings.bins) > 1 else ''}bins {asked}: {where} holds counts "
                f"in {bins} bins; give --bins {bins}, or {_ACTIVATIONS}"
            )
    if settings.range_rule is RangeRule.MINMAX:
        warn(
            f"{first}{'' if len(found) == 1 else f' and {len(found) - 1} more'}: counts have the "
            "range of their reference (--range reference), so that is the range of all distances"
        )
    return replace(settings, range_rule=RangeRule.REFERENCE)


def same_bins(first: Binning, second: Binning) -> bool:
    """Whether two binnings of equal width put all values of all channels into the same bins."""
    alike = np.array_equal(first.low, second.low) and np.array_equal(first.span, second.span)
    return alike and first.bins == second.bins


def check_bins(reference: Activations, other: Activations) -> None:
    """Refuse two sets of counts whose bins differ.

    Raises
    ------
    MismatchError
        Names the layer, and what to do.
    """
    sets = (reference, other)
    for layer in (name for name in reference.layers if name in other.layers):
        known = [found.binning for each in sets if (found := each.counted(layer)) is not None]
        if len(known) == 2 and not same_bins(known[0], known[1]):
            raise MismatchError(
                f"{other.where} against {reference.where}: layer {layer} was counted in other "
                f"bins; extract one of them again with --ranges of the other (skiptool features "
                f"--counts --ranges {reference.where})"
            )


def permutable(
    sets: tuple[Activations, Activations], units: tuple[Units, Units], *, paired: bool
) -> tuple[Draw | None, tuple[str, ...]]:
    """Return the units that can be permuted, and what a reader must know of that.

    Parameters
    ----------
    sets : pair of Activations
    units : pair of Units
    paired : bool

    Returns
    -------
    draw : Draw or None
        The units given, without rows that are not like the others; None where counts allow no test.
    warnings : tuple of str
    """
    known = [each.counted(each.layers[0]) for each in sets]
    if known == [None, None]:
        return Draw(*units), ()
    for layer in (name for name in sets[0].layers if name in sets[1].layers):
        vectors = [vectors_of(each, layer) for each in sets]
        if vectors[0] != vectors[1]:
            return None, (
                f"no p-value: images of {vectors[0]} and {vectors[1]} vectors are compared, and no "
                "equal draw can be made from counts (extract both with one --grid)",
            )
    draw = equal_rows(*units, paired=paired)
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
