"""Cut templates out of one picture of BBBC041 with its annotations, section III.A.

- Cells: up to three infected cells, cut at their boxes. Pixels like the glass, and those nearer to
  a neighbour's box, are replaced by clean glass, which separates touching cells. A cell hidden by a
  neighbour or cut off by the border is used only if there is no other.
- Artifacts: the given boxes; otherwise three of, in this order, annotated leukocytes and difficult
  objects, coloured stain without annotation (platelets, precipitate, debris), uninfected red cells.
- Background: the largest empty square if its side is at least 400 pixels; otherwise the largest
  square of the picture with all objects on it replaced by synthesised background.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image
from scipy import ndimage

from skiptool.errors import ArgumentError, SourceError
from skiptool.images import colour_distance, grey
from skiptool.sources.otsu import otsu
from skiptool.sources.pictures.files import read_picture
from skiptool.sources.smear.templates import (
    INFECTED,
    RED_CELL,
    STAIN_CAP,
    UNCLEAR,
    Box,
    LabelledBox,
    Template,
    Templates,
    read_boxes,
    segment_stain,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skiptool.records import Bool, Float64, Int64, UInt8


# Cutting an object out of a smear, separated from its neighbours, on clean glass.

_MARGIN: Final = 14
"""Pixels of background around a box in its template."""

_BOX_TOLERANCE: Final = 4
"""Pixels by which an object may exceed its hand-drawn box."""

_RIM: Final = 4
_FADE: Final = 1.0
"""Pixels weight around an object (its blurred edge), and standard deviation of their fade."""

_MAX_OVERLAP: Final = 0.15
"""Share of a box's stain nearer to a neighbour, and of its outline that is stained, from which
on cells are taken to overlap."""


@dataclass(frozen=True, slots=True, eq=False)
class Smear:
    """A picture, the boxes of all objects on it, and derived masks.

    Attributes
    ----------
    picture : uint8, shape (H, W, 3)
    free : bool, shape (H, W)
        Empty glass.
    clean : uint8, shape (H, W, 3)
        The picture with everything that is not free replaced by background.
    stain : bool, shape (H, W)
        Pixels that differ from the glass.
    """

    picture: UInt8
    boxes: tuple[Box, ...]
    free: Bool
    clean: UInt8
    stain: Bool

    @classmethod
    def of(
        cls, picture: UInt8, boxes: Sequence[Box], free: Bool, rng: np.random.Generator
    ) -> Smear:
        """Derive the other attributes; ``rng`` draws the grain of the clean glass."""
        stain = segment_stain(picture, empty_colour(picture))
        return cls(picture, tuple(boxes), free, fill_background(picture, free, rng), stain)

    def lift(self, name: str, box: Box, pieces: bool = False) -> Template:
        """Cut out the object of a box, without its neighbours.

        Parameters
        ----------
        pieces : bool
            Keep all pieces of the object, not only the largest.
        """
        window = box.grown(_MARGIN, *self.free.shape)
        glass = np.median(self.clean[window.slices], axis=(0, 1)).astype(np.uint8)
        stain = segment_stain(self.picture[window.slices], glass)
        body = ndimage.binary_fill_holes(stain & self._own(box, window, stain))
        body = body if pieces else _largest(body)
        near = (ndimage.distance_transform_edt(~body) <= _RIM) & (body | ~stain)
        cover = ndimage.gaussian_filter(near.astype(np.float64), _FADE)[..., None]
        laid = cover * self.picture[window.slices] + (1.0 - cover) * self.clean[window.slices]
        return Template.from_picture(name, np.rint(laid).astype(np.uint8), pieces)

    def crowding(self, box: Box) -> tuple[bool, float]:
        """Return whether the border cuts a box off, and a neighbour's share of its stain."""
        stain = self.stain[box.slices]
        foreign = stain & ~self._nearest(box, box)
        return self.cut_off(box), float(foreign.sum() / max(stain.sum(), 1))

    def cut_off(self, box: Box) -> bool:
        """Return whether a box reaches the border, beyond which its object may continue."""
        height, width = self.free.shape
        return bool(min(box.top, box.left, height - box.bottom, width - box.right) <= 1)

    def _own(self, box: Box, window: Box, stain: Bool) -> Bool:
        """Mark the pixels of a box's object: nearer to it than to others, and not far from it.

        If a neighbour covers much of the box, or much stain continues beyond it, the cells overlap:
        then it is the ellipse of the box, which leaves no straight edge.
        """
        near = np.zeros_like(stain)
        reach = box.grown(_BOX_TOLERANCE, *self.free.shape).within(window).slices
        near[reach] = self._nearest(box, window)[reach]
        outline = (near & stain)[reach]
        outline[1:-1, 1:-1] = False
        crossing = outline.sum() / (box.height + box.width)
        if crossing > _MAX_OVERLAP or self.crowding(box)[1] > _MAX_OVERLAP:
            near = _ellipse(box, window) <= 1.0
        return near

    def _nearest(self, box: Box, window: Box) -> Bool:
        """Mark where a window is nearer to this box than to any other, in elliptical distance.

        Objects are round: where two cells touch, the boundary runs along the rim of the more
        distant one.
        """
        mine = _ellipse(box, window)
        nearest = np.ones(mine.shape, dtype=bool)
        for other in self.boxes:
            if other != box and other.meets(window):
                nearest &= mine <= _ellipse(other, window)
        return nearest


def _ellipse(box: Box, window: Box) -> Float64:
    """Return the squared elliptical distance from the centre of a box, 1 on its ellipse."""
    rows = np.arange(window.top, window.bottom) + 0.5 - (box.top + box.bottom) / 2
    columns = np.arange(window.left, window.right) + 0.5 - (box.left + box.right) / 2
    down, right = rows / (box.height / 2), columns / (box.width / 2)
    distance: Float64 = (down**2)[:, None] + (right**2)[None, :]
    return distance


def _largest(mask: Bool) -> Bool:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Bool = mask & (labels == sizes.argmax())
    return largest


_COUNT: Final = 3
"""Number of cells and of artifacts, as in the paper."""

_MIN_BACKGROUND: Final = 400
_MIN_EMPTY: Final = 24
"""Smallest sides in pixels of an empty square that serves as background, and of one that
provides grain to fill gaps with."""

_MAX_HIDDEN: Final = 0.15
"""Share of a box's stain nearer to a neighbour from which a cell is not used."""

_ARTIFACT_SIDES: Final = (12, 160)
_ARTIFACT_JOIN: Final = 4
_MIN_TINT: Final = 30.0
_MIN_DEPTH: Final = 32.0
"""Grey levels, means over a stain: between the most and the least absorbed channel (ink and dust
are grey), and of the most absorbed one (fainter stain is hardly visible)."""


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
        Boxes of artifacts, any number; by default three are searched for.
    seed : int
        Seed of the grain of synthesised background.

    Returns
    -------
    templates : Templates
    warnings : tuple of str
        One line each for fewer than three cells, artifacts not annotated as such, and a synthesised
        background.
    """
    picture = read_picture(source)
    labelled = read_boxes(annotations, source, *picture.shape[:2])
    infected = _boxes(labelled, *INFECTED)
    if not infected:
        raise SourceError(
            f"{source}: none of its {len(labelled)} annotated objects is an infected cell; "
            f"expected at least one of {', '.join(INFECTED)}. Choose another picture"
        )
    smear = _make_smear(picture, [one.box for one in labelled], seed, source)
    chosen = _choose_cells(smear, infected)
    odd, notes = _choose_artifacts(smear, labelled, artifacts)
    if not odd:
        raise SourceError(
            f"{source}: nothing on it can serve as an artifact; expected stain or an uninfected "
            "cell. Give boxes of artifacts, or choose another picture"
        )
    background, filled = _background(smear)
    templates = Templates(
        (background,), _lift(smear, "cell", chosen), _lift(smear, "artifact", odd, pieces=True)
    )
    if len(chosen) < _COUNT:
        hidden = len(infected) - len(chosen)
        why = f" ({hidden} more are hidden by neighbours or cut off)" if hidden else ""
        notes.insert(0, f"infected cells: {len(chosen)}{why} instead of {_COUNT}; using those")
    return templates, tuple(f"{source}: {note}" for note in (*notes, *filled))


def _make_smear(picture: UInt8, boxes: Sequence[Box], seed: int, source: Path) -> Smear:
    free = free_pixels(picture, boxes)
    if free_square(free).height < _MIN_EMPTY:
        raise SourceError(
            f"{source}: no empty square of {_MIN_EMPTY} pixels on it; expected a thin smear "
            "with glass between the cells. Choose another picture"
        )
    return Smear.of(picture, boxes, free, np.random.default_rng(seed))


def _boxes(labelled: Sequence[LabelledBox], *categories: str) -> list[Box]:
    return [one.box for one in labelled if one.category in categories]


def _choose_cells(smear: Smear, infected: Sequence[Box]) -> list[Box]:
    """Take the best three: whole ones with few neighbours; a bad one only if it is the best."""
    ranked = sorted(infected, key=smear.crowding)[:_COUNT]
    return ranked[:1] + [box for box in ranked[1:] if smear.crowding(box) <= (False, _MAX_HIDDEN)]


def _lift(
    smear: Smear, kind: str, boxes: Sequence[Box], pieces: bool = False
) -> tuple[Template, ...]:
    return tuple(
        smear.lift(f"{kind}-{number}", box, pieces) for number, box in enumerate(boxes, start=1)
    )


def _choose_artifacts(
    smear: Smear, labelled: Sequence[LabelledBox], given: Sequence[Box]
) -> tuple[list[Box], list[str]]:
    """Take the given boxes, or else the best three, with notes on unannotated ones."""
    if given:
        height, width = smear.free.shape
        for box in given:
            if not (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width):
                raise ArgumentError(
                    f"artifact {box}: expected a box within the picture of {width} x {height}"
                )
        return list(given), []
    candidates = list(islice(_candidates(smear, labelled), _COUNT))
    kinds = Counter(kind for kind, _ in candidates if kind not in UNCLEAR)
    notes = [
        f"{number} of {len(candidates)} artifacts are {kind}" for kind, number in kinds.items()
    ]
    return [box for _, box in candidates], notes


def _candidates(smear: Smear, labelled: Sequence[LabelledBox]) -> Iterator[tuple[str, Box]]:
    """Yield possible artifacts with their kind, best first."""
    for category in UNCLEAR:
        for box in sorted(_boxes(labelled, category), key=smear.crowding):
            yield category, box
    for box in _unannotated_stain(smear):
        yield "stain that is not annotated", box
    for box in sorted(_boxes(labelled, RED_CELL), key=smear.crowding):
        yield "uninfected red cells", box


def _unannotated_stain(smear: Smear) -> list[Box]:
    """Find coloured stain outside all boxes, of medium size; the strongest first."""
    colour = empty_colour(smear.picture)
    labels, _ = ndimage.label(ndimage.binary_dilation(smear.stain, iterations=_ARTIFACT_JOIN))
    ranked = []
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        box = Box(rows.start, columns.start, rows.stop, columns.stop)
        if _may_be_artifact(smear, box):
            stain = (labels[box.slices] == label) & smear.stain[box.slices]
            ranked.append((_tint(smear.picture[box.slices], stain, colour), box))
    ranked.sort(key=lambda one: -one[0])
    return [box for tint, box in ranked if tint > 0]


def _may_be_artifact(smear: Smear, box: Box) -> bool:
    least, most = _ARTIFACT_SIDES
    if min(box.height, box.width) < least + 2 * _ARTIFACT_JOIN or max(box.height, box.width) > most:
        return False
    return not smear.cut_off(box) and not any(box.meets(other) for other in smear.boxes)


def _tint(patch: UInt8, stain: Bool, colour: UInt8) -> float:
    """Sum the spread of absorption over channels over stained pixels; 0 if grey or faint."""
    absorbed = colour.astype(np.int64) - patch[stain]
    spread = absorbed.max(axis=1) - absorbed.min(axis=1)
    strong = spread.mean() >= _MIN_TINT and absorbed.max(axis=1).mean() >= _MIN_DEPTH
    return float(spread.sum()) if strong else 0.0


def _background(smear: Smear) -> tuple[UInt8, list[str]]:
    square = free_square(smear.free)
    if square.height >= _MIN_BACKGROUND:
        return smear.picture[square.slices], []
    note = (
        f"largest empty square is {square.height} px; the gaps of a larger background were filled "
        "in from around"
    )
    return smear.clean[freest_square(smear.free, min(smear.free.shape)).slices], [note]


_BLOCK: Final = 8
_WIDTHS: Final = (3.0, 8.0, 24.0, 72.0)
"""Standard deviations of the Gaussians for the illumination, in blocks of 8 pixels."""

_FULL_WEIGHT: Final = 0.25
_JOIN: Final = 3
_MIN_STAIN: Final = 150
"""Stained components, dilated by 3 pixels, are dust below this number of pixels; dust remains in
the background."""

_GLARE: Final = 10
"""Width in pixels of the dark margin around stain that is not background."""

_BOX_MARGIN: Final = 6
_SEAM: Final = 3.0


def empty_colour(image: UInt8) -> UInt8:
    """Return the median colour of the glass, the lighter class of Otsu's threshold.

    Parameters
    ----------
    image : uint8, shape (H, W, 3)

    Returns
    -------
    uint8, shape (3,)
    """
    values = grey(image)
    light = values > otsu(values)
    pixels = image[light] if light.any() else image.reshape(-1, 3)
    colour: UInt8 = np.median(pixels, axis=0).astype(np.uint8)
    return colour


def free_pixels(image: UInt8, boxes: Sequence[Box]) -> Bool:
    """Mark the background (H, W): pixels in no box and not near stain, annotated or not.

    Specks of dust count as background.
    """
    distance = np.minimum(colour_distance(image, empty_colour(image)), STAIN_CAP)
    near = ndimage.binary_dilation(distance > otsu(distance), iterations=_JOIN)
    labels, _ = ndimage.label(near)
    large = np.bincount(labels.ravel()) >= _MIN_STAIN
    large[0] = False
    free = np.ones(labels.shape, dtype=bool)
    if large.any():  # otherwise the distance is undefined
        free = ndimage.distance_transform_edt(~large[labels]) > _GLARE
    for box in boxes:
        free[box.grown(_BOX_MARGIN, *free.shape).slices] = False
    return free


def free_square(free: Bool) -> Box:
    """Find the largest square of free pixels (H, W), possibly of side 0; the first of equal ones.

    Examples
    --------
    >>> free_square(np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]], dtype=bool))
    Box(top=0, left=1, bottom=2, right=3)
    """
    low, high = 0, min(free.shape)
    while low < high:  # binary search: if a square fits, so does a smaller one
        side = (low + high + 1) // 2
        fits = (square_sums(free, side) == side * side).any()
        low, high = (side, high) if fits else (low, side - 1)
    if low == 0:
        return Box(0, 0, 0, 0)
    return freest_square(free, low)


def freest_square(free: Bool, side: int) -> Box:
    """Find the square of a given side with most free pixels; the first of equal ones."""
    sums = square_sums(free, side)
    top, left = divmod(int(sums.argmax()), sums.shape[1])
    return Box(top, left, top + side, left + side)


def square_sums(values: Bool, side: int) -> Int64:
    """Count the True pixels of each square of a side: int64 (H - side + 1, W - side + 1)."""
    sums = np.pad(values.astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    counts: Int64 = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side]
    counts += sums[:-side, :-side]
    return counts


def fill_background(image: UInt8, free: Bool, rng: np.random.Generator) -> UInt8:
    """Replace all pixels that are not free by synthesised background.

    Parameters
    ----------
    image : uint8, shape (H, W, 3)
    free : bool, shape (H, W)
        Background to keep, at least some pixels.
    rng : np.random.Generator
        Draws the grain.

    Returns
    -------
    uint8, shape (H, W, 3)
        Equal to ``image`` inside the free pixels, away from their borders.
    """
    if free.all():
        return image.copy()
    light = _illumination(image, free)
    residual = image - light
    grain = _grain(residual, free, rng)
    seam = ndimage.distance_transform_edt(free) / _SEAM
    weight = np.clip(seam, 0.0, 1.0)[..., None]
    # the two grains are independent: weights on a circle preserve the standard deviation
    mixed = np.where(weight > 0, weight * residual, 0.0) + np.sqrt(1.0 - weight**2) * grain
    filled: UInt8 = np.clip(np.rint(light + mixed), 0, 255).astype(np.uint8)
    return filled


def _illumination(image: UInt8, free: Bool) -> Float64:
    """Average the free pixels around each pixel, more widely if they are few."""
    height, width = free.shape
    weight = _blocks(free.astype(np.float64))
    seen = np.where(free[..., None], image, 0).astype(np.float64)
    total = np.stack([_blocks(seen[..., channel]) for channel in range(3)], axis=-1)
    light = np.broadcast_to(total.sum(axis=(0, 1)) / weight.sum(), total.shape)
    for spread in reversed(_WIDTHS):
        around = ndimage.gaussian_filter(weight, spread, mode="nearest")
        mean = ndimage.gaussian_filter(total, (spread, spread, 0), mode="nearest")
        trust = np.clip(around / _FULL_WEIGHT, 0.0, 1.0)[..., None]
        light = trust * mean / np.maximum(around, 1e-12)[..., None] + (1.0 - trust) * light
    size = (weight.shape[1] * _BLOCK, weight.shape[0] * _BLOCK)
    planes = [Image.fromarray(light[..., channel].astype(np.float32)) for channel in range(3)]
    smooth = [np.asarray(plane.resize(size, Image.Resampling.BICUBIC)) for plane in planes]
    return np.stack(smooth, axis=-1)[:height, :width].astype(np.float64)


def _blocks(values: Float64) -> Float64:
    """Average over blocks of 8 x 8 pixels, zero-padded at the border."""
    height, width = values.shape
    padded = np.pad(values, ((0, -height % _BLOCK), (0, -width % _BLOCK)))
    rows, columns = padded.shape
    blocks = padded.reshape(rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK)
    mean: Float64 = blocks.mean(axis=(1, 3))
    return mean


def _grain(residual: Float64, free: Bool, rng: np.random.Generator) -> Float64:
    """Draw noise of the image's size with the residual spectrum of the largest free square."""
    square = residual[free_square(free).slices]
    side = len(square)
    window = np.hanning(side + 2)[1:-1]
    weight = np.outer(window, window)[..., None]
    sample = (square - square.mean(axis=(0, 1))) * weight
    sample /= np.sqrt((weight**2).sum())
    height, width = free.shape
    noise = rng.standard_normal((height, width))
    transfer = np.fft.rfft2(sample, s=(height, width), axes=(0, 1))
    grain: Float64 = np.fft.irfft2(
        transfer * np.fft.rfft2(noise)[..., None], s=(height, width), axes=(0, 1)
    )
    return grain
