"""Templates of section III.A: backgrounds, infected cells and artifacts as small pictures.

The same convention holds whether they were drawn, cut from a slide or supplied by the user:

- a template is a plain colour picture (PNG, no alpha channel needed) of one object on the empty
  background it was taken from; the outer frame of the picture shows mostly background;
- the object is found by a threshold on the colour distance of each pixel from the median colour of
  the frame (Otsu's, then half the depth of the stain found), with holes filled. Of a cell the
  largest connected piece counts, of an artifact every piece of at least a twentieth of the largest
  (platelets lie in groups).

A folder of templates contains ``background*.png``, ``cell*.png`` and ``artifact*.png``, at least
one of each; only their pixels matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import ndimage

from skiptool.errors import ArgumentError, SourceError
from skiptool.images import colour_distance
from skiptool.sources.otsu import otsu
from skiptool.sources.paths import refuse_pipe
from skiptool.sources.pictures.files import read_picture, write_picture

if TYPE_CHECKING:
    from skiptool.records import Bool, UInt8

STAIN_CAP: Final = 64
"""Grey levels at which distances are capped, so that a threshold separates the cell from the
background rather than a dark parasite from its pale cell."""

_DEPTH_PERCENTILE: Final = 40
"""Percentile of the distances within the stain that represents its depth: that of a pale cell,
not of the parasite in it."""

_MIN_DISTANCE: Final = 12
"""Smallest difference in grey levels between the strongest pixel of an object and the
background."""

_MIN_PIECE: Final = 0.05
_FRAME: Final = 2


def frame_colour(image: UInt8) -> UInt8:
    """Return the median colour of the two outermost rows and columns, the background's.

    Parameters
    ----------
    image : uint8, shape (h, w, 3)

    Returns
    -------
    uint8, shape (3,)
    """
    inside = np.zeros(image.shape[:2], dtype=bool)
    inside[_FRAME:-_FRAME, _FRAME:-_FRAME] = True
    colour: UInt8 = np.median(image[~inside], axis=0).astype(np.uint8)
    return colour


def segment_stain(image: UInt8, colour: UInt8) -> Bool:
    """Mark the pixels that differ from an empty background of this colour.

    A first threshold separates stain from background; then the edge of the stain is placed at half
    its depth, to exclude the glare around dark cells.

    Parameters
    ----------
    image : uint8, shape (h, w, 3)
    colour : uint8, shape (3,)

    Returns
    -------
    bool, shape (h, w)
        All False if no pixel differs by 12 grey levels in any channel.
    """
    distance = colour_distance(image, colour)
    if distance.max() < _MIN_DISTANCE:
        return np.zeros(distance.shape, dtype=bool)
    level = min(otsu(np.minimum(distance, STAIN_CAP)), STAIN_CAP // 2)
    depth = float(np.percentile(distance[distance > level], _DEPTH_PERCENTILE))
    return distance > max(level, depth / 2)


def object_mask(image: UInt8, pieces: bool = False) -> Bool:
    """Threshold a template: mark the pixels of its object (section III.A).

    Parameters
    ----------
    image : uint8, shape (h, w, 3)
        An object on an empty background.
    pieces : bool
        Keep every piece of at least a twentieth of the largest, not only the largest.

    Returns
    -------
    bool, shape (h, w)
        All False if nothing stands out from the frame.

    Notes
    -----
    The paper says "thresholding" only; the rule is `segment_stain` relative to the `frame_colour`,
    followed by the choice of pieces.
    """
    filled = ndimage.binary_fill_holes(segment_stain(image, frame_colour(image)))
    labels, _ = ndimage.label(filled)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if pieces:
        mask: Bool = (sizes >= max(sizes.max() * _MIN_PIECE, 1))[labels]
    else:
        mask = filled & (labels == sizes.argmax())
    return mask


_MIN_SIDE: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """An object on an empty background, and its mask.

    Attributes
    ----------
    name : str
        File name without suffix: ``cell-1``.
    image : uint8, shape (h, w, 3)
    mask : bool, shape (h, w)
        The thresholded object: the ground truth wherever a cell is placed.
    """

    name: str
    image: UInt8
    mask: Bool

    @classmethod
    def from_picture(cls, name: str, image: UInt8, pieces: bool = False) -> Template:
        """Threshold a picture; ``pieces`` is for artifacts, which may consist of several pieces."""
        if min(image.shape[:2]) < _MIN_SIDE:
            raise SourceError(
                f"template {name}: {image.shape[1]} x {image.shape[0]} pixels; expected at least "
                f"{_MIN_SIDE} x {_MIN_SIDE}"
            )
        mask = object_mask(image, pieces)
        if not mask.any():
            raise SourceError(
                f"template {name}: nothing in it stands out from its frame; expected one object "
                "on an empty background"
            )
        return cls(name, image, mask)


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """Components of synthetic images.

    Attributes
    ----------
    backgrounds : tuple of uint8, shape (h, w, 3)
        One in the paper; each image uses one at random.
    cells, artifacts : tuple of Template
        Three of each in the paper.
    """

    backgrounds: tuple[UInt8, ...]
    cells: tuple[Template, ...]
    artifacts: tuple[Template, ...]

    def __post_init__(self) -> None:
        if not (self.backgrounds and self.cells and self.artifacts):
            raise ArgumentError(
                f"templates: {len(self.backgrounds)} backgrounds, {len(self.cells)} cells, "
                f"{len(self.artifacts)} artifacts; expected at least one of each"
            )

    def pictures(self) -> Iterator[tuple[str, UInt8]]:
        """Yield name and pixels of every template, in the order of the digest."""
        for kind, images in (
            ("background", self.backgrounds),
            ("cell", [cell.image for cell in self.cells]),
            ("artifact", [artifact.image for artifact in self.artifacts]),
        ):
            digits = len(str(len(images)))
            for number, image in enumerate(images, start=1):
                yield kind if len(images) == 1 else f"{kind}-{number:0{digits}d}", image

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all pixels and their roles."""
        total = hashlib.sha256()
        for name, image in self.pictures():
            total.update(f"{name} {image.shape}".encode())
            total.update(np.ascontiguousarray(image).tobytes())
        return total.hexdigest()


def load_templates(folder: Path | None = None) -> Templates:
    """Read ``background*.png``, ``cell*.png`` and ``artifact*.png`` of a folder, by name.

    Parameters
    ----------
    folder : Path, optional
        By default, the templates that ship with skiptool (drawn by ``examples/draw_templates.py``).
    """
    if folder is None:
        with resources.as_file(resources.files("skiptool.sources") / "templates") as shipped:
            return load_templates(shipped)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; expected one with template pictures")
    return Templates(
        backgrounds=tuple(read_picture(path) for path in _require_files(folder, "background")),
        cells=_read(_require_files(folder, "cell"), pieces=False),
        artifacts=_read(_require_files(folder, "artifact"), pieces=True),
    )


def save_templates(templates: Templates, folder: Path) -> None:
    """Write the templates as PNG into a folder, which is created if its parent exists.

    `load_templates` restores the same pixels, masks and digest.
    """
    if folder.is_dir() and any(_list_files(folder, kind) for kind in _KINDS):
        raise ArgumentError(f"{folder}: already contains templates; choose another folder")
    if not folder.parent.is_dir():
        raise ArgumentError(f"{folder.parent}: no such folder; create it first")
    folder.mkdir(exist_ok=True)
    for name, image in templates.pictures():
        write_picture(folder / f"{name}.png", image)


_KINDS: Final = ("background", "cell", "artifact")


def _list_files(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.glob(f"{kind}*.png"))


def _require_files(folder: Path, kind: str) -> list[Path]:
    files = _list_files(folder, kind)
    if not files:
        raise SourceError(
            f"{folder}: no {kind}*.png among its files; expected at least one of each of "
            f"{', '.join(f'{name}*.png' for name in _KINDS)}"
        )
    return files


def _read(paths: Sequence[Path], pieces: bool) -> tuple[Template, ...]:
    return tuple(Template.from_picture(path.stem, read_picture(path), pieces) for path in paths)


# Annotations of BBBC041v1: a JSON list with one entry per picture: ``image`` (an object with
# ``pathname`` and ``shape``, or a bare file name) and ``objects``, each with ``category`` and
# ``bounding_box`` (``minimum`` and ``maximum``, each ``r`` and ``c``).

INFECTED: Final = ("trophozoite", "ring", "schizont", "gametocyte")
UNCLEAR: Final = ("leukocyte", "difficult")
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
        """Index of the box in an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def meets(self, other: Box) -> bool:
        """Return whether two boxes share a pixel."""
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
        """Extend by a margin on all sides, within an image of this size.

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
class LabelledBox:
    """A box and its category."""

    box: Box
    category: str


def read_boxes(annotations: Path, picture: Path, height: int, width: int) -> list[LabelledBox]:
    """Read the boxes of one picture, clipped to it and without empty ones.

    Parameters
    ----------
    annotations : Path
        ``training.json`` or ``test.json`` of BBBC041, or a file of that form.
    picture : Path
        Matched by its file name; failing that, by its name without suffix (a converted copy).
    height, width : int
        Size of the picture.
    """
    entries = _read_list(annotations)
    names = [_name(entry, f"{annotations}: entry {at}") for at, entry in enumerate(entries)]
    matches = [at for at, name in enumerate(names) if name.name == picture.name]
    matches = matches or [at for at, name in enumerate(names) if name.stem == picture.stem]
    if not matches:
        raise SourceError(
            f"{annotations}: picture {picture.name} is not among its {len(entries)} pictures; "
            "expected the annotations of that picture"
        )
    boxes = []
    for at in matches:
        where = f"{annotations}: entry {at} ({picture.name})"
        _check_size(entries[at], height, width, where)
        boxes += [_labelled(item, where) for item in _objects(entries[at], where)]
    whole = Box(0, 0, height, width)
    clipped = [LabelledBox(labelled.box.within(whole), labelled.category) for labelled in boxes]
    return [labelled for labelled in clipped if labelled.box.height > 0 and labelled.box.width > 0]


def _read_list(annotations: Path) -> list[dict[str, Any]]:
    refuse_pipe(annotations)
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{annotations}: cannot be read ({error.strerror}); {_SCHEMA}") from None
    except (ValueError, RecursionError) as error:  # json and unicode errors are ValueErrors
        raise SourceError(f"{annotations}: is not valid JSON ({error}); {_SCHEMA}") from None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise SourceError(f"{annotations}: is not a list of objects; {_SCHEMA}")
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
            f"{width} x {height}; expected the annotated picture, not a resized copy"
        )


def _labelled(item: Any, where: str) -> LabelledBox:  # noqa: ANN401
    try:
        low, high = (item["bounding_box"][key] for key in ("minimum", "maximum"))
        box = Box(int(low["r"]), int(low["c"]), int(high["r"]), int(high["c"]))
        return LabelledBox(box, str(item["category"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise SourceError(f"{where}: an object without category or box; {_SCHEMA}") from None
