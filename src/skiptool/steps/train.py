"""``skiptool train``: U-nets with chosen skip connections, one for each validation fold."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiptool.errors import ArgumentError, ExistsError, FormatError
from skiptool.model.augmentation import AUGMENTATION
from skiptool.model.device import choose_device, choose_precision, threads_now
from skiptool.model.distributed import ALONE, Ranks, check_device, find_ranks, joined
from skiptool.model.fit import (
    LAST,
    Fitted,
    check_protocol,
    check_shares,
    count_steps,
    fit,
    weights_of,
)
from skiptool.model.lightning import Logging, check_loggers
from skiptool.model.unet import build, parameter_count
from skiptool.model.weights import load_encoder_weights
from skiptool.names import SKIP_LEVELS, Arch, Kind, LoggerName
from skiptool.parallel import available_cores
from skiptool.records import (
    SILENT,
    Architecture,
    Outcome,
    Progress,
    Table,
    Task,
    Training,
    training_name,
)
from skiptool.stores.addresses import local
from skiptool.stores.artifacts import check_unchanged, finished
from skiptool.stores.dataset import open_dataset
from skiptool.stores.folds import TrainingFolds, training_folds
from skiptool.stores.journal import Journal
from skiptool.stores.lineage import Making, digest, lineage
from skiptool.stores.models import model_identity, write_model
from skiptool.stores.staging import check_free, held, parents_made, partial_of, staged, whole_file
from skiptool.stores.tables import write_table
from skiptool.stores.transfers import places_may_be_urls, with_copy

if TYPE_CHECKING:
    from skiptool.model.fit import Fitted
    from skiptool.names import LoggerName
    from skiptool.records import Architecture, Progress, SampleReader, Training
    from skiptool.stores.folds import TrainingFolds

__all__ = [
    "LOGS",
    "Fit",
    "Job",
    "carry_over",
    "check_free_of",
    "chosen_repeats",
    "drawn",
    "follow",
    "forecast",
    "opened_journal",
    "plan_fit",
    "plan_job",
    "summary",
    "train_fold",
    "train_models",
    "trainings",
    "whole_grid",
    "write",
]

# -------------------------------------------------------------------------------------------------
# Which models are to be made, and a training that any process can run.


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


# -------------------------------------------------------------------------------------------------
# Progress of a grid of models: that of the one in training, and that of all.


@contextmanager
def whole_grid(progress: Progress, steps: Sequence[int]) -> Iterator[Progress]:
    """Open a task for all models where there are several; tasks inside move it too.

    Parameters
    ----------
    progress : Progress
    steps : sequence of int
        Steps of each model, in the order in which their tasks will be opened.
    """
    if len(steps) < 2:
        yield progress
        return
    with progress.task(f"all {len(steps)} models", sum(steps)) as whole:
        yield _Grid(progress, whole, len(steps))


class _Grid:
    def __init__(self, progress: Progress, whole: Task, count: int) -> None:
        self._progress = progress
        self._whole = whole
        self._count = count
        self._begun = 0

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Task]:
        """Open the task of a model; what it leaves out (it ended early) counts as done."""
        self._begun += 1
        with self._progress.task(text, total) as own:
            both = _Both(own, self._whole, f"model {self._begun} of {self._count}")
            yield both
        both.leap(total - both.done)

    def warn(self, line: str) -> None:
        """Hand a warning on."""
        self._progress.warn(line)

    def say(self, line: str) -> None:
        """Hand a line on."""
        self._progress.say(line)

    @property
    def quiet(self) -> bool:
        """Whether nothing is shown."""
        return self._progress.quiet


class _Both:
    def __init__(self, own: Task, whole: Task, note: str) -> None:
        self._own, self._whole, self._note = own, whole, note
        self.done = 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move both."""
        self._own.advance(steps, note)
        self.leap(steps)

    def leap(self, steps: int) -> None:
        """Move the task of all alone."""
        self.done += steps
        self._whole.advance(steps, self._note)


# -------------------------------------------------------------------------------------------------
# What is written of a training: the model folder, and a line for people.


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


def train_fold(
    data: Path | str,
    out: Path | str,
    *,
    fold: int = 0,
    repeat: int = 0,
    encoder: str = "resnet18",
    skips: tuple[int, ...] = SKIP_LEVELS,
    arch: str = Arch.UNET,
    domain: str | None = None,
    folds: int | None = None,
    protocol: Training | None = None,
    device: str = "auto",
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Train one model: one encoder, one choice of skip connections, one validation fold.

    Parameters
    ----------
    data, out : Path or str
        Dataset store; folder of runs.
    fold : int
        Fold to validate on.
    repeat : int
        Which training of this fold, from 0: another one has another random seed.
    encoder : str
    skips : tuple of int
        Levels that stay; ``(1, 2, 3, 4)`` is the baseline.
    arch, domain, folds, protocol, device, workers, overwrite, resume, progress
        As of `train_models`, which this is for a single model.

    Returns
    -------
    Path
        The model folder, ``out/<encoder>-<pruning>/fold<k>``, with ``-r<repeat>`` behind it unless
        the repeat is 0; see `skiptool.load_model`.

    Raises
    ------
    ArgumentError, SourceError, FormatError, ExistsError
        As `train_models`.
    """
    done = train_models(
        data,
        out,
        domain=domain,
        encoders=[encoder],
        skips=[skips],
        arch=arch,
        fold=[fold],
        repeat=[repeat],
        folds=folds,
        protocol=protocol,
        device=device,
        workers=workers,
        overwrite=overwrite,
        resume=resume,
        progress=progress,
    )
    return Path(done.outputs[0])


@places_may_be_urls()
def train_models(
    data: Path | str,
    out: Path | str,
    *,
    domain: str | None = None,
    encoders: Sequence[str] = ("resnet18",),
    skips: Sequence[tuple[int, ...]] = (SKIP_LEVELS,),
    arch: str = Arch.UNET,
    fold: Sequence[int] = (),
    repeats: int = 1,
    repeat: Sequence[int] = (),
    folds: int | None = None,
    protocol: Training | None = None,
    device: str = "auto",
    devices: int | None = None,
    nodes: int = 1,
    workers: int | None = None,
    loggers: Sequence[LoggerName] = (),
    keep_last: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Train one model for each encoder, choice of skip connections, validation fold and repeat.

    Section IV.C: Adam, step decay from 1e-4, batches of 8, 50 epochs, cross-entropy and
    generalised Dice loss, flips, crops, rotation and scaling, no colour augmentation, inputs
    scaled by 1/255 only, the epoch chosen by the highest validation mIoU. Of data with E draws of
    training patches, epoch e takes draw e modulo E; validation stays with draw 0.

    Parameters
    ----------
    data : Path or str
        Dataset store, a local path or a URL; what is trained on is copied from there first.
    out : Path or str
        Folder of runs; model folders are made below it.
    domain : str, optional
        Domain to train on; needed where several hold training samples.
    encoders, skips : sequences of str and of tuple of int
        Encoders of segmentation-models-pytorch; levels that stay, see ``records.Architecture``.
    arch : str
        ``unet``, ``unetplusplus``, ``linknet`` or ``manet``.
    fold : sequence of int
        Validation folds to train, all by default.
    repeats : int
        Trainings of each network on each fold. They differ in their random seed alone: in the
        initial weights (where none are loaded), the order of batches and the augmentation. Repeat
        0 uses the seed of the protocol, the others seeds that are derived from it.
    repeat : sequence of int
        Numbers of the repeats to train, by default 0 to ``repeats`` - 1.
    folds : int, optional
        Derive so many folds, grouped by subject, instead of those stored with the data.
    protocol : Training, optional
        The rest of the protocol; its ``fold`` and ``repeat`` are ignored.
    device, workers : str, int
        Where it runs; loader processes, by default none on a CPU, else all usable cores but one.
    devices, nodes : int
        Processes that train together on each of so many machines, see ``model.ranks.find_ranks``.
        From a script, guard it by ``if __name__ == "__main__":``, for they import it.
    loggers : sequence of LoggerName
        Are told every epoch; what they write themselves goes to ``out/logs``.
    keep_last : bool
        Keep ``last.ckpt`` beside the best weights.
    overwrite, resume, dry_run : bool
        ``resume`` leaves finished models alone and trains the others, also those that were trained
        for fewer epochs than are asked for now.
    progress : Progress

    Returns
    -------
    Outcome
        Outputs: the model folders; none where another process leads.

    Raises
    ------
    ArgumentError
        If a name or number is outside what is possible.
    SourceError
        If encoder weights are not to be had, or the processes do not find each other.
    FormatError
        If the data cannot be read, or draws are not numbered from 0.
    ExistsError
        If a model folder exists.
    """
    out = local(out, "models are trained in a folder on this machine only")
    settings = protocol or Training(fold=0)
    check_protocol(settings)
    check_loggers(loggers)
    chosen = chosen_repeats(repeats, repeat)
    plan = training_folds(open_dataset(data), domain, folds, settings.seed)
    target = choose_device(device)
    ranks = find_ranks(devices, nodes)
    check_device(device, ranks)
    settings = replace(
        settings,
        precision=choose_precision(settings.precision, target),
        devices=ranks.devices,
        nodes=ranks.nodes,
    )
    classes, channels = plan.store.classes, plan.domain.channels
    weights_of(settings, classes)
    architectures = [Architecture(e, s, classes, channels, arch) for e in encoders for s in skips]
    # Each is built once here, so that an unknown encoder is refused before anything is trained.
    networks = {each: build(each, seed=settings.seed) for each in architectures}
    jobs = [
        plan_job(plan, out, each, parameter_count(networks[each]), training, folds)
        for each in architectures
        for training in trainings(settings, sorted(set(fold)) or plan.numbers, chosen)
    ]
    how = {"resume": resume, "clear": not dry_run}
    waiting = [job for job in jobs if not finished(job.folder, job.making, **how)]
    check_free_of(waiting, out, overwrite, resume)
    for job in waiting if resume and ranks.leads else ():
        carry_over(job, dry_run=dry_run)
    if not dry_run or Path(settings.encoder_weights).suffix:
        # Weights that cannot be had are found out now, not behind hours of other models.
        for each in dict.fromkeys(job.architecture for job in waiting):
            load_encoder_weights(networks[each], each.encoder, settings.encoder_weights)
    del networks
    if dry_run:
        return Outcome(summary=forecast(plan, waiting), silent=not ranks.leads)
    if workers is None:
        # On a CPU the cores belong to the network: reading costs a twentieth of a step.
        workers = 0 if target == "cpu" else max(0, available_cores() - 1)
    plan = _at_hand(plan, waiting, ranks, progress)
    fits = [plan_fit(plan, job, target, workers, resume, tuple(loggers)) for job in waiting]
    with joined(ranks, target, partial(follow, fits)) as ranks:
        if not ranks.leads:
            follow(fits, ranks)
            return Outcome(silent=True)
        with whole_grid(progress, [one.steps(ranks) for one in fits]) as shown:
            for one in fits:
                _train(plan, one, (overwrite, resume, keep_last), ranks, shown)
    counts = {"models": len(jobs), "trained now": len(waiting), **drawn(plan)}
    return Outcome(
        tuple(job.folder for job in jobs),
        (out / LOGS,) if loggers and waiting else (),
        summary=counts,
        tables=summary(waiting),
    )


def _at_hand(
    plan: TrainingFolds, jobs: Sequence[Job], ranks: Ranks, progress: Progress
) -> TrainingFolds:
    """Copy what is trained on from behind a URL: every epoch reads it."""
    if isinstance(plan.store.place, Path) or not jobs:
        return plan
    if ranks.size > 1 and (ranks.started or ranks.nodes > 1):
        raise ArgumentError(
            f"{plan.store.path}: each of {ranks.size} processes would copy it; copy it to a disk "
            "that all of them see, and give that path"
        )
    return replace(plan, store=with_copy(plan.store, plan.domain.name, progress))


def _train(
    plan: TrainingFolds, one: Fit, how: tuple[bool, bool, bool], ranks: Ranks, progress: Progress
) -> None:
    job, (overwrite, resume, keep_last) = one.job, how
    if ranks.size == 1 and finished(job.folder, job.making, resume=resume):
        return  # by a task of the same array, meanwhile
    work = staged(job.folder, overwrite=overwrite, resume=resume, worth=LAST)
    with parents_made(job.folder), work as folder:
        journal = opened_journal(folder, job, threads_now(), progress)
        write(folder, plan, job, one.run(ranks, progress))
        if not keep_last:
            (folder / LAST).unlink(missing_ok=True)
        journal.remove()
