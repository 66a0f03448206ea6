"""Which models are to be made, and a training that any process can run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiptool.errors import ArgumentError
from skiptool.model.augmentation import AUGMENTATION
from skiptool.model.distributed import ALONE, Ranks
from skiptool.model.fit import Fitted, check_shares, count_steps, fit
from skiptool.model.lightning import Logging
from skiptool.names import Arch
from skiptool.records import SILENT, training_name
from skiptool.stores.lineage import Making, digest
from skiptool.stores.staging import check_free, partial_of

if TYPE_CHECKING:
    from skiptool.names import LoggerName
    from skiptool.records import Architecture, Progress, SampleReader, Training
    from skiptool.stores.folds import TrainingFolds

__all__ = [
    "LOGS",
    "Fit",
    "Job",
    "check_free_of",
    "chosen_repeats",
    "drawn",
    "follow",
    "forecast",
    "plan_fit",
    "plan_job",
    "trainings",
]

LOGS = "logs"
"""Folder beside those of the models, for what loggers write."""


@dataclass(frozen=True, slots=True)
class Job:
    """One model to train.

    Attributes
    ----------
    folder : Path
        Where it will stand.
    architecture : Architecture
    training : Training
    making : Making
    parameter_count : int
    """

    folder: Path
    architecture: Architecture
    training: Training
    making: Making
    parameter_count: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A training with all that it needs; it can be pickled into another process.

    Attributes
    ----------
    job : Job
    train, validation : SampleReader
    draws : list of list of int
        Indices into ``train`` of each draw.
    device : str
    workers : int
    resume : bool
    logging : Logging, optional
    """

    job: Job
    train: SampleReader
    validation: SampleReader
    draws: list[list[int]]
    device: str
    workers: int
    resume: bool
    logging: Logging | None = None

    def run(self, ranks: Ranks = ALONE, progress: Progress = SILENT) -> Fitted:
        """Train, in the folder where the model grows; raises as `skiptool.model.fit.fit`."""
        return fit(
            self.job.architecture,
            self.job.training,
            self.train,
            self.validation,
            partial_of(self.job.folder),
            device=self.device,
            workers=self.workers,
            progress=progress,
            draws=self.draws,
            resume=self.resume,
            ranks=ranks,
            logging=self.logging,
        )

    def steps(self, ranks: Ranks) -> int:
        """Batches of all epochs, training and validation."""
        return sum(count_steps(self.job.training, self.draws, len(self.validation), ranks))


def chosen_repeats(repeats: int, repeat: Sequence[int]) -> list[int]:
    """Return the numbers of the repeats to train: those given, else all of so many.

    Raises
    ------
    ArgumentError
        If there is none, or one is negative or not below ``repeats``, where that is above 1.

    Examples
    --------
    >>> chosen_repeats(3, ()), chosen_repeats(1, [4, 2])
    ([0, 1, 2], [2, 4])
    """
    if repeats < 1:
        raise ArgumentError(f"--repeats {repeats}: expected at least 1")
    for number in repeat:
        if number < 0 or number >= repeats > 1:
            most = f"{repeats - 1}, below --repeats" if repeats > 1 else "any number"
            raise ArgumentError(f"--repeat {number}: expected 0 to {most}")
    return sorted(set(repeat)) or list(range(repeats))


def trainings(protocol: Training, folds: Iterable[int], repeats: Sequence[int]) -> list[Training]:
    """Return the trainings of one network: all repeats of the first fold, then of the next."""
    return [replace(protocol, fold=fold, repeat=repeat) for fold in folds for repeat in repeats]


def plan_job(
    plan: TrainingFolds,
    out: Path,
    architecture: Architecture,
    parameters: int,
    training: Training,
    folds: int | None,
) -> Job:
    """Name one model and what determines it.

    Raises
    ------
    ArgumentError, FormatError, MismatchError
        If the network cannot take images of this size, or the fold has nothing to train or to
        validate on.
    """
    plan.parts(training.fold)
    architecture.check_size(plan.domain.height, plan.domain.width, f"domain {plan.domain.name}")
    folder = out / architecture.folder / training_name(training.fold, training.repeat)
    making = Making(
        "train",
        (plan.store.path,),
        {
            **({} if architecture.arch == Arch.UNET else {"arch": architecture.arch}),
            **{"domain": plan.domain.name, "encoder": architecture.encoder, "folds": folds},
            "skips": ",".join(map(str, architecture.skips)) or "none",
            **training.recorded(),
        },
        {"out": out},
        {"dataset": plan.store.lineage.id, "split": plan.hash[:32]},
        {"augmentation": ", ".join(f"{name} {value}" for name, value in AUGMENTATION.items())},
        grows="epochs",
    )
    return Job(folder, architecture, training, making, parameters)


def plan_fit(
    plan: TrainingFolds,
    job: Job,
    device: str,
    workers: int,
    resume: bool,
    loggers: tuple[LoggerName, ...] = (),
) -> Fit:
    """Give a job its data, and the folder ``logs`` beside the models to its loggers.

    Raises
    ------
    ArgumentError
        If batches or samples cannot be dealt out to the processes.
    """
    logging = None
    if loggers:
        out, run = job.folder.parents[1], f"{job.folder.parent.name}/{job.folder.name}"
        logging = Logging(loggers, out / LOGS, run, digest(job.making.determinants))
    train, validation = plan.parts(job.training.fold)
    draws, protocol = plan.by_draw(train), job.training
    # told before any process is started, and before batches are counted
    check_shares(protocol.batch_size, draws, len(validation), protocol.devices * protocol.nodes)
    return Fit(
        job,
        plan.store.samples(plan.domain.name, train),
        plan.store.samples(plan.domain.name, validation),
        draws,
        device,
        workers,
        resume,
        logging,
    )


def follow(fits: Sequence[Fit], ranks: Ranks) -> None:
    """Train in step with the process that leads, which alone keeps what comes of it."""
    for one in fits:
        one.run(ranks)


def check_free_of(jobs: Sequence[Job], out: Path, overwrite: bool, resume: bool) -> None:
    """Refuse folders that cannot be written, and models named twice, before any work is done.

    Raises
    ------
    ArgumentError, ExistsError, SourceError
    """
    if not out.is_dir():
        # The folder of runs grows from run to run: it is made where missing, never replaced.
        check_free(out, overwrite=False, resume=False)
    for job in jobs:
        if job.folder.parent.is_dir():
            check_free(job.folder, overwrite=overwrite, resume=resume)
    if len({job.folder for job in jobs}) < len(jobs):
        raise ArgumentError(
            "an encoder, pruning, fold or repeat is given twice; each makes one model"
        )


def forecast(plan: TrainingFolds, jobs: Sequence[Job]) -> dict[str, Any]:
    """Say what a run would make, for ``--dry-run``."""
    return {
        "models": len(jobs),
        "folders": [str(job.folder) for job in jobs],
        "training samples": int((plan.fold >= 0).sum()),
        **drawn(plan),
        # float32: the best weights, and a checkpoint of the last, the best and two moments of Adam.
        "bytes": sum(job.parameter_count * 4 * 5 for job in jobs),
    }


def drawn(plan: TrainingFolds) -> dict[str, int]:
    """Name the number of draws where there are several."""
    return {"draws": plan.draws} if plan.draws > 1 else {}
