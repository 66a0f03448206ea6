"""The list of exhibits that inputs allow, in the order of the page.

To add an exhibit, write a module with a function that returns its `Exhibit` and call it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from skiptool.analysis.distances import channel_metric_rows
from skiptool.metrics import scores
from skiptool.report.correlation import loss_correlations
from skiptool.report.distances import comparisons
from skiptool.report.examples import examples
from skiptool.report.exhibit import Exhibit
from skiptool.report.forecast import loss_forecasts
from skiptool.report.layerwise import layerwise_exhibits
from skiptool.report.paired import paired_comparisons
from skiptool.report.registration import registrations
from skiptool.report.samples import data_sheets
from skiptool.report.scores import parameter_exhibits, score_exhibits
from skiptool.report.substitution import substitutions
from skiptool.report.training import training_curves
from skiptool.stores.histories import history_facts
from skiptool.stores.tables import HISTORY, REGISTRATION

if TYPE_CHECKING:
    from skiptool.records import Table
    from skiptool.report.inputs import Inputs


def table_exhibits(
    inputs: Inputs, level: float, seed: int, *, forecast: bool = False
) -> list[Exhibit]:
    """Build the exhibits of tables.

    Parameters
    ----------
    inputs : Inputs
    level, seed : float, int
        Of the intervals that are computed here, and of their resampling.
    forecast : bool
        Forecast the loss of IoU without labels.
    """
    rated, by_subject = scores(inputs.totals()), inputs.totals("subject")
    layers = inputs.layers()
    of_layers = channel_metric_rows(layers) if inputs.shifts else {}
    histories = [
        (history_facts(table), table.columns(tuple(HISTORY))) for table in inputs.histories
    ]
    return [
        *score_exhibits(rated, inputs.sizes()),
        *_substitutions(inputs, by_subject, level),
        *paired_comparisons(by_subject, level=level),
        *(comparisons(of_layers, inputs.channels()) if inputs.shifts else ()),
        *(layerwise_exhibits(layers) if inputs.shifts else ()),
        *(loss_correlations(rated, of_layers, level=level, seed=seed) if inputs.shifts else ()),
        *(loss_forecasts(rated, of_layers, level=level) if forecast and inputs.shifts else ()),
        *training_curves(histories),
        *(
            exhibit
            for table in inputs.registrations
            for exhibit in registrations(table.columns(tuple(REGISTRATION)), table.path.stem)
        ),
        *parameter_exhibits(inputs.parameters()),
    ]


def image_exhibits(inputs: Inputs) -> tuple[list[Exhibit], list[str]]:
    """Build the exhibits of stores of images and masks, and warnings about what these lack."""
    exhibits, warnings = examples(inputs.predictions, inputs.datasets, inputs.masks)
    sheets = [sheet for store in inputs.datasets for sheet in data_sheets(store)]
    return [*exhibits, *sheets], warnings


def printed_tables(exhibits: Sequence[Exhibit]) -> tuple[Table, ...]:
    """Return the tables to print in a terminal; all of them if there are no short ones."""
    short = [exhibit for exhibit in exhibits if exhibit.printed]
    return tuple(exhibit.table for exhibit in short or exhibits)


def _substitutions(
    inputs: Inputs, by_subject: dict[str, list[Any]], level: float
) -> Iterator[Exhibit]:
    groups = inputs.by_clean_domain()
    for domain, tables in groups.items():
        alone = len(groups) == 1  # then the group has all tables, whose totals are known
        totals = by_subject if alone else inputs.totals("subject", tables=tables)
        yield from substitutions(totals, clean_domain=domain, level=level)
