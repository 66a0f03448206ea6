"""Map the values or colours of a mask to labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import IGNORE_LABEL
from skiptool.sources.pictures.deep import check_alpha, deep_picture, refuse_as_mask
from skiptool.sources.pictures.files import Colour, decode_picture, read_indexed, refuse_inverted

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Int64, UInt8
    from skiptool.sources.pictures.files import Colour

    Key = int | Colour
    """A pixel value, or a colour."""

# Masks whose colours stand for classes, as annotation programs export them.


def read_colours(path: Path) -> UInt8:
    """Read the colours of a mask.

    Parameters
    ----------
    path : Path
        PNG or TIFF of at most 8 bits per channel: RGB, RGBA, palette (its displayed colours) or
        grey. Fully transparent pixels are black.

    Returns
    -------
    uint8, shape (H, W, 3)
    """
    deep = deep_picture(path)
    if deep is not None and deep.values.dtype != np.bool_:
        refuse_as_mask(deep, path)
        raise _no_colours(path)
    picture, _ = decode_picture(path)
    if "jpeg" in (str(picture.format).lower(), picture.info.get("compression")):
        raise SourceError(
            f"{path}: a mask as JPEG, whose compression blurs colours; expected PNG or TIFF"
        )
    refuse_inverted(picture, path)
    if picture.mode.startswith(("I", "F")):
        raise _no_colours(path)
    if not picture.has_transparency_data:
        return np.array(picture.convert("RGB"))
    pixels = np.array(picture.convert("RGBA"))
    alpha = pixels[..., 3]
    translucent = (alpha > 0) & (alpha < 255)
    if translucent.any():
        y, x = np.argwhere(translucent)[0].tolist()
        raise SourceError(
            f"{path}: partly transparent at x {x}, y {y}, so its colour is ambiguous; save the "
            "mask without smooth edges"
        )
    if pixels[..., :3].any():  # an empty overlay has neither colour nor opacity
        check_alpha(float(alpha.max()) / 255, path)
    colours: UInt8 = np.where(alpha[..., None] == 0, np.uint8(0), pixels[..., :3])
    return colours


def _no_colours(path: Path) -> SourceError:
    return SourceError(
        f"{path}: a mask of more than 8 bits per channel has values, not colours; map these with "
        "--labels VALUE=CLASS"
    )


def encode_colours(colours: UInt8) -> Int64:
    """Encode each colour (..., 3) as red * 65536 + green * 256 + blue.

    >>> encode_colours(np.array([[1, 0, 2]], dtype=np.uint8)).tolist()
    [65538]
    """
    red, green, blue = (colours[..., channel].astype(np.int64) for channel in range(3))
    return (red << 16) + (green << 8) + blue


def decode_colour(code: int) -> Colour:
    """Decode a colour.

    >>> decode_colour(65538)
    (1, 0, 2)
    """
    return code >> 16, (code >> 8) & 255, code & 255


def colour_name(colour: Colour) -> str:
    """Format a colour in hexadecimal.

    >>> colour_name((255, 0, 16))
    '#ff0010'
    """
    return "#" + "".join(f"{channel:02x}" for channel in colour)


BACKGROUND = "background"
"""Default name of label 0."""

IGNORED = "ignore"
"""Class name for ignored pixels (255), unless a class has that name."""

_VALUES = 1 << 16
_BLACK = (0, 0, 0)

_MANY_UNKNOWN = 8
"""Number of unknown values from which a mask probably has smooth edges."""


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Mapping from the pixel values, or the colours, of a mask to labels.

    Attributes
    ----------
    table : int64 (65536,), or (K + 1,) for colours
        Label of each value, or of each of K colours and of all others; -1 if there is none. Value
        255 is 255 (ignored) unless mapped.
    colours : int64 (K,), optional
        Colours as red * 65536 + green * 256 + blue, ascending.
    """

    classes: tuple[str, ...]
    table: Int64
    colours: Int64 | None = None

    def read(self, path: Path) -> UInt8:
        """Read a mask as labels (H, W)."""
        return self.read_shown(path)[0]

    def read_shown(self, path: Path) -> tuple[UInt8, dict[int, Colour]]:
        """Read a mask as `read`, and the palette colours of its values.

        Returns
        -------
        labels : uint8 (H, W)
        shown : dict of int to (red, green, blue)
            Empty if there is no palette, or colours are mapped.
        """
        if self.colours is not None:
            return self.apply_colours(read_colours(path), str(path)), {}
        values, shown = read_indexed(path)
        return self.apply(values, str(path)), shown

    def apply(self, values: AnyArray, where: str) -> UInt8:
        """Return the labels of the values of a mask (H, W) or volume (X, Y, Z)."""
        labels = self.table[values]
        if labels.min() < 0:
            raise SourceError(
                f"{where}: mask contains {self._describe_unknown(values, labels < 0)}"
            )
        return labels.astype(np.uint8)

    def _describe_unknown(self, values: AnyArray, unknown: Bool) -> str:
        """Describe the values without a class, and list those with one."""
        first = tuple(np.argwhere(unknown)[0].tolist())
        position = f"x {first[1]}, y {first[0]}" if values.ndim == 2 else f"voxel {first}"
        value, count = int(values[first]), len(np.unique(values[unknown]))
        others = f"; {count} values have no class" if count > 1 else ""
        hint = ""
        if count >= _MANY_UNKNOWN:
            hint = ". They may be smooth (antialiased) edges, or object numbers instead of classes"
        labelled = [
            code for code in np.flatnonzero(self.table >= 0).tolist() if code != IGNORE_LABEL
        ]
        if labelled == [*range(len(self.classes))]:
            expected = f"the classes are 0 to {len(labelled) - 1} ({', '.join(self.classes)})"
            remedy = "name every class with --classes, or map the value with --labels VALUE=CLASS"
        else:
            if self.table[IGNORE_LABEL] != IGNORE_LABEL:
                labelled = sorted([*labelled, IGNORE_LABEL])
            expected = f"--labels has {', '.join(map(str, labelled))}"
            remedy = f"map it with --labels {value}=CLASS, or ={IGNORED}"
        return f"value {value} (at {position}{others}), {expected}; {remedy}{hint}"

    def apply_colours(self, colours: UInt8, where: str) -> UInt8:
        """Return the labels (H, W) of colours (H, W, 3)."""
        mapped_codes = np.zeros(0, np.int64) if self.colours is None else self.colours
        codes = encode_colours(colours)
        indices = np.searchsorted(mapped_codes, codes)
        indices[np.append(mapped_codes, -1)[indices] != codes] = len(mapped_codes)
        labels = self.table[indices]
        if labels.min() < 0:
            y, x = np.argwhere(labels < 0)[0].tolist()
            unknown = colour_name(tuple(colours[y, x].tolist()))
            mapped = ", ".join(colour_name(decode_colour(int(code))) for code in mapped_codes)
            raise SourceError(
                f"{where}: mask contains colour {unknown} (at x {x}, y {y}; "
                f"{int((labels < 0).sum())} pixels have a colour without a class), --labels has "
                f'{mapped}; map it with --labels "{unknown}=CLASS", or ={IGNORED}'
            )
        return labels.astype(np.uint8)


def class_names(labels: Mapping[Key, str]) -> tuple[str, ...]:
    """Return the classes named by a map, the background first.

    Examples
    --------
    >>> class_names({255: "cell"}), class_names({1: "cell", 0: "glass"})
    (('background', 'cell'), ('glass', 'cell'))
    """
    zero = labels.get(0) or labels.get(_BLACK)
    named = dict.fromkeys(labels.values())
    first = BACKGROUND if BACKGROUND in named or zero in (None, IGNORED) else zero
    return (str(first), *(name for name in named if name not in (first, IGNORED)))


def label_map(classes: Sequence[str], labels: Mapping[Key, str] | None) -> LabelMap:
    """Build the mapping from pixel values, or colours, to labels.

    Parameters
    ----------
    classes : sequence of str
        Class names, index = label.
    labels : mapping of int or (red, green, blue) to str, optional
        Value or colour to class name, or to ``ignore``; without it the value is the label. Value 0,
        or black, is the background unless it is mapped, or something else is mapped to label 0.
    """
    if len(set(classes)) < len(classes) or not 2 <= len(classes) <= IGNORE_LABEL:
        raise ArgumentError(
            f"--classes {','.join(classes)}: expected 2 to {IGNORE_LABEL} different names, the "
            "background first"
        )
    mapping = _labels(classes, labels or {})
    coloured = {key: label for key, label in mapping.items() if isinstance(key, tuple)}
    if coloured and len(coloured) < len(mapping):
        raise ArgumentError("--labels: mixes values and colours; use one or the other for all")
    if coloured:
        codes = {int(encode_colours(np.array(key))): label for key, label in coloured.items()}
        table = np.array([*(codes[code] for code in sorted(codes)), -1], dtype=np.int64)
        return LabelMap(tuple(classes), table, np.array(sorted(codes), dtype=np.int64))
    table = np.full(_VALUES, -1, dtype=np.int64)
    table[IGNORE_LABEL] = IGNORE_LABEL
    if not mapping:
        table[: len(classes)] = np.arange(len(classes))
    for value, label in mapping.items():
        table[value] = label
    return LabelMap(tuple(classes), table)


def _labels(classes: Sequence[str], labels: Mapping[Key, str]) -> dict[Key, int]:
    mapping: dict[Key, int] = {}
    for key, name in labels.items():
        text = f"{key if isinstance(key, int) else colour_name(key)}={name}"
        if name not in (*classes, IGNORED):
            raise ArgumentError(f"--labels {text}: not in --classes {','.join(classes)}")
        if isinstance(key, int) and not 0 <= key < _VALUES:
            raise ArgumentError(f"--labels {text}: mask values are 0 to {_VALUES - 1}")
        mapping[key] = classes.index(name) if name in classes else IGNORE_LABEL
    zero: Key = _BLACK if any(isinstance(key, tuple) for key in mapping) else 0
    if mapping and 0 not in mapping.values():
        mapping.setdefault(zero, 0)
    return mapping
