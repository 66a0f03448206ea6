"""Which exhibits some inputs allow, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from skiptool.figures.differences import score_matrices
from skiptool.figures.forecasts import forecasts
from skiptool.figures.paired import paired_comparisons
from skiptool.figures.parameters import parameter_exhibit
from skiptool.figures.registration import registrations
from skiptool.figures.shifts import comparisons
from skiptool.figures.training import training_curves
from skiptool.metrics.scores import scores
from skiptool.readings import joined
from skiptool.readings.distances import CHANNEL_KEYS, LAYER_COLUMNS
from skiptool.steps.report.inputs import Inputs
from skiptool.stores.histories import history_facts
from skiptool.stores.schemas import HISTORY, REGISTRATION
from skiptool.stores.tables import MetricTable

if TYPE_CHECKING:
    from skiptool.figures.exhibit import Shown

__all__ = ["exhibits", "pictures"]

_LAYERS = tuple(dict.fromkeys((*LAYER_COLUMNS, *joined.COLUMNS)))


def exhibits(inputs: Inputs, level: float, seed: int) -> list[Shown]:
    """Return what tables allow, in the order of the questions that lead a reader.

    Parameters
    ----------
    inputs : Inputs
    level, seed : float, int
        Of the intervals that are computed here, and of their resampling.
    """
    rated = scores(inputs.totals())
    layers = _columns(inputs.shifts, lambda table: table.lacking("channel").columns(_LAYERS))
    gathered = ("channel", "value")
    channels = _columns(inputs.shifts, lambda table: table.gathered(CHANNEL_KEYS, gathered))
    histories = [
        (history_facts(table), table.columns(tuple(HISTORY))) for table in inputs.histories
    ]
    scans = [
        each
        for table in inputs.registrations
        for each in registrations(table.columns(tuple(REGISTRATION)), table.path.stem)
    ]
    return [
        *score_matrices(rated),
        *paired_comparisons(inputs.totals("subject"), level=level, seed=seed),
        *(comparisons(layers, channels) if inputs.shifts else ()),
        *(forecasts(rated, layers, level=level, seed=seed) if inputs.shifts else ()),
        *training_curves(histories),
        *scans,
        *parameter_exhibit(_parameters([*inputs.predictions, *inputs.shifts])),
    ]


def pictures(inputs: Inputs, seed: int) -> tuple[list[Shown], list[str]]:
    """Return what stores of images and masks allow, and lines about what they lack."""
    return [], []


def _columns(
    tables: Iterable[MetricTable], read: Callable[[MetricTable], dict[str, list[Any]]]
) -> dict[str, list[Any]]:
    """Put what is read of several tables together."""
    found: dict[str, list[Any]] = {}
    for table in tables:
        for name, column in read(table).items():
            found.setdefault(name, []).extend(column)
    return found


def _parameters(tables: Sequence[MetricTable]) -> dict[tuple[str, str, str], int]:
    names = ("arch", "encoder", "pruning", "parameter_count")
    found = _columns(tables, lambda table: table.distinct(names))
    rows = zip(*(found.get(name, ()) for name in names), strict=True)
    return {
        (arch, encoder, pruning): count
        for arch, encoder, pruning, count in rows
        if None not in (arch, encoder, pruning, count)
    }
