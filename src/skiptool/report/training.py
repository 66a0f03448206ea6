"""Training curves, and the best score of each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from skiptool.analysis.training import Experiment, Run, experiments
from skiptool.figures.curves import draw_curves, drops_to_mark
from skiptool.figures.style import in_paper_order, label_text, spans_decades
from skiptool.metrics import mean_and_spread
from skiptool.names import Kind
from skiptool.records import Table
from skiptool.report.exhibit import Cell, Exhibit, group_by, nan_to_none
from skiptool.report.wording import count_noun, count_trainings, most_trainings, number_range

if TYPE_CHECKING:
    from skiptool.report.exhibit import Number

_Key: TypeAlias = tuple[str, str, str]
"""Architecture, encoder and pruning."""


def training_exhibits(
    runs: Sequence[tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]]],
) -> list[Exhibit]:
    """Show each group of runs that differ only in network, fold and repeat.

    Parameters
    ----------
    runs : sequence of (facts, columns)
        Facts are ``model``, ``model_id``, ``arch``, ``encoder``, ``pruning``, ``fold``, ``repeat``,
        ``best_epoch``, ``dataset``, ``dataset_id``, ``domain`` and ``protocol``, as far as known
        (see :func:`skiptool.stores.histories.history_facts`). Columns are ``epoch``, ``split``
        (``train``, ``validation``), ``loss``, ``mIoU``, ``lr`` and ``seconds``.

    Returns
    -------
    list of Exhibit
        Empty without an epoch.
    """
    return [_exhibit(experiment) for experiment in experiments(runs)]


def _exhibit(experiment: Experiment) -> Exhibit:
    runs = _sorted(experiment.runs)
    data = ", ".join(name for name in (experiment.dataset, experiment.domain) if name)
    settings = ", ".join(f"{name} {_setting(v)}" for name, v in experiment.settings.items())
    title = f"Training{' on ' if data else ''}{data}{f' ({settings})' if settings else ''}"
    return Exhibit(
        topic="training",
        heading="Training",
        title=title,
        caption=_caption(runs),
        sentences=_best_scores(runs),
        table=_table(runs, title),
        numbers=_numbers(runs, {"dataset": experiment.dataset, "domain": experiment.domain}),
        draw=lambda: draw_curves(runs),
        sources=(Kind.HISTORY,),
    )


def _sorted(runs: Sequence[Run]) -> list[Run]:
    """Sort by encoder in order of appearance, pruning as in the paper, fold and repeat."""
    families = list(dict.fromkeys(run.family for run in runs))
    order = in_paper_order(run.pruning for run in runs)
    return sorted(
        runs,
        key=lambda run: (
            families.index(run.family),
            order.index(run.pruning),
            -1 if run.fold is None else run.fold,
            run.repeat or 0,
        ),
    )


def _by_network(runs: Sequence[Run]) -> dict[_Key, list[Run]]:
    return group_by(runs, lambda run: (run.arch, run.encoder, run.pruning))


def _scored(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.best_epoch is not None]


def _setting(value: object) -> str:
    return "none" if value is None else label_text(str(value), 60)


def _table(runs: Sequence[Run], title: str) -> Table:
    repeats: list[Cell] = [run.repeat for run in runs]
    columns: dict[str, list[Cell]] = {
        "encoder": [run.family for run in runs],
        "pruning": [run.pruning for run in runs],
        "fold": [run.fold for run in runs],
    }
    if any(repeats):
        columns["repeat"] = repeats
    columns |= {
        "epochs": [run.epochs for run in runs],
        "best epoch": [run.best_epoch for run in runs],
        "best mIoU": [nan_to_none(run.best_miou) for run in runs],
        "training loss": [nan_to_none(run.losses["train"]) for run in runs],
        "validation loss": [nan_to_none(run.losses["validation"]) for run in runs],
        "s/epoch": [nan_to_none(run.seconds) for run in runs],
    }
    return Table(title, columns, uniform=("encoder", "epochs"), spare=("s/epoch",))


def _numbers(runs: Sequence[Run], data: Number) -> list[Number]:
    """Return the numbers of each run, and the mean of the best mIoU over several trainings."""
    rows: list[Number] = []
    for run in runs:
        names = {"arch": run.arch, "encoder": run.encoder, "pruning": run.pruning}
        facts = {**data, **names, "fold": run.fold, "repeat": run.repeat}
        best = {**facts, "split": "validation", "epoch": run.best_epoch}
        rows.append({"quantity": "best mIoU", **best, "value": run.best_miou})
        if run.best_epoch is not None:
            rows.append({"quantity": "best epoch", **best, "value": run.best_epoch})
        rows.append({"quantity": "epochs", **facts, "value": run.epochs})
        rows += [
            {"quantity": "loss", **facts, "split": split, "epoch": epoch, "value": value}
            for split, value in run.losses.items()
            if (epoch := run.last.get(split)) is not None
        ]
        rows.append({"quantity": "seconds per epoch", **facts, "value": run.seconds})
    for (arch, encoder, pruning), group in _by_network(runs).items():
        scored = _scored(group)
        if len(scored) > 1:
            mean, spread = mean_and_spread([run.best_miou for run in scored])
            rows.append(
                {
                    "quantity": "best mIoU",
                    **data,
                    "arch": arch,
                    "encoder": encoder,
                    "pruning": pruning,
                    "split": "validation",
                    "value": mean,
                    "sd_folds": spread,
                    "folds": len(scored),
                }
            )
    return rows


def _best_scores(runs: Sequence[Run]) -> list[str]:
    """State the best score of each network, and the number of runs that still improved."""
    sentences = []
    for group in _by_network(runs).values():
        name = label_text(f"{group[0].family} {group[0].pruning}".strip(), 60)
        scored = _scored(group)
        if not scored:
            sentences.append(f"{name}: no validation mIoU is known.")
            continue
        mean, spread = mean_and_spread([run.best_miou for run in scored])
        score = f"{mean:.3f}"
        if len(scored) > 1:
            trainings = count_trainings((run.fold, run.repeat) for run in scored)
            score += f" ± {spread:.3f} over {trainings}"
        epochs = {run.best_epoch for run in scored if run.best_epoch is not None}
        noun = "epoch" if len(epochs) == 1 else "epochs"
        sentences.append(f"{name}: best validation mIoU {score}, at {noun} {number_range(epochs)}.")
    rising = sum(run.epochs > 1 and run.best_epoch == run.last["validation"] for run in runs)
    if rising:
        verb = "was" if rising == 1 else "were"
        sentences.append(
            f"{rising} of {len(runs)} runs {verb} best at the last epoch: more epochs may improve "
            "them further."
        )
    return sentences


def _caption(runs: Sequence[Run]) -> str:
    networks = _by_network(runs).values()
    trainings = most_trainings([(run.fold, run.repeat) for run in group] for group in networks)
    lengths = {run.epochs for run in runs}
    losses = np.concatenate([np.r_[run.train.loss, run.validation.loss] for run in runs])
    several = (
        f" Thin lines: the trainings of a network, {trainings}; thick: their mean, up to the end "
        "of the shortest."
    )
    return (
        f"{count_noun(len(runs), 'run')} of {number_range(lengths)} "
        f"{'epoch' if lengths == {1} else 'epochs'}, counted from 0{_images(runs)}. Left: mean IoU "
        "of the foreground classes from counts accumulated over the validation fold; dots: the "
        "epoch whose weights are kept, chosen and measured on the same images, hence slightly "
        f"optimistic. Right: mean loss per image{', log scale' if spans_decades(losses) else ''}; "
        "solid: validation, dashed: training, on augmented images while the weights change."
        f"{several if max(map(len, networks)) > 1 else ''}{_rate_drops(runs)}"
    )


def _images(runs: Sequence[Run]) -> str:
    """State the numbers of training and validation images; empty if a run lacks them."""
    counts = [run.samples for run in runs if run.samples is not None]
    if len(counts) < len(runs):
        return ""
    train, validation = (number_range(numbers, ",") for numbers in zip(*counts, strict=True))
    return f"; n = {train} training and {validation} validation images per run"


def _rate_drops(runs: Sequence[Run]) -> str:
    drops = {epoch for run in runs for epoch in run.train.drops()}
    marked = drops_to_mark(runs)
    if not drops:
        return ""
    if not marked:
        return f" The learning rate falls at {len(drops)} epochs."
    return f" Ticks on the axis: the learning rate falls (epoch {', '.join(map(str, marked))})."
