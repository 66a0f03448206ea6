"""Sets of shifts by name, as images of several domains can have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from skiptool.errors import ArgumentError
from skiptool.names import ShiftKind
from skiptool.records import ORIGINAL, PAPER_SWEEP, Progress, Shift

__all__ = ["SWEEPS", "swept"]

SWEEPS = {"paper": PAPER_SWEEP}
"""Shifts by the name of their set."""


class _Domain(Protocol):
    @property
    def channels(self) -> int: ...


def swept(
    sweep: str | None, shifts: Sequence[Shift], domains: Sequence[_Domain], progress: Progress
) -> tuple[Shift, ...]:
    """Return the shifts of a sweep and those that are named; the original where there are none.

    Parameters
    ----------
    sweep : str, optional
    shifts : sequence of Shift
        Named by themselves: they stay, whatever the images are.
    domains : sequence
        What is shifted: with one channel there is no colour, hence no saturation to sweep.
    progress : Progress

    Raises
    ------
    ArgumentError
        If the sweep is unknown, or a saturation is named and there is no colour.
    """
    grey = any(domain.channels == 1 for domain in domains)
    colours = [each for each in shifts if each.kind is ShiftKind.SATURATION]
    if grey and colours:
        raise ArgumentError(
            f"shift {colours[0]}: images of one channel have no colour; choose brightness or "
            "contrast"
        )
    if sweep is None:
        return tuple(shifts) or (ORIGINAL,)
    if sweep not in SWEEPS:
        raise ArgumentError(f"--sweep {sweep}: unknown; expected {', '.join(SWEEPS)}")
    kept = [each for each in SWEEPS[sweep] if not (grey and each.kind is ShiftKind.SATURATION)]
    if len(kept) < len(SWEEPS[sweep]):
        progress.warn(
            f"--sweep {sweep}: images of one channel have no colour, so saturation is left out; "
            "brightness and contrast are swept"
        )
    return tuple(dict.fromkeys((*kept, *shifts)))
