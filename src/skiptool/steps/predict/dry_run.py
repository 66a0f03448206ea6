"""Estimate how many bytes a run would write.

The compression of tables and masks depends on the predictions. Therefore a few images are predicted
by some of the models under some of the shifts, and counts drawn from these are written to a
temporary folder in the format of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from skiptool.model.inference import check_labels, segment
from skiptool.names import Kind
from skiptool.records import Progress
from skiptool.shifts import apply_shift
from skiptool.steps.predict.counting import Part, Prediction, Run
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.masks import MaskWriter
from skiptool.stores.tables import TableWriter, prediction_columns

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64, UInt8

    Random: TypeAlias = np.random.Generator

PIXELS, FEWEST, MOST = 2**21, 6, 32
"""Pixels to predict per part, and the minimum and maximum of images."""

TRUTHS = 64
"""Maximum of samples per part whose true pixels are counted."""

ROWS = 2**17
"""Maximum rows of a table to write; the size of a longer table is extrapolated."""

ENTRY = 32
"""Maximum masks to write per entry."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """Counts from the trial of a part.

    Attributes
    ----------
    truths : int64, shape (T, J)
        Pixels of each class in T samples.
    matrices : int64, shape (M, J, J)
        Pixels by [truth, predicted] of M predictions.
    labels : sequence of uint8, shape (H, W), length M
    """

    truths: Int64
    matrices: Int64
    labels: Sequence[UInt8]


def dry_run_summary(
    runs: Sequence[Run], invocation: Invocation, masks: bool, progress: Progress
) -> dict[str, int]:
    """Count what a run would make, and estimate the bytes of the table and, if kept, the masks."""
    first, images, rows = runs[0], 0, 0
    for run in runs:
        for part in run.parts:
            images += len(part.indices)
            rows += len(part.indices) * len(run.predictions(part)) * len(run.store.classes) ** 2
    summary = {"models": len(first.models), "shifts": len(first.shifts)}
    summary |= {"images": images, "rows": rows}
    if first.ensembles:
        summary["ensembles"] = len(first.ensembles)
    trials = [[_trial(run, part, progress) for part in run.parts] for run in runs]
    with TemporaryDirectory() as name:
        size = _table_bytes(runs, trials, invocation, rows, Path(name) / "t.parquet")
        if masks:
            size += _mask_bytes(first, trials[0], invocation, Path(name))
    return summary | {"bytes": size}


def _trial(run: Run, part: Part, progress: Progress) -> _Trial:
    """Predict a few images of a part, spread over its samples, models and shifts."""
    rng, domain, classes = np.random.default_rng(0), part.domain, len(run.store.classes)
    reader = run.store.samples(domain.name, part.indices)
    total = len(part.indices)
    sampled = rng.permutation(total)[:TRUTHS] if total > TRUTHS else np.arange(total)
    images = max(FEWEST, min(MOST, PIXELS // (domain.height * domain.width)))
    count = min(images, total * len(part.models) * len(run.shifts))
    truths, matrices, labels = [], [], []
    with progress.task(f"try {domain.name}", len(sampled)) as task:
        for turn, position in enumerate(sampled):
            image, truth = reader.read(int(position))
            check_labels(truth, classes, f"{run.store.path}: domain {domain.name}")
            truths.append(np.bincount(truth.ravel(), minlength=classes)[:classes])
            for _ in range(turn, count, len(sampled)):
                number = part.models[int(rng.integers(len(part.models)))]
                shifted = apply_shift(image, run.shifts[int(rng.integers(len(run.shifts)))])
                segmented = segment(
                    [run.models[number].network],
                    [],
                    shifted[None],
                    truth[None],
                    classes,
                    run.device,
                    run.precision,
                    keep=True,
                )
                matrices.append(segmented.counts[0, 0])
                if segmented.labels is not None:
                    labels.append(segmented.labels[0, 0])
            task.advance()
    return _Trial(np.stack(truths), np.stack(matrices), labels)


def _table_bytes(
    runs: Sequence[Run],
    trials: Sequence[Sequence[_Trial]],
    invocation: Invocation,
    rows: int,
    path: Path,
) -> int:
    """Write the whole table, or extrapolate the size of a long one from two parts of it."""
    if rows <= ROWS:
        return _write_table(runs, trials, invocation, 1.0, path)[1]
    fewer_rows, small = _write_table(runs, trials, invocation, 0.5 * ROWS / rows, path)
    more_rows, large = _write_table(runs, trials, invocation, ROWS / rows, path)
    return round(large + (rows - more_rows) * (large - small) / max(more_rows - fewer_rows, 1))


def _write_table(
    runs: Sequence[Run],
    trials: Sequence[Sequence[_Trial]],
    invocation: Invocation,
    share: float,
    path: Path,
) -> tuple[int, int]:
    """Write a share of the predictions to a table; return its rows and bytes."""
    rng, rows, due = np.random.default_rng(1), 0, 0.0
    with TableWriter(
        path, create_lineage(Kind.PREDICTIONS, invocation, invocation.determinants)
    ) as writer:
        for run, own_trials in zip(runs, trials, strict=True):
            for part, trial in zip(run.parts, own_trials, strict=True):
                size = len(part.indices)
                truths = _drawn_truths(trial.truths, size, rng)
                for prediction in run.predictions(part):
                    due += share * size
                    taken = min(size, round(due))
                    due -= taken
                    if taken:
                        matrices = _drawn_counts(trial, truths[:taken], rng)
                        writer.append(_columns(run, part, prediction, matrices), matrices.size)
                        rows += matrices.size
    return rows, path.stat().st_size


def _columns(run: Run, part: Part, prediction: Prediction, matrices: Int64) -> Mapping[str, Any]:
    return prediction_columns(
        run.predictor(prediction.number).facts(),
        run.store,
        part.domain,
        prediction.shift,
        part.indices[: len(matrices)],
        matrices,
        clean_skips=prediction.clean_skips,
    )


def _drawn_truths(truths: Int64, size: int, rng: Random) -> Int64:
    """Draw true pixels (N, J) for all samples of a part from those of some of them."""
    if len(truths) == size:
        return truths
    drawn = truths[rng.integers(len(truths), size=size)]
    changed = np.rint(drawn * rng.lognormal(0, 0.2, drawn.shape)).astype(np.int64)
    changed[:, 0] = np.maximum(drawn.sum(axis=1) - changed[:, 1:].sum(axis=1), 0)
    return changed


def _drawn_counts(trial: _Trial, truths: Int64, rng: Random) -> Int64:
    """Draw counts (N, J, J) from those of the trial, for samples with true pixels (N, J)."""
    drawn = trial.matrices[rng.integers(len(trial.matrices), size=len(truths))]
    shares: Float64 = drawn / np.maximum(drawn.sum(axis=2, keepdims=True), 1)
    spread = truths[:, :, None] * shares * rng.lognormal(0, 0.1, drawn.shape)
    counts = np.rint(spread).astype(np.int64)
    largest = shares.argmax(axis=2)[..., None]  # its count is the remainder
    np.put_along_axis(counts, largest, 0, axis=2)
    remainder = np.maximum(truths - counts.sum(axis=2), 0)[..., None]
    np.put_along_axis(counts, largest, remainder, axis=2)
    return counts


def _mask_bytes(run: Run, trials: Sequence[_Trial], invocation: Invocation, folder: Path) -> int:
    """Write one entry per part, and multiply its size by the number of predictions."""
    size = 0
    header = create_lineage(Kind.MASKS, invocation, invocation.determinants)
    for number, (part, trial) in enumerate(zip(run.parts, trials, strict=True)):
        domain, path = part.domain, folder / f"{number}.zarr"
        writer = MaskWriter(path, header, run.store.classes)
        written = min(len(part.indices), ENTRY)
        model, shift = run.predictor(part.models[0]), run.shifts[-1]
        facts: dict[str, Any] = {"model": model.name, "model_id": model.id, "domain": domain.name}
        facts |= {"shift": shift.kind.value, "factor": shift.factor}
        ids = list(domain.columns["id"][list(part.indices)])
        name = writer.begin(facts, ids, (domain.height, domain.width))
        entry = path / name
        empty = _size(entry)
        for image in range(written):
            writer.append(name, trial.labels[image % len(trial.labels)][None])
        writer.finish()
        pixels = (_size(entry) - empty) * len(part.indices) / written
        size += round((empty + pixels) * len(run.predictions(part)))
        size += _size(path) - _size(entry)
    return size


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
