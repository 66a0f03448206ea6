"""Synthetic images of section III.A: cells and artifacts placed on a background, with ground truth.

Steps 1 to 3 of the paper on the full canvas; step 4, the resize to the training size, is left to
the caller. Image ``index`` of a dataset draws from its own generator, seeded with
``[seed, index]``, so that neither order nor number of workers changes a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image
from scipy import ndimage

from skiptool.errors import ArgumentError
from skiptool.sources.smear.templates import Template, Templates, frame_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from skiptool.records import Bool, Float64, UInt8

    UInt16 = NDArray[np.uint16]

# Templates prepared for fast placement.

_FULL: Final = 256
"""Weight 1 in fixed point: a blend stays within uint16."""

_EDGE: Final = 2
"""Depth in pixels inside its outline from which an object covers the canvas."""

_RIM: Final = 4
"""Distance in pixels around its outline up to which an object darkens the canvas."""

_FADE: Final = 1.0
"""Standard deviation in pixels of the Gaussian by which both fade."""


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """A prepared template; placing it maps the canvas to ``(canvas * keep + paint) / 256``.

    Attributes
    ----------
    paint : uint16, shape (h, w, 3)
        256 times the object's contribution, plus one half for rounding.
    keep : uint16, shape (h, w, 3)
        256 times the share of the canvas that shows through.
    mask : uint8, shape (h, w)
        1 inside the object, 0 outside.
    """

    paint: UInt16
    keep: UInt16
    mask: UInt8


def place_stamp(image: UInt8, stamp: Stamp, position: tuple[slice, slice]) -> None:
    """Place a stamp on an image uint8 (H, W, 3), in place, at the given rows and columns."""
    view = image[position]
    blend = np.multiply(view, stamp.keep, dtype=np.uint16)
    blend += stamp.paint
    blend >>= 8
    np.copyto(view, blend, casting="unsafe")


def make_stamp(template: Template) -> Stamp:
    """Prepare a template: it covers the canvas inside the mask, and multiplies it around the mask.

    In transmitted light the blurred edge of an object transmits a share of the light: its pixels
    divided by its own background. Multiplying by that share leaves no halo on lighter or darker
    backgrounds or on other cells.
    """
    background = frame_colour(template.image).astype(np.float64)
    share = np.clip(template.image / np.maximum(background, 1.0), 0.0, 1.0)
    share[:, :, background < 1.0] = 1.0
    rim = _soft(ndimage.distance_transform_edt(~template.mask) <= _RIM)
    cover = _soft(ndimage.distance_transform_edt(template.mask) > _EDGE)
    share = 1.0 - rim * (1.0 - share)
    paint = cover * template.image * _FULL + _FULL / 2
    keep = (1.0 - cover) * share * _FULL
    box = _extent(rim[..., 0] > 1 / _FULL)
    return Stamp(
        paint.astype(np.uint16)[box],
        keep.astype(np.uint16)[box],
        template.mask.astype(np.uint8)[box],
    )


def _soft(where: Bool) -> Float64:
    soft: Float64 = ndimage.gaussian_filter(where.astype(np.float64), _FADE)[..., None]
    return soft


def _extent(where: Bool) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """Parameters of an image; the defaults are the paper's.

    Attributes
    ----------
    canvas : int
        Side of the square image in pixels, before the resize of step 4.
    cells : (int, int)
        Smallest and largest number of cells, inclusive (the paper says both 0..100 and 1..100; the
        latter is used).
    artifacts : int
        Artifacts per image.
    """

    canvas: int = 1500
    cells: tuple[int, int] = (1, 100)
    artifacts: int = 3

    def __post_init__(self) -> None:
        fewest, most = self.cells
        if not 0 <= fewest <= most:
            raise ArgumentError(
                f"cells {fewest}:{most}: expected 0 <= fewest <= most, 1:100 in the paper"
            )
        if self.canvas < 1 or self.artifacts < 0:
            raise ArgumentError(
                f"canvas {self.canvas}, artifacts {self.artifacts}: expected a canvas of at least "
                "1 pixel and a non-negative number of artifacts"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A synthetic image with its ground truth.

    Attributes
    ----------
    image : uint8, shape (canvas, canvas, 3)
    mask : uint8, shape (canvas, canvas)
        1 where the mask of a cell was placed, 0 elsewhere.
    cells : int
        Number of cells.
    """

    image: UInt8
    mask: UInt8
    cells: int


@dataclass(frozen=True, slots=True, eq=False)
class PreparedScene:
    """Settings and prepared templates for `compose`; immutable, so threads may share it.

    A background of canvas 1500 is stored in its four rotations, 27 MB.
    """

    settings: SceneSettings
    backgrounds: tuple[tuple[UInt8, ...], ...]
    cells: tuple[Stamp, ...]
    artifacts: tuple[Stamp, ...]


def prepare(templates: Templates, settings: SceneSettings) -> PreparedScene:
    """Rotate and resize the backgrounds and prepare the templates."""
    for template in (*templates.cells, *templates.artifacts):
        height, width = template.mask.shape
        if max(height, width) > settings.canvas:
            raise ArgumentError(
                f"canvas {settings.canvas}: template {template.name} is {width} x {height} and "
                f"must lie wholly inside; expected a canvas of at least {max(height, width)}"
            )
    return PreparedScene(
        settings,
        tuple(_rotations(picture, settings.canvas) for picture in templates.backgrounds),
        tuple(make_stamp(cell) for cell in templates.cells),
        tuple(make_stamp(artifact) for artifact in templates.artifacts),
    )


def cell_count(settings: SceneSettings, seed: int, index: int) -> int:
    """Return the number of cells of image ``index`` without composing it.

    Examples
    --------
    >>> [cell_count(SceneSettings(), 0, index) for index in range(5)]
    [86, 53, 98, 51, 46]
    """
    return _draw_count(settings, _generator(seed, index))


def compose(scene: PreparedScene, seed: int, index: int) -> Scene:
    """Compose image ``index`` of the dataset with this seed: steps 1 to 3 of section III.A.

    Parameters
    ----------
    scene : PreparedScene
        From `prepare`.
    seed, index : int
        Non-negative; together they determine everything random.

    Notes
    -----
    Objects lie wholly inside the canvas and may overlap: later ones cover earlier ones, and
    artifacts come last. As in the paper, the ground truth is the union of the cell masks: a part
    covered by another cell or an artifact stays labelled as cell, and only the background is
    rotated. Where the paper pastes, the outermost pixels are blended here: an object covers the
    canvas inside its outline, and its blurred edge darkens the canvas.
    """
    rng = _generator(seed, index)
    count = _draw_count(scene.settings, rng)
    rotations = scene.backgrounds[rng.integers(len(scene.backgrounds))]
    image = rotations[rng.integers(len(rotations))].copy()
    mask = np.zeros(image.shape[:2], dtype=np.uint8)
    for stamp, position in _scatter(scene.cells, count, scene.settings.canvas, rng):
        place_stamp(image, stamp, position)
        mask[position] |= stamp.mask
    for stamp, position in _scatter(
        scene.artifacts, scene.settings.artifacts, scene.settings.canvas, rng
    ):
        place_stamp(image, stamp, position)
    return Scene(image, mask, count)


def _generator(seed: int, index: int) -> np.random.Generator:
    if seed < 0 or index < 0:
        raise ArgumentError(f"seed {seed}, index {index}: expected non-negative numbers")
    return np.random.default_rng([seed, index])


def _draw_count(settings: SceneSettings, rng: np.random.Generator) -> int:
    """Draw the number of cells; always the first draw, so that `cell_count` needs no other."""
    return int(rng.integers(*settings.cells, endpoint=True))


def _scatter(
    stamps: Sequence[Stamp], count: int, canvas: int, rng: np.random.Generator
) -> list[tuple[Stamp, tuple[slice, slice]]]:
    """Draw ``count`` stamps and a position for each, uniform inside the canvas."""
    chosen = [stamps[kind] for kind in rng.integers(len(stamps), size=count)]
    fractions = rng.random((count, 2)).tolist()
    placed = []
    for stamp, (down, right) in zip(chosen, fractions, strict=True):
        height, width = stamp.mask.shape
        row = int(down * (canvas - height + 1))
        column = int(right * (canvas - width + 1))
        placed.append((stamp, (slice(row, row + height), slice(column, column + width))))
    return placed


def _rotations(picture: UInt8, canvas: int) -> tuple[UInt8, ...]:
    """Step 1: the background rotated by 0, 90, 180 and 270 degrees, resized to the canvas."""
    turned = (np.ascontiguousarray(np.rot90(picture, turns)) for turns in range(4))
    size = (canvas, canvas)
    return tuple(
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        for image in turned
    )
