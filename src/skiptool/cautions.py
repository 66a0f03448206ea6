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
        Names of the comparisons it concerns; empty if the context makes them clear.
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
    >>> cautions = [Caution(few.format(3), ("enc1",)), Caution(few.format(16), ("enc2", "dec0"))]
    >>> str(*merge_cautions(cautions))
    'enc1, enc2, dec0: 3 to 16 of 64 channels vary'
    """
    groups: dict[str, list[Caution]] = {}
    for caution in dict.fromkeys(cautions):
        groups.setdefault(_NUMBER.sub("#", caution.text), []).append(caution)
    return [_merge(group) for group in groups.values()]


def _merge(group: Sequence[Caution]) -> Caution:
    columns = zip(*(_NUMBER.findall(caution.text) for caution in group), strict=True)
    spans = map(_span, columns)
    text = _NUMBER.sub(lambda _: next(spans), group[0].text)
    layers = dict.fromkeys(layer for caution in group for layer in caution.layers)
    if not all(caution.layers for caution in group):  # one of them concerns all layers
        layers.clear()
    comparisons = dict.fromkeys(name for caution in group for name in caution.comparisons)
    return Caution(text, tuple(layers), tuple(comparisons))


def _span(numbers: Sequence[str]) -> str:
    low, high = min(numbers, key=_value), max(numbers, key=_value)
    return low if low == high else f"{low} to {high}"


def _value(number: str) -> float:
    return float(number.replace(",", ""))
