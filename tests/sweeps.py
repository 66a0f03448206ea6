"""Scores and distances by layer of a made-up sweep, as their tables give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skiptool.analysis.correlation import COLUMNS
from skiptool.metrics import Score
from skiptool.names import ShiftKind
from skiptool.records import ORIGINAL, Shift

Layers = dict[str, list[Any]]
HALF = 0.02
"""Half of the interval of a distance."""
SHIFTS = tuple(
    Shift(kind, factor)
    for kind in (ShiftKind.BRIGHTNESS, ShiftKind.CONTRAST, ShiftKind.SATURATION)
    for factor in (0.25, 0.5, 0.75)
)


def score(shift: Shift, miou: float, **new: Any) -> Score:  # noqa: ANN401 - any field
    """Return a score of the first network; ``new`` are fields that differ."""
    facts: dict[str, Any] = {
        "dataset": "study",
        "dataset_id": "d1",
        "domain": "a",
        "split": "test",
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "baseline",
        "fold": 0,
        "repeat": 0,
        "model_id": "m0",
        "shift": shift,
        "classes": ("cell",),
        "miou": miou,
    }
    return Score(**(facts | new))


def distance(shift: Shift, value: float | None, **new: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a layer's row of the first network; ``new`` are columns that differ."""
    return {
        "dataset": "study",
        "metric": "hellinger",
        "bins": 100,
        "range_rule": "minmax",
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "baseline",
        "model_id": "m0",
        "reference_domain": "a",
        "reference_shift": "original",
        "reference_factor": None,
        "domain": "a",
        "shift": shift.kind.value,
        "factor": shift.factor,
        "reference_dataset": None,
        "reference_split": "test",
        "split": "test",
        "layer": "enc1",
        "corrected": value,
        "ci_low": None if value is None else value - HALF,
        "ci_high": None if value is None else value + HALF,
        "p_value": 0.005,
        "n_reference": 24,
        "n_other": 24,
        "units_other": 24,
        "unit": "image",
        **new,
    }


def as_layers(rows: Sequence[dict[str, Any]]) -> Layers:
    """Turn rows into columns."""
    return {name: [row[name] for row in rows] for name in COLUMNS}


def sweep(
    prunings: Sequence[str] = ("baseline", "L1-pruned"),
    layers: Sequence[str] = ("input", "enc1", "head"),
    shifts: Sequence[Shift] = SHIFTS,
    folds: int = 2,
    *,
    split: str | None = "test",
    noise: Callable[[str], float] = lambda layer: 0.2 if layer == "head" else 0.01,
    **facts: Any,  # noqa: ANN401 - columns that differ
) -> tuple[list[Score], Layers]:
    """Networks that lose what is missing of a factor to 1, at distances that follow it roughly.

    Without a split the distances are of a table that does not name it, and the scores of test
    samples.
    """
    rng = np.random.default_rng(3)
    scores, rows = [], []
    for place, pruning in enumerate(prunings):
        for fold in range(folds):
            who = {"pruning": pruning, "model_id": f"{facts} {pruning} {fold}", **facts}
            base, of = 0.9 - 0.02 * fold, {"fold": fold, "split": split or "test"}
            scores.append(score(ORIGINAL, base, **of, **who))
            for shift in shifts:
                lost = abs(1 - (shift.factor or 0.0)) * (0.6 - 0.02 * place)
                miou = base - lost + float(rng.normal(0, 0.005))
                scores.append(score(shift, miou, **of, **who))
                for layer in layers:
                    value = abs(0.1 + lost + float(rng.normal(0, noise(layer))))
                    both = {"reference_split": split, "split": split}
                    rows.append(distance(shift, value, layer=layer, **both, **who))
    return scores, as_layers(rows)
