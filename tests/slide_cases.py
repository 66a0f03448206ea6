"""Small slides with known tissue and annotations, and inputs for the parts of ``extract wsi``."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heard import Heard
from pyramids import Pixels, write_pyramid
from skiptool.parallel import thread_map
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.sources.slides.tissue import Tissue
from skiptool.steps.extract_wsi.settings import ExtractionContext, PatchSettings
from skiptool.steps.extract_wsi.survey import SurveyedSlide

SIZE = (600, 480)
"""Width and height of a small slide."""

BLOCK = (80, 60, 520, 420)
"""Left, top, right and bottom of its tissue."""

Ring = Sequence[tuple[float, float]]

SQUARE: Ring = [(100, 100), (300, 100), (300, 250), (100, 250)]
HOLE: Ring = [(150, 140), (200, 140), (200, 200), (150, 200)]
INNER: Ring = [(160.5, 150), (280.25, 170), (220, 230)]
"""An area with a hole, and an area painted over both."""

AREAS = (
    ("Dermis", [SQUARE, HOLE], "a1"),
    ("SCC", [INNER], "a2"),
    ("Bone", [[(320, 300), (460, 300), (460, 400), (320, 400)]], "a3"),
)
"""Name, rings and record, in paint order."""

POINTS = (("mitosis", (200.0, 150.0), "7"), ("look-alike", (400.0, 300.0), "9"))


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Pixels:
    """Return noisy tissue on uniform glass; every seed gives another slide."""
    rng = np.random.default_rng(seed)
    image = np.full((size[1], size[0], 3), (244, 243, 245), np.uint8)
    left, top, right, bottom = BLOCK
    noise = rng.integers(-12, 12, (bottom - top, right - left, 3))
    image[top:bottom, left:right] = np.array((170, 90, 140)) + noise
    return image


def write_slide(path: Path, seed: int = 0, mpp: float | None = 0.25, **how: Any) -> Path:  # noqa: ANN401
    """Write a small lossless slide of two levels."""
    return write_pyramid(path, picture(seed), mpp=mpp, **{"levels": 2, "quality": None} | how)


def write_geojson(
    path: Path,
    areas: Iterable[tuple[str, Sequence[Ring], str]] = AREAS,
    points: Iterable[tuple[str, tuple[float, float], str]] = (),
) -> Path:
    """Write annotations as QuPath exports them."""
    geometries = [
        (name, {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in rings]}, record)
        for name, rings, record in areas
    ]
    geometries += [
        (name, {"type": "Point", "coordinates": list(at)}, record) for name, at, record in points
    ]
    features = [
        {
            **{"type": "Feature", "id": record, "geometry": geometry},
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name, geometry, record in geometries
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def write_sliderunner(
    path: Path,
    slides: Mapping[str, tuple[int, int]],
    points: Sequence[tuple[str, tuple[float, float], str]] = POINTS,
) -> Path:
    """Write a SlideRunner database with the same points on every slide."""
    database = sqlite3.connect(path)
    database.executescript(
        "CREATE TABLE Slides (uid INTEGER PRIMARY KEY, filename TEXT, width INT, height INT);"
        "CREATE TABLE Classes (uid INTEGER PRIMARY KEY, name TEXT);"
        "CREATE TABLE Annotations (uid INTEGER PRIMARY KEY, slide INT, type INT, agreedClass INT);"
        "CREATE TABLE Annotations_coordinates (uid INTEGER PRIMARY KEY, coordinateX INT,"
        " coordinateY INT, slide INT, annoId INT, orderIdx INT);"
    )
    names = sorted({name for name, _, _ in points})
    database.executemany("INSERT INTO Classes VALUES (?, ?)", enumerate(names, 1))
    for number, (name, size) in enumerate(slides.items()):
        database.execute("INSERT INTO Slides VALUES (?, ?, ?, ?)", (number, name, *size))
        for kind, (x, y), record in points:
            uid = 1000 * number + int(record)
            label = names.index(kind) + 1
            database.execute("INSERT INTO Annotations VALUES (?, ?, 1, ?)", (uid, number, label))
            database.execute(
                "INSERT INTO Annotations_coordinates VALUES (NULL, ?, ?, ?, ?, 1)",
                (x, y, number, uid),
            )
    database.commit()
    database.close()
    return path


def write_manifest(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a manifest with the columns of all rows."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def covered(rings: Sequence[Ring], x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which points lie in the first ring and in none of the others, edge by edge."""

    def within(ring: Ring) -> NDArray[np.bool_]:
        odd = np.zeros(x.shape, bool)
        for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
            if y0 != y1:
                crosses = (y0 > y) != (y1 > y)
                odd ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        return odd

    outline, *holes = rings
    found = within(outline)
    for hole in holes:
        found &= ~within(hole)
    return found


def centres(
    x: float, y: float, size: int, scale: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of the centre of every pixel of a patch at level 0, each (size, size)."""
    line = np.arange(size) + 0.5
    across, down = np.meshgrid(x + line * scale[0], y + line * scale[1])
    return across, down


def in_block(x: NDArray[Any], y: NDArray[Any], margin: float = 0.0) -> NDArray[np.bool_]:
    """Return which points lie in the tissue, at least ``margin`` from its edge."""
    left, top, right, bottom = BLOCK
    inside = (x > left + margin) & (x < right - margin)
    return inside & (y > top + margin) & (y < bottom - margin)


def surveyed(
    name: str = "a",
    shapes: Sequence[Shape] = (),
    *,
    key: str = "0123456789abcdef" * 2,
    scale: tuple[float, float] = (1.0, 1.0),
    mpp: tuple[float, float] | None = (0.25, 0.25),
    size: tuple[int, int] = SIZE,
    tissue: bool = True,
    **row: Any,  # noqa: ANN401
) -> SurveyedSlide:
    """Return a surveyed slide without a file; its tissue is the block, or none."""
    mask = tissue & in_block(
        *np.meshgrid(np.arange(0, size[0], 4) + 2, np.arange(0, size[1], 4) + 2)
    )
    facts = {"path": Path(f"{name}.svs"), "domain": "A", "subject": name} | row
    return SurveyedSlide(
        row=SlideRow(**facts),
        name=name,
        key=key,
        size=size,
        mpp=mpp,
        scale=scale,
        threshold=200,
        vendor="aperio",
        levels=3,
        shapes=tuple(shapes),
        format="GeoJSON" if shapes else None,
        tissue=Tissue(mask, (4.0, 4.0), 200),
    )


def area(name: str, box: tuple[float, float, float, float], record: str = "1") -> Shape:
    """Return a rectangle: left, top, right, bottom."""
    left, top, right, bottom = box
    ring = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=float)
    return Shape(name, (ring,), record)


def point(name: str, x: float, y: float, record: str = "1") -> Shape:
    return Shape(name, (np.array([[x, y]], dtype=float),), record)


def make_run(pool: SlidePool | None = None, seed: int = 0, **settings: Any) -> ExtractionContext:  # noqa: ANN401
    """Return a context that works in this thread and records the warnings."""
    return ExtractionContext(
        PatchSettings(**settings),
        seed,
        pool or SlidePool(),
        partial(thread_map, workers=1),
        Heard(),
    )


class Affine:
    """Stand-in for the alignment of two scans, with the transform ``[xx xy x0; yx yy y0]`` only."""

    mirrored = False
    inliers = 12

    def __init__(self, affine: Sequence[Sequence[float]]) -> None:
        self.affine = np.array(affine, dtype=float)

    def to_other(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return points @ self.affine[:, :2].T + self.affine[:, 2]

    def as_json(self) -> dict[str, Any]:
        return {"affine": self.affine.tolist()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Affine:
        return cls(found["affine"])


def true_mask(
    x: float, y: float, size: int, scale: tuple[float, float], labels: Mapping[str, int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Compute the mask of a patch of a small slide pixel by pixel, and where it is certain.

    ``labels`` are those of the names of ``AREAS``; other names and unannotated tissue are ignored.
    Along the edge of the tissue smoothed pixels decide.
    """
    across, down = centres(x, y, size, scale)
    mask = np.where(in_block(across, down), 255, 0).astype(np.uint8)
    margin = 4 * max(scale)
    sure = in_block(across, down, margin) | ~in_block(across, down, -margin)
    for name, rings, _ in AREAS:
        inside = covered(rings, across, down)
        mask[inside] = labels.get(name, 255)
        sure |= inside
    return mask, sure
