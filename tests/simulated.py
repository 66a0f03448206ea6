"""Tables as a large study leaves them, made up: many models, shifts, domains and samples.

Run ``python tests/simulated.py DIR [SAMPLES]`` for ``sweep.parquet``, ``domains.parquet`` and
``shift.parquet``: two encoders x five prunings x five folds, the sweep of the paper on one domain,
and six domains. Brightness takes most; what it takes goes over the first skip connection.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from skiptool.names import LAYERS, Kind
from skiptool.records import ORIGINAL, PAPER_SWEEP, Shift
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.tables import TableWriter

ENCODERS = ("resnet18", "resnet34")
PRUNINGS = ("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned")
DOMAINS = ("Aperio CS2", "AxioScan", "NanoZoomer XR", "NanoZoomer S210", "P1000", "GT450")
PARAMETERS = {"resnet18": 14_328_354, "resnet34": 24_436_514}
ALL = ("1+2+3+4", "2+3+4", "3+4")
CHANNELS = dict(zip(LAYERS, (3, 64, 64, 128, 256, 512, 256, 128, 64, 32, 16, 2), strict=True))
PIXELS = 256 * 256


def models(folds: int = 5) -> list[dict[str, Any]]:
    """Facts of each model, as columns of both tables name them."""
    return [
        {
            "model": f"{encoder}-L{PRUNINGS.index(pruning)}/fold{fold}",
            "model_id": sha256(f"{encoder} {pruning} {fold}".encode()).hexdigest()[:32],
            "arch": "unet",
            "encoder": encoder,
            "pruning": pruning,
            "fold": fold,
            "parameter_count": PARAMETERS[encoder] - 14_000 * PRUNINGS.index(pruning),
        }
        for encoder, pruning, fold in product(ENCODERS, PRUNINGS, range(folds))
    ]


def strength(shift: Shift) -> float:
    """How much a shift takes from the baseline, in [0, 1]."""
    if shift.factor is None:
        return 0.0
    scale = {"brightness": 1.3, "contrast": 0.5, "saturation": 0.25}[shift.kind.value]
    return min(scale * abs(shift.factor - 1), 0.85)


def predictions(
    path: Path,
    domains: Sequence[str],
    shifts: Sequence[Shift],
    samples: int,
    subjects: int = 20,
    folds: int = 5,
    *,
    substituted: bool = False,
) -> int:
    """Write a prediction table of two classes; return its number of rows.

    ``substituted`` adds rows with ``clean_skips`` under each shift: the uppermost skip connection
    that a network has carries nearly all of what is lost.
    """
    rng = np.random.default_rng(7)
    cells = rng.integers(PIXELS // 10, PIXELS // 4, samples)
    names = [f"s{number:04d}" for number in range(samples)]
    owners = [f"subject {number % subjects:02d}" for number in range(samples)]
    pairs = [(a, b) for a in ("background", "cell") for b in ("background", "cell")]
    rows = 0
    with TableWriter(path, header(Kind.PREDICTIONS, path)) as writer:
        for model, domain, shift, clean in product(models(folds), domains, shifts, CLEAN):
            level = PRUNINGS.index(model["pruning"])
            left = 1.0 if clean is None else carried(clean, level)
            if left is None or (clean and (shift == ORIGINAL or not substituted)):
                continue
            taken = strength(shift) * (1.0, 0.55, 0.7, 0.9, 1.0)[level] * left
            taken += 0.1 * domains.index(domain) * (1.0, 0.6, 0.8, 1.0, 1.0)[level] / 2
            found = 0.97 - 0.02 * (level == 4) - taken + rng.normal(0, 0.02)
            hit = np.clip(found + rng.normal(0, 0.03, samples), 0.0, 1.0)
            both = (hit * cells).astype(np.int64)
            wrong = rng.integers(0, PIXELS // 200, samples)
            counts = np.stack([PIXELS - cells - wrong, wrong, cells - both, both], axis=1)
            columns = {
                **model,
                **{"dataset": "study", "dataset_id": "d" * 32, "domain": domain, "split": "test"},
                **{"shift": shift.kind.value, "factor": shift.factor, "clean_skips": clean},
                "sample": np.repeat(names, 4),
                "subject": np.repeat(owners, 4),
                "truth": [truth for truth, _ in pairs] * samples,
                "predicted": [other for _, other in pairs] * samples,
                "pixels": counts.ravel(),
            }
            writer.append(columns, 4 * samples)
            rows += 4 * samples
    return rows


CLEAN = (None, "1", "2", "3", "4", "bottleneck", *ALL, *(f"{skips}+bottleneck" for skips in ALL))


def carried(clean: str, level: int) -> float | None:
    """Share of a loss that stays with clean inputs; None where a pruned network lacks them."""
    parts = clean.split("+")
    skips = [str(skip) for skip in range(level + 1, 5)]
    if not set(parts) <= {*skips, "bottleneck"}:
        return None
    top = next(iter(skips), "bottleneck")
    return 0.07 if top in parts else 1.0 - 0.02 * len(parts)


def distances(path: Path, shifts: Sequence[Shift], domain: str, folds: int = 5) -> int:
    """Write a shift table, each shift against the original; return its number of rows."""
    rng = np.random.default_rng(8)
    carried = np.interp(np.arange(len(LAYERS)), (0, 1, 5, 9, 11), (1.0, 0.9, 0.35, 0.5, 0.4))
    rows = 0
    with TableWriter(path, header(Kind.SHIFT, path)) as writer:
        for model, shift in product(models(folds), shifts):
            if shift == ORIGINAL:
                continue
            level, whole = PRUNINGS.index(model["pruning"]), 0.0
            for index, (layer, channels) in enumerate(CHANNELS.items()):
                less = 0.6 if level and layer in LAYERS[10 - level :] else 1.0
                mean = 0.04 + 0.7 * strength(shift) * carried[index] * less + rng.normal(0, 0.005)
                values = np.clip(rng.normal(mean, 0.3 * mean, channels), 0.0, 1.0)
                mean = float(values.mean())
                found: dict[str, Any] = {
                    "value": [mean, *values],
                    "corrected": [mean - 0.002, *[None] * channels],
                    "channel": [None, *range(channels)],
                    "ci_low": [mean - 0.01, *[None] * channels],
                    "ci_high": [mean + 0.01, *[None] * channels],
                    "null_mean": [0.035, *[None] * channels],
                    "null_high": [0.045, *[None] * channels],
                    "p_value": [0.001, *[None] * channels],
                }
                whole = mean if index == 0 else whole
                share = mean / whole
                near = 0.01 if index else 0.0
                found |= {
                    "transmission": [share, *[None] * channels],
                    "transmission_low": [share - near, *[None] * channels],
                    "transmission_high": [share + near, *[None] * channels],
                    "input_value": [whole, *[None] * channels],
                }
                side = f"{model['model_id'][:16]}{shift.kind.value}{shift.factor}"
                other = sha256(side.encode()).hexdigest()[:32]
                columns = {
                    **model,
                    **{"reference": "original.zarr", "reference_id": model["model_id"]},
                    **{
                        "other": f"{shift}.zarr",
                        "other_id": other,
                    },
                    **{"dataset": "study", "reference_dataset": "study"},
                    **{"reference_domain": domain, "domain": domain},
                    **{"reference_split": "test", "split": "test"},
                    **{"reference_shift": "original", "shift": shift.kind.value},
                    **{"factor": shift.factor, "layer": layer, "layer_index": index},
                    **{"metric": "hellinger", "bins": 100, "range_rule": "minmax"},
                    **{"n_reference": 100, "n_other": 100, "constant_channels": 0},
                    **{"unit": "image", "units_reference": 100, "units_other": 100},
                    **{"permutations": 999, **found},
                }
                writer.append(columns, channels + 1)
                rows += channels + 1
    return rows


def header(kind: Kind, path: Path) -> Any:  # noqa: ANN401 - a header
    """Return a header that says what these tables are."""
    return create_lineage(
        kind, Invocation("simulate", (), {}, {"out": path.name}), [kind.value, path.name]
    )


def main() -> None:
    """Write all three tables."""
    folder, samples = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 127
    shifts = tuple(dict.fromkeys((ORIGINAL, *PAPER_SWEEP)))
    folder.mkdir(parents=True, exist_ok=True)
    print("sweep", predictions(folder / "sweep.parquet", DOMAINS[:1], shifts, samples), "rows")
    print("domains", predictions(folder / "domains.parquet", DOMAINS, (ORIGINAL,), 60), "rows")
    print("shift", distances(folder / "shift.parquet", shifts, DOMAINS[0]), "rows")


if __name__ == "__main__":
    main()
