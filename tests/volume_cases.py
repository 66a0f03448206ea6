"""Small volumes of a heart for tests: cines and single frames, in any orientation."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

OBLIQUE = np.array(
    [[-0.81, -0.39, 0.43], [0.0, -0.74, -0.68], [0.58, -0.55, 0.6]]
)  # directions of a short-axis volume as a scanner stored it: columns are x, y, z in RAS+

SIDE = 40


def affine(
    spacing: Sequence[float] = (1.5, 1.5, 8.0),
    axes: Any = OBLIQUE,  # noqa: ANN401 - (3, 3)
) -> Any:  # noqa: ANN401 - (4, 4)
    found = np.eye(4)
    unit, _ = np.linalg.qr(np.asarray(axes, dtype=np.float64))
    unit = unit * np.sign((unit * axes).sum(axis=0))
    found[:3, :3] = unit * np.asarray(spacing)
    found[:3, 3] = (-30.0, 20.0, 10.0)
    return found


def heart(width: int = SIDE, height: int = SIDE, slices: int = 3) -> Any:  # noqa: ANN401
    """Return labels (X, Y, Z): LV 1 in MYO 2, and RV 3 above (low y) and left (low x) of both."""
    x, y = np.meshgrid(np.arange(width), np.arange(height), indexing="ij")
    centre = width / 2 + 2, height / 2 + 2
    found = np.zeros((width, height, slices), dtype=np.uint8)
    for place in range(slices):
        radius = 4 + place
        away = np.hypot(x - centre[0], y - centre[1])
        right = np.hypot(x - centre[0] + 10, y - centre[1] + 9) < 5
        found[..., place][right & (away > radius + 2)] = 3
        found[..., place][away <= radius + 2] = 2
        found[..., place][away <= radius] = 1
    return found


def image_of(labels: Any, seed: int = 0) -> Any:  # noqa: ANN401
    noise = np.random.default_rng(seed).integers(0, 60, labels.shape)
    return (labels.astype(np.int16) * 200 + noise).astype(np.int16)


def save(path: Path, values: Any, matrix: Any = None, version: int = 1) -> Path:  # noqa: ANN401
    matrix = affine() if matrix is None else matrix
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    kind(values, matrix).to_filename(path)
    return path


def cine(
    folder: Path,
    name: str,
    *,
    frames: int = 5,
    labelled: Sequence[int] = (0, 3),
    matrix: Any = None,  # noqa: ANN401
    shape: tuple[int, int, int] = (SIDE, SIDE, 3),
    seed: int = 0,
    dtype: Any = np.float64,  # noqa: ANN401
) -> tuple[Path, Path]:
    """Write ``NAME_sa.nii.gz`` and ``NAME_sa_gt.nii.gz`` (4-D; labels in some frames only)."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = heart(*shape)
    mask = np.zeros((*shape, frames), dtype=dtype)
    for frame in labelled:
        mask[..., frame] = labels
    image = np.stack([image_of(labels, seed + frame) for frame in range(frames)], axis=-1)
    return (
        save(folder / f"{name}_sa.nii.gz", image, matrix),
        save(folder / f"{name}_sa_gt.nii.gz", mask, matrix),
    )


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(image: Path | str, mask: Path | str = "", **columns: object) -> dict[str, object]:
    found: dict[str, object] = {"image": image, "mask": mask, "domain": "A", "subject": "p0"}
    return found | columns


def challenge(folder: Path, subjects: Mapping[str, tuple[str, str, str]], **columns: Any) -> Path:  # noqa: ANN401
    """Write a folder like the M&Ms challenge, with the part, vendor and centre of each subject."""
    rows = []
    for number, (code, (part, vendor, centre)) in enumerate(subjects.items()):
        image, mask = cine(folder / part / code, code, seed=10 * number)
        if "Unlabeled" in part:
            mask.unlink()
        rows.append(
            {"": number, "External code": code, "VendorName": "x", "Vendor": vendor}
            | {"Centre": centre, "ED": 0, "ES": 3}
            | columns
        )
        assert image.is_file()
    write_table(folder / "information.csv", rows)
    return folder
