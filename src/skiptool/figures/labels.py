"""Names from data cut or broken to the room that a picture has for them."""

from __future__ import annotations

from typing import Final

from skiptool.figures.dots import DOTS
from skiptool.figures.style import readable, text_width

__all__ = ["BOLD", "fitted", "wrapped"]

BOLD: Final = 1.15
"""Bold letters are about so many times as wide: fit them as if they were of a greater size."""

_LONGEST: Final = 200


def fitted(text: str, size: float, width: float) -> str:
    """Cut the middle out of a text until it is at most ``width`` dots wide at ``size`` points.

    Examples
    --------
    >>> fitted("CMU-1-Small-Region", 6.0, 200), fitted("CMU-1", 6.0, 200)
    ('CMU-1-…egion', 'CMU-1')
    """
    low, high = 1, min(len(text), _LONGEST)
    while low < high:  # the longest that fits
        middle = (low + high + 1) // 2
        if _fits(readable(text, middle), size, width):
            low = middle
        else:
            high = middle - 1
    return readable(text, low).strip()


def wrapped(text: str, size: float, width: float, lines: int = 2) -> list[str]:
    """Break a text at its line breaks or else between words; the last line is cut.

    Examples
    --------
    >>> wrapped("Hamamatsu NanoZoomer XR", 6.0, 200)
    ['Hamamatsu', 'NanoZo…er XR']
    >>> wrapped("slide 7, 120 450", 6.0, 900)
    ['slide 7, 120 450']
    """
    given = text.strip().splitlines()
    if len(given) > 1:
        kept = [*given[: lines - 1], *([" ".join(given[lines - 1 :])] * (len(given) >= lines))]
        return [fitted(line, size, width) for line in kept]
    broken: list[str] = []
    rest = text.split()
    while rest and len(broken) < lines - 1:
        count = 1
        while count < len(rest) and _fits(" ".join(rest[: count + 1]), size, width):
            count += 1
        broken.append(" ".join(rest[:count]))
        rest = rest[count:]
    return [fitted(line, size, width) for line in [*broken, " ".join(rest)] if line]


def _fits(text: str, size: float, width: float) -> bool:
    return text_width([text], size) * DOTS <= width
