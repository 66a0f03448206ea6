"""From what a mask holds, values or colours, to labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import IGNORE
from skiptool.sources.coloured_masks import colour_name, packed, read_colours, unpacked
from skiptool.sources.pictures import Colour, read_indexed

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Int64, UInt8

    Key = int | Colour
    """A pixel value, or a colour."""

__all__ = ["BACKGROUND", "IGNORED", "LabelMap", "classes_of", "label_map"]

BACKGROUND = "background"
"""Name of label 0 where nobody names it."""

IGNORED = "ignore"
"""Class of pixels that are ignored (255) unless a class has that name."""

_VALUES = 1 << 16
_BLACK = (0, 0, 0)

_SMOOTH = 8
"""With this many values that have no class, a mask probably has smooth edges."""


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Which pixel value, or which colour, of a mask is which label.

    Attributes
    ----------
    classes : tuple of str
    table : int64 (65536,), or (K + 1,) where colours are mapped
        Label of each value, or of each of K colours and of all others; -1 where there is none.
        The value 255 is 255 (ignored) unless mapped.
    colours : int64 (K,), optional
        Colours as red * 65536 + green * 256 + blue, in rising order.
    """

    classes: tuple[str, ...]
    table: Int64
    colours: Int64 | None = None

    def read(self, path: Path) -> UInt8:
        """Read a mask as labels (H, W).

        Raises
        ------
        SourceError
            If the file is no mask, or holds something that has no label.
        """
        return self.read_shown(path)[0]

    def read_shown(self, path: Path) -> tuple[UInt8, dict[int, Colour]]:
        """Read a mask as labels (H, W), and how a palette shows the values that it holds.

        Returns
        -------
        labels : uint8 (H, W)
        shown : dict of int to (red, green, blue)
            Empty where there is no palette, or its colours are what is mapped.

        Raises
        ------
        SourceError
            As :meth:`read`.
        """
        if self.colours is not None:
            return self.apply_colours(read_colours(path), str(path)), {}
        values, shown = read_indexed(path)
        return self.apply(values, str(path)), shown

    def apply(self, values: AnyArray, where: str) -> UInt8:
        """Return the labels of raw values, of a mask (H, W) or a volume (X, Y, Z).

        Raises
        ------
        SourceError
            If a value has no label.
        """
        labels = self.table[values]
        if labels.min() < 0:
            raise SourceError(f"{where}: mask holds {self._unknown(values, labels < 0)}")
        return labels.astype(np.uint8)

    def _unknown(self, values: AnyArray, wrong: Bool) -> str:
        """Say which values have no class, and which have one."""
        first = tuple(np.argwhere(wrong)[0].tolist())
        at = f"x {first[1]}, y {first[0]}" if values.ndim == 2 else f"voxel {first}"
        value, several = int(values[first]), len(np.unique(values[wrong]))
        others = f"; {several} values have no class" if several > 1 else ""
        smooth = ". So many may be smooth (antialiased) edges, or numbers of objects, not classes"
        smooth = smooth if several >= _SMOOTH else ""
        known = [code for code in np.flatnonzero(self.table >= 0).tolist() if code != IGNORE]
        if known == [*range(len(self.classes))]:
            known_so = f"the classes are 0 to {len(known) - 1} ({', '.join(self.classes)})"
            remedy = "name every class with --classes, or map the value with --labels VALUE=CLASS"
        else:
            mapped = [*known, *([IGNORE] if self.table[IGNORE] != IGNORE else [])]
            known_so = f"--labels knows {', '.join(map(str, sorted(mapped)))}"
            remedy = f"map it with --labels {value}=CLASS, or ={IGNORED}"
        return f"value {value} (at {at}{others}), {known_so}; {remedy}{smooth}"

    def apply_colours(self, colours: UInt8, where: str) -> UInt8:
        """Return the labels (H, W) of colours (H, W, 3).

        Raises
        ------
        SourceError
            If a colour has no label: names the first, where it is, and how many pixels have none.
        """
        known = np.zeros(0, np.int64) if self.colours is None else self.colours
        codes = packed(colours)
        places = np.searchsorted(known, codes)
        places[np.append(known, -1)[places] != codes] = len(known)
        labels = self.table[places]
        if labels.min() < 0:
            y, x = np.argwhere(labels < 0)[0].tolist()
            wrong = colour_name(tuple(colours[y, x].tolist()))
            raise SourceError(
                f"{where}: mask holds colour {wrong} (at x {x}, y {y}; {int((labels < 0).sum())} "
                f"pixels have a colour without a class), --labels knows "
                f"{', '.join(colour_name(unpacked(int(code))) for code in known)}; map it with "
                f'--labels "{wrong}=CLASS", or ={IGNORED}'
            )
        return labels.astype(np.uint8)


def classes_of(labels: Mapping[Key, str]) -> tuple[str, ...]:
    """Return the classes that a map names, the background first.

    Examples
    --------
    >>> classes_of({255: "cell"}), classes_of({1: "cell", 0: "glass"})
    (('background', 'cell'), ('glass', 'cell'))
    """
    zero = labels.get(0) or labels.get(_BLACK)
    named = dict.fromkeys(labels.values())
    first = BACKGROUND if BACKGROUND in named or zero in (None, IGNORED) else zero
    return (str(first), *(name for name in named if name not in (first, IGNORED)))


def label_map(classes: Sequence[str], labels: Mapping[Key, str] | None) -> LabelMap:
    """Build the map from pixel values, or colours, to labels.

    Parameters
    ----------
    classes : sequence of str
        Class names, index = label.
    labels : mapping of int or (red, green, blue) to str, optional
        Value or colour to class name, or to ``ignore``; without it the value is the label. Value 0,
        or black, is the background unless it, or something else, is mapped to that.

    Raises
    ------
    ArgumentError
        If a class is named twice or is not among ``classes``, there are not 2 to 255, a value is
        none that a mask can hold, or values and colours are mixed.
    """
    if len(set(classes)) < len(classes) or not 2 <= len(classes) <= IGNORE:
        raise ArgumentError(
            f"--classes {','.join(classes)}: expected 2 to {IGNORE} different names, the "
            "background first"
        )
    found = _labels(classes, labels or {})
    coloured = {key: label for key, label in found.items() if isinstance(key, tuple)}
    if coloured and len(coloured) < len(found):
        raise ArgumentError("--labels: has values and colours; give one or the other for all")
    if coloured:
        codes = {int(packed(np.array(key))): label for key, label in coloured.items()}
        known = np.array(sorted(codes), dtype=np.int64)
        table = np.array([*(codes[int(code)] for code in known), -1], dtype=np.int64)
        return LabelMap(tuple(classes), table, known)
    table = np.full(_VALUES, -1, dtype=np.int64)
    table[IGNORE] = IGNORE
    if not found:
        table[: len(classes)] = np.arange(len(classes))
    for value, label in found.items():
        table[value] = label
    return LabelMap(tuple(classes), table)


def _labels(classes: Sequence[str], labels: Mapping[Key, str]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for key, name in labels.items():
        text = f"{key if isinstance(key, int) else colour_name(key)}={name}"
        if name not in (*classes, IGNORED):
            raise ArgumentError(f"--labels {text}: not in --classes {','.join(classes)}")
        if isinstance(key, int) and not 0 <= key < _VALUES:
            raise ArgumentError(f"--labels {text}: masks hold values from 0 to {_VALUES - 1}")
        found[key] = classes.index(name) if name in classes else IGNORE
    zero: Key = _BLACK if any(isinstance(key, tuple) for key in found) else 0
    if found and 0 not in found.values():
        found.setdefault(zero, 0)
    return found
