"""What a whole report rests on, and its outcome in a few sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import family
from skiptool.steps.report.inputs import Inputs
from skiptool.stores.tables import MetricTable

if TYPE_CHECKING:
    from skiptool.report.exhibit import Shown

__all__ = ["not_estimated", "once_trained", "overview"]

_TOLD = ("substitution", "paired", "beyond", "rank-correlation", "forecast-by-layer", "forecast")
"""Topics whose first two sentences are an outcome, and what limits it."""

_FEW = 3  # names are listed, more are counted


def overview(
    inputs: Inputs, named: Sequence[tuple[str, Shown]]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return paragraphs below the title, and facts by name.

    Parameters
    ----------
    inputs : Inputs
    named : sequence of (str, Shown)
        The exhibits, from whose sentences the paragraphs are taken.

    Returns
    -------
    summary : tuple of str
    facts : dict
        Datasets, domains, architectures, folds, repeats, shifts, samples, subjects, as far as
        any input says so, and that no skip connection was substituted.
    """
    told: dict[str, str] = {}
    for _, each in named:
        sentences = each.sentences()
        if sentences and each.topic in _TOLD:
            told.setdefault(each.topic, " ".join(sentences[:2]))
    return tuple(told[topic] for topic in _TOLD if topic in told), _facts(inputs)


def once_trained(inputs: Inputs) -> str:
    """Say that a network that was trained once says nothing about the next training.

    Returns
    -------
    str
        Empty where every architecture was trained at least twice, or none is known.
    """
    found = _distinct([*inputs.predictions, *inputs.shifts], (*_NETWORK, "fold", "model_id"))
    trainings: dict[tuple[Any, ...], set[str]] = {}
    for *network, fold, model in zip(*found.values(), strict=True):
        if network[1] and model and fold != ENSEMBLE_FOLD:
            trainings.setdefault(tuple(network), set()).add(model)
    once = sum(len(models) == 1 for models in trainings.values())
    if not once:
        return ""
    some = f"{once} of {len(trainings)} architectures were"
    who = "Each network was" if once == len(trainings) else some
    return (
        f"{who} trained only once. Another training of the same architecture may differ by far "
        "more than these intervals, which are over subjects or images: they hold for these "
        "networks and say nothing about the next one. To compare architectures, train several "
        "folds or repeats (train --fold, --repeats)."
    )


def not_estimated(inputs: Inputs) -> str:
    """Say that distances without an estimate are left out, which does not mean that they are 0.

    Returns
    -------
    str
        Empty where every comparison of two sets has an estimate at some layer, or none was tried.
    """
    names = ("reference_id", "reference", "other_id", "other", "metric", "bins", "range_rule")
    sizes = ("units_reference", "units_other", "unit")
    known: dict[tuple[Any, ...], list[bool]] = {}
    units: dict[tuple[Any, ...], str] = {}
    for table in inputs.shifts:
        columns = table.lacking("channel").columns(
            (*names, *sizes, "corrected", "unresolved_channels")
        )
        for *row, corrected, unresolved in zip(*columns.values(), strict=True):
            if unresolved is not None:
                key = tuple(row[: len(names)])
                known.setdefault(key, []).append(corrected is not None)
                units[key] = f"{row[-3]} and {row[-2]} {row[-1]}s"
    lacking = [key for key, estimated in known.items() if not any(estimated)]
    if not lacking:
        return ""
    every = len(lacking) == len(known)
    some = "No distance" if every else f"{len(lacking)} of {len(known)} distances"
    return (
        f"{some} between feature maps could {'' if every else 'not '}be estimated, as "
        f"{units[lacking[0]]} are too few. "
        "Figures leave out what could not be estimated; it does not mean that there is no shift."
    )


def _facts(inputs: Inputs) -> dict[str, str]:
    both = _distinct([*inputs.predictions, *inputs.shifts], _BOTH)
    # by themselves: all combinations of these and those are nearly all rows
    measured = _distinct(inputs.predictions, ("dataset_id", "domain", "sample", "subject"))
    networks = zip(map(family, both["arch"], both["encoder"]), both["pruning"], strict=True)
    shifts = zip(both["shift"], both["factor"], strict=True)
    samples = zip(*(measured[name] for name in ("dataset_id", "domain", "sample")), strict=True)
    subjects = zip(*(measured[name] for name in ("dataset_id", "subject")), strict=True)
    facts = {
        "Dataset": _listed(both["dataset"]),
        "Domains": _listed(both["domain"]),
        "Without labels (no IoU)": "; ".join(inputs.unlabelled().values()),
        "Architectures": _counted({each for each in networks if each[1]}),
        "Folds": _counted({fold for fold in both["fold"] if fold not in (None, ENSEMBLE_FOLD)}),
        "Repeats": _repeats(both["repeat"]),
        "Shifts": _counted({each for each in shifts if each[0] not in (None, ShiftKind.ORIGINAL)}),
        "Samples predicted": _counted(set(samples)),
        "Subjects": _counted(set(subjects)),
        "Skip substitution": _unsubstituted(inputs),
    }
    return {name: value for name, value in facts.items() if value}


def _unsubstituted(inputs: Inputs) -> str:
    """Say that no skip connection was substituted, where scores would have a place for it."""
    used = _distinct(inputs.predictions, ("clean_skips",))["clean_skips"]
    if not used or set(used) - {None}:
        return ""
    return "not measured"


def _repeats(found: Iterable[int | None]) -> str:
    """Count the repeats where folds were trained more than once."""
    different = {repeat for repeat in found if repeat is not None}
    return _counted(different) if any(different) else ""


def _distinct(tables: Sequence[MetricTable], names: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in names}
    for table in tables:
        for name, column in table.distinct(names).items():
            found[name] += column
    return found


_NETWORK = ("arch", "encoder", "pruning")
_BOTH = ("dataset", "domain", "arch", "encoder", "pruning", "fold", "repeat", "shift", "factor")


def _listed(names: Iterable[str | None]) -> str:
    found = sorted({name for name in names if name is not None})
    return ", ".join(found) if len(found) <= _FEW else f"{len(found)}"


def _counted(found: set[Any]) -> str:
    return f"{len(found):,}" if found else ""
