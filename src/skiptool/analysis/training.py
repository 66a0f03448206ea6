"""Training runs from their histories: curves by epoch, results, and runs grouped by protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.records import architecture_family, repeat_of

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

SPLITS: Final = ("train", "validation")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One split of a run, by epoch: int64 and float64 of shape (E,), NaN if there is no value.

    ``epochs`` ascend from 0; ``lr`` is the learning rate, ``seconds`` the wall time.
    """

    epochs: Int64
    loss: Float64
    miou: Float64
    lr: Float64
    seconds: Float64

    def drops(self) -> list[int]:
        """Return the epochs with a lower learning rate than the epoch before."""
        lower = np.flatnonzero(np.diff(self.lr) < 0.0) + 1
        return [int(epoch) for epoch in self.epochs[lower]]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The training of one model.

    Attributes
    ----------
    model, arch, encoder, pruning : str
        Empty if unknown.
    fold, repeat : int or None
    train, validation : Curve
    epochs : int
        Number of epochs trained.
    best_epoch : int or None
        Epoch of the highest validation mIoU, the earliest of ties, whose weights are kept. None
        if no validation mIoU is known.
    best_miou : float
        Validation mIoU of that epoch, else NaN.
    losses : mapping of split to float
        Loss of the last epoch of each split, NaN if there is none.
    last : mapping of split to int
        Last epoch of each split.
    seconds : float
        Mean wall time of an epoch, training and validation together; NaN if unknown.
    samples : (int, int) or None
        Numbers of training and validation samples, if known.
    """

    model: str
    arch: str
    encoder: str
    pruning: str
    fold: int | None
    repeat: int | None
    train: Curve
    validation: Curve
    epochs: int
    best_epoch: int | None
    best_miou: float
    losses: Mapping[str, float]
    last: Mapping[str, int]
    seconds: float
    samples: tuple[int, int] | None = None

    @property
    def family(self) -> str:
        """Encoder, with the architecture unless it is ``unet``."""
        return architecture_family(self.arch, self.encoder)


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """Runs that differ in network, fold and repeat only, not in data or protocol.

    Attributes
    ----------
    dataset, domain : str or None
        Training data.
    settings : mapping
        Parameters of the protocol in which experiments on these data differ.
    """

    dataset: str | None
    domain: str | None
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]


def read_run(facts: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]) -> Run | None:
    """Turn the rows of a history into curves; None if there is no epoch.

    Parameters
    ----------
    facts : mapping
        ``model``, ``arch``, ``encoder``, ``pruning``, ``fold``, ``repeat``, ``best_epoch``,
        ``samples``, as far as known.
    columns : mapping of column name to values
        ``epoch``, ``split``, ``loss``, ``mIoU``, ``lr``, ``seconds``. Of duplicate rows of an epoch
        and split the last counts.
    """
    train, validation = (_curve(columns, split) for split in SPLITS)
    epochs = np.union1d(train.epochs, validation.epochs)
    if not epochs.size:
        return None
    best = _best(validation, facts.get("best_epoch"))
    curves = dict(zip(SPLITS, (train, validation), strict=True))
    seconds = np.concatenate([train.seconds, validation.seconds])
    known = seconds[np.isfinite(seconds)]
    return Run(
        **{name: str(facts.get(name) or "") for name in ("model", "arch", "encoder", "pruning")},
        fold=facts.get("fold"),
        repeat=repeat_of(facts.get("fold"), facts.get("repeat")),
        train=train,
        validation=validation,
        epochs=int(epochs.size),
        best_epoch=None if best is None else int(validation.epochs[best]),
        best_miou=math.nan if best is None else float(validation.miou[best]),
        losses={
            split: float(curve.loss[-1]) if curve.loss.size else math.nan
            for split, curve in curves.items()
        },
        last={split: int(c.epochs[-1]) for split, c in curves.items() if c.epochs.size},
        seconds=float(known.sum() / epochs.size) if known.size else math.nan,
        samples=facts.get("samples"),
    )


def _curve(columns: Mapping[str, Sequence[Any]], split: str) -> Curve:
    rows = [row for row, name in enumerate(columns["split"]) if name == split]
    epochs = np.array([columns["epoch"][row] for row in rows], dtype=np.int64)
    order = np.argsort(epochs, kind="stable")
    order = order[np.append(np.diff(epochs[order]) > 0, True)[: order.size]]
    loss, miou, lr, seconds = (
        np.array([columns[name][row] for row in rows], dtype=np.float64)[order]  # None is NaN
        for name in ("loss", "mIoU", "lr", "seconds")
    )
    return Curve(epochs[order], loss, miou, lr, seconds)


def _best(validation: Curve, recorded: object) -> int | None:
    """Return the index of the best epoch: the recorded one if it has a finite mIoU."""
    finite = np.isfinite(validation.miou)
    if not finite.any():
        return None
    if isinstance(recorded, int) and recorded in validation.epochs[finite]:
        return int(np.searchsorted(validation.epochs, recorded))
    return int(np.nanargmax(np.where(finite, validation.miou, -np.inf)))


def common_mean(curves: Sequence[tuple[Int64, Float64]]) -> tuple[Int64, Float64]:
    """Average curves over the epochs that all of them have.

    A mean over the remaining runs would jump where one of them ends.

    Parameters
    ----------
    curves : sequence of (int64 (E,), float64 (E,))
        Distinct epochs, ascending, with their values; a mean is NaN if any of its values is.

    Examples
    --------
    >>> epochs, means = common_mean(
    ...     [(np.arange(3), np.array([0.0, 1.0, 2.0])), (np.arange(1, 3), np.array([3.0, np.nan]))]
    ... )
    >>> epochs.tolist(), means.tolist()
    ([1, 2], [2.0, nan])
    """
    if not curves:
        return np.zeros(0, np.int64), np.zeros(0)
    shared = curves[0][0]
    for epochs, _ in curves[1:]:
        shared = np.intersect1d(shared, epochs)
    values = [curve[np.searchsorted(epochs, shared)] for epochs, curve in curves]
    return shared, np.mean(values, axis=0)


def experiments(
    histories: Sequence[tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]]],
) -> list[Experiment]:
    """Group runs that differ only in network, fold and repeat.

    Parameters
    ----------
    histories : sequence of (facts, columns)
        See :func:`read_run`; further facts are ``model_id`` (a model given twice counts once),
        ``dataset``, ``dataset_id``, ``domain`` and ``protocol``, if known.

    Returns
    -------
    list of Experiment
        In the order of first appearance.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    firsts: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    seen = set()
    for facts, columns in histories:
        run = read_run(facts, columns)
        model = facts.get("model_id")
        if run is None or (model is not None and model in seen):
            continue
        seen.add(model)
        data = facts.get("dataset_id") or facts.get("dataset")
        key = (data, facts.get("domain"), _text(_protocol(facts)))
        groups.setdefault(key, []).append(run)
        firsts.setdefault(key, facts)
    results = []
    for key, runs in groups.items():
        protocols = [_protocol(facts) for other, facts in firsts.items() if other[:2] == key[:2]]
        settings = {
            name: value
            for name, value in _protocol(firsts[key]).items()
            if len({_text(protocol.get(name)) for protocol in protocols}) > 1
        }
        data, domain = (firsts[key].get(name) for name in ("dataset", "domain"))
        results.append(Experiment(data, domain, settings, tuple(runs)))
    return results


def _protocol(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return facts.get("protocol") or {}


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
