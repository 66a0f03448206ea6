"""``skiptool train``: U-nets with chosen skip connections, one for each validation fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from skiptool.errors import ArgumentError
from skiptool.model.device import choose_device, choose_precision, threads_now
from skiptool.model.distributed import Ranks, check_device, find_ranks, joined
from skiptool.model.fit import LAST, check_protocol, weights_of
from skiptool.model.lightning import check_loggers
from skiptool.model.unet import build, parameter_count
from skiptool.model.weights import load_encoder_weights
from skiptool.names import SKIP_LEVELS, Arch, LoggerName
from skiptool.parallel import available_cores
from skiptool.records import SILENT, Architecture, Outcome, Progress, Training
from skiptool.steps.train.grid import whole_grid
from skiptool.steps.train.jobs import (
    LOGS,
    Fit,
    Job,
    check_free_of,
    chosen_repeats,
    drawn,
    follow,
    forecast,
    plan_fit,
    plan_job,
    trainings,
)
from skiptool.steps.train.writing import carry_over, opened_journal, summary, write
from skiptool.stores.addresses import local
from skiptool.stores.artifacts import finished
from skiptool.stores.dataset import open_dataset
from skiptool.stores.folds import TrainingFolds, training_folds
from skiptool.stores.staging import parents_made, staged
from skiptool.stores.transfers import places_may_be_urls, with_copy

__all__ = ["train_fold", "train_models"]


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
