"""A correlation between channels that no distance of channels shows, seen on the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skiptool.comparison.activations import Settings
from skiptool.names import LAYERWISE, Kind, Metric
from skiptool.steps.hellinger import measure_shift
from skiptool.steps.report.report import write_report
from skiptool.stores.tables import open_table
from small_activations import written


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20, 4, 16))
    y[:, 1] = 0.8 * y[:, 0] + 0.6 * y[:, 1]
    shift = {"shift": "brightness", "factor": 0.9, "encoder": "resnet18", "pruning": "baseline"}
    stores = [
        written(tmp_path / f"{name}.zarr", {"enc1": each}, facts=facts)
        for name, each, facts in (("x", x, {**shift, "shift": "original", "factor": None}),
                                  ("y", y, shift))
    ]  # fmt: skip
    settings = Settings(metrics=(Metric.HELLINGER, *LAYERWISE), bins=(10,), paired=True)
    measure_shift(stores[0], stores[1:], tmp_path / "shift.parquet", settings=settings)
    return tmp_path / "shift.parquet"


def test_the_page_shows_it_and_says_so_first(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    write_report([table], out)
    text = out.read_text()
    summary = text[: text.index("<main")] if "<main" in text else text[: text.index("<section")]
    assert "at enc1 the marginal distributions of channels agree" in summary
    assert "covariance distance" in summary
    assert "What single channels do not show" in text
    numbers = open_table(tmp_path / "r-numbers.parquet", Kind.REPORT).columns(
        ("metric", "figure", "value")
    )
    figures = {
        metric: {
            f for f, m in zip(numbers["figure"], numbers["metric"], strict=True) if m == metric
        }
        for metric in set(numbers["metric"])
    }
    for metric in LAYERWISE:
        assert figures[metric.value] == {"beyond-1"}
    assert {"beyond-1", "distance-brightness-0.9", "layers-brightness-0.9"} <= figures["hellinger"]


def test_a_table_of_whole_layers_alone_is_shown_too(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3))
    for name, each in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", each)
    settings = Settings(metrics=(Metric.COVARIANCE,), permutations=9)
    out = tmp_path / "shift.parquet"
    measure_shift(tmp_path / "x.npy", [tmp_path / "y.npy"], out, settings=settings)
    (printed,) = write_report([out]).tables
    assert printed.columns["measure"] == ["Covariance distance"]
