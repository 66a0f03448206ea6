"""Rows of shift tables written out in a test, as the report reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skiptool.analysis.distances import CHANNEL_KEYS, LAYER_COLUMNS

FACTS: dict[str, Any] = {
    "reference": "r.zarr",
    "reference_id": "r",
    "other": "o.zarr",
    "other_id": "o",
    "arch": "unet",
    "encoder": "resnet18",
    "pruning": "baseline",
    "fold": 0,
    "dataset": "d",
    "repeat": 0,
    "reference_domain": "a",
    "reference_shift": "original",
    "reference_factor": None,
    "domain": "a",
    "shift": "brightness",
    "factor": 0.5,
    "metric": "hellinger",
    "bins": 100,
    "range_rule": "minmax",
    "ci_low": None,
    "ci_high": None,
    "null_mean": 0.0,
    "null_high": None,
    "permutations": 0,
    "unit": "image",
    "units_reference": 8,
    "units_other": 9,
    "n_reference": 8,
    "n_other": 9,
    "reference_split": None,
    "split": None,
    "warnings": None,
    "unresolved_channels": None,
}

BIAS = 0.25
"""What plain values lie above the estimates."""

Layer = tuple[dict[str, Any], list[float]]
Tables = tuple[dict[str, list[Any]], dict[str, list[Any]]]


SHARES = {"transmission": "corrected", "transmission_low": "ci_low", "transmission_high": "ci_high"}


def pair(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what is compared with what, and how."""
    stores = ("reference_id", "reference", "other_id", "other")
    return tuple(row[name] for name in (*stores, "metric", "bins", "range_rule"))


def shared(row: dict[str, Any], whole: float | None) -> dict[str, Any]:
    """Add the columns of the transmission."""
    if not whole or np.isnan(whole):
        return dict.fromkeys(SHARES) | row
    if row["layer"] == "input":
        return dict.fromkeys(SHARES, 1.0) | row
    found = {name: row[column] for name, column in SHARES.items()}
    return {name: None if v is None else v / whole for name, v in found.items()} | row


def layer(name: str, values: Sequence[float], mean: float | None, **facts: object) -> Layer:
    """Return the row of one layer and the distances of its channels.

    The plain values are larger: what is drawn are the estimates.
    """
    plain = None if mean is None else mean + BIAS
    return {**FACTS, **facts, "layer": name, "value": plain, "corrected": mean}, [*values]


def network(means: dict[str, float], pruning: str = "baseline", **facts: object) -> list[Layer]:
    """Return layers of two channels each, half and one and a half times the mean."""
    of = {"pruning": pruning, "other_id": f"{pruning} {sorted(facts.items())}", **facts}
    return [layer(name, [mean / 2, 1.5 * mean], mean, **of) for name, mean in means.items()]


def tables(*layers: Layer) -> Tables:
    """Return rows of layers as columns, and their channels gathered as tables gather them.

    Where a pair has its input, rows say how much of it is left, as if the input's were exact.
    """
    inputs = {pair(row): row["corrected"] for row, _ in layers if row["layer"] == "input"}
    layers = tuple((shared(row, inputs.get(pair(row))), values) for row, values in layers)
    rows = {name: [row[name] for row, _ in layers] for name in LAYER_COLUMNS}
    channels = {name: [row[name] for row, _ in layers] for name in CHANNEL_KEYS}
    numbers = [np.array([np.nan, *range(len(values))]) for _, values in layers]
    found = [
        np.array([np.nan if row["corrected"] is None else row["corrected"], *v])
        for row, v in layers
    ]
    plain = [each + BIAS for each in found]
    return rows, {**channels, "channel": numbers, "value": plain, "corrected": found}
