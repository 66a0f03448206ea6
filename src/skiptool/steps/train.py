"""``skiptool train``: U-nets with chosen skip connections, one for each validation fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from skiptool.engine import available_cores
from skiptool.errors import ArgumentError
from skiptool.model.checks import check_protocol, weights_of
from skiptool.model.fit import LAST, Fitted, fit
from skiptool.model.hardware import choose_device, choose_precision
from skiptool.model.unet import build, parameter_count
from skiptool.model.weights import load_encoder_weights
from skiptool.names import SKIP_LEVELS, Kind
from skiptool.records import SILENT, Architecture, Outcome, Progress, Table, Training
from skiptool.stores.checkpoint import model_identity, write_model
from skiptool.stores.dataset import open_dataset
from skiptool.stores.folds import TrainingFolds, training_folds
from skiptool.stores.header import Making, lineage
from skiptool.stores.journal import Journal
from skiptool.stores.lookup import finished
from skiptool.stores.parents import parents_made
from skiptool.stores.staging import check_free, staged
from skiptool.stores.tables import write_table

__all__ = ["train_models"]


@dataclass(frozen=True, slots=True)
class _Job:
    """One model to train."""

    folder: Path
    architecture: Architecture
    training: Training
    making: Making
    parameter_count: int


def train_models(
    data: Path,
    out: Path,
    *,
    domain: str | None = None,
    encoders: Sequence[str] = ("resnet18",),
    skips: Sequence[tuple[int, ...]] = (SKIP_LEVELS,),
    fold: Sequence[int] = (),
    folds: int | None = None,
    protocol: Training | None = None,
    device: str = "auto",
    workers: int | None = None,
    keep_last: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Train one model for each encoder, choice of skip connections and validation fold.

    Section IV.C: Adam, step decay from 1e-4, batches of 8, 50 epochs, cross-entropy and
    generalised Dice loss, flips, crops, rotation and scaling, no colour augmentation, inputs
    scaled by 1/255 only, the epoch chosen by the highest validation mIoU. Of data with E draws of
    training patches, epoch e takes draw e modulo E; validation stays with draw 0.

    Parameters
    ----------
    data : Path
        Dataset store.
    out : Path
        Folder of runs; model folders are made below it.
    domain : str, optional
        Domain to train on; needed where several hold training samples.
    encoders, skips : sequences of str and of tuple of int
        Encoders of segmentation-models-pytorch; levels that stay, see ``records.Architecture``.
    fold : sequence of int
        Validation folds to train, all by default.
    folds : int, optional
        Derive so many folds, grouped by subject, instead of those stored with the data.
    protocol : Training, optional
        The rest of the protocol; its ``fold`` is ignored.
    device, workers : str, int
        Where it runs; loader processes, by default none on a CPU, else all usable cores but one.
    keep_last : bool
        Keep ``last.ckpt`` beside the best weights.
    overwrite, resume, dry_run : bool
        ``resume`` leaves finished models alone and trains the others.
    progress : Progress

    Returns
    -------
    Outcome
        Outputs: the model folders.

    Raises
    ------
    ArgumentError
        If a name or number is outside what is possible.
    SourceError
        If encoder weights are not to be had.
    FormatError
        If the data cannot be read, or draws are not numbered from 0.
    ExistsError
        If a model folder exists.
    """
    settings = protocol or Training(fold=0)
    check_protocol(settings)
    plan = training_folds(open_dataset(data), domain, folds, settings.seed)
    target = choose_device(device)
    settings = replace(settings, precision=choose_precision(settings.precision, target))
    classes, channels = plan.store.classes, plan.domain.channels
    weights_of(settings, classes)
    architectures = [Architecture(e, kept, classes, channels) for e in encoders for kept in skips]
    # Each is built once here, so that an unknown encoder is refused before anything is trained.
    networks = {each: build(each, seed=settings.seed) for each in architectures}
    jobs = [
        _job(plan, out, each, parameter_count(networks[each]), replace(settings, fold=k), folds)
        for each in architectures
        for k in sorted(set(fold)) or plan.numbers
    ]
    waiting = [job for job in jobs if not finished(job.folder, job.making, resume=resume)]
    _check(waiting, out, overwrite, resume)
    if not dry_run or Path(settings.encoder_weights).suffix:
        # Weights that cannot be had are found out now, not behind hours of other models.
        for each in dict.fromkeys(job.architecture for job in waiting):
            load_encoder_weights(networks[each], each.encoder, settings.encoder_weights)
    del networks
    if dry_run:
        return Outcome(summary=_forecast(plan, waiting))
    if workers is None:
        # On a CPU the cores belong to the network: reading costs a twentieth of a step.
        workers = 0 if target == "cpu" else max(0, available_cores() - 1)
    for job in waiting:
        _train(plan, job, (target, workers), (overwrite, resume, keep_last), progress)
    summary = {"models": len(jobs), "trained now": len(waiting), **_drawn(plan)}
    return Outcome(tuple(job.folder for job in jobs), summary=summary, tables=_summary(waiting))


def _job(
    plan: TrainingFolds,
    out: Path,
    architecture: Architecture,
    parameters: int,
    training: Training,
    folds: int | None,
) -> _Job:
    plan.parts(training.fold)
    folder = out / architecture.folder / f"fold{training.fold}"
    making = Making(
        "train",
        (plan.store.path,),
        {
            **{"domain": plan.domain.name, "encoder": architecture.encoder, "folds": folds},
            "skips": ",".join(map(str, architecture.skips)) or "none",
            **training.recorded(),
        },
        {"out": out},
        {"dataset": plan.store.lineage.id, "split": plan.hash[:32]},
    )
    return _Job(folder, architecture, training, making, parameters)


def _check(jobs: Sequence[_Job], out: Path, overwrite: bool, resume: bool) -> None:
    if not out.is_dir():
        # The folder of runs grows from run to run: it is made where missing, never replaced.
        check_free(out, overwrite=False, resume=False)
    for job in jobs:
        if job.folder.parent.is_dir():
            check_free(job.folder, overwrite=overwrite, resume=resume)
    if len({job.folder for job in jobs}) < len(jobs):
        raise ArgumentError("an encoder, pruning or fold is given twice; each makes one model")


def _forecast(plan: TrainingFolds, jobs: Sequence[_Job]) -> dict[str, Any]:
    return {
        "models": len(jobs),
        "folders": [str(job.folder) for job in jobs],
        "training samples": int((plan.fold >= 0).sum()),
        **_drawn(plan),
        # float32: the best weights, and a checkpoint of the last, the best and two moments of Adam.
        "bytes": sum(job.parameter_count * 4 * 5 for job in jobs),
    }


def _drawn(plan: TrainingFolds) -> dict[str, int]:
    return {"draws": plan.draws} if plan.draws > 1 else {}


def _train(
    plan: TrainingFolds,
    job: _Job,
    place: tuple[str, int],
    how: tuple[bool, bool, bool],
    progress: Progress,
) -> None:
    train, validation = plan.parts(job.training.fold)
    whole = staged(job.folder, overwrite=how[0], resume=how[1], worth=LAST)
    with parents_made(job.folder), whole as partial:
        journal = Journal(partial, job.making)
        partial.mkdir(exist_ok=True)
        if not journal.begun:
            journal.begin()
        fitted = fit(
            job.architecture,
            job.training,
            plan.store.samples(plan.domain.name, train),
            plan.store.samples(plan.domain.name, validation),
            partial,
            device=place[0],
            workers=place[1],
            progress=progress,
            draws=plan.by_draw(train),
            resume=how[1],
        )
        _write(partial, plan, job, fitted)
        if not how[2]:
            (partial / LAST).unlink(missing_ok=True)
        journal.remove()


def _write(folder: Path, plan: TrainingFolds, job: _Job, fitted: Fitted) -> None:
    header = lineage(Kind.MODEL, job.making, model_identity(job.architecture, fitted.tensors))
    extra = {
        "fold": job.training.fold,
        "parameter_count": job.parameter_count,
        "training": job.training.recorded(),
        **{"split_hash": plan.hash, **_drawn(plan)},
        **{"best_epoch": fitted.best_epoch, "best_mIoU": fitted.best_miou},
        "encoder_start": asdict(fitted.encoder_weights),
        **{"device": fitted.device, "threads": fitted.threads},
    }
    write_model(folder, job.architecture, fitted.tensors, header, extra)
    rows = [asdict(row) for row in fitted.history]
    columns = {"mIoU" if key == "miou" else key: [row[key] for row in rows] for key in rows[0]}
    history = lineage(Kind.HISTORY, job.making, {"model": header.id})
    write_table(folder / "history.parquet", history, columns, len(rows))


def _summary(jobs: Sequence[_Job]) -> tuple[Table, ...]:
    columns: dict[str, list[str | int | float | None]] = {
        "encoder": [job.architecture.encoder for job in jobs],
        "pruning": [job.architecture.pruning for job in jobs],
        "fold": [job.training.fold for job in jobs],
        "parameters": [job.parameter_count for job in jobs],
    }
    return (Table("Trained", columns),) if jobs else ()
