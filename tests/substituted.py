"""Totals of predictions with clean inputs of the decoder, made up by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from skiptool.metrics import GROUP_COLUMNS
from skiptool.records import ORIGINAL, Shift

DARK, BRIGHT = Shift.parse("brightness=0.5"), Shift.parse("brightness=1.5")
PAIRS = [(a, b) for a in ("background", "cell") for b in ("background", "cell")]
COLUMNS = tuple(dict.fromkeys((*GROUP_COLUMNS, "repeat", "subject", "pixels")))
PLAIN: dict[str, Any] = {
    "dataset": "d.zarr",
    "dataset_id": "d1",
    "domain": "a",
    "split": "test",
    "arch": "unet",
    "encoder": "resnet18",
    "pruning": "baseline",
    "fold": 0,
    "repeat": None,
}


def rows(
    shift: Shift, clean: str | None, both: Sequence[int], **facts: object
) -> list[dict[str, Any]]:
    """Rows of a model: of 100 pixels that are cell in each subject, so many are found."""
    of = {**PLAIN, **facts, "shift": shift.kind.value, "factor": shift.factor}
    of.setdefault("model_id", f"{of['encoder']} {of['pruning']} {of['fold']}")
    return [
        {
            **of,
            "clean_skips": clean,
            "subject": f"s{number:02d}",
            "truth": truth,
            "predicted": predicted,
            "pixels": pixels,
        }
        for number, found in enumerate(both)
        for (truth, predicted), pixels in zip(PAIRS, (900, 0, 100 - found, found), strict=True)
    ]


def columns(*groups: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows into columns."""
    every = [row for group in groups for row in group]
    return {name: [row[name] for row in every] for name in COLUMNS}


FOUND: Mapping[str | None, int] = {
    None: 20,
    "1": 80,
    "2": 21,
    "4": 19,
    "bottleneck": 20,
    "1+2+3+4": 90,
    "2+3+4+bottleneck": 22,
}
"""Pixels found under a shift by clean inputs."""


def study(
    shifts: Sequence[Shift] = (ORIGINAL, DARK, BRIGHT),
    prunings: Sequence[str] = ("baseline",),
    folds: Sequence[int] = (0, 1),
    subjects: int = 16,
    encoders: Sequence[str] = ("resnet18",),
    found: Mapping[str | None, int] = FOUND,
    **facts: object,
) -> dict[str, list[Any]]:
    """Networks that find 95 of 100 pixels in the original; BRIGHT costs less than DARK."""
    rng = np.random.default_rng(0)
    groups = []
    for encoder, pruning, fold, shift in product(encoders, prunings, folds, shifts):
        of = {"encoder": encoder, "pruning": pruning, "fold": fold, **facts}
        for clean, cells in found.items():
            if shift == ORIGINAL and clean is not None:
                continue
            level = 95 if shift == ORIGINAL else cells if shift == DARK else (cells + 90) // 2
            both = np.clip(level + rng.integers(-2, 3, subjects), 0, 100).tolist()
            groups.append(rows(shift, clean, both, **of))
    return columns(*groups)
