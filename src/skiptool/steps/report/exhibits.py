"""Which exhibits some inputs allow, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from skiptool.analysis import correlation
from skiptool.analysis.distances import BEYOND_COLUMNS, CHANNEL_KEYS, LAYER_COLUMNS, of_channels
from skiptool.metrics import scores
from skiptool.names import LAYERWISE, VALIDATION, Kind
from skiptool.report.correlation import forecasts
from skiptool.report.distances import comparisons
from skiptool.report.examples import examples
from skiptool.report.forecast import loss_forecasts
from skiptool.report.layerwise import beyond_marginals
from skiptool.report.paired import paired_comparisons
from skiptool.report.registration import registrations
from skiptool.report.samples import data_sheets
from skiptool.report.scores import parameter_exhibit, score_matrices
from skiptool.report.substitution import substitutions
from skiptool.report.training import training_curves
from skiptool.steps.report.inputs import Inputs
from skiptool.stores.histories import history_facts
from skiptool.stores.lineage import FORMAT_VERSIONS
from skiptool.stores.tables import HISTORY, REGISTRATION, MetricTable

if TYPE_CHECKING:
    from skiptool.records import Table
    from skiptool.report.exhibit import Shown

__all__ = ["exhibits", "pictures", "printed_tables", "unmet"]

_LAYERS = tuple(dict.fromkeys((*LAYER_COLUMNS, *correlation.COLUMNS, *BEYOND_COLUMNS)))


def exhibits(inputs: Inputs, level: float, seed: int, *, forecast: bool = False) -> list[Shown]:
    """Return what tables allow, in the order of the questions that lead a reader.

    Parameters
    ----------
    inputs : Inputs
    level, seed : float, int
        Of the intervals that are computed here, and of their resampling.
    forecast : bool
        Whether to forecast the loss of IoU where nothing is labelled.
    """
    rated, by_subject = scores(inputs.totals()), inputs.totals("subject")
    layers = _columns(inputs.shifts, _layers)
    whole, layers = layers, of_channels(layers) if inputs.shifts else {}
    gathered = ("channel", "value", "corrected")
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
        *score_matrices(rated, inputs.sizes()),
        *_substitutions(inputs, by_subject, level),
        *paired_comparisons(by_subject, level=level),
        *(comparisons(layers, channels) if inputs.shifts else ()),
        *(beyond_marginals(whole) if inputs.shifts else ()),
        *(forecasts(rated, layers, level=level, seed=seed) if inputs.shifts else ()),
        *(loss_forecasts(rated, layers, level=level) if forecast and inputs.shifts else ()),
        *training_curves(histories),
        *scans,
        *parameter_exhibit(_parameters([*inputs.predictions, *inputs.shifts])),
    ]


def _layers(table: MetricTable) -> dict[str, list[Any]]:
    """Read the rows of layers; those of the first format come with a warning."""
    found = table.lacking("channel").columns(_LAYERS)
    if table.lineage.format_version < FORMAT_VERSIONS[Kind.SHIFT]:
        found["warnings"] = [_FIRST_FORMAT] * len(found["warnings"])
    return found


_FIRST_FORMAT = (
    "the distances were measured by version 0.1, whose estimates are too high with few images or "
    "sparse channels and whose p-values are wrong for units of unequal size (make the table again)"
)


def _substitutions(
    inputs: Inputs, by_subject: dict[str, list[Any]], level: float
) -> Iterator[Shown]:
    sorted_tables = inputs.by_clean_domain()
    for domain, tables in sorted_tables.items():
        alone = len(sorted_tables) == 1  # then they are all tables, which have been read
        totals = by_subject if alone else inputs.totals("subject", tables=tables)
        yield from substitutions(totals, clean_domain=domain, level=level)


def unmet(inputs: Inputs, shown: Sequence[Shown], forecast: bool) -> list[str]:
    """Say in a line each what was given, or asked for, and is not shown."""
    topics, lines = {each.topic for each in shown}, []
    if forecast and "forecast" not in topics:
        lines.append(_NO_FIT)
    lines += [
        f"{name}: no pixel has a label, so there is no IoU of it"
        for name in inputs.unlabelled().values()
    ]
    if inputs.predictions and inputs.shifts:
        lines += _unjoined(inputs)
    if "substitution" not in topics:
        for table in inputs.predictions:
            if set(table.distinct(["clean_skips"])["clean_skips"]) - {None}:
                lines.append(f"{table.path.name}: {_NO_PLAIN}")
    return lines


def _unjoined(inputs: Inputs) -> Iterator[str]:
    """Say in a line each which distances are compared with no loss of IoU."""
    scored = set(_columns(inputs.predictions, lambda table: table.distinct(["split"]))["split"])
    for table in inputs.shifts:
        found = table.distinct(["reference_split", "split"])
        measured = {*found["reference_split"], *found["split"]} - {None, "all"}
        for split in sorted(measured - scored):
            option = "fold" if split == VALIDATION else split
            yield (
                f"{table.path.name}: distances of {split} images are compared with no loss of IoU "
                f"for want of their scores; give a table of 'skiptool predict --split {option}'"
            )
        columns = table.lacking("channel").columns(["metric", "corrected"])
        pairs = zip(columns["metric"], columns["corrected"], strict=True)
        means = [value for metric, value in pairs if metric not in LAYERWISE]
        lost = sum(value is None for value in means)
        if lost:
            yield (
                f"{table.path.name}: {lost} of {len(means)} distances of layers have no corrected "
                "value and are compared with no loss of IoU"
            )


_NO_FIT = (
    "--forecast: nothing to fit; give scores and corrected distances by layer (predict and "
    "features, best with --split fold, and hellinger) of the same networks and images under two "
    "kinds of shift of one domain at least"
)

_NO_PLAIN = (
    "predictions with clean skips are not shown without plain ones of the same networks, samples "
    "and shifts; give their table too"
)


def pictures(inputs: Inputs) -> tuple[list[Shown], list[str]]:
    """Return what stores of images and masks allow, and lines about what they lack."""
    shown, lacking = examples(inputs.predictions, inputs.datasets, inputs.masks)
    sheets = [sheet for store in inputs.datasets for sheet in data_sheets(store)]
    return [*shown, *sheets], lacking


def printed_tables(shown: Sequence[Shown]) -> tuple[Table, ...]:
    """Return the tables that a terminal has room for; all of them where there are no others."""
    short = [each for each in shown if each.topic not in _LONG]
    return tuple(each.table() for each in short or shown)


_LONG = (
    *("regained", "paired", "layers", "transmission", "decoder-inputs"),
    *("forecast-by-layer", "parameters"),
)
"""Topics that say in a row a number, or again, what a matrix says."""


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
