"""Make a small multi-scanner set out of scans of one glass slide, for ms_mf.sh and ms_cct.sh.

Usage: python examples/paper/multiscanner_demo.py SCANS FOLDER

SCANS holds a folder for each scanner with one slide in it, such as the MIT-licensed example of
github.com/ChristianMarzahl/WsiRegistration (examples/4Scanner); the first in alphabetical order is
annotated. Each scan is cut into four slides of a quarter, which stand for four patients: two to
train on, two to test on. Neither scanners nor quarters are aligned to one another. Annotations are
drawn by a threshold: a point on each dark cell, outlines of cells, and of the smear between them.
They show that the scripts run; nothing can be learnt from their figures.

Needs tifffile, which the extra ``test`` brings.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from skiptool.sources.slides.slide import open_slide

MPP = 0.25
"""Micrometres per pixel that are noted; the example's own files say nothing sensible."""

PARTS = ((0, 0, "north-west"), (0, 1, "north-east"), (1, 0, "south-west"), (1, 1, "south-east"))
TRAINING = ("north-west", "south-east")


def quarter(image: Any, row: int, column: int) -> Any:  # noqa: ANN401 - arrays
    """Cut out a quarter of an image."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return image[row * height : (row + 1) * height, column * width : (column + 1) * width]


def write_slide(path: Path, image: Any) -> None:  # noqa: ANN401
    """Write a tiled TIFF of three levels, as OpenSlide reads it."""
    with tifffile.TiffWriter(path) as file:
        for level in range(3):
            shrunk = (
                image
                if not level
                else cv2.resize(
                    image, None, fx=0.5**level, fy=0.5**level, interpolation=cv2.INTER_AREA
                )
            )
            dots = 1e4 / MPP / 2**level
            file.write(
                shrunk,
                tile=(256, 256),
                compression="zlib",
                photometric="rgb",
                resolution=(dots, dots),
                resolutionunit="CENTIMETER",
                subfiletype=int(level > 0),
            )


def feature(kind: str, coordinates: object, name: str) -> dict[str, object]:
    """Return an annotation as QuPath writes it."""
    geometry = {"type": kind, "coordinates": coordinates}
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"classification": {"name": name}},
    }


def annotate(image: Any) -> tuple[list[dict[str, object]], list[dict[str, object]]]:  # noqa: ANN401
    """Return points on dark cells, and outlines of cells and of the smear."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 2)
    dark = (grey < np.median(grey) - 60).astype(np.uint8)
    number, _, facts, centres = cv2.connectedComponentsWithStats(dark)
    chosen = [i for i in range(1, number) if 60 <= facts[i, cv2.CC_STAT_AREA] <= 1500]
    points = [feature("Point", centres[i].round(1).tolist(), "cell") for i in chosen]
    height, width = grey.shape
    frame = [[20, 20], [width - 20, 20], [width - 20, height - 20], [20, height - 20], [20, 20]]
    areas = [feature("Polygon", [frame], "smear")]
    cells = cv2.dilate((grey < np.median(grey) - 25).astype(np.uint8), np.ones((9, 9)))
    for ring in cv2.findContours(cells, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
        if len(ring) > 3:
            corners = ring[:, 0].tolist()
            areas.append(feature("Polygon", [[*corners, corners[0]]], "cell"))
    return points, areas


def main() -> None:
    """Cut, annotate and list."""
    scans, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[tuple[str, ...]]] = {"points": [], "areas": []}
    scanners = sorted(each for each in scans.iterdir() if each.is_dir())
    for scanner in scanners:
        files = [file for file in sorted(scanner.iterdir()) if file.suffix.lower() != ".png"]
        if len(files) != 1:
            continue
        slide = open_slide(files[0], (MPP, MPP))
        image = slide.read(0, 0, slide.size, (1.0, 1.0))
        for row, column, name in PARTS:
            part, stem = quarter(image, row, column), f"{scanner.name}-{name}"
            write_slide(folder / f"{stem}.tif", part)
            split = "train" if name in TRAINING else "test"
            notes = dict.fromkeys(rows, "")
            if scanner is scanners[0]:
                for kind, found in zip(rows, annotate(part), strict=True):
                    notes[kind] = f"{stem}-{kind}.geojson"
                    collection = {"type": "FeatureCollection", "features": found}
                    (folder / notes[kind]).write_text(json.dumps(collection))
            for kind in rows:
                rows[kind].append((f"{stem}.tif", scanner.name, name, notes[kind], split))
    for kind, found in rows.items():
        with (folder / f"{kind}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("path", "domain", "subject", "annotations", "split"), *found]
            )
        print(folder / f"{kind}.csv")


if __name__ == "__main__":
    main()
