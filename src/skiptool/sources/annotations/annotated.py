"""What an annotation file says of one slide, and what each reader of a format hands over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from skiptool.errors import SourceError
from skiptool.sources.shapes import Shape

__all__ = [
    *("DELETED", "LINE", "NOWHERE", "NUCLEUS", "PLANE", "SLIP", "WHOLE"),
    *("Annotated", "Found", "LeftOut", "Listed", "Opened", "Size", "told"),
]

Size = tuple[int, int]
"""Width and height in pixels of level 0."""

LINE: Final = "lines"
WHOLE: Final = "labels of the whole image"
SLIP: Final = "outlines of fewer than three vertices"
NOWHERE: Final = "marks without a place"
PLANE: Final = "drawn on other planes (z or t) than the first"
NUCLEUS: Final = "nuclei inside cells, whose outlines are taken"
DELETED: Final = "marked as deleted"
"""What is left out: it is no fault, and it is counted."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in a file that is in no shape.

    Attributes
    ----------
    what : str
        One of the kinds above; empty for a record that cannot be read.
    fault : str
        Why it cannot be read, with file and record.
    """

    what: str
    fault: str = ""


Found = Shape | LeftOut
"""What a reader hands over for each part of each record."""


def told(read: Callable[[], Iterable[Found]]) -> list[Found]:
    """Read one record; if it is damaged it is left out as a whole and the others stay."""
    try:
        return list(read())
    except SourceError as error:
        return [LeftOut("", str(error))]


@dataclass(frozen=True, slots=True)
class Annotated:
    """The annotations of one slide.

    Attributes
    ----------
    shapes : tuple of Shape
        In paint order: later ones lie over earlier ones. Large areas come first, so that what
        lies inside another one stays visible, unless the format itself has an order.
    size : tuple of int or None
        Width and height of the slide as the file records it, pixels of level 0.
    in_bounds : bool
        Coordinates count from the corner of OpenSlide's bounds (QuPath opens slides cropped to
        them): the caller adds ``openslide.bounds-x`` and ``-y``.
    format : str
        Name of the format for people, as "SlideRunner v3".
    dropped : mapping of str to int
        How many are in no shape, by what they are: lines, on another plane, deleted ...
    faults : tuple of str
        One line for each record that cannot be read.
    notes : tuple of str
        What must be known of the file as a whole.
    """

    shapes: tuple[Shape, ...]
    size: Size | None
    in_bounds: bool
    format: str
    dropped: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def left_out(self) -> int:
        """How many annotations, or parts of them, are in no shape."""
        return sum(self.dropped.values()) + len(self.faults)


@dataclass(frozen=True, slots=True)
class Listed:
    """A slide that a file knows: its file name without folder, size, and id inside the file."""

    name: str
    size: Size | None
    key: str


@dataclass(frozen=True, slots=True)
class Opened:
    """An annotation file whose format is known and whose list of slides is read.

    Attributes
    ----------
    format : str
        Name of the format for people.
    found : callable
        Given a listed slide (None in a file without list), its shapes in paint order, and what
        is left out.
    slides : tuple of Listed
        Slides it knows; empty where the format names none.
    by_name : bool
        Whether annotations belong to the slide of that name only; otherwise the file is about one
        slide, whatever that is called.
    in_bounds : bool
        As in :class:`Annotated`.
    notes : tuple of str
        As in :class:`Annotated`.
    """

    format: str
    found: Callable[[Listed | None], Iterable[Found]]
    slides: tuple[Listed, ...] = ()
    by_name: bool = True
    in_bounds: bool = False
    notes: tuple[str, ...] = ()
