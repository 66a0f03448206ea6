"""Shapes of annotations, and the parsing that readers of all formats share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from skiptool.errors import SourceError

if TYPE_CHECKING:
    from skiptool.records import Float64


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A point or an area with the name of its class, in pixels of level 0.

    Attributes
    ----------
    name : str
        Class name in the file, never a number; empty if there is none.
    rings : tuple of float64 (V, 2)
        x and y of the vertices, from the slide's upper left corner. One ring of one vertex is a
        point; otherwise the first ring is the outline (three or more vertices, not closed), the
        others are holes in it. Rectangles and circles are outlines too.
    record : str
        Id of the record in its file.
    """

    name: str
    rings: tuple[Float64, ...]
    record: str

    @property
    def is_point(self) -> bool:
        """True for a point, False for an area."""
        return len(self.rings[0]) == 1

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the outline."""
        (left, top), (right, bottom) = self.rings[0].min(axis=0), self.rings[0].max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    @property
    def centre(self) -> tuple[float, float]:
        """The point itself, or the centre of the bounding box of an area."""
        left, top, right, bottom = self.bounds
        return (left + right) / 2, (top + bottom) / 2

    @property
    def area(self) -> float:
        """Area in pixels without the holes; 0 for a point."""
        outline, *holes = map(_shoelace, self.rings)
        return max(outline - sum(holes), 0.0)

    def mapped(self, transform: Callable[[Float64], Float64]) -> Shape:
        """Return the shape with a function applied to its vertices (V, 2)."""
        return replace(self, rings=tuple(transform(ring) for ring in self.rings))


def _shoelace(ring: Float64) -> float:
    x, y = (ring - ring[0]).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


# Contents of annotation files.

Size = tuple[int, int]
"""Width and height in pixels of level 0."""

LINE: Final = "lines"
WHOLE_IMAGE: Final = "labels of the whole image"
TOO_FEW_VERTICES: Final = "outlines of fewer than three vertices"
NO_VERTICES: Final = "marks without a place"
OTHER_PLANE: Final = "drawn on other planes (z or t) than the first"
NUCLEUS: Final = "nuclei inside cells, whose outlines are taken"
DELETED: Final = "marked as deleted"
"""Kinds of annotations that are skipped and counted; they are not faults."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record, or part of one, that yields no shape.

    Attributes
    ----------
    kind : str
        One of the kinds above; empty for an unreadable record.
    fault : str
        Reason why it is unreadable, with file and record.
    """

    kind: str
    fault: str = ""


Parsed = Shape | Skipped
"""Result of a reader for each part of each record."""

Record = TypeVar("Record")


def read_records(
    records: Iterable[tuple[str, Record]],
    read: Callable[[Record, str, str], Iterable[Parsed]],
    where: str,
) -> list[Parsed]:
    """Read records, and skip a damaged one as a whole.

    Parameters
    ----------
    records : iterable of (str, object)
        Ids and records.
    read : callable
        Yields the parts of a record, given the record, its id, and its location for messages.
    where : str
        File and kind of records, for messages.
    """
    parts: list[Parsed] = []
    for record_id, record in records:
        try:
            parts += list(read(record, record_id, f"{where} {record_id}"))
        except SourceError as error:
            parts.append(Skipped("", str(error)))
    return parts


@dataclass(frozen=True, slots=True)
class SlideAnnotations:
    """The annotations of one slide.

    Attributes
    ----------
    shapes : tuple of Shape
        In paint order: later ones cover earlier ones. Large areas come first, so that nested areas
        stay visible, unless the format itself has an order.
    size : tuple of int or None
        Width and height of the slide recorded in the file, in pixels of level 0.
    in_bounds : bool
        Coordinates are relative to OpenSlide's bounds (QuPath crops slides to them): the caller
        adds ``openslide.bounds-x`` and ``-y``.
    format : str
        Display name of the format, such as "SlideRunner v3".
    dropped : mapping of str to int
        Number of skipped parts by kind: lines, on another plane, deleted ...
    faults : tuple of str
        One line for each unreadable record.
    notes : tuple of str
        Notes on the file as a whole.
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
        """Number of annotations, or parts of them, without a shape."""
        return sum(self.dropped.values()) + len(self.faults)


@dataclass(frozen=True, slots=True)
class ListedSlide:
    """A slide listed in a file: file name without folder, size, and id inside the file."""

    name: str
    size: Size | None
    key: str


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """An annotation file whose format is known and whose list of slides has been read.

    Attributes
    ----------
    format : str
        Display name of the format.
    read : callable
        Maps a listed slide (None in a file without list) to its shapes in paint order and skipped
        parts.
    slides : tuple of ListedSlide
        Its slides; empty if the format names none.
    by_name : bool
        Whether annotations belong only to the slide of that name; otherwise the file describes one
        slide, whatever its name.
    in_bounds, notes
        As in `SlideAnnotations`.
    """

    format: str
    read: Callable[[ListedSlide | None], Iterable[Parsed]]
    slides: tuple[ListedSlide, ...] = ()
    by_name: bool = True
    in_bounds: bool = False
    notes: tuple[str, ...] = ()


# Vertices as stored in files, checked and made into shapes. Marks without a place and lines are
# skipped and counted, since accidental clicks are common in real files. Rectangles and polygons
# without area are kept, because they have a place.

_CIRCLE_VERTICES: Final = 128
"""Vertices of a circle: the outline deviates from it by at most 0.03 % of the radius."""

_MAX_COORDINATE: Final = 2.0**31
"""Limit of coordinates, beyond any slide; larger ones would overflow areas."""


def parse_vertices(values: object, where: str) -> Float64:
    """Parse vertices.

    Parameters
    ----------
    values : object
        Parsed ``[[x, y], ...]`` (a third coordinate is ignored) or ``[x, y, x, y, ...]``.
    where : str
        File and record, for the message.

    Returns
    -------
    float64, shape (V, 2)
        x and y in pixels of level 0; V may be 0.

    Examples
    --------
    >>> parse_vertices([1, 2, 3, 4], "a.json").tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise _not_pairs(where) from None
    if numbers.ndim == 1 and numbers.size % 2 == 0:
        numbers = numbers.reshape(-1, 2)
    if numbers.ndim != 2 or numbers.shape[1] not in (2, 3):
        raise _not_pairs(where)
    pairs: Float64 = numbers[:, :2]
    valid = np.isfinite(pairs) & (np.abs(pairs) < _MAX_COORDINATE)
    if not valid.all():
        index = int(np.argmin(valid.all(axis=1)))
        x, y = pairs[index].tolist()
        raise SourceError(
            f"{where}: vertex {index + 1} is ({x:g}, {y:g}); expected pixels of level 0; correct "
            "or delete that annotation"
        )
    return pairs


def _not_pairs(where: str) -> SourceError:
    return SourceError(
        f"{where}: its vertices are not pairs of numbers; expected x and y of each, in pixels"
    )


def point(name: str, corners: Float64, record: str) -> Parsed:
    """Make a point from the first vertex; skipped if there is none."""
    return Shape(name, (corners[:1].copy(),), record) if len(corners) else Skipped(NO_VERTICES)


def polygon(name: str, rings: Sequence[Float64], record: str) -> Parsed:
    """Make an area from an outline (V, 2) and holes in it, each closed or not.

    Skipped if the outline has fewer than three vertices; holes with fewer are dropped.
    """
    outline, *holes = map(_open_ring, rings) if rings else [np.empty((0, 2))]
    if len(outline) < 3:
        return Skipped(TOO_FEW_VERTICES)
    return Shape(name, (outline, *(hole for hole in holes if len(hole) > 2)), record)


def box(name: str, corners: Float64, record: str) -> Parsed:
    """Make the bounding rectangle of two or more vertices (V, 2); skipped if there are fewer."""
    if len(corners) < 2:
        return Skipped(NO_VERTICES)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    outline = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return Shape(name, (outline,), record)


def circle(name: str, corners: Float64, record: str) -> Parsed:
    """Make the circle whose box has these corners (2, 2) and whose diameter is the box's width."""
    if len(corners) < 2:
        return Skipped(NO_VERTICES)
    centre = (corners.min(axis=0) + corners.max(axis=0)) / 2
    radius = np.ptp(corners[:, 0]) / 2
    angles = np.arange(_CIRCLE_VERTICES) * (2 * np.pi / _CIRCLE_VERTICES)
    outline = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Shape(name, (outline,), record)


def largest_first(shapes: Iterable[Parsed]) -> list[Parsed]:
    """Sort the shapes of a file without paint order: large ones first, points last.

    A nested shape is smaller than the one around it, so it comes later and stays visible; the
    authors of CATCH export their database in such an order. Equal areas keep the order of the file.
    """
    return sorted(shapes, key=lambda shape: -shape.area if isinstance(shape, Shape) else 0.0)


def _open_ring(ring: Float64) -> Float64:
    """Remove the last vertex if it repeats the first."""
    closed = len(ring) > 1 and bool((ring[0] == ring[-1]).all())
    return ring[:-1] if closed else ring


# Fields of parsed JSON.

Fields = Mapping[str, Any]
"""A parsed JSON object."""


def get_list(content: Fields, key: str, where: str) -> list[object]:
    """Return a list; refused if it is missing or not a list."""
    value = content.get(key)
    if not isinstance(value, list):
        raise SourceError(f"{where}: has no list {key!r}; export the annotations again")
    return value


def get_objects(content: Fields, key: str, where: str) -> list[Fields]:
    """Return a list of objects; refused if it is missing or contains anything else."""
    objects: list[Fields] = []
    for index, entry in enumerate(get_list(content, key, where)):
        if not isinstance(entry, dict):
            raise SourceError(
                f"{where}: entry {index} of {key!r} is not an object; export the annotations again"
            )
        objects.append(entry)
    return objects


def to_text(value: object) -> str:
    """Convert a parsed name or id to stripped text; "" if it is neither.

    Examples
    --------
    >>> to_text(" mitotic figure "), to_text(13), to_text(None)
    ('mitotic figure', '13', '')
    """
    if value is None or isinstance(value, bool | dict | list):
        return ""
    # JSON allows lone surrogates, stores do not
    return str(value).strip().encode("utf-8", "replace").decode("utf-8")


def file_name(value: object) -> str:
    r"""Extract the file name from a path of any operating system.

    Examples
    --------
    >>> file_name("D:\\Slides\\a.svs"), file_name("/slides/b.svs")
    ('a.svs', 'b.svs')
    """
    return PurePosixPath(to_text(value).replace("\\", "/")).name


def size_of(entry: Fields) -> Size | None:
    """Return ``width`` and ``height``; None if one is missing or not positive."""
    return size(entry.get("width"), entry.get("height"))


def size(width: object, height: object) -> Size | None:
    """Return a size from two values; None if one is not a positive number."""
    if not isinstance(width, int | float) or not isinstance(height, int | float):
        return None
    if not (0 < width < math.inf and 0 < height < math.inf):
        return None
    return int(width), int(height)


def record_ids(ids: Sequence[object]) -> list[str]:
    """Return the id of each record: its own if unique, otherwise its position in the file.

    Examples
    --------
    >>> record_ids([7, "a", "a", None])
    ['7', '#1', '#2', '#3']
    """
    names = [to_text(value) for value in ids]
    counts = Counter(names)
    return [name if name and counts[name] == 1 else f"#{index}" for index, name in enumerate(names)]
