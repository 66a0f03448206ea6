"""``--labels``: which pixel value, or which colour, of a mask is which class."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skiptool.errors import ArgumentError
from skiptool.names import unquoted_name

__all__ = ["label_words", "value_words"]

_LABEL = re.compile(
    r"\s*(#[0-9a-fA-F]{6}|[0-9]+\s*,\s*[0-9]+\s*,\s*[0-9]+|[0-9]+)\s*=(\s*\"(?:[^\"]|\"\")*\"\s*(?=,|\Z)|[^,]+)",
    re.ASCII,
)
_LABELS = re.compile(rf"{_LABEL.pattern}(?:,{_LABEL.pattern})*,?", re.ASCII)


def label_words(words: Sequence[str] | None, option: str) -> dict[int | tuple[int, int, int], str]:
    """Read repeated ``VALUE=CLASS``, ``RED,GREEN,BLUE=CLASS`` or ``#RRGGBB=CLASS``.

    A class whose name holds a comma stands in double quotes.

    Raises
    ------
    ArgumentError
        If one is not of that form, a value is no label of 8 or 16 bits, or a colour has a channel
        above 255.

    Examples
    --------
    >>> label_words(["#ff0000=tumor,0,0,0=glass"], "--labels")
    {(255, 0, 0): 'tumor', (0, 0, 0): 'glass'}
    """
    found: dict[int | tuple[int, int, int], str] = {}
    for word in words or ():
        if not _LABELS.fullmatch(word):
            raise _no_label(word, option)
        for text, name in _LABEL.findall(word):
            key = _key(text)
            if key is None or not unquoted_name(name):
                raise _no_label(word, option)
            if key in found:
                raise ArgumentError(f"{option} {word!r}: the value {text} is given a class twice")
            found[key] = unquoted_name(name)
    return found


def value_words(words: Sequence[str] | None, option: str) -> dict[int, str]:
    """Read repeated ``VALUE=CLASS``, where masks hold no colours.

    Raises
    ------
    ArgumentError
        As `label_words`, or if one is of a colour.
    """
    found: dict[int, str] = {}
    for key, name in label_words(words, option).items():
        if not isinstance(key, int):
            raise ArgumentError(f"{option}: {key} is a colour, expected VALUE=CLASS such as 1=LV")
        found[key] = name
    return found


def _key(text: str) -> int | tuple[int, int, int] | None:
    """Return a pixel value or a colour; None where no mask can hold it."""
    if text.startswith("#"):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:], 16)
    numbers = [int(part) for part in text.split(",")]
    if len(numbers) == 1:
        return numbers[0] if numbers[0] < 1 << 16 else None
    return (numbers[0], numbers[1], numbers[2]) if max(numbers) < 256 else None


def _no_label(word: str, option: str) -> ArgumentError:
    return ArgumentError(
        f"{option} {word!r}: expected VALUE=CLASS or COLOUR=CLASS, such as 255=cell, #ff0000=tumor "
        "or 255,0,0=tumor"
    )
