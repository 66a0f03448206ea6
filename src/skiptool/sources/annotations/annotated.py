"""What an annotation file says of one slide, and what each reader of a format hands over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from skiptool.sources.shapes import Shape

__all__ = ["Annotated", "Listed", "Opened", "Size"]

Size = tuple[int, int]
"""Width and height in pixels of level 0."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """The annotations of one slide.

    Attributes
    ----------
    shapes : tuple of Shape
        In paint order: later ones lie over earlier ones.
    size : tuple of int or None
        Width and height of the slide as the file records it, pixels of level 0.
    in_bounds : bool
        Coordinates count from the corner of OpenSlide's bounds (QuPath opens slides cropped to
        them): the caller adds ``openslide.bounds-x`` and ``-y``.
    format : str
        Name of the format for people, as "SlideRunner v3".
    left_out : int
        Annotations that mark neither a point nor an area: lines, labels of the whole image,
        outlines of fewer than three vertices. They are in no shape.
    """

    shapes: tuple[Shape, ...]
    size: Size | None
    in_bounds: bool
    format: str
    left_out: int = 0


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
        Given a listed slide (None in a file without list), its shapes in paint order; None stands
        for an annotation that is left out.
    slides : tuple of Listed
        Slides it knows; empty where the format names none.
    by_name : bool
        Whether annotations belong to the slide of that name only; otherwise the file is about one
        slide, whatever that is called.
    in_bounds : bool
        As in :class:`Annotated`.
    """

    format: str
    found: Callable[[Listed | None], Iterable[Shape | None]]
    slides: tuple[Listed, ...] = ()
    by_name: bool = True
    in_bounds: bool = False
