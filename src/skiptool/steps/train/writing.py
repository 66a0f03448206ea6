"""What is written of a training: the model folder, and a line for people."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.errors import ExistsError, FormatError
from skiptool.model.augmentation import AUGMENTATION
from skiptool.model.fit import LAST
from skiptool.names import Arch, Kind
from skiptool.records import Progress, Table
from skiptool.steps.train.jobs import drawn
from skiptool.stores.artifacts import check_unchanged
from skiptool.stores.journal import Journal
from skiptool.stores.lineage import lineage
from skiptool.stores.models import model_identity, write_model
from skiptool.stores.staging import held, partial_of, whole_file
from skiptool.stores.tables import write_table

if TYPE_CHECKING:
    from skiptool.model.fit import Fitted
    from skiptool.steps.train.jobs import Job
    from skiptool.stores.folds import TrainingFolds

__all__ = ["carry_over", "opened_journal", "summary", "write"]


def carry_over(job: Job, *, dry_run: bool) -> None:
    """Put the checkpoint of a finished model where a longer training of it goes on.

    Nothing happens where there is no such model, or the longer training has begun already.

    Raises
    ------
    ExistsError
        If its checkpoint was not kept, or another process goes on with it.
    """
    growing, last = partial_of(job.folder), job.folder / LAST
    if not job.folder.is_dir() or (growing / LAST).is_file():
        return
    if not last.is_file():
        raise ExistsError(
            f"{job.folder}: was trained for fewer epochs, and its {LAST} was not kept, so it "
            f"cannot go on to {job.training.epochs}; give --overwrite to train it anew"
        )
    if dry_run:
        return
    with held(job.folder):
        growing.mkdir(exist_ok=True)
        Journal(growing, job.making).begin()
        with whole_file(growing / LAST) as copied:
            shutil.copyfile(last, copied)


def opened_journal(folder: Path, job: Job, threads: int, progress: Progress) -> Journal:
    """Begin the journal of a model that grows, or go on with it.

    Weights are equal to the bit for equal numbers of threads: another one than before is told.
    """
    journal = Journal(folder, job.making)
    folder.mkdir(exist_ok=True)
    if not journal.begun:
        journal.begin()
    before = [entry["threads"] for entry in journal.entries if "threads" in entry]
    if not before:
        journal.note({"threads": threads})
    elif before[0] != threads:
        progress.warn(
            f"{job.folder}: was begun with --threads {before[0]}, now {threads}; the weights may "
            "differ in their last digits from those of a run that was not interrupted"
        )
    return journal


def write(folder: Path, plan: TrainingFolds, job: Job, fitted: Fitted) -> None:
    """Write weights, configuration and history into the folder where the model grows.

    Raises
    ------
    FormatError
        If the data were deleted or replaced meanwhile; the checkpoint that learnt from them goes.
    """
    try:
        check_unchanged(plan.store)
    except FormatError:
        (folder / LAST).unlink(missing_ok=True)
        raise
    header = lineage(Kind.MODEL, job.making, model_identity(job.architecture, fitted.tensors))
    train, validation = map(len, plan.parts(job.training.fold))
    extra = {
        **{"fold": job.training.fold, "repeat": job.training.repeat},
        "parameter_count": job.parameter_count,
        "training": job.training.recorded(),
        "augmentation": dict(AUGMENTATION),
        "samples": {"train": train, "validation": validation},
        **{"split_hash": plan.hash, **drawn(plan)},
        **{"best_epoch": fitted.best_epoch, "best_mIoU": fitted.best_miou},
        "encoder_start": asdict(fitted.encoder_weights),
        **{"device": fitted.device, "threads": fitted.threads},
        "instructions": fitted.instructions,
    }
    write_model(folder, job.architecture, fitted.tensors, header, extra)
    rows = [asdict(row) for row in fitted.history]
    columns = {"mIoU" if key == "miou" else key: [row[key] for row in rows] for key in rows[0]}
    history = lineage(Kind.HISTORY, job.making, {"model": header.id})
    write_table(folder / "history.parquet", history, columns, len(rows))


def summary(jobs: Sequence[Job]) -> tuple[Table, ...]:
    """Return the table of the models trained now, none if there are none."""
    others = any(job.architecture.arch != Arch.UNET for job in jobs)
    names = (*(("arch",) if others else ()), "encoder", "pruning")
    repeats: list[str | int | float | None] = [job.training.repeat for job in jobs]
    columns: dict[str, list[str | int | float | None]] = {
        **{key: [getattr(job.architecture, key) for job in jobs] for key in names},
        "fold": [job.training.fold for job in jobs],
        **({"repeat": repeats} if any(repeats) else {}),
        "parameters": [job.parameter_count for job in jobs],
    }
    return (Table("Trained", columns),) if jobs else ()
