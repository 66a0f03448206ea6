"""Size of a slide's pixels in micrometres: what the manifest says, else what the file says."""

from __future__ import annotations

from typing import Final

from skiptool.errors import SourceError
from skiptool.sources.slides.levels import Pair

__all__ = ["LARGEST", "SMALLEST", "Given", "is_sane", "pixel_size"]

SMALLEST: Final = 0.05
LARGEST: Final = 20.0
"""Micrometres per pixel of level 0 that a slide may have: beyond, a default of some writer (1000,
352.78) or a wrong unit stands in its place."""

Given = tuple[float | None, float | None]
"""Values of the manifest's columns mpp and mpp_y, None where empty."""

_COLUMNS: Final = ("mpp", "mpp_y")


def pixel_size(name: str, given: Given, recorded: tuple[str | None, str | None]) -> Pair | None:
    """Micrometres per pixel of level 0, horizontally and vertically.

    Parameters
    ----------
    name : str
        The slide, for messages.
    given : (float or None, float or None)
        What the manifest says; always wins. ``mpp`` alone holds for both axes; ``mpp_y`` alone
        leaves the horizontal one to the file.
    recorded : (str or None, str or None)
        What the file says, as text.

    Returns
    -------
    (float, float) or None
        None where neither says it: the file is believed only if both its values are sane.

    Raises
    ------
    SourceError
        If a value of the manifest is not within 0.05..20, or there is a vertical one only.

    Examples
    --------
    >>> pixel_size("a.svs", (None, None), ("0.499", "0.499"))
    (0.499, 0.499)
    >>> pixel_size("a.svs", (0.25, None), ("1000", "1000"))
    (0.25, 0.25)
    >>> pixel_size("a.tif", (None, None), ("1000", "1000"))
    """
    for column, value in zip(_COLUMNS, given, strict=True):
        if value is not None and not is_sane(value):
            raise SourceError(
                f"{name}: the manifest's column {column} says {value:g} um/px; expected "
                f"{SMALLEST} to {LARGEST:g}. Correct it there"
            )
    across, down = given
    if across is not None:
        return across, across if down is None else down
    found = _sane(recorded)
    if down is None:
        return found
    if found is None:
        raise SourceError(
            f"{name}: the manifest's column mpp_y is filled in but mpp is empty, and the file "
            "itself has no usable pixel size; fill in mpp too"
        )
    return found[0], down


def is_sane(value: float) -> bool:
    """Whether a slide may have so many micrometres per pixel (0.05 to 20)."""
    return SMALLEST <= value <= LARGEST


def _sane(recorded: tuple[str | None, str | None]) -> Pair | None:
    try:
        across, down = (float(text or "nan") for text in recorded)
    except ValueError:
        return None
    return (across, down) if is_sane(across) and is_sane(down) else None
