"""How many bytes a run would write: a small trial of it, and files of the size of the whole.

How far tables and masks are compressed depends on what the networks predict. So a few images are
predicted by some of the models under some of the shifts, and counts drawn from these are written
as the run would write them, into a folder of the system's for temporary files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from skiptool.model.inference import check_labels, segment
from skiptool.names import Kind
from skiptool.records import Progress, Shift
from skiptool.shifts import apply
from skiptool.steps.predict.counting import Counted, Part, Run, clean_parts
from skiptool.stores.lineage import Making, lineage
from skiptool.stores.masks import MaskWriter
from skiptool.stores.tables import TableWriter, prediction_columns
from skiptool.substitution import named_parts

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64, UInt8

    Random: TypeAlias = np.random.Generator

__all__ = ["forecast"]

PIXELS, FEWEST, MOST = 2**21, 6, 32
"""Pixels, and least and greatest number of images, that are predicted of a part."""

TRUTHS = 64
"""Samples of a part of which the true pixels are counted."""

ROWS = 2**17
"""Rows of a table that are written; a longer one grows in proportion."""

ENTRY = 32
"""Masks of an entry that are written."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """What came of the trial of a part.

    Attributes
    ----------
    truths : int64, shape (T, J)
        Pixels of each class in some samples.
    matrices : int64, shape (M, J, J)
        Pixels by [truth, predicted] of some predictions.
    labels : sequence of uint8, shape (H, W), length M
    """

    truths: Int64
    matrices: Int64
    labels: Sequence[UInt8]


def forecast(
    runs: Sequence[Run], making: Making, masks: bool, progress: Progress
) -> dict[str, int]:
    """Numbers of what would be made, and the bytes of table and masks.

    Parameters
    ----------
    runs : sequence of Run
    making : Making
    masks : bool
        Masks are kept as well.
    progress : Progress
    """
    run, images, rows = runs[0], 0, 0
    for one, part in [(each, part) for each in runs for part in each.parts]:
        images += len(part.indices)
        rows += len(part.indices) * len(list(_passes(one, part))) * len(one.store.classes) ** 2
    found = {"models": len(run.models), "shifts": len(run.shifts), "images": images, "rows": rows}
    if run.ensembles:
        found["ensembles"] = len(run.ensembles)
    trials = [[_trial(each, part, progress) for part in each.parts] for each in runs]
    with TemporaryDirectory() as name:
        size = _table_bytes(runs, trials, making, rows, Path(name) / "t.parquet")
        if masks:
            size += _mask_bytes(run, trials[0], making, Path(name))
    return found | {"bytes": size}


def _passes(run: Run, part: Part) -> Iterator[tuple[int, Shift, str | None]]:
    """Name the predictions of each sample of a part, in the order of the table."""
    if not run.substitutions:
        for number in run.predictors(part):
            yield from ((number, shift, None) for shift in run.shifts)
        return
    for number in part.models:
        for shift in run.shifts:
            sets = clean_parts(run, number)
            yield from ((number, shift, named_parts(parts)) for parts in sets)


def _trial(run: Run, part: Part, progress: Progress) -> _Trial:
    """Predict a few images of a part, spread over its samples, models and shifts."""
    rng, domain, classes = np.random.default_rng(0), part.domain, len(run.store.classes)
    reader = run.store.samples(domain.name, part.indices)
    total = len(part.indices)
    known = rng.permutation(total)[:TRUTHS] if total > TRUTHS else np.arange(total)
    whole = total * len(part.models) * len(run.shifts)
    count = min(whole, max(FEWEST, min(MOST, PIXELS // (domain.height * domain.width))))
    truths, matrices, labels = [], [], []
    with progress.task(f"try {domain.name}", len(known)) as task:
        for turn, place in enumerate(known):
            image, truth = reader.read(int(place))
            check_labels(truth, classes, f"{run.store.path}: domain {domain.name}")
            truths.append(np.bincount(truth.ravel(), minlength=classes)[:classes])
            for _ in range(turn, count, len(known)):
                number = part.models[int(rng.integers(len(part.models)))]
                shifted = apply(image, run.shifts[int(rng.integers(len(run.shifts)))])
                made = segment(
                    *([run.models[number].network], [], shifted[None], truth[None]),
                    *(classes, run.device, run.precision),
                    keep=True,
                )
                matrices.append(made.counts[0, 0])
                if made.labels is not None:
                    labels.append(made.labels[0, 0])
            task.advance()
    return _Trial(np.stack(truths), np.stack(matrices), labels)


def _table_bytes(
    runs: Sequence[Run],
    trials: Sequence[Sequence[_Trial]],
    making: Making,
    rows: int,
    path: Path,
) -> int:
    """Write a table as long as it would be, or two parts of it where it would be long."""
    if rows <= ROWS:
        return _written(runs, trials, making, 1.0, path)[1]
    (some, small), (more, large) = (
        _written(runs, trials, making, share * ROWS / rows, path) for share in (0.5, 1.0)
    )
    return round(large + (rows - more) * (large - small) / max(more - some, 1))


def _written(
    runs: Sequence[Run],
    trials: Sequence[Sequence[_Trial]],
    making: Making,
    share: float,
    path: Path,
) -> tuple[int, int]:
    """Write a share of the predictions of a table; return its rows and bytes."""
    rng, rows, due = np.random.default_rng(1), 0, 0.0
    with TableWriter(path, lineage(Kind.PREDICTIONS, making, making.determinants)) as writer:
        for run, tried in zip(runs, trials, strict=True):
            for part, trial in zip(run.parts, tried, strict=True):
                size = len(part.indices)
                truths = _truths(trial.truths, size, rng)
                for number, shift, clean in _passes(run, part):
                    due += share * size
                    taken = min(size, round(due))
                    due -= taken
                    if not taken:
                        continue
                    one = Counted(number, shift, clean, _drawn(trial, truths[:taken], rng))
                    writer.append(_columns(run, part, one, taken), one.matrices.size)
                    rows += one.matrices.size
    return rows, path.stat().st_size


def _columns(run: Run, part: Part, one: Counted, taken: int) -> Mapping[str, Any]:
    facts = run.predictor(one.number).facts()
    where = (run.store, part.domain, one.shift, part.indices[:taken], one.matrices)
    return prediction_columns(facts, *where, None, one.clean_skips)


def _truths(known: Int64, size: int, rng: Random) -> Int64:
    """Draw the true pixels (N, J) of all samples from those of some."""
    if len(known) == size:
        return known
    drawn = known[rng.integers(len(known), size=size)]
    changed = np.rint(drawn * rng.lognormal(0, 0.2, drawn.shape)).astype(np.int64)
    changed[:, 0] = np.maximum(drawn.sum(axis=1) - changed[:, 1:].sum(axis=1), 0)
    return changed


def _drawn(trial: _Trial, truths: Int64, rng: Random) -> Int64:
    """Draw counts (N, J, J) for samples with these true pixels (N, J) as they came in the trial."""
    drawn = trial.matrices[rng.integers(len(trial.matrices), size=len(truths))]
    shares: Float64 = drawn / np.maximum(drawn.sum(axis=2, keepdims=True), 1)
    spread = truths[:, :, None] * shares * rng.lognormal(0, 0.1, drawn.shape)
    counts = np.rint(spread).astype(np.int64)
    largest = shares.argmax(axis=2)[..., None]  # takes what the others leave
    np.put_along_axis(counts, largest, 0, axis=2)
    rest = np.maximum(truths - counts.sum(axis=2), 0)[..., None]
    np.put_along_axis(counts, largest, rest, axis=2)
    return counts


def _mask_bytes(run: Run, trials: Sequence[_Trial], making: Making, folder: Path) -> int:
    """Write an entry of each part and multiply it."""
    size = 0
    for number, (part, trial) in enumerate(zip(run.parts, trials, strict=True)):
        domain, place = part.domain, folder / f"{number}.zarr"
        header = lineage(Kind.MASKS, making, making.determinants)
        writer = MaskWriter(place, header, run.store.classes)
        kept = min(len(part.indices), ENTRY)
        known, ids = run.predictor(part.models[0]), list(domain.columns["id"][list(part.indices)])
        facts: dict[str, Any] = {"model": known.name, "model_id": known.id}
        facts["domain"] = domain.name
        facts |= {"shift": run.shifts[-1].kind.value, "factor": run.shifts[-1].factor}
        entry = writer.begin(facts, ids, (domain.height, domain.width))
        whole = place / entry
        fixed = _size(whole)
        for image in range(kept):
            writer.append(entry, trial.labels[image % len(trial.labels)][None])
        writer.finish()
        pixels = (_size(whole) - fixed) * len(part.indices) / kept
        passes = len(list(_passes(run, part)))
        size += round((fixed + pixels) * passes) + _size(place) - _size(whole)
    return size


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
