"""Forecast of the loss of IoU: images without a shift, and coverage for a new kind of shift.

Run: ``python tests/benchmarks/forecast.py [REPEATS [SEED]]`` (400, 0). Prints two tables in
Markdown, each by the rule of version 0.1 and by that of now.

The first (six minutes on two busy cores) is one whole experiment: a ResNet18 trained on smears of
96 px (domain A), its validation images under the shifts of the paper, and domains that it is used
on: 8 and 24 images of the same generator without any shift (B, C), and 24 whose colours are changed
in a way that is none of the controlled shifts (D). The loss is forecast from the distances and
compared with the true one.

The second (twenty minutes there, in proportion to REPEATS) draws kinds of shift from a population,
fits the line to some of them and looks whether the error on a further kind of the same population
stays within the bound. The kinds of the first population lose a power of the shift's strength,
those of the second a sigmoid; the rule was chosen on the first.
``tests/readings/test_forecast_coverage.py`` asserts what the second table shows, from other draws.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skiptool.analysis.correlation import COLUMNS, join_distances
from skiptool.analysis.forecast import (
    choose_layer,
    cross_validate,
    error_bound,
    fit_from_origin,
    fit_losses,
)
from skiptool.metrics import scores
from skiptool.names import VALIDATION, Precision, Split
from skiptool.records import ORIGINAL, PAPER_SWEEP, Sample, Training
from skiptool.stats.isotonic import conformal_width, fit_monotone
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation

LEVEL = 0.95
TRAINED, TEST = 90, 24
DOMAINS = {"B": 8, "C": 24, "D": 24}
"""Images of the other domains; D is the one with a shift."""

Layers = dict[str, list[Any]]


class Forecast(NamedTuple):
    """Forecast loss of a domain, with its ends."""

    value: float
    low: float
    high: float


# --- one whole experiment


def make_data(folder: Path, seed: int) -> Path:
    """Write the smears of one generator as domains A to D; those of D are recoloured."""
    import skiptool

    count = TRAINED + TEST + sum(DOMAINS.values())
    how: dict[str, Any] = {"size": 96, "canvas": 281, "cells": (1, 4), "seed": seed}
    skiptool.synthesise_dataset(folder / "all.zarr", n=count, **how)
    whole = open_dataset(folder / "all.zarr")
    images, masks = whole.samples("synthetic", range(count)).read_many(range(count))
    names = ["A"] * (TRAINED + TEST) + [name for name, n in DOMAINS.items() for _ in range(n)]
    writer = DatasetWriter(folder / "d.zarr", ["background", "cell"], Invocation("extract"))
    for name in ("A", *DOMAINS):
        for number in [place for place, each in enumerate(names) if each == name]:
            train = number < TRAINED
            writer.append(
                Sample(
                    id=f"{number:03d}",
                    image=recoloured(images[number]) if name == "D" else images[number],
                    mask=masks[number],
                    subject=f"{number:03d}",
                    domain=name,
                    split=Split.TRAIN if train else Split.TEST,
                    fold=number % 3 if train else -1,
                )
            )
    writer.finish()
    return folder / "d.zarr"


def recoloured(image: Any) -> Any:  # noqa: ANN401 - uint8 (H, W, 3)
    """Apply a gamma of its own to each colour."""
    gammas = np.array([0.8, 1.3, 1.6])
    return np.rint(255 * (image / 255.0) ** gammas).astype(np.uint8)


def run_experiment(folder: Path, seed: int) -> tuple[list[Any], Layers]:
    """Train, predict, extract and compare; return scores and the layers' rows of the table."""
    import torch

    import skiptool
    from skiptool.steps.report import read_inputs

    torch.set_num_threads(1)
    data = make_data(folder, seed)
    how: dict[str, Any] = {"encoder_weights": "none", "precision": Precision.FLOAT32}
    protocol = Training(fold=0, epochs=10, lr=1e-3, lr_step=7, seed=seed, **how)
    made = skiptool.train_models(
        data, folder / "runs", domain="A", fold=[0], protocol=protocol, encoders=["resnet18"]
    )
    model = list(made.outputs)
    sweep, others = tuple(PAPER_SWEEP), [*DOMAINS]
    fold: dict[str, Any] = {"split": "fold", "domains": ["A"], "shifts": sweep}
    far: dict[str, Any] = {"split": "test", "domains": others, "shifts": [ORIGINAL]}
    tables = [folder / f"{name}.parquet" for name in ("fold", "far", "shift")]
    for out, which in zip(tables, (fold, far), strict=False):
        skiptool.predict_dataset(model, data, out, precision=Precision.FLOAT32, **which)
    own = skiptool.extract_features(model, data, folder / "own", **fold).outputs
    theirs = skiptool.extract_features(model, data, folder / "far", **far).outputs
    skiptool.measure_shift(own[0], [*own[1:], *theirs], tables[2])
    inputs = read_inputs(tables)
    names = [*COLUMNS, "value"]
    return scores(inputs.totals()), inputs.shifts[0].where_null("channel").columns(names)


def by_version_0_1(found: Any, layers: Layers) -> dict[str, Forecast]:  # noqa: ANN401
    """Forecast other domains from plain distances: no origin, points as if exchangeable."""
    kinds = [point.change.kind for point in found.points]
    shifts = found.shifts().tolist()
    residuals, choose = old_residuals(found.distances, found.loss, kinds, shifts)
    line = fit_monotone(found.distances[choose], found.loss)
    width = conformal_width(residuals, LEVEL)
    rows = zip(*(layers[name] for name in ("domain", "layer", "value")), strict=True)
    at = {domain: value for domain, layer, value in rows if layer == found.layers[choose]}
    forecasts = {}
    for domain in DOMAINS:
        value = float(line(np.array([at[domain]])).item())
        forecasts[domain] = Forecast(
            value, *(float(np.clip(value + end, -1.0, 1.0)) for end in (-width, width))
        )
    return forecasts


def experiment(seed: int) -> Iterator[str]:
    """Yield the rows of the first table."""
    with tempfile.TemporaryDirectory() as name:
        rated, layers = run_experiment(Path(name), seed)
    plain = {**layers, "corrected": layers["value"]}
    within = {
        column: [
            cell for cell, domain in zip(cells, layers["domain"], strict=True) if domain == "A"
        ]
        for column, cells in plain.items()
    }
    (fit,) = fit_losses(rated, layers)
    (joined,) = [one for one in join_distances(rated, within) if one.split == VALIDATION]
    before = by_version_0_1(joined, layers)
    yield (
        f"Fit at {fit.layers[fit.layer]}: error on kinds left out {fit.error:.2f}, of the mean "
        f"{fit.error_of_mean:.2f}; bound {fit.bound:.2f} at a level of {100 * fit.level:.0f} %."
    )
    yield "\n| domain | p | value | corrected | forecast, 0.1 | forecast, now | true loss |"
    yield "|---|---:|---:|---|---|---|---:|"
    for row in fit.expected:
        domain = row.change.domain
        cells = (
            *(f"{domain}, {DOMAINS[domain]} images", f"{row.p_value:.3f}"),
            f"{plain_value(layers, domain, fit.layers[fit.layer]):.2f}",
            told(row.distance, row.distance_low, row.distance_high),
            told(*before[domain]),
            told(row.forecast, row.low, row.high),
            f"{row.loss:.3f}",
        )
        yield f"| {' | '.join(cells)} |"


def plain_value(layers: Layers, domain: str, layer: str) -> float:
    """Look up the distance that is not corrected."""
    rows = zip(*(layers[name] for name in ("domain", "layer", "value")), strict=True)
    return next(float(value) for *of, value in rows if of == [domain, layer])


def told(value: float, low: float, high: float) -> str:
    """Write a number with its interval, as far as there is one."""
    if math.isnan(low):
        return f"{value:.2f}, no interval"
    if math.isnan(value):
        return f"no shift seen, {low:.2f} to {high:.2f}"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


# --- coverage for a new kind


def power(rng: np.random.Generator, strength: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Loss (P,) and distances (L, P) of one kind: powers of the strength."""
    loss = np.exp(rng.normal(-0.5, 0.6)) * strength ** np.exp(rng.normal(0, 0.4))
    slopes = np.exp(rng.normal(-0.6, 0.5, LAYERS))[:, np.newaxis]
    return np.clip(loss, 0, 0.95), slopes * strength ** np.exp(rng.normal(0, 0.3))


def sigmoid(rng: np.random.Generator, strength: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Loss (P,) and distances (L, P) of one kind: a threshold, and straight lines."""
    loss = 0.95 / (1 + np.exp(-10 * (strength - rng.uniform(0.2, 0.9))))
    return loss, rng.uniform(0.1, 0.9, LAYERS)[:, np.newaxis] * strength


LAYERS, FACTORS, NETWORKS = 6, 5, 3
POPULATIONS: Mapping[str, Callable[..., tuple[Any, Any]]] = {"power": power, "sigmoid": sigmoid}


class Drawn(NamedTuple):
    """Points of kinds of shift: distances (L, P), losses (P,), kind and shift of each."""

    distances: Any
    loss: Any
    kinds: Any
    shifts: Any


def draw_kinds(population: str, kinds: int, rng: np.random.Generator) -> Drawn:
    """Draw kinds, each of some strengths, seen by some networks."""
    distances, losses, of_kind, of_shift = [], [], [], []
    for kind in range(kinds):
        strength = rng.uniform(0.05, 1.0, FACTORS)
        loss, distance = POPULATIONS[population](rng, strength)
        for _ in range(NETWORKS):
            distances.append(distance + rng.normal(0, 0.01, distance.shape))
            losses.append(loss + rng.normal(0, 0.02, FACTORS))
            of_kind += [str(kind)] * FACTORS
            of_shift += range(kind * FACTORS, (kind + 1) * FACTORS)
    whole = np.concatenate(distances, axis=1), np.concatenate(losses)
    return Drawn(*whole, np.array(of_kind), np.array(of_shift))


def old_residuals(
    distances: Any,  # noqa: ANN401
    loss: Any,  # noqa: ANN401
    kinds: Sequence[str],
    shifts: Sequence[int],
) -> tuple[Any, int]:
    """Residuals of kinds left out, and the layer of the line, by version 0.1."""

    def layer_of(places: Any) -> int:  # noqa: ANN401 - bool (P,)
        names = np.array(kinds)[places]
        labels = names if len(set(names)) > 1 else np.array(shifts)[places]
        errors = np.zeros(len(distances))
        for label in dict.fromkeys(labels.tolist()):
            out = labels == label
            for layer, row in enumerate(distances[:, places]):
                line = fit_monotone(row[~out], loss[places][~out])
                errors[layer] += np.abs(line(row[out]) - loss[places][out]).sum()
        return int(np.argmin(np.round(errors, 12)))

    residuals = np.empty(len(loss))
    for kind in dict.fromkeys(kinds):
        out = np.array(kinds) == kind
        layer = layer_of(~out)
        line = fit_monotone(distances[layer, ~out], loss[~out])
        residuals[out] = np.abs(line(distances[layer, out]) - loss[out])
    return residuals, layer_of(np.ones(len(loss), dtype=bool))


class Covered(NamedTuple):
    """Whether one point of the new kind lies in the interval, whether all do; half its width."""

    point: bool
    whole: bool
    width: float


def covered(drawn: Drawn, new: str, place: int, *, old: bool) -> Covered:
    """Fit to all kinds but one, and look at that one."""
    out = drawn.kinds == new
    seen, loss = drawn.distances[:, ~out], drawn.loss[~out]
    kinds, shifts = drawn.kinds[~out].tolist(), drawn.shifts[~out].tolist()
    if old:
        residuals, layer = old_residuals(seen, loss, kinds, shifts)
        line, width = fit_monotone(seen[layer], loss), conformal_width(residuals, LEVEL)
    else:
        cross_validation = cross_validate(seen, loss, kinds, shifts)
        layer = choose_layer(seen, loss, kinds, shifts)
        line = fit_from_origin(seen[layer], loss)
        width, _ = error_bound([one.worst for one in cross_validation.held], LEVEL)
    errors = np.abs(line(drawn.distances[layer, out]) - drawn.loss[out])
    return Covered(bool(errors[place] <= width), bool(errors.max() <= width), width)


def coverage(population: str, kinds: int, repeats: int, seed: int) -> str:
    """Return a row of the second table."""
    found: dict[bool, list[Covered]] = {True: [], False: []}
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, kinds, repeat])
        drawn = draw_kinds(population, kinds + 1, rng)
        place = int(rng.integers(FACTORS * NETWORKS))
        for old, each in found.items():
            each.append(covered(drawn, str(kinds), place, old=old))
    cells = []
    for each in found.values():
        points, whole, widths = zip(*each, strict=True)
        cells.append(f"{share(points)} | {share(whole)} | {np.mean(widths):.2f}")
    level = error_bound([0.0] * kinds, LEVEL)[1]
    return f"| {population} | {kinds} | 95 | {cells[0]} | {100 * level:.0f} | {cells[1]} |"


def share(hits: Sequence[bool]) -> str:
    """Write a share in per cent with its 95 % Wilson interval."""
    n, p, z = len(hits), float(np.mean(hits)), 1.96
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{100 * p:.0f} [{100 * (middle - half):.0f}, {100 * (middle + half):.0f}]"


def main() -> None:
    """Print both tables."""
    given = sys.argv[1:]
    repeats, seed = map(int, (*given, *("400", "0")[len(given) :]))
    for line in experiment(seed):
        print(line, flush=True)
    print("\n| kinds drawn | fitted | level, 0.1 | a point in | all points in | half width "
          "| level, now | a point in | all points in | half width |")  # fmt: skip
    print("|---|---:|---:|---|---|---:|---:|---|---|---:|")
    for population in POPULATIONS:
        for kinds in (3, 6, 12):
            print(coverage(population, kinds, repeats, seed), flush=True)


if __name__ == "__main__":
    main()
