"""Measures of whole layers, for shifts that the distance of single channels does not show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.analysis.distances import (
    LEVEL,
    SIGNIFICANT,
    Measure,
    Network,
    ShiftMeasures,
    read_layer_metrics,
)
from skiptool.figures.heatmap import Heat, HeatRow, heat_sheet
from skiptool.names import Kind, Metric, ShiftKind
from skiptool.records import Shade, Table
from skiptool.report.exhibit import Cell, Exhibit, fact_columns, nan_to_none
from skiptool.report.overview import heat_row
from skiptool.report.wording import (
    compared_names,
    count_noun,
    number_range,
    range_suffix,
    shift_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Bool, Float64
    from skiptool.report.exhibit import Number

_NAMES: Final = {
    Metric.HELLINGER: "Hellinger distance of channels",
    Metric.COVARIANCE: "Covariance distance",
    Metric.CLASSIFIER: "Accuracy of a linear classifier",
    Metric.PAIRED_DIFFERENCE: "Paired difference",
}
_QUANTITIES: Final = {
    Metric.HELLINGER: "corrected distance",
    Metric.COVARIANCE: "covariance distance",
    Metric.CLASSIFIER: "classifier accuracy",
    Metric.PAIRED_DIFFERENCE: "paired difference",
}
_EXPLANATIONS: Final = {
    Metric.HELLINGER: (
        "Hellinger distance: mean over channels, eq. (10), corrected for bias{bins}; it looks "
        "at one channel at a time."
    ),
    Metric.COVARIANCE: (
        "Covariance distance: between the covariance matrices of the standardised channels, 0 "
        "if equal and 1 with nothing in common; above 0 on any finite sample."
    ),
    Metric.CLASSIFIER: (
        "Accuracy with which linear discriminant analysis separates the sets, balanced and "
        "cross-validated over units: 0.5 is chance, 1 is perfect. It is blind to changes of "
        "covariance alone."
    ),
    Metric.PAIRED_DIFFERENCE: (
        "Paired difference: mean change of an activation between an image and its shifted version, "
        "in standard deviations of the channel; 1.13 between unrelated images (normal values). It "
        "has no p-value, as any change at all is above 0."
    ),
}
_CHANCE: Final = 0.5
_TESTED: Final = (Metric.COVARIANCE, Metric.CLASSIFIER)


def layerwise_exhibits(table: Mapping[str, Sequence[Any]]) -> list[Exhibit]:
    """Show each architecture that has measures of whole layers: a matrix for each measure.

    Parameters
    ----------
    table : mapping of column name to values
        See :func:`skiptool.analysis.distances.read_layer_metrics`.
    """
    return [_exhibit(network) for network in read_layer_metrics(table)]


def _exhibit(network: Network) -> Exhibit:
    title = _title(network)
    return Exhibit(
        topic="beyond",
        heading="What single channels do not show",
        title=title,
        caption=_caption(network),
        sentences=_hidden_shifts(network),
        table=_table(network, title),
        numbers=_numbers(network),
        draw=lambda: _draw(network, title),
        sources=(Kind.SHIFT,),
        summary=1,
    )


def _title(network: Network) -> str:
    facts = network.rows[0].facts
    if facts["shift"] is None:
        return f"Channels and whole layers, against {facts['reference']}"
    if _by_domain(network):
        what = f"other domains against {facts['reference_domain']}"
    else:
        what = f"shifts, {facts['domain']}"
    return f"Channels and whole layers: {network.name}, {what}"


def _by_domain(network: Network) -> bool:
    return len({row.facts["domain"] for row in network.rows}) > 1


def _caption(network: Network) -> str:
    rows = network.rows
    facts = next((r.facts for r in rows if r.facts["metric"] == Metric.HELLINGER), rows[0].facts)
    cells = [cell for r in rows for m in r.measures.values() for cell in m.values()]
    folds = max((cell.folds for cell in cells), default=1)
    bins = range_suffix(facts["bins"], facts["range_rule"])
    measures = " ".join(_EXPLANATIONS[metric].format(bins=bins) for metric in network.metrics)
    return (
        f"Measures of each layer (columns) for each {'domain' if _by_domain(network) else 'shift'} "
        f"(rows), {facts['n_reference']} and "
        f"{number_range(int(row.facts['n_other']) for row in rows)} images, "
        f"{count_noun(folds, 'training')}. {measures} Each matrix has its own scale, from 0 "
        f"(classifier: 0.5). Bold: p < {SIGNIFICANT:g} by permutation of "
        f"{facts['unit'] or 'image'}s, adjusted over the layers, in every training; grey: "
        "otherwise."
    )


def _draw(network: Network, title: str) -> Figure:
    heats = [
        Heat(
            _NAMES[metric],
            _values(network, metric),
            low=_CHANCE if metric is Metric.CLASSIFIER else 0.0,
            strong=_strong(network, metric),
        )
        for metric in network.metrics
    ]
    by_domain = _by_domain(network)
    rows = [
        HeatRow(str(row.facts["other"]))
        if row.facts["shift"] is None
        else heat_row(row.facts, by_domain=by_domain or row.facts["shift"] == ShiftKind.ORIGINAL)
        for row in network.rows
    ]
    label = "lowest to highest, each matrix"
    return heat_sheet(heats, rows, network.layers, title=title, label=label, own_scales=True)


def _cells(network: Network, metric: Metric) -> list[list[Measure | None]]:
    measured = [row.measures.get(metric, {}) for row in network.rows]
    return [[layers.get(layer) for layer in network.layers] for layers in measured]


def _values(network: Network, metric: Metric) -> Float64:
    cells = _cells(network, metric)
    return np.array([[math.nan if cell is None else cell.value for cell in row] for row in cells])


def _strong(network: Network, metric: Metric) -> Bool | None:
    """Return which cells differ significantly; None without p-values."""
    cells = _cells(network, metric)
    if not any(cell.p_values for row in cells for cell in row if cell is not None):
        return None
    return np.array([[cell is not None and cell.differs for cell in row] for row in cells])


def _table(network: Network, title: str) -> Table:
    metrics, rows = network.metrics, network.rows
    columns: dict[str, list[Cell]] = {
        "measure": [_NAMES[metric] for metric in metrics for _ in rows],
        "domain" if _by_domain(network) else "shift": [_name(r) for _ in metrics for r in rows],
    }
    for index, layer in enumerate(network.layers):
        cells = [row[index] for metric in metrics for row in _cells(network, metric)]
        columns[layer] = [None if cell is None else nan_to_none(cell.value) for cell in cells]
    shade = Shade.of([columns[layer] for layer in network.layers], digits=3)
    return Table(title, columns, shade=shade)


def _name(row: ShiftMeasures) -> str:
    facts = row.facts
    if facts["shift"] is None:
        return str(facts["other"])
    across = facts["domain"] != facts["reference_domain"]
    return f"{facts['domain']} {shift_name(facts)}" if across else shift_name(facts)


def _numbers(network: Network) -> list[Number]:
    numbers: list[Number] = []
    for row in network.rows:
        for metric, layers in row.measures.items():
            facts = fact_columns({**row.facts, "metric": metric.value, "bins": None}, network)
            numbers += [
                {
                    **facts,
                    "layer": layer,
                    "quantity": _QUANTITIES[metric],
                    **_columns(cell),
                    "images": int(row.facts["n_other"]),
                }
                for layer, cell in layers.items()
            ]
    return numbers


def _columns(cell: Measure) -> Number:
    columns: dict[str, float | int] = {"value": cell.value, "folds": cell.folds}
    if cell.folds > 1:
        columns["sd_folds"] = cell.spread
    if cell.interval is not None:
        columns |= {"ci_low": cell.interval[0], "ci_high": cell.interval[1], "level": LEVEL}
    if cell.p_values:
        columns["p_adjusted"] = max(cell.p_values)
    return columns


# Findings: the distributions of channels agree, and the layer as a whole differs.


def _hidden_shifts(network: Network) -> list[str]:
    """State where channels hide a shift, by decreasing covariance distance."""
    hidden = [text for row in network.rows if (text := _hidden_shift(network, row)) is not None]
    return [text for _, text in sorted(hidden, key=lambda pair: -pair[0])]


def _hidden_shift(network: Network, row: ShiftMeasures) -> tuple[float, str] | None:
    """Return a covariance distance and a sentence on the layer nearest to the output."""
    channels = row.measures.get(Metric.HELLINGER, {})
    agreeing = [layer for layer in network.layers if layer in channels and channels[layer].agrees]
    layers = [layer for layer in agreeing if _differing(row, layer)]
    if not layers:
        return None
    last = layers[-1]
    others = [_measured(metric, row.measures[metric][last]) for metric in _differing(row, last)]
    moved = ""
    if last in row.measures.get(Metric.PAIRED_DIFFERENCE, {}):
        own = row.measures[Metric.PAIRED_DIFFERENCE][last].value
        moved = f"; on average an activation changes by {own:.2f} standard deviations"
    more = ""
    if len(layers) > 1:
        more = f" This holds at {len(layers)} of {len(channels)} layers ({', '.join(layers)})."
    here, there = compared_names(row.facts)
    covariance = row.measures.get(Metric.COVARIANCE, {}).get(last)
    return 0.0 if covariance is None else covariance.value, (
        f"{network.name}, {here} against {there}: at {last} the marginal distributions of channels "
        f"agree ({_measured(Metric.HELLINGER, channels[last])}), but the layer as a whole differs: "
        f"{' and '.join(others)}{moved}.{more}"
    )


def _differing(row: ShiftMeasures, layer: str) -> list[Metric]:
    """List the measures of the whole layer by which the sets differ."""
    cells = ((metric, row.measures.get(metric, {}).get(layer)) for metric in _TESTED)
    return [metric for metric, cell in cells if cell is not None and cell.differs]


def _measured(metric: Metric, cell: Measure) -> str:
    p = f"p = {max(cell.p_values):.2g}" if cell.p_values else ""
    if metric is Metric.HELLINGER:
        return f"corrected Hellinger distance {cell.value:.2f}{', ' if p else ''}{p}"
    return f"{_QUANTITIES[metric]} {cell.value:.2f} ({p})"
