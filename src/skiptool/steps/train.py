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
from skiptool.model.device import choose_device, choose_precision, thread_count
from skiptool.model.distributed import (
    SINGLE_PROCESS,
    Ranks,
    check_device,
    find_ranks,
    process_group,
)
from skiptool.model.fit import (
    LAST,
    TrainingResult,
    check_divisible,
    check_protocol,
    count_steps,
    fit,
    resolve_class_weights,
)
from skiptool.model.lightning import Logging, check_loggers
from skiptool.model.unet import build, parameter_count
from skiptool.model.weights import load_encoder_weights
from skiptool.names import SKIP_LEVELS, Arch, Kind, LoggerName, quote_name
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
from skiptool.stores.addresses import require_local
from skiptool.stores.artifacts import check_unchanged, is_complete
from skiptool.stores.dataset import open_dataset
from skiptool.stores.folds import TrainingFolds, training_folds
from skiptool.stores.journal import Journal
from skiptool.stores.lineage import Invocation, create_lineage, hash_json
from skiptool.stores.models import model_identity, write_model
from skiptool.stores.staging import (
    atomic_file,
    atomic_output,
    check_writable,
    lock_output,
    make_parents,
    partial_path,
)
from skiptool.stores.tables import write_table
from skiptool.stores.transfers import fetch_domain
from skiptool.stores.urls import accept_urls

if TYPE_CHECKING:
    from skiptool.records import SampleReader

LOGS = "logs"
"""Folder for the files of loggers, next to those of the models."""


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

    Arguments and errors are those of `train_models`, for a single model.

    Returns
    -------
    Path
        The model folder, ``out/<encoder>-<pruning>/fold<k>``, followed by ``-r<repeat>`` unless the
        repeat is 0; see `skiptool.load_model`.
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


@accept_urls()
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
    training patches, epoch e takes draw e modulo E; validation always uses draw 0.

    Parameters
    ----------
    data : Path or str
        Dataset store, a local path or a URL; from a URL the training domain is copied first.
    out : Path or str
        Folder of runs; model folders are made below it.
    domain : str, optional
        Domain to train on; required if several have training samples.
    encoders, skips : sequences of str and of tuple of int
        Encoders of segmentation-models-pytorch; levels to keep, see ``records.Architecture``.
    arch : str
        ``unet``, ``unetplusplus``, ``linknet`` or ``manet``.
    fold : sequence of int
        Validation folds to train, all by default.
    repeats : int
        Trainings of each network on each fold. They differ only in their random seed: initial
        weights (where none are loaded), order of batches and augmentation. Repeat 0 uses the seed
        of the protocol, the others seeds derived from it.
    repeat : sequence of int
        Numbers of the repeats to train, by default 0 to ``repeats`` - 1.
    folds : int, optional
        Derive this many folds, grouped by subject, instead of using those stored with the data.
    protocol : Training, optional
        All other settings; its ``fold`` and ``repeat`` are ignored.
    workers : int, optional
        Loader processes, by default none on a CPU, else all usable cores but one.
    devices, nodes : int
        Processes per node, and nodes, that train together, see `find_ranks`. Guard scripts by
        ``if __name__ == "__main__":``, as the processes import them.
    loggers : sequence of LoggerName
        Log every epoch; their own files go to ``out/logs``.
    keep_last : bool
        Keep ``last.ckpt`` next to the best weights.
    resume : bool
        Skip finished models, train the others, and continue those that were trained for fewer
        epochs.

    Returns
    -------
    Outcome
        Outputs: the model folders; none in a process other than the leading one.

    Raises
    ------
    ArgumentError
        If a name or number is out of range.
    SourceError
        If encoder weights are unavailable, or the processes cannot connect to each other.
    FormatError
        If the data cannot be read, or draws are not numbered from 0.
    ExistsError
        If a model folder exists.
    """
    out = require_local(out, "models are trained in a folder on this machine only")
    protocol = protocol or Training(fold=0)
    check_protocol(protocol)
    check_loggers(loggers)
    repeat = chosen_repeats(repeats, repeat)
    plan = training_folds(open_dataset(data), domain, folds, protocol.seed)
    target = choose_device(device)
    ranks = find_ranks(devices, nodes)
    check_device(device, ranks)
    protocol = replace(
        protocol,
        precision=choose_precision(protocol.precision, target),
        devices=ranks.devices,
        nodes=ranks.nodes,
    )
    classes, channels = plan.store.classes, plan.domain.channels
    resolve_class_weights(protocol, classes)
    architectures = [Architecture(e, s, classes, channels, arch) for e in encoders for s in skips]
    # Build each network once now, so that an unknown encoder fails before any training.
    networks = {
        architecture: build(architecture, seed=protocol.seed) for architecture in architectures
    }
    jobs = [
        plan_job(plan, out, architecture, parameter_count(networks[architecture]), training, folds)
        for architecture in architectures
        for training in plan_trainings(protocol, sorted(set(fold)) or plan.fold_numbers, repeat)
    ]
    unfinished = [
        job
        for job in jobs
        if not is_complete(job.folder, job.invocation, resume=resume, clear=not dry_run)
    ]
    check_folders(unfinished, out, overwrite, resume)
    for job in unfinished if resume and ranks.is_leader else ():
        copy_checkpoint(job, dry_run=dry_run)
    if not dry_run or Path(protocol.encoder_weights).suffix:
        # Missing weights fail now, not after hours of training other models.
        for architecture in dict.fromkeys(job.architecture for job in unfinished):
            network = networks[architecture]
            load_encoder_weights(network, architecture.encoder, protocol.encoder_weights)
    del networks
    if dry_run:
        return Outcome(summary=dry_run_summary(plan, unfinished), silent=not ranks.is_leader)
    if workers is None:
        # On a CPU all cores are for the network: reading takes a twentieth of a step.
        workers = 0 if target == "cpu" else max(0, available_cores() - 1)
    plan = _copy_domain(plan, unfinished, ranks, progress)
    runs = [plan_run(plan, job, target, workers, resume, tuple(loggers)) for job in unfinished]
    if not _train_all(plan, runs, ranks, target, overwrite, keep_last, progress):
        return Outcome(silent=True)
    return Outcome(
        tuple(job.folder for job in jobs),
        (out / LOGS,) if loggers and unfinished else (),
        summary={"models": len(jobs), "trained now": len(unfinished), **_draw_count(plan)},
        tables=summary_tables(unfinished),
    )


def _copy_domain(
    plan: TrainingFolds, jobs: Sequence[TrainingJob], ranks: Ranks, progress: Progress
) -> TrainingFolds:
    """Copy the training domain of a remote store, because every epoch reads it."""
    if isinstance(plan.store.place, Path) or not jobs:
        return plan
    if ranks.world_size > 1 and (ranks.launched or ranks.nodes > 1):
        raise ArgumentError(
            f"{plan.store.path}: each of {ranks.world_size} processes would copy it; copy it to a "
            "disk that all of them see, and give that path"
        )
    return replace(plan, store=fetch_domain(plan.store, plan.domain.name, progress))


def _train_all(
    plan: TrainingFolds,
    runs: Sequence[TrainingRun],
    ranks: Ranks,
    device: str,
    overwrite: bool,
    keep_last: bool,
    progress: Progress,
) -> bool:
    """Train and write all models; return False in processes other than the leading one."""
    with process_group(ranks, device, partial(_follow, runs)) as ranks:
        if not ranks.is_leader:
            _follow(runs, ranks)
            return False
        with grid_progress(progress, [run.steps(ranks) for run in runs]) as shown:
            for run in runs:
                _train_model(plan, run, ranks, overwrite, keep_last, shown)
    return True


def _follow(runs: Sequence[TrainingRun], ranks: Ranks) -> None:
    """Train in step with the leading process, which alone writes the models."""
    for run in runs:
        run.fit(ranks)


def _train_model(
    plan: TrainingFolds,
    run: TrainingRun,
    ranks: Ranks,
    overwrite: bool,
    keep_last: bool,
    progress: Progress,
) -> None:
    job = run.job
    if ranks.world_size == 1 and is_complete(job.folder, job.invocation, resume=run.resume):
        return  # finished meanwhile by another task of the same array
    partial_folder = atomic_output(job.folder, overwrite=overwrite, resume=run.resume, keep_if=LAST)
    with make_parents(job.folder), partial_folder as folder:
        journal = open_journal(folder, job, thread_count(), progress)
        write_trained(folder, plan, job, run.fit(ranks, progress))
        if not keep_last:
            (folder / LAST).unlink(missing_ok=True)
        journal.remove()


# Models to train


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A model to train, and its folder."""

    folder: Path
    architecture: Architecture
    training: Training
    invocation: Invocation
    parameter_count: int


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A job with its data, which can be pickled for other processes.

    ``draws`` are, for each draw, indices into ``train``.
    """

    job: TrainingJob
    train: SampleReader
    validation: SampleReader
    draws: list[list[int]]
    device: str
    workers: int
    resume: bool
    logging: Logging | None = None

    def fit(self, ranks: Ranks = SINGLE_PROCESS, progress: Progress = SILENT) -> TrainingResult:
        """Train in the partial folder of the model."""
        return fit(
            self.job.architecture,
            self.job.training,
            self.train,
            self.validation,
            partial_path(self.job.folder),
            device=self.device,
            workers=self.workers,
            progress=progress,
            draws=self.draws,
            resume=self.resume,
            ranks=ranks,
            logging=self.logging,
        )

    def steps(self, ranks: Ranks) -> int:
        """Count the batches of all epochs, training and validation."""
        return sum(count_steps(self.job.training, self.draws, len(self.validation), ranks))


def chosen_repeats(repeats: int, repeat: Sequence[int]) -> list[int]:
    """Return the numbers of the repeats to train: those given, else 0 to ``repeats`` - 1.

    Raises
    ------
    ArgumentError
        If ``repeats`` is below 1, or a number is negative or, for several repeats, too high.

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


def plan_trainings(
    protocol: Training, folds: Iterable[int], repeats: Sequence[int]
) -> list[Training]:
    """Return the trainings of one network, by fold and then repeat."""
    return [replace(protocol, fold=fold, repeat=repeat) for fold in folds for repeat in repeats]


def plan_job(
    plan: TrainingFolds,
    out: Path,
    architecture: Architecture,
    parameters: int,
    training: Training,
    folds: int | None,
) -> TrainingJob:
    """Plan the training of one model: its folder, and the parameters that determine it.

    Raises
    ------
    ArgumentError, FormatError, MismatchError
        If the network cannot take images of this size, or the fold has no training or no
        validation samples.
    """
    plan.split(training.fold)
    architecture.check_size(plan.domain.height, plan.domain.width, f"domain {plan.domain.name}")
    folder = out / architecture.folder / training_name(training.fold, training.repeat)
    settings: dict[str, Any] = {}
    if architecture.arch != Arch.UNET:
        settings["arch"] = architecture.arch
    settings |= {
        "domain": plan.domain.name,
        "encoder": architecture.encoder,
        "folds": folds,
        "skips": ",".join(map(str, architecture.skips)) or "none",
        **training.recorded(),
    }
    weights = [f"{quote_name(name)}={weight}" for name, weight in training.class_weights]
    invocation = Invocation(
        "train",
        (plan.store.path,),
        settings,
        {"class_weight": weights, "out": out},
        {"dataset": plan.store.lineage.id, "split": plan.hash[:32]},
        {"augmentation": ", ".join(f"{name} {value}" for name, value in AUGMENTATION.items())},
        grows="epochs",
    )
    return TrainingJob(folder, architecture, training, invocation, parameters)


def plan_run(
    plan: TrainingFolds,
    job: TrainingJob,
    device: str,
    workers: int,
    resume: bool,
    loggers: tuple[LoggerName, ...] = (),
) -> TrainingRun:
    """Add data and loggers to a job.

    Raises
    ------
    ArgumentError
        If batches or samples cannot be divided among the processes.
    """
    logging = None
    if loggers:
        out, name = job.folder.parents[1], f"{job.folder.parent.name}/{job.folder.name}"
        logging = Logging(loggers, out / LOGS, name, hash_json(job.invocation.determinants))
    train, validation = plan.split(job.training.fold)
    draws, protocol = plan.group_by_draw(train), job.training
    # Check this before any process starts, and before batches are counted.
    check_divisible(protocol.batch_size, draws, len(validation), protocol.devices * protocol.nodes)
    return TrainingRun(
        job,
        plan.store.samples(plan.domain.name, train),
        plan.store.samples(plan.domain.name, validation),
        draws,
        device,
        workers,
        resume,
        logging,
    )


def check_folders(jobs: Sequence[TrainingJob], out: Path, overwrite: bool, resume: bool) -> None:
    """Refuse folders that cannot be written, and models named twice, before any training."""
    if not out.is_dir():
        # The folder of runs is created if missing, and never replaced.
        check_writable(out, overwrite=False, resume=False)
    for job in jobs:
        if job.folder.parent.is_dir():
            check_writable(job.folder, overwrite=overwrite, resume=resume)
    if len({job.folder for job in jobs}) < len(jobs):
        raise ArgumentError(
            "an encoder, pruning, fold or repeat is given twice; each makes one model"
        )


def dry_run_summary(plan: TrainingFolds, jobs: Sequence[TrainingJob]) -> dict[str, Any]:
    """Count the models that a run would train, their samples and bytes."""
    return {
        "models": len(jobs),
        "folders": [str(job.folder) for job in jobs],
        "training samples": int((plan.fold >= 0).sum()),
        **_draw_count(plan),
        # float32: the best weights, and a checkpoint of the last, the best and two moments of Adam
        "bytes": sum(job.parameter_count * 4 * 5 for job in jobs),
    }


def _draw_count(plan: TrainingFolds) -> dict[str, int]:
    """Return the number of draws if there are several."""
    return {"draws": plan.draws} if plan.draws > 1 else {}


# Progress of several models: that of the model in training, and that of all


@contextmanager
def grid_progress(progress: Progress, steps: Sequence[int]) -> Iterator[Progress]:
    """Show a task for all models, if there are several, that advances with the task of each.

    ``steps`` are the numbers of steps of the models, in the order of their tasks.
    """
    if len(steps) < 2:
        yield progress
        return
    with progress.task(f"all {len(steps)} models", sum(steps)) as whole:
        yield _GridProgress(progress, whole, len(steps))


class _GridProgress:
    def __init__(self, progress: Progress, whole: Task, count: int) -> None:
        self._progress = progress
        self._whole = whole
        self._count = count
        self._started = 0

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Task]:
        """Open the task of a model; steps skipped by early stopping count as done."""
        self._started += 1
        with self._progress.task(text, total) as own:
            task = _ModelTask(own, self._whole, f"model {self._started} of {self._count}")
            yield task
        task.advance_whole(total - task.done)

    def warn(self, line: str) -> None:
        """Pass a warning on."""
        self._progress.warn(line)

    def say(self, line: str) -> None:
        """Pass a line on."""
        self._progress.say(line)

    @property
    def quiet(self) -> bool:
        """Return True if nothing is shown."""
        return self._progress.quiet


class _ModelTask:
    """The task of one model, which also advances the task of all models."""

    def __init__(self, own: Task, whole: Task, note: str) -> None:
        self._own, self._whole, self._note = own, whole, note
        self.done = 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Advance both tasks."""
        self._own.advance(steps, note)
        self.advance_whole(steps)

    def advance_whole(self, steps: int) -> None:
        """Advance only the task of all models."""
        self.done += steps
        self._whole.advance(steps, self._note)


# Model folders


def copy_checkpoint(job: TrainingJob, *, dry_run: bool) -> None:
    """Copy the checkpoint of a finished model to continue its training for more epochs.

    Does nothing if there is no such model, or if the longer training has already started.

    Raises
    ------
    ExistsError
        If its checkpoint was not kept, or another process is continuing it.
    """
    partial_folder, last = partial_path(job.folder), job.folder / LAST
    if not job.folder.is_dir() or (partial_folder / LAST).is_file():
        return
    if not last.is_file():
        raise ExistsError(
            f"{job.folder}: was trained for fewer epochs, and its {LAST} was not kept, so its "
            f"training cannot continue to {job.training.epochs}; give --overwrite to train it again"
        )
    if dry_run:
        return
    with lock_output(job.folder):
        partial_folder.mkdir(exist_ok=True)
        Journal(partial_folder, job.invocation).begin()
        with atomic_file(partial_folder / LAST) as copy:
            shutil.copyfile(last, copy)


def open_journal(folder: Path, job: TrainingJob, threads: int, progress: Progress) -> Journal:
    """Begin or continue the journal of a partial model; warn if the number of threads has changed.

    Weights are bit-identical only for equal numbers of threads.
    """
    journal = Journal(folder, job.invocation)
    folder.mkdir(exist_ok=True)
    if not journal.begun:
        journal.begin()
    before = [entry["threads"] for entry in journal.entries if "threads" in entry]
    if not before:
        journal.note({"threads": threads})
    elif before[0] != threads:
        progress.warn(
            f"{job.folder}: was begun with --threads {before[0]}, now {threads}; the weights may "
            "differ in their last digits from those of an uninterrupted run"
        )
    return journal


def write_trained(
    folder: Path, plan: TrainingFolds, job: TrainingJob, fitted: TrainingResult
) -> None:
    """Write weights, configuration and history into the partial folder of a model.

    Raises
    ------
    FormatError
        If the data have been deleted or replaced; the checkpoint trained on them is removed.
    """
    try:
        check_unchanged(plan.store)
    except FormatError:
        (folder / LAST).unlink(missing_ok=True)
        raise
    header = create_lineage(
        Kind.MODEL, job.invocation, model_identity(job.architecture, fitted.tensors)
    )
    train, validation = map(len, plan.split(job.training.fold))
    extra = {
        "fold": job.training.fold,
        "repeat": job.training.repeat,
        "parameter_count": job.parameter_count,
        "training": job.training.recorded(),
        "augmentation": dict(AUGMENTATION),
        "samples": {"train": train, "validation": validation},
        "split_hash": plan.hash,
        **_draw_count(plan),
        "best_epoch": fitted.best_epoch,
        "best_mIoU": fitted.best_miou,
        "encoder_start": asdict(fitted.encoder_weights),
        "device": fitted.device,
        "threads": fitted.threads,
        "instructions": fitted.instructions,
    }
    write_model(folder, job.architecture, fitted.tensors, header, extra)
    rows = [asdict(row) for row in fitted.history]
    columns = {"mIoU" if key == "miou" else key: [row[key] for row in rows] for key in rows[0]}
    history = create_lineage(Kind.HISTORY, job.invocation, {"model": header.id})
    write_table(folder / "history.parquet", history, columns, len(rows))


def summary_tables(jobs: Sequence[TrainingJob]) -> tuple[Table, ...]:
    """Tabulate the models that this run trained, if any."""
    if not jobs:
        return ()
    columns: dict[str, list[str | int | float | None]] = {}
    if any(job.architecture.arch != Arch.UNET for job in jobs):
        columns["arch"] = [job.architecture.arch for job in jobs]
    columns["encoder"] = [job.architecture.encoder for job in jobs]
    columns["pruning"] = [job.architecture.pruning for job in jobs]
    columns["fold"] = [job.training.fold for job in jobs]
    if any(job.training.repeat for job in jobs):
        columns["repeat"] = [job.training.repeat for job in jobs]
    columns["parameters"] = [job.parameter_count for job in jobs]
    return (Table("Trained", columns),)
