"""Templates of section III.A: backgrounds, infected cells and artifacts as small pictures.

One convention for all of them, whether drawn by us, cut from a slide or brought by the user:

- a template is a plain colour picture (PNG, no alpha channel needed) of one object before the
  empty background it was taken from; the outer frame of the picture shows mostly background;
- the object is what a threshold finds on the colour distance of each pixel from the median
  colour of the frame (Otsu's, then half the depth of what that found), holes filled. Of a cell
  the largest connected piece counts, of an artifact every piece of at least a twentieth of the
  largest (platelets lie in groups).

So a folder of templates holds ``background*.png``, ``cell*.png`` and ``artifact*.png``, at least
one of each, and nothing besides the pixels decides what is made from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures import read_picture, write_picture
from skiptool.sources.stain import object_mask

if TYPE_CHECKING:
    from skiptool.records import Bool, UInt8

__all__ = [
    "Template",
    "Templates",
    "load_templates",
    "save_templates",
]

_LEAST_SIDE: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One object before an empty background, and which of its pixels are the object.

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
        """Threshold a picture; ``pieces`` for artifacts, which may lie in several pieces.

        Raises
        ------
        SourceError
            If the picture is smaller than 8 x 8 or nothing in it stands out from its frame.
        """
        if min(image.shape[:2]) < _LEAST_SIDE:
            raise SourceError(
                f"template {name}: {image.shape[1]} x {image.shape[0]} pixels; expected at least "
                f"{_LEAST_SIDE} x {_LEAST_SIDE}"
            )
        mask = object_mask(image, pieces)
        if not mask.any():
            raise SourceError(
                f"template {name}: nothing in it stands out from its frame; expected one object "
                "before an empty background"
            )
        return cls(name, image, mask)


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """What synthetic images are made of.

    Attributes
    ----------
    backgrounds : tuple of uint8, shape (h, w, 3)
        The paper has one; each image takes one at random.
    cells, artifacts : tuple of Template
        The paper has three of each.
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
        """Name and pixels of every template, in the order that the digest takes them."""
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
        """SHA-256 (hex) of all pixels and their roles: the identity of what is made from them."""
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
        Without it, the templates that ship with skiptool: what ``smear.draw_templates`` draws.

    Raises
    ------
    SourceError
        If the folder or one of the three kinds is missing, or a picture cannot be used.
    """
    if folder is None:
        with resources.as_file(resources.files("skiptool.sources") / "templates") as shipped:
            return load_templates(shipped)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; expected one with template pictures")
    return Templates(
        backgrounds=tuple(read_picture(path) for path in _files(folder, "background")),
        cells=_read(_files(folder, "cell"), pieces=False),
        artifacts=_read(_files(folder, "artifact"), pieces=True),
    )


def save_templates(templates: Templates, folder: Path) -> None:
    """Write the templates as PNG into a folder, which is made if its parent exists.

    `load_templates` reads back the same pixels, masks and digest.

    Raises
    ------
    ArgumentError
        If the folder cannot be made, or already holds templates (they would be mixed).
    """
    if folder.is_dir() and any(_found(folder, kind) for kind in _KINDS):
        raise ArgumentError(f"{folder}: already holds templates; choose another folder")
    if not folder.parent.is_dir():
        raise ArgumentError(f"{folder.parent}: no such folder; create it first")
    folder.mkdir(exist_ok=True)
    for name, image in templates.pictures():
        write_picture(folder / f"{name}.png", image)


_KINDS: Final = ("background", "cell", "artifact")


def _found(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.glob(f"{kind}*.png"))


def _files(folder: Path, kind: str) -> list[Path]:
    files = _found(folder, kind)
    if not files:
        raise SourceError(
            f"{folder}: no {kind}*.png among its files; expected at least one of each of "
            f"{', '.join(f'{name}*.png' for name in _KINDS)}"
        )
    return files


def _read(paths: Sequence[Path], pieces: bool) -> tuple[Template, ...]:
    return tuple(Template.from_picture(path.stem, read_picture(path), pieces) for path in paths)
