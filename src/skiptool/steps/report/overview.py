"""What a whole report rests on, and its outcome in a few sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import family
from skiptool.steps.report.inputs import Inputs
from skiptool.stores.tables import MetricTable

if TYPE_CHECKING:
    from skiptool.figures.exhibit import Shown

__all__ = ["overview"]

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
        Datasets, domains, architectures, folds, shifts, samples, subjects: as far as any input
        says so.
    """
    told: dict[str, str] = {}
    for _, each in named:
        sentences = each.sentences()
        if sentences and each.topic in _TOLD:
            told.setdefault(each.topic, " ".join(sentences[:2]))
    return tuple(told[topic] for topic in _TOLD if topic in told), _facts(inputs)


def _facts(inputs: Inputs) -> dict[str, str]:
    measured = _distinct(inputs.predictions, (*_BOTH, "dataset_id", "sample", "subject"))
    compared = _distinct(inputs.shifts, _BOTH)
    both = {name: measured[name] + compared[name] for name in _BOTH}
    networks = zip(map(family, both["arch"], both["encoder"]), both["pruning"], strict=True)
    shifts = zip(both["shift"], both["factor"], strict=True)
    samples = zip(*(measured[name] for name in ("dataset_id", "domain", "sample")), strict=True)
    subjects = zip(*(measured[name] for name in ("dataset_id", "subject")), strict=True)
    facts = {
        "Dataset": _listed(both["dataset"]),
        "Domains": _listed(both["domain"]),
        "Architectures": _counted({each for each in networks if each[1]}),
        "Folds": _counted({fold for fold in both["fold"] if fold not in (None, ENSEMBLE_FOLD)}),
        "Shifts": _counted({each for each in shifts if each[0] not in (None, ShiftKind.ORIGINAL)}),
        "Samples predicted": _counted(set(samples)),
        "Subjects": _counted(set(subjects)),
    }
    return {name: value for name, value in facts.items() if value}


def _distinct(tables: Sequence[MetricTable], names: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in names}
    for table in tables:
        for name, column in table.distinct(names).items():
            found[name] += column
    return found


_BOTH = ("dataset", "domain", "arch", "encoder", "pruning", "fold", "shift", "factor")


def _listed(names: Iterable[str | None]) -> str:
    found = sorted({name for name in names if name is not None})
    return ", ".join(found) if len(found) <= _FEW else f"{len(found)}"


def _counted(found: set[Any]) -> str:
    return f"{len(found):,}" if found else ""
