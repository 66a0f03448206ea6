"""What is written of a training: the model folder, and a line for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.errors import FormatError
from skiptool.model.augment import AUGMENTATION
from skiptool.model.fit import LAST
from skiptool.names import Arch, Kind
from skiptool.records import Table
from skiptool.steps.train.jobs import drawn
from skiptool.stores.checkpoint import model_identity, write_model
from skiptool.stores.header import lineage
from skiptool.stores.table_writer import write_table
from skiptool.stores.unchanged import check_unchanged

if TYPE_CHECKING:
    from skiptool.model.fit import Fitted
    from skiptool.steps.train.jobs import Job
    from skiptool.stores.folds import TrainingFolds

__all__ = ["summary", "write"]


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
    extra = {
        **{"fold": job.training.fold, "repeat": job.training.repeat},
        "parameter_count": job.parameter_count,
        "training": job.training.recorded(),
        "augmentation": dict(AUGMENTATION),
        **{"split_hash": plan.hash, **drawn(plan)},
        **{"best_epoch": fitted.best_epoch, "best_mIoU": fitted.best_miou},
        "encoder_start": asdict(fitted.encoder_weights),
        **{"device": fitted.device, "threads": fitted.threads},
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
