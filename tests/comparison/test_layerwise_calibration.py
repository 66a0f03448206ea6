"""A slice of what the tables of ``tests/benchmarks/beyond.py`` and ``transmission.py`` show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import transmission as shares
from benchmarks.beyond import SETTINGS, detections
from skiptool import compare_features
from skiptool.comparison import layerwise

DRAWS = 100
MOST = int(binom.ppf(0.999, DRAWS, 0.05))
"""False alarms that a test at 5 % exceeds once in a thousand."""

METRICS = ("covariance", "classifier")
Draw = Callable[[np.random.Generator], tuple[Any, Any, Any]]


def some(rng: np.random.Generator, images: int, vectors: int) -> Any:  # noqa: ANN401
    return 0.5 * rng.normal(size=(images, 4, 1)) + rng.normal(size=(images, 4, vectors))


def subjects(rng: np.random.Generator, number: int, each: int) -> tuple[Any, list[int]]:
    own = 0.5 * np.repeat(rng.normal(size=(number, 4, 1)), each, axis=0)
    return own + some(rng, number * each, 8), np.repeat(np.arange(number), each).tolist()


def grouped(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    (x, first), (y, second) = subjects(rng, 12, 6), subjects(rng, 5, 2)
    return x, y, (first, [100 + name for name in second])


UNEQUAL: dict[str, Draw] = {
    "vectors": lambda rng: (some(rng, 12, 36), some(rng, 12, 169), None),
    "few against many": lambda rng: (some(rng, 30, 60), some(rng, 8, 4), None),
    "images of subjects": grouped,
}


def alarms(draw: Draw) -> dict[str, int]:
    found = dict.fromkeys(METRICS, 0)
    for seed in range(DRAWS):
        x, y, groups = draw(np.random.default_rng([seed, 4]))
        how: dict[str, Any] = {"metrics": METRICS, "permutations": 59, "groups": groups}
        for row in compare_features(x, y, seed=seed, workers=1, **how).to_pylist():
            found[row["metric"]] += row["p_value"] <= 0.05
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", UNEQUAL)
def test_units_of_unequal_size_raise_no_false_alarms(name: str) -> None:
    found = alarms(UNEQUAL[name])
    assert max(found.values()) <= MOST, found


@pytest.mark.slow
def test_without_equal_draws_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above is known to see what it looks for."""
    monkeypatch.setattr(layerwise, "are_equal", lambda *_: True)
    found = alarms(UNEQUAL["few against many"])
    assert found["covariance"] > 2 * MOST


@pytest.mark.slow
def test_a_correlation_is_seen_by_the_covariance_alone() -> None:
    found = detections(SETTINGS["pairs correlated at 0.6"], 12)
    assert found["covariance"] == 12
    assert max(found["hellinger"], found["classifier"]) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True])
def test_transmission_is_reported_where_it_holds(paired: bool) -> None:
    strong = shares.population(0.6)
    found = np.array([shares.run(seed, (0.6, 50, paired), strong) for seed in range(8)])
    assert not np.isnan(found).any()
    assert abs((found[:, :, 1] - found[:, :, 0]).mean()) < 0.02
    covered = (found[:, :, 2] <= found[:, :, 0]) & (found[:, :, 0] <= found[:, :, 3])
    assert covered.mean() > 0.85


@pytest.mark.slow
def test_transmission_of_a_weak_shift_of_few_images_is_not_reported() -> None:
    weak = shares.population(0.95)
    for paired in (False, True):
        found = np.array([shares.run(seed, (0.95, 16, paired), weak) for seed in range(4)])
        assert np.isnan(found[:, :, 1:]).all()
