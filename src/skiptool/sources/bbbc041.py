"""Annotations of the image set BBBC041v1: which box of which picture holds what.

The file is a JSON list with one entry a picture: ``image`` (an object with ``pathname`` and
``shape``, or a bare file name) and ``objects``, each with ``category`` and ``bounding_box``
(``minimum`` and ``maximum``, each ``r`` and ``c``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from skiptool.errors import SourceError
from skiptool.sources.regular import refuse_pipe

__all__ = ["INFECTED", "ODD", "RED_CELL", "Box", "Labelled", "read_boxes"]

INFECTED: Final = ("trophozoite", "ring", "schizont", "gametocyte")
ODD: Final = ("leukocyte", "difficult")
RED_CELL: Final = "red blood cell"

_SCHEMA: Final = (
    "expected a list of {image, objects: [{category, bounding_box: {minimum: {r, c}, "
    "maximum: {r, c}}}]} as in BBBC041's training.json"
)


@dataclass(frozen=True, slots=True)
class Box:
    """Rows ``top <= r < bottom`` and columns ``left <= c < right``, pixels."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an image with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def meets(self, other: Box) -> bool:
        """Tell whether the two share a pixel."""
        rows = min(self.bottom, other.bottom) > max(self.top, other.top)
        return rows and min(self.right, other.right) > max(self.left, other.left)

    def within(self, window: Box) -> Box:
        """Clip to a window, in coordinates of that window.

        Examples
        --------
        >>> Box(5, 2, 9, 8).within(Box(4, 4, 20, 7))
        Box(top=1, left=0, bottom=5, right=3)
        """
        return Box(
            max(self.top, window.top) - window.top,
            max(self.left, window.left) - window.left,
            min(self.bottom, window.bottom) - window.top,
            min(self.right, window.right) - window.left,
        )

    def grown(self, margin: int, height: int, width: int) -> Box:
        """Widen by a margin on all sides, within an image of this size.

        Examples
        --------
        >>> Box(5, 2, 9, 8).grown(3, height=100, width=9)
        Box(top=2, left=0, bottom=12, right=9)
        """
        return Box(
            max(self.top - margin, 0),
            max(self.left - margin, 0),
            min(self.bottom + margin, height),
            min(self.right + margin, width),
        )


@dataclass(frozen=True, slots=True)
class Labelled:
    """A box and its category."""

    box: Box
    category: str


def read_boxes(annotations: Path, picture: Path, height: int, width: int) -> list[Labelled]:
    """Read the boxes of one picture, clipped to it; empty ones are left out.

    Parameters
    ----------
    annotations : Path
        ``training.json`` or ``test.json`` of BBBC041, or a file of that form.
    picture : Path
        Matched by its file name; failing that, by its name without suffix (a converted copy).
    height, width : int
        Size of the picture.

    Raises
    ------
    SourceError
        If the file is missing, no JSON, of another form, does not know the picture, or states
        another size for it.
    """
    entries = _read_list(annotations)
    names = [_name(entry, f"{annotations}: entry {at}") for at, entry in enumerate(entries)]
    found = [at for at, name in enumerate(names) if name.name == picture.name]
    found = found or [at for at, name in enumerate(names) if name.stem == picture.stem]
    if not found:
        raise SourceError(
            f"{annotations}: picture {picture.name} is not among its {len(entries)} pictures; "
            "expected the annotations of that picture"
        )
    boxes = []
    for at in found:
        where = f"{annotations}: entry {at} ({picture.name})"
        _check_size(entries[at], height, width, where)
        boxes += [_labelled(item, where) for item in _objects(entries[at], where)]
    whole = Box(0, 0, height, width)
    clipped = [Labelled(one.box.within(whole), one.category) for one in boxes]
    return [one for one in clipped if one.box.height > 0 and one.box.width > 0]


def _read_list(annotations: Path) -> list[dict[str, Any]]:
    refuse_pipe(annotations)
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{annotations}: cannot be read ({error.strerror}); {_SCHEMA}") from None
    except (ValueError, RecursionError) as error:  # json and unicode errors are ValueErrors
        raise SourceError(f"{annotations}: is no JSON text ({error}); {_SCHEMA}") from None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise SourceError(f"{annotations}: holds no list of objects; {_SCHEMA}")
    return content


def _name(entry: dict[str, Any], where: str) -> PurePosixPath:
    image = entry.get("image")
    name = image.get("pathname") if isinstance(image, dict) else image
    if not isinstance(name, str):
        raise SourceError(f"{where}: its image has no name; {_SCHEMA}")
    return PurePosixPath(name.replace("\\", "/"))


def _objects(entry: dict[str, Any], where: str) -> list[Any]:
    objects = entry.get("objects")
    if not isinstance(objects, list):
        raise SourceError(f"{where}: has no list of objects; {_SCHEMA}")
    return objects


def _check_size(entry: dict[str, Any], height: int, width: int, where: str) -> None:
    image = entry["image"]
    shape = image.get("shape") if isinstance(image, dict) else None
    if not isinstance(shape, dict) or not {"r", "c"} <= shape.keys():
        return
    if (shape["r"], shape["c"]) != (height, width):
        raise SourceError(
            f"{where}: annotates {shape['c']} x {shape['r']} pixels, the picture has "
            f"{width} x {height}; expected the picture that was annotated, not a resized one"
        )


def _labelled(item: Any, where: str) -> Labelled:  # noqa: ANN401
    try:
        low, high = (item["bounding_box"][key] for key in ("minimum", "maximum"))
        box = Box(int(low["r"]), int(low["c"]), int(high["r"]), int(high["c"]))
        return Labelled(box, str(item["category"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise SourceError(f"{where}: an object without category or box; {_SCHEMA}") from None
