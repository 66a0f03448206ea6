"""Cut templates out of one picture of BBBC041 with its annotations, section III.A.

- Cells: up to three infected cells, cut at their boxes. What does not differ from the glass, and
  what lies nearer to a neighbour's box, is replaced by clean glass: cells that touch are parted.
  A cell that a neighbour hides or the border cuts off serves only where there is no other.
- Artifacts: the boxes that the caller gives; else three of, in this order, annotated leukocytes
  and difficult objects, coloured stain that nobody annotated (platelets, precipitate, debris),
  uninfected red cells.
- Background: the largest empty square, where it measures at least 400 pixels a side; else the
  largest square of the picture with all that lies on it filled in from around.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.backdrop import empty_colour, free_pixels, free_square, freest_square
from skiptool.sources.bbbc041 import INFECTED, ODD, RED_CELL, Box, Labelled, read_boxes
from skiptool.sources.cutouts import Template, Templates
from skiptool.sources.lifting import Slide
from skiptool.sources.pictures import read_picture

if TYPE_CHECKING:
    from skiptool.records import Bool, UInt8

__all__ = ["cut_templates"]

_WANTED: Final = 3
"""Cells and artifacts, as in the paper."""

_LEAST_BACKGROUND: Final = 400
_LEAST_EMPTY: Final = 24
"""Sides in pixels of the empty square that serves as a background, and of the one without which
there is not even grain to fill in gaps with."""

_HIDDEN: Final = 0.15
"""Share of a box that is nearer to a neighbour, from which on a cell is not worth cutting."""

_STRAY_SIDES: Final = (12, 160)
_STRAY_JOIN: Final = 4
_LEAST_TINT: Final = 30.0
_LEAST_DEPTH: Final = 32.0
"""Grey levels, means over a stain: between the most and the least absorbed channel (ink and dust
are grey), and of the most absorbed one (what is fainter would hardly be seen)."""


def cut_templates(
    source: Path, annotations: Path, *, artifacts: Sequence[Box] = (), seed: int = 0
) -> tuple[Templates, tuple[str, ...]]:
    """Cut a background, up to three infected cells and three artifacts out of a picture.

    Parameters
    ----------
    source : Path
        A picture of BBBC041.
    annotations : Path
        Its ``training.json`` or ``test.json``, or a file of that form.
    artifacts : sequence of Box
        Where artifacts lie, any number; without it three are looked for.
    seed : int
        Of the grain, where background is filled in.

    Returns
    -------
    templates : Templates
    warnings : tuple of str
        One line for each thing a user should know: fewer than three cells, artifacts that were
        not annotated as such, a background that was filled in.

    Raises
    ------
    SourceError
        If picture or annotations cannot be read or do not belong together, no cell is infected,
        nothing can serve as an artifact, or the cells leave no glass to see.
    ArgumentError
        If a box of an artifact does not lie within the picture.
    """
    picture = read_picture(source)
    labelled = read_boxes(annotations, source, *picture.shape[:2])
    infected = _boxes(labelled, *INFECTED)
    if not infected:
        raise SourceError(
            f"{source}: none of its {len(labelled)} annotated objects is an infected cell; "
            f"expected at least one of {', '.join(INFECTED)}. Choose another picture"
        )
    slide = _slide(picture, [one.box for one in labelled], seed, source)
    chosen = _choose_cells(slide, infected)
    odd, notes = _choose_artifacts(slide, labelled, artifacts)
    if not odd:
        raise SourceError(
            f"{source}: nothing on it can serve as an artifact; expected stain or a cell besides "
            "the infected ones. Give boxes of artifacts, or choose another picture"
        )
    background, filled = _background(slide)
    templates = Templates(
        (background,), _lift(slide, "cell", chosen), _lift(slide, "artifact", odd, pieces=True)
    )
    if len(chosen) < _WANTED:
        hidden = len(infected) - len(chosen)
        why = f" ({hidden} more are hidden by neighbours or cut off)" if hidden else ""
        notes.insert(0, f"infected cells: {len(chosen)}{why} instead of {_WANTED}; using those")
    return templates, tuple(f"{source}: {note}" for note in (*notes, *filled))


def _slide(picture: UInt8, boxes: Sequence[Box], seed: int, source: Path) -> Slide:
    free = free_pixels(picture, boxes)
    if free_square(free).height < _LEAST_EMPTY:
        raise SourceError(
            f"{source}: no empty square of {_LEAST_EMPTY} pixels on it; expected a thin smear "
            "with glass between the cells. Choose another picture"
        )
    return Slide.of(picture, boxes, free, np.random.default_rng(seed))


def _boxes(labelled: Sequence[Labelled], *categories: str) -> list[Box]:
    return [one.box for one in labelled if one.category in categories]


def _choose_cells(slide: Slide, infected: Sequence[Box]) -> list[Box]:
    """Take the best three: whole ones with few neighbours; a bad one only if it is the best."""
    ranked = sorted(infected, key=slide.crowding)[:_WANTED]
    return ranked[:1] + [box for box in ranked[1:] if slide.crowding(box) <= (False, _HIDDEN)]


def _lift(
    slide: Slide, kind: str, boxes: Sequence[Box], pieces: bool = False
) -> tuple[Template, ...]:
    return tuple(
        slide.lift(f"{kind}-{number}", box, pieces) for number, box in enumerate(boxes, start=1)
    )


def _choose_artifacts(
    slide: Slide, labelled: Sequence[Labelled], given: Sequence[Box]
) -> tuple[list[Box], list[str]]:
    """Take the given boxes, or else the best three, and say what they are if nobody said so."""
    if given:
        height, width = slide.free.shape
        for box in given:
            if not (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width):
                raise ArgumentError(
                    f"artifact {box}: expected a box within the picture of {width} x {height}"
                )
        return list(given), []
    found = list(islice(_candidates(slide, labelled), _WANTED))
    kinds = Counter(kind for kind, _ in found if kind not in ODD)
    notes = [f"{number} of {len(found)} artifacts are {kind}" for kind, number in kinds.items()]
    return [box for _, box in found], notes


def _candidates(slide: Slide, labelled: Sequence[Labelled]) -> Iterator[tuple[str, Box]]:
    """Go through what may serve as an artifact, best first, each with what it is."""
    for category in ODD:
        for box in sorted(_boxes(labelled, category), key=slide.crowding):
            yield category, box
    for box in _strays(slide):
        yield "stain that is not annotated", box
    for box in sorted(_boxes(labelled, RED_CELL), key=slide.crowding):
        yield "uninfected red cells", box


def _strays(slide: Slide) -> list[Box]:
    """Find coloured stain apart from all boxes, of middling size; the strongest first."""
    colour = empty_colour(slide.picture)
    labels, _ = ndimage.label(ndimage.binary_dilation(slide.stain, iterations=_STRAY_JOIN))
    ranked = []
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        box = Box(rows.start, columns.start, rows.stop, columns.stop)
        if _may_be_stray(slide, box):
            stain = (labels[box.slices] == label) & slide.stain[box.slices]
            ranked.append((_tint(slide.picture[box.slices], stain, colour), box))
    ranked.sort(key=lambda one: -one[0])
    return [box for tint, box in ranked if tint > 0]


def _may_be_stray(slide: Slide, box: Box) -> bool:
    least, most = _STRAY_SIDES
    if min(box.height, box.width) < least + 2 * _STRAY_JOIN or max(box.height, box.width) > most:
        return False
    return not slide.cut_off(box) and not any(box.meets(other) for other in slide.boxes)


def _tint(patch: UInt8, stain: Bool, colour: UInt8) -> float:
    """Sum over stained pixels of how unevenly they absorb the channels; 0 if grey or faint."""
    absorbed = colour.astype(np.int64) - patch[stain]
    spread = absorbed.max(axis=1) - absorbed.min(axis=1)
    strong = spread.mean() >= _LEAST_TINT and absorbed.max(axis=1).mean() >= _LEAST_DEPTH
    return float(spread.sum()) if strong else 0.0


def _background(slide: Slide) -> tuple[UInt8, list[str]]:
    square = free_square(slide.free)
    if square.height >= _LEAST_BACKGROUND:
        return slide.picture[square.slices], []
    note = (
        f"largest empty square is {square.height} px; the gaps of a larger background were filled "
        "in from around"
    )
    return slide.clean[freest_square(slide.free, min(slide.free.shape)).slices], [note]
