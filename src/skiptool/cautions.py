"""Warnings that accompany results, and merging of repeated ones into one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Caution:
    """A warning about some numbers.

    Attributes
    ----------
    layers : tuple of str
        Layers it concerns; empty for all.
    comparisons : tuple of str
        Names of the comparisons it concerns; empty if the context tells.
    """

    text: str
    layers: tuple[str, ...] = ()
    comparisons: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the layers and the text."""
        return f"{', '.join(self.layers)}: {self.text}" if self.layers else self.text


_NUMBER: Final = re.compile(r"(?<![\w.-])\d+(?:[.,]\d+)*(?!\w)")


def merge_cautions(cautions: Iterable[Caution]) -> list[Caution]:
    """Merge cautions that differ only in layers, comparisons and numbers.

    Examples
    --------
    >>> few = "{} of 64 channels vary"
    >>> both = [Caution(few.format(3), ("enc1",)), Caution(few.format(16), ("enc2", "dec0"))]
    >>> str(*merge_cautions(both))
    'enc1, enc2, dec0: 3 to 16 of 64 channels vary'
    """
    alike: dict[str, list[Caution]] = {}
    for caution in dict.fromkeys(cautions):
        alike.setdefault(_NUMBER.sub("#", caution.text), []).append(caution)
    return [_merged(same) for same in alike.values()]


def _merged(same: Sequence[Caution]) -> Caution:
    columns = zip(*(_NUMBER.findall(caution.text) for caution in same), strict=True)
    spans = map(_span, columns)
    text = _NUMBER.sub(lambda _: next(spans), same[0].text)
    layers = dict.fromkeys(layer for caution in same for layer in caution.layers)
    if not all(caution.layers for caution in same):  # one of them concerns all layers
        layers.clear()
    comparisons = dict.fromkeys(name for caution in same for name in caution.comparisons)
    return Caution(text, tuple(layers), tuple(comparisons))


def _span(numbers: Sequence[str]) -> str:
    ends = [choose(numbers, key=lambda text: float(text.replace(",", ""))) for choose in (min, max)]
    return " to ".join(dict.fromkeys(ends))
