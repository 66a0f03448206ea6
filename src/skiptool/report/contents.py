"""All exhibits of a report, in the order of the page.

To add an exhibit, write a module with a function that returns it, and call that function here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from skiptool.analysis.distances import channel_metric_rows
from skiptool.metrics import scores
from skiptool.report.correlation import correlation_exhibits
from skiptool.report.distances import distance_exhibits
from skiptool.report.examples import example_exhibits
from skiptool.report.exhibit import Exhibit
from skiptool.report.forecast import forecast_exhibits
from skiptool.report.layerwise import layerwise_exhibits
from skiptool.report.paired import paired_exhibits
from skiptool.report.registration import registration_exhibits
from skiptool.report.samples import sample_exhibits
from skiptool.report.scores import parameter_exhibits, score_exhibits
from skiptool.report.substitution import substitution_exhibits
from skiptool.report.training import training_exhibits
from skiptool.stores.histories import history_facts
from skiptool.stores.tables import HISTORY, REGISTRATION

if TYPE_CHECKING:
    from skiptool.records import Table
    from skiptool.report.inputs import Inputs


def table_exhibits(
    inputs: Inputs, level: float, seed: int, *, forecast: bool = False
) -> list[Exhibit]:
    """Build the exhibits that show tables.

    Parameters
    ----------
    level, seed : float, int
        Level of intervals, and seed of their resampling.
    forecast : bool
        Include forecasts of the loss of IoU for images without labels.
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
        *paired_exhibits(by_subject, level=level),
        *(distance_exhibits(of_layers, inputs.channels()) if inputs.shifts else ()),
        *(layerwise_exhibits(layers) if inputs.shifts else ()),
        *(correlation_exhibits(rated, of_layers, level=level, seed=seed) if inputs.shifts else ()),
        *(forecast_exhibits(rated, of_layers, level=level) if forecast and inputs.shifts else ()),
        *training_exhibits(histories),
        *(
            exhibit
            for table in inputs.registrations
            for exhibit in registration_exhibits(
                table.columns(tuple(REGISTRATION)), table.path.stem
            )
        ),
        *parameter_exhibits(inputs.parameters()),
    ]


def image_exhibits(inputs: Inputs) -> tuple[list[Exhibit], list[str]]:
    """Build the exhibits that show images and masks; return warnings about missing ones too."""
    exhibits, warnings = example_exhibits(inputs.predictions, inputs.datasets, inputs.masks)
    sheets = [sheet for store in inputs.datasets for sheet in sample_exhibits(store)]
    return [*exhibits, *sheets], warnings


def printed_tables(exhibits: Sequence[Exhibit]) -> tuple[Table, ...]:
    """Return the tables to print in a terminal: the short ones, or all if there are none."""
    short = [exhibit for exhibit in exhibits if exhibit.printed]
    return tuple(exhibit.table for exhibit in short or exhibits)


def _substitutions(
    inputs: Inputs, by_subject: dict[str, list[Any]], level: float
) -> Iterator[Exhibit]:
    groups = inputs.by_clean_domain()
    for domain, tables in groups.items():
        # A single group contains all tables, so that its totals are known.
        totals = by_subject if len(groups) == 1 else inputs.totals("subject", tables=tables)
        yield from substitution_exhibits(totals, clean_domain=domain, level=level)
