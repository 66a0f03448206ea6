"""Training curves from histories, and what each run came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.analysis.training import Experiment, Run, experiments
from skiptool.figures.curves import draw_curves, stairs
from skiptool.figures.style import in_paper_order, readable, spans_decades
from skiptool.metrics import mean_and_spread
from skiptool.records import Table
from skiptool.report.exhibit import counted, counted_at_most, known

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.report.exhibit import Number, Shown

__all__ = ["TrainingCurves", "training_curves"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingCurves:
    """Runs on the same data under the same protocol.

    Attributes
    ----------
    title, caption : str
    dataset, domain : str or None
        What they were trained on.
    runs : tuple of Run
        Encoders by first appearance, prunings in the paper's order, folds and repeats rising.
    reached : mapping of (arch, encoder, pruning) to (float, float, int, str)
        Mean of the best mIoU over trainings, its standard deviation (n - 1), and the number of
        trainings, as such and in words, where there are several.
    """

    title: str
    caption: str
    dataset: str | None
    domain: str | None
    runs: tuple[Run, ...]
    reached: Mapping[tuple[str, str, str], tuple[float, float, int, str]]
    topic: str = "training"
    heading: str = "Training"

    def draw(self) -> Figure:
        """Draw validation mIoU and loss by epoch."""
        return draw_curves(self.runs)

    def table(self) -> Table:
        """Return a line for each run."""
        runs = self.runs
        repeats: list[str | int | float | None] = [run.repeat for run in runs]
        columns: dict[str, list[str | int | float | None]] = {
            "encoder": [run.family for run in runs],
            "pruning": [run.pruning for run in runs],
            "fold": [run.fold for run in runs],
            **({"repeat": repeats} if any(repeats) else {}),
            "epochs": [run.epochs for run in runs],
            "best epoch": [run.best_epoch for run in runs],
            "best mIoU": [known(run.best_miou) for run in runs],
            "training loss": [known(run.losses["train"]) for run in runs],
            "validation loss": [known(run.losses["validation"]) for run in runs],
            "s/epoch": [known(run.seconds) for run in runs],
        }
        return Table(self.title, columns, uniform=("encoder", "epochs"), spare=("s/epoch",))

    def numbers(self) -> list[Number]:
        """Return the numbers of each run, and the means of the best mIoU over trainings."""
        data = {"dataset": self.dataset, "domain": self.domain}
        found: list[Number] = []
        for run in self.runs:
            names = {"arch": run.arch, "encoder": run.encoder, "pruning": run.pruning}
            of = {**data, **names, "fold": run.fold, "repeat": run.repeat}
            best = {**of, "split": "validation", "epoch": run.best_epoch}
            found.append({"quantity": "best mIoU", **best, "value": run.best_miou})
            if run.best_epoch is not None:
                found.append({"quantity": "best epoch", **best, "value": run.best_epoch})
            found.append({"quantity": "epochs", **of, "value": run.epochs})
            found += [
                {"quantity": "loss", **of, "split": split, "epoch": epoch, "value": value}
                for split, value in run.losses.items()
                if (epoch := run.last.get(split)) is not None
            ]
            found.append({"quantity": "seconds per epoch", **of, "value": run.seconds})
        for (arch, encoder, pruning), (mean, spread, number, _) in self.reached.items():
            names = {"arch": arch, "encoder": encoder, "pruning": pruning}
            measured = {"value": mean, "sd_folds": spread, "folds": number}
            found.append(
                {"quantity": "best mIoU", **data, **names, "split": "validation", **measured}
            )
        return found

    def sentences(self) -> tuple[str, ...]:
        """Say what each network reached, and which runs still rose at their end."""
        sentences = []
        for key, runs in _by_network(self.runs).items():
            name = readable(f"{runs[0].family} {runs[0].pruning}".strip(), 60)
            best = [run.best_epoch for run in runs if run.best_epoch is not None]
            if not best:
                sentences.append(f"{name}: no validation mIoU is known.")
                continue
            when = f"{min(best)}" if min(best) == max(best) else f"{min(best)} to {max(best)}"
            epochs = "epoch" if min(best) == max(best) else "epochs"
            if key in self.reached:
                mean, spread, _, trained = self.reached[key]
                reached = f"{mean:.3f} ± {spread:.3f} over {trained}"
            else:
                reached = f"{next(r.best_miou for r in runs if r.best_epoch is not None):.3f}"
            sentences.append(f"{name}: best validation mIoU {reached}, at {epochs} {when}.")
        rising = sum(
            run.epochs > 1 and run.best_epoch == run.last["validation"] for run in self.runs
        )
        if rising:
            sentences.append(
                f"{rising} of {len(self.runs)} runs {'was' if rising == 1 else 'were'} best at the "
                "last epoch: more epochs may raise them further."
            )
        return tuple(sentences)


def training_curves(
    runs: Sequence[tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]]],
) -> list[Shown]:
    """Make an exhibit of each group of runs that differ in network, fold and repeat alone.

    Parameters
    ----------
    runs : sequence of (facts, columns)
        As `skiptool.stores.histories.open_history` returns them: of the facts ``model``,
        ``model_id``, ``arch``, ``encoder``, ``pruning``, ``fold``, ``repeat``, ``best_epoch``,
        ``dataset``, ``dataset_id``, ``domain``, ``protocol`` as far as known; columns ``epoch``,
        ``split`` (``train``, ``validation``), ``loss``, ``mIoU``, ``lr``, ``seconds``.

    Returns
    -------
    list of Shown
        None without an epoch.
    """
    return [_exhibit(found) for found in experiments(runs)]


def _exhibit(found: Experiment) -> TrainingCurves:
    families = list(dict.fromkeys(run.family for run in found.runs))
    order = in_paper_order(run.pruning for run in found.runs)
    runs = sorted(
        found.runs,
        key=lambda run: (
            families.index(run.family),
            order.index(run.pruning),
            -1 if run.fold is None else run.fold,
            run.repeat or 0,
        ),
    )
    known = {
        key: [run for run in mine if run.best_epoch is not None]
        for key, mine in _by_network(runs).items()
    }
    reached = {
        key: (*mean_and_spread([run.best_miou for run in mine]), len(mine), _trained(mine))
        for key, mine in known.items()
        if len(mine) > 1
    }
    data = ", ".join(name for name in (found.dataset, found.domain) if name)
    settings = ", ".join(f"{name} {_said(value)}" for name, value in found.settings.items())
    title = f"Training{' on ' if data else ''}{data}{f' ({settings})' if settings else ''}"
    return TrainingCurves(title, _caption(runs), found.dataset, found.domain, tuple(runs), reached)


def _by_network(runs: Sequence[Run]) -> dict[tuple[str, str, str], list[Run]]:
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.arch, run.encoder, run.pruning), []).append(run)
    return groups


def _trained(runs: Sequence[Run]) -> str:
    return counted((run.fold, run.repeat) for run in runs)


def _said(value: object) -> str:
    return "none" if value is None else readable(str(value), 60)


def _caption(runs: Sequence[Run]) -> str:
    networks = _by_network(runs).values()
    trained = counted_at_most([(run.fold, run.repeat) for run in mine] for mine in networks)
    lengths = {run.epochs for run in runs}
    epochs = f"{min(lengths)}" if len(lengths) == 1 else f"{min(lengths)} to {max(lengths)}"
    losses = np.concatenate([np.r_[run.train.loss, run.validation.loss] for run in runs])
    several = (
        f" Thin lines: the trainings of a network, {trained}; thick: their mean, as far as all of "
        "them reach."
    )
    return (
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} of {epochs} "
        f"{'epoch' if lengths == {1} else 'epochs'}, counted from 0{_images(runs)}. Left: mean IoU "
        "of the foreground classes from counts accumulated over the validation fold; dots: the "
        "epoch whose weights are kept, chosen and measured on the same images, hence a little too "
        f"favourable. Right: mean loss an image{', log scale' if spans_decades(losses) else ''}; "
        "solid: validation, dashed: training, on augmented images while the weights still move."
        f"{several if max(map(len, networks)) > 1 else ''}{_falls(runs)}"
    )


def _images(runs: Sequence[Run]) -> str:
    """Say on how many images runs were trained and validated; nothing where one does not say so."""
    known = [run.samples for run in runs if run.samples is not None]
    if len(known) < len(runs):
        return ""
    train, validation = (
        f"{min(counts):,}" + (f" to {max(counts):,}" if min(counts) < max(counts) else "")
        for counts in zip(*known, strict=True)
    )
    return f"; n = {train} training and {validation} validation images a run"


def _falls(runs: Sequence[Run]) -> str:
    drops, marked = {e for run in runs for e in run.train.drops()}, stairs(runs)
    if not drops:
        return ""
    if not marked:
        return f" The learning rate falls at {len(drops)} epochs."
    return f" Ticks on the axis: the learning rate falls (epoch {', '.join(map(str, marked))})."
